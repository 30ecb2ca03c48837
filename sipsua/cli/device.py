"""`sipsua device`: the phone's own certificates, and the emulated manufacturer that makes them.

`show`, `upload` and `delete` are the page "Server Certificates" of the phone. `issue` is the factory, and `manufacturer-ca` is what the
operator of a PBX asks the manufacturer for. A private key is written to files, mode 0600, and to nothing else.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sipsua.cli.failure import UsageError
from sipsua.cli.report import JsonReport
from sipsua.cli.trust import FlashDirectory

if TYPE_CHECKING:
    from sipsua.cli.screen import Screen, Tone
    from sipsua.errors import BadConfiguration
    from sipsua.phone.device import Device, Own

# What is dear to import (OpenSSL) is imported where the work begins, so that `--help` comes at once.

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout, and all else to stderr.")]


class DeviceReport(JsonReport):
    """The own certificates of one phone."""

    def __init__(self) -> None:
        self.flash: str | None = None
        self.dev_cert: int | None = None
        self.shown: Own | None = None
        self.kept: list[Own] = []
        self.ahead: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The object:

        - `flash`: the directory of the phone; null where it is about many.
        - `dev_cert`: 0 (default certificates) or 1 (custom certificates).
        - `shown`: which kind of certificate the phone shows, `unique`, `generic` or `custom`; null where it has none to show.
        - `why`: why this one, in words; null with `shown`.
        - `certificates`: those that there are, each with `kind`, `file`, `doubts` (why a server may refuse it) and the fields of
          `trust.verdict.Certificate`. The generic one is among them only where it is shown.
        - `ahead`: what `issue --count` did: `directory`, `first` (MAC), `count`, `made` (the others were there), `seconds`.
        - `error`: `code` in words, `what` and `fix`; null where all went well.
        - `exit_code`: the number that the command ends with.
        """
        from datetime import UTC, datetime

        now = datetime.now(UTC)
        return {
            "flash": self.flash,
            "dev_cert": self.dev_cert,
            "shown": self.shown.kind if self.shown is not None else None,
            "why": _WHY[self.shown.kind] if self.shown is not None else None,
            "certificates": [
                {
                    "kind": own.kind,
                    "file": str(own.path),
                    "doubts": list(own.doubts(now)),
                    **own.certificate.as_json(),
                }
                for own in self.kept
            ],
            "ahead": self.ahead,
            **self._end(),
        }


def show(context: typer.Context, flash: FlashDirectory = None, as_json: AsJson = False) -> None:
    """Show which certificate the phone shows to a server that asks for one, and why."""
    report, screen, device = _begin(context, flash, as_json)
    trouble = _look(report, screen, device)
    if trouble is not None:
        raise trouble


def upload(
    context: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A .pem or .cer file of at most 5 MB: certificate, intermediates and key in one."
        ),
    ],
    flash: FlashDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Load the custom certificate, in place of the one that was there."""
    report, screen, device = _begin(context, flash, as_json)
    own = device.upload(file)
    screen.line(("uploaded", "good"), f"custom certificate {own.certificate.subject} to {device.flash.directory}")
    _look(report, screen, device)


def delete(
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="As the phone's parameter has it; there is one at most.")
    ] = "http://localhost/all",
    flash: FlashDirectory = None,
) -> None:
    """Delete the custom certificate."""
    from sipsua.cli.screen import Screen
    from sipsua.phone.device import ALL, Device
    from sipsua.phone.flash import Flash

    if url != ALL:
        raise UsageError(f"{url} names no server certificate", fix=f"there is one at most: say {ALL}, or nothing")
    device = Device(Flash(flash))
    gone = device.delete()
    where = f"custom certificate of {device.flash.directory}"
    Screen().line(*((("deleted", "good"), where) if gone else (("there was no", "title"), where)))


def issue(
    context: typer.Context,
    mac: Annotated[str, typer.Option(metavar="MAC", help="001565aabbcc or 00:15:65:aa:bb:cc.")],
    count: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Make the certificates of N phones ahead, from MAC on; no flash is changed."
        ),
    ] = None,
    key: Annotated[
        Literal["rsa", "ec"] | None,
        typer.Option(
            help="Kind of the key: RSA 2048 or P-256. Without: as it was made; new ones rsa, with --count ec.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write certificate, chain and key to this file too, mode 0600."),
    ] = None,
    flash: FlashDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Give the phone the unique certificate of a MAC address; it is made when it is first asked for, and kept."""
    from sipsua.cli.output import write_file
    from sipsua.errors import BadConfiguration
    from sipsua.trust.manufacturer import normal_mac

    if count is not None and (flash is not None or out is not None):
        option = "--flash" if flash is not None else "--out"
        raise UsageError(f"--count with {option}: that is about one phone", fix=f"leave {option} or --count out")
    try:
        mac = normal_mac(mac)
    except BadConfiguration as error:
        raise UsageError(f"--mac: {error.what}", fix=error.fix) from None
    if out is not None:
        _check_out(out)
    report, screen, device = _begin(context, flash, as_json)
    if count is not None:
        report.flash = None
        _ahead(report, screen, device, mac, count, key or "ec")
        return
    own = device.issue(mac, key)
    screen.line(("issued", "good"), f"unique certificate {own.certificate.subject} to {device.flash.directory}")
    if out is not None:
        write_file(out, own.path.read_bytes(), mode=0o600)
        screen.line(("written", "good"), f"certificate, chain and key to {out}")
    _look(report, screen, device)


def manufacturer_ca(
    which: Annotated[
        Literal["root", "issuing", "both"],
        typer.Option(
            help="The root, which a PBX is to trust; the authority below it, which phones send along; or both."
        ),
    ] = "root",
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write it to this file. Without: to stdout.")] = None,
) -> None:
    """Print the certificate of the emulated manufacturer's CA, for the PBX to trust; the CA is made when it is first asked for."""
    from sipsua.cli.output import print_bytes, write_file
    from sipsua.cli.screen import Screen
    from sipsua.phone.factory import Factory

    maker = Factory().manufacturer
    pem = {"root": maker.root_pem, "issuing": maker.issuing_pem, "both": maker.issuing_pem + maker.root_pem}[which]
    if out is None:
        print_bytes(pem)
    else:
        write_file(out, pem)
        Screen().line(("written", "good"), out)


def _begin(context: typer.Context, flash: str | None, as_json: bool) -> tuple[DeviceReport, Screen, Device]:
    from sipsua.cli.screen import Screen
    from sipsua.phone.device import Device
    from sipsua.phone.flash import Flash

    report, device = DeviceReport(), Device(Flash(flash))
    report.flash = str(device.flash.directory)
    context.obj.append(report)
    return report, Screen("stderr" if as_json else "stdout"), device


def _look(report: DeviceReport, screen: Screen, device: Device) -> BadConfiguration | None:
    """Gather and tell what the phone has, and which of it it shows; returns why it has nothing to show, if so."""
    from datetime import UTC, datetime

    from sipsua.errors import BadConfiguration
    from sipsua.phone.settings import Settings

    trouble, now = None, datetime.now(UTC)
    try:
        report.dev_cert = Settings.read(device.flash).dev_cert
        report.kept = [own for own in (device.unique, device.custom) if own is not None]
        report.shown = device.shown(report.dev_cert)
    except BadConfiguration as error:
        trouble = error
    if report.shown is not None and report.shown.kind == "generic":
        report.kept.insert(0, report.shown)
    for own in report.kept:
        title: tuple[str, Tone] = (f"{own.kind} certificate", "title")
        screen.certificate(own.certificate, now, title, own.certificate.subject)
        screen.line(("file", "dim"), f"    {own.path}", indent=2)
        for doubt in own.doubts(now):
            screen.line(("warning", "weak"), doubt, indent=2)
    if report.shown is not None:
        screen.line(("shown", "good"), f"the {report.shown.kind} certificate: {_WHY[report.shown.kind]}")
    elif trouble is not None:
        screen.line(("shown", "bad"), f"none: {trouble.what}")
    return trouble


def _ahead(
    report: DeviceReport, screen: Screen, device: Device, first: str, count: int, key: Literal["rsa", "ec"]
) -> None:
    from sipsua.errors import BadConfiguration
    from sipsua.trust.manufacturer import macs_from

    try:
        macs = macs_from(first, count)
    except BadConfiguration as error:
        raise UsageError(f"--count: {error.what}", fix=error.fix) from None
    factory, made, done = device.factory, 0, 0
    began = said = time.monotonic()
    while piece := list(islice(macs, 250)):
        made += factory.ahead(piece, key)
        done += len(piece)
        if done < count and time.monotonic() - said > 5:
            said = time.monotonic()
            screen.line((f"{done} of {count}", "dim"))
    seconds = time.monotonic() - began
    directory = str(factory.flash.path("unique"))
    report.ahead = {
        "directory": directory,
        "first": first,
        "count": count,
        "made": made,
        "seconds": round(seconds, 3),
    }
    speed = f" in {seconds:.1f} s, {1000 * seconds / made:.2f} ms each" if made else ""
    screen.line(
        ("issued", "good"),
        f"{made} unique certificate{'' if made == 1 else 's'}{speed}; {count - made} were there already",
    )
    screen.line(("kept", "dim"), f"  {directory}", indent=2)


def _check_out(out: str) -> None:
    """Whether a private key may go there. Raises UsageError for a terminal, a pipe or a directory."""
    from pathlib import Path

    path = Path(out)
    if path.exists() and not path.is_file():
        raise UsageError(f"--out {out} is no file, and a private key goes to nothing else", fix="name a new file")


_WHY = {
    "unique": "dev_cert is 0 (default certificates), and it has a unique one",
    "generic": "dev_cert is 0 (default certificates), and it has no unique one",
    "custom": "dev_cert is 1 (custom certificates)",
}
