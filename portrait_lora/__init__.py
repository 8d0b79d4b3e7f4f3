"""portrait_lora: photos of one person in, measured portraits out."""

import os
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portrait_lora.api import Likeness

__version__ = "0.1.0"
__all__ = ["Likeness", "__version__"]

# onnxruntime reports the models it opens to its maker, offline or not, and looks its server up as soon as it
# is imported; only this variable, set before that, keeps it silent.
if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    warnings.warn(
        "onnxruntime was imported before portrait_lora and sends usage data; import portrait_lora first",
        stacklevel=2,
    )
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def __getattr__(name: str) -> "type[Likeness]":
    """`portrait_lora.Likeness`, imported when it is first asked for."""
    if name == "Likeness":
        from portrait_lora.api import Likeness

        return Likeness
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
