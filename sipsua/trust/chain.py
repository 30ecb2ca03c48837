"""What is wrong with a chain, in words: the explanation behind a refusal.

OpenSSL says whether a chain is good, and stops at the first fault. An operator who has to mend a server wants all faults at
once, each with the certificate, the rule and the way out. So where OpenSSL has refused, this file looks at each certificate on the
path. It never turns a refusal into an acceptance. The one thing it decides is what a handshake refuses and OpenSSL lets pass
offline: keys and signatures that are too weak.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from sipsua.trust import key
from sipsua.trust.certificate import Parsed, dated, entry
from sipsua.trust.names import parse_reference, shown
from sipsua.trust.path import Path, bad_signature
from sipsua.trust.store import comparable
from sipsua.trust.verdict import Problem, ProblemCode

_SERVER_PURPOSES = frozenset(
    {
        ExtendedKeyUsageOID.SERVER_AUTH,
        x509.ObjectIdentifier("2.16.840.1.113730.4.1"),  # Netscape server gated crypto, taken by OpenSSL
        x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),  # Microsoft's of the same
    }
)

_KNOWN_CRITICAL = frozenset(
    {
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.OCSP_NO_CHECK,
        x509.ObjectIdentifier("1.3.6.1.5.5.7.1.7"),  # RFC 3779, address blocks
        x509.ObjectIdentifier("1.3.6.1.5.5.7.1.8"),
        x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"),  # proxyCertInfo
        x509.ObjectIdentifier("2.16.840.1.113730.1.1"),  # Netscape certificate type
    }
)
"""Critical extensions that OpenSSL processes."""

_NAME_CONSTRAINTS = b"\x06\x03\x55\x1d\x1e"
"""The extension's OID in DER."""


def weaknesses(path: Path) -> Iterator[Problem]:
    """Keys and signatures below OpenSSL's security level 2. The anchor's own signature counts for nothing."""
    for position, (step, index) in enumerate(zip(path.steps, path.indexes, strict=True)):
        whose = _whose(position)
        if key.is_weak(step.key):
            yield Problem(
                ProblemCode.WEAK_KEY,
                index,
                "RFC 9325 4.5",
                f"{step.text} has a key of {key.name_of(step.key)}",
                f"reissue {whose} with a key of at least RSA 2048 or EC P-256",
            )
        if position < len(path.steps) - 1 and (digest := step.weak_hash) is not None:
            yield Problem(
                ProblemCode.WEAK_SIGNATURE,
                index,
                "RFC 9325 4.5",
                f"{step.text} is signed with {digest.upper()}",
                f"reissue {whose} with a SHA-256 signature",
            )


def problems(path: Path, at: datetime) -> Iterator[Problem]:
    """All that is wrong on the path at `at` (aware), leaf first."""
    intermediates = 0
    for position, (step, index) in enumerate(zip(path.steps, path.indexes, strict=True)):
        if step.defect is not None:
            yield Problem(
                ProblemCode.MALFORMED,
                index,
                "RFC 5280 4.2",
                f"the extensions of {step.text} cannot be read: {step.defect}",
                f"reissue {_whose(position)}",
            )
        if position < len(path.steps) - 1 and not step.signed_by(path.steps[position + 1]):
            yield bad_signature(step, index, step.issuer_text)
        yield from _validity(step, index, position, at)
        yield from _purpose(step, index, position)
        if position and step.defect is None:
            yield from _authority(step, index, intermediates, last=position == len(path.steps) - 1)
            intermediates += step.subject != step.issuer
        for extension in step.extensions.values():
            if extension.critical and extension.oid not in _KNOWN_CRITICAL:
                yield Problem(
                    ProblemCode.UNKNOWN_CRITICAL_EXTENSION,
                    index,
                    "RFC 5280 6.1.4 (o)" if position else "RFC 5280 6.1.5 (f)",
                    f"{step.text} has the critical extension {extension.oid.dotted_string}",
                    f"reissue {_whose(position)} without it, or with the extension not critical",
                )
    yield from _constraints(path)
    if path.end is not None:
        yield path.end


def detour(old: Path, path: Path, at: datetime, seen: Collection[Problem]) -> Iterator[Problem]:
    """What is wrong at `at` (aware) on the way that an old phone goes, beyond what was `seen` on `path`, and why it goes there."""
    shared = {step.der for step in path.steps}
    below = (None, *old.indexes)
    astray = [
        (step, index)
        for step, index, before in zip(old.steps, old.indexes, below, strict=False)
        if step.der not in shared and index != before
    ]
    for problem in problems(old, at):
        if problem in seen:
            continue
        if astray and path.anchor is not None:
            step, index = astray[0]
            yield replace(
                problem,
                evidence=f"{problem.evidence}; an old phone follows certificate {index} that was sent ({step.text}, issued by "
                f"{step.issuer_text}) there, although the trusted {path.anchor.subject} ends a shorter way",
                fix=f"serve the short chain: take certificate {index} ({step.text}, issued by {step.issuer_text}) and what comes after it "
                "out of the server's chain file",
            )
        else:
            yield problem


def usurped(path: Path, reference: str) -> Iterator[Problem]:
    """The DNS name that was asked for, where an authority on the path may not certify it (RFC 5280 section 4.2.1.10).

    OpenSSL holds the names in the leaf to the constraints, each as it is written. By the rules of names they stand for more: a wildcard
    for a name that is excluded; a Common Name of one label or with a wildcard, a URI, a name with a dot at its end, for one that nobody
    has compared.
    """
    name = parse_reference(reference).dns
    if name is None:
        return
    for authority in path.steps[1:]:
        constraints, broken = authority.extension(x509.NameConstraints), None
        if constraints is not None:
            broken = _broken(constraints, x509.DNSName(name))
        elif authority.defect is not None and _NAME_CONSTRAINTS in authority.der:
            broken = "RFC 5280 4.2.1.10", "cannot be read, and so not be compared with"
        if broken is not None:
            rule, why = broken
            yield Problem(
                ProblemCode.NAME_NOT_PERMITTED,
                path.indexes[0],
                rule,
                f"the name constraints of {authority.text} {why} {name}, which {path.steps[0].text} stands for",
                "reissue the server's certificate by a CA that may certify this name",
            )


def _constraints(path: Path) -> Iterator[Problem]:
    """Name constraints, RFC 5280 section 6.1.3 (b) and (c), of DNS names, IP addresses and subjects."""
    for position, authority in enumerate(path.steps):
        constraints = authority.extension(x509.NameConstraints)
        if constraints is None or not position:
            continue
        for below in range(position):
            step = path.steps[below]
            if below and step.subject == step.issuer:
                continue
            for name in _constrained_names(step, leaf=not below):
                if (broken := _broken(constraints, name)) is not None:
                    rule, why = broken
                    yield Problem(
                        ProblemCode.NAME_NOT_PERMITTED,
                        path.indexes[below],
                        rule,
                        f"the name constraints of {authority.text} {why} {entry(name)} in {step.text}",
                        f"reissue {_whose(below)} with names that the CA may certify, or by another CA",
                    )


def _broken(constraints: x509.NameConstraints, name: x509.GeneralName) -> tuple[str, str] | None:
    """How a name goes against name constraints, as rule and verb."""
    inside, outside = (
        [_within(name, subtree) for subtree in subtrees or () if type(subtree) is type(name)]
        for subtrees in (constraints.permitted_subtrees, constraints.excluded_subtrees)
    )
    if None in inside or None in outside:
        return "RFC 5280 4.2.1.10", "cannot be compared with"
    if True in outside:
        return "RFC 5280 6.1.3 (c)", "exclude"
    return ("RFC 5280 6.1.3 (b)", "do not permit") if inside and True not in inside else None


def _whose(position: int) -> str:
    return "the CA certificate" if position else "the server's certificate"


def _validity(step: Parsed, index: int, position: int, at: datetime) -> Iterator[Problem]:
    certificate, whose = step.certificate, _whose(position)
    if at > certificate.not_valid_after_utc:
        yield Problem(
            ProblemCode.EXPIRED,
            index,
            "RFC 5280 6.1.3 (a)(2)",
            f"{step.text} expired on {dated(certificate.not_valid_after_utc)}; it is {dated(at)}",
            f"renew {whose}, or set the clock here if that date is wrong",
        )
    if at < certificate.not_valid_before_utc:
        yield Problem(
            ProblemCode.NOT_YET_VALID,
            index,
            "RFC 5280 6.1.3 (a)(2)",
            f"{step.text} is valid from {dated(certificate.not_valid_before_utc)}; it is {dated(at)}",
            f"set the clock here if that date is wrong, or else that of the CA, and reissue {whose}",
        )


def _purpose(step: Parsed, index: int, position: int) -> Iterator[Problem]:
    """Extended key usage of all, key usage of the leaf, as OpenSSL's purpose check reads them."""
    purposes = step.extension(x509.ExtendedKeyUsage)
    if purposes is not None and _SERVER_PURPOSES.isdisjoint(purposes):
        seen = ", ".join(shown(one._name if one._name != "Unknown OID" else one.dotted_string) for one in purposes)
        yield Problem(
            ProblemCode.WRONG_PURPOSE,
            index,
            "RFC 5280 4.2.1.12",
            f"{step.text} is for {seen} only",
            f"reissue {_whose(position)} with the extended key usage serverAuth",
        )
    usage = step.extension(x509.KeyUsage)
    if position or usage is None or usage.digital_signature or usage.key_encipherment or usage.key_agreement:
        return
    yield Problem(
        ProblemCode.WRONG_PURPOSE,
        index,
        "RFC 5280 4.2.1.3",
        f"the key usage of {step.text} allows neither signing nor key exchange",
        "reissue the server's certificate with the key usage digitalSignature",
    )


def _authority(step: Parsed, index: int, intermediates: int, *, last: bool) -> Iterator[Problem]:
    """Whether a certificate that issued another may do so; `intermediates` counts those below it that are not self-issued."""
    constraints, usage = step.extension(x509.BasicConstraints), step.extension(x509.KeyUsage)
    # OpenSSL takes the last one for a CA also if it is an old root without extensions, or if its key usage alone says so.
    taken = last and (
        usage.key_cert_sign
        if usage is not None
        else step.certificate.version is x509.Version.v1 and step.subject == step.issuer
    )
    if (constraints is None and not taken) or (constraints is not None and not constraints.ca):
        why, rule = "its basic constraints do not say CA", "RFC 5280 6.1.4 (k)"
    elif usage is not None and not usage.key_cert_sign:
        why, rule = "its key usage lacks keyCertSign", "RFC 5280 6.1.4 (n)"
    else:
        why = rule = ""
    if why:
        yield Problem(
            ProblemCode.NOT_A_CA,
            index,
            rule,
            f"{step.text} issued a certificate but is no CA: {why}",
            "have the certificate below it issued by a CA, and check who did this: a server's certificate must not issue",
        )
    limit = constraints.path_length if constraints is not None and constraints.ca else None
    if limit is not None and intermediates > limit:
        yield Problem(
            ProblemCode.PATH_TOO_LONG,
            index,
            "RFC 5280 6.1.4 (l)",
            f"{step.text} allows {limit} intermediate CAs below it, and there are {intermediates}",
            "have the server's certificate issued by a CA that is nearer to the root, or reissue the CA certificate",
        )


def _constrained_names(step: Parsed, *, leaf: bool) -> Iterator[x509.GeneralName]:
    """The names that name constraints apply to: the CN too, where a leaf has no DNS name, as OpenSSL has it."""
    yield from step.alternative_names
    subject = step.certificate.subject
    if subject.rdns:
        yield x509.DirectoryName(subject)
    for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        if isinstance(attribute.value, str) and attribute.value.isascii():
            yield x509.RFC822Name(attribute.value)
    # Of extensions that cannot be read nobody knows whether they hold one.
    if leaf and step.defect is None and not any(isinstance(name, x509.DNSName) for name in step.alternative_names):
        for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            if isinstance(attribute.value, str) and "." in (parse_reference(attribute.value).dns or ""):
                yield x509.DNSName(attribute.value)


def _within(name: x509.GeneralName, subtree: x509.GeneralName) -> bool | None:
    """Whether a name is in a subtree of its kind, RFC 5280 section 4.2.1.10; None where it has no form to compare."""
    if isinstance(name, x509.DNSName) and isinstance(subtree, x509.DNSName):
        child, parent = name.value.lower(), subtree.value.lower()
        return not parent or child == parent or child.endswith(parent if parent[0] == "." else f".{parent}")
    if isinstance(name, x509.IPAddress) and isinstance(subtree, x509.IPAddress):
        network = subtree.value
        return (
            isinstance(network, IPv4Network | IPv6Network)
            and not isinstance(name.value, IPv4Network | IPv6Network)
            and name.value in network
        )
    if isinstance(name, x509.DirectoryName) and isinstance(subtree, x509.DirectoryName):
        parent_name = comparable(subtree.value)
        return comparable(name.value)[: len(parent_name)] == parent_name
    if isinstance(name, x509.RFC822Name) and isinstance(subtree, x509.RFC822Name):
        local, at, host = name.value.rpartition("@")
        wanted_local, wanted_at, wanted_host = subtree.value.rpartition("@")
        if not at:
            return None
        return (not wanted_at or not wanted_local or local == wanted_local) and _host_within(host, wanted_host)
    if isinstance(name, x509.UniformResourceIdentifier) and isinstance(subtree, x509.UniformResourceIdentifier):
        # A SIP URI has no authority part to compare, as RFC 5280 wants one: so a CA with such constraints can certify none.
        try:
            uri = urlsplit(name.value)
            return _host_within(uri.hostname, subtree.value) if uri.scheme and uri.hostname else None
        except ValueError:
            return None
    return False


def _host_within(host: str, subtree: str) -> bool:
    """Whether a host is the one of the constraint, or below its domain where that begins with a dot."""
    host, subtree = host.lower(), subtree.lower()
    return host.endswith(subtree) and host != subtree if subtree[:1] == "." else host == subtree
