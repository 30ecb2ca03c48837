"""The clients whose opinions are compared: what each is, how it compares names, and how it looks at a chain.

Most clients hand the chain to OpenSSL; Go and rustls have verifiers of their own. What they do otherwise than OpenSSL stands here in a
function each, as a filter: it takes what `trust.verifier` found wrong, leaves out what the client does not mind, and adds what only this
client minds. What its source, version or build leaves open it answers with `Unsettled`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from sipsua.trust import clients, key, names
from sipsua.trust.certificate import Parsed, parsed
from sipsua.trust.clients import Unsettled
from sipsua.trust.names import NameProblem, PresentedNames
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Problem, ProblemCode, Verdict

NameOpinion = Callable[[PresentedNames, str], NameProblem | Unsettled | None]
"""Compares presented names with a reference, as a rule of `trust.names` does."""


@dataclass(frozen=True, slots=True)
class Look:
    """A way to look at a chain. The default is that of `trust.verifier`: what is listed is trusted, the policy says which path."""

    roots_only: bool = False
    """Trust only listed certificates that signed themselves, as OpenSSL does without X509_V_FLAG_PARTIAL_CHAIN."""
    legacy_path: bool | None = None
    """As in the policy; None leaves it to the policy."""
    unsettled: str = ""
    """What is not known if this look finds otherwise than the persona's first."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at a chain saw."""

    verdict: Verdict
    """The verdict on the chain alone, strict on weak keys."""
    policy: Policy
    """The policy that was asked for."""
    anchors: TrustList
    """The anchors that counted in this look."""
    certificates: tuple[Parsed | None, ...]
    """The sent certificates, leaf first; None for what cannot be read."""
    at: datetime
    """The time of the look, aware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One client."""

    name: str
    """What it is called in a table and in JSON."""
    what: str
    """What it is, and where its rules are from."""
    names: NameOpinion | None
    """How it compares names; None: it does not."""
    chain: Callable[[Sight], Iterable[Problem | Unsettled]]
    """What it finds wrong with a chain."""
    looks: tuple[Look, ...] = (Look(),)
    """How it looks at chains: several where it is not known which."""


_REVOCATION = frozenset({ProblemCode.REVOKED, ProblemCode.REVOCATION_UNKNOWN, ProblemCode.STAPLE_MISSING})
_WEAKNESSES = frozenset({ProblemCode.WEAK_KEY, ProblemCode.WEAK_SIGNATURE})
_OF_THE_WAY = frozenset(
    {
        ProblemCode.SELF_SIGNED,
        ProblemCode.UNKNOWN_ISSUER,
        ProblemCode.INCOMPLETE_CHAIN,
        ProblemCode.BAD_SIGNATURE,
        ProblemCode.NAME_NOT_PERMITTED,
    }
)
"""Problems that are not of one certificate alone."""

_KEY_USAGE = "RFC 5280 4.2.1.3"
_STRONG = 1968  # bits of RSA from which the verifier finds no weakness
_PHONE_LOOKS = (
    Look(),
    Look(roots_only=True, unsettled="whether the phone trusts a listed certificate that is no root"),
    Look(
        legacy_path=True,
        unsettled="whether its firmware follows the chain that was sent to its end, as OpenSSL 1.0 did (a policy with legacy_path tells)",
    ),
    Look(
        roots_only=True,
        legacy_path=True,
        unsettled="whether its firmware follows the chain that was sent to its end and trusts a certificate that is no root",
    ),
)


def as_judged(sight: Sight) -> Iterator[Problem | Unsettled]:
    """What sipsua itself finds with the policy."""
    for problem in sight.verdict.problems:
        if problem.code not in _WEAKNESSES or not sight.policy.dangerous_weak_ciphers:
            yield problem


def as_openssl(sight: Sight) -> Iterator[Problem | Unsettled]:
    """A program on OpenSSL that looks up no revocation. What is too weak depends on the security level of the build."""
    for problem in sight.verdict.problems:
        if problem.code in _WEAKNESSES:
            yield Unsettled("whether the security level of its OpenSSL takes the weak key or signature")
        elif problem.code not in _REVOCATION:
            yield problem


def as_phone(sight: Sight) -> Iterator[Problem | Unsettled]:
    """A phone whose manual speaks neither of weak keys nor of revocation."""
    for problem in sight.verdict.problems:
        if problem.code in _WEAKNESSES:
            yield Unsettled("whether its firmware takes the weak key or signature")
        elif problem.code in _REVOCATION:
            yield Unsettled("whether its firmware looks at revocation")
        else:
            yield problem


def as_go(sight: Sight) -> Iterator[Problem | Unsettled]:
    """Go's crypto/x509 and crypto/tls, from 1.24.

    It looks up no revocation, minds no key usage of a leaf, takes anyExtendedKeyUsage and RSA from 1024 bits, and tries all ways to a
    root where OpenSSL takes the first.
    """
    for problem in sight.verdict.problems:
        certificate = sight.certificates[problem.index] if sight.certificates else None
        if problem.code in _REVOCATION or problem.rule == _KEY_USAGE:
            continue
        if certificate is not None and problem.code is ProblemCode.WRONG_PURPOSE:
            purposes = certificate.extension(x509.ExtendedKeyUsage)
            if purposes is not None and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes:
                continue
        if certificate is not None and problem.code is ProblemCode.WEAK_KEY:
            # One that is strong itself stands for the anchor above it.
            above = sight.anchors.find(certificate.certificate.issuer)
            weak = [certificate] if key.is_weak(certificate.key) else [parsed(anchor.der) for anchor in above]
            if weak and all((_rsa_bits(one) or 0) >= 1024 for one in weak):
                continue
        yield from _unless_another_way("Go", sight, problem)
    for index, authority in _constraining_subjects(sight):
        if authority.extensions[x509.NameConstraints.oid].critical:
            yield Problem(
                ProblemCode.UNKNOWN_CRITICAL_EXTENSION,
                index,
                "Go UnhandledCriticalExtension",
                f"{authority.text} has critical name constraints on subjects, which Go does not process",
                "have the server's certificate issued by a CA without them",
            )
    if sight.certificates and (leaf := sight.certificates[0]) is not None:
        yield from _unless_fit("Go", leaf, "EC P-224", "EC P-256", "EC P-384", "EC P-521", "Ed25519")


def as_rustls(sight: Sight) -> Iterator[Problem | Unsettled]:
    """The verifier of rustls, webpki: of a trust anchor only name, key and name constraints count, so that it may have expired.

    It looks up no revocation by itself and minds no key usage. It takes no CA certificate for a server's, no X.509 v1, RSA from 2048
    to 8192 bits, and tries all ways to a root.
    """
    for problem in sight.verdict.problems:
        if problem.code in _REVOCATION or problem.rule == _KEY_USAGE:
            continue
        at_anchor = _is_at_anchor(sight, problem)
        if at_anchor is None:
            yield Unsettled(f"whether rustls minds {problem.code}, which may be that of the trust anchor")
        elif not at_anchor:
            yield from _unless_another_way("rustls", sight, problem)
    leaf = sight.certificates[0] if sight.certificates else None
    if leaf is None:
        return
    basic = leaf.extension(x509.BasicConstraints)
    if basic is not None and basic.ca:
        yield _refused(
            ProblemCode.WRONG_PURPOSE,
            "webpki CaUsedAsEndEntity",
            f"{leaf.text} says of itself that it is a CA",
            "reissue the server's certificate with basicConstraints CA:FALSE",
        )
    if leaf.certificate.version is not x509.Version.v3:
        yield _refused(
            ProblemCode.MALFORMED,
            "webpki UnsupportedCertVersion",
            f"{leaf.text} is X.509 {leaf.certificate.version.name}",
            "reissue the server's certificate as X.509 v3",
        )
    if sight.anchors.anchor(leaf.der) is not None and not sight.anchors.find(leaf.certificate.issuer):
        yield _refused(
            ProblemCode.UNKNOWN_ISSUER,
            "webpki UnknownIssuer",
            f"{leaf.text} is trusted itself, which counts for nothing here; its issuer {leaf.issuer_text} is not trusted",
            f"trust the CA {leaf.issuer_text} instead",
        )
    if any(_constraining_subjects(sight)):
        yield Unsettled(
            "whether its version of webpki knows name constraints on subjects; older ones refuse all under them"
        )
    if key.name_of(leaf.key) == "EC P-521":
        yield Unsettled("whether rustls was built with a provider that has P-521 (aws-lc-rs has, ring has not)")
    elif (bits := _rsa_bits(leaf)) is not None and _STRONG <= bits < 2048:
        yield _unfit("rustls", leaf)
    else:
        yield from _unless_fit("rustls", leaf, "EC P-256", "EC P-384", "Ed25519")


PERSONAS = (
    Persona(
        name="yealink",
        what="a Yealink phone as it is delivered: only trusted certificates are accepted, the name is not checked (cn_validation 0); "
        "by Yealink's administrator's guides V80 to V85",
        names=None,
        chain=as_phone,
        looks=_PHONE_LOOKS,
    ),
    Persona(
        name="yealink-cn",
        what="a Yealink phone with cn_validation 1: the name by RFC 2818, as the guide has it",
        names=names.rfc2818,
        chain=as_phone,
        looks=_PHONE_LOOKS,
    ),
    Persona(
        name="rfc2818",
        what="sipsua itself with the name rule of RFC 2818 section 3.1",
        names=names.rfc2818,
        chain=as_judged,
    ),
    Persona(
        name="rfc5922",
        what="sipsua itself with the name rule of RFC 5922 section 7",
        names=names.rfc5922,
        chain=as_judged,
    ),
    Persona(
        name="rfc6125",
        what="sipsua itself with the name rule of RFC 6125 section 6",
        names=names.rfc6125,
        chain=as_judged,
    ),
    Persona(
        name="rfc9525",
        what="sipsua itself with the name rule of RFC 9525 section 6",
        names=names.rfc9525,
        chain=as_judged,
    ),
    Persona(
        name="pjsip",
        what="PJSIP 2.x on OpenSSL with verify_server on (it is off by default), such as Asterisk's: sip_transport_tls.c",
        names=clients.pjsip,
        chain=as_openssl,
        looks=(
            Look(legacy_path=False),
            Look(
                legacy_path=False,
                roots_only=True,
                unsettled="whether PJSIP trusts a listed certificate that is no root",
            ),
        ),
    ),
    Persona(
        name="baresip",
        what="baresip on libre 3 with OpenSSL 1.1 or later and sip_verify_server on: libre's tls_set_verify_server, X509_check_host",
        names=clients.openssl,
        chain=as_openssl,
        looks=(Look(legacy_path=False, roots_only=True),),
    ),
    Persona(
        name="go",
        what="a client in Go 1.24 or later: crypto/tls with crypto/x509",
        names=clients.go,
        chain=as_go,
        looks=(Look(legacy_path=False),),
    ),
    Persona(
        name="rustls",
        what="a client on rustls 0.23 with rustls-webpki 0.103",
        names=clients.rustls,
        chain=as_rustls,
        looks=(Look(legacy_path=False),),
    ),
)
"""All personas, in the order of a table."""


def _refused(code: ProblemCode, rule: str, evidence: str, fix: str) -> Problem:
    return Problem(code, 0, rule, evidence, fix)


def _unfit(client: str, leaf: Parsed) -> Problem:
    return _refused(
        ProblemCode.WEAK_KEY,
        client,
        f"{leaf.text} has a key of {key.name_of(leaf.key)}, which {client} does not take",
        "reissue the server's certificate with a key of EC P-256 or RSA 2048",
    )


def _unless_fit(client: str, leaf: Parsed, *kinds: str) -> Iterator[Problem]:
    """Keys of other kinds than these, or of RSA with more than 8192 bits; too weak ones have been told."""
    bits = _rsa_bits(leaf)
    if (bits is not None and bits > 8192) or (
        bits is None and not key.is_weak(leaf.key) and key.name_of(leaf.key) not in kinds
    ):
        yield _unfit(client, leaf)


def _constraining_subjects(sight: Sight) -> Iterator[tuple[int, Parsed]]:
    """The sent authorities on the path whose name constraints are about subjects, with their place in the chain."""
    path = {step.der for step in sight.verdict.path}
    for index, one in enumerate(sight.certificates):
        if one is not None and one.der in path and (constraints := one.extension(x509.NameConstraints)) is not None:
            subtrees = (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ()))
            if any(isinstance(subtree, x509.DirectoryName) for subtree in subtrees):
                yield index, one


def _rsa_bits(certificate: Parsed) -> int | None:
    return certificate.key.key_size if isinstance(certificate.key, rsa.RSAPublicKey) else None


def _unless_another_way(client: str, sight: Sight, problem: Problem) -> Iterator[Problem | Unsettled]:
    """The problem, unless a client that tries all ways to a root may have found one without it.

    Each certificate has one way up, unless several that were sent or are listed bear its issuer's name.
    """
    if problem.index == 0 and _is_at_anchor(sight, problem) is False and problem.code not in _OF_THE_WAY:
        yield problem
        return
    sent = [one for one in sight.certificates if one is not None]
    for one in sent:
        issuers = {anchor.der for anchor in sight.anchors.find(one.certificate.issuer)}
        issuers |= {other.der for other in sent if other.subject == one.issuer}
        if len(issuers - {one.der}) > 1:
            yield Unsettled(f"whether {client}, which tries all ways to a root, finds a better one than OpenSSL did")
            return
    yield problem


def _is_at_anchor(sight: Sight, problem: Problem) -> bool | None:
    """Whether a problem is that of a trust anchor. One that is only in the list has the index of the certificate below it."""
    certificate = sight.certificates[problem.index] if sight.certificates else None
    if certificate is None or problem.code in _OF_THE_WAY:
        return False
    if problem.index and sight.anchors.anchor(certificate.der) is not None:
        return True
    if problem.code in (ProblemCode.EXPIRED, ProblemCode.NOT_YET_VALID):
        return certificate.valid_at(sight.at)
    if problem.code is ProblemCode.WRONG_PURPOSE:
        purposes = certificate.extension(x509.ExtendedKeyUsage)
        return purposes is None or ExtendedKeyUsageOID.SERVER_AUTH in purposes
    if problem.code is ProblemCode.NOT_A_CA:
        basic = certificate.extension(x509.BasicConstraints)
        return problem.index == 0 or (basic is not None and basic.ca)
    return None if problem.code in (ProblemCode.PATH_TOO_LONG, ProblemCode.UNKNOWN_CRITICAL_EXTENSION) else False
