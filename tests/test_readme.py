"""README: a screen before the first table, blocks that run in a clean clone, figures that cannot drift."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from portrait_lora import cli
from scripts import figures
from tests.conftest import Journey

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "https://example.invalid/portrait-lora"


def blocks() -> list[list[str]]:
    """The lines of every bash block."""
    return [b.splitlines() for b in re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)]


def test_the_page_of_figures_is_what_the_script_writes_of_the_rows() -> None:
    content = json.loads(figures.ROWS.read_text(encoding="utf-8"))
    assert figures.PAGE.read_text(encoding="utf-8") == figures.page(content), "run: make figures"
    for row in content["measured"]:
        assert row["command"] or row["note"]
        for module in re.findall(r"-m (scripts\.[\w.]+)", row["command"]):
            file = ROOT / f"{module.replace('.', '/')}.py"
            assert file.is_file() or (file.with_suffix("") / "__main__.py").is_file(), module


def test_the_figures_in_the_readme_are_those_of_the_rows() -> None:
    text = json.dumps(json.loads(figures.ROWS.read_text(encoding="utf-8")), ensure_ascii=False)
    for figure in (
        "share 0.874",
        "lowest 0.752",
        "verified 93.8 %",
        "copies 0.6 %",
        "160 of 160",
        "54 of 54",
    ):
        assert figure in text, figure
    for figure in ("95.2, 95.2, 95.4", "good photo of 320"):
        assert figure in text, figure
    for words in ("87 %", "75 %", "94 %", "0.6 %", "160 of 160", "320", "95.2 to 95.4 %", "54 times"):
        assert words in README, words


def test_a_screen_stands_before_the_first_table_and_no_path_to_a_pack_is_required() -> None:
    before = README.split("\n|")[0].splitlines()
    assert len(before) <= 66
    proven = README.split("## What is proven")[1].split("**Read on")[0]
    assert proven.count("\n- ") <= 5
    assert "/path/to" not in README and max(map(len, README.splitlines())) <= 135
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_every_command_of_the_readme_is_well_formed() -> None:
    group = typer.main.get_command(cli.app)
    inline = re.findall(r"`(portrait-lora [a-z]+ me .*?)`", README)
    lines = [line for block in blocks() for line in block if line.startswith("portrait-lora")]
    assert len(lines) >= 3 and inline
    for line in [*lines, *inline]:
        words = shlex.split(line, comments=True)[1:]
        with group.make_context("portrait-lora", words) as outer:
            name, command, rest = group.resolve_command(outer, [*outer._protected_args, *outer.args])  # type: ignore[attr-defined]
            command.make_context(name, rest, parent=outer)
    named = set(re.findall(r"`([a-z-]+)[ `]", README.split("## Commands")[1].split("Exit codes")[0]))
    assert {n for n in group.commands if n != "demo"} <= named | {"portrait"}  # type: ignore[attr-defined]


@pytest.mark.journey
def test_the_blocks_run_in_a_clean_clone(journey: Journey, tmp_path: Path) -> None:
    """As written and without a network: set-up is done already, `make` and `run` are not begun."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    pictures = tmp_path / "home" / "Pictures" / "me"
    shutil.copytree(journey.folder / "photos", pictures)
    environment = os.environ | {
        "HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home" / "hf"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
        "PYTHONPATH": str(tmp_path / "portrait-lora"),
    }
    first, second = blocks()
    lines = [line for line in first if not line.startswith("make")]
    lines += [f"ln -s {ROOT / '.venv'} .venv", "make -n demo > made.txt", "make -n test >> made.txt"]
    lines += [line for line in second if " run " not in line]
    script = "\n".join(["set -e", *lines])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    clone = tmp_path / "portrait-lora"
    assert (
        "portrait-lora demo" in (clone / "made.txt").read_text()
        and "pytest" in (clone / "made.txt").read_text()
    )
    assert len(list((clone / "me" / "photos").iterdir())) == len(list(pictures.iterdir()))
    assert (clone / "me" / "consent.json").is_file() and "nothing to download" in done.stdout
    assert done.stdout.rstrip().endswith("Next: portrait-lora run me")
