"""Whom a command trusts, and which phone it is: what `--trust`, `--ca`, `--flash` and `--mac` mean together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sipsua.cli.failure import UsageError
from sipsua.errors import BadConfiguration

if TYPE_CHECKING:
    from sipsua.trust.identity import Identity
    from sipsua.trust.policy import Policy
    from sipsua.trust.store import TrustList

# What is dear to import (OpenSSL) is imported where the work begins, so that `--help` comes at once.

Lists = Literal["builtin", "custom", "all", "mozilla"]

TrustOption = Annotated[
    Lists | None,
    typer.Option(
        "--trust",
        help="Lists that count: the phone's built-in one; custom, that of --ca and --flash; both; or today's public "
        "roots and custom. Without: as --flash says, else custom.",
    ),
]


def trusted(lists: Lists, custom: TrustList, ca: Sequence[str]) -> TrustList:
    """The trust anchors; `custom` has those of `ca` in it. Raises UsageError where those would not count."""
    from sipsua.trust.builtin import built_in_roots, mozilla_roots
    from sipsua.trust.store import TrustList

    if lists == "builtin":
        if ca:
            raise UsageError(
                "the certificates of --ca would not count: only the built-in ones are trusted", fix="say --trust all"
            )
        return built_in_roots()
    if lists == "custom":
        return custom
    return TrustList.union(built_in_roots() if lists == "all" else mozilla_roots(), custom)


def unique_identity(mac: str) -> Identity:
    """The unique certificate of the phone with this MAC address, made if it is asked for the first time. Raises UsageError."""
    from sipsua.phone.factory import Factory
    from sipsua.trust.manufacturer import normal_mac

    try:
        mac = normal_mac(mac)
    except BadConfiguration as error:
        raise UsageError(f"--mac: {error.what}", fix=error.fix) from None
    return Factory().identity(mac)


@dataclass(frozen=True, slots=True)
class StoredPhone:
    """A phone as its flash has it."""

    policy: Policy
    """Its own TLS side, where the command line says nothing else."""
    lists: Lists
    """Which lists count by its settings."""
    custom: TrustList
    """Its custom list, whether it counts or not."""

    @classmethod
    def read(cls, directory: str, *, identity: Identity | None, versions: bool, dangerous_old_tls: bool) -> StoredPhone:
        """The phone that shows `identity` rather than its own certificate, if one is given.

        With `versions` its TLS versions count, which are refused where they are too old and `dangerous_old_tls` does not permit it. Raises
        BadConfiguration.
        """
        from sipsua.phone.device import Device
        from sipsua.phone.flash import Flash
        from sipsua.phone.settings import Settings
        from sipsua.phone.trusted import TrustedCertificates
        from sipsua.phone.trusting import policy

        flash = Flash(directory)
        if not flash.directory.is_dir():
            raise BadConfiguration(
                f"there is no flash {flash.directory}", fix="check the path; `sipsua device issue` makes a phone there"
            )
        settings = Settings.read(flash)
        custom = TrustedCertificates(flash).trust_list()
        if not versions:
            settings = replace(settings, default_ssl_method=3)
        if identity is None:
            identity = Device(flash).shown(settings.dev_cert).identity
        return cls(
            policy(settings, custom, identity, dangerous_old_tls=dangerous_old_tls),
            _LISTS[settings.ca_cert],
            custom,
        )


_LISTS: dict[int, Lists] = {0: "builtin", 1: "custom", 2: "all"}
"""By the value of `static.security.ca_cert`."""
