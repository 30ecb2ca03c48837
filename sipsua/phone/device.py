"""The phone's own certificates, which the guide calls server or device certificates: which ones it has, and which one it shows.

A phone leaves the factory with a unique certificate, made for its MAC address. Phones that came without one share a generic
one, and an operator may load a custom one. `dev_cert` chooses between what the factory gave (0) and what the operator loaded (1). The
unique and the custom one lie in the phone's flash; the generic one is the factory's.

What a real phone shows with `dev_cert` 1 and nothing loaded is not known. Here that is an error: whatever else went over the wire, the
operator would look for its cause at the PBX.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from sipsua.errors import BadConfiguration
from sipsua.phone import settings
from sipsua.phone.factory import Factory
from sipsua.phone.flash import Flash
from sipsua.phone.reset import SERVER_CERTIFICATE
from sipsua.trust.certificate import describe, doubts
from sipsua.trust.identity import Identity
from sipsua.trust.manufacturer import KeyKind
from sipsua.trust.store import certificates_in, path_text, read_file
from sipsua.trust.verdict import Certificate

Kind = Literal["unique", "generic", "custom"]

ALL = "http://localhost/all"
"""What `static.server_certificates.delete` is set to, to delete the custom certificate."""

SUFFIXES = (".pem", ".cer")
"""How the name of a file that is uploaded must end, in either case of letters."""

_UNIQUE = "device/unique.pem"


@dataclass(frozen=True, slots=True)
class Own:
    """A certificate that the phone can show."""

    kind: Kind
    path: Path
    """The file that it is in, with its intermediates and its key."""
    identity: Identity
    """What a policy takes."""

    @property
    def certificate(self) -> Certificate:
        """The certificate alone, for a person to read."""
        return describe(self.identity.der)

    def doubts(self, at: datetime) -> tuple[str, ...]:
        """Why a server may refuse it at `at` (aware): see `trust.certificate.doubts`."""
        return doubts(self.certificate, at)


class Device:
    """The own certificates of one phone.

    All methods raise BadConfiguration where the disk does not permit what they do, or where a stored file is broken, which is named.
    """

    __slots__ = ("_factory", "flash")

    flash: Flash

    def __init__(self, flash: Flash, factory: Factory | None = None) -> None:
        """`factory` None is the one of this machine."""
        self.flash = flash
        self._factory = factory

    @property
    def factory(self) -> Factory:
        """Who gave the phone its certificate."""
        return self._factory if self._factory is not None else Factory()

    def shown(self, dev_cert: int) -> Own:
        """The certificate that the phone shows to who asks.

        With `dev_cert` 0 the unique one, and the generic one only where there is no unique one. With 1 the custom one; raises
        BadConfiguration where none was loaded.
        """
        if dev_cert:
            custom = self.custom
            if custom is None:
                raise BadConfiguration(
                    "the phone is to show its custom certificate (dev_cert is 1), and none was uploaded",
                    fix="upload one with `sipsua device upload FILE`, or set static.security.dev_cert to 0 in "
                    f"{self.flash.path(settings.FILE)} for the one from the factory",
                )
            return custom
        return self.unique or self.generic

    @property
    def unique(self) -> Own | None:
        """The certificate that is this phone's alone, if it has one."""
        return self._stored("unique", _UNIQUE)

    @property
    def custom(self) -> Own | None:
        """The certificate that was uploaded last, if one was."""
        return self._stored("custom", SERVER_CERTIFICATE)

    @property
    def generic(self) -> Own:
        """The certificate of all phones without a unique one. It is made on first use."""
        factory = self.factory
        path = factory.flash.path(factory.GENERIC)
        return Own("generic", path, Identity.from_bundle(factory.generic(), str(path), proven=True))

    def issue(self, mac: str, key: KeyKind | None = None) -> Own:
        """Give the phone the unique certificate of this MAC address, in place of what it had: see `Factory.unique`."""
        factory = self.factory
        identity = factory.identity(mac, key)
        self.flash.write(_UNIQUE, factory.unique(mac))
        return Own("unique", self.flash.path(_UNIQUE), identity)

    def upload(self, file: str | os.PathLike[str]) -> Own:
        """Load a custom certificate, in place of the one that was there.

        One file, whose name ends in `.pem` or `.cer`, of at most 5 MB: the certificate, its intermediates, and its key, not encrypted.
        One that has expired is taken: ask `Own.doubts`. Raises BadConfiguration for a file that is anything else; what was there stays.
        """
        name = path_text(file)
        if not name.lower().endswith(SUFFIXES):
            raise BadConfiguration(
                f"the name of {name} does not end in {' or '.join(SUFFIXES)}", fix="a server certificate is such a file"
            )
        data = read_file(
            name, too_large="upload the certificate, its intermediates and its key, and nothing else", regular=True
        )
        certificates_in(data, name)
        if b"PRIVATE KEY-----" not in data:
            raise BadConfiguration(
                f"{name} holds a certificate without its private key",
                fix="put both into one PEM file: `cat CERTIFICATE KEY > BOTH.pem`, with mode 0600",
            )
        identity = Identity.from_bundle(data, name)
        self.flash.write(SERVER_CERTIFICATE, data)
        return Own("custom", self.flash.path(SERVER_CERTIFICATE), identity)

    def delete(self, url: str = ALL) -> bool:
        """Delete the custom certificate, however broken it is; False if there was none. Raises BadConfiguration for another `url`."""
        if url != ALL:
            raise BadConfiguration(
                f"{url[:200]!r} does not say what to delete", fix=f"write {ALL}: there is one at most"
            )
        return self.flash.delete(SERVER_CERTIFICATE)

    def _stored(self, kind: Kind, name: str) -> Own | None:
        data = self.flash.read(name)
        if data is None:
            return None
        try:
            identity = Identity.from_bundle(data, "it", proven=kind == "unique")
            return Own(kind, self.flash.path(name), identity)
        except BadConfiguration as error:
            raise self.flash.torn(name, error.what) from None  # it was whole when it was stored
