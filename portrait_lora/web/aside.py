"""Questions that need torch, answered by a process of its own: the server stays small, whatever they load.

    python -m portrait_lora.web.aside plan LIKENESS_DIR
    python -m portrait_lora.web.aside doctor

Prints one JSON object: {"value": …}, or {"error": …} in the words of the command line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final, Literal, cast

from portrait_lora import starting, terminal
from portrait_lora.errors import PortraitError

Question = Literal["plan", "doctor"]
TIMEOUT_S: Final = 180.0
_MOST_KEPT: Final = 64
_at_work = threading.Lock()
_known: dict[tuple[Hashable, ...], dict[str, Any]] = {}


def answer(question: Question, *places: Path, key: Hashable, fresh: bool = False) -> dict[str, Any]:
    """The answer, kept as long as `key` is the same.  Raises `PortraitError` as the command would."""
    whole = (question, *map(str, places), key)
    with _at_work:  # one at a time: each takes a core
        if fresh or whole not in _known:
            if len(_known) >= _MOST_KEPT:
                _known.pop(next(iter(_known)))
            _known[whole] = _asked(question, places)
        reply = _known[whole]
    if "error" in reply:
        raise PortraitError(**reply["error"])
    return cast(dict[str, Any], reply["value"])


def known(question: Question, *places: Path, key: Hashable) -> bool:
    """Whether the answer is there without work."""
    return (question, *map(str, places), key) in _known


def _asked(question: Question, places: tuple[Path, ...]) -> dict[str, Any]:
    command = [sys.executable, "-m", "portrait_lora.web.aside", question, *map(str, places)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        return cast(dict[str, Any], json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, ValueError, IndexError, OSError) as error:
        got = f"{type(error).__name__}"
        return {"error": {"what": f"{question} gave no answer", "got": got, "remedy": "Load the page again."}}


def main(arguments: list[str]) -> int:
    """Answer one question on stdout."""
    question, *places = arguments
    starting.quickly()
    try:
        value = _plan(Path(places[0])) if question == "plan" else _doctor()
        terminal.say(terminal.json_text({"value": value}))
    except PortraitError as error:
        reply = {"what": error.what, "where": str(error.where), "got": str(error.got)}
        needed = {"needed": str(error.needed), "remedy": error.remedy}
        terminal.say(terminal.json_text({"error": reply | needed}))
    return 0


def _plan(folder: Path) -> dict[str, object]:
    from portrait_lora import recipe

    return recipe.plan_training(folder).json_value()


def _doctor() -> object:
    from portrait_lora.doctor import checks, machine
    from portrait_lora.hub.hub import Hub

    hub = Hub.from_environment(offline=True)
    rows = [*checks.judge_machine(machine.probe(hub, network=False)), *checks.judge_models(hub)]
    return checks.summary(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
