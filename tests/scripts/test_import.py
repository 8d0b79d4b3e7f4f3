"""Importing a script switches nothing for the process that imports it."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SWITCHES = ("HF_", "TRANSFORMERS_", "OMP_", "ACCELERATE_", "CUDA_", "PYTORCH_", "TOKENIZERS_")
IMPORT = """
import importlib, os, sys
import tests.quick_start
for name in sys.argv[2:]:
    importlib.import_module(f"scripts.{name}")
    print(name, *(k for k in os.environ if k.startswith(tuple(sys.argv[1].split()))))
"""


def test_no_script_sets_a_switch_for_those_who_import_it() -> None:
    names = sorted(file.stem for file in (ROOT / "scripts").glob("*.py") if file.stem != "__init__")
    env = {name: value for name, value in os.environ.items() if not name.startswith(SWITCHES)}
    command = [sys.executable, "-c", IMPORT, " ".join(SWITCHES), *names]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert run.stdout.splitlines() == names, run.stderr


@pytest.mark.parametrize("folder", ["scripts", "tests"])
def test_every_module_that_is_named_is_there(folder: str) -> None:
    """Also by the scripts that no test runs, which would notice a move of a module too late."""
    missing: list[str] = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                ("portrait_lora", "scripts")
            ):
                assert node.module is not None
                missing += [f"{file.name}: {one}" for one in _missing(node)]
    assert missing == []


def _missing(node: ast.ImportFrom) -> list[str]:
    """The module, or the names that are neither in its text nor modules below it."""
    module = str(node.module)
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        return [module]
    text = Path(spec.origin).read_text(encoding="utf-8")
    lacking = [one.name for one in node.names if one.name not in text]
    if not spec.submodule_search_locations:
        return [f"{module}.{name}" for name in lacking]
    return [f"{module}.{n}" for n in lacking if importlib.util.find_spec(f"{module}.{n}") is None]
