"""The files that a plan names: each read once, whoever wants it, so that ten thousand phones of twenty groups hold one trust list.

OpenSSL's contexts go by the trust list's identity, so sharing it is not only memory: phones with two equal lists would have two contexts.
"""

from __future__ import annotations

import os
from pathlib import Path
from weakref import WeakValueDictionary

from sipsua.errors import BadConfiguration
from sipsua.load.plan import TrustSettings
from sipsua.load.rows import Rows
from sipsua.phone.factory import Factory
from sipsua.trust.builtin import built_in_roots, mozilla_roots
from sipsua.trust.crl import CrlList
from sipsua.trust.identity import Identity
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList, read_file


class Files:
    """What the files hold. All methods raise BadConfiguration, naming the file."""

    __slots__ = ("_crls", "_directory", "_factories", "_identities", "_lists", "_policies", "_rows")

    def __init__(self, directory: Path) -> None:
        """`directory` is what relative paths are relative to."""
        self._directory = directory
        self._lists: dict[tuple[str, tuple[Path, ...]], TrustList] = {}
        self._crls: dict[tuple[Path, ...], CrlList] = {}
        self._policies: dict[TrustSettings, Policy] = {}
        self._rows: dict[Path, Rows] = {}
        self._factories: dict[Path, Factory] = {}
        self._identities: WeakValueDictionary[Path, Identity] = WeakValueDictionary()

    def path(self, name: str | Path) -> Path:
        """Where a file is; `~` is the home directory."""
        return self._directory / os.path.expanduser(name)

    def rows(self, name: Path) -> Rows:
        """The phones of a CSV."""
        path = self.path(name)
        if path not in self._rows:
            self._rows[path] = Rows.read(path)
        return self._rows[path]

    def policy(self, trust: TrustSettings) -> Policy:
        """What a group trusts, without a certificate of its own; one object for all groups with the same settings."""
        if trust not in self._policies:
            crls = None
            if trust.crl:
                if trust.crl not in self._crls:
                    self._crls[trust.crl] = CrlList.from_files(*map(self.path, trust.crl))
                crls = self._crls[trust.crl]
            self._policies[trust] = trust.policy(self._anchors(trust), crls)
        return self._policies[trust]

    def factory(self, name: Path) -> Factory:
        """The emulated manufacturer that is kept in a directory."""
        path = self.path(name)
        if path not in self._factories:
            if fault := missing(path, directory=True):
                raise fault
            self._factories[path] = Factory(path)
        return self._factories[path]

    def identity(self, name: str, *, proven: bool = True) -> Identity:
        """The certificate and key of a file; one object as long as somebody holds it.

        `proven` leaves out the proof that an RSA key is one, 30 ms of arithmetic, which nobody wants for each of ten thousand phones: a
        key that is none shows in the handshake.
        """
        path = self.path(name)
        identity = self._identities.get(path)
        if identity is None:
            identity = Identity.from_bundle(read_file(str(path)), str(path), proven=proven)
            self._identities[path] = identity
        return identity

    def _anchors(self, trust: TrustSettings) -> TrustList:
        key = trust.lists, trust.ca
        if key not in self._lists:
            if trust.lists == "builtin":
                anchors = built_in_roots()
            else:
                anchors = TrustList.from_files(*map(self.path, trust.ca))
                if trust.lists != "custom":
                    anchors = TrustList.union(built_in_roots() if trust.lists == "all" else mozilla_roots(), anchors)
            self._lists[key] = anchors
        return self._lists[key]


def missing(path: Path, *, directory: bool = False) -> BadConfiguration | None:
    """What is wrong with a path where nothing of the kind is."""
    if directory and not path.is_dir():
        return BadConfiguration(
            f"there is no directory {path}",
            fix="`sipsua device manufacturer-ca` makes a manufacturer, in ~/.local/share/sipsua/manufacturer",
        )
    if not directory and not path.exists():
        return BadConfiguration(f"there is no file {path}", fix="check the path, which is relative to the plan")
    return None
