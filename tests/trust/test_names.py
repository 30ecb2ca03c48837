"""The name rules, each cell of the table in docs and facts with a real certificate."""

from __future__ import annotations

from functools import lru_cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sipsua.testing.pki import CertificateAuthority, extension
from sipsua.trust.names import (
    NAME_RULES,
    PresentedNames,
    advice,
    check_name,
    parse_reference,
    presented_names,
    rfc2818,
    rfc5922,
    rfc6125,
    rfc9525,
)
from sipsua.trust.policy import NameRule
from sipsua.trust.verdict import ProblemCode

AUTHORITY = CertificateAuthority()
WANTED = "sip.example.com"
MISMATCH, NONE, WILDCARD = ProblemCode.NAME_MISMATCH, ProblemCode.NO_USABLE_NAME, ProblemCode.WILDCARD_REFUSED
SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")


@lru_cache
def certificate(*names: str, cn: str = "", uris: tuple[str, ...] = (), srvs: tuple[str, ...] = ()) -> bytes:
    extra = []
    if srvs:
        others = [x509.OtherName(SRV_NAME, b"\x16" + bytes([len(name)]) + name.encode()) for name in srvs]
        extra = [extension(x509.SubjectAlternativeName([*others, *(x509.DNSName(name) for name in names)]))]
    issued = AUTHORITY.issue(*names, common_name=cn, uris=uris, extensions=extra)
    return issued.certificate.public_bytes(Encoding.DER)


def codes(der: bytes, reference: str) -> dict[str, ProblemCode | None]:
    found = {}
    for rule, function in NAME_RULES.items():
        problem = function(presented_names(der), reference)
        found[str(rule)] = problem.code if problem is not None else None
    return found


# What is presented, what is wanted, and the answers of RFC 2818, 5922, 6125 and 9525.
TABLE = {
    "SAN DNS exact": (certificate(WANTED), WANTED, (None, None, None, None)),
    "CN exact, no SAN": (certificate(cn=WANTED), WANTED, (None, None, None, NONE)),
    "SAN DNS other, CN matches": (certificate("x.example.org", cn=WANTED), WANTED, (MISMATCH,) * 4),
    "SAN holds only an IP, CN matches": (certificate("192.0.2.1", cn=WANTED), WANTED, (None, NONE, None, NONE)),
    "SAN holds only a web URI, CN matches": (
        certificate(cn=WANTED, uris=("https://x.example.org/",)),
        WANTED,
        (None, NONE, NONE, NONE),
    ),
    "SAN holds only an SRV name, CN matches": (
        certificate(cn=WANTED, srvs=("_sips.example.org",)),
        WANTED,
        (None, NONE, MISMATCH, NONE),
    ),
    "SAN wildcard": (certificate("*.example.com"), WANTED, (None, WILDCARD, None, None)),
    "SAN wildcard, two labels deep": (certificate("*.example.com"), "a.sip.example.com", (MISMATCH,) * 4),
    "SAN wildcard, parent wanted": (certificate("*.example.com"), "example.com", (MISMATCH,) * 4),
    "SAN wildcard for a part of a label": (certificate("s*.example.com"), WANTED, (None, WILDCARD, WILDCARD, WILDCARD)),
    "SAN wildcard in the middle": (certificate("sip.*.com"), WANTED, (None, WILDCARD, WILDCARD, WILDCARD)),
    "SAN wildcards side by side": (certificate("*.*.com"), WANTED, (None, WILDCARD, WILDCARD, WILDCARD)),
    "SAN wildcard under a top domain": (certificate("*.com"), "example.com", (None, WILDCARD, None, None)),
    "SAN wildcard as last label": (certificate("sip.example.*"), WANTED, (MISMATCH,) * 4),
    "SAN wildcard alone": (certificate("*"), "pbx", (MISMATCH,) * 4),
    "SAN with two wildcards in a label": (certificate("s*i*.example.com"), WANTED, (MISMATCH,) * 4),
    "SAN wildcard in an A-label": (certificate("xn--*.example.com"), "xn--bcher-kva.example.com", (MISMATCH,) * 4),
    "CN wildcard, no SAN": (certificate(cn="*.example.com"), WANTED, (None, WILDCARD, None, NONE)),
    "only SAN URI sip": (certificate(uris=("sip:sip.example.com",)), WANTED, (NONE, None, None, NONE)),
    "only SAN URI SIP in upper case with port": (
        certificate(uris=("SIP:SIP.example.com:5061;transport=tls",)),
        WANTED,
        (NONE, None, None, NONE),
    ),
    "only SAN URI sips": (certificate(uris=("sips:sip.example.com",)), WANTED, (NONE, NONE, NONE, NONE)),
    "only SAN URI with a user": (certificate(uris=("sip:a@sip.example.com",)), WANTED, (NONE, NONE, NONE, NONE)),
    "SAN URI sip of another domain and SAN DNS ours": (
        certificate(WANTED, uris=("sip:example.org",)),
        WANTED,
        (None, MISMATCH, None, None),
    ),
    "SAN URI with a user and SAN DNS ours": (
        certificate(WANTED, uris=("sip:a@example.org",)),
        WANTED,
        (None, None, None, None),
    ),
    "SAN SRV of sips": (certificate(srvs=("_sips.sip.example.com",)), WANTED, (NONE, NONE, None, NONE)),
    "SAN SRV of another service": (certificate(srvs=("_xmpp.sip.example.com",)), WANTED, (NONE, NONE, NONE, NONE)),
    "no name at all": (certificate(uris=("urn:x",)), WANTED, (NONE,) * 4),
    "IP wanted, iPAddress": (certificate("192.0.2.1"), "192.0.2.1", (None, NONE, None, None)),
    "IP wanted, another iPAddress": (certificate("192.0.2.2"), "192.0.2.1", (MISMATCH, NONE, MISMATCH, MISMATCH)),
    "IP wanted, DNS names only": (certificate(WANTED), "192.0.2.1", (NONE,) * 4),
    "IP wanted, as CN only": (certificate(cn="192.0.2.1"), "192.0.2.1", (NONE,) * 4),
    "IP wanted, as URI only": (certificate(uris=("sip:192.0.2.1",)), "192.0.2.1", (NONE,) * 4),
    "IP wanted, wildcard DNS name": (certificate("*.0.2.1"), "192.0.2.1", (NONE,) * 4),
    "IPv6 wanted, written otherwise": (certificate("2001:db8::1"), "[2001:DB8:0:0:0:0:0:1]", (None, NONE, None, None)),
    "IPv6 wanted without brackets": (certificate("2001:db8::1"), "2001:db8::1", (None, NONE, None, None)),
    "case and trailing dot wanted": (certificate(WANTED), "SIP.Example.COM.", (None,) * 4),
    "case presented": (certificate("SIP.EXAMPLE.COM"), WANTED, (None,) * 4),
    "trailing dot presented": (certificate("sip.example.com."), WANTED, (None,) * 4),
    "leading dot presented": (certificate(".example.com"), WANTED, (MISMATCH,) * 4),
    "suffix presented": (certificate("example.com"), WANTED, (MISMATCH,) * 4),
    "second of several": (certificate("a.example.com", WANTED), WANTED, (None,) * 4),
    "U-label wanted": (certificate("xn--bcher-kva.example.com"), "bücher.example.com", (None,) * 4),
    "U-label wanted in upper case": (certificate("xn--bcher-kva.example.com"), "BÜCHER.example.com", (None,) * 4),
    "name wanted that IDNA 2003 maps elsewhere": (certificate("strasse.de"), "straße.de", (MISMATCH,) * 4),
    "U-label as CN": (certificate(cn="bücher.example.com"), "bücher.example.com", (MISMATCH, MISMATCH, MISMATCH, NONE)),
    "NUL in the name": (certificate("sip.example.com\0.evil.org"), WANTED, (MISMATCH,) * 4),
    "NUL wanted": (certificate("sip.example.com\0"), "sip.example.com\0", (MISMATCH,) * 4),
    "NUL in the CN": (certificate(cn="sip.example.com\0.evil.org"), WANTED, (MISMATCH, MISMATCH, MISMATCH, NONE)),
    "wildcard wanted": (certificate("*.example.com"), "*.example.com", (MISMATCH,) * 4),
    "nothing wanted": (certificate(""), "", (MISMATCH,) * 4),
    "only a dot wanted": (certificate("."), ".", (MISMATCH,) * 4),
    "space in the CN": (certificate(cn="sip.example.com "), WANTED, (MISMATCH, MISMATCH, MISMATCH, NONE)),
}


@pytest.mark.parametrize(("der", "reference", "expected"), TABLE.values(), ids=TABLE.keys())
def test_cell_of_the_table(der: bytes, reference: str, expected: tuple[ProblemCode | None, ...]) -> None:
    assert codes(der, reference) == dict(zip(("rfc2818", "rfc5922", "rfc6125", "rfc9525"), expected, strict=True))


def test_address_as_dns_name_never_matches_an_address() -> None:
    issued = AUTHORITY.issue(
        common_name="", extensions=[extension(x509.SubjectAlternativeName([x509.DNSName("192.0.2.1")]), critical=True)]
    )
    assert set(codes(issued.certificate.public_bytes(Encoding.DER), "192.0.2.1").values()) == {NONE}


def test_most_specific_common_name_counts() -> None:
    name = [x509.NameAttribute(NameOID.COMMON_NAME, one) for one in ("sip.example.com", "x.example.org")]
    presented = PresentedNames(common_names=tuple(str(one.value) for one in name))
    for rule in (rfc2818, rfc5922, rfc6125):
        assert rule(presented, "x.example.org") is None
        assert rule(presented, "sip.example.com") is not None


def test_presented_names_are_read_in_order_and_by_kind() -> None:
    der = certificate("b.example.com", "192.0.2.1", "a.example.com", cn="c.example.com", uris=("sip:example.com",))
    presented = presented_names(der)
    assert presented.dns == ("b.example.com", "a.example.com")
    assert [str(address) for address in presented.ips] == ["192.0.2.1"]
    assert presented.uris == ("sip:example.com",)
    assert presented.common_names == ("c.example.com",)
    assert presented.has_san
    assert not presented.others
    assert presented_names(der) is presented


def test_other_kinds_of_names_are_noted() -> None:
    san = extension(x509.SubjectAlternativeName([x509.RFC822Name("a@example.com")]))
    issued = AUTHORITY.issue(common_name=WANTED, extensions=[san])
    presented = presented_names(issued.certificate.public_bytes(Encoding.DER))
    assert presented.others
    assert rfc2818(presented, WANTED) is None
    assert rfc5922(presented, WANTED) is not None


def test_garbage_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r".+"):
        presented_names(b"garbage")


def test_rule_off_looks_at_nothing() -> None:
    assert check_name(NameRule.OFF, b"garbage", "") is None
    assert NameRule.OFF not in NAME_RULES
    assert set(NAME_RULES) == set(NameRule) - {NameRule.OFF}


def test_evidence_names_what_was_wanted_and_presented() -> None:
    problem = rfc9525(presented_names(certificate("a.example.com", cn="b.example.com")), WANTED)
    assert problem is not None
    assert problem.evidence == "wanted sip.example.com, the certificate has DNS:a.example.com, CN=b.example.com"
    assert problem.rule == "RFC 9525 6.3"


def test_evidence_is_capped() -> None:
    problem = rfc2818(PresentedNames(dns=tuple(f"{n}.example.com" for n in range(500)), has_san=True), WANTED)
    assert problem is not None
    assert "and 492 more" in problem.evidence
    assert len(problem.evidence) < 400


def test_control_characters_of_a_certificate_do_not_reach_the_terminal() -> None:
    problem = rfc2818(PresentedNames(dns=("\x1b[2Jsip.example.com",), has_san=True), WANTED)
    assert problem is not None
    assert problem.evidence.isprintable()


def test_advice_names_certificate_rule_and_account() -> None:
    presented = presented_names(certificate("*.example.com", "pbx.example.org"))
    text = advice(presented, WANTED, NameRule.RFC5922)
    assert (
        "reissue the server's certificate with the subjectAltName DNS:sip.example.com or URI:sip:sip.example.com"
        in text
    )
    assert "--names rfc2818 or rfc6125 or rfc9525" in text
    assert "enter pbx.example.org" in text


def test_advice_on_an_address_by_the_sip_rule_is_to_use_the_domain() -> None:
    text = advice(presented_names(certificate("192.0.2.1")), "192.0.2.1", NameRule.RFC5922)
    assert text.startswith("enter the server's domain")
    assert "--names rfc2818" in text


def test_advice_on_an_unusable_reference_is_to_correct_it() -> None:
    assert "DNS name or IP address" in advice(PresentedNames(), "no name", NameRule.RFC2818)


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "a b", "-a.com", "*.a.com", "a" * 64, "a." * 127 + "com", "1.2.3.4:5", "[::1"]
)
def test_what_is_no_name_is_not_taken_as_one(text: str) -> None:
    assert parse_reference(text) == (None, None)


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=4), st.lists(st.text(max_size=30), max_size=3))
def test_no_rule_raises_whatever_the_names(reference: str, dns: list[str], uris: list[str]) -> None:
    presented = PresentedNames(dns=tuple(dns), uris=tuple(uris), has_san=True, common_names=tuple(uris))
    for rule, function in NAME_RULES.items():
        problem = function(presented, reference)
        if problem is not None:
            assert advice(presented, reference, NameRule(rule))
        else:
            wanted = parse_reference(reference)
            assert wanted.dns is not None
            assert wanted.dns.isascii()


def test_all_rules_are_functions_of_their_own() -> None:
    assert list(NAME_RULES.values()) == [rfc2818, rfc5922, rfc6125, rfc9525]


def test_version_that_is_none_is_a_value_error() -> None:
    """The parser's InvalidVersion is no ValueError."""
    der = certificate(WANTED).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    with pytest.raises(ValueError, match="not a valid X509 version"):
        presented_names(der)
