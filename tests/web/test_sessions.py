"""Sessions, tokens and rates, by a clock of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError
from portrait_lora.web.problems import NotFound, TooMany
from portrait_lora.web.rates import Rate
from portrait_lora.web.sessions import Sessions
from portrait_lora.web.tokens import Tokens


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_when_nobody_uses_it_and_after_its_longest_time() -> None:
    clock = Clock()
    sessions = Sessions(10, 25, clock)
    cookie = sessions.open("ann")
    for _ in range(3):
        clock.now += 8
        assert sessions.find(cookie)
    clock.now += 8
    assert sessions.find(cookie) is None
    cookie = sessions.open("ann")
    clock.now += 11
    assert sessions.find(cookie) is None


def test_sessions_are_random_kept_as_digests_and_closed_for_good() -> None:
    sessions = Sessions(10, 25)
    cookies = {sessions.open("ann") for _ in range(50)}
    assert len(cookies) == 50 and all(len(one) >= 43 for one in cookies)
    assert not any(one in repr(sessions._sessions) for one in cookies)
    one = cookies.pop()
    sessions.close(one)
    sessions.close(one)
    assert sessions.find(one) is None and sessions.find("") is None and sessions.find("é\ud800") is None


def test_csrf_tokens_belong_to_one_session() -> None:
    sessions = Sessions(10, 25)
    first, second = (sessions.find(sessions.open("ann")) for _ in range(2))
    assert first and second and first.is_csrf(first.csrf)
    assert not first.is_csrf(second.csrf) and not first.is_csrf("") and not first.is_csrf("\ud800")


def test_a_token_is_shown_once_kept_as_a_digest_and_ends(tmp_path: Path) -> None:
    clock = Clock()
    tokens = Tokens(tmp_path / "tokens.json", clock)
    assert tokens.find("pl_none") is None and tokens.of("ann") == []
    token, secret = tokens.create("ann", "laptop", days=2)
    assert tokens.find(secret) == token and tokens.of("ann") == [token] and tokens.of("ben") == []
    text = (tmp_path / "tokens.json").read_text()
    assert secret not in text and (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotFound):
        tokens.revoke("ben", token.id)
    clock.now += 2 * 86400
    assert tokens.find(secret) is None and tokens.of("ann") == []
    other, secret = Tokens(tmp_path / "tokens.json", clock).create("ann", "script")
    assert tokens.find(secret) == other
    tokens.revoke("ann", other.id)
    assert tokens.find(secret) is None


def test_a_token_of_an_earlier_version_may_do_everything(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    secret = tokens.create("ann", "laptop", scopes=("read",))[1]
    assert Tokens(tmp_path / "tokens.json").find(secret).scopes == ("read",)  # type: ignore[union-attr]
    value = json.loads((tmp_path / "tokens.json").read_text())
    for row in value["tokens"].values():
        del row["scopes"]
    (tmp_path / "tokens.json").write_text(json.dumps(value))
    assert Tokens(tmp_path / "tokens.json").find(secret).scopes == ("read", "write")  # type: ignore[union-attr]


def test_a_damaged_list_of_tokens_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text(json.dumps({"tokens": {"0": {"id": 1}}}))
    with pytest.raises(ArtifactError):
        Tokens(tmp_path / "tokens.json").find("pl_x")


def test_a_rate_says_when_to_come_again_and_counts_clients_apart() -> None:
    clock = Clock()
    rate = Rate(0.5, 2, clock)
    rate.take("a")
    rate.take("a")
    with pytest.raises(TooMany) as refused:
        rate.take("a")
    assert refused.value.retry_after_s == 2
    rate.take("b")
    clock.now += 2
    rate.take("a")
    rate.give_back("a")
    rate.take("a")
    with pytest.raises(TooMany):
        rate.take("a")


def test_many_clients_take_no_memory_for_ever() -> None:
    rate = Rate(1, 1)
    for number in range(10_050):
        rate.take(str(number))
    assert len(rate._buckets) == 10_000
