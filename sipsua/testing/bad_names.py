"""Servers whose certificate is good but for its names: the wrong one, in every form that has been seen, and wildcards in all of theirs.

What a name rule takes is a matter of the rule, so each case is judged by RFC 2818 unless it says otherwise; where that rule is generous
to the letter, as with `s*.example.com`, the same certificate is here a second time for a stricter one.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.x509.oid import NameOID

from sipsua.testing.bad_case import GOOD, ROOT, Case, Kind, Must, Setup, Site, Wishes
from sipsua.testing.pki import CertificateAuthority, Issued, extension
from sipsua.trust.verdict import ProblemCode

Leaf = Callable[[CertificateAuthority, Site], Issued]
"""Makes the leaf whose names are the point."""


def _refused(code: ProblemCode) -> Must:
    return Must(exit_codes=(11,), problems=frozenset({code}), alert="bad_certificate")


MISMATCH = _refused(ProblemCode.NAME_MISMATCH)
UNUSABLE = _refused(ProblemCode.NO_USABLE_NAME)
WILDCARD = _refused(ProblemCode.WILDCARD_REFUSED)


def named(
    name: str, what: str, must: Must, leaf: Leaf, *, reference: str = "{name}", rule: str = "", kind: Kind = Kind.NAME
) -> Case:
    """A case whose leaf, right below the root, is made for its names; `reference` is for `Site.fill`."""

    def make(site: Site) -> Setup:
        root = CertificateAuthority(ROOT)
        return Setup(leaf=leaf(root, site), anchors=(root.certificate,), reference=site.fill(reference))

    wishes = Wishes(names=rule) if rule else Wishes()
    return Case(name=name, what=what, kind=kind, make=make, must=must, wishes=wishes)


def entries(*names: x509.GeneralName, critical: bool = False) -> x509.Extension[x509.ExtensionType]:
    """A subjectAltName of any entries."""
    return extension(x509.SubjectAlternativeName(names), critical=critical)


def _dns(*names: str, common_name: str = "") -> Leaf:
    """A leaf of these DNS names, for `Site.fill`."""

    def leaf(root: CertificateAuthority, site: Site) -> Issued:
        filled = [x509.DNSName(site.fill(one)) for one in names]
        extensions = [entries(*filled, critical=not common_name)] if filled else []
        return root.issue(common_name=site.fill(common_name), extensions=extensions)

    return leaf


def _wildcard(name: str, what: str, must: Must, *names: str, reference: str = "{name}", rule: str = "") -> Case:
    return named(name, what, must, _dns(*names), reference=reference, rule=rule, kind=Kind.WILDCARD)


NAME_CASES: tuple[Case, ...] = (
    named("name-other-dns", "Its only DNS name is that of another host.", MISMATCH, _dns("other.{parent}")),
    named("name-other-domain", "Its host name is right, in another domain.", MISMATCH, _dns("{name}.example.net")),
    named("name-parent-domain", "Its DNS name is that of the domain above.", MISMATCH, _dns("{parent}")),
    named("name-subdomain", "Its DNS name is that of a host below.", MISMATCH, _dns("a.{name}")),
    named("name-with-port", "Its DNS name has the port in it.", MISMATCH, _dns("{name}:5061")),
    named(
        "name-with-nul",
        "Its DNS name is ours up to a NUL, where C programs stop, and another's domain after it.",
        MISMATCH,
        _dns("{name}\0.example.net"),
    ),
    named(
        "name-upper-case",
        "Its DNS name is in upper case: names have no case.",
        GOOD,
        lambda root, site: root.issue(site.name.upper()),
    ),
    named("name-trailing-dot", "Its DNS name ends in a dot.", GOOD, _dns("{name}.")),
    named(
        "name-cn-only",
        "No subjectAltName; the CN is right, and RFC 2818 still takes it.",
        GOOD,
        _dns(common_name="{name}"),
    ),
    named(
        "name-cn-only-rfc9525",
        "No subjectAltName; the CN is right, and RFC 9525 does not look at it.",
        UNUSABLE,
        _dns(common_name="{name}"),
        rule="rfc9525",
    ),
    named(
        "name-cn-other",
        "No subjectAltName, and the CN is that of another host.",
        MISMATCH,
        _dns(common_name="other.{parent}"),
    ),
    named(
        "name-cn-with-nul",
        "No subjectAltName, and the CN is ours up to a NUL.",
        MISMATCH,
        _dns(common_name="{name}\0.example.net"),
    ),
    named(
        "name-cn-right-san-other",
        "The CN is right, but there is a DNS name, of another host: then the CN does not count.",
        MISMATCH,
        _dns("other.{parent}", common_name="{name}"),
    ),
    named("name-empty", "No subjectAltName, and the subject is empty.", UNUSABLE, _dns()),
    named(
        "name-uri-other",
        "Its only name is the URI of another SIP domain.",
        UNUSABLE,
        lambda root, site: root.issue(common_name="", uris=["sip:other.example.net"]),
    ),
    named(
        "name-uri-only",
        "Its only name is the URI of our SIP domain, which RFC 2818 does not count.",
        UNUSABLE,
        lambda root, site: root.issue(common_name="", uris=[f"sip:{site.name}"]),
    ),
    named(
        "name-uri-only-rfc5922",
        "Its only name is the URI of our SIP domain, as RFC 5922 wants it.",
        GOOD,
        lambda root, site: root.issue(common_name="", uris=[f"sip:{site.name}"]),
        rule="rfc5922",
    ),
    named(
        "name-uri-of-a-user",
        "Its only name is the URI of a user: that is no domain's certificate (RFC 5922 section 7.1).",
        UNUSABLE,
        lambda root, site: root.issue(common_name="", uris=[f"sip:1000@{site.name}"]),
        rule="rfc5922",
    ),
    named(
        "name-email-only",
        "Its only name is an e-mail address of our domain.",
        UNUSABLE,
        lambda root, site: root.issue(
            common_name="", extensions=[entries(x509.RFC822Name(f"admin@{site.name}"), critical=True)]
        ),
    ),
    named(
        "name-directory-only",
        "Its only name is a directory name with our CN.",
        UNUSABLE,
        lambda root, site: root.issue(
            common_name="",
            extensions=[
                entries(
                    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site.name)])), critical=True
                )
            ],
        ),
    ),
    named(
        "name-ip",
        "The client asks for an IP address, and the certificate has it.",
        GOOD,
        lambda root, site: root.issue(site.address),
        reference="{address}",
    ),
    named(
        "name-ip-other",
        "The client asks for an IP address, and the certificate has another.",
        MISMATCH,
        lambda root, site: root.issue("192.0.2.1"),
        reference="{address}",
    ),
    named(
        "name-ip-as-dns",
        "The client asks for an IP address, and the certificate has it as a DNS name.",
        UNUSABLE,
        _dns("{address}"),
        reference="{address}",
    ),
    named(
        "name-ip-as-cn",
        "The client asks for an IP address, and the certificate has it as its CN.",
        UNUSABLE,
        lambda root, site: root.issue(common_name=site.address),
        reference="{address}",
    ),
    named(
        "name-ip-missing",
        "The client asks for an IP address, and the certificate has only the DNS name.",
        UNUSABLE,
        _dns("{name}"),
        reference="{address}",
    ),
    _wildcard("wildcard", "A wildcard for the first label.", GOOD, "*.{parent}"),
    _wildcard(
        "wildcard-rfc5922",
        "A wildcard for the first label; RFC 5922 takes none.",
        WILDCARD,
        "*.{parent}",
        rule="rfc5922",
    ),
    _wildcard(
        "wildcard-two-deep", "A wildcard does not stand for two labels.", MISMATCH, "*.{parent}", reference="a.{name}"
    ),
    _wildcard("wildcard-below", "A wildcard does not stand for no label.", MISMATCH, "*.{name}"),
    _wildcard("wildcard-other-domain", "A wildcard in another domain.", MISMATCH, "*.example.net"),
    _wildcard(
        "wildcard-partial",
        "A wildcard for a part of the label: right by RFC 2818.",
        GOOD,
        "b*.{parent}",
        reference="bad.{parent}",
    ),
    _wildcard(
        "wildcard-partial-rfc6125",
        "A wildcard for a part of the label: no longer right by RFC 6125.",
        WILDCARD,
        "b*.{parent}",
        reference="bad.{parent}",
        rule="rfc6125",
    ),
    _wildcard(
        "wildcard-a-label",
        "A wildcard for a part of an internationalized label, in its A-label form: it matches nothing (RFC 6125 section 6.4.3).",
        MISMATCH,
        "xn--b*.{parent}",
        reference="xn--bcher-kva.{parent}",
    ),
    _wildcard(
        "wildcard-middle-rfc6125",
        "A wildcard in the middle: not right by RFC 6125.",
        WILDCARD,
        "a.*.{parent}",
        reference="a.bad.{parent}",
        rule="rfc6125",
    ),
    _wildcard(
        "wildcard-twice-rfc6125",
        "Two labels that are wildcards: not right by RFC 6125.",
        WILDCARD,
        "*.*.{parent}",
        reference="a.bad.{parent}",
        rule="rfc6125",
    ),
    _wildcard("wildcard-alone", "Nothing but a wildcard.", MISMATCH, "*"),
    _wildcard(
        "wildcard-in-the-last-label", "A wildcard for the top-level domain.", MISMATCH, "bad.*", reference="bad.{top}"
    ),
    _wildcard(
        "wildcard-of-a-tld",
        "A wildcard right below a top-level domain: right by RFC 2818, which CAs must not issue.",
        GOOD,
        "*.{top}",
        reference="bad.{top}",
    ),
    _wildcard("wildcard-ip", "A wildcard for a part of an IP address.", UNUSABLE, "*.{tail}", reference="{address}"),
    named(
        "wildcard-cn",
        "No subjectAltName; the CN is a wildcard, and RFC 2818 still takes it.",
        GOOD,
        _dns(common_name="*.{parent}"),
        kind=Kind.WILDCARD,
    ),
)
