"""The Dockerfile read as a builder would read it: nothing it copies is missing, everything is pinned."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """(INSTRUCTION, rest) without comments, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(k, v.strip()) for k, _, v in (x.partition(" ") for x in joined.splitlines() if x.strip())]


def of(kind: str) -> list[str]:
    return [rest for name, rest in instructions() if name == kind]


def copied() -> list[str]:
    """What comes from the project's folder."""
    return [source for rest in of("COPY") for source in shlex.split(rest)[:-1]]


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert not any(fnmatch.fnmatch(source, pattern) for pattern in ignored), source
    assert {".git", ".venv", "**/photos", "**/adapters", "**/portraits"} <= set(ignored)


def test_what_the_package_is_built_from_is_copied_before_it_is_built() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", pyproject["project"]["readme"], *pyproject["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"]}
    before: set[str] = set()
    for kind, rest in instructions():
        if kind == "COPY":
            before |= set(shlex.split(rest)[:-1])
        if kind == "RUN" and rest.endswith("constraints.txt ."):
            assert needed <= before
            return
    raise AssertionError("the package is never installed")


def test_everything_is_pinned() -> None:
    (image,) = of("FROM")
    assert re.fullmatch(r"python:3\.1[1-4]-slim-[a-z]+", image), "a version of Python and of the system"
    assert re.search(r"^torch==\d", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    installs = [rest for rest in of("RUN") if "pip install" in rest]
    assert installs
    for rest in installs:
        assert rest.count("pip install") == rest.count("-c constraints.txt") == rest.count("--no-cache-dir")
    assert "torch==" in installs[0], "torch first and exactly"
    assert of("ADD") == []


def test_it_runs_as_somebody_with_little_power_and_starts_the_program() -> None:
    (user,) = of("USER")
    assert user not in ("root", "0") and any(
        f"useradd --create-home --uid 1000 {user}" in r for r in of("RUN")
    )
    kinds = [kind for kind, _ in instructions()]
    assert kinds.index("USER") < kinds.index("ENTRYPOINT")
    assert all(kind not in kinds[kinds.index("USER") :] for kind in ("RUN", "COPY"))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (entry,) = (json.loads(rest) for rest in of("ENTRYPOINT"))
    assert entry[0] in pyproject["project"]["scripts"]
    assert [json.loads(rest) for rest in of("CMD")] == [["doctor"]]


def test_models_and_people_stay_outside_the_image() -> None:
    settings = dict(shlex.split(pair)[0].split("=", 1) for rest in of("ENV") for pair in shlex.split(rest))
    (volumes,) = (json.loads(rest) for rest in of("VOLUME"))
    assert settings["HF_HOME"] in volumes
    owned = next(rest for rest in of("RUN") if "chown" in rest)
    assert all(volume in owned for volume in volumes)
    assert not any("TOKEN" in rest for _, rest in instructions())
