"""OpenSSL's word on a chain: whether it is good, by which path, and in OpenSSL's own words why not.

It is what decides, offline as in a handshake. It stops at its first fault and says little about it, so `trust.chain` explains; this file
sees to it that what OpenSSL said is never left out of the explanation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib
from OpenSSL.crypto import FILETYPE_ASN1, X509, X509StoreContext, dump_certificate

from sipsua.errors import Defect
from sipsua.trust.certificate import describe
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Problem, ProblemCode, Verdict

OK: Final = 0
HOSTNAME_MISMATCH: Final = 62
CERT_REVOKED: Final = 23
OCSP_VERIFY_FAILED: Final = 74
"""X509_V_ERR_*, by their names."""


@dataclass(frozen=True, slots=True)
class Word:
    """What OpenSSL says of a chain."""

    path: tuple[bytes, ...]
    """The path that it built, DER, leaf first; as far as it came where it refuses."""
    error: int = OK
    """X509_V_ERR_*, where it refuses."""
    depth: int = 0
    """Which certificate of the path the error is about."""

    @property
    def accepted(self) -> bool:
        """Whether the chain is good."""
        return self.error == OK


def word(chain: Sequence[X509], anchors: TrustList, at: datetime) -> Word:
    """Ask OpenSSL offline whether a TLS server's chain (leaf first) leads to one of the anchors, as of `at` (aware)."""
    asked = X509StoreContext(anchors.store_at(at), chain[0], chain[1:])
    # pyOpenSSL tells the path of good chains only, and of the others it leaves errors in OpenSSL's queue, where the next read of any
    # connection would find them.
    context = _ffi.gc(_lib.X509_STORE_CTX_new(), _lib.X509_STORE_CTX_free)
    if _lib.X509_STORE_CTX_init(context, asked._store._store, asked._cert._x509, asked._chain) != 1:
        raise Defect("OpenSSL takes no chain to verify")
    good = _lib.X509_verify_cert(context) == 1
    _lib.ERR_clear_error()
    stack = _lib.X509_STORE_CTX_get1_chain(context)
    path = []
    if stack != _ffi.NULL:
        # The certificates come with a reference each, which X509 gives back.
        path = [X509._from_raw_x509_ptr(_lib.sk_X509_value(stack, place)) for place in range(_lib.sk_X509_num(stack))]
        _lib.sk_X509_free(stack)
    ders = tuple(dump_certificate(FILETYPE_ASN1, one) for one in path)
    if good:
        return Word(ders)
    # 1, an error without a name, where it gave none.
    return Word(ders, _lib.X509_STORE_CTX_get_error(context) or 1, _lib.X509_STORE_CTX_get_error_depth(context))


def covers(codes: Collection[ProblemCode], errno: int) -> bool:
    """Whether an explanation with these codes tells what OpenSSL's error tells, be it more precisely."""
    code = CODES.get(errno, ProblemCode.MALFORMED)
    return code in codes or not _PRECISER.get(code, frozenset()).isdisjoint(codes)


def explained(errno: int, depth: int, ders: Sequence[bytes]) -> Problem:
    """A refusal in OpenSSL's own words, for what our own look did not find."""
    index = max(0, min(depth, len(ders) - 1))
    whose = describe(ders[index]).subject if ders else "the chain"
    words = _ffi.string(_lib.X509_verify_cert_error_string(errno)).decode("utf-8", "replace")
    return Problem(
        CODES.get(errno, ProblemCode.MALFORMED),
        index,
        "RFC 5280 6.1",
        f"OpenSSL refuses {whose}: {words} (error {errno})",
        "look at this certificate with `openssl x509 -text`, and have it issued again without this fault",
    )


def client_refusal(path: Sequence[bytes], errno: int, depth: int) -> Verdict:
    """The Verdict on a client's certificate that OpenSSL refused: its path as far as it was built, leaf first, and its error."""
    problem = explained(errno, depth, path)
    chain = tuple(describe(der) for der in path)
    return Verdict(
        accepted=False,
        verified=False,
        policy="client certificates by RFC 5280",
        reference=f"the client {chain[0].subject}" if chain else "the client",
        chain=chain,
        problems=(replace(problem, fix=_CLIENT_FIXES.get(problem.code, problem.fix)),),
        path=chain,
    )


_CLIENT_FIXES: Mapping[ProblemCode, str] = {
    ProblemCode.UNKNOWN_ISSUER: "trust the issuer of the client's certificate here, or have the client send its intermediates too",
    ProblemCode.SELF_SIGNED: "trust this certificate here, or give the client one that a trusted CA has issued",
    ProblemCode.EXPIRED: "give the client a new certificate, and look at the clocks of both sides",
    ProblemCode.NOT_YET_VALID: "look at the clocks of both sides",
    ProblemCode.WRONG_PURPOSE: "have it issued with the extended key usage clientAuth",
}
"""What to do about the commonest refusals of a client's certificate."""

CODES: Mapping[int, ProblemCode] = {
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

_PRECISER: Mapping[ProblemCode, frozenset[ProblemCode]] = {
    # A path that leads nowhere: OpenSSL goes by names and key identifiers, we look at signatures too. And it looks for no issuer of a
    # certificate whose extensions it cannot read.
    ProblemCode.UNKNOWN_ISSUER: frozenset(
        {ProblemCode.INCOMPLETE_CHAIN, ProblemCode.SELF_SIGNED, ProblemCode.BAD_SIGNATURE, ProblemCode.MALFORMED}
    ),
    ProblemCode.SELF_SIGNED: frozenset({ProblemCode.BAD_SIGNATURE}),
}
"""The codes that say the same as one of OpenSSL's, and more.
"""
