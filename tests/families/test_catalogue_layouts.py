"""Every row of the catalogue: fetched from a hub by its name, locked, and put through `verify-base`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from huggingface_hub import constants

from portrait_lora.families import layout
from portrait_lora.families.catalog import BaseModel, bases
from portrait_lora.hub.hub import Hub
from portrait_lora.records import FamilyName
from portrait_lora.tasks import pull as pulling
from tests.local_hub import LocalHub, serving
from tests.test_help import run
from tests.tiny_catalogue import PECULIAR, write_repository

ROWS = [base for base in bases() if base.folder is None]
FAMILY = {repo: base.family for base in ROWS for repo in base.repos}
Files = dict[str, bytes]


def _layout(base: BaseModel) -> tuple[object, ...]:
    """What the repositories of a row are made of here: alike for rows that differ in size only."""
    return (base.family, *(PECULIAR.get(repo) for repo in base.repos))


FIRST = {_layout(base): base.name for base in reversed(ROWS)}
"""Layout -> the first row with it."""
VERIFIED = {
    "sd15", "sd35-large", "flux1-schnell", "flux2-klein-4b", "flux2-dev", "z-image-turbo", "qwen-image-2.1",
    "hidream-i1",
}  # fmt: skip
"""A sample: a UNet, and every peculiarity of a repository once.  What a family does with a plain layout of
its own is in `test_contract.py`; `--exhaustive` verifies every layout."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    """The files of a repository; written once, and one for all repositories without a peculiarity."""

    @cache
    def files(repo: str, family: FamilyName) -> Files:
        folder = write_repository(repo, family, tmp_path_factory.mktemp("repo") / "model")
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return lambda repo: files(repo if repo in PECULIAR else "", FAMILY[repo])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalHub, Hub]]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(LocalHub()) as server:
        yield server, Hub(server.address, tmp_path / "cache", wait_s=0.0)


@pytest.mark.parametrize("base", ROWS, ids=lambda b: b.name)
def test_a_row_is_fetched_locked_and_verified(
    base: BaseModel,
    hub: tuple[LocalHub, Hub],
    written: Callable[[str], Files],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    exhaustive: bool,
) -> None:
    server, client = hub
    server.repos = {repo: written(repo) for repo in base.repos}
    assert [m.source for m in pulling.pull(base.name, tmp_path, client)] == list(base.repos)
    if base.name not in (FIRST.values() if exhaustive else VERIFIED):
        return  # those of one layout have the same files
    options = ["--into", str(tmp_path), "--device", "cpu", "--size", "64", "--steps", "5", "--rate", "2e-2"]
    assert run("verify-base", base.name, *options, "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["figures"]}
    assert rows["predict: relative error"]["met"] is True
    assert rows["layers that went in"]["value"] == rows["picture: finite share"]["value"] == 1.0


def test_the_sample_has_every_peculiarity() -> None:
    repos = {repo for base in ROWS if base.name in VERIFIED for repo in base.repos}
    assert set(FIRST.values()) >= VERIFIED
    assert {PECULIAR[repo] for repo in repos & PECULIAR.keys()} == set(PECULIAR.values())


def test_repositories_differ_where_the_real_ones_do(written: Callable[[str], Files]) -> None:
    def config(repo: str, file: str) -> dict[str, object]:
        return json.loads(written(repo)[file])

    flux, klein = "black-forest-labs/FLUX.1", "black-forest-labs/FLUX.2-klein"
    transformer = "transformer/config.json"
    assert config(f"{flux}-dev", transformer)["guidance_embeds"] is True
    assert config(f"{flux}-schnell", transformer)["guidance_embeds"] is False
    assert config(f"{klein}-4B", layout.INDEX)["is_distilled"] is True
    assert not config(f"{klein}-base-4B", layout.INDEX).get("is_distilled")
    assert config("black-forest-labs/FLUX.2-dev", layout.INDEX)["_class_name"] == "Flux2Pipeline"
    assert config("black-forest-labs/FLUX.2-dev", layout.INDEX)["tokenizer"][1] == "PixtralProcessor"  # type: ignore[index]
    assert set(PECULIAR) <= set(FAMILY)
    twins = [base.name for base in ROWS if base.name != FIRST[_layout(base)]]
    assert twins == ["flux2-klein-9b", "flux2-klein-9b-base"]
