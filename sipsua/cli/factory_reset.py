"""`sipsua factory-reset`: a phone as it came from the factory, with or without the certificates that it was given since."""

from __future__ import annotations

from typing import Annotated

import typer

# What is dear to import (OpenSSL) is imported where the work begins, so that `--help` comes at once.


def factory_reset(
    flash: Annotated[str, typer.Option("--flash", metavar="DIR", help="The phone's flash.")],
    keep_certificates: Annotated[
        bool, typer.Option("--keep-certificates", help="Keep the custom certificates, whatever the settings say.")
    ] = False,
) -> None:
    """Delete the phone's settings and custom certificates, these only if static.phone_setting.reserve_certs_enable is not 1."""
    from sipsua.cli.screen import Screen
    from sipsua.errors import BadConfiguration
    from sipsua.phone.flash import Flash
    from sipsua.phone.reset import factory_reset as reset

    phone = Flash(flash)
    if not phone.directory.is_dir():
        raise BadConfiguration(f"there is no flash {phone.directory}", fix="check the path")
    if phone.foreign:
        raise BadConfiguration(
            f"{phone.directory} is no phone's flash: it holds other files", fix="check the path; nothing was changed"
        )
    done = reset(phone, keep_certificates=keep_certificates)
    screen = Screen()
    screen.line(("reset", "good"), str(phone.directory))
    trusted = "1 file deleted" if done.trusted_deleted == 1 else f"{done.trusted_deleted} files deleted"
    server = "deleted" if done.server_deleted else "there was none"
    for what, became in (
        ("settings", "deleted" if done.settings_deleted else "there were none"),
        ("trusted certificates", "kept" if done.kept else trusted),
        ("server certificate", "kept" if done.kept else server),
    ):
        screen.line((f"{what:<21}", "dim"), became, indent=2)
