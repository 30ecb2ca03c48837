"""The judgement: one chain, one policy, one name, one Verdict.

OpenSSL decides about the chain, our own matcher about the name. In a handshake `Verification` answers OpenSSL's callback and
refuses at the first fault, so that the peer is told the alert that fits; for an accepted chain the Verdict then costs next
to nothing. After a refusal, and offline, `judge` looks at everything and names all that is wrong. Whatever the bytes are,
the answer is a Verdict, never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib
from OpenSSL.crypto import (
    FILETYPE_ASN1,
    X509,
    Error,
    X509StoreContext,
    X509StoreContextError,
    dump_certificate,
    load_certificate,
)

from sipsua.errors import Misuse
from sipsua.trust.certificate import Parsed, describe
from sipsua.trust.chain import Path
from sipsua.trust.names import advice, check_name, presented_names, shown
from sipsua.trust.policy import NameRule, Policy
from sipsua.trust.store import TrustAnchor, TrustList
from sipsua.trust.verdict import NAME_PROBLEMS, Problem, ProblemCode, Verdict

AnyCertificate = bytes | x509.Certificate | X509
"""A certificate: DER bytes, or an object of `cryptography` or pyOpenSSL."""


class Verification:
    """The verification of one handshake: give `callback` to `Connection.set_verify`, then ask for the `verdict`."""

    __slots__ = ("_at", "_defect", "_depth", "_named", "_refused", "_top", "policy", "reference")

    refusal = 62
    policy: Policy
    """What counts."""
    reference: str
    """The name that was asked for: a DNS name or an IP address."""

    def __init__(self, policy: Policy, reference: str, at: datetime | None = None) -> None:
        """`at` (aware) is the time for explaining a refusal; None is the machine's clock, which OpenSSL goes by as well."""
        self.policy = policy
        self.reference = reference
        self._at = at
        self._named = False
        self._refused: tuple[int, int] | None = None
        self._defect = ""
        self._depth = -1
        self._top: X509 | None = None

    def callback(self, connection: object, x509: X509, errno: int, depth: int, ok: int) -> bool:
        """Answer OpenSSL's question about one certificate. Never raises: what breaks here is a refusal.

        The name is compared the first time that OpenSSL says yes to the leaf, be it before or after the rest of the chain.
        """
        try:
            if self.policy.dangerous_accept_any_certificate:
                return True
            if not ok or self._refused is not None:
                if self._refused is None:
                    self._refused = errno, depth
                return False
            if depth > self._depth:
                # OpenSSL says its yes from the anchor down.
                self._depth, self._top = depth, x509
            if depth == 0 and not self._named:
                if check_name(self.policy.names, dump_certificate(FILETYPE_ASN1, x509), self.reference) is not None:
                    self._refused = _HOSTNAME_MISMATCH, 0
                    return False
                self._named = True
            return True
        except Exception as error:
            self._refused = 0, 0
            self._defect = _words(error)
            return False

    def staple(self, response: bytes, verified: object) -> bool:
        return not response

    def verdict(
        self, sent: Sequence[AnyCertificate] | None, verified: Sequence[AnyCertificate] | None = None
    ) -> Verdict:
        """The Verdict of the handshake, which was accepted if all answers of `callback` were yes. Never raises.

        `sent` is what the peer sent, leaf first; `verified` the path that OpenSSL built, where the caller has it at hand.
        """
        if self._named and self._refused is None:
            ders = tuple(_der(one) for one in sent or ())
            top = verified[-1] if verified else self._top
            anchor = self.policy.anchors.anchor(_der(top)) if top is not None else None
            return _accepted(str(self.policy), self.reference, ders, anchor)
        verdict = judge(sent or (), policy=self.policy, reference=self.reference, at=self._at or datetime.now(UTC))
        if self.policy.dangerous_accept_any_certificate:
            return verdict
        problems = verdict.problems
        if self._defect:
            problems += (_malformed(0, f"the certificate cannot be judged: {self._defect}"),)
        elif self._refused is None:
            problems += (_malformed(0, "the handshake ended before the certificate was verified"),)
        elif not problems or (
            self._refused[0] != _HOSTNAME_MISMATCH and all(problem.code in NAME_PROBLEMS for problem in problems)
        ):
            # OpenSSL saw a fault that is not to be seen now, such as a validity that began in between.
            problems += (_explained(*self._refused, [_der(one) for one in sent or ()]),)
        return replace(verdict, accepted=False, verified=False, problems=problems)


def judge(chain: Sequence[AnyCertificate], *, policy: Policy, reference: str, at: datetime) -> Verdict:
    """Judge a chain (leaf first, as a server sends it) offline: the Verdict that a handshake at `at` (aware) would have.

    Never raises for what is in the chain. Raises Misuse if `at` has no time zone.
    """
    if at.tzinfo is None:
        raise Misuse("the time to judge at has no time zone", fix="give an aware datetime, such as datetime.now(UTC)")
    ders = tuple(_der(one) for one in chain)
    anchor, problems = _judge_chain(ders, policy.anchors, at.replace(microsecond=0))  # certificates know whole seconds
    if ders and not any(one.code is ProblemCode.MALFORMED and one.index == 0 for one in problems):
        problems += _judge_name(ders[0], policy.names, reference)
    any_certificate = policy.dangerous_accept_any_certificate
    return Verdict(
        accepted=any_certificate or not problems,
        verified=not any_certificate and not problems,
        policy=str(policy),
        reference=reference,
        chain=tuple(describe(der) for der in ders),
        anchor=anchor.subject if anchor is not None else None,
        anchor_list=anchor.origin if anchor is not None else None,
        problems=tuple(problems),
    )


@lru_cache(maxsize=256)  # a chain may have 100 KB
def _accepted(policy: str, reference: str, ders: tuple[bytes, ...], anchor: TrustAnchor | None) -> Verdict:
    """The Verdict of an accepted handshake: one object for all phones that saw the same."""
    return Verdict(
        accepted=True,
        verified=True,
        policy=policy,
        reference=reference,
        chain=tuple(describe(der) for der in ders),
        anchor=anchor.subject if anchor is not None else None,
        anchor_list=anchor.origin if anchor is not None else None,
    )


def _judge_chain(ders: Sequence[bytes], anchors: TrustList, at: datetime) -> tuple[TrustAnchor | None, list[Problem]]:
    """OpenSSL's yes or no; after a no, and for what is too weak, our own look at the path."""
    if not ders:
        return None, [_malformed(0, "the server sent no certificate")]
    certificates: list[X509] = []
    problems: list[Problem] = []
    for index, der in enumerate(ders):
        try:
            certificate = load_certificate(FILETYPE_ASN1, der)
            if dump_certificate(FILETYPE_ASN1, certificate) != der:
                raise ValueError("octets after the certificate, or not DER")
            certificates.append(certificate)
        except (Error, ValueError):
            problems.append(_malformed(index, f"certificate {index} of the chain is no X.509 certificate in DER"))
    if problems and problems[0].index == 0:
        return None, problems
    anchor, refusal = None, None
    # `cryptography` and OpenSSL read the same bytes with different eyes, and ours may not follow where OpenSSL's did.
    try:
        try:
            verified = X509StoreContext(anchors.store_at(at), certificates[0], certificates[1:]).get_verified_chain()
            path = Path.verified([_der(one) for one in verified], ders, anchors)
        except X509StoreContextError as error:
            refusal = _explained(error.errors[0], error.errors[1], ders)
            path = Path.walk([_parsed(der) for der in ders], anchors, at)
            if found := list(path.problems(at)):
                refusal = None
                problems += found
        anchor = path.anchor
        problems += path.weaknesses()
    except Exception as error:
        if refusal is None:
            refusal = _malformed(0, f"a certificate of the chain cannot be read: {_words(error)}")
    return anchor, problems if refusal is None else [*problems, refusal]


def _judge_name(der: bytes, rule: NameRule, reference: str) -> list[Problem]:
    try:
        problem = check_name(rule, der, reference)
        if problem is None:
            return []
        fix = advice(presented_names(der), reference, rule)
    except Exception as error:
        return [_malformed(0, f"the names in the certificate cannot be read: {_words(error)}")]
    return [Problem(problem.code, 0, problem.rule, problem.evidence, fix)]


def _der(certificate: AnyCertificate) -> bytes:
    if isinstance(certificate, bytes):
        return certificate
    if isinstance(certificate, X509):
        return dump_certificate(FILETYPE_ASN1, certificate)
    return certificate.public_bytes(Encoding.DER)


def _parsed(der: bytes) -> Parsed | None:
    try:
        return Parsed(der)
    except Exception:
        return None


def _words(error: Exception) -> str:
    return shown(f"{type(error).__name__}: {error}", 200)


def _malformed(index: int, evidence: str) -> Problem:
    return Problem(
        ProblemCode.MALFORMED,
        index,
        "RFC 5280 4.1",
        evidence,
        "have the CA issue this certificate again, and install it unchanged",
    )


def _explained(errno: int, depth: int, ders: Sequence[bytes]) -> Problem:
    """A refusal in OpenSSL's own words, for what our own look did not find."""
    index = max(0, min(depth, len(ders) - 1))
    whose = describe(ders[index]).subject if ders else "the chain"
    words = _ffi.string(_lib.X509_verify_cert_error_string(errno)).decode("utf-8", "replace")
    return Problem(
        OPENSSL_CODES.get(errno, ProblemCode.MALFORMED),
        index,
        "RFC 5280 6.1",
        f"OpenSSL refuses {whose}: {words} (error {errno})",
        "look at this certificate with `openssl x509 -text`, and have it issued again without this fault",
    )


_HOSTNAME_MISMATCH = 62

OPENSSL_CODES: Mapping[int, ProblemCode] = {
    1: ProblemCode.MALFORMED,
    2: ProblemCode.UNKNOWN_ISSUER,
    3: ProblemCode.REVOCATION_UNKNOWN,
    4: ProblemCode.BAD_SIGNATURE,
    5: ProblemCode.REVOCATION_UNKNOWN,
    6: ProblemCode.MALFORMED,
    7: ProblemCode.BAD_SIGNATURE,
    8: ProblemCode.REVOCATION_UNKNOWN,
    9: ProblemCode.NOT_YET_VALID,
    10: ProblemCode.EXPIRED,
    11: ProblemCode.REVOCATION_UNKNOWN,
    12: ProblemCode.REVOCATION_UNKNOWN,
    13: ProblemCode.MALFORMED,
    14: ProblemCode.MALFORMED,
    15: ProblemCode.REVOCATION_UNKNOWN,
    16: ProblemCode.REVOCATION_UNKNOWN,
    17: ProblemCode.MALFORMED,
    18: ProblemCode.SELF_SIGNED,
    19: ProblemCode.UNKNOWN_ISSUER,
    20: ProblemCode.UNKNOWN_ISSUER,
    21: ProblemCode.UNKNOWN_ISSUER,
    22: ProblemCode.PATH_TOO_LONG,
    23: ProblemCode.REVOKED,
    24: ProblemCode.MALFORMED,
    25: ProblemCode.PATH_TOO_LONG,
    26: ProblemCode.WRONG_PURPOSE,
    27: ProblemCode.UNKNOWN_ISSUER,
    28: ProblemCode.WRONG_PURPOSE,
    29: ProblemCode.UNKNOWN_ISSUER,
    30: ProblemCode.UNKNOWN_ISSUER,
    31: ProblemCode.UNKNOWN_ISSUER,
    32: ProblemCode.NOT_A_CA,
    33: ProblemCode.REVOCATION_UNKNOWN,
    34: ProblemCode.UNKNOWN_CRITICAL_EXTENSION,
    35: ProblemCode.REVOCATION_UNKNOWN,
    36: ProblemCode.REVOCATION_UNKNOWN,
    37: ProblemCode.WRONG_PURPOSE,
    38: ProblemCode.PATH_TOO_LONG,
    39: ProblemCode.WRONG_PURPOSE,
    40: ProblemCode.WRONG_PURPOSE,
    41: ProblemCode.MALFORMED,
    42: ProblemCode.MALFORMED,
    43: ProblemCode.WRONG_PURPOSE,
    44: ProblemCode.REVOCATION_UNKNOWN,
    45: ProblemCode.MALFORMED,
    46: ProblemCode.NAME_NOT_PERMITTED,
    47: ProblemCode.NAME_NOT_PERMITTED,
    48: ProblemCode.NAME_NOT_PERMITTED,
    49: ProblemCode.NAME_NOT_PERMITTED,
    50: ProblemCode.MALFORMED,
    51: ProblemCode.NAME_NOT_PERMITTED,
    52: ProblemCode.NAME_NOT_PERMITTED,
    53: ProblemCode.NAME_NOT_PERMITTED,
    54: ProblemCode.REVOCATION_UNKNOWN,
    55: ProblemCode.UNKNOWN_ISSUER,
    56: ProblemCode.MALFORMED,
    57: ProblemCode.WEAK_KEY,
    58: ProblemCode.WEAK_KEY,
    59: ProblemCode.WEAK_SIGNATURE,
    60: ProblemCode.WEAK_KEY,
    61: ProblemCode.WEAK_KEY,
    62: ProblemCode.NAME_MISMATCH,
    63: ProblemCode.NAME_MISMATCH,
    64: ProblemCode.NAME_MISMATCH,
    65: ProblemCode.UNKNOWN_ISSUER,
    66: ProblemCode.WEAK_KEY,
    67: ProblemCode.WEAK_KEY,
    68: ProblemCode.WEAK_SIGNATURE,
    69: ProblemCode.MALFORMED,
    70: ProblemCode.UNKNOWN_ISSUER,
    71: ProblemCode.MALFORMED,
    72: ProblemCode.NAME_NOT_PERMITTED,
    73: ProblemCode.REVOCATION_UNKNOWN,
    74: ProblemCode.REVOCATION_UNKNOWN,
    75: ProblemCode.REVOCATION_UNKNOWN,
    76: ProblemCode.MALFORMED,
    77: ProblemCode.BAD_SIGNATURE,
    78: ProblemCode.BAD_SIGNATURE,
    79: ProblemCode.NOT_A_CA,
    80: ProblemCode.NOT_A_CA,
    81: ProblemCode.NOT_A_CA,
    82: ProblemCode.NOT_A_CA,
    83: ProblemCode.MALFORMED,
    84: ProblemCode.MALFORMED,
    85: ProblemCode.MALFORMED,
    86: ProblemCode.MALFORMED,
    87: ProblemCode.MALFORMED,
    88: ProblemCode.MALFORMED,
    89: ProblemCode.MALFORMED,
    90: ProblemCode.MALFORMED,
    91: ProblemCode.MALFORMED,
    92: ProblemCode.NOT_A_CA,
    93: ProblemCode.MALFORMED,
    94: ProblemCode.MALFORMED,
    95: ProblemCode.UNKNOWN_ISSUER,
    96: ProblemCode.REVOCATION_UNKNOWN,
    97: ProblemCode.REVOCATION_UNKNOWN,
    98: ProblemCode.REVOCATION_UNKNOWN,
    99: ProblemCode.REVOCATION_UNKNOWN,
    100: ProblemCode.REVOCATION_UNKNOWN,
    102: ProblemCode.MALFORMED,
    103: ProblemCode.MALFORMED,
}
"""What each X509_V_ERR_* of OpenSSL 4.0 means here (`openssl/x509_vfy.h`; 101 is not in use)."""
