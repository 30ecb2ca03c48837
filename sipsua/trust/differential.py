"""One handshake, many verdicts: the same chain and name as ten clients see them, and what to change to make all of them agree.

A PBX must be taken by all phones in the house, not by one. `trust.personas` says who they are. Here the chain is judged once for each
way to look at it (two or three times, not ten), each persona makes its opinion of that and compares the names by its rule. Where it is
not settled what a client does, its opinion is neither yes nor no but says what is not known: a guess would be believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from sipsua.trust.certificate import readable
from sipsua.trust.chain import usurped
from sipsua.trust.clients import Unsettled
from sipsua.trust.names import PresentedNames, parse_reference, presented_names, shown
from sipsua.trust.path import Path
from sipsua.trust.personas import PERSONAS, Look, Persona, Sight
from sipsua.trust.policy import NameRule, Policy
from sipsua.trust.store import TrustAnchor, TrustList
from sipsua.trust.verdict import NAME_PROBLEMS, Problem, ProblemCode
from sipsua.trust.verifier import AnyCertificate, judge


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one client thinks of a chain and a name."""

    accepted: bool | None
    """Whether it accepts them; None where that is not known."""
    problems: tuple[Problem, ...] = ()
    """Why it refuses: chain first, then name. Empty unless `accepted` is False."""
    unknown: str = ""
    """What is not known about it, where `accepted` is None; words that follow "not known:"."""

    def as_json(self) -> dict[str, Any]:
        """`accepted` (true, false or null), `problems` (codes, each once) and `unknown`."""
        return {
            "accepted": self.accepted,
            "problems": list(dict.fromkeys(str(problem.code) for problem in self.problems)),
            "unknown": self.unknown,
        }


def opinions(
    chain: Sequence[AnyCertificate],
    *,
    policy: Policy,
    reference: str,
    at: datetime,
    staple: bytes | None = None,
) -> dict[str, Opinion]:
    """The opinion of each persona on a chain (leaf first, as the server sent it), by the name of the persona, in the order of `PERSONAS`.

    All trust the anchors of `policy`; its name rule and what is dangerous in it do not count. `reference` is the name that was asked for,
    `at` (aware) the time to judge at. `staple` is the OCSP response that the server stapled, in DER: b"" where it stapled none, None
    where that is not known. Never raises for what is in chain and staple. Raises Misuse if `at` has no time zone.
    """
    sights: dict[tuple[TrustList, bool], Sight] = {}

    def look(how: Look) -> Sight:
        roots, others = _roots(policy.anchors) if how.roots_only else (policy.anchors, ())
        legacy_path = policy.legacy_path if how.legacy_path is None else how.legacy_path
        legacy_path = legacy_path and len(chain) > 1
        if (roots, legacy_path) not in sights:
            strict = replace(
                policy,
                anchors=roots,
                names=NameRule.OFF,
                legacy_path=legacy_path,
                dangerous_weak_ciphers=False,
                dangerous_accept_any_certificate=False,
            )
            # A listed certificate that is no root still helps OpenSSL on its way to one.
            helpers = [one.der for one in others] if chain else []
            verdict = judge([*chain, *helpers], policy=strict, reference=reference, at=at, staple=staple)
            verdict = replace(
                verdict,
                chain=verdict.chain[: len(chain)],
                problems=tuple(replace(one, index=min(one.index, max(0, len(chain) - 1))) for one in verdict.problems),
            )
            certificates = tuple(readable(one.der) for one in verdict.chain)
            sights[roots, legacy_path] = Sight(verdict, policy, roots, certificates, at)
        return sights[roots, legacy_path]

    return {
        persona.name: _opinion(persona, [(how, look(how)) for how in persona.looks], reference) for persona in PERSONAS
    }


def advice(found: Mapping[str, Opinion], reference: str) -> tuple[str, ...]:
    """What an operator changes to make all personas accept, the most wanted first; each says who wants it. Empty if all accept."""
    wishes: dict[str, list[str]] = {}
    for name, opinion in found.items():
        for problem in opinion.problems:
            if problem.code not in NAME_PROBLEMS and name not in wishes.setdefault(problem.fix, []):
                wishes[problem.fix].append(name)
    lines = [f"{fix} ({_who(names, found)})" for fix, names in sorted(wishes.items(), key=lambda wish: -len(wish[1]))]
    refusing = {
        name: problem.code
        for name, opinion in found.items()
        for problem in opinion.problems
        if problem.code in NAME_PROBLEMS
    }
    if refusing:
        lines.append(f"{_name_wanted(refusing, reference)} ({_who(list(refusing), found)})")
    return tuple(lines)


def _opinion(persona: Persona, seen: Sequence[tuple[Look, Sight]], reference: str) -> Opinion:
    of_name: list[Problem | Unsettled] = []
    leaf = seen[0][1].verdict.chain[0].der if seen[0][1].verdict.chain else None
    if persona.names is not None and leaf is not None and seen[0][1].certificates[0] is not None:
        of_name = _of_name(persona, leaf, reference)
    first: Opinion | None = None
    for how, sight in seen:
        found = [*persona.chain(sight), *of_name]
        if persona.name in _OURS and not found and sight.verdict.path:
            path = Path.built([one.der for one in sight.verdict.path], sight.certificates, sight.anchors)
            found += usurped(path, reference)
        problems = tuple(one for one in found if isinstance(one, Problem))
        unsettled = tuple(dict.fromkeys(one.why for one in found if isinstance(one, Unsettled)))
        opinion = Opinion(
            False if problems else None if unsettled else True, problems, "" if problems else "; ".join(unsettled)
        )
        if first is None:
            first = opinion
        elif opinion.accepted is not first.accepted:
            return Opinion(None, unknown=opinion.unknown or how.unsettled)
    assert first is not None
    return first


def _of_name(persona: Persona, leaf: bytes, reference: str) -> list[Problem | Unsettled]:
    assert persona.names is not None
    try:
        presented = presented_names(leaf)
    except Exception as error:
        return [
            Problem(
                ProblemCode.MALFORMED,
                0,
                "RFC 5280 4.2.1.6",
                f"the names in the certificate cannot be read: {shown(str(error), 200)}",
                "have the CA issue this certificate again, and install it unchanged",
            )
        ]
    found = persona.names(presented, reference)
    if found is None:
        return []
    if isinstance(found, Unsettled):
        return [found]
    return [
        Problem(found.code, 0, found.rule, found.evidence, _name_fix(persona.name, found.code, presented, reference))
    ]


def _name_fix(name: str, code: ProblemCode, presented: PresentedNames, reference: str) -> str:
    """What one persona wants of the names."""
    wanted = parse_reference(reference)
    if wanted.dns is None and wanted.ip is None:
        return "give the server as a DNS name or IP address"
    if wanted.ip is not None and name == NameRule.RFC5922:
        return "enter the server's domain, not its IP address, in the account"
    if name == NameRule.RFC5922 and code is ProblemCode.NAME_MISMATCH and presented.uris:
        return f"reissue the server's certificate with the subjectAltName URI:sip:{wanted.dns}"
    return f"reissue the server's certificate with the subjectAltName {_entry(reference)}"


def _name_wanted(refusing: Mapping[str, ProblemCode], reference: str) -> str:
    """One wish for the names that suits all."""
    wanted = parse_reference(reference)
    if wanted.dns is None and wanted.ip is None:
        return "give the server as a DNS name or IP address"
    if list(refusing) == [NameRule.RFC5922] and wanted.ip is not None:
        return "enter the server's domain, not its IP address, in the account: RFC 5922 authenticates domains only"
    wish = f"reissue the server's certificate with the subjectAltName {_entry(reference)}"
    if ProblemCode.WILDCARD_REFUSED in refusing.values():
        wish += " and not by a wildcard alone"
    # By RFC 5922 a sip: URI of another domain takes the dNSNames out of account; nobody else looks at it.
    if refusing.get(NameRule.RFC5922) is ProblemCode.NAME_MISMATCH and NameRule.RFC9525 not in refusing:
        wish = (
            f"reissue the server's certificate with the subjectAltName URI:sip:{wanted.dns} beside {_entry(reference)}"
        )
    if wanted.ip is not None and NameRule.RFC5922 in refusing:
        wish += "; by RFC 5922 only a domain will do, so better enter the server's domain in the account"
    return wish


def _entry(reference: str) -> str:
    wanted = parse_reference(reference)
    return f"DNS:{wanted.dns}" if wanted.ip is None else f"IP:{ip_address(wanted.ip)}"


def _who(names: Sequence[str], found: Mapping[str, Opinion]) -> str:
    return "for all" if len(names) == len(found) else f"for {', '.join(names)}"


_OURS = frozenset(NameRule)
"""The personas that are sipsua itself, by their names. What other clients make of such names under name constraints, their sources say."""


@lru_cache(maxsize=4)
def _roots(anchors: TrustList) -> tuple[TrustList, tuple[TrustAnchor, ...]]:
    """The anchors that bear their own name as issuer, and the others. The same list where there are none of these."""
    others = tuple(one for one in anchors if (read := readable(one.der)) is None or read.subject != read.issuer)
    if not others:
        return anchors, ()
    return TrustList(tuple(one for one in anchors if one not in others)), others
