"""The factory: the emulated manufacturer as it is kept on this machine, and every certificate that it gave to a phone.

A PBX is told once to trust the manufacturer's root, so there is one manufacturer on a machine, made when it is first wanted and the
same ever after; and a phone has one unique certificate, whoever asks for it and however often. All of it lies in files for their
owner only: one for the authority, one for the generic certificate, and one for each MAC address. Who makes something at the same
moment as another process drops its own and takes what the other kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ssl import PEM_cert_to_DER_cert
from typing import Final

from sipsua.errors import BadConfiguration
from sipsua.phone.flash import Flash, home
from sipsua.trust.certificate import describe
from sipsua.trust.identity import Identity
from sipsua.trust.manufacturer import KeyKind, Manufacturer, normal_mac

_AUTHORITY = "authority.pem"


class Factory:
    """The manufacturer of this machine. Any number of threads may use it.

    All methods raise BadConfiguration, naming the file, where the disk or the rights on it do not permit what they do, or where a file
    that is kept is broken.
    """

    __slots__ = ("_manufacturer", "flash")

    GENERIC: Final = "generic.pem"
    """Where in `flash` the generic certificate is."""

    flash: Flash
    """Where everything is kept."""

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        """`directory` None is `manufacturer` beside the phone's `flash.home()`."""
        self.flash = Flash(directory if directory is not None else home().with_name("manufacturer"))
        self._manufacturer: Manufacturer | None = None

    def __repr__(self) -> str:
        return f"<Factory: {self.flash.directory}>"

    @property
    def manufacturer(self) -> Manufacturer:
        """The authorities, and who issues. Made on first use."""
        if self._manufacturer is None:
            data = self._kept(_AUTHORITY, lambda: Manufacturer.found(datetime.now(UTC)).pem)
            self._manufacturer = Manufacturer.from_pem(data, str(self.flash.path(_AUTHORITY)))
        return self._manufacturer

    @property
    def root(self) -> bytes | None:
        """The certificate of the root, DER; None where there is no manufacturer yet, and none is made."""
        if self._manufacturer is None and self.flash.read(_AUTHORITY) is None:
            return None
        return PEM_cert_to_DER_cert(self.manufacturer.root_pem.decode())

    def generic(self) -> bytes:
        """The certificate that all phones without a unique one share, with chain and key, PEM. Made on first use."""
        return self._kept(self.GENERIC, lambda: self.manufacturer.issue_generic(at=datetime.now(UTC)))

    def unique(self, mac: str, key: KeyKind | None = None) -> bytes:
        """The certificate of the phone with this MAC address, with chain and key, PEM. Made on first use, with an RSA key unless told.

        Raises BadConfiguration also where the phone has one already with a key of the other kind than `key`.
        """
        name = self.name(mac)
        data = self._kept(name, lambda: self.manufacturer.issue(mac, at=datetime.now(UTC), key=key or "rsa"))
        if key is not None:
            has = describe(self._identity(name, data).der).key
            if not has.lower().startswith(key):
                raise BadConfiguration(
                    f"the phone {normal_mac(mac)} has its unique certificate already, with a key of {has}",
                    fix=f"leave the kind of key out to use it, or delete {self.flash.path(name)} to have another made",
                )
        return data

    def identity(self, mac: str, key: KeyKind | None = None) -> Identity:
        """The same for a policy. Raises BadConfiguration like `unique`."""
        return self._identity(self.name(mac), self.unique(mac, key))

    def ahead(self, macs: Iterable[str], key: KeyKind = "ec", *, threads: int | None = None) -> int:
        """Make the certificates of many phones, and return how many were not there yet. Those that were stay as they are.

        P-256 unless told, because an RSA key takes some 50 ms to make. `threads` None is one for each core: what is dear runs
        outside Python's lock. Where it is interrupted, what was made until then is kept.
        """
        wanted = dict.fromkeys(map(normal_mac, macs))  # in the order given and each once
        missing = [mac for mac in wanted if self.flash.read(self.name(mac)) is None]
        if missing:
            manufacturer = self.manufacturer

            def make(mac: str) -> None:
                self._kept(self.name(mac), lambda: manufacturer.issue(mac, at=datetime.now(UTC), key=key))

            pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
            try:
                for _ in pool.map(make, missing):
                    pass
            finally:
                pool.shutdown(cancel_futures=True)
        return len(missing)

    def name(self, mac: str) -> str:
        """Where in `flash` the unique certificate of a phone is."""
        mac = normal_mac(mac)
        # By the last octet, in which one delivery of phones differs: so no directory becomes long.
        return f"unique/{mac[-2:]}/{mac}.pem"

    def _identity(self, name: str, data: bytes) -> Identity:
        return Identity.from_bundle(data, str(self.flash.path(name)), proven=True)

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        """What is kept under this name; what `make` makes where nothing is yet."""
        data = self.flash.read(name)
        if data is None:
            made = make()  # outside the lock: a key takes its time
            with self.flash.lock():
                data = self.flash.read(name)
                if data is None:
                    self.flash.write(name, made)
                    data = made
        return data
