"""The command line: what a person types, one file a command.

`main` is the only way in and out. Whatever happens inside, what reaches the person is an exit code and, where it is not 0, a line that
says what happened and one that says what to do, with `--json` an object too; a traceback only where SIPSUA_DEBUG is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sipsua.cli import interrupt

if TYPE_CHECKING:
    from sipsua.cli.report import JsonReport

DEBUG = "SIPSUA_DEBUG"
"""Environment variable that asks for tracebacks of all errors."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (`failure.ExitCode`); without arguments that of this process, whose signals and output
    are then arranged too."""
    own = arguments is None
    if own:
        interrupt.arm()
    arguments = sys.argv[1:] if arguments is None else arguments
    reports: list[JsonReport] = []
    code, error = 0, None
    try:
        # Imported under its eyes, because Ctrl-C may come while that goes on.
        from sipsua.cli import output
        from sipsua.cli.commands import perform

        if own:
            output.prepare()
        code = perform(arguments, reports)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as caught:
        error = caught
    if own:
        interrupt.disarm()
    try:
        # Of `load` it names a file, which has been written where there was something to write.
        as_json = "--json" in arguments and arguments[0] != "load"
        return _tell(error, code, reports, arguments, as_json)
    except Exception as caught:
        return _tell(caught, code, reports, arguments, False)


def _tell(
    error: BaseException | None, code: int, reports: list[JsonReport], arguments: Sequence[str], as_json: bool
) -> int:
    """Cause and remedy on stderr, the object on stdout; returns the exit code. Raises what the object's way meets."""
    from sipsua.cli.failure import Failure

    failure = Failure.of(error) if error is not None else None
    if error is not None:
        try:
            if os.environ.get(DEBUG):
                sys.excepthook(type(error), error, error.__traceback__)
            print(failure, file=sys.stderr)
        except Exception:
            pass  # stderr is full, and nowhere is left to say so
    if as_json and sys.stdout is not None and (reports or failure is not None):
        if not reports:
            from sipsua.cli.commands import ending

            reports.append(ending(arguments))
        report = reports[0]
        report.failure = failure
        report.print()
    return failure.code if failure is not None else code
