"""A stapled OCSP response: what the issuer says of the server's certificate, brought along by the server itself.

The server asks for it and passes it on in the handshake (RFC 6066 section 8), so nothing is fetched here. It counts only if all of RFC 6960
section 3.2 holds: it is about this certificate, signed by its issuer or by a responder that the issuer appointed, and of now. Reading
it and checking its signatures does not depend on the time, and servers bring the same response for days: so that is done once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from sipsua.trust.certificate import Parsed, dated, parsed
from sipsua.trust.certificate import made_with as signature_made_with
from sipsua.trust.names import shown
from sipsua.trust.store import comparable
from sipsua.trust.verdict import Problem, ProblemCode

SKEW = timedelta(minutes=5)
"""How far the clocks of a responder and of this machine may be apart."""
LIFE = timedelta(days=1)
"""How long a response counts that does not say until when. RFC 6960 section 4.2.2.1 has newer information always available then, which
is no help where the server brings an old one."""

_STAPLING = "look at the server's OCSP stapling: what its responder answers, and whether the server fetches it anew"


def staple_problems(response: bytes, leaf: Parsed, issuer: Parsed, at: datetime) -> Iterator[Problem]:
    """All that is wrong with a response about the leaf at `at` (aware); nothing where it says that the leaf is good.

    Never raises, whatever the bytes are.
    """
    try:
        answer = _read(response, leaf.der, issuer.der)
    except Exception as error:  # the parser has many kinds of errors for what can be wrong with bytes
        yield _unsatisfactory(
            f"the stapled OCSP response cannot be read: {shown(str(error), 200) or type(error).__name__}",
            "RFC 6960 4.2.1",
            ProblemCode.MALFORMED,
        )
        return
    yield from answer.problems
    if answer.begin is not None and answer.end is not None:
        if at > answer.end + SKEW:
            yield _unsatisfactory(
                f"the stapled OCSP response about {leaf.text} expired on {dated(answer.end)}", "RFC 6960 3.2 (6)"
            )
        if at < answer.begin - SKEW:
            yield _unsatisfactory(
                f"the stapled OCSP response about {leaf.text} is valid from {dated(answer.begin)}", "RFC 6960 3.2 (5)"
            )
    if (signer := answer.signer) is not None and not signer.valid_at(at):
        yield _unsatisfactory(
            f"the stapled OCSP response was signed by {signer.text}, whose certificate is valid from "
            f"{dated(signer.certificate.not_valid_before_utc)} to {dated(signer.certificate.not_valid_after_utc)}",
            "RFC 6960 4.2.2.2",
            fix="have the CA renew the certificate of its OCSP responder, then restart the server's stapling",
        )


def promises_staple(leaf: Parsed) -> bool:
    """Whether the certificate says that its server staples (RFC 7633 section 4.2.3.1)."""
    feature = leaf.extension(x509.TLSFeature)
    return feature is not None and x509.TLSFeatureType.status_request in feature


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a response says, but for the time."""

    problems: tuple[Problem, ...] = ()
    begin: datetime | None = None
    """thisUpdate, where it is to be believed."""
    end: datetime | None = None
    """nextUpdate, or what stands in for it."""
    signer: Parsed | None = None
    """The delegate that signed it, if it was not the issuer."""


@lru_cache(maxsize=64)
def _read(der: bytes, leaf_der: bytes, issuer_der: bytes) -> _Answer:
    leaf, issuer = parsed(leaf_der), parsed(issuer_der)
    response = ocsp.load_der_ocsp_response(der)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        status = _UNSUCCESSFUL.get(response.response_status, "no success")
        return _refused(f"the stapled OCSP response has no answer: the responder said {status}", "RFC 6960 4.2.1")
    single = next((one for one in response.responses if _is_about(one, leaf, issuer)), None)
    if single is None:
        serials = ", ".join(format(one.serial_number, "x") for one in response.responses) or "none"
        return _refused(
            f"the stapled OCSP response is about another certificate (serial {shown(serials)}) than {leaf.text} "
            f"(serial {leaf.certificate.serial_number:x})",
            "RFC 6960 3.2 (1)",
        )
    unknown = [one for one in response.extensions if one.critical]
    # Of the single responses the parser shows extensions only where there is one.
    if len(list(response.responses)) == 1:
        unknown += [one for one in response.single_extensions if one.critical]
    if unknown:
        return _refused(
            f"the stapled OCSP response has the critical extension {unknown[0].oid.dotted_string}", "RFC 6960 4.4"
        )
    signer = _signer(response, issuer)
    if isinstance(signer, Problem):
        return _Answer((signer,))
    problems: tuple[Problem, ...] = ()
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        why = f" ({single.revocation_reason.value})" if single.revocation_reason is not None else ""
        when = dated(single.revocation_time_utc) if single.revocation_time_utc is not None else "an unknown date"
        problems = (
            Problem(
                ProblemCode.REVOKED,
                0,
                "RFC 6960 2.2",
                f"{leaf.text} was revoked on {when}{why}, says the stapled OCSP response of {issuer.text}",
                "have the CA issue another certificate with a new key, and install it",
            ),
        )
    elif single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        problems = (
            _unsatisfactory(
                f"the stapled OCSP response says that {leaf.text} is unknown to the responder of {issuer.text}",
                "RFC 6960 2.2",
            ),
        )
    begin = single.this_update_utc
    end = single.next_update_utc or begin + LIFE
    return _Answer(problems, begin, end, signer if signer is not issuer else None)


def _is_about(single: ocsp.OCSPSingleResponse, leaf: Parsed, issuer: Parsed) -> bool:
    """Whether the CertID is the leaf's: serial number, and hashes of its issuer's name and key (RFC 6960 section 4.1.1)."""
    if single.serial_number != leaf.certificate.serial_number:
        return False
    wanted = ocsp.OCSPRequestBuilder().add_certificate(leaf.certificate, issuer.certificate, single.hash_algorithm)
    request = wanted.build()
    return (request.issuer_name_hash, request.issuer_key_hash) == (single.issuer_name_hash, single.issuer_key_hash)


def _signer(response: ocsp.OCSPResponse, issuer: Parsed) -> Parsed | Problem:
    """Who signed the response: the issuer or a delegate of it, or the problem where it was neither (RFC 6960 section 4.2.2.2)."""
    if _is_named(response, issuer):
        if _made_with(response, issuer):
            return issuer
        return _unsatisfactory(
            f"the signature of the stapled OCSP response was not made with the key of {issuer.text}", "RFC 6960 3.2 (2)"
        )
    named = [one for one in (Parsed(_der(one)) for one in response.certificates[:8]) if _is_named(response, one)]
    if not named:
        return _unsatisfactory(
            f"the stapled OCSP response is signed by {_responder(response)}, which is not {issuer.text} that issued the "
            "certificate, and brings no certificate of the signer",
            "RFC 6960 3.2 (3)",
        )
    delegate = named[0]
    purposes = delegate.extension(x509.ExtendedKeyUsage)
    if not _certified(delegate, issuer):
        what, rule = f"whom {issuer.text} did not certify", "RFC 6960 4.2.2.2"
    elif purposes is None or ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        what, rule = "whose certificate lacks the extended key usage OCSPSigning", "RFC 6960 4.2.2.2"
    elif not _made_with(response, delegate):
        what, rule = "but its signature was not made with that key", "RFC 6960 3.2 (2)"
    else:
        return delegate
    return _unsatisfactory(f"the stapled OCSP response is signed by {delegate.text}, {what}", rule)


def _certified(delegate: Parsed, issuer: Parsed) -> bool:
    """Whether the issuer itself signed the delegate's certificate. What cannot be checked is not believed: the server brings it."""
    try:
        delegate.certificate.verify_directly_issued_by(issuer.certificate)
    except Exception:  # of many kinds, for signatures that are not right and for those of unknown algorithms
        return False
    return True


def _is_named(response: ocsp.OCSPResponse, candidate: Parsed) -> bool:
    """Whether the ResponderID is the candidate, by name or by the hash of its key."""
    if response.responder_name is not None:
        return comparable(response.responder_name) == candidate.subject
    identifier = x509.SubjectKeyIdentifier.from_public_key(candidate.certificate.public_key())
    return response.responder_key_hash == identifier.digest


def _made_with(response: ocsp.OCSPResponse, signer: Parsed) -> bool:
    digest = None if response.signature_algorithm_oid in _NO_DIGEST else response.signature_hash_algorithm
    parameters: object = None
    if isinstance(signer.key, ec.EllipticCurvePublicKey) and digest is not None:
        parameters = ec.ECDSA(digest)
    elif isinstance(signer.key, rsa.RSAPublicKey) and response.signature_algorithm_oid in _PKCS1:
        parameters = padding.PKCS1v15()
    elif isinstance(signer.key, rsa.RSAPublicKey):
        raise UnsupportedAlgorithm("the signature is of a kind that is not known here")
    try:
        return signature_made_with(signer.key, response.signature, response.tbs_response_bytes, parameters, digest)
    except (ValueError, TypeError):
        return False


def _responder(response: ocsp.OCSPResponse) -> str:
    if response.responder_name is not None:
        return shown(response.responder_name.rfc4514_string()) or "(no name)"
    return f"the key {(response.responder_key_hash or b'').hex()}"


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _refused(evidence: str, rule: str) -> _Answer:
    return _Answer((_unsatisfactory(evidence, rule),))


def _unsatisfactory(
    evidence: str, rule: str, code: ProblemCode = ProblemCode.REVOCATION_UNKNOWN, fix: str = _STAPLING
) -> Problem:
    return Problem(code, 0, rule, evidence, fix)


_NO_DIGEST = frozenset({SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ED448})
_PKCS1 = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA1,
        SignatureAlgorithmOID.RSA_WITH_SHA224,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    }
)

_UNSUCCESSFUL = {
    ocsp.OCSPResponseStatus.MALFORMED_REQUEST: "malformedRequest",
    ocsp.OCSPResponseStatus.INTERNAL_ERROR: "internalError",
    ocsp.OCSPResponseStatus.TRY_LATER: "tryLater",
    ocsp.OCSPResponseStatus.SIG_REQUIRED: "sigRequired",
    ocsp.OCSPResponseStatus.UNAUTHORIZED: "unauthorized",
}
