"""Our name rules against independent ones: Python's `ssl` on the system's OpenSSL, service-identity, and cryptography's own verifier.

Some 500 pairs of a certificate and a name, picked by hand and drawn with a seed, are put to all. Each of the three is held to the rule of
ours that it means to be: `ssl` to RFC 6125 (and, without Common Names, to RFC 9525), service-identity and cryptography to RFC 9525. Where
one answers otherwise the pair must fall into a category of `DIFFERENCES`, which says why, and each category must have a pair that shows it.
"""

from __future__ import annotations

import random
import re
import ssl
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from ipaddress import ip_address
from typing import NamedTuple

import pytest
import service_identity
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from sipsua.testing.pki import CertificateAuthority, Issued, extension
from sipsua.trust import clients, names
from sipsua.trust.names import PresentedNames, Rule, parse_reference, presented_names

AUTHORITY = CertificateAuthority()
KEY = ec.generate_private_key(ec.SECP256R1())
WANTED = "sip.example.com"


class Pair(NamedTuple):
    """What a certificate presents, and the name that is wanted."""

    wanted: str
    dns: tuple[str, ...] = ()
    cn: str = ""
    uris: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()

    def __str__(self) -> str:
        presented = [*self.dns, *self.uris, *self.ips, *([f"CN={self.cn}"] if self.cn else [])]
        return ascii(f"{self.wanted} <- {', '.join(presented)}")


@cache
def issued(dns: tuple[str, ...], cn: str, uris: tuple[str, ...], ips: tuple[str, ...]) -> Issued:
    alternative: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
    alternative += [x509.UniformResourceIdentifier(uri) for uri in uris]
    alternative += [x509.IPAddress(ip_address(ip)) for ip in ips]
    extensions = [extension(x509.SubjectAlternativeName(alternative), critical=not cn)] if alternative else []
    return AUTHORITY.issue(common_name=cn, key=KEY, extensions=extensions)


HAND_PICKED = (
    # wildcards in all forms
    *(
        Pair(WANTED, (pattern,))
        for pattern in (
            "*.example.com",
            "*.EXAMPLE.com",
            "s*.example.com",
            "*p.example.com",
            "s*p.example.com",
            "sip*.example.com",
            "s*i*p.example.com",
            "**.example.com",
            "sip.*.com",
            "sip.ex*.com",
            "*.*.com",
            "*.*.*",
            "sip.example.*",
            "*.com",
            "*",
            "*.",
            "*.example.com.",
            "*.sip.example.com",
            "*example.com",
            ".example.com",
        )
    ),
    *(
        Pair(wanted, ("*.example.com",))
        for wanted in ("a.sip.example.com", "example.com", ".example.com", "*.example.com")
    ),
    *(Pair(wanted, ("*.com",)) for wanted in ("example.com", "com", "a.example.com")),
    Pair("pbx", ("*",)),
    Pair("a_b.example.com", ("*.example.com",)),
    Pair("sip.a_b.example.com", ("*.a_b.example.com",)),
    Pair("1.example.com", ("*.example.com",)),
    Pair(WANTED, cn="*.example.com"),
    Pair(WANTED, cn="s*.example.com"),
    Pair(WANTED, ("*.example.org", "*.example.com")),
    Pair(WANTED, ("*.*.com", WANTED)),
    # internationalized names
    Pair("bücher.example.com", ("xn--bcher-kva.example.com",)),
    Pair("xn--bcher-kva.example.com", ("xn--bcher-kva.example.com",)),
    Pair("xn--bcher-kva.example.com", ("*.example.com",)),
    Pair("xn--bcher-kva.example.com", ("xn--*.example.com",)),
    Pair("xn--bcher-kva.example.com", ("x*.example.com",)),
    Pair("sip.bücher.example", ("*.xn--bcher-kva.example",)),
    Pair("bücher.example.com", cn="bücher.example.com"),
    Pair("BÜCHER.example.com", ("XN--BCHER-KVA.example.com",)),
    Pair("straße.example", ("strasse.example",)),
    Pair("straße.example", ("xn--strae-oqa.example",)),
    # IP addresses
    Pair("192.0.2.1", ips=("192.0.2.1",)),
    Pair("192.0.2.1", ips=("192.0.2.2",)),
    Pair("192.0.2.1", ips=("192.0.2.2", "192.0.2.1")),
    Pair("192.0.2.1", (WANTED,)),
    Pair("192.0.2.1", ("192.0.2.1",)),
    Pair("192.0.2.1", ("*.0.2.1",)),
    Pair("192.0.2.1", cn="192.0.2.1"),
    Pair("192.0.2.1", uris=("sip:192.0.2.1",)),
    Pair("2001:db8::1", ips=("2001:db8::1",)),
    Pair("2001:DB8:0:0::1", ips=("2001:db8::1",)),
    Pair("2001:db8::2", ips=("2001:db8::1",)),
    Pair("[2001:db8::1]", ips=("2001:db8::1",)),
    Pair("::ffff:192.0.2.1", ips=("192.0.2.1",)),
    Pair(WANTED, ips=("192.0.2.1",)),
    Pair(WANTED, cn=WANTED, ips=("192.0.2.1",)),
    Pair(WANTED, (WANTED,), ips=("192.0.2.1",)),
    # dots
    Pair("sip.example.com.", (WANTED,)),
    Pair(WANTED, ("sip.example.com.",)),
    Pair("sip.example.com.", ("sip.example.com.",)),
    Pair("sip.example.com.", ("*.example.com",)),
    Pair("sip.example.com.", cn=WANTED),
    Pair(WANTED, cn="sip.example.com."),
    Pair("sip..example.com", ("sip..example.com",)),
    Pair(".", (".",)),
    Pair("", ("",)),
    Pair("", cn=WANTED),
    # case, Common Name, other kinds of entries
    Pair("SIP.example.COM", (WANTED,)),
    Pair(WANTED, ("SIP.Example.Com",)),
    Pair(WANTED, cn=WANTED),
    Pair(WANTED, cn="SIP.example.com"),
    Pair(WANTED, cn="example.com"),
    Pair(WANTED, ("x.example.org",), cn=WANTED),
    Pair(WANTED, (WANTED,), cn="x.example.org"),
    Pair(WANTED, cn=WANTED, uris=("https://x.example.org/",)),
    Pair(WANTED, cn=WANTED, uris=("sip:x.example.org",)),
    Pair(WANTED, cn=WANTED, uris=("sip:sip.example.com",)),
    Pair(WANTED, uris=("sip:sip.example.com",)),
    Pair(WANTED, uris=("sips:sip.example.com",)),
    Pair(WANTED, (WANTED,), uris=("sip:example.org",)),
    Pair(WANTED, (WANTED,), uris=("sip:example.org:5061",)),
    Pair(WANTED, (WANTED,), uris=("urn:x",)),
    Pair("pbx", ("pbx",)),
    Pair("pbx", cn="pbx"),
    Pair("5061", ("5061",)),
    Pair("pbx.1", ("pbx.1",)),
    Pair("a_b.example.com", ("a_b.example.com",)),
    Pair("sip-.example.com", ("sip-.example.com",)),
    Pair("-sip.example.com", ("-sip.example.com",)),
    # NUL, blanks, what is no host name
    Pair(WANTED, ("sip.example.com\0.evil.org",)),
    Pair(WANTED, cn="sip.example.com\0.evil.org"),
    Pair("sip.example.com\0", (WANTED,)),
    Pair(WANTED, ("sip.example.com ",)),
    Pair(WANTED, (" sip.example.com",)),
    Pair(WANTED, cn="sip.example.com "),
    Pair("sip.example.com ", (WANTED,)),
    Pair(WANTED, ("sip.example.com", "")),
    Pair("a b.example.com", ("a b.example.com",)),
    Pair("sip.example.com:5061", (WANTED,)),
    Pair("sip:sip.example.com", (WANTED,)),
)


def drawn(count: int) -> Iterator[Pair]:
    """Pairs with a seed: names of few labels, bent in ways that make near misses."""
    dice = random.Random(2818)
    labels = ("sip", "pbx", "a", "example", "com", "s_b", "x-1", "7", "xn--bcher-kva")
    bends: tuple[Callable[[str], str], ...] = (
        lambda name: name,
        lambda name: name,
        str.upper,
        lambda name: f"a.{name}",
        lambda name: name.partition(".")[2] or name,
        lambda name: f"*.{name.partition('.')[2]}",
        lambda name: f"*.{name.partition('.')[2]}",
        lambda name: f"*.{name}",
        lambda name: f"{name[:1]}*{name[2:]}",
        lambda name: f"{name}.",
        lambda name: name.replace(".", ".*.", 1),
        lambda name: f"{name[:-1]}x",
    )
    for _ in range(count):
        wanted = ".".join(dice.choices(labels, k=dice.choice((1, 2, 3, 3, 3, 4))))
        dns = tuple(dice.choice(bends)(wanted) for _ in range(dice.choice((0, 1, 1, 2, 3))))
        uris = (f"sip:{dice.choice(bends[:6])(wanted)}".replace("*.", ""),) if dice.random() < 0.2 else ()
        ips = ("192.0.2.1",) if dice.random() < 0.1 else ()
        cn = dice.choice(("", "", wanted, dice.choice(bends)(wanted)))[:64]
        yield Pair(dice.choice((wanted, wanted, wanted, wanted.upper(), f"{wanted}.")), dns, cn, uris, ips)


PAIRS = tuple(dict.fromkeys((*HAND_PICKED, *drawn(420))))


MUTABLE = tuple(
    issued(*names).certificate.public_bytes(Encoding.DER)
    for names in (
        (("sip.example.com", "*.example.com"), "sip.example.com", (), ()),
        ((), "sip.example.com", ("sip:sip.example.com", "urn:x"), ("192.0.2.1", "2001:db8::1")),
        ((), "sip.example.com", (), ()),
    )
)

# The others. Each says True or False; what it raises about a name is its way to say no.


def python_ssl(pair: Pair, *, common_name: bool) -> bool:
    """A real handshake of Python's `ssl` with check_hostname, in memory, with a server of pyOpenSSL."""
    shown = issued(*pair[1:])
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(shown.certificate)
    context.use_privatekey(shown.key)
    server = SSL.Connection(context)
    server.set_accept_state()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client = client_context(common_name).wrap_bio(incoming, outgoing, server_hostname=pair.wanted)
    except (ValueError, TypeError):  # no name, one without an ASCII form, one with a NUL
        return False
    for _ in range(3):
        try:
            client.do_handshake()
            return True
        except ssl.SSLWantReadError:
            server.bio_write(outgoing.read())
        except ssl.SSLCertVerificationError as error:
            if error.verify_code not in (62, 64):  # the name, the address
                raise
            return False
        try:
            server.do_handshake()
        except SSL.WantReadError:
            pass
        incoming.write(server.bio_read(1 << 16))
    raise AssertionError("the handshake did not end")


@lru_cache
def client_context(common_name: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=AUTHORITY.pem.decode("ascii"))
    context.hostname_checks_common_name = common_name
    return context


def service(pair: Pair) -> bool:
    """service-identity, whose rule for host names is RFC 6125 without the Common Name, which is RFC 9525."""
    certificate = issued(*pair[1:]).certificate
    try:
        # Non-ASCII names need the package idna; the ASCII form is the same name.
        asked = pair.wanted if pair.wanted.isascii() else parse_reference(pair.wanted).dns or ""
        if parse_reference(pair.wanted).ip is not None:
            verify_certificate_ip_address(certificate, pair.wanted.strip("[]"))
        else:
            verify_certificate_hostname(certificate, asked)
    except (service_identity.VerificationError, service_identity.CertificateError, ValueError):
        return False
    return True


def cryptography_x509(pair: Pair) -> bool:
    """The verifier of `cryptography`, written in Rust, with the whole chain."""
    wanted = parse_reference(pair.wanted)
    subject: x509.DNSName | x509.IPAddress
    try:
        subject = x509.DNSName(pair.wanted) if wanted.ip is None else x509.IPAddress(ip_address(wanted.ip))
        verifier = PolicyBuilder().store(Store([AUTHORITY.certificate])).build_server_verifier(subject)
        verifier.verify(issued(*pair[1:]).certificate, [])
    except (VerificationError, ValueError):
        return False
    return True


def ours(rule: Rule, pair: Pair) -> bool:
    return rule(presented(pair), pair.wanted) is None


def presented(pair: Pair) -> PresentedNames:
    return presented_names(issued(*pair[1:]).certificate.public_bytes(Encoding.DER))


# Where they differ, and why.


class Difference(NamedTuple):
    """A kind of pair on which another implementation answers otherwise."""

    why: str
    accepts: bool
    """What the other answers; our rule answers the opposite."""
    applies: Callable[[Pair], bool]


def entries(pair: Pair) -> tuple[str, ...]:
    return (*pair.dns, *([pair.cn] if pair.cn else []))


def behind(pair: Pair) -> str:
    return pair.wanted.lower().removesuffix(".").partition(".")[2]


def dot_at_the_end(pair: Pair) -> bool:
    return any(name.endswith(".") for name in (pair.wanted, *entries(pair)))


def no_host_name(pair: Pair) -> bool:
    return parse_reference(pair.wanted) == (None, None)


DOT = Difference(
    "compares a dot at the end as text; ours takes the name for the same, RFC 1034 section 3.1", False, dot_at_the_end
)
UNCHECKED = Difference(
    "compares what is no host name as text, and maps ß to ss by IDNA 2003; ours matches nothing then",
    True,
    no_host_name,
)
BRACKETS = Difference("takes an IPv6 address without brackets only", False, lambda pair: pair.wanted.startswith("["))
TOP = Difference(
    "wants two labels behind a wildcard; RFC 9525 section 6.3 sets no number",
    False,
    lambda pair: "." not in behind(pair) and any(name.lower() == f"*.{behind(pair)}" for name in entries(pair)),
)
UNDERSCORE = Difference(
    "lets a wildcard stand only for and before letters, digits and hyphens",
    False,
    lambda pair: "_" in pair.wanted and any(name.startswith("*.") for name in entries(pair)),
)

URI = Difference(
    "knows no URI-ID, which RFC 6125 section 6.2.1 has a SIP client look for",
    False,
    lambda pair: f"sip:{pair.wanted}".lower() in map(str.lower, pair.uris),
)
CN_BESIDE = Difference(
    "takes the Common Name beside a URI; RFC 6125 section 6.4.4 only where there is no identifier that it knows",
    True,
    lambda pair: bool(pair.uris) and not pair.dns and pair.cn.lower() == pair.wanted.lower(),
)
PARTIAL = Difference(
    "takes `*` for the whole left-most label only; RFC 2818 section 3.1 takes it for a part, and does not say which label",
    False,
    lambda pair: any(
        "*" in name.replace("*.", "", 1) if name.startswith("*.") else "*" in name for name in entries(pair)
    ),
)
ADDRESS = Difference(
    "is asked by Python about addresses too; libre does not ask OpenSSL about them",
    False,
    lambda pair: parse_reference(pair.wanted).ip is not None,
)
INVALID = Difference(
    "refuses the whole certificate for one entry that it finds invalid, such as `*.com`; ours passes over it or takes it",
    False,
    lambda pair: (
        any(
            name.count("*") > 1 or ("*" in name and not re.match(r"[^.]*\*[^.]*\.[^.]+\.[^.]", name))
            for name in pair.dns
        )
        or "" in pair.dns
        or any(uri.count(":") > 1 for uri in pair.uris)
    ),
)
A_LABEL = Difference(
    "lets no wildcard stand for an A-label; RFC 9525 section 6.3 forbids it only within one",
    False,
    lambda pair: pair.wanted.lower().startswith("xn--") and f"*.{behind(pair)}" in map(str.lower, pair.dns),
)
NUMBER = Difference("takes a number for an address", False, lambda pair: any(name.isdigit() for name in pair.dns))
BLANK = Difference("strips blanks off an entry", True, lambda pair: any(name != name.strip() for name in pair.dns))
ASCII_ONLY = Difference("wants the ASCII form of a name", False, lambda pair: not pair.wanted.isascii())
NO_UNDERSCORE = Difference("takes no name with an underscore", False, lambda pair: "_" in pair.wanted)
HYPHEN = Difference("takes no label that ends in a hyphen", False, lambda pair: "-." in pair.wanted)


class Other(NamedTuple):
    """Another implementation, the rule of ours that it means to be, and all ways in which it is not."""

    accepts: Callable[[Pair], bool]
    rule: Rule
    differences: tuple[Difference, ...]


OTHERS = {
    "ssl as OpenSSL's rule": Other(
        lambda pair: python_ssl(pair, common_name=True), clients.openssl, (ADDRESS, UNCHECKED)
    ),
    "ssl as RFC 9525": Other(
        lambda pair: python_ssl(pair, common_name=False),
        names.rfc9525,
        (DOT, UNCHECKED, BRACKETS, TOP, UNDERSCORE),
    ),
    "ssl as RFC 6125": Other(
        lambda pair: python_ssl(pair, common_name=True),
        names.rfc6125,
        (DOT, UNCHECKED, BRACKETS, TOP, UNDERSCORE, URI, CN_BESIDE),
    ),
    "ssl as RFC 2818": Other(
        lambda pair: python_ssl(pair, common_name=True),
        names.rfc2818,
        (DOT, UNCHECKED, BRACKETS, TOP, UNDERSCORE, PARTIAL),
    ),
    "service-identity as RFC 9525": Other(service, names.rfc9525, (DOT, UNCHECKED, INVALID, A_LABEL, NUMBER, BLANK)),
    "cryptography as RFC 9525": Other(cryptography_x509, names.rfc9525, (DOT, ASCII_ONLY, NO_UNDERSCORE, HYPHEN)),
}


@lru_cache
def answers(other: str) -> dict[Pair, tuple[bool, bool]]:
    """Theirs and ours."""
    accepts, rule, _ = OTHERS[other]
    return {pair: (accepts(pair), ours(rule, pair)) for pair in PAIRS}


@pytest.mark.parametrize("other", OTHERS)
def test_rule_agrees_wherever_it_is_the_same(other: str) -> None:
    unexplained = [
        f"theirs {theirs}, ours {our}: {pair}"
        for pair, (theirs, our) in answers(other).items()
        if theirs is not our
        and not any(one.accepts is theirs and one.applies(pair) for one in OTHERS[other].differences)
    ]
    assert not unexplained
    agreed = [theirs for theirs, our in answers(other).values() if theirs is our]
    assert len(agreed) >= 300
    assert agreed.count(True) >= 100
    assert agreed.count(False) >= 100


@pytest.mark.parametrize(
    ("other", "difference"),
    [(other, difference) for other, one in OTHERS.items() for difference in one.differences],
    ids=lambda value: value.why[:40] if isinstance(value, Difference) else None,
)
def test_difference_is_there(other: str, difference: Difference) -> None:
    """A difference that no pair shows any more, or that another explains as well, has to leave the list."""
    rest = [one for one in OTHERS[other].differences if one is not difference]
    assert [
        str(pair)
        for pair, (theirs, our) in answers(other).items()
        if theirs is not our and not any(one.accepts is theirs and one.applies(pair) for one in rest)
    ], difference.why


def test_pairs_are_many_and_each_is_a_certificate_of_its_own_or_another_name() -> None:
    assert len(PAIRS) == len(set(PAIRS)) >= 500
    assert len({pair[1:] for pair in PAIRS}) >= 300


# Fuzz: what the names of a certificate may hold.


@settings(deadline=None, max_examples=400, derandomize=True)
@given(st.data())
def test_mutated_names_raise_nothing_but_a_value_error(data: st.DataObject) -> None:
    """Octets of the subject and the subjectAltName are changed; the certificate stays one, or not."""
    der = bytearray(data.draw(st.sampled_from(MUTABLE)))
    for _ in range(data.draw(st.integers(1, 6))):
        # The names are where the text is; a certificate has about 500 octets.
        start = der.find(data.draw(st.sampled_from((b"\x06\x03\x55\x1d\x11", b"\x06\x03\x55\x04\x03"))))
        start = max(start, 0)
        at = data.draw(st.integers(start, min(start + 80, len(der) - 1)))
        der[at] = data.draw(st.integers(0, 255))
    try:
        found = presented_names(bytes(der))
    except ValueError:
        return
    for rule in (*names.NAME_RULES.values(), clients.pjsip, clients.openssl, clients.go, clients.rustls):
        rule(found, WANTED)
        rule(found, "192.0.2.1")
    assert str(found).isprintable()


@given(
    st.text(max_size=20),
    st.builds(
        PresentedNames,
        dns=st.tuples(st.text(max_size=20)),
        uris=st.tuples(st.text(max_size=20).map("sip:{}".format)),
        common_names=st.tuples(st.text(max_size=20)),
    ),
)
def test_no_client_rule_raises_whatever_the_names(reference: str, found: PresentedNames) -> None:
    for rule in (clients.pjsip, clients.openssl, clients.go, clients.rustls):
        problem = rule(found, reference)
        if isinstance(problem, names.NameProblem):
            assert problem.evidence.isprintable()
