"""Revocation of the throw-away PKI: CRLs and OCSP responses, good and bad, made in a moment.

A server that staples yesterday's response, an authority whose CRL has expired, a responder that nobody appointed: each is one call
here, sound by default, with an argument for each point to bend. Like `testing.pki`, no authority keeps track of what it said.

    crls = CrlList.from_pem(crl(authority, revoked=[server.certificate]))
    staple = ocsp_response(authority, server.certificate, signer=delegate(authority))
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Unpack

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from sipsua.errors import Misuse
from sipsua.testing.pki import Bends, CertificateAuthority, Issued, PrivateKey, extension

MUST_STAPLE = extension(x509.TLSFeature([x509.TLSFeatureType.status_request]))
"""For the `extensions` of a certificate that promises a stapled response (RFC 7633)."""


def crl(
    authority: CertificateAuthority,
    *,
    revoked: Iterable[x509.Certificate] = (),
    reason: str | None = None,
    revoked_at: datetime | None = None,
    this_update: datetime | None = None,
    next_update: datetime | None = None,
    key: PrivateKey | None = None,
    extensions: Iterable[x509.Extension[x509.ExtensionType]] = (),
    omit: Collection[x509.ObjectIdentifier] = (),
) -> bytes:
    """A CRL of this authority as PEM (RFC 5280 section 5), of an hour ago and good for a week.

    `reason` is that of all entries, in the words of RFC 5280 section 5.3.1 (`keyCompromise`). `key` signs it instead of the authority's
    own. `extensions` come on top of the authority key identifier, which `omit` can leave out.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    begin = this_update or now - timedelta(hours=1)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=authority.certificate.subject,
        last_update=begin,
        next_update=next_update or now + timedelta(days=7),
    )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key((key or authority.key).public_key())
    kinds: dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]] = {identifier.oid: extension(identifier)}
    for kind in omit:
        kinds.pop(kind, None)
    kinds.update((one.oid, one) for one in extensions)
    for one in kinds.values():
        builder = builder.add_extension(one.value, one.critical)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder(certificate.serial_number, revoked_at or begin)
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags(reason)), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key or authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def delegate(authority: CertificateAuthority, name: str = "sipsua test responder", **bends: Unpack[Bends]) -> Issued:
    """A responder that the authority appoints: a certificate for OCSPSigning only (RFC 6960 section 4.2.2.2)."""
    wanted = extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]))
    bends["extensions"] = [wanted, *bends.get("extensions", ())]
    return authority.issue(common_name=name, purposes=(), **bends)


def ocsp_response(
    issuer: CertificateAuthority,
    certificate: x509.Certificate,
    *,
    status: str = "good",
    reason: str | None = None,
    revoked_at: datetime | None = None,
    this_update: datetime | None = None,
    next_update: datetime | None = None,
    endless: bool = False,
    signer: Issued | CertificateAuthority | None = None,
    shown: bool = True,
    digest: str = "sha1",
    by_name: bool = False,
    tampered: bool = False,
) -> bytes:
    """A response about a certificate as DER (RFC 6960 section 4.2.1), of an hour ago and good for a week.

    `status` is `good`, `revoked` or `unknown`, or makes a response without an answer: `malformedRequest`, `internalError`, `tryLater`,
    `sigRequired`, `unauthorized`. `issuer` goes into the CertID, whose hash is `digest`: `sha1` or `sha256`. `signer` signs in its place,
    with its certificate in the response if `shown`, named by its key or `by_name`. `endless` leaves nextUpdate out. `tampered` changes
    the signature.
    """
    if status in _UNSUCCESSFUL:
        return ocsp.OCSPResponseBuilder.build_unsuccessful(_UNSUCCESSFUL[status]).public_bytes(Encoding.DER)
    if status not in _STATUS:
        raise Misuse(f"no OCSP status is called {status!r}", fix=f"choose from {', '.join((*_STATUS, *_UNSUCCESSFUL))}")
    now = datetime.now(UTC).replace(microsecond=0)
    begin = this_update or now - timedelta(hours=1)
    revoked = status == "revoked"
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA256() if digest == "sha256" else hashes.SHA1(),
        cert_status=_STATUS[status],
        this_update=begin,
        next_update=None if endless else next_update or now + timedelta(days=7),
        revocation_time=(revoked_at or begin) if revoked else None,
        revocation_reason=x509.ReasonFlags(reason) if revoked and reason is not None else None,
    )
    by = signer or issuer
    encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
    builder = builder.responder_id(encoding, by.certificate)
    if signer is not None and shown:
        builder = builder.certificates([by.certificate])
    response = bytearray(builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.DER))
    if tampered:
        # The signature is the last field where no certificates follow, and found by its value where they do.
        signature = ocsp.load_der_ocsp_response(bytes(response)).signature
        response[response.rindex(signature) + len(signature) - 1] ^= 1
    return bytes(response)


_STATUS = {
    "good": ocsp.OCSPCertStatus.GOOD,
    "revoked": ocsp.OCSPCertStatus.REVOKED,
    "unknown": ocsp.OCSPCertStatus.UNKNOWN,
}

_UNSUCCESSFUL = {
    "malformedRequest": ocsp.OCSPResponseStatus.MALFORMED_REQUEST,
    "internalError": ocsp.OCSPResponseStatus.INTERNAL_ERROR,
    "tryLater": ocsp.OCSPResponseStatus.TRY_LATER,
    "sigRequired": ocsp.OCSPResponseStatus.SIG_REQUIRED,
    "unauthorized": ocsp.OCSPResponseStatus.UNAUTHORIZED,
}
