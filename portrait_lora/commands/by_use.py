"""The list of commands in `--help`, grouped by use; plain text, so that it prints at once."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from portrait_lora.commands.options import DATA, PANELS


class CommandsByUse(TyperGroup):
    """A command group that lists its commands under the headings of `PANELS`, with their first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per panel; a command without a panel goes into the last but one."""
        rows: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                heading = panel if isinstance(panel, str) else DATA
                rows.setdefault(heading, []).append((name, _first_sentence(command.help or "")))
        for panel, commands in rows.items():
            if commands:
                with formatter.section(panel):
                    formatter.write_dl(commands)


def _first_sentence(text: str) -> str:
    """The first sentence, on one line."""
    return " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
