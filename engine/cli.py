"""The `ishowtts` command: every package's commands, and one way out for what they raise."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Annotated

import typer
from rich.console import Console

from engine import commands
from engine.advisor import commands as advisor
from engine.errors import EngineError
from engine.flags import Command
from engine.gate import commands as gate
from engine.gate import signals
from engine.jobs import commands as jobs
from engine.serve import commands as service

USAGE, INTERRUPTED, BROKEN_PIPE = 2, 128 + signal.SIGINT, 128 + signal.SIGPIPE
app = typer.Typer(
    help="""Speech from text with F5-TTS, every optimisation a toggle, and a gate that judges each change.

    \b
    Type this first:
      ishowtts speak "Hello, chat!" -o hello.wav
    Then look at:
      ishowtts voices           who can speak, and which languages
      ishowtts speak --help     other voices, files, formats and toggles
      ishowtts gate --help      is a change faster, and does it still speak as well?
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line: an error of ours is one sentence on stderr and exit code 2, never a traceback.

    Any other error exits 2 too: Python's own 1 would read as a regression. SIGTERM and SIGHUP unwind, so that
    a cancelled gate leaves neither processes nor checkouts behind.
    """
    signals.unwind_when_ended()
    try:
        code = _run()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    if code == BROKEN_PIPE:  # what is left in the buffers has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(code)


def _run() -> int:
    """The exit code of the command line.

    Raises:
        BrokenPipeError: nobody reads what is printed.
    """
    try:
        app()
    except EngineError as error:
        Console(stderr=True).print(
            f"ishowtts: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        return USAGE
    except BrokenPipeError:
        raise
    except SystemExit as end:
        return _code(end)
    except Exception:  # noqa: BLE001 - whatever it is, it is no verdict
        traceback.print_exc()
        return USAGE
    return 0


def _code(end: SystemExit) -> int:
    """The exit code of a command that has ended.

    The parser and rich turn a closed pipe and an interrupt into 1, which would read as a regression.
    """
    cause = end.__context__
    if isinstance(cause, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(cause, typer.Abort):
        return INTERRUPTED
    context = getattr(cause, "ctx", None)
    if type(cause).__name__ == "NoSuchOption" and context is not None and context.command.name == "speak":
        print(
            "A text that begins with a dash goes behind --, after all flags:\n"
            "  ishowtts speak -o out.wav -- '-5 degrees'",
            file=sys.stderr,
        )
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return USAGE


def _show_version(wanted: bool) -> None:
    if wanted:
        import engine

        typer.echo(f"ishowtts {engine.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="print the version")
    ] = False,
) -> None:
    """What comes before a command."""


for command in (*commands.COMMANDS, *jobs.COMMANDS, *service.COMMANDS, *advisor.COMMANDS, *gate.COMMANDS):
    app.command(cls=Command)(command)


if __name__ == "__main__":
    main()
