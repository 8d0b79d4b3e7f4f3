"""Numbers of a file of the user's that remember how they were written: a name may be `2024` or `1.10`."""

from __future__ import annotations


class WrittenInt(int):
    """A whole number that is shown as it was written (`0x10`)."""

    written: str

    def __new__(cls, value: int, written: str = "") -> WrittenInt:
        number = super().__new__(cls, value)
        number.written = written or int.__repr__(value)
        return number

    def __str__(self) -> str:
        return self.written


class WrittenFloat(float):
    """A number that is shown as it was written (`1.10`)."""

    written: str

    def __new__(cls, value: float, written: str = "") -> WrittenFloat:
        number = super().__new__(cls, value)
        number.written = written or float.__repr__(value)
        return number

    def __str__(self) -> str:
        return self.written


def plain(value: object) -> object:
    """The number without its memory; anything else as it is."""
    if isinstance(value, WrittenInt):
        return int(value)
    return float(value) if isinstance(value, WrittenFloat) else value
