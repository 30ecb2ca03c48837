"""An emulated manufacturer: who gives each phone the certificate that says which phone it is.

A phone leaves the factory with a certificate of its own, whose common name is its MAC address, and a PBX that trusts the
manufacturer's authority knows by it which phone is calling. Here is a manufacturer for emulated phones, cut like the real one (a
root, an issuing authority below it, certificates that outlive the phone), so that a PBX can be given the root and then treat
emulated phones as it treats real ones.

The root signs its issuing authority when it is made, and its key is then forgotten: what is kept can issue certificates and cannot make
another authority. Everything is one PEM text: a certificate, the authorities above it, and the private key. Keys and serial
numbers come from OpenSSL's generator; the time comes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipsua.errors import BadConfiguration
from sipsua.trust.store import certificates_in

KeyKind = Literal["rsa", "ec"]
"""RSA of 2048 bits, which phones have, or EC on P-256, which is made a thousand times faster."""

ROOT_NAME = "sipsua Emulated Manufacturer Root CA"
ISSUING_NAME = "sipsua Emulated Manufacturer Equipment Issuing CA"
GENERIC_NAME = "sipsua Emulated Manufacturer Generic Phone"
"""Common name of the certificate that all phones without a unique one share."""

DEVICE_LIFE = timedelta(days=7305)
"""20 years: a phone is never given a new certificate."""
AUTHORITY_LIFE = timedelta(days=18262)
"""50 years: the authority outlives the phones that it certifies in its first 30."""
_AGE = timedelta(days=1)
"""A certificate begins so long before it is made, for peers whose clock is late."""

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_MAC = re.compile(r"[0-9a-f]{12}|[0-9a-f]{2}(?P<between>[:-])[0-9a-f]{2}(?:(?P=between)[0-9a-f]{2}){4}")


def normal_mac(text: str) -> str:
    """A MAC address as it stands in a certificate: twelve hexadecimal digits in lower case, as in the name of a phone's `<mac>.cfg`.

    Takes `001565aabbcc`, `00:15:65:aa:bb:cc` and `00-15-65-AA-BB-CC`. Raises BadConfiguration for everything else.
    """
    mac = text.strip().lower()
    if not _MAC.fullmatch(mac):
        raise BadConfiguration(
            f"{text[:40]!r} is no MAC address",
            fix="give twelve hexadecimal digits, such as 001565aabbcc or 00:15:65:aa:bb:cc",
        )
    return mac.replace(":", "").replace("-", "")


def macs_from(first: str, count: int) -> Iterator[str]:
    """So many MAC addresses, one after the other. Raises BadConfiguration where there are not so many."""
    start = int(normal_mac(first), 16)
    if not 0 < count <= (1 << 48) - start:
        raise BadConfiguration(
            f"there are no {count} MAC addresses from {first}",
            fix="begin lower, or ask for fewer, but for one at least",
        )
    return (f"{number:012x}" for number in range(start, start + count))


class Manufacturer:
    """A root, its issuing authority, and the key of the latter. Not to be changed; any number of threads may issue at once."""

    __slots__ = ("_authority_identifier", "_issuing", "_issuing_pem", "_key", "_root")

    def __init__(self, root: x509.Certificate, issuing: x509.Certificate, key: Key) -> None:
        """Use `Manufacturer.found` or `Manufacturer.from_pem`."""
        self._root = root
        self._issuing = issuing
        self._key = key
        self._issuing_pem = _pem(issuing)
        self._authority_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())

    @classmethod
    def found(cls, at: datetime) -> Manufacturer:
        """A new one, of `at` (aware): two RSA keys are made."""
        root_key, key = _new_key("rsa"), _new_key("rsa")
        root = _authority(ROOT_NAME, root_key, None, ROOT_NAME, root_key, at)
        return cls(root, _authority(ISSUING_NAME, key, 0, ROOT_NAME, root_key, at), key)

    @classmethod
    def from_pem(cls, data: bytes, where: str) -> Manufacturer:
        """Read what `pem` gave. Raises BadConfiguration, naming `where`, for anything else."""
        wrong = BadConfiguration(
            f"{where} does not hold the emulated manufacturer: its two authorities and the key of the issuing one",
            fix="restore the file, or delete it to have another manufacturer, whom no PBX trusts yet",
        )
        try:
            issuing, root = certificates_in(data, where)
            key = serialization.load_pem_private_key(data[data.index(b"-----BEGIN PRIVATE KEY-----") :], None)
            issuing.verify_directly_issued_by(root)
        except Exception:
            # `from None`: what a parser says of a key is nothing for a traceback.
            raise wrong from None
        if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != issuing.public_key():
            raise wrong
        return cls(root, issuing, key)

    def __repr__(self) -> str:
        return f"<Manufacturer: {self._root.fingerprint(hashes.SHA256()).hex()}>"

    @property
    def pem(self) -> bytes:
        """All of it, with the private key."""
        return self._issuing_pem + self.root_pem + _pem_key(self._key)

    @property
    def root_pem(self) -> bytes:
        """The certificate of the root: what a PBX is to trust."""
        return _pem(self._root)

    @property
    def issuing_pem(self) -> bytes:
        """The certificate of the issuing authority, which phones send along."""
        return self._issuing_pem

    def issue(self, mac: str, *, at: datetime, key: KeyKind = "rsa") -> bytes:
        """A certificate unique to the phone with this MAC address (see `normal_mac`), with the issuing authority and its private key.

        PEM, for `Identity.from_pem`. It is good for clients and servers (RFC 5280 section 4.2.1.12) from `at` (aware) on for 20 years, but
        no longer than its authority. Raises BadConfiguration for what is no MAC address, and where the authority has expired.
        """
        return self._issue(normal_mac(mac), at, key)

    def issue_generic(self, *, at: datetime, key: KeyKind = "rsa") -> bytes:
        """A certificate that says "a phone of this manufacturer" and not which one; else like `issue`."""
        return self._issue(GENERIC_NAME, at, key)

    def _issue(self, common_name: str, at: datetime, kind: KeyKind) -> bytes:
        end = self._issuing.not_valid_after_utc
        if at >= end:
            raise BadConfiguration(
                f"the emulated manufacturer's authority expired on {end:%Y-%m-%d}",
                fix="set the clock right, or begin with another manufacturer",
            )
        key = _new_key(kind)
        certificate = (
            _builder(common_name, ISSUING_NAME, key, at, min(at + DEVICE_LIFE, end))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, key_encipherment=kind == "rsa"), critical=True)
            .add_extension(_PURPOSES, critical=False)
            .add_extension(self._authority_identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem(certificate) + self._issuing_pem + _pem_key(key)


def _authority(
    name: str, key: Key, path_length: int | None, issuer_name: str, issuer_key: Key, at: datetime
) -> x509.Certificate:
    return (
        _builder(name, issuer_name, key, at, at + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _builder(name: str, issuer: str, key: Key, at: datetime, end: datetime) -> x509.CertificateBuilder:
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    begin = (at - _AGE).replace(microsecond=0)
    return x509.CertificateBuilder(
        by, subject, key.public_key(), x509.random_serial_number(), begin, end.replace(microsecond=0)
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _new_key(kind: KeyKind) -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _usage(**usages: bool) -> x509.KeyUsage:
    return x509.KeyUsage(**{**_NO_USAGES, **usages})


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


_PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])

_NO_USAGES = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)
