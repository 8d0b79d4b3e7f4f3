"""Tests and what they share."""

import os
import sys

# Programs that tests start import torch and diffusers: more than twice as long where nothing is compiled.
# An installation with `--no-compile` is compiled by the first import, which this variable forbids to keep.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
