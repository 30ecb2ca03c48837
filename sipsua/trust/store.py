"""The trust list: which certification authorities count, parsed once and shared by every account that names it.

A phone has two lists, the built-in and the custom one, and an operator wants to know which of them let a server in. So
each anchor keeps the list and the file that it came from. Ten thousand accounts hold one `TrustList`, hence one parsed
copy and one OpenSSL store. Files are told apart by what they contain, not by their names: `.cer`, `.crt`, `.der` and
`.pem` each hold either form in the wild.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from cryptography.utils import CryptographyDeprecationWarning
from OpenSSL._util import lib as _lib
from OpenSSL.crypto import X509, Error, X509Store, X509StoreFlags

from sipsua.errors import BadConfiguration, Defect, printable

MAXIMUM_FILE_SIZE = 5_000_000
"""Bytes. The limit that the phone has for a certificate file."""

_PEM_CERTIFICATE = re.compile(rb"-----BEGIN (CERTIFICATE|X509 CERTIFICATE)-----")
_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """One certificate that is trusted for its own sake."""

    subject: str
    """RFC 4514 string."""
    origin: str
    """The list it is from: `built-in`, `custom` or `mozilla`."""
    der: bytes
    """The certificate."""
    fingerprint: str
    """SHA-256 over the DER form, hexadecimal, lower case."""
    path: str | None = None
    """The file it was read from."""


class TrustList:
    """An immutable set of trust anchors, compared and hashed by identity so that it can key a cache of contexts.

    What is listed is trusted, whether it signed itself or not (RFC 5280 section 6.1.1 (d): a trust anchor is a name and
    a key). An operator who lists an intermediate CA means "trust this", and one who lists the server's own certificate
    pins it; OpenSSL's default would refuse both, so the store carries `X509_V_FLAG_PARTIAL_CHAIN`. Dates, names and
    purpose are checked as ever.
    """

    __slots__ = ("__weakref__", "_anchors", "_by_der", "_by_subject", "_openssl")

    def __init__(self, anchors: tuple[TrustAnchor, ...] = ()) -> None:
        """Of anchors with the same certificate the first stays. Raises BadConfiguration where one is no certificate."""
        self._by_der = {anchor.der: anchor for anchor in reversed(anchors)}
        self._anchors = tuple(anchor for anchor in anchors if self._by_der[anchor.der] is anchor)
        self._by_subject: dict[Name, list[TrustAnchor]] = {}
        openssl = []
        for anchor in self._anchors:
            try:
                certificate = load(anchor.der)
                self._by_subject.setdefault(comparable(certificate.subject), []).append(anchor)
                openssl.append(X509.from_cryptography(certificate))
            except (ValueError, Error) as error:
                where = f" in {anchor.path}" if anchor.path is not None else ""
                raise BadConfiguration(
                    f"the certificate of {printable(anchor.subject[:80])}{where} is broken inside, and OpenSSL does not take it",
                    fix="have it issued again, or take it out of the list",
                ) from error
        self._openssl = tuple(openssl)

    @classmethod
    def empty(cls) -> TrustList:
        """A list that trusts nobody."""
        return cls()

    @classmethod
    def from_files(cls, *paths: str | os.PathLike[str], origin: str = "custom") -> TrustList:
        """Read PEM bundles and DER files, at most 5 MB each.

        Raises BadConfiguration for a file that is missing, unreadable, empty, too large, or holds no certificate.
        """
        anchors: list[TrustAnchor] = []
        for path in paths:
            name = path_text(path)
            anchors += (_anchor(certificate, origin, name) for certificate in certificates_in(read_file(name), name))
        return cls(tuple(anchors))

    @classmethod
    def from_pem(
        cls, data: bytes | str, origin: str = "custom", *, where: str = "the PEM text of the trust list"
    ) -> TrustList:
        """Take a PEM bundle (or DER bytes) from memory. Raises BadConfiguration, naming `where`, if it holds no certificate."""
        anchors = tuple(
            _anchor(certificate, origin, None) for certificate in certificates_in(pem_bytes(data, where), where)
        )
        try:
            return cls(anchors)
        except BadConfiguration as error:
            raise BadConfiguration(f"{where}: {error.what}", fix=error.fix) from error

    @classmethod
    def union(cls, *lists: TrustList) -> TrustList:
        """All anchors of all lists. An anchor that is in several keeps the origin of the first.

        Ten thousand phones that choose the same certificates get the same list, as long as one of them holds it.
        """
        anchors = tuple(anchor for one in lists for anchor in one)
        known = _unions.get(anchors)
        if known is None:
            known = _unions[anchors] = cls(anchors)
        return known

    def __len__(self) -> int:
        return len(self._anchors)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[TrustAnchor]:
        return iter(self._anchors)

    def __str__(self) -> str:
        if not self._anchors:
            return "no trust anchors"
        return "1 trust anchor" if len(self._anchors) == 1 else f"{len(self._anchors)} trust anchors"

    def __repr__(self) -> str:
        return f"<TrustList: {self}>"

    def load_into(self, store: X509Store) -> None:
        """Add all anchors to a context's own store (`Context.get_cert_store()`), with the flags that this list means."""
        for certificate in self._openssl:
            store.add_cert(certificate)
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)

    def store_at(self, at: datetime) -> X509Store:
        """A fresh store that judges a TLS server's chain offline, as of `at` (aware)"""
        store = X509Store()
        store.set_time(at.astimezone(UTC))
        # A handshake sets the purpose by itself; offline it is ours to set.
        if _lib.X509_STORE_set_purpose(store._store, _lib.X509_PURPOSE_SSL_SERVER) != 1:
            raise Defect("OpenSSL takes no purpose for a certificate store")
        self.load_into(store)
        return store

    def find(self, subject: x509.Name) -> tuple[TrustAnchor, ...]:
        """The anchors of this name: several where a CA changed its key. Names compare as in RFC 5280 section 7.1."""
        return tuple(self._by_subject.get(comparable(subject), ()))

    def anchor(self, der: bytes) -> TrustAnchor | None:
        """The anchor that is exactly this certificate, if it is listed."""
        return self._by_der.get(der)


_unions: WeakValueDictionary[tuple[TrustAnchor, ...], TrustList] = WeakValueDictionary()

Name = tuple[frozenset[tuple[str, str]], ...]
"""A distinguished name in the form in which two of them compare."""


def comparable(name: x509.Name) -> Name:
    """Fold a distinguished name for comparison: case and runs of white space do not count (RFC 5280 section 7.1)."""
    return tuple(
        frozenset(
            (part.oid.dotted_string, " ".join(str(part.value).split()).casefold())
            if isinstance(part.value, str)
            else (part.oid.dotted_string, part.value.hex())
            for part in rdn
        )
        for rdn in name.rdns
    )


def certificates_in(data: bytes, where: str) -> list[x509.Certificate]:
    """All certificates of a PEM bundle, or the one of a DER file.

    Private keys beside certificates are passed over, never read. Raises BadConfiguration, naming `where`, if there is no
    certificate or one of them is broken.
    """
    if not data.strip():
        raise BadConfiguration(f"{where} is empty", fix="give a PEM or DER file with at least one certificate")
    if b"-----BEGIN " not in data:
        try:
            return [load(data)]
        except ValueError as error:
            what = "holds a private key" if _is_der_key(data) else "is neither a PEM nor a DER certificate"
            raise BadConfiguration(f"{where} {what}", fix="give the file of the certificate") from error
    try:
        blocks = list(pem_blocks(data, _PEM_CERTIFICATE))
    except ValueError:
        raise BadConfiguration(
            f"a certificate in {where} is cut off: END CERTIFICATE is missing", fix="copy or export it again"
        ) from None
    if not blocks:
        labels = sorted({label.decode() for label in _PEM_LABEL.findall(data)})
        if any(label.endswith("PRIVATE KEY") for label in labels):
            raise BadConfiguration(
                f"{where} holds a private key and no certificate",
                fix="give the file of the certificate, and check who can read the key",
            )
        raise BadConfiguration(
            f"{where} holds no certificate but {', '.join(labels[:5]) or 'an unfinished PEM block'}",
            fix="give a PEM file with BEGIN CERTIFICATE, or the DER form",
        )
    certificates = []
    for number, block in enumerate(blocks, 1):
        try:
            certificates.append(load(block))
        except ValueError as error:
            raise BadConfiguration(
                f"certificate {number} of {len(blocks)} in {where} is broken", fix="export it again, or take it out"
            ) from error
    return certificates


def pem_blocks(data: bytes, begins: re.Pattern[bytes]) -> Iterator[bytes]:
    """The PEM blocks whose beginnings match, in order; group 1 of the pattern is the label. Raises ValueError at one without its end.

    A pattern for the whole block would take hours for a file of nothing but beginnings.
    """
    end = 0
    for begin in begins.finditer(data):
        mark = b"-----END " + begin[1] + b"-----"
        inside = begin.start() < end
        end = data.find(mark, begin.end())
        if inside or end < 0:
            raise ValueError("a PEM block without its end")
        end += len(mark)
        yield data[begin.start() : end]


def load(data: bytes) -> x509.Certificate:
    """Parse a certificate, PEM or DER. Raises ValueError."""
    parse = x509.load_pem_x509_certificate if data.startswith(b"-----BEGIN ") else x509.load_der_x509_certificate
    try:
        try:
            return parse(data)
        except CryptographyDeprecationWarning:  # somebody has made errors of all warnings since
            _take_serial_0()
            return parse(data)
    except x509.InvalidVersion as error:  # which is no ValueError
        raise ValueError(str(error)) from error


def path_text(path: str | os.PathLike[str]) -> str:
    """A path as text. Raises BadConfiguration for what is none, such as a list of paths."""
    if not isinstance(path, str | os.PathLike):
        raise BadConfiguration(
            f"a path cannot be of type {type(path).__name__}", fix="give str or Path, and each file as an argument"
        )
    return os.fspath(path)


def pem_bytes(data: bytes | str, where: str) -> bytes:
    """PEM text as bytes. Raises BadConfiguration, naming `where`, for what is neither."""
    if not isinstance(data, bytes | str):
        raise BadConfiguration(f"{where} cannot be of type {type(data).__name__}", fix="give bytes or str")
    return data.encode("utf-8", "replace") if isinstance(data, str) else data


def read_file(path: str, *, too_large: str = "split the list into several files", regular: bool = False) -> bytes:
    """The bytes of a certificate or key file. Raises BadConfiguration if it is missing, unreadable or over 5 MB; `too_large` is what
    to do about the latter. With `regular` a pipe or a device is refused, and not waited for."""
    try:
        with open(path, "rb", opener=without_waiting if regular else None) as file:
            if regular and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadConfiguration(f"{path} is no regular file", fix="give a file, and no pipe or device")
            data = file.read(MAXIMUM_FILE_SIZE + 1)
    except FileNotFoundError as error:
        raise BadConfiguration(f"there is no file {path}", fix="check the path") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a usable path"
        raise BadConfiguration(f"cannot read {path}: {why}", fix="check the path and the rights of the file") from error
    if len(data) > MAXIMUM_FILE_SIZE:
        raise BadConfiguration(f"{path} is larger than 5 MB", fix=too_large)
    return data


def without_waiting(path: str, flags: int) -> int:
    """An opener for `open`, by which a pipe that nobody writes to is opened too, to be looked at."""
    return os.open(path, flags | os.O_NONBLOCK)


def _anchor(certificate: x509.Certificate, origin: str, path: str | None) -> TrustAnchor:
    try:
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        subject = "(unreadable name)"
    return TrustAnchor(
        subject=subject,
        origin=origin,
        der=certificate.public_bytes(Encoding.DER),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        path=path,
    )


def _take_serial_0() -> None:
    """Keep the parser's warning of a serial number that is not positive from everybody: some famous roots have 0, which is no news to
    who trusts them, and nothing for a phone's screen.

    The filters belong to the whole process, so they are added to and not changed for a while: threads would undo each other's.
    """
    warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive", CryptographyDeprecationWarning)


_take_serial_0()


def _is_der_key(data: bytes) -> bool:
    try:
        load_der_private_key(data, password=None)
    except TypeError:
        return True  # an encrypted key
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True
