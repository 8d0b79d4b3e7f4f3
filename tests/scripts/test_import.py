"""Importing a script switches nothing for the process that imports it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SWITCHES = ("HF_", "TRANSFORMERS_", "OMP_", "ACCELERATE_", "CUDA_", "PYTORCH_", "TOKENIZERS_")
IMPORT = """
import importlib, os, sys
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
