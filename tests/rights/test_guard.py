"""Words that are not drawn of a person, however they are written; ordinary words pass."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import stat
from pathlib import Path

import pytest

from portrait_lora.errors import ConfigError, InputError
from portrait_lora.rights import consent, guard, policy
from portrait_lora.rights.guard import Refused, check
from portrait_lora.rights.policy import Guarding

ROOT = Path(__file__).parents[2]
ROWS = [
    line.split("\t")
    for line in (Path(__file__).parent / "guarded_prompts.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
RULES = Guarding()


def rows(part: str, refused: bool) -> list[list[str]]:
    return [row for row in ROWS if row[0] == part and (row[1] != "pass") == refused]


def test_the_prompts_are_what_they_say() -> None:
    assert len(ROWS) == 300 and len({row[3] for row in ROWS}) == 300
    assert all(
        len(rows(part, refused)) == 75 for part, refused in itertools.product(("tune", "held"), (True, False))
    )
    assert {row[2] for row in ROWS} == {"en", "de", "fr", "es", "it", "pt", "pl", "tr"}


@pytest.mark.parametrize("part", ("tune", "held"))
def test_recall_and_false_refusals_on_labelled_prompts(part: str) -> None:
    missed = [row[3] for row in rows(part, True) if check(row[3], RULES) is None]
    assert len(missed) <= 0.02 * 75, missed
    wrongly = [row[3] for row in rows(part, False) if check(row[3], RULES)]
    assert len(wrongly) <= 0.02 * 75, wrongly


def test_every_packaged_series_and_every_labelled_prompt_of_the_book_passes() -> None:
    texts = [
        line
        for path in (ROOT / "tests" / "generation").glob("*_prompts.tsv")
        for line in path.read_text("utf-8").splitlines()
    ]
    texts += [
        line for path in (ROOT / "configs").rglob("*.yaml") for line in path.read_text("utf-8").splitlines()
    ]
    for name in ("template_art", "template_studio", "templates", "book"):
        texts += (ROOT / "portrait_lora" / "generation" / f"{name}.py").read_text("utf-8").splitlines()
    refused = [(text, match) for text in texts if (match := check(text, RULES))]
    assert len(texts) > 1300 and not refused, refused


@pytest.mark.parametrize(
    "prompt",
    (
        "n u d e", "n.u.d.e", "N-U-D-E", "n_u_d_e", "nuuuude", "n4k3d", "nud\u0435", "n\u00fcd\u00e9",
        "\uff4e\uff55\uff44\uff45", "nu\u200bde", "p0rn", "p*rn", "pornstar", "NUDE", "nu-de",
    ),
)  # fmt: skip
def test_disguises_are_seen_through(prompt: str) -> None:
    match = check(f"photo of ohwx woman, {prompt}, window light", RULES)
    assert match is not None and match.topic == "sexual"


@pytest.mark.parametrize(
    "prompt",
    (
        "headshot, shot on film", "nude lipstick", "young woman", "child of the 60s", "killer smile",
        "bare shoulders",
        "85 mm f/1.4, ISO 400", "well-lit, high-key", "aged 45", "18 years old", "class of 1999", "Essex",
    ),
)  # fmt: skip
def test_ordinary_words_pass(prompt: str) -> None:
    assert check(f"portrait of ohwx woman, {prompt}", RULES) is None


@pytest.mark.parametrize(
    ("prompt", "drawn"),
    (("17 years old", False), ("18 years old", True), ("aged 12", False), ("age 30", True)),
)
def test_ages(prompt: str, drawn: bool) -> None:
    assert (check(f"ohwx, {prompt}", RULES) is None) is drawn


def test_what_an_administrator_may_change_and_what_not() -> None:
    assert check("ohwx covered in blood", Guarding(allow=("violence",))) is None
    assert check("ohwx nude", Guarding(allow=("violence",))) is not None
    assert check("ohwx as Nackte Maja", RULES) is not None
    assert check("ohwx as Nackte Maja", Guarding(allowed_words=("nackte maja",))) is None
    assert (
        check("ohwx with a frobnicator", Guarding(refused_words={"violence": ("frobnicator*",)})) is not None
    )
    everything = Guarding(allow=("sexual", "violence"))
    assert check("schoolgirl ohwx, nude", everything, guardian=True) is not None, (
        "never, whatever anybody allows"
    )
    assert check("schoolgirl ohwx", everything) is not None
    assert check("schoolgirl ohwx", RULES, guardian=True) is None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for kind in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    monkeypatch.setattr(policy, "OF_MACHINE", tmp_path / "none.yaml")
    return tmp_path


def test_a_refusal_is_clear_and_noted_without_the_prompt(home: Path) -> None:
    with pytest.raises(Refused, match=r"series.yaml: sexual pictures.*got nude.*policy.yaml") as caught:
        guard.require(["fine", "ohwx nude with a secret word"], where="series.yaml")
    assert caught.value.exit_code == 2
    row = json.loads(guard.log_file().read_text(encoding="utf-8"))
    assert row["topic"] == "sexual" and row["words"] == "nude" and "secret" not in json.dumps(row)
    assert stat.S_IMODE(guard.log_file().stat().st_mode) == 0o600
    with pytest.raises(Refused):
        guard.require(["ohwx nude"])
    assert len(guard.log_file().read_text(encoding="utf-8").splitlines()) == 2


def test_the_machine_decides_before_the_account(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = policy.place()
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("guard: {allow: [violence]}\n")
    assert policy.current().guard.allow == ("violence",)
    of_machine = tmp_path / "machine.yaml"
    of_machine.write_text("guard: {log: false}\n")
    monkeypatch.setattr(policy, "OF_MACHINE", of_machine)
    assert policy.place() == of_machine and policy.current().guard.allow == ()


def test_the_policy_is_read_from_outside_and_checked(home: Path) -> None:
    place = policy.place()
    place.parent.mkdir(parents=True)
    place.write_text("guard:\n  allow: [violence]\n")
    guard.require(["ohwx covered in blood"])
    place.write_text("guard:\n  allow: [minors]\n")
    with pytest.raises(ConfigError, match="policy is wrong"):
        guard.require(["anything"])


def test_no_setting_of_a_likeness_reaches_the_guard() -> None:
    schema = (ROOT / "configs" / "likeness.schema.json").read_text(encoding="utf-8")
    assert '"guard' not in schema and "policy" not in schema


def test_a_guardian_in_the_consent(tmp_path: Path) -> None:
    today = dt.date(2026, 11, 30)
    raw = {"who": "Tim", "purposes": ["training", "portraits"], "until": "2027-01-01", "statement": "yes"}
    assert consent.of_values(raw, today).guardian == ""
    consent.write(tmp_path, consent.of_values(raw, today))
    assert not consent.of_a_minor(tmp_path)
    consent.write(tmp_path, consent.of_values(raw | {"guardian": " Ann  Smith "}, today))
    assert consent.of_a_minor(tmp_path)
    read = consent.read(tmp_path)
    assert read is not None and read.guardian == "Ann Smith"
    with pytest.raises(InputError, match="not a consent"):
        consent.of_values(raw | {"guardians": "Ann"}, today)
    old = json.loads((tmp_path / consent.NAME).read_text(encoding="utf-8"))
    del old["guardian"]
    (tmp_path / consent.NAME).write_text(json.dumps(old), encoding="utf-8")
    assert not consent.of_a_minor(tmp_path), "a record of an earlier version"


def test_nothing_is_drawn_past_the_guard(home: Path) -> None:
    from portrait_lora.generation import drawing
    from portrait_lora.records import Shot

    shot = Shot("01", "portrait of ohwx woman, nude", "", (64, 64), 1, ())
    with pytest.raises(Refused):
        drawing._call(object(), [shot], None, {})  # type: ignore[arg-type]
