"""A studio of several users: ann (admin), ben and cleo (members), dan and eve (viewers; dan sees ben's)."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from portrait_lora.web.app import create_app
from portrait_lora.web.studio import Person
from portrait_lora.web.users import Role, User
from portrait_lora.web.web_settings import Limits, WebSettings

HASH = "scrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "="
USERS = f"""users:
  ann: {{role: admin, password: "{HASH}"}}
  ben: {{role: member, password: "{HASH}"}}
  cleo: {{role: member, password: "{HASH}"}}
  dan: {{role: viewer, sees: [ben], password: "{HASH}"}}
  eve: {{role: viewer, password: "{HASH}"}}
"""
BEN = User("ben", Role.MEMBER)


def team(folder: Path, limits: Limits | None = None) -> FastAPI:
    """The application, in which no job runs."""
    (folder / "users.yaml").write_text(USERS)
    settings = WebSettings(users=folder / "users.yaml", runs_jobs=False, limits=limits or Limits())
    return create_app(folder / "studio", settings)


def person_of_ben(app: FastAPI) -> Person:
    """A made-up person of ben's, without photos yet."""
    return app.state.studio.create(BEN, "Bea <b>", made_up=True)
