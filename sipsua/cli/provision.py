"""`sipsua provision`: what a configuration file of a Yealink does to a phone that is kept here.

A provisioning server hands phones such files, and what became of one is hard to see on a phone. Here each line is answered for: what was
set, what was loaded or deleted, what could not be followed and why, and what sipsua does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sipsua.cli.report import JsonReport
from sipsua.cli.trust import FlashDirectory

if TYPE_CHECKING:
    from sipsua.phone.provisioning import Provisioned

# What is dear to import (OpenSSL) is imported where the work begins, so that `--help` comes at once.


class ProvisionReport(JsonReport):
    """What became of one configuration file."""

    def __init__(self) -> None:
        self.flash: str | None = None
        self.done: Provisioned | None = None

    def as_json(self) -> dict[str, Any]:
        """The object; texts begin with `line N: `.

        - `flash`: the directory of the phone; null where the command line could not be read.
        - `set`: the settings that the file names, a text each.
        - `done`: what its lines did to certificates, a text each.
        - `warnings`: what is odd about loaded certificates, a text each.
        - `refused`: lines that could not be followed, each with `what` and `fix`.
        - `unknown`: lines that have no effect here, a text each.
        - `error`: `code` in words, `what` and `fix`; null where all went well.
        - `exit_code`: the number that the command ends with.
        """
        done = self.done
        return {
            "flash": self.flash,
            "set": list(done.values) if done is not None else [],
            "done": list(done.deeds) if done is not None else [],
            "warnings": list(done.warnings) if done is not None else [],
            "refused": [{"what": one.what, "fix": one.fix} for one in done.refused] if done is not None else [],
            "unknown": list(done.settings.unknown) if done is not None else [],
            **self._end(),
        }


def provision(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A Yealink .cfg file. The certificates that it names are files of this machine."
        ),
    ],
    flash: FlashDirectory = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to stdout, and all else to stderr.")
    ] = False,
) -> None:
    """Load a configuration file into the phone: TLS settings, and certificates to load or delete.

    A value that is not permitted refuses the whole file. A certificate that cannot be loaded does not keep the other lines from
    having their effect; the exit code is 17 then too.
    """
    from sipsua.cli.interrupt import PATIENCE, within
    from sipsua.cli.screen import Screen
    from sipsua.errors import BadConfiguration
    from sipsua.phone.flash import Flash
    from sipsua.phone.provisioning import provision as load
    from sipsua.trust.store import read_file

    report, phone = ProvisionReport(), Flash(flash)
    report.flash = str(phone.directory)
    context.obj.append(report)
    with within(PATIENCE, "FILE"):
        data = read_file(file, too_large="check the path: a configuration file has some kilobytes")
    done = report.done = load(phone, file, data=data)
    screen = Screen("stderr" if as_json else "stdout")
    for one in done.values:
        screen.line(("set", "good"), f"    {one}")
    for one in done.deeds:
        screen.line(("done", "good"), f"   {one}")
    for one in done.warnings:
        screen.line(("warning", "weak"), one)
    for one in done.settings.unknown:
        screen.line(("unknown", "dim"), one)
    for error in done.refused:
        screen.line(("refused", "bad"), error.what)
        screen.line(("fix", "dim"), error.fix, indent=8)
    screen.line(("provisioned", "title"), str(phone.directory))
    if done.refused:
        first, more = done.refused[0], len(done.refused) - 1
        lines = "line was" if more == 1 else "lines were"
        raise BadConfiguration(first.what + (f"; {more} more {lines} refused" if more else ""), fix=first.fix)
