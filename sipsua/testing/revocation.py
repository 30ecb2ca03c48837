"""Revocation for a throw-away PKI: lists (CRL) and stapled answers (OCSP), good and bad.

A CRL is what an authority publishes about all that it issued (RFC 5280 section 5), an OCSP response what it says about one certificate at
one moment (RFC 6960); a server may staple the latter to its handshake (RFC 6066 section 8). As with certificates each call makes one
that is sound, and takes an argument for each point to bend.

    crl_pem = make_crl(authority, revoked=[issued.certificate])
    staple = make_staple(authority, issued.certificate, status="revoked")
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from sipsua.testing.pki import CertificateAuthority


def make_crl(
    authority: CertificateAuthority,
    revoked: Iterable[x509.Certificate] = (),
    *,
    last_update: datetime | None = None,
    next_update: datetime | None = None,
    forged: bool = False,
) -> bytes:
    """The PEM of a revocation list of this authority.

    It is from an hour ago and good for a day unless `last_update` and `next_update` (aware) say otherwise. Where it is `forged`, its
    signature is wrong.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=authority.certificate.subject,
        last_update=last_update or now - timedelta(hours=1),
        next_update=next_update or now + timedelta(days=1),
    )
    for one in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder(one.serial_number, now - timedelta(hours=2)).build()
        )
    builder = builder.add_extension(x509.CRLNumber(1), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
    )
    crl = builder.sign(authority.key, hashes.SHA256())
    if forged:
        crl = x509.load_der_x509_crl(_forged(crl.public_bytes(Encoding.DER)))
    return crl.public_bytes(Encoding.PEM)


def make_staple(
    authority: CertificateAuthority,
    certificate: x509.Certificate,
    *,
    status: Literal["good", "revoked", "unknown"] = "good",
    this_update: datetime | None = None,
    next_update: datetime | None = None,
    forged: bool = False,
) -> bytes:
    """The DER of an OCSP response that this authority itself signs, about a certificate that it issued.

    It is from an hour ago and good for a day unless `this_update` and `next_update` (aware) say otherwise. Where it is `forged`, its
    signature is wrong.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,
        issuer=authority.certificate,
        algorithm=hashes.SHA1(),  # what RFC 6960 section 4.1.1 is used with everywhere: it names the issuer, it protects nothing
        cert_status=_STATUS[status],
        this_update=this_update or now - timedelta(hours=1),
        next_update=next_update or now + timedelta(days=1),
        revocation_time=now - timedelta(hours=2) if status == "revoked" else None,
        revocation_reason=x509.ReasonFlags.key_compromise if status == "revoked" else None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, authority.certificate)
    response = builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)
    return _forged(response) if forged else response


def make_refusal() -> bytes:
    """The DER of an OCSP response that says nothing but `tryLater` (RFC 6960 section 2.3)."""
    return ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)


def _forged(der: bytes) -> bytes:
    """With a bit of the signature, which both kinds end in, changed."""
    return der[:-1] + bytes([der[-1] ^ 1])


_STATUS = {
    "good": ocsp.OCSPCertStatus.GOOD,
    "revoked": ocsp.OCSPCertStatus.REVOKED,
    "unknown": ocsp.OCSPCertStatus.UNKNOWN,
}
