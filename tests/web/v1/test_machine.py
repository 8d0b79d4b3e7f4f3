"""The checks of the machine are those of the command, from a process of its own."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from portrait_lora.web.services import catalog
from portrait_lora.web.services.catalog import _doctor as doctor_of_this_machine


def test_the_checks_are_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"name": "disk (here)", "status": "warn", "found": "3.0 GB free", "remedy": "Make room."}]
    printed = json.dumps({"healthy": True, "checks": rows}).encode()

    def run(command: list[str], **more: Any) -> Any:
        assert command[-4:] == ["doctor", "--quick", "--offline", "--json"]
        return subprocess.CompletedProcess(command, 0, printed, b"")

    monkeypatch.setattr(subprocess, "run", run)
    assert doctor_of_this_machine() == [
        catalog.MachineCheck("disk (here)", "warn", "3.0 GB free", "Make room.")
    ]
    printed = b"Traceback"
    with pytest.raises(catalog.DoctorFailed):
        doctor_of_this_machine()
