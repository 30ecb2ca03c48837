"""Whether anybody has called a certificate back: what the operator's CRLs and the server's stapled response say of a path.

Two sources, one question. A CRL answers for every certificate that its issuer issued, a stapled response for the leaf only; either answer
will do. That nobody answers is a warning or a problem, as the policy has it (RFC 5280 section 6.3.3: the status is then UNDETERMINED);
that somebody says "revoked" is a problem always, and so is a staple that is not satisfactory (RFC 6066 section 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from sipsua.trust.certificate import Parsed, dated
from sipsua.trust.crl import CrlList
from sipsua.trust.names import shown
from sipsua.trust.ocsp import promises_staple, staple_problems
from sipsua.trust.path import Path
from sipsua.trust.policy import Policy, Revocation
from sipsua.trust.verdict import Problem, ProblemCode

NO_ANSWER: Final = frozenset({3, 5, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54})
"""OpenSSL's errors (X509_V_ERR_*) for a certificate on which no CRL gives an answer."""
NOT_BELIEVED: Final = NO_ANSWER - {3, 11, 12}
"""Those of them where there is a CRL, and what it says does not count."""


class Findings(NamedTuple):
    """What came of the question."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def revocation(path: Path, policy: Policy, at: datetime, staple: bytes | None) -> Findings:
    """What the CRLs and the staple say of a path at `at` (aware). `staple` None is not known, b"" none. Never raises."""
    problems: list[Problem] = []
    undetermined: dict[int, Problem] = {}
    """By position on the path."""
    if policy.crls is not None:
        for position, problem in _by_crls(path, policy.crls, at):
            if problem.code is ProblemCode.REVOKED:
                problems.append(problem)
            else:
                undetermined.setdefault(position, problem)
    if policy.staple and staple is not None:
        found, answered = stapled(path, staple, at)
        problems += found
        if answered:
            undetermined.pop(0, None)
        elif not found and policy.crls is None:
            undetermined[0] = Problem(
                ProblemCode.REVOCATION_UNKNOWN,
                0,
                "RFC 6066 8",
                f"nobody says whether {path.steps[0].text} is revoked: "
                + (
                    "the stapled OCSP response is of an issuer that was not sent"
                    if staple
                    else "the server stapled nothing"
                ),
                "turn OCSP stapling on at the server, or give the CRL of its issuer (--crl FILE)",
            )
    lenient = tuple(undetermined[position] for position in sorted(undetermined))
    if policy.revocation is Revocation.HARD:
        return Findings((*problems, *lenient), ())
    return Findings(tuple(problems), lenient)


def stapled(path: Path, staple: bytes, at: datetime) -> tuple[list[Problem], bool]:
    """What is wrong with a staple (b"": with its absence), and whether it says that the leaf is good. Never raises."""
    leaf, issuer = path.steps[0], path.issuer
    if staple and issuer is not None:
        found = list(staple_problems(staple, leaf, issuer, at))
        return found, not found
    if not staple and promises_staple(leaf):
        missing = Problem(
            ProblemCode.STAPLE_MISSING,
            0,
            "RFC 7633 4.3.3",
            f"{leaf.text} says that its server staples an OCSP response (must-staple), and the server sent none",
            "turn OCSP stapling on at the server, or have the CA issue a certificate without must-staple",
        )
        return [missing], False
    return [], False


def _by_crls(path: Path, crls: CrlList, at: datetime) -> Iterator[tuple[int, Problem]]:
    """What the CRLs say, by position on the path: nothing of certificates that are listed in none, as they should.

    An anchor is trusted for its own sake, and nobody has to vouch for it (RFC 5280 section 6.1): so the last step is not looked up, and of
    a leaf that is an anchor only what revokes it is told.
    """
    pinned = path.anchor is not None and path.anchor.der == path.steps[0].der
    for position, (step, issuer) in enumerate(pairwise(path.steps)):
        for problem in _of_one(step, path.indexes[position], issuer, crls, at):
            if not pinned or (position == 0 and problem.code is ProblemCode.REVOKED):
                yield position, problem


def _of_one(step: Parsed, index: int, issuer: Parsed, crls: CrlList, at: datetime) -> Iterator[Problem]:
    found = [one for one in crls.find(step.issuer) if _in_scope(one, step) and _by_key_of(one, issuer)]
    if not found:
        yield _undetermined(
            index,
            f"there is no CRL of {step.issuer_text}, so nobody says whether {step.text} is revoked",
            f"download the CRL of {step.issuer_text} and give it too (--crl FILE)",
        )
        return
    of = f"the CRL of {step.issuer_text}"
    doubts = [_doubt(one, index, issuer, of) for one in found]
    # As OpenSSL chooses: one that can be read and is of now before others, then the newest.
    crl, doubt = max(
        zip(found, doubts, strict=True),
        key=lambda one: (_unknown_critical(one[0]) is None, _is_of(one[0], at), one[0].last_update_utc),
    )
    if doubt is not None:
        yield doubt
    if not _is_of(crl, at):
        if at < crl.last_update_utc:
            when = f"is valid from {dated(crl.last_update_utc)}"
        else:
            when = f"expired on {dated(crl.next_update_utc or crl.last_update_utc)}"
        yield _undetermined(
            index,
            f"{of} {when}, so nobody says whether {step.text} is revoked now",
            f"download the CRL of {step.issuer_text} anew (--crl FILE)",
        )
    # One that does not count hides nothing that another says, and of several of the same moment each can revoke: OpenSSL asks any one.
    counting = [one for one, no in zip(found, doubts, strict=True) if no is None]
    ranks = [(_is_of(one, at), one.last_update_utc) for one in counting]
    newest = [_entry(one, step, index, of) for one, rank in zip(counting, ranks, strict=True) if rank == max(ranks)]
    answers = [one for one in newest if one is not None]
    yield from [one for one in answers if one.code is ProblemCode.REVOKED][:1] or answers


def _doubt(crl: x509.CertificateRevocationList, index: int, issuer: Parsed, of: str) -> Problem | None:
    """Why what a CRL says does not count, whenever it is asked."""
    usage = issuer.extension(x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return _undetermined(
            index,
            f"{of} does not count: the key usage of {issuer.text} lacks cRLSign",
            f"have {issuer.text} issued again with the key usage cRLSign",
            rule="RFC 5280 6.3.3 (f)",
        )
    if not _signed_by(crl, issuer):
        return _undetermined(
            index,
            f"{of} was not signed with the key of {issuer.text}",
            "download the CRL again from the CA that issued the certificate",
            rule="RFC 5280 6.3.3 (g)",
        )
    if (critical := _unknown_critical(crl)) is not None:
        return _undetermined(
            index,
            f"{of} has the critical extension {critical}",
            "give a CRL without it",
            rule="RFC 5280 5.2",
        )
    return None


def _entry(crl: x509.CertificateRevocationList, step: Parsed, index: int, of: str) -> Problem | None:
    """What a CRL says of a certificate."""
    try:
        entry = crl.get_revoked_certificate_by_serial_number(step.certificate.serial_number)
    except ValueError as error:
        return _undetermined(
            index, f"{of} cannot be read: {shown(str(error), 200)}", "download the CRL again from the CA"
        )
    reason = _reason(entry) if entry is not None else None
    if entry is None or reason is x509.ReasonFlags.remove_from_crl:
        return None
    why = f" ({reason.value})" if reason is not None else ""
    return Problem(
        ProblemCode.REVOKED,
        index,
        "RFC 5280 6.3.3 (i)",
        f"{step.text} (serial {step.certificate.serial_number:x}) was revoked on {dated(entry.revocation_date_utc)}{why}, says {of}",
        f"have the CA issue another {'certificate' if not index else 'CA certificate'} with a new key, and install it",
    )


def _in_scope(crl: x509.CertificateRevocationList, step: Parsed) -> bool:
    """Whether a CRL speaks of such certificates at all (RFC 5280 sections 5.2.4 and 5.2.5). Deltas and indirect CRLs do not."""
    try:
        extensions = {one.oid: one.value for one in crl.extensions}
    except (ValueError, x509.DuplicateExtension):
        return False
    if x509.DeltaCRLIndicator.oid in extensions:
        return False
    scope = extensions.get(x509.IssuingDistributionPoint.oid)
    if not isinstance(scope, x509.IssuingDistributionPoint):
        return True
    if scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs:
        return False
    constraints = step.extension(x509.BasicConstraints)
    is_ca = constraints is not None and constraints.ca
    if (scope.only_contains_user_certs and is_ca) or (scope.only_contains_ca_certs and not is_ca):
        return False
    if not scope.full_name and not scope.relative_name:
        return True
    points = step.extension(x509.CRLDistributionPoints)
    published = {name for point in points or () for name in point.full_name or ()}
    return not published.isdisjoint(scope.full_name or ())


def _by_key_of(crl: x509.CertificateRevocationList, issuer: Parsed) -> bool:
    """Whether the CRL does not name another key than the issuer's (RFC 5280 section 5.2.1)."""
    try:
        wanted = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return True
    held = issuer.extension(x509.SubjectKeyIdentifier)
    return wanted is None or held is None or held.digest == wanted


def _signed_by(crl: x509.CertificateRevocationList, issuer: Parsed) -> bool:
    try:
        return crl.is_signature_valid(issuer.key)  # type: ignore[arg-type]
    except UnsupportedAlgorithm:
        return True
    except (ValueError, TypeError):
        return False


def _unknown_critical(crl: x509.CertificateRevocationList) -> str | None:
    """A critical extension that is not processed here (RFC 5280 section 5.2)."""
    return next((one.oid.dotted_string for one in crl.extensions if one.critical and one.oid not in _KNOWN), None)


def _is_of(crl: x509.CertificateRevocationList, at: datetime) -> bool:
    return crl.last_update_utc <= at and (crl.next_update_utc is None or at <= crl.next_update_utc)


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None


def _undetermined(index: int, evidence: str, fix: str, rule: str = "RFC 5280 6.3.3") -> Problem:
    return Problem(ProblemCode.REVOCATION_UNKNOWN, index, rule, evidence, fix)


_KNOWN = frozenset(
    {x509.IssuingDistributionPoint.oid, x509.AuthorityKeyIdentifier.oid, x509.CRLNumber.oid, x509.DeltaCRLIndicator.oid}
)
