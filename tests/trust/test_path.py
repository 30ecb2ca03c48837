"""The path to a trust anchor: which one was built, what was sent beside it, and the way that old phones go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import X509

from sipsua.testing.pki import CertificateAuthority, Issued, extension, self_signed
from sipsua.trust.policy import NameRule, Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Problem, Verdict
from sipsua.trust.verifier import Verification, judge

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
NAME = "sip.example.com"
ROOT = CertificateAuthority("Root")
UPPER = ROOT.intermediate("Upper")
LOWER = UPPER.intermediate("Lower")
LEAF = LOWER.issue(NAME)
STRANGER = CertificateAuthority("Stranger").certificate
UP, LOW, TOP = UPPER.certificate, LOWER.certificate, ROOT.certificate


def trust(*certificates: x509.Certificate) -> TrustList:
    return TrustList.from_pem(b"".join(one.public_bytes(Encoding.PEM) for one in certificates))


def shake(issued: Issued, sent: Sequence[x509.Certificate], policy: Policy) -> tuple[Verdict, Verification]:
    """A real handshake in memory: what the callback makes of it."""
    verification = Verification(policy, NAME, at=NOW)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    store = context.get_cert_store()
    assert store is not None
    policy.anchors.load_into(store)
    context.set_verify(SSL.VERIFY_PEER, verification.callback)
    client = SSL.Connection(context)
    client.set_connect_state()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")  # or OpenSSL would not even load the weak ones
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    for one in sent:
        context.add_extra_chain_cert(one)
    server = SSL.Connection(context)
    server.set_accept_state()
    finished = False
    for source, target in ((client, server), (server, client), (client, server)):
        try:
            source.do_handshake()
            finished = finished or source is client
        except SSL.Error:
            pass
        try:
            target.bio_write(source.bio_read(200_000))
        except SSL.WantReadError:
            pass
    verdict = verification.verdict(client.get_peer_cert_chain() or [])
    assert finished is verdict.accepted
    return verdict, verification


def both(issued: Issued, sent: Sequence[x509.Certificate], policy: Policy) -> Verdict:
    """The verdict of a handshake, which is the one offline."""
    verdict, _ = shake(issued, sent, policy)
    assert verdict == judge([issued.certificate, *sent], policy=policy, reference=NAME, at=NOW)
    return verdict


def subjects(verdict: Verdict) -> list[str]:
    return [one.subject for one in verdict.path]


def codes(problems: Sequence[Problem]) -> list[tuple[str, int]]:
    return [(str(one.code), one.index) for one in problems]


# Order and strangers


SENT = {
    "as it should be": ([LOW, UP], []),
    "the anchor sent too": ([LOW, UP, TOP], []),
    "out of order": ([UP, LOW], [("out_of_order", 1)]),
    "out of order with the anchor first": ([TOP, UP, LOW], [("out_of_order", 2)]),
    "a stranger at the end": ([LOW, UP, STRANGER], [("stranger", 3)]),
    "a stranger between": ([LOW, STRANGER, UP], [("stranger", 2)]),
    "one twice": ([LOW, UP, LOW], [("stranger", 3)]),
    "out of order with a stranger": ([UP, STRANGER, LOW], [("out_of_order", 1), ("stranger", 2)]),
}


@pytest.mark.parametrize(("sent", "warnings"), SENT.values(), ids=SENT.keys())
def test_order_and_strangers_are_warnings_of_an_accepted_chain(
    sent: list[x509.Certificate], warnings: list[tuple[str, int]]
) -> None:
    verdict = both(LEAF, sent, Policy(anchors=trust(TOP)))
    assert verdict.accepted
    assert codes(verdict.warnings) == warnings
    assert subjects(verdict) == ["CN=sip.example.com", "CN=Lower", "CN=Upper", "CN=Root"]
    assert all(one.evidence and one.fix and one.rule == "RFC 5246 7.4.2" for one in verdict.warnings)


def test_path_ends_at_the_first_anchor_and_what_lies_above_is_a_stranger() -> None:
    verdict = both(LEAF, [LOW, UP, TOP], Policy(anchors=trust(LOW)))
    assert subjects(verdict) == ["CN=sip.example.com", "CN=Lower"]
    assert verdict.anchor == "CN=Lower"
    assert codes(verdict.warnings) == [("stranger", 2), ("stranger", 3)]
    assert "CN=Lower below it is trusted by itself" in verdict.warnings[0].evidence


def test_pinned_leaf_is_its_own_path_and_anchor_whatever_is_sent_beside_it() -> None:
    for sent in ([], [LOW], [LOW, UP, TOP]):
        verdict = both(LEAF, sent, Policy(anchors=trust(LEAF.certificate)))
        assert verdict.accepted
        assert subjects(verdict) == ["CN=sip.example.com"]
        assert (verdict.anchor, verdict.anchor_list) == ("CN=sip.example.com", "custom")


def test_what_is_sent_above_a_pinned_leaf_still_has_to_be_strong() -> None:
    """So OpenSSL has it in a handshake (error 67), though the path ends at the leaf."""
    weak = ROOT.intermediate("Weak", key="rsa1024")
    leaf = weak.issue(NAME)
    verdict = both(leaf, weak.chain, Policy(anchors=trust(leaf.certificate)))
    assert codes(verdict.problems) == [("weak_key", 1)]
    assert both(leaf, [], Policy(anchors=trust(leaf.certificate))).accepted


def test_path_of_a_refused_chain_goes_as_far_as_it_leads() -> None:
    verdict = both(LEAF, [LOW], Policy(anchors=trust(TOP)))
    assert not verdict.accepted
    assert subjects(verdict) == ["CN=sip.example.com", "CN=Lower"]
    assert codes(verdict.problems) == [("unknown_issuer", 1)]
    assert verdict.anchor is None
    assert verdict.warnings == ()


def test_chain_file_that_begins_with_the_authority_is_out_of_order() -> None:
    verdict = judge([UP, LOW, LEAF.certificate], policy=Policy(anchors=trust(TOP)), reference=NAME, at=NOW)
    assert codes(verdict.warnings)[0] == ("out_of_order", 0)
    assert (
        "CN=Upper was sent first, which has to be the server's certificate, and issued CN=Lower"
        in verdict.warnings[0].evidence
    )
    assert "own certificate first" in verdict.warnings[0].fix


def test_sent_root_with_a_sha1_signature_is_nothing_to_warn_of() -> None:
    old = CertificateAuthority("Old", key="rsa", digest="sha1")
    verdict = both(old.issue(NAME), [old.certificate], Policy(anchors=trust(old.certificate)))
    assert verdict.accepted
    assert verdict.warnings == ()


# The trap of 2021: DST Root CA X3 expired, and Let's Encrypt's servers went on sending ISRG Root X1 as DST had signed it


DST = CertificateAuthority("DST Root CA X3", not_before=NOW - 2000 * DAY, not_after=NOW - DAY)
ISRG = CertificateAuthority("ISRG Root X1")
CROSS = CertificateAuthority("ISRG Root X1", issuer=DST, key=ISRG.key).certificate
R3 = ISRG.intermediate("R3")
SERVER = R3.issue(NAME)
ROOTS_2021 = trust(DST.certificate, ISRG.certificate)
LONG, SHORT = [R3.certificate, CROSS], [R3.certificate]


def test_expired_root_of_the_sent_chain_refuses_where_the_old_path_is_followed() -> None:
    verdict, verification = shake(SERVER, LONG, Policy(anchors=ROOTS_2021, legacy_path=True))
    assert not verdict.accepted
    assert verification.refusal == 10  # X509_V_ERR_CERT_HAS_EXPIRED, which goes out as certificate_expired
    assert codes(verdict.problems) == [("expired", 2)]
    problem = verdict.problems[0]
    assert "CN=DST Root CA X3 expired on" in problem.evidence
    assert "follows certificate 2 that was sent (CN=ISRG Root X1, issued by CN=DST Root CA X3)" in problem.evidence
    assert "the trusted CN=ISRG Root X1 ends a shorter way" in problem.evidence
    assert "serve the short chain: take certificate 2" in problem.fix
    assert subjects(verdict)[-1] == "CN=DST Root CA X3"
    assert verdict == judge(
        [SERVER.certificate, *LONG], policy=Policy(anchors=ROOTS_2021, legacy_path=True), reference=NAME, at=NOW
    )


def test_expired_root_of_the_sent_chain_is_no_trouble_today() -> None:
    verdict = both(SERVER, LONG, Policy(anchors=ROOTS_2021))
    assert verdict.accepted
    assert subjects(verdict) == ["CN=sip.example.com", "CN=R3", "CN=ISRG Root X1"]
    assert codes(verdict.warnings) == [("stranger", 2)]
    assert "issued by CN=DST Root CA X3, is not needed" in verdict.warnings[0].evidence


def test_short_chain_is_accepted_where_the_old_path_is_followed() -> None:
    verdict = both(SERVER, SHORT, Policy(anchors=ROOTS_2021, legacy_path=True))
    assert verdict.accepted
    assert subjects(verdict)[-1] == "CN=ISRG Root X1"


def test_old_path_takes_no_other_way_where_the_root_of_the_sent_chain_is_not_listed() -> None:
    verdict = both(SERVER, LONG, Policy(anchors=trust(ISRG.certificate), legacy_path=True))
    assert codes(verdict.problems) == [("unknown_issuer", 2)]
    assert "neither sent nor is trusted" in verdict.problems[0].evidence
    assert "take certificate 2" in verdict.problems[0].fix


def test_old_path_through_a_cross_signed_root_that_is_good_is_accepted_and_told() -> None:
    young = CertificateAuthority("Old name with a good date")
    cross = CertificateAuthority("ISRG Root X1", issuer=young, key=ISRG.key).certificate
    anchors = trust(young.certificate, ISRG.certificate)
    verdict = both(SERVER, [R3.certificate, cross], Policy(anchors=anchors, legacy_path=True))
    assert verdict.accepted
    assert verdict.anchor == "CN=Old name with a good date"
    assert subjects(verdict) == ["CN=sip.example.com", "CN=R3", "CN=ISRG Root X1", "CN=Old name with a good date"]
    assert both(SERVER, [R3.certificate, cross], Policy(anchors=anchors)).anchor == "CN=ISRG Root X1"


def test_old_path_with_a_sent_root_that_is_listed_is_accepted() -> None:
    assert both(SERVER, [R3.certificate, ISRG.certificate], Policy(anchors=ROOTS_2021, legacy_path=True)).accepted


def test_old_path_takes_a_listed_twin_for_a_sent_root() -> None:
    twin = CertificateAuthority("ISRG Root X1", key=ISRG.key, not_after=NOW + 9 * DAY).certificate
    assert both(SERVER, [R3.certificate, twin], Policy(anchors=ROOTS_2021, legacy_path=True)).accepted


def test_old_path_still_pins_a_leaf() -> None:
    own = self_signed(NAME)
    assert both(own, [], Policy(anchors=trust(own.certificate), legacy_path=True)).accepted
    assert both(SERVER, LONG, Policy(anchors=trust(SERVER.certificate), legacy_path=True)).accepted


@pytest.mark.parametrize("fault", ["expired", "name_mismatch", "self_signed"])
def test_other_faults_are_the_same_where_the_old_path_is_followed(fault: str) -> None:
    issued = {
        "expired": ROOT.issue(NAME, not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "name_mismatch": ROOT.issue("other.example.org"),
        "self_signed": self_signed(NAME),
    }[fault]
    verdict = both(issued, [], Policy(anchors=trust(TOP), legacy_path=True))
    assert codes(verdict.problems) == [(fault, 0)]
    assert verdict.problems == both(issued, [], Policy(anchors=trust(TOP))).problems


def test_callback_without_a_connection_follows_no_old_path() -> None:
    verification = Verification(Policy(anchors=trust(TOP), legacy_path=True), NAME, at=NOW)
    assert not verification.callback(None, X509.from_cryptography(LEAF.certificate), 0, 0, 1)
    assert not verification.verdict([LEAF.certificate, LOW, UP]).accepted


@pytest.mark.parametrize("sent", [[], [TOP]], ids=["alone", "with a root"])
def test_self_signed_certificate_on_the_old_path_is_named_as_such(sent: list[x509.Certificate]) -> None:
    issued = self_signed(NAME)
    verdict = both(issued, sent, Policy(anchors=trust(TOP), legacy_path=True))
    assert codes(verdict.problems) == [("self_signed", 0)]
    assert len(verdict.path) == 1


# Name constraints, beside those of DNS names


def constrained(*permitted: x509.GeneralName, excluded: Sequence[x509.GeneralName] = ()) -> CertificateAuthority:
    value = x509.NameConstraints(permitted or None, excluded or None)
    return ROOT.intermediate("Constrained", extensions=[extension(value, critical=True)])


def names(*entries: x509.GeneralName) -> list[x509.Extension[x509.ExtensionType]]:
    return [extension(x509.SubjectAlternativeName([x509.DNSName(NAME), *entries]))]


MAIL, URI = x509.RFC822Name, x509.UniformResourceIdentifier
CONSTRAINTS = {
    "mail box": (MAIL("alice@example.com"), MAIL("alice@example.com"), True),
    "another mail box": (MAIL("alice@example.com"), MAIL("bob@example.com"), False),
    "mail host": (MAIL("example.com"), MAIL("bob@EXAMPLE.com"), True),
    "another mail host": (MAIL("example.com"), MAIL("bob@sub.example.com"), False),
    "mail domain": (MAIL(".example.com"), MAIL("bob@sub.example.com"), True),
    "mail domain itself": (MAIL(".example.com"), MAIL("bob@example.com"), False),
    "URI host": (URI("example.com"), URI("https://example.com/x"), True),
    "another URI host": (URI("example.com"), URI("https://sub.example.com/x"), False),
    "URI domain": (URI(".example.com"), URI("https://sub.example.com:5061/x"), True),
    "SIP URI, which has no authority part": (URI("example.com"), URI("sip:example.com"), False),
}


@pytest.mark.parametrize(("permitted", "name", "good"), CONSTRAINTS.values(), ids=CONSTRAINTS.keys())
def test_name_constraints_of_mail_and_uris_are_as_openssl_has_them(
    permitted: x509.GeneralName, name: x509.GeneralName, good: bool
) -> None:
    authority = constrained(permitted)
    verdict = both(authority.issue(NAME, extensions=names(name)), authority.chain, Policy(anchors=trust(TOP)))
    assert codes(verdict.problems) == ([] if good else [("name_not_permitted", 0)])
    assert not any(one.evidence.startswith("OpenSSL") for one in verdict.problems)
    excluding = constrained(excluded=[permitted])
    verdict = both(excluding.issue(NAME, extensions=names(name)), excluding.chain, Policy(anchors=trust(TOP)))
    refused = good or "sip:" in str(name)
    assert codes(verdict.problems) == ([("name_not_permitted", 0)] if refused else [])


@pytest.mark.parametrize(
    ("names", "common_name"),
    [([NAME], "sip.example.org"), ([], "phone"), ([], "Desk phone of J. Doe")],
    ids=["beside a DNS name", "one label", "no host name"],
)
def test_common_names_that_openssl_takes_for_no_host_are_not_constrained(names: list[str], common_name: str) -> None:
    # Nor is that of the authority.
    lower = constrained(x509.DNSName("example.com")).intermediate("ca.example.org")
    issued = lower.issue(*names, common_name=common_name, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    verdict = both(issued, lower.chain, Policy(anchors=trust(TOP), names=NameRule.OFF))
    assert codes(verdict.problems) == [("expired", 0)]


def test_place_to_get_the_issuer_from_that_is_no_uri_is_passed_over() -> None:
    where = x509.DirectoryName(TOP.subject)
    access = x509.AuthorityInformationAccess(
        [x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, where)]
    )
    published = both(LOWER.issue(NAME, extensions=[extension(access)]), [], Policy(anchors=trust(TOP)))
    plain = both(LOWER.issue(NAME), [], Policy(anchors=trust(TOP)))
    assert [one.evidence for one in published.problems] == [one.evidence for one in plain.problems] != []


# Dead ends that are not about signatures


def test_issuer_that_the_key_identifier_does_not_mean_is_unknown_although_it_signed() -> None:
    other = x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Another issuer")]))
    meant = extension(x509.AuthorityKeyIdentifier(None, [other], 4711))
    verdict = both(ROOT.issue(NAME, extensions=[meant]), [], Policy(anchors=trust(TOP)))
    assert codes(verdict.problems) == [("unknown_issuer", 0)]
    assert "names another certificate of that name" in verdict.problems[0].evidence


def test_authority_with_extensions_that_cannot_be_read_is_malformed() -> None:
    broken = extension(x509.UnrecognizedExtension(x509.NameConstraints.oid, b"\x30\x03\x82\x01\xff"), critical=True)
    authority = ROOT.intermediate("Broken", extensions=[broken])
    verdict = both(authority.issue(NAME), authority.chain, Policy(anchors=trust(TOP)))
    assert {code for code, _ in codes(verdict.problems)} == {"malformed"}
    assert "Broken" in verdict.problems[0].evidence


def test_certificate_with_extensions_that_cannot_be_read_is_malformed_and_nothing_else() -> None:
    broken = extension(x509.UnrecognizedExtension(x509.BasicConstraints.oid, b"\x30\x03\x82\x01\xff"), critical=True)
    verdict = both(ROOT.issue(NAME, extensions=[broken]), [], Policy(anchors=trust(TOP)))
    assert codes(verdict.problems) == [("malformed", 0)]
