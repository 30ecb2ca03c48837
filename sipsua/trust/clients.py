"""How other clients compare names, each to the letter of its source: what a certificate looks like from the other side of the room.

The RFCs have their rules in `trust.names`; programs have their own. PJSIP compares text, OpenSSL has its own view of wildcards, Go and
rustls know no Common Name. The rules were read from the sources that `trust.personas` names, and are written anew here. Where a
source leaves open what a client does, the answer is `Unsettled` and not a guess.

All are asked with the name in its ASCII form, as a resolver and SNI need it; a dot at its end stays, because clients differ there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from sipsua.trust.names import NameProblem, PresentedNames, glob, parse_reference, shown
from sipsua.trust.verdict import ProblemCode


class Unsettled(NamedTuple):
    """What is not known of a client, and why."""

    why: str
    """Words that follow "not known:"."""


def pjsip(presented: PresentedNames, reference: str) -> NameProblem | Unsettled | None:
    """PJSIP: the text of the name against the text of each dNSName, iPAddress and `sip:` or `sips:` URI, and then of the Common Name.

    The first Common Name counts, up to a slash, whatever the subjectAltName holds. A URI must be the name and nothing else. There are no
    wildcards.
    """
    text, ip = _asked(reference)
    if text is None:
        return _not_a_name("PJSIP", reference)
    hosts = tuple(uri.partition(":")[2] for uri in presented.uris if uri.lower().startswith(("sip:", "sips:")))
    common_name = [name.partition("/")[0] for name in presented.common_names[:1]]
    candidates = (*presented.dns, *map(str, presented.ips), *hosts, *common_name)
    if any(candidate.lower() == text for candidate in candidates):
        return None
    if any(candidate.lower().partition("\0")[0] == text for candidate in candidates if "\0" in candidate):
        return Unsettled("whether the TLS library that PJSIP was built with cuts a name at its NUL")
    if ip is not None and any(address.packed == ip for address in presented.ips):
        return Unsettled("in which of its forms PJSIP compares an IPv6 address")
    return _refusal("PJSIP", presented, reference, candidates)


def openssl(presented: PresentedNames, reference: str) -> NameProblem | None:
    """OpenSSL's host check with partial wildcards off, as libre calls it for baresip: never for an IP address.

    If there is a dNSName, only dNSNames count, otherwise all Common Names do. `*` is the left-most label, of letters, digits and hyphens,
    and at least two more follow.
    """
    text, ip = _asked(reference)
    if ip is not None:
        return None
    if text is None:
        return _not_a_name("OpenSSL", reference)
    candidates = presented.dns or presented.common_names
    label, _, rest = text.partition(".")
    for candidate in map(str.lower, candidates):
        if candidate == text:
            return None
        if candidate == f"*.{rest}" and "_" not in label and _OPENSSL_PARENT.fullmatch(rest):
            return None
    return _refusal("OpenSSL", presented, reference, candidates)


def go(presented: PresentedNames, reference: str) -> NameProblem | None:
    """Go's `VerifyHostname`: dNSNames and iPAddresses, never the Common Name.

    `*` is the whole left-most label of any number of labels. A presented name that is no host name must be the same to the letter.
    """
    text, ip = _asked(reference)
    if ip is not None:
        return _address("Go", presented, reference, ip)
    if text is None:
        return _not_a_name("Go", reference)
    wanted = text.removesuffix(".")
    for candidate in map(str.lower, presented.dns):
        star, dot, parent = candidate.partition(".")
        if candidate == (wanted if _GO_HOST.fullmatch(candidate) else text):
            return None
        if star == "*" and dot and _GO_HOST.fullmatch(parent) and parent == wanted.partition(".")[2]:
            return None
    return _refusal("Go", presented, reference, presented.dns)


def rustls(presented: PresentedNames, reference: str) -> NameProblem | None:
    """The rule of webpki, which rustls uses: dNSNames and iPAddresses, never the Common Name.

    `*` is the left-most label, and at least two more follow. A presented name with a dot at its end matches nothing.
    """
    text, ip = _asked(reference)
    if ip is not None:
        return _address("rustls", presented, reference, ip)
    wanted = "" if text is None else text.removesuffix(".")
    if not _webpki_host(wanted):
        return _not_a_name("rustls", reference)
    for candidate in map(str.lower, presented.dns):
        star, _, parent = candidate.partition(".")
        if candidate == wanted:
            return None
        if star == "*" and "." in parent and _webpki_host(parent) and parent == wanted.partition(".")[2]:
            return None
    return _refusal("rustls", presented, reference, presented.dns)


_OPENSSL_PARENT = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_GO_HOST = re.compile(r"[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_][a-z0-9_-]*)*")
_WEBPKI_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def _webpki_host(name: str) -> bool:
    labels = name.split(".")
    return len(name) <= 253 and all(map(_WEBPKI_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def _asked(reference: str) -> tuple[str | None, bytes | None]:
    """What a client is asked to compare: lower-case text (of an address without brackets), and the octets of an address."""
    wanted = parse_reference(reference)
    if wanted.ip is not None:
        return reference.strip("[]").lower(), wanted.ip
    if wanted.dns is None:
        return None, None
    return wanted.dns + ("." if reference.endswith(".") else ""), None


def _not_a_name(client: str, reference: str) -> NameProblem:
    evidence = f"wanted {shown(reference)}, which {client} takes neither for a DNS name nor for an IP address"
    return NameProblem(ProblemCode.NAME_MISMATCH, client, evidence)


def _address(client: str, presented: PresentedNames, reference: str, ip: bytes) -> NameProblem | None:
    if any(address.packed == ip for address in presented.ips):
        return None
    return _refusal(client, presented, reference, presented.ips)


def _refusal(client: str, presented: PresentedNames, reference: str, candidates: Iterable[object]) -> NameProblem:
    """Why a client found no match among the names that count for it."""
    names = [str(candidate).lower() for candidate in candidates]
    evidence = f"wanted {shown(reference)}, the certificate has {presented}"
    wildcard = next((name for name in names if "*" in name and glob(name, parse_reference(reference).dns or "")), None)
    if wildcard is not None:
        return NameProblem(
            ProblemCode.WILDCARD_REFUSED, client, f"{evidence}; {client} does not take the wildcard {shown(wildcard)}"
        )
    if names:
        return NameProblem(ProblemCode.NAME_MISMATCH, client, evidence)
    return NameProblem(ProblemCode.NO_USABLE_NAME, client, f"{evidence}; none of them counts for {client}")
