"""The command line: options of every command, the stable exit codes; the commands are in `commands`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from portrait_lora import __version__, errors, log, starting, terminal
from portrait_lora.commands import (
    care,
    dataset,
    finishing,
    fleet,
    jobs,
    journey,
    measure,
    packs,
    portraits,
    setup,
    sharing,
    signing,
    verification,
    web,
)
from portrait_lora.commands.by_use import CommandsByUse
from portrait_lora.training import processes

app = typer.Typer(
    name="portrait-lora",
    help="Photos of one person in; a LoRA and portraits whose likeness is measured out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=CommandsByUse,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        terminal.say(__version__)
        raise typer.Exit


@app.callback()
def root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="verbose log, with tracebacks")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="hide progress")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit"),
    ] = False,
) -> None:
    """Options of every command."""
    log.configure(verbose=verbose, quiet=quiet)


for _group in (
    setup,
    journey,
    jobs,
    fleet,
    portraits,
    finishing,
    sharing,
    fleet,
    measure,
    dataset,
    care,
    packs,
    verification,
    signing,
    web,
):
    _group.register(app)


def _report(error: errors.PortraitError) -> int:
    wanted = isinstance(error, errors.Interrupted)
    terminal.say(f"Stopped: {error}" if wanted else f"Error: {error}", err=True)
    if "--json" in sys.argv:
        value = {
            "error": error.what,
            "where": error.where,
            "got": error.got,
            "needed": error.needed,
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }
        terminal.say(terminal.json_text(value))
    return error.exit_code


def main() -> None:
    """Run the command line and exit with one of the stable exit codes."""
    starting.quickly()
    _stop_as_by_hand()
    sys.exit(_run(_follow if processes.follows() else app))


def _follow(**_: object) -> None:
    """Take part in training as a secondary process of a distributed run, whatever the command."""
    from portrait_lora import recipe

    log.configure(quiet=True)
    recipe.follow()


def _stop_as_by_hand() -> None:
    """SIGTERM and a closed terminal end a command in the same orderly way as Ctrl-C."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # `nohup` is left alone
            signal.signal(number, signal.default_int_handler)


def _run(call: Callable[..., object]) -> int:
    from typer.exceptions import TyperException

    try:
        code = call(standalone_mode=False)
    except errors.PortraitError as error:
        return _report(error)
    except typer.Abort as stop:
        return _interrupted(str(stop))
    except TyperException as error:  # wrong use; typer's own errors know how to show themselves
        error.message = terminal.block(error.message)
        show = getattr(error, "show", None)
        show() if callable(show) else terminal.say(f"Error: {error}", err=True)
        return errors.EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        refused = errors.of_system(error) if isinstance(error, OSError) else None
        if refused is not None:
            return _report(refused)
        if "--verbose" in sys.argv or "-v" in sys.argv:
            raise
        message = f"{type(error).__name__}: {error}"
        return _report(
            errors.PortraitError(
                f"unexpected error ({message})", remedy="Run with --verbose for the traceback."
            )
        )
    if code == errors.EXIT_INTERRUPTED:  # how typer hands a KeyboardInterrupt on
        return _interrupted()
    return code if isinstance(code, int) else errors.EXIT_DONE


def _interrupted(why: str = "") -> int:
    """Report a requested stop, which is no error.  `why` is the sentence for a question answered with no."""
    usual = "Interrupted. Finished work is saved; run the same command again to continue."
    terminal.say(why or usual, err=True)
    return errors.EXIT_INTERRUPTED


if __name__ == "__main__":
    main()
