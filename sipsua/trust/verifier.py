"""The judgement: one chain, one policy, one name, one Verdict.

OpenSSL decides about the chain, our own matcher about the name. In a handshake `Verification` answers OpenSSL's callback and
refuses at the first fault, so that the peer is told the alert that fits; for an accepted chain the Verdict then costs next
to nothing. After a refusal, and offline, `judge` looks at everything and names all that is wrong. Whatever the bytes are,
the answer is a Verdict, never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509, Error, dump_certificate, load_certificate

from sipsua.errors import Misuse
from sipsua.trust.certificate import describe, readable
from sipsua.trust.chain import detour, usurped, weaknesses
from sipsua.trust.chain import problems as chain_problems
from sipsua.trust.names import advice, check_name, presented_names, shown
from sipsua.trust.openssl import CERT_REVOKED, CODES, HOSTNAME_MISMATCH, OCSP_VERIFY_FAILED, covers, explained, word
from sipsua.trust.path import Path
from sipsua.trust.policy import NameRule, Policy, Revocation
from sipsua.trust.revocation import NO_ANSWER, NOT_BELIEVED, Findings, revocation, stapled
from sipsua.trust.store import TrustAnchor, TrustList
from sipsua.trust.verdict import NAME_PROBLEMS, Problem, ProblemCode, Verdict

AnyCertificate = bytes | x509.Certificate | X509
"""A certificate: DER bytes, or an object of `cryptography` or pyOpenSSL."""


class Verification:
    """The verification of one handshake: give `callback` to `Connection.set_verify`, then ask for the `verdict`."""

    __slots__ = (
        "_answered",
        "_at",
        "_defect",
        "_depth",
        "_doubted",
        "_legacy",
        "_named",
        "_refused",
        "_response",
        "_top",
        "_unanswered",
        "policy",
        "reference",
        "refusal",
    )

    policy: Policy
    """What counts."""
    reference: str
    """The name that was asked for: a DNS name or an IP address."""
    refusal: int
    """The X509_V_ERR_* to set where `callback` said no to a certificate that OpenSSL found good, so that the alert fits."""

    def __init__(self, policy: Policy, reference: str, at: datetime | None = None) -> None:
        """`at` (aware) is the time for explaining a refusal; None is the machine's clock, which OpenSSL goes by as well."""
        self.policy = policy
        self.reference = reference
        self.refusal = HOSTNAME_MISMATCH
        self._at = at
        self._named = False
        self._refused: tuple[int, int] | None = None
        self._defect = ""
        self._depth = -1
        self._top: AnyCertificate | None = None
        self._legacy: Path | None = None
        self._response: bytes | None = None
        self._answered = True  # by the staple, where one was asked for
        # The depths for which no CRL gives an answer, and those for which there is one that does not count.
        self._unanswered: frozenset[int] = frozenset()
        self._doubted: frozenset[int] = frozenset()

    def callback(self, connection: object, certificate: AnyCertificate, errno: int, depth: int, ok: int) -> bool:
        """Answer OpenSSL's question about one certificate. Never raises: what breaks here is a refusal.

        The name is compared the first time that OpenSSL says yes to the leaf, be it before or after the rest of the chain.
        """
        try:
            if self.policy.dangerous_accept_any_certificate:
                return True
            if not ok or self._refused is not None:
                if self._refused is None:
                    if self.policy.crls is not None and self._tolerates(connection, certificate, errno, depth):
                        return True
                    self._refused = errno, depth
                return False
            if depth > self._depth:
                # OpenSSL says its yes from the anchor down.
                self._depth, self._top = depth, certificate
            if depth == 0 and not self._named:
                if check_name(self.policy.names, _der(certificate), self.reference) is not None:
                    self._refused = HOSTNAME_MISMATCH, 0
                    return False
                if self.policy.legacy_path and not self._follows_old_path(connection):
                    return False
                self._named = True
            return True
        except Exception as error:
            self._refused = 0, 0
            self._defect = _words(error)
            return False

    def staple(self, response: bytes, verified: Sequence[AnyCertificate]) -> bool:
        """Whether the OCSP response that the server stapled is satisfactory (RFC 6066 section 8); b"" where it stapled none.

        To be asked after the chain was accepted, where the policy wants a staple. `verified` is the path that OpenSSL built, leaf first.
        Never raises.
        """
        try:
            self._response = bytes(response)
            if self.policy.dangerous_accept_any_certificate or not self.policy.staple:
                return True
            path = Path.built([_der(one) for one in verified], (), self.policy.anchors, good=False)
            problems, self._answered = stapled(path, self._response, self._now())
            # What the CRLs say of the leaf was heard in the callback.
            heard = self.policy.crls is not None and 0 not in self._unanswered
            if problems or not (self._answered or heard or self.policy.revocation is Revocation.SOFT):
                self._refused = OCSP_VERIFY_FAILED, 0
        except Exception as error:
            self._refused = OCSP_VERIFY_FAILED, 0
            self._defect = _words(error)
        return self._refused is None

    def verdict(
        self, sent: Sequence[AnyCertificate] | None, verified: Sequence[AnyCertificate] | None = None
    ) -> Verdict:
        """The Verdict of the handshake, which was accepted if all answers of `callback` and `staple` were yes. Never raises.

        `sent` is what the peer sent, leaf first; `verified` the path that OpenSSL built, where the caller has it at hand.
        """
        policy = self.policy
        unasked = policy.staple and self._response is None
        if self._named and self._refused is None and not unasked:
            ders = tuple(_der(one) for one in sent or ())
            built = tuple(_der(one) for one in verified or ())
            top = built[-1] if built else _der(self._top) if self._top is not None else b""
            anchor = policy.anchors.anchor(top) or policy.anchors.anchor(ders[0] if ders else b"")
            legacy = self._legacy
            if legacy is not None:
                built, anchor = tuple(step.der for step in legacy.steps), legacy.anchor
            weak, named = policy.dangerous_weak_ciphers, policy.names is not NameRule.OFF
            settled = (str(policy), self.reference, ders, anchor, built, weak, named, self._at)
            verdict = _accepted(*settled, Findings())
            # Of several CRLs of one issuer OpenSSL asks one.
            if self._unanswered or not self._answered or (policy.crls is not None and policy.crls.several):
                verdict = _accepted(*settled, self._called_back(verdict, ders))
            return verdict
        verdict = judge(sent or (), policy=policy, reference=self.reference, at=self._now(), staple=self._response)
        if policy.dangerous_accept_any_certificate:
            return verdict
        problems = verdict.problems
        if self._defect:
            problems += (_malformed(0, f"the certificate cannot be judged: {self._defect}"),)
        elif self._refused is None:
            what = "asked for its staple" if self._named else "verified"
            problems += (_malformed(0, f"the handshake ended before the certificate was {what}"),)
        elif not problems or (
            self._refused[0] != HOSTNAME_MISMATCH and all(problem.code in NAME_PROBLEMS for problem in problems)
        ):
            # OpenSSL saw a fault that is not to be seen now, such as a validity that began in between.
            problems += (explained(*self._refused, [_der(one) for one in sent or ()]),)
        return replace(verdict, accepted=False, verified=False, problems=problems)

    def _now(self) -> datetime:
        return self._at or datetime.now(UTC)

    def _tolerates(self, connection: object, certificate: AnyCertificate, errno: int, depth: int) -> bool:
        """Whether a certificate on which no CRL gives an answer may pass for now."""
        if errno == CERT_REVOKED:
            # OpenSSL goes on with a CRL that does not count, and finds in it what nobody can vouch for.
            return depth in self._doubted
        if errno not in NO_ANSWER:
            return False
        if errno in NOT_BELIEVED:
            self._doubted |= {depth}
        anchors = self.policy.anchors
        if anchors.anchor(_der(certificate)) is not None:
            return True
        self._unanswered |= {depth}
        if self.policy.revocation is Revocation.SOFT or (depth == 0 and self.policy.staple):
            return True
        # What was sent above a leaf that is trusted for its own sake has no part in its path.
        sent = connection.get_peer_cert_chain() if isinstance(connection, SSL.Connection) else None
        return anchors.anchor(_der(sent[0])) is not None if sent else False

    def _follows_old_path(self, connection: object) -> bool:
        """Whether the chain as sent leads to an anchor, and all on the way is good."""
        sent = connection.get_peer_cert_chain() if isinstance(connection, SSL.Connection) else None
        at = self._now().replace(microsecond=0)
        path = Path.as_sent([readable(_der(one)) for one in sent or ()], self.policy.anchors)
        problem = next(chain_problems(path, at), None)
        if problem is None:
            self._legacy = path
            return True
        self.refusal = next(errno for errno, code in CODES.items() if code is _COARSER.get(problem.code, problem.code))
        self._refused = self.refusal, problem.index
        return False

    def _called_back(self, verdict: Verdict, ders: Sequence[bytes]) -> Findings:
        if not verdict.path:
            return Findings()
        path = Path.built([one.der for one in verdict.path], [readable(der) for der in ders], self.policy.anchors)
        return revocation(path, self.policy, self._now().replace(microsecond=0), self._response)


def judge(
    chain: Sequence[AnyCertificate], *, policy: Policy, reference: str, at: datetime, staple: bytes | None = None
) -> Verdict:
    """Judge a chain (leaf first, as a server sends it) offline: the Verdict that a handshake at `at` (aware) would have.

    `staple` is the OCSP response that came with it, b"" where none did, None where that is not known; it counts where the policy asks
    for one. Never raises for what is in chain and staple. Raises Misuse if `at` has no time zone.
    """
    if at.tzinfo is None:
        raise Misuse("the time to judge at has no time zone", fix="give an aware datetime, such as datetime.now(UTC)")
    ders = tuple(_der(one) for one in chain)
    findings = _judge_chain(ders, policy, at.replace(microsecond=0), staple)  # certificates know whole seconds
    problems, path, anchor = findings.problems, findings.path, findings.anchor
    if ders and not any(one.code is ProblemCode.MALFORMED and one.index == 0 for one in problems):
        names = _judge_name(ders[0], policy.names, reference)
        if policy.names is not NameRule.OFF and not names and path is not None:
            told = {one.index for one in problems if one.code is ProblemCode.NAME_NOT_PERMITTED}
            names += (one for one in usurped(path, reference) if one.index not in told)
        problems += names
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
        warnings=tuple(findings.warnings),
        path=tuple(describe(step.der) for step in path.steps) if path is not None else (),
    )


@lru_cache(maxsize=256)  # a chain may have 100 KB
def _accepted(
    policy: str,
    reference: str,
    ders: tuple[bytes, ...],
    anchor: TrustAnchor | None,
    built: tuple[bytes, ...],
    weak: bool,
    named: bool,
    at: datetime | None,
    called_back: Findings,
) -> Verdict:
    """The Verdict of a handshake that OpenSSL accepted: one object for all phones that saw the same.

    `built` is the path where it is known; otherwise OpenSSL builds it again, to this anchor. No argument holds a trust list.
    """
    warnings: list[Problem] = []
    problems: list[Problem] = []
    path: Path | None = None
    try:
        anchors = TrustList((anchor,) if anchor is not None else ())
        if not built:
            chain = [load_certificate(FILETYPE_ASN1, der) for der in ders]
            said = word(chain, anchors, at or datetime.now(UTC))
            if not said.accepted:
                raise ValueError("OpenSSL does not find its path again")
            built = said.path
        sent = [readable(der) for der in ders]
        path = Path.built(built, sent, anchors)
        warnings += path.warnings(sent)
        # A policy of old TLS versions lowers OpenSSL's level for the sake of their signatures, and does not mean the certificates.
        (warnings if weak else problems).extend(weaknesses(Path.built(built, sent, anchors, good=False)))
        if named:
            problems += usurped(path, reference)
    except Exception as error:  # what our parser does not take, and OpenSSL took: nobody can say then how strong it is
        path = None
        problems.append(_malformed(0, f"a certificate of the chain cannot be read: {_words(error)}"))
    problems += called_back.problems
    return Verdict(
        accepted=not problems,
        verified=not problems,
        policy=policy,
        reference=reference,
        chain=tuple(describe(der) for der in ders),
        anchor=anchor.subject if anchor is not None else None,
        anchor_list=anchor.origin if anchor is not None else None,
        problems=tuple(problems),
        warnings=(*warnings, *called_back.warnings),
        path=tuple(describe(step.der) for step in path.steps) if path is not None else (),
    )


@dataclass(slots=True)
class _Findings:
    """What is known of a chain."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    path: Path | None = None

    @property
    def anchor(self) -> TrustAnchor | None:
        return self.path.anchor if self.path is not None else None


def _judge_chain(ders: Sequence[bytes], policy: Policy, at: datetime, staple: bytes | None) -> _Findings:
    """OpenSSL's yes or no, then our own look at the path, and at who has called back what is on it."""
    found = _Findings()
    if not ders:
        found.problems.append(_malformed(0, "the server sent no certificate"))
        return found
    certificates: list[X509] = []
    for index, der in enumerate(ders):
        try:
            certificate = load_certificate(FILETYPE_ASN1, der)
            if dump_certificate(FILETYPE_ASN1, certificate) != der:
                raise ValueError("octets after the certificate, or not DER")
            certificates.append(certificate)
        except (Error, ValueError):
            found.problems.append(_malformed(index, f"certificate {index} of the chain is no X.509 certificate in DER"))
    if found.problems and found.problems[0].index == 0:
        return found
    said = word(certificates, policy.anchors, at)
    # `cryptography` and OpenSSL read the same bytes with different eyes, and ours may not follow where OpenSSL's did.
    try:
        sent = [readable(der) for der in ders]
        found.path = path = Path.built(said.path, sent, policy.anchors, good=said.accepted)
        if not said.accepted:
            found.problems += chain_problems(path, at)
        # What OpenSSL found above a pinned leaf has no part in the path, and still has to be strong and not revoked.
        whole = path if not said.accepted else Path.built(said.path, sent, policy.anchors, good=False)
        weak = list(weaknesses(whole))
        if policy.dangerous_weak_ciphers:
            found.warnings += weak
        else:
            found.problems += weak
        called_back = revocation(whole, policy, at, staple)
        found.problems += called_back.problems
        if policy.legacy_path:
            old = Path.as_sent(sent, policy.anchors)
            found.problems += detour(old, path, at, tuple(found.problems))
            found.path = old
        found.warnings = [*found.path.warnings(sent), *found.warnings, *called_back.warnings]
    except Exception as error:
        if said.accepted:
            found.problems.append(_malformed(0, f"a certificate of the chain cannot be read: {_words(error)}"))
    if not said.accepted and not covers({one.code for one in found.problems}, said.error):
        found.problems.append(explained(said.error, said.depth, ders))
    return found


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


_COARSER = {ProblemCode.INCOMPLETE_CHAIN: ProblemCode.UNKNOWN_ISSUER}
"""Codes that OpenSSL has no error for."""
