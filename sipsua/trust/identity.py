"""Our own certificate: what an account shows when a server asks the phone who it is.

A phone carries a certificate of its own, made for its MAC address, and a server may demand it. An identity is the
certificate, the intermediates that lead to it, and the private key, checked to belong together when they are read, so
that a wrong pair is an error at the start and not a failed handshake later. The key never appears in a text.
"""

from __future__ import annotations

import os
import re
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key, load_pem_private_key
from cryptography.x509 import Certificate
from OpenSSL.crypto import X509, Error, PKey

from sipsua.errors import BadConfiguration
from sipsua.trust import key as public
from sipsua.trust.store import certificates_in, path_text, pem_blocks, pem_bytes, read_file

_PEM_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]{0,20}PRIVATE KEY)-----")


class Identity:
    """A certificate, its chain and its private key. Compared and hashed by identity; not to be changed."""

    __slots__ = ("__weakref__", "extra_chain", "not_after", "pkey", "subject", "x509")

    x509: X509
    """The certificate."""
    extra_chain: tuple[X509, ...]
    """The intermediates that are sent with it, nearest first."""
    pkey: PKey
    """The private key."""
    subject: str
    """RFC 4514 string."""
    not_after: datetime
    """Aware UTC: when the certificate expires."""

    def __init__(
        self, certificates: list[Certificate], key: bytes, *, where: str, key_where: str, proven: bool = False
    ) -> None:
        """`certificates` leaf first, `key` PEM or DER; `where` and `key_where` name them in a BadConfiguration.

        `proven` leaves out the proof that an RSA key is one, 30 ms of arithmetic: only for keys that were made here.
        """
        try:
            block = next(pem_blocks(key, _PEM_KEY), None)
            load = load_pem_private_key if block is not None else load_der_private_key
            private_key = load(
                block if block is not None else key, password=None, unsafe_skip_rsa_key_validation=proven
            )
        except TypeError:
            # `from None` throughout: what a parser says of a key is nothing for a traceback.
            raise BadConfiguration(
                f"the private key in {key_where} is encrypted",
                fix="decrypt it with `openssl pkey -in KEY -out PLAIN` and "
                + ("give that file, with mode 0600" if key_where != where else "put PLAIN into the file in its place"),
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            if key_where == where:
                raise BadConfiguration(
                    f"{where} holds the certificate, but no usable private key",
                    fix="give the file of the unencrypted key too, or put both into one",
                ) from None
            raise BadConfiguration(
                f"{key_where} holds no usable private key", fix="give a PEM or DER file with the unencrypted key"
            ) from None
        leaf, *chain = certificates
        public_key = private_key.public_key()
        try:
            keys = [certificate.public_key() for certificate in certificates]
            self.subject = leaf.subject.rfc4514_string()
            self.not_after = leaf.not_valid_after_utc
            self.x509 = X509.from_cryptography(leaf)
            self.extra_chain = tuple(X509.from_cryptography(certificate) for certificate in chain)
            self.pkey = PKey.from_cryptography_key(private_key)  # type: ignore[arg-type]
        except (ValueError, TypeError, UnsupportedAlgorithm, Error) as error:
            raise BadConfiguration(
                f"{where} holds a certificate or a key of a kind that cannot be used: {type(error).__name__}",
                fix="use an RSA, EC or Ed25519 key",
            ) from None
        if keys[0] != public_key:
            if public_key in keys:
                raise BadConfiguration(
                    f"the certificate of the key in {key_where} is not the first one in {where}",
                    fix="put the own certificate first, then the intermediates",
                )
            raise BadConfiguration(
                f"the private key in {key_where} does not belong to the certificate {self.subject} in {where}",
                fix="give the key that the certificate was made for",
            )
        for each in keys:
            # OpenSSL refuses to show one of these, but an own certificate that is signed with SHA-1 it shows.
            if public.is_weak(each):
                whose = self.subject if each is keys[0] else "an intermediate certificate"
                raise BadConfiguration(
                    f"the key of {public.name_of(each)} is too weak, that of {whose} in {where}",
                    fix="use RSA 2048 or P-256",
                )

    @classmethod
    def from_files(cls, certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> Identity:
        """Read the certificate (with its intermediates after it) and the key, which may be in the same file.

        Raises BadConfiguration for a file that is missing, unreadable or unfit, and for a key that is encrypted,
        another's, or too weak for OpenSSL to show its certificate.
        """
        where = path_text(certificate)
        key_where = where if key is None else path_text(key)
        data = read_file(where)
        return cls(
            certificates_in(data, where),
            data if key is None else read_file(key_where),
            where=where,
            key_where=key_where,
        )

    @classmethod
    def from_pem(cls, certificate_pem: bytes | str, key_pem: bytes | str) -> Identity:
        """Take certificate, chain and key from memory. Raises BadConfiguration like `from_files`."""
        where, key_where = "the PEM text of the certificate", "the PEM text of the key"
        return cls(
            certificates_in(pem_bytes(certificate_pem, where), where),
            pem_bytes(key_pem, key_where),
            where=where,
            key_where=key_where,
        )

    @classmethod
    def from_bundle(cls, data: bytes, where: str, *, proven: bool = False) -> Identity:
        """Take certificate, chain and key from one PEM text, which `where` names in a BadConfiguration like that of `from_files`.

        `proven`: see `Identity`.
        """
        return cls(certificates_in(data, where), data, where=where, key_where=where, proven=proven)

    def __repr__(self) -> str:
        return f"<Identity: {self.subject}>"

    @property
    def der(self) -> bytes:
        """The certificate alone, for `trust.certificate.describe`."""
        return self.x509.to_cryptography().public_bytes(Encoding.DER)
