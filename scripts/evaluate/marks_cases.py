"""Pictures of the watermark's measurement one by one, kept in a file so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from portrait_lora.errors import InputError
from portrait_lora.rights import watermark
from scripts.train.watermark import pictures, spoiling


@dataclass(slots=True)
class Case:
    """One picture: times in ms, PSNR in dB, and the treatments after which its mark was missed, read as
    another one (`wrong`), or read as lying in a part of the picture (`partial`)."""

    kind: str
    side: int
    number: int
    mark_ms: float
    psnr: float
    read_ms: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)

    def recovered(self, treatment: str) -> bool:
        """Whether the right payload was read after it."""
        return treatment not in self.missed and treatment not in self.wrong

    @property
    def failures(self) -> str:
        """The picture's name and what its mark did not survive; empty where it survived everything."""
        lost = [*self.missed, *(f"{name} (another mark)" for name in self.wrong)]
        return f"{self.kind} {self.side} px {self.number}: {', '.join(lost)}" if lost else ""


class Cases:
    """All pictures so far, by lot (`marked`, `unmarked`); without a file they are only remembered.

    Raises `InputError` where the file beside `json_file` is of another seed or of other code: figures of two
    watermarks do not add up.
    """

    def __init__(self, json_file: Path | None, seed: int):
        self._lots: dict[str, dict[int, Case]] = {}
        self._file = json_file.with_suffix(".cases.jsonl") if json_file else None
        self._failed = json_file.with_suffix(".failed.txt") if json_file else None
        head = {"seed": seed, "code": code_digest()}
        if self._file is None:
            return
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        if not lines:
            self._append(head)
            return
        if json.loads(lines[0]) != head:
            raise InputError(
                "these cases were measured with other code or another seed",
                where=self._file,
                got=lines[0],
                needed=json.dumps(head),
                remedy="Move the file away, or name another --json.",
            )
        for line in lines[1:]:
            if (entry := _parsed(line)) is not None:  # a stop may have cut the last line short
                lot = entry.pop("lot")
                self._remember(lot, Case(**entry))
        # written whole again, so that what comes next does not follow on a line that was cut
        rows = [head, *({"lot": lot} | asdict(c) for lot, all_ in self._lots.items() for c in all_.values())]
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        temporary.replace(self._file)

    def has(self, lot: str, number: int) -> bool:
        """Whether this picture was measured."""
        return number in self._lots.get(lot, {})

    def of(self, lot: str) -> list[Case]:
        """The pictures of a lot, in the order in which they were measured."""
        return list(self._lots.get(lot, {}).values())

    def add(self, lot: str, case: Case) -> None:
        """Note one more."""
        self._remember(lot, case)
        self._append({"lot": lot} | asdict(case))
        if self._failed is not None and case.failures:
            lines = [one.failures for all_ in self._lots.values() for one in all_.values() if one.failures]
            self._failed.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _remember(self, lot: str, case: Case) -> None:
        self._lots.setdefault(lot, {})[case.number] = case

    def _append(self, entry: Mapping[str, object]) -> None:
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def code_digest() -> str:
    """Of the watermark's source and weights, the pictures and what they go through."""
    from portrait_lora.rights.watermark.tiled import FILE

    sources = sorted(Path(watermark.__file__).parent.glob("*.py"))
    total = hashlib.sha256()
    for file in (*sources, FILE, Path(pictures.__file__), Path(spoiling.__file__)):
        total.update(file.read_bytes())
    return total.hexdigest()[:16]
