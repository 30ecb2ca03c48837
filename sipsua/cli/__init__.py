"""The command line: what a person types, one file a command.

`main` is the only way in and out. Whatever happens inside, what reaches the person is an exit code and, where it is not 0, a line that
says what happened and one that says what to do; a traceback only where SIPSUA_DEBUG is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from sipsua import __version__
from sipsua.cli.demo import demo
from sipsua.cli.failure import Failure
from sipsua.cli.pbx import pbx
from sipsua.cli.register import register

DEBUG = "SIPSUA_DEBUG"
"""Environment variable that asks for tracebacks of all errors."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, by default that of this process, and return its exit code (`failure.ExitCode`)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # What a server is called must not end a command because the terminal lacks a letter.
            stream.reconfigure(errors="backslashreplace")
    try:
        typer.main.get_command(_app).main(arguments, prog_name="sipsua")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:
        if os.environ.get(DEBUG):
            sys.excepthook(type(error), error, error.__traceback__)
        failure = Failure.of(error)
        print(failure, file=sys.stderr)
        return failure.code
    return 0


# Without rich's frames `--help` takes a third of the time, and a usage error is a line that can be searched for.
_app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
_app.command()(register)
_app.command()(pbx)
_app.command()(demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sipsua {__version__}")
        raise typer.Exit


@_app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Phones that register over verified TLS, and say when they are locked."""
