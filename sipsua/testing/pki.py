"""A throw-away PKI: certificate authorities and certificates, good and bad, made in a moment.

Tests of TLS need certificates that are right in all points but one: expired yesterday, for another name, by an authority
that nobody knows, through an intermediate that is no CA. Each call here makes one, with sound defaults (P-256, SHA-256,
BasicConstraints, KeyUsage, subject and authority key identifiers as RFC 5280 section 4.2 wants them), and takes an
argument for each point to bend. Nothing of it is meant to outlive the test: keys are not encrypted, and no authority keeps
track of what it issued.

    authority = CertificateAuthority()
    files = authority.issue("sip.example.com", "127.0.0.1").write(tmp_path)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import mkstemp
from typing import TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipsua.errors import Misuse

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""The kinds of keys that are made here."""


class Bends(TypedDict, total=False):
    """What every maker of certificates here takes, to bend one from the straight."""

    key: str | PrivateKey
    """`ec` (P-256), `ec384`, `rsa` (2048 bits), `rsa` and a number of bits, such as `rsa1024`; or a key that exists."""
    not_before: datetime | None
    """Start of the validity; by default a day ago, for an authority a year."""
    not_after: datetime | None
    """End of the validity; by default in a year, for an authority in ten: it outlives what it issues."""
    serial: int
    """Serial number; by default a random one."""
    digest: str
    """Hash of the signature: `sha256` (default), `sha224`, `sha384`, `sha512`, or `sha1` and `md5` where the signing key is RSA."""
    extensions: Iterable[x509.Extension[x509.ExtensionType]]
    """Extensions that are added, or that take the place of the default one of the same kind."""
    omit: Collection[x509.ObjectIdentifier]
    """Kinds of default extensions that are left out."""


@dataclass(frozen=True, slots=True)
class IssuedFiles:
    """Where a certificate and its key were written."""

    certificate: Path
    """PEM: the certificate and its intermediates."""
    key: Path
    """PEM, PKCS #8, not encrypted; mode 0600."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    """The certificate itself."""
    key: PrivateKey
    """Its private key."""
    chain: tuple[x509.Certificate, ...] = ()
    """The intermediates between it and the root, nearest first, without the root."""

    def __repr__(self) -> str:
        return f"<Issued {self.certificate.subject.rfc4514_string()}>"

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificate and its intermediates, as a server shows them."""
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (self.certificate, *self.chain))

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, directory: str | Path, stem: str = "server") -> IssuedFiles:
        """Write `<stem>.pem` (certificate and intermediates) and `<stem>.key` (mode 0600) into an existing directory."""
        files = IssuedFiles(Path(directory) / f"{stem}.pem", Path(directory) / f"{stem}.key")
        replace_file(files.key, self.key_pem, 0o600)
        replace_file(files.certificate, self.chain_pem, 0o644)
        return files


class CertificateAuthority:
    """An authority: a root by itself, an intermediate where another authority made it."""

    def __init__(
        self,
        name: str = "sipsua test CA",
        *,
        issuer: CertificateAuthority | None = None,
        path_length: int | None = None,
        **bends: Unpack[Bends],
    ) -> None:
        """An authority of this common name, signed by `issuer` or itself; `path_length` is its pathLenConstraint."""
        self.name = name
        now = datetime.now(UTC).replace(microsecond=0)
        bends["not_before"] = bends.get("not_before") or now - timedelta(days=365)
        bends["not_after"] = bends.get("not_after") or now + timedelta(days=3650)
        made = _issue(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            issuer,
            [
                extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True),
                extension(key_usage("key_cert_sign", "crl_sign"), critical=True),
            ],
            bends,
        )
        self.certificate = made.certificate
        self.key = made.key
        self.chain: tuple[x509.Certificate, ...] = (self.certificate, *issuer.chain) if issuer is not None else ()
        """What whoever is certified by this authority must show: the intermediates, nearest first, without the root."""

    def __repr__(self) -> str:
        return f"<CertificateAuthority {self.name}>"

    @property
    def pem(self) -> bytes:
        """This authority's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def intermediate(
        self, name: str = "sipsua test intermediate CA", *, path_length: int | None = None, **bends: Unpack[Bends]
    ) -> CertificateAuthority:
        """An authority that this one certifies."""
        return CertificateAuthority(name, issuer=self, path_length=path_length, **bends)

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        uris: Iterable[str] = (),
        purposes: Iterable[str] = ("server", "client"),
        ca: bool = False,
        **bends: Unpack[Bends],
    ) -> Issued:
        """A certificate signed by this authority.

        `names` go into the subjectAltName, as iPAddress where they are IP addresses and as dNSName (ASCII) otherwise, and
        `uris` too; there is no subjectAltName where both are empty. `common_name` is the first name that is given, and ""
        makes an empty subject. `purposes` of `server` and `client` make the extended key usage, none leaves it out. `ca`
        says CA in the BasicConstraints.
        """
        return _leaf(self, names, common_name, uris, purposes, ca, bends)

    def write(self, path: str | Path) -> Path:
        """Write this authority's certificate as a PEM file: the trust anchor to configure."""
        replace_file(Path(path), self.pem, 0o644)
        return Path(path)


def self_signed(
    *names: str,
    common_name: str | None = None,
    uris: Iterable[str] = (),
    purposes: Iterable[str] = ("server", "client"),
    ca: bool = False,
    **bends: Unpack[Bends],
) -> Issued:
    """A certificate that its own key signed, as a PBX makes it on its first start; see `CertificateAuthority.issue`."""
    return _leaf(None, names, common_name, uris, purposes, ca, bends)


def extension(value: x509.ExtensionType, *, critical: bool = False) -> x509.Extension[x509.ExtensionType]:
    """An extension for the `extensions` argument."""
    return x509.Extension(value.oid, critical, value)


def key_usage(*usages: str) -> x509.KeyUsage:
    """A key usage of these bits, named as in RFC 5280 section 4.2.1.3: `digital_signature`, `key_cert_sign` and so on."""
    return x509.KeyUsage(**{usage: usage in usages for usage in _KEY_USAGES})


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write beside, then rename: nobody sees half a file, and a key is never readable to others."""
    handle, beside = mkstemp(dir=path.parent, prefix=path.name)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(beside, mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _leaf(
    issuer: CertificateAuthority | None,
    names: tuple[str, ...],
    common_name: str | None,
    uris: Iterable[str],
    purposes: Iterable[str],
    ca: bool,
    bends: Bends,
) -> Issued:
    alternative: list[x509.GeneralName] = []
    for name in names:
        try:
            alternative.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            alternative.append(x509.DNSName(name))
    alternative.extend(x509.UniformResourceIdentifier(uri) for uri in uris)
    if common_name is None:
        # RFC 5280 appendix A.1 allows 64 characters in a common name.
        common_name = names[0][:64] if names else "sipsua test certificate"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    key = bends["key"] = _private_key(bends.get("key", "ec"))
    usages = [
        name
        for name, wanted in (("key_encipherment", isinstance(key, rsa.RSAPrivateKey)), ("key_cert_sign", ca))
        if wanted
    ]
    extensions = [
        extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True),
        extension(key_usage("digital_signature", *usages), critical=True),
    ]
    if extended := [_PURPOSES[purpose] for purpose in purposes]:
        extensions.append(extension(x509.ExtendedKeyUsage(extended)))
    if alternative:
        # RFC 5280 section 4.2.1.6: critical where the subject is empty.
        extensions.append(extension(x509.SubjectAlternativeName(alternative), critical=not common_name))
    return _issue(subject, issuer, extensions, bends)


def _issue(
    subject: x509.Name,
    issuer: CertificateAuthority | None,
    extensions: list[x509.Extension[x509.ExtensionType]],
    bends: Bends,
) -> Issued:
    """Sign a certificate: by `issuer`, or by its own key where there is none."""
    key = _private_key(bends.get("key", "ec"))
    public = key.public_key()
    signer = issuer.key if issuer is not None else key
    now = datetime.now(UTC).replace(microsecond=0)
    kinds: dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]] = {one.oid: one for one in extensions}
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    kinds[identifier.oid] = extension(identifier)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    kinds[authority.oid] = extension(authority)
    for kind in bends.get("omit", ()):
        kinds.pop(kind, None)
    kinds.update((one.oid, one) for one in bends.get("extensions", ()))
    builder = x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer.certificate.subject if issuer is not None else subject,
        public_key=public,
        serial_number=bends.get("serial") or x509.random_serial_number(),
        not_valid_before=bends.get("not_before") or now - timedelta(days=1),
        not_valid_after=bends.get("not_after") or now + timedelta(days=365),
    )
    for one in kinds.values():
        builder = builder.add_extension(one.value, one.critical)
    digest = bends.get("digest", "sha256")
    certificate = builder.sign(signer, _DIGESTS["sha256" if digest in _OLD_DIGESTS else digest])
    if digest in _OLD_DIGESTS:
        certificate = _with_old_digest(certificate, signer, digest)
    return Issued(certificate, key, issuer.chain if issuer is not None else ())


def _with_old_digest(certificate: x509.Certificate, signer: PrivateKey, digest: str) -> x509.Certificate:
    """Sign again with SHA-1 or MD5, which `cryptography` refuses to do: the OIDs of the algorithms differ in the last octet only."""
    if not isinstance(signer, rsa.RSAPrivateKey):
        raise Misuse(f"only an authority with an RSA key signs with {digest} here", fix='give the authority key="rsa"')
    last, hashing = _OLD_DIGESTS[digest]
    sha256_with_rsa, old_with_rsa = (bytes.fromhex(f"06092a864886f70d0101{octet}") for octet in ("0b", last))
    signed = certificate.tbs_certificate_bytes.replace(sha256_with_rsa, old_with_rsa, 1)
    before, after = certificate.public_bytes(serialization.Encoding.DER).split(certificate.tbs_certificate_bytes)
    signature = signer.sign(signed, padding.PKCS1v15(), hashing)
    algorithm = after.replace(sha256_with_rsa, old_with_rsa, 1)[: -len(signature)]
    return x509.load_der_x509_certificate(before + signed + algorithm + signature)


def _private_key(kind: str | PrivateKey) -> PrivateKey:
    if not isinstance(kind, str):
        return kind
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "ec384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind.startswith("rsa") and (kind == "rsa" or kind[3:].isdigit()):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:] or 2048))
    raise Misuse(f"no kind of key is called {kind!r}", fix="say ec, ec384, rsa, or rsa and the number of bits")


_DIGESTS: dict[str, hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

_OLD_DIGESTS: dict[str, tuple[str, hashes.SHA1 | hashes.MD5]] = {
    "sha1": ("05", hashes.SHA1()),
    "md5": ("04", hashes.MD5()),
}
"""With the last octet of the OID of each with RSA (RFC 3279 section 2.2.1)."""

_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

_PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
