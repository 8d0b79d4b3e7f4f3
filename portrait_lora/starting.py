"""What makes the program start sooner: rare collection of garbage while it imports, and imports put off.

torch and diffusers make more than a million objects that stay; with Python's usual thresholds the collector
goes over them again and again.  And they import libraries that most runs never use.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any, ClassVar, Final

_USUAL: Final = gc.get_threshold()
_RARELY: Final = (50_000, 20, 50)
_PUT_OFF: Final = ("bitsandbytes", "scipy.stats")
"""For quantised networks and for schedules with beta-distributed steps; the first brings torch's compiler."""


def quickly() -> None:
    """Called by a program before it imports anything large; a library that is imported does not do this."""
    gc.set_threshold(*_RARELY)
    # diffusers and transformers each go through every installed package while they are imported.
    metadata.packages_distributions = cache(metadata.packages_distributions)
    for name in _PUT_OFF:
        put_off(name)


@cache
def settle() -> None:
    """Once, before the first network is loaded: what is there by then stays, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_USUAL)


class _PutOff(ModuleType):
    """A module that runs at its first use; its name and file can be read by those who go over all modules."""

    _known: ClassVar = frozenset(
        {"__class__", "__spec__", "__name__", "__file__", "__loader__", "__package__"}
    )
    _lock: ClassVar = RLock()
    _running: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        if name not in _PutOff._known:
            _PutOff._run(self, ModuleType.__getattribute__(self, "__spec__"))
        return ModuleType.__getattribute__(self, name)

    @staticmethod
    def _run(module: ModuleType, spec: ModuleSpec) -> None:
        """Other threads wait; what it imports in turn sees it as far as it has come, as ever."""
        with _PutOff._lock:
            if spec.name in _PutOff._running or type(module) is ModuleType:
                return
            _PutOff._running.add(spec.name)
            try:
                assert spec.loader is not None
                spec.loader.exec_module(module)
            except BaseException:
                sys.modules.pop(spec.name, None)  # as for every import that fails
                raise
            finally:
                _PutOff._running.remove(spec.name)
                module.__class__ = ModuleType


def put_off(name: str) -> None:
    """`import name` succeeds, and the module runs when something of it is used for the first time.

    Nothing happens where it is imported already or not installed.
    """
    parent, _, child = name.rpartition(".")
    try:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
    except ImportError:  # its parent is not installed
        return
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _PutOff
    sys.modules[name] = module
    if parent:
        setattr(sys.modules[parent], child, module)
