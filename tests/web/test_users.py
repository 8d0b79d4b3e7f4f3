"""Users of a file, their roles, and the hashes of their passwords."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from portrait_lora.errors import ConfigError, InputError
from portrait_lora.web import users as users_module
from portrait_lora.web.users import OWNER, Role, User, Users, hash_password, is_password

HASH = "scrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "="


def write(path: Path, text: str) -> Path:
    path.write_text(text.replace("HASH", HASH))
    return path


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes as cheap as a file may hold; the usual ones are three times as strong as the least."""
    assert (users_module._N, users_module._R, users_module._P) == (1 << 15, 8, 3)
    monkeypatch.setattr(users_module, "_N", 1 << 14)
    monkeypatch.setattr(users_module, "_P", 1)


@pytest.mark.usefixtures("cheap")
def test_a_hash_knows_its_password_and_no_other() -> None:
    hashed = hash_password("correct horse battery")
    assert hashed.startswith("scrypt$16384$8$1$") and "horse" not in hashed
    assert is_password("correct horse battery", hashed)
    assert not is_password("correct horse batterx", hashed)
    with pytest.raises(InputError, match="too short"):
        hash_password("short")


def test_who_may_do_what() -> None:
    ben, cleo, dan = (
        User("ben", Role.MEMBER),
        User("cleo", Role.MEMBER, ("ben",)),
        User("dan", Role.VIEWER, ("ben",)),
    )
    assert ben.may_read("ben") and ben.may_change("ben") and not ben.may_read("cleo")
    assert cleo.may_read("ben") and not cleo.may_change("ben")
    assert dan.may_read("ben") and not dan.may_change("ben")
    assert not User("eve", Role.VIEWER).may_change("eve")
    assert OWNER.may_read("ben") and OWNER.may_change("ben")


def test_a_file_of_users(tmp_path: Path) -> None:
    text = (
        "users:\n  ann: {role: admin, password: HASH}\n  dan: {role: viewer, sees: [ann], password: HASH}\n"
    )
    users = Users(write(tmp_path / "users.yaml", text))
    assert users.find("ann") == User("ann", Role.ADMIN) and users.find("dan") == User(
        "dan", Role.VIEWER, ("ann",)
    )
    assert users.find("owner") is None and users.find("") is None
    assert users.signed_in("ann", "wrong password") is None
    assert Users(None).find("owner") is OWNER and Users(None).find("ann") is None


@pytest.mark.usefixtures("cheap")
def test_a_password_opens(tmp_path: Path) -> None:
    hashed = hash_password("correct horse battery")
    users = Users(write(tmp_path / "users.yaml", f"users: {{ann: {{role: admin, password: '{hashed}'}}}}"))
    assert users.signed_in("ann", "correct horse battery") == User("ann", Role.ADMIN)
    assert users.signed_in("ann", "correct horse batterx") is None
    assert users.signed_in("nobody", "correct horse battery") is None


def test_users_who_are_taken_out_are_out_at_once_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    both = "users:\n  ann: {role: admin, password: HASH}\n  ben: {role: member, password: HASH}\n"
    file = write(tmp_path / "users.yaml", both)
    users = Users(file)
    write(file, "users:\n  ann: {role: admin, password: HASH}\n")
    assert users.find("ben") is None
    write(file, "users: [")
    assert users.find("ann") is not None
    os.utime(file, (1, 1))
    assert users.find("ann") is not None
    write(file, both)
    assert users.find("ben") is not None


@pytest.mark.parametrize(
    "text",
    [
        *("", "users: {}", "users: [ann]", "people: {ann: {role: admin, password: HASH}}", "users: ["),
        "users: {ann: {role: admin, password: hunter2hunter2}}",  # in plain words
        "users: {ann: {role: admin}}",
        "users: {ann: {role: root, password: HASH}}",
        "users: {ann: {role: 3, password: HASH}}",
        "users: {ann: {role: member, password: HASH}}",  # nobody who can do everything
        "users: {ann: {role: admin, password: HASH, mail: a}}",
        "users: {ann: {role: admin, password: HASH, sees: [ghost]}}",
        "users: {ann: {role: admin, password: HASH, sees: ben}}",
        "users: {'../ann': {role: admin, password: HASH}}",
        "users: {Ann: {role: admin, password: HASH}}",
        "users: {ann: {role: admin, password: 'scrypt$2$8$1$AAAAAAAAAAAAAAAAAAAAAA==$AAAA'}}",
        "users: {ann: {role: admin, password: 'scrypt$1073741824$8$1$AAAAAAAAAAAAAAAAAAAAAA==$AAAA'}}",
        "users: {ann: {role: admin, password: 'scrypt$16384$8$1$AAAA$AAAA'}}",
        "users:\n  ann: {role: admin, password: HASH}\n  ann: {role: admin, password: HASH}\n",
    ],
)
def test_a_file_that_is_wrong_keeps_the_server_from_starting(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        Users(write(tmp_path / "users.yaml", text))
