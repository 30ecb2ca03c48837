"""Certificate revocation lists: which certificates their issuers have called back, read from files and shared like a trust list.

A CRL (RFC 5280 section 5) comes from the operator, PEM or DER, and is looked up at each handshake: OpenSSL does that with its own
copy, `trust.chain` explains with this one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib
from OpenSSL.crypto import X509Store, X509StoreFlags

from sipsua.errors import BadConfiguration, Defect
from sipsua.trust.store import Name, comparable, path_text, pem_blocks, pem_bytes, read_file

_PEM_CRL = re.compile(rb"-----BEGIN (X509 CRL)-----")


class CrlList:
    """An immutable set of CRLs, compared and hashed by identity so that it can key a cache of contexts."""

    __slots__ = ("__weakref__", "_by_issuer", "_crls", "_openssl")

    def __init__(self, crls: Iterable[x509.CertificateRevocationList]) -> None:
        """Raises ValueError where OpenSSL, or we, cannot read one of them."""
        self._crls = tuple(crls)
        self._by_issuer: dict[Name, list[x509.CertificateRevocationList]] = {}
        for crl in self._crls:
            self._by_issuer.setdefault(comparable(crl.issuer), []).append(crl)
        self._openssl = tuple(_openssl_crl(crl.public_bytes(Encoding.DER)) for crl in self._crls)

    @classmethod
    def from_files(cls, *paths: str | os.PathLike[str]) -> CrlList:
        """Read PEM files, of one CRL or several, and DER files, at most 5 MB each. Raises BadConfiguration, naming the file."""
        lists = [cls._read(read_file(name), name) for name in map(path_text, paths)]
        return lists[0] if len(lists) == 1 else cls(crl for one in lists for crl in one)

    @classmethod
    def from_pem(cls, data: bytes | str) -> CrlList:
        """Take PEM text (or DER bytes) from memory. Raises BadConfiguration where it holds no CRL."""
        where = "the PEM text of the revocation lists"
        return cls._read(pem_bytes(data, where), where)

    @classmethod
    def _read(cls, data: bytes, where: str) -> CrlList:
        if not data.strip():
            raise BadConfiguration(f"{where} is empty", fix="give a PEM or DER file with a CRL")
        try:
            if blocks := list(pem_blocks(data, _PEM_CRL)):
                return cls(x509.load_pem_x509_crl(block) for block in blocks)
            if b"-----BEGIN " in data:
                raise ValueError("another kind of PEM")
            return cls([x509.load_der_x509_crl(data)])
        except (ValueError, x509.InvalidVersion):
            raise BadConfiguration(
                f"{where} holds no certificate revocation list that can be read",
                fix="give the CA's CRL, as PEM with BEGIN X509 CRL or as DER",
            ) from None

    def __iter__(self) -> Iterator[x509.CertificateRevocationList]:
        return iter(self._crls)

    def __len__(self) -> int:
        return len(self._crls)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return "1 CRL" if len(self) == 1 else f"{len(self)} CRLs"

    def __repr__(self) -> str:
        return f"<CrlList: {self}>"

    @property
    def several(self) -> bool:
        """Whether there are several of one issuer."""
        return len(self._by_issuer) < len(self._crls)

    def find(self, issuer: Name) -> tuple[x509.CertificateRevocationList, ...]:
        """The CRLs of an issuer, whose name is in its comparable form."""
        return tuple(self._by_issuer.get(issuer, ()))

    def load_into(self, store: X509Store) -> None:
        """Add all CRLs to a store, which from then on looks up every certificate of a path: in one CRL of its issuer, the newest of now.
        Of several of the same moment that can be any."""
        for crl in self._openssl:
            if _lib.X509_STORE_add_crl(store._store, crl) != 1:
                _lib.ERR_clear_error()
                raise Defect("OpenSSL adds no CRL to a certificate store")
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)


def _openssl_crl(der: bytes) -> object:
    """OpenSSL's own copy of a CRL. Raises ValueError where it takes none."""
    bio = _ffi.gc(_lib.BIO_new_mem_buf(_ffi.from_buffer(der), len(der)), _lib.BIO_free)
    crl = _ffi.gc(_lib.d2i_X509_CRL_bio(bio, _ffi.NULL), _lib.X509_CRL_free)
    # It complains of extensions that it cannot read also where it takes the CRL; the next read of any connection would find that.
    _lib.ERR_clear_error()
    if crl == _ffi.NULL:
        raise ValueError("no CRL for OpenSSL")
    return crl
