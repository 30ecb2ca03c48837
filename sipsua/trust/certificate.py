"""One certificate, taken apart: what a person wants to know of it, and what path building needs.

Certificates come from peers and may hold anything. Here is the one place that reads them, so that whatever a parser thinks of
the bytes becomes either a plain text or a ValueError, and so that ten thousand connections to one server describe its
certificate once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from sipsua.trust import key
from sipsua.trust.names import shown
from sipsua.trust.store import Name, comparable, load
from sipsua.trust.verdict import Certificate

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

_CLIENT = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_WEAK_HASHES = frozenset({"md5", "sha1"})


@lru_cache(maxsize=256)  # a peer's certificates may have 100 KB
def describe(der: bytes) -> Certificate:
    """What a person wants to know of a certificate. What cannot be read shows as `(unreadable)`; raises nothing."""
    unreadable = Certificate(
        subject="(unreadable)",
        issuer="(unreadable)",
        serial="",
        names=(),
        not_before=datetime.min.replace(tzinfo=UTC),
        not_after=datetime.min.replace(tzinfo=UTC),
        key="(unreadable)",
        signature="(unreadable)",
        fingerprint=sha256(der).hexdigest(),
        der=der,
    )
    # The parser raises many kinds of errors, warnings too where they are errors: none of them may end a phone.
    try:
        parsed = Parsed(der)
        certificate = parsed.certificate
        return Certificate(
            subject=shown(certificate.subject.rfc4514_string(), 1000),
            issuer=shown(certificate.issuer.rfc4514_string(), 1000),
            serial=format(certificate.serial_number, "x"),
            names=tuple(entry(name) for name in parsed.alternative_names),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            key=key.name_of(parsed.key),
            signature=certificate.signature_algorithm_oid._name,
            fingerprint=unreadable.fingerprint,
            der=der,
        )
    except Exception:
        return unreadable


def doubts(certificate: Certificate, at: datetime) -> tuple[str, ...]:
    """Why a peer may refuse a certificate of ours at `at` (aware), though it can be shown: its dates, and a purpose that is none for a
    TLS client (RFC 5280 section 4.2.1.12). Empty where nothing is to be seen. Raises nothing."""
    if not certificate.serial:
        return ("not all of it can be read",)
    found = []
    if at > certificate.not_after:
        found.append(f"it expired on {certificate.not_after:%Y-%m-%d}")
    elif at < certificate.not_before:
        found.append(f"it is not valid before {certificate.not_before:%Y-%m-%d}")
    purposes = Parsed(certificate.der).extension(x509.ExtendedKeyUsage)
    if purposes is not None and _CLIENT.isdisjoint(purposes):
        found.append("its extended key usage lacks clientAuth, so a server may refuse it")
    return tuple(found)


class Parsed:
    """A certificate, taken apart for path building. Raises ValueError where it is none, or its names are broken."""

    __slots__ = ("alternative_names", "certificate", "defect", "der", "extensions", "issuer", "key", "subject")

    certificate: x509.Certificate
    der: bytes
    subject: Name
    issuer: Name
    extensions: dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]
    alternative_names: tuple[x509.GeneralName, ...]
    defect: str | None
    """Why the extensions cannot be read; there are none then."""
    key: object
    """A public key of `cryptography`, or None where it knows no such kind."""

    def __init__(self, der: bytes) -> None:
        self.der = der
        self.certificate = certificate = load(der)
        self.subject = comparable(certificate.subject)
        self.issuer = comparable(certificate.issuer)
        self.defect = None
        self.extensions = {}
        self.alternative_names = ()
        self.key = None
        try:
            self.extensions = {extension.oid: extension for extension in certificate.extensions}
            alternative = self.extension(x509.SubjectAlternativeName)
            self.alternative_names = tuple(alternative) if alternative is not None else ()
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            self.defect = shown(str(error), 200)
        try:
            self.key = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm):
            pass

    @property
    def text(self) -> str:
        """The subject, for evidence."""
        return shown(self.certificate.subject.rfc4514_string()) or "(no subject)"

    @property
    def issuer_text(self) -> str:
        """The issuer, for evidence."""
        return shown(self.certificate.issuer.rfc4514_string()) or "(no issuer)"

    @property
    def weak_hash(self) -> str | None:
        """The hash of the signature, if it is one with less than 112 bits of security."""
        try:
            algorithm = self.certificate.signature_hash_algorithm
        except UnsupportedAlgorithm:
            return None
        return algorithm.name if algorithm is not None and algorithm.name in _WEAK_HASHES else None

    def extension(self, kind: type[_Kind]) -> _Kind | None:
        """The value of an extension."""
        found = self.extensions.get(kind.oid)
        return found.value if found is not None and isinstance(found.value, kind) else None

    def valid_at(self, at: datetime) -> bool:
        """Whether the validity period includes `at`."""
        return self.certificate.not_valid_before_utc <= at <= self.certificate.not_valid_after_utc

    def signed_by(self, issuer: Parsed) -> bool:
        """Whether the issuer's key made the signature. True also for algorithms that cannot be checked here: that explains a refusal of
        OpenSSL's, and is no ground to believe anything."""
        return _signed_by(self, issuer)

    @property
    def self_signed(self) -> bool:
        """Whether its own key signed it."""
        return self.subject == self.issuer and self.signed_by(self)


@lru_cache(maxsize=128)  # a peer's certificates may have 100 KB
def parsed(der: bytes) -> Parsed:
    """The certificate, taken apart once for all who look at it. Raises ValueError, and what else a parser may raise."""
    return Parsed(der)


def readable(der: bytes) -> Parsed | None:
    """The certificate, taken apart; None where it cannot be."""
    try:
        return parsed(der)
    except Exception:  # the parser raises many kinds of errors
        return None


@lru_cache(maxsize=64)  # several look at the same path, and thousands of phones at the same chain
def _signed_by(signed: Parsed, issuer: Parsed) -> bool:
    certificate = signed.certificate
    try:
        parameters = certificate.signature_algorithm_parameters
        digest = certificate.signature_hash_algorithm
        return made_with(issuer.key, certificate.signature, certificate.tbs_certificate_bytes, parameters, digest)
    except UnsupportedAlgorithm:
        return True
    except (ValueError, TypeError):
        return False


def made_with(
    key: object, signature: bytes, signed: bytes, parameters: object, digest: hashes.HashAlgorithm | None
) -> bool:
    """Whether the owner of a public key made a signature.

    Raises UnsupportedAlgorithm for keys and algorithms that are not known here, ValueError and TypeError for what does not fit together.
    """
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if digest is None or not isinstance(parameters, padding.PKCS1v15 | padding.PSS):
                return False
            key.verify(signature, signed, parameters, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            if not isinstance(parameters, ec.ECDSA):
                return False
            key.verify(signature, signed, parameters)
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            raise UnsupportedAlgorithm("a key of a kind that is not known here")
    except InvalidSignature:
        return False
    return True


def entry(name: x509.GeneralName) -> str:
    """A general name as `DNS:…`, `IP:…`, `URI:…`."""
    if isinstance(name, x509.DirectoryName):
        return f"dirName:{shown(name.value.rfc4514_string())}"
    kinds = {x509.DNSName: "DNS", x509.IPAddress: "IP", x509.UniformResourceIdentifier: "URI", x509.RFC822Name: "email"}
    kind = kinds.get(type(name), "other")
    return f"{kind}:{shown(str(name.value))}" if kind != "other" else "other"


def dated(moment: datetime) -> str:
    """A moment (aware) to the second, for evidence."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
