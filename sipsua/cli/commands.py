"""The commands by their names, and how their words are read: Typer's parser, with sipsua's errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from sipsua import __version__
from sipsua.cli import device, load, trust
from sipsua.cli.bad_pbx import bad_pbx
from sipsua.cli.check import check
from sipsua.cli.demo import demo
from sipsua.cli.factory_reset import factory_reset
from sipsua.cli.failure import UsageError
from sipsua.cli.pbx import pbx
from sipsua.cli.provision import ProvisionReport, provision
from sipsua.cli.register import register
from sipsua.cli.report import Ending, JsonReport, Report


def perform(arguments: Sequence[str], reports: list[JsonReport]) -> int:
    """Do what they say and return the exit code; a command that can report adds its report. Raises UsageError and what goes wrong."""
    command = typer.main.get_command(_app)
    try:
        with command.make_context("sipsua", list(arguments), obj=reports) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except TyperException as error:
        if not arguments:
            error.show()  # type: ignore[attr-defined]
            return 2
        words: str = error.format_message()
        # Typer passes on what a validator of its own said, with the kind of the exception before it.
        words = " ".join(words.split()).rstrip(".").replace("Value error, ", "")
        raise UsageError(words, fix=f"see {' '.join(['sipsua', *_named(arguments)])} --help") from None
    return 0


def ending(arguments: Sequence[str]) -> JsonReport:
    """What `--json` prints where the command that they name ended before it had a report: its own object if it has one, else `Ending`."""
    named = " ".join(_named(arguments))
    if named == "register":
        return Report(None)
    if named == "check":
        from sipsua.cli.inspection import Inspection

        return Inspection()
    if named in ("device show", "device upload", "device issue"):
        return device.DeviceReport()
    if named == "provision":
        return ProvisionReport()
    return Ending()


def _named(arguments: Sequence[str]) -> list[str]:
    """The names of the command that they mean, such as `trust` and `add`, as far as there is such a one."""
    command: Any = typer.main.get_command(_app)
    names: list[str] = []
    for word in arguments:
        if word.startswith("-"):
            continue
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        names.append(word)
    return names


class _Command(TyperCommand):
    """An option with nothing in it is a script's unset variable, and never what was meant."""

    def invoke(self, ctx: Any) -> Any:
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            # An empty password is one of the unusable passwords: see cli.password.
            if parameter.name != "password" and (value == "" or (isinstance(value, list | tuple) and "" in value)):
                word = (
                    parameter.opts[0]
                    if parameter.opts[0].startswith("-")
                    else (parameter.metavar or parameter.opts[0]).strip("[]")
                )
                raise UsageError(f"{word} is empty", fix="give it a value, or leave it out")
        return super().invoke(ctx)


# Without rich's frames `--help` takes a third of the time, and a usage error is a line that can be searched for.
_app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
_app.command(cls=_Command)(register)
_app.command(cls=_Command)(check)
_app.command(cls=_Command)(pbx)
_app.command("bad-pbx", cls=_Command)(bad_pbx)
_app.command(cls=_Command)(demo)
_app.command(cls=_Command)(provision)
_app.command("factory-reset", cls=_Command)(factory_reset)

_trust = typer.Typer(help="The phone's trusted certificates.", rich_markup_mode=None)
_trust.command("list", cls=_Command)(trust.list_trusted)
_trust.command("add", cls=_Command)(trust.add)
_trust.command("delete", cls=_Command)(trust.delete)
_trust.command("delete-all", cls=_Command)(trust.delete_all)
_trust.command("export", cls=_Command)(trust.export)
_app.add_typer(_trust, name="trust")

_device = typer.Typer(help="The phone's own certificates, and who makes them.", rich_markup_mode=None)
_device.command("show", cls=_Command)(device.show)
_device.command("upload", cls=_Command)(device.upload)
_device.command("delete", cls=_Command)(device.delete)
_device.command("issue", cls=_Command)(device.issue)
_device.command("manufacturer-ca", cls=_Command)(device.manufacturer_ca)
_app.add_typer(_device, name="device")


_load = typer.Typer(help="Many phones at once.", rich_markup_mode=None)
_load.command("run", cls=_Command)(load.run)
_load.command("quick", cls=_Command)(load.quick)
_load.command("worker", cls=_Command)(load.worker)
_load.command("locustfile", cls=_Command)(load.locustfile)
_load.command("plan", cls=_Command)(load.plan)
_app.add_typer(_load, name="load")


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
