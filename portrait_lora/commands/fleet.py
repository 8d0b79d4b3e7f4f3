"""`fleet`: the likenesses of many people, from a roster to what is delivered."""

from __future__ import annotations

import typer

from portrait_lora.commands import fleet_jobs, fleet_people, fleet_run
from portrait_lora.commands.options import PORTRAITS


def register(app: typer.Typer) -> None:
    """Add these commands."""
    fleet = typer.Typer(
        help="Likenesses and portraits of many people, listed in a roster (CSV or YAML).",
        no_args_is_help=True,
    )
    fleet_people.add(fleet)
    fleet_run.add(fleet)
    fleet_jobs.add(fleet)
    app.add_typer(fleet, name="fleet", rich_help_panel=PORTRAITS)
