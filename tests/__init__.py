"""Tests and what they share."""

import os
import sys

# Programs that tests start import torch and diffusers: 2 s with the modules compiled, 20 s without.  An installation
# made with `--no-compile` has none until the first import keeps them, which this variable forbids.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
