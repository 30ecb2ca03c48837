"""The answer of this room: whether a certificate chain was accepted, and everything that was wrong with it.

A Verdict is made once for a handshake (or offline by `trust.verifier.judge`) and goes unchanged to the account, the API, the CLI and
the reports. It names all problems, not the first only, and each problem says which certificate, which rule, what was seen, and what
an operator changes to mend it. `code` and the keys of `as_json` are stable: they are only ever added to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sipsua.errors import Untrusted


class ProblemCode(StrEnum):
    """What can be wrong with a certificate or its chain."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    SELF_SIGNED = "self_signed"
    UNKNOWN_ISSUER = "unknown_issuer"
    INCOMPLETE_CHAIN = "incomplete_chain"
    NAME_MISMATCH = "name_mismatch"
    NO_USABLE_NAME = "no_usable_name"
    WILDCARD_REFUSED = "wildcard_refused"
    WRONG_PURPOSE = "wrong_purpose"
    NOT_A_CA = "not_a_ca"
    PATH_TOO_LONG = "path_too_long"
    NAME_NOT_PERMITTED = "name_not_permitted"
    UNKNOWN_CRITICAL_EXTENSION = "unknown_critical_extension"
    BAD_SIGNATURE = "bad_signature"
    WEAK_KEY = "weak_key"
    WEAK_SIGNATURE = "weak_signature"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"
    STAPLE_MISSING = "staple_missing"
    MALFORMED = "malformed"
    OUT_OF_ORDER = "out_of_order"
    """A warning: the chain was sent in another order than RFC 5246 section 7.4.2 wants."""
    STRANGER = "stranger"
    """A warning: a certificate was sent that the path has no use for."""


NAME_PROBLEMS = frozenset({ProblemCode.NAME_MISMATCH, ProblemCode.NO_USABLE_NAME, ProblemCode.WILDCARD_REFUSED})
"""The problems of the name check; all others are problems of the chain."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one certificate."""

    code: ProblemCode
    index: int
    """Which certificate of `Verdict.chain`, 0 is the leaf."""
    rule: str
    """The rule that was broken: RFC and section."""
    evidence: str
    """What was seen: the value, the date, the name."""
    fix: str
    """What an operator changes to mend it."""

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {
            "code": str(self.code),
            "index": self.index,
            "rule": self.rule,
            "evidence": self.evidence,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a person wants to know of one certificate."""

    subject: str
    """RFC 4514 string."""
    issuer: str
    """RFC 4514 string."""
    serial: str
    """Hexadecimal, lower case."""
    names: tuple[str, ...]
    """subjectAltName entries as `DNS:…`, `IP:…`, `URI:…`, in order."""
    not_before: datetime
    """UTC, aware."""
    not_after: datetime
    """UTC, aware."""
    key: str
    """For example `RSA 2048` or `EC P-256`."""
    signature: str
    """For example `sha256WithRSAEncryption`."""
    fingerprint: str
    """SHA-256 over the DER form, hexadecimal, lower case."""
    der: bytes
    """The certificate itself."""

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all fields but the DER bytes."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "serial": self.serial,
            "names": list(self.names),
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "key": self.key,
            "signature": self.signature,
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a chain was accepted, under which policy, for which name, and all that was wrong."""

    accepted: bool
    verified: bool
    """True only where chain and (unless the rule is `off`) name were checked and found good. False with `accepted` True means
    that the policy accepts any certificate."""
    policy: str
    """The policy in words, for example `rfc2818, 1 trust anchor`."""
    reference: str
    """The name that was asked for."""
    chain: tuple[Certificate, ...] = ()
    """As the peer sent it, leaf first."""
    anchor: str | None = None
    """Subject of the trust anchor that the chain ends in, if it does."""
    anchor_list: str | None = None
    """The list that the anchor came from: `built-in`, `custom` or `mozilla`."""
    problems: tuple[Problem, ...] = ()
    """Why it was refused; with `accepted` and not `verified`, why it would have been."""
    warnings: tuple[Problem, ...] = ()
    """What is not as it should be and refused nothing: by the rules, or because the policy is lenient there."""
    path: tuple[Certificate, ...] = ()
    """The path that was built from the leaf, to the trust anchor where one was reached."""

    @property
    def name_only(self) -> bool:
        """True where nothing but the name was wrong."""
        return bool(self.problems) and all(problem.code in NAME_PROBLEMS for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """A JSON object of the whole verdict; certificates without their DER bytes."""
        return {
            "accepted": self.accepted,
            "verified": self.verified,
            "policy": self.policy,
            "reference": self.reference,
            "anchor": self.anchor,
            "anchor_list": self.anchor_list,
            "chain": [certificate.as_json() for certificate in self.chain],
            "path": [certificate.as_json() for certificate in self.path],
            "problems": [problem.as_json() for problem in self.problems],
            "warnings": [problem.as_json() for problem in self.warnings],
        }


class CertificateRefused(Untrusted):
    """The peer's certificate was refused; `verdict` says why, `alert` is what the peer was told."""

    def __init__(self, verdict: Verdict, *, alert: int | None = None) -> None:
        first = verdict.problems[0] if verdict.problems else None
        what = f"certificate for {verdict.reference} refused"
        if first is not None:
            what += f": {first.code}: {first.evidence}"
        kind = "+".join(dict.fromkeys(problem.code for problem in verdict.problems))
        super().__init__(what, fix=first.fix if first is not None else "", kind=kind)
        self.verdict = verdict
        self.alert = alert


ALERT_NAMES: Mapping[int, str] = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    109: "missing_extension",
    110: "unsupported_extension",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
}
"""TLS alert descriptions by number, RFC 8446 section 6 (and RFC 5246 section 7.2)."""
