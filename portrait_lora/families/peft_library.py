"""What is used of peft, which looks for bitsandbytes only once a quantised network has been read.

It would import it for every adapter, and with it the compiler of torch: two seconds of every start.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

import sys
from typing import Final

from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from peft.import_utils import is_bnb_4bit_available, is_bnb_available
from peft.tuners.loha import LoHaLayer
from peft.tuners.lokr import LoKrLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer

_NAME: Final = "bitsandbytes"


def use_quantised_layers() -> None:
    """Let peft look again: a network with layers of bitsandbytes has been read."""
    is_bnb_available.cache_clear()
    is_bnb_4bit_available.cache_clear()


def _answer_no() -> None:
    """peft keeps the answer that it gets while the library cannot be found."""
    before = sys.modules.get(_NAME)
    sys.modules[_NAME] = None  # type: ignore[assignment]  the documented way to say so
    try:
        use_quantised_layers()
        is_bnb_4bit_available()
    finally:
        del sys.modules[_NAME]
        if before is not None:
            sys.modules[_NAME] = before


_answer_no()

__all__ = [
    "BaseTunerLayer",
    "LoHaConfig",
    "LoHaLayer",
    "LoKrConfig",
    "LoKrLayer",
    "LoraConfig",
    "LoraLayer",
    "inject_adapter_in_model",
    "use_quantised_layers",
]
