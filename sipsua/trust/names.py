"""Whether a certificate carries the name that was asked for: one function per rule, because the rules differ.

The guide of the phone cites RFC 2818, SIP has its own rule in RFC 5922, and libraries follow RFC 6125 or its successor RFC 9525. The same
certificate is right by one and wrong by another, which is what an interoperability test wants to see. So each rule stands here alone,
to the letter of its text, and a refusal tells which other rule would have taken the certificate.

What all rules have in common: a DNS name is compared label by label without regard to case (RFC 4343), a trailing dot does not count, an
internationalized name is compared in its ASCII form, and an IP address is compared in binary with iPAddress entries only, never with text.
A reference that is neither a DNS name nor an IP address matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from sipsua.trust.policy import NameRule
from sipsua.trust.store import load
from sipsua.trust.verdict import ProblemCode

_SHOWN = 8  # presented names in an evidence text; a certificate of a large host has hundreds
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # id-on-dnsSRV, RFC 4985 section 2


@dataclass(frozen=True, slots=True)
class PresentedNames:
    """The names in a certificate, in order."""

    dns: tuple[str, ...] = ()
    """dNSName entries, as written."""
    ips: tuple[IPv4Address | IPv6Address, ...] = ()
    """iPAddress entries."""
    uris: tuple[str, ...] = ()
    """uniformResourceIdentifier entries, as written."""
    srvs: tuple[str, ...] = ()
    """SRVName entries (RFC 4985), such as `_sips.example.com`."""
    others: bool = False
    """Whether there are entries of other kinds, such as e-mail addresses."""
    has_san: bool = False
    """Whether there is a subjectAltName extension at all."""
    common_names: tuple[str, ...] = ()
    """CN attributes of the subject; the last one is the most specific."""

    def __str__(self) -> str:
        entries = [
            *(f"DNS:{shown(name)}" for name in self.dns[:_SHOWN]),
            *(f"IP:{address}" for address in self.ips[:_SHOWN]),
            *(f"URI:{shown(uri)}" for uri in self.uris[:_SHOWN]),
            *(f"SRV:{shown(name)}" for name in self.srvs[:_SHOWN]),
        ]
        count = len(self.dns) + len(self.ips) + len(self.uris) + len(self.srvs)
        text = ", ".join(entries[:_SHOWN]) or (
            "no DNS name, IP address or URI" if self.has_san else "no subjectAltName"
        )
        if count > _SHOWN:
            text += f" and {count - _SHOWN} more"
        return text + "".join(f", CN={shown(name)}" for name in self.common_names[-1:])


class NameProblem(NamedTuple):
    """Why the names do not match."""

    code: ProblemCode
    """`name_mismatch`, `no_usable_name` or `wildcard_refused`."""
    rule: str
    """RFC and section."""
    evidence: str
    """The name that was wanted and those that were presented."""


@lru_cache(maxsize=256)  # a peer's certificates may have 100 KB
def presented_names(der: bytes) -> PresentedNames:
    """Read the names of a certificate. Raises ValueError where the certificate or its names cannot be read."""
    try:
        return _read_names(der)
    except ValueError:
        raise
    except (
        Exception
    ) as error:  # the parser has errors of many kinds, such as InvalidVersion, which is none of ValueError
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read_names(der: bytes) -> PresentedNames:
    certificate = load(der)
    common_names = tuple(
        attribute.value
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if isinstance(attribute.value, str)
    )
    try:
        entries = tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return PresentedNames(common_names=common_names)
    srvs = tuple(
        # An IA5String of up to 127 octets: tag, length, text.
        entry.value[2:].decode("ascii")
        for entry in entries
        if isinstance(entry, x509.OtherName)
        and entry.type_id == _SRV_NAME
        and entry.value[:1] == b"\x16"
        and entry.value[1:2] == bytes([len(entry.value) - 2 & 0x7F])
    )
    dns = tuple(entry.value for entry in entries if isinstance(entry, x509.DNSName))
    ips = tuple(
        entry.value
        for entry in entries
        if isinstance(entry, x509.IPAddress) and isinstance(entry.value, IPv4Address | IPv6Address)
    )
    uris = tuple(entry.value for entry in entries if isinstance(entry, x509.UniformResourceIdentifier))
    return PresentedNames(
        dns=dns,
        ips=ips,
        uris=uris,
        srvs=srvs,
        others=len(entries) > len(dns) + len(ips) + len(uris) + len(srvs),
        has_san=True,
        common_names=common_names,
    )


def rfc2818(presented: PresentedNames, reference: str) -> NameProblem | None:
    """HTTP over TLS, section 3.1.

    If there is a dNSName, only dNSNames count; otherwise the most specific Common Name does, whatever else the
    subjectAltName holds. `*` stands for one whole label or for a part of one. Three readings are ours: the last label is never a
    wildcard, a label with two of them matches nothing, and none stands for a part of an A-label (RFC 6125 section 6.4.3).
    An IP address must be an iPAddress entry.
    """
    candidates = presented.dns or presented.common_names[-1:]
    return _compare(presented, reference, NameRule.RFC2818, "RFC 2818 3.1", candidates, glob, ips=presented.ips)


def rfc5922(presented: PresentedNames, reference: str) -> NameProblem | None:
    """Domain certificates in SIP, section 7.

    The identities are the hosts of `sip:` URIs without a user part; dNSNames count only if there is none of them, the
    Common Name only if there is no subjectAltName at all. Wildcards match nothing. Section 7.1 knows no iPAddress, and
    section 7.2 compares DNS names only: a certificate identifies a SIP *domain*. So by this rule a server that was asked
    for by its IP address is never authenticated.
    """
    hosts = tuple(host for uri in presented.uris if (host := _sip_host(uri)) is not None)
    candidates = hosts or presented.dns or (() if presented.has_san else presented.common_names[-1:])
    return _compare(presented, reference, NameRule.RFC5922, "RFC 5922 7.1", candidates, None, ips=None)


def rfc6125(presented: PresentedNames, reference: str) -> NameProblem | None:
    """Service identity, section 6, with the identifiers that section 6.2.1 asks of a SIP client.

    Counted are dNSNames, SRVNames of the services `sip` and `sips`, the hosts of `sip:` URIs, and as a last resort, if there is no entry of
    these kinds, the Common Name. `*` stands for exactly the left-most label. An IP address must be an iPAddress entry.
    """
    hosts = tuple(host for uri in presented.uris if (host := _sip_host(uri)) is not None)
    services = tuple(
        domain
        for service, _, domain in (name.partition(".") for name in presented.srvs)
        if service.lower() in ("_sip", "_sips")
    )
    candidates = (*presented.dns, *services, *hosts)
    if not (presented.dns or presented.srvs or presented.uris):
        candidates = presented.common_names[-1:]
    return _compare(presented, reference, NameRule.RFC6125, "RFC 6125 6.4", candidates, _left_most, ips=presented.ips)


def rfc9525(presented: PresentedNames, reference: str) -> NameProblem | None:
    """Service identity in TLS, section 6: dNSNames and iPAddresses of the subjectAltName, never the Common Name.

    `*` stands for exactly the left-most label; what it may stand before is left to CAs (section 7.1), so `*.com` matches `example.com`.
    SRVNames and URIs, which the RFC leaves to the application, are not counted: TLS libraries that follow it do not.
    """
    return _compare(
        presented, reference, NameRule.RFC9525, "RFC 9525 6.3", presented.dns, _left_most, ips=presented.ips
    )


Rule = Callable[[PresentedNames, str], NameProblem | None]
"""Compares presented names with a reference: a DNS name, or an IP address (IPv6 with or without brackets)."""

NAME_RULES: Mapping[str, Rule] = {
    NameRule.RFC2818: rfc2818,
    NameRule.RFC5922: rfc5922,
    NameRule.RFC6125: rfc6125,
    NameRule.RFC9525: rfc9525,
}
"""The function of each rule. `off` has none."""


@lru_cache(maxsize=512)
def check_name(rule: NameRule, der: bytes, reference: str) -> NameProblem | None:
    """Compare the names of a certificate with a reference, once for each triple. Raises ValueError like `presented_names`."""
    return None if rule is NameRule.OFF else NAME_RULES[rule](presented_names(der), reference)


def advice(presented: PresentedNames, reference: str, refusing: NameRule) -> str:
    """What an operator can do about a name that `refusing` refused: another certificate, another rule, another address."""
    wanted = parse_reference(reference)
    if wanted.dns is not None:
        entry = f"DNS:{wanted.dns}" + (f" or URI:sip:{wanted.dns}" if refusing is NameRule.RFC5922 else "")
        if refusing is NameRule.RFC5922 and any(_sip_host(uri) for uri in presented.uris):
            entry = f"URI:sip:{wanted.dns}"  # beside another sip: URI a DNS name would not count
    elif wanted.ip is not None:
        entry = f"IP:{ip_address(wanted.ip)}"
    else:
        return "give the server as a DNS name or IP address; an internationalized name in its ASCII form (xn--…)"
    ways = [f"reissue the server's certificate with the subjectAltName {entry}"]
    if wanted.ip is not None and refusing is NameRule.RFC5922:
        ways = ["enter the server's domain, not its IP address, in the account"]
    takers = [str(rule) for rule, matches in NAME_RULES.items() if matches(presented, reference) is None]
    if takers:
        ways.append(f"check names by a rule that takes it (--names {' or '.join(takers)})")
    for name in (*presented.dns, *map(_sip_host, presented.uris), *presented.common_names):
        if name is not None and "." in name and NAME_RULES[refusing](presented, name) is None:
            ways.append(f"enter {name} as the server in the account, if that is the one meant")
            break
    return ", or ".join(ways)


def shown(text: str, limit: int = 80) -> str:
    """A text from a certificate, fit for a terminal: no control characters, not endless."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.isprintable() else repr(text)[1:-1]


class Reference(NamedTuple):
    """The name that was asked for, ready for comparison. With both parts None it matches nothing."""

    dns: str | None = None
    """Lower case ASCII, no trailing dot."""
    ip: bytes | None = None
    """4 or 16 octets."""


@lru_cache(maxsize=4096)
def parse_reference(reference: str) -> Reference:
    """Read a reference: IP address, or DNS name, whose U-labels become A-labels.

    The conversion is that of IDNA 2003. A name that it would map to another one (`ß` to `ss`) is not taken: it must be
    given in its ASCII form.
    """
    text = reference[1:-1] if reference[:1] == "[" and reference[-1:] == "]" else reference
    try:
        return Reference(ip=ip_address(text).packed)
    except ValueError:
        pass
    name = reference.lower().removesuffix(".")
    if not name.isascii():
        try:
            ascii_name = name.encode("idna")
            if ascii_name.decode("idna") != name:
                return Reference()
            name = ascii_name.decode("ascii")
        except UnicodeError:
            return Reference()
    if len(name) > 253 or _HOST.fullmatch(name) is None:
        return Reference()
    return Reference(dns=name)


def _compare(
    presented: PresentedNames,
    reference: str,
    rule: NameRule,
    section: str,
    candidates: tuple[str, ...],
    wildcard: Callable[[str, str], bool] | None,
    *,
    ips: tuple[IPv4Address | IPv6Address, ...] | None,
) -> NameProblem | None:
    """Look for the reference among the names that a rule counts; `ips` is None where it counts no addresses."""
    dns, ip = parse_reference(reference)
    evidence = f"wanted {shown(reference)}, the certificate has {presented}"
    if ip is None and dns is None:
        return NameProblem(
            ProblemCode.NAME_MISMATCH,
            section,
            f"wanted {shown(reference)}, which is neither a DNS name nor an IP address",
        )
    if dns is None:
        if ips and any(address.packed == ip for address in ips):
            return None
        if ips is None:
            evidence += f"; {rule} authenticates domains, never IP addresses"
        return NameProblem(ProblemCode.NAME_MISMATCH if ips else ProblemCode.NO_USABLE_NAME, section, evidence)
    refused = None
    for candidate in filter(str.isascii, candidates):  # there are letters that are not ASCII and whose small form is
        name = candidate.lower().removesuffix(".")
        if name == dns or (wildcard is not None and wildcard(name, dns)):
            return None
        if glob(name, dns):
            refused = candidate
    if refused is not None:
        code = ProblemCode.WILDCARD_REFUSED
        evidence += f"; {rule} does not take the wildcard {shown(refused)}"
    elif candidates:
        code = ProblemCode.NAME_MISMATCH
    else:
        code = ProblemCode.NO_USABLE_NAME
        evidence += f"; none of them counts by {rule}"
    return NameProblem(code, section, evidence)


def glob(name: str, wanted: str) -> bool:
    """RFC 2818: `*` is one label, or a part of one of at least one letter; once in a label, and not in the last one."""
    labels, wanted_labels = name.split("."), wanted.split(".")
    if len(labels) != len(wanted_labels) or "*" in labels[-1]:
        return False
    for label, wanted_label in zip(labels, wanted_labels, strict=True):
        before, star, after = label.partition("*")
        if not star:
            if label != wanted_label:
                return False
        elif (before or after) and (
            "*" in after
            or len(wanted_label) <= len(before) + len(after)
            or wanted_label.startswith("xn--")
            or not (wanted_label.startswith(before) and wanted_label.endswith(after))
        ):
            return False
    return True


def _left_most(name: str, wanted: str) -> bool:
    """RFC 6125 and 9525: `*` is the whole of the left-most label, and the only one."""
    star, _, parent = name.partition(".")
    return star == "*" and parent != "" and "*" not in parent and parent == wanted.partition(".")[2]


def _sip_host(uri: str) -> str | None:
    """The host of a `sip:` URI that names a domain: RFC 5922 section 7.1 takes none with a user part."""
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme.lower() != "sip" or "@" in rest:
        return None
    return re.split(r"[:;?]", rest, maxsplit=1)[0] or None
