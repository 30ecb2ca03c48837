"""The phone's custom trusted certificates: uploaded one by one, ten at most, each told apart by what it is and not by what it is called.

Guide page 940 gives the limits: "You can upload 10 custom certificates at most. The format of the trusted certificate files must be
*.pem,*.cer,*.crt and *.der and the maximum file size is 5MB." What a phone does with a file of several certificates it does not say. Here
each of them counts, and the file is taken whole or not at all. An upload that cannot be taken changes nothing.

An upload is one file of the flash, `trusted/NN-NAME`, its certificates as PEM under a line that says how many they are.
"""

from __future__ import annotations

import os
import re
import shlex
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sipsua.errors import BadConfiguration
from sipsua.phone.flash import Flash
from sipsua.trust.certificate import describe
from sipsua.trust.store import MAXIMUM_FILE_SIZE, TrustAnchor, TrustList, path_text, read_file
from sipsua.trust.verdict import Certificate

FOLDER = "trusted"
"""The folder in the flash."""
MAXIMUM = 10
"""Custom certificates that a phone holds."""
EXTENSIONS = (".pem", ".cer", ".crt", ".der")
"""How the name of an uploaded file ends; any of them may hold PEM or DER."""
LOCALHOST = "http://localhost/"
"""How the parameter `static.trusted_certificates.delete` begins: `all` or a name follows."""

_STORED = re.compile(r"(\d+)-(.+)")
_HEAD = re.compile(rb"# (\d+) certificates?\n")
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")


@dataclass(frozen=True, slots=True)
class TrustedCertificate:
    """One line of the phone's list."""

    index: int
    """From 1, in the order in which they came."""
    name: str
    """The name of the file that was uploaded."""
    certificate: Certificate
    """What it says: issued to, issued by, expiry, fingerprint."""

    def as_json(self) -> dict[str, Any]:
        """A JSON object: `index`, `name`, and the fields of `trust.verdict.Certificate`."""
        return {"index": self.index, "name": self.name, **self.certificate.as_json()}


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of an upload that was taken."""

    added: tuple[TrustedCertificate, ...]
    """As they are in the list now."""
    warnings: tuple[str, ...]
    """What is odd about them, a sentence each."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the flash."""

    stored: str
    name: str
    certificates: TrustList


class AlreadyTrusted(BadConfiguration):
    """The certificate is in the list: an upload that changes nothing."""


class TrustedCertificates:
    """The custom list of one phone.

    All methods raise BadConfiguration for a file of the flash that is torn, naming it; only `delete` of a name and `delete_all` do not
    look into the files, so that they rid the phone of it.
    """

    __slots__ = ("_flash",)

    def __init__(self, flash: Flash) -> None:
        self._flash = flash

    def add(self, path: str | os.PathLike[str], at: datetime | None = None) -> Upload:
        """Take an uploaded file, as `put` does, after a look at its name. Raises BadConfiguration."""
        where = path_text(path)
        _check_name(Path(where).name, where)
        return self.put(Path(where).name, read_file(where, regular=True), at, where=where)

    def put(self, name: str, data: bytes, at: datetime | None = None, *, where: str | None = None) -> Upload:
        """Take what was uploaded under `name`: PEM or DER, whatever the name says. `at` (None: now) is the time to warn by.

        Raises BadConfiguration, naming `where`, for another extension than EXTENSIONS, more than 5 MB, what is no certificate, a private
        key, a certificate that is in the list, and more than MAXIMUM in all. The list is then as it was.
        """
        where = name if where is None else where
        anchors = _certificates(name, data, where)
        with self._flash.lock():
            files = self._files()
            before = _numbered(files)
            for one in before:
                if any(one.certificate.der == anchor.der for anchor in anchors):
                    raise AlreadyTrusted(
                        f"{where} holds {one.certificate.subject}, which is certificate {one.index} of the list ({one.name}) already",
                        fix="there is nothing to do; or delete the old one first",
                    )
            if len(before) + len(anchors) > MAXIMUM:
                there = "is 1 custom certificate" if len(before) == 1 else f"are {len(before)} custom certificates"
                held = f"there {there} and a phone holds {MAXIMUM}"
                more = f"{where} holds {len(anchors)} more" if len(anchors) > 1 else f"{where} is one too many"
                raise BadConfiguration(
                    f"{held}: {more}" + (", of which none was taken" if len(anchors) > 1 else ""),
                    fix="delete some first"
                    if len(anchors) <= MAXIMUM
                    else "add only those that its servers need, each from a file of its own",
                )
            number = max((_number(file.stored) for file in files), default=0) + 1
            self._store(f"{FOLDER}/{number:02d}-{name}", anchors)
            added = self.list()[len(before) :]
        now = at if at is not None else datetime.now(UTC)
        return Upload(added, tuple(_oddities(added, now)))

    def list(self) -> tuple[TrustedCertificate, ...]:
        """The list, as the phone's page shows it."""
        return _numbered(self._files())

    def trust_list(self) -> TrustList:
        """The certificates as trust anchors of origin `custom`. Phones with the same certificates get the same object."""
        return TrustList.union(*(file.certificates for file in self._files()))

    def pem(self) -> bytes:
        """All certificates as one PEM bundle, each under a comment with its index, name and subject."""
        return b"".join(
            f"# {one.index} {one.name}: {one.certificate.subject}\n{ssl.DER_cert_to_PEM_cert(one.certificate.der)}".encode()
            for one in self.list()
        )

    def delete(self, which: int | str) -> Sequence[str]:
        """Delete one certificate by its index, or all that were uploaded under a name; returns what each was: its subject, or the
        name. Raises BadConfiguration where there is none such."""
        if isinstance(which, str):
            if not self._delete_named(which):
                raise BadConfiguration(
                    f"there is no custom certificate of the name {which} in {self._flash.directory}",
                    fix="`sipsua trust list` shows their names",
                )
            return [which]
        with self._flash.lock():
            files = self._files()
            index = 0
            for file in files:
                for anchor in file.certificates:
                    index += 1
                    if index == which:
                        self._store(file.stored, tuple(one for one in file.certificates if one is not anchor))
                        return [describe(anchor.der).subject]
        held = f"the list has {index}" if index else "the list is empty"
        raise BadConfiguration(f"there is no custom certificate {which}: {held}", fix="`sipsua trust list` shows them")

    def delete_all(self) -> int:
        """Delete the whole list, torn files with it; returns how many files it had."""
        if not self._stored():  # so that nothing is made where there is nothing
            return 0
        with self._flash.lock():
            return sum(self._flash.delete(stored) for stored in self._stored())

    def delete_url(self, url: str) -> int:
        """Delete as `static.trusted_certificates.delete` says: `http://localhost/all`, or `http://localhost/NAME` for one upload.

        As on the phone, where a file with this line is loaded again and again, it is no error if there is nothing to delete. Returns how
        many files were deleted. Raises BadConfiguration for another URL.
        """
        name = unquote(url.removeprefix(LOCALHOST))
        if not url.startswith(LOCALHOST) or not name:
            raise BadConfiguration(
                f"{url[:200]!r} does not say what to delete", fix=f"write {LOCALHOST}all or {LOCALHOST}NAME"
            )
        if name == "all":
            return self.delete_all()
        return self._delete_named(name)

    def _delete_named(self, name: str) -> int:
        """Delete all that were uploaded under a name, torn files too; returns how many files they were."""
        with self._flash.lock():
            return sum(self._flash.delete(stored) for stored in self._stored() if _name(stored) == name)

    def _stored(self) -> Sequence[str]:
        return sorted(self._flash.names(FOLDER), key=lambda stored: (_number(stored), stored))

    def _files(self) -> Sequence[_File]:
        files = []
        for stored in self._stored():
            data = self._flash.read(stored)
            if data is None:
                continue  # deleted since by another process
            ours = _STORED.fullmatch(Path(stored).name) is not None
            try:
                certificates = TrustList.from_pem(data, where="it" if ours else str(self._flash.path(stored)))
            except BadConfiguration as error:
                raise self._torn(stored, error.what) if ours else error from None
            head = _HEAD.match(data)
            if head is not None and int(head[1]) != len(certificates):
                raise self._torn(stored, f"it has {len(certificates)} of {int(head[1])} certificates")
            files.append(_File(stored, _name(stored), certificates))
        return files

    def _torn(self, stored: str, why: str) -> BadConfiguration:
        command = f"sipsua trust delete {shlex.quote(_name(stored))} --flash {shlex.quote(str(self._flash.directory))}"
        return self._flash.torn(stored, why, delete=command)

    def _store(self, stored: str, anchors: Sequence[TrustAnchor]) -> None:
        if not anchors:
            self._flash.delete(stored)
            return
        head = f"# {len(anchors)} certificate{'s' if len(anchors) > 1 else ''}\n"
        self._flash.write(stored, (head + "".join(ssl.DER_cert_to_PEM_cert(one.der) for one in anchors)).encode())


def _check_name(name: str, where: str) -> None:
    if not name.lower().endswith(EXTENSIONS):
        raise BadConfiguration(
            f"{where} has none of the extensions {' '.join(EXTENSIONS)}", fix="rename the file, if it is a certificate"
        )
    if "/" in name or not name.isprintable() or len(name.encode("utf-8", "replace")) > 180:
        raise BadConfiguration(
            f"{where} has a name that cannot be kept", fix="give it a short name of printable characters"
        )


def _certificates(name: str, data: bytes, where: str) -> tuple[TrustAnchor, ...]:
    """What was uploaded, if it is nothing but certificates."""
    _check_name(name, where)
    if len(data) > MAXIMUM_FILE_SIZE:
        raise BadConfiguration(f"{where} is larger than 5 MB", fix="give a file with the certificate alone")
    anchors = tuple(TrustList.from_pem(data, where=where))
    if _KEY.search(data):
        raise BadConfiguration(
            f"{where} holds a private key beside the certificate",
            fix="give the certificate alone; a certificate with its key is the phone's own: `sipsua device upload`",
        )
    for anchor in anchors:
        if describe(anchor.der).serial == "":
            raise BadConfiguration(f"{where} holds a certificate that cannot be read", fix="have it issued again")
    return anchors


def _numbered(files: Iterable[_File]) -> tuple[TrustedCertificate, ...]:
    found = [(file.name, anchor.der) for file in files for anchor in file.certificates]
    return tuple(TrustedCertificate(index, name, describe(der)) for index, (name, der) in enumerate(found, 1))


def _oddities(certificates: Iterable[TrustedCertificate], now: datetime) -> Iterable[str]:
    for one in certificates:
        which = f"certificate {one.index} ({one.certificate.subject})"
        if one.certificate.not_after < now:
            yield f"{which} expired on {one.certificate.not_after:%Y-%m-%d}: it is kept, and servers under it are refused"
        elif one.certificate.not_before > now:
            yield f"{which} is not valid before {one.certificate.not_before:%Y-%m-%d}: until then servers under it are refused"


def _number(stored: str) -> int:
    """The number that a stored file has; what somebody put there without one comes last."""
    found = _STORED.fullmatch(Path(stored).name)
    return int(found[1]) if found is not None else 1_000_000


def _name(stored: str) -> str:
    found = _STORED.fullmatch(Path(stored).name)
    return found[2] if found is not None else Path(stored).name
