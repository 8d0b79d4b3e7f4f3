"""The tiny pipeline shared by this folder's tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny_models import tiny_folder, tiny_sd15  # noqa: F401 - fixtures
