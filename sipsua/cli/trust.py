"""`sipsua trust`: the list of trusted certificates of one phone, as its web page has it, and the two lists that are built in.

`list`, `add`, `delete` and `delete-all` are the page's buttons; `export` gives the custom list to whatever reads PEM.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sipsua.cli.failure import UsageError

if TYPE_CHECKING:
    from sipsua.cli.screen import Screen
    from sipsua.trust.verdict import Certificate

# What is dear to import (OpenSSL) is imported where the work begins, so that `--help` comes at once.

FlashDirectory = Annotated[
    str | None,
    typer.Option(
        "--flash",
        metavar="DIR",
        help="The phone's flash. Without: $SIPSUA_HOME/phone, else the user's data directory.",
        show_default=False,
    ),
]
"""Which phone: its directory."""


def list_trusted(
    flash: FlashDirectory = None,
    builtin: Annotated[
        bool, typer.Option("--builtin", help="Show the roots that the phone has built in instead.")
    ] = False,
    mozilla: Annotated[bool, typer.Option("--mozilla", help="Show today's public roots instead.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; after a failure one of error and exit_code.")
    ] = False,
) -> None:
    """List the custom trusted certificates: index, issued to, issued by, expiry, fingerprint."""
    from sipsua.cli.output import print_json
    from sipsua.cli.screen import Screen
    from sipsua.phone.flash import Flash
    from sipsua.phone.trusted import TrustedCertificates
    from sipsua.trust.builtin import built_in_roots, mozilla_roots
    from sipsua.trust.certificate import describe

    if builtin + mozilla + (flash is not None) > 1:
        raise UsageError("--builtin, --mozilla and --flash are three lists", fix="give one of them")
    directory = None
    rows: list[tuple[int, str | None, Certificate]] = []
    if builtin or mozilla:
        which = "built-in" if builtin else "mozilla"
        anchors = built_in_roots() if builtin else mozilla_roots()
        rows += [(index, None, describe(anchor.der)) for index, anchor in enumerate(anchors, 1)]
    else:
        which = "custom"
        custom = Flash(flash)
        directory = str(custom.directory)
        rows += [(one.index, one.name, one.certificate) for one in TrustedCertificates(custom).list()]
    if as_json:
        certificates = [{"index": index, "name": name, **one.as_json()} for index, name, one in rows]
        print_json({"list": which, "flash": directory, "certificates": certificates})
        return
    screen = Screen()
    for index, name, certificate in rows:
        _show(screen, index, name, certificate)
    count = "1 certificate" if len(rows) == 1 else f"{len(rows)} certificates"
    screen.line((f"{count} in the {which} list", "title"), *([f"of {directory}"] if directory is not None else []))


def add(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A .pem, .cer, .crt or .der file of at most 5 MB; PEM or DER.")
    ],
    flash: FlashDirectory = None,
) -> None:
    """Add a certificate to the custom list, which holds ten."""
    from sipsua.cli.screen import Screen
    from sipsua.phone.flash import Flash
    from sipsua.phone.trusted import TrustedCertificates

    custom = Flash(flash)
    upload = TrustedCertificates(custom).add(file)
    screen = Screen()
    for one in upload.added:
        _show(screen, one.index, one.name, one.certificate)
    for warning in upload.warnings:
        screen.line(("warning", "weak"), warning)
    screen.line(("added", "good"), f"to the custom list of {custom.directory}")


def delete(
    which: Annotated[str, typer.Argument(metavar="INDEX", help="The index in the list, or the name of the file.")],
    flash: FlashDirectory = None,
) -> None:
    """Delete a certificate of the custom list; by the name of a file all that came with it."""
    from sipsua.cli.screen import Screen
    from sipsua.phone.flash import Flash
    from sipsua.phone.trusted import TrustedCertificates

    custom = Flash(flash)
    number = int(which) if which.isascii() and which.isdigit() and len(which) < 10 else None
    for gone in TrustedCertificates(custom).delete(which if number is None else number):
        Screen().line(("deleted", "good"), gone, f"from the custom list of {custom.directory}")


def delete_all(flash: FlashDirectory = None) -> None:
    """Delete the whole custom list."""
    from sipsua.cli.screen import Screen
    from sipsua.phone.flash import Flash
    from sipsua.phone.trusted import TrustedCertificates

    custom = Flash(flash)
    count = TrustedCertificates(custom).delete_all()
    files = "1 file" if count == 1 else f"{count} files"
    Screen().line(("deleted", "good"), f"{files} of the custom list of {custom.directory}")


def export(
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="Without: to standard output.")] = None,
    flash: FlashDirectory = None,
) -> None:
    """Write the custom list as one PEM bundle."""
    from sipsua.cli.output import print_bytes, write_file
    from sipsua.cli.screen import Screen
    from sipsua.errors import BadConfiguration
    from sipsua.phone.flash import Flash
    from sipsua.phone.trusted import TrustedCertificates

    custom = Flash(flash)
    pem = TrustedCertificates(custom).pem()
    if not pem:
        raise BadConfiguration(
            f"the custom list of {custom.directory} is empty", fix="add a certificate with `sipsua trust add FILE`"
        )
    if file is None:
        print_bytes(pem)
    else:
        write_file(file, pem)
        Screen().line(("written", "good"), os.fspath(Path(file)))


def _show(screen: Screen, index: int, name: str | None, certificate: Certificate) -> None:
    from datetime import UTC, datetime

    left = certificate.not_after - datetime.now(UTC)
    until = f"{certificate.not_after:%Y-%m-%d}, {f'{left.days} days left' if left.days >= 0 else 'expired'}"
    screen.line((f"{index}", "title"), (certificate.subject, "title"))
    by = "itself" if certificate.issuer == certificate.subject else certificate.issuer
    screen.line(("issued by", "dim"), by, indent=2)
    screen.line(("expiry", "dim"), "  ", (until, "" if left.days >= 0 else "bad"), indent=2)
    screen.line(("sha256", "dim"), "  ", certificate.fingerprint, indent=2)
    if name is not None:
        screen.line(("file", "dim"), "    ", name, indent=2)
