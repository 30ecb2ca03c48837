"""Verdicts: each fault by a real certificate, offline and in a handshake, and that both agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509

from sipsua.errors import Misuse
from sipsua.testing.pki import CertificateAuthority, Issued, extension, self_signed
from sipsua.trust import verifier
from sipsua.trust.openssl import CODES as OPENSSL_CODES
from sipsua.trust.openssl import Word
from sipsua.trust.policy import NameRule, Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Problem, ProblemCode, Verdict
from sipsua.trust.verifier import Verification, judge

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
NAME = "sip.example.com"
ROOT = CertificateAuthority("Root", key="rsa")
ROOTS = TrustList.from_pem(ROOT.pem)


def usage(*names: str) -> x509.Extension[x509.ExtensionType]:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign"
    )
    kinds = (*every.split(), "encipher_only", "decipher_only")
    return extension(x509.KeyUsage(**{kind: kind in names for kind in kinds}), critical=True)


def purposes(*oids: x509.ObjectIdentifier) -> x509.Extension[x509.ExtensionType]:
    return extension(x509.ExtendedKeyUsage(oids))


def constraints(
    permitted: Sequence[x509.GeneralName], excluded: Sequence[x509.GeneralName] = ()
) -> Iterable[x509.Extension[x509.ExtensionType]]:
    return [extension(x509.NameConstraints(permitted or None, excluded or None), critical=True)]


NO_CA = extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
UNKNOWN = extension(
    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), critical=True
)
PUBLISHED = extension(
    x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.example/i.der")
            )
        ]
    )
)


def tampered(issued: Issued) -> Issued:
    """The same certificate with another last octet in its signature."""
    der = bytearray(issued.certificate.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return replace(issued, certificate=x509.load_der_x509_certificate(bytes(der)))


@dataclass(frozen=True)
class Shaken:
    """What came of a handshake."""

    verdict: Verdict
    finished: bool
    alert: int | None


def shake(
    issued: Issued, policy: Policy, *, reference: str = NAME, sent: Sequence[x509.Certificate] | None = None
) -> Shaken:
    """A real handshake in memory, with the callback on the client's connection."""
    verification = Verification(policy, reference, at=NOW)
    alerts: list[int] = []

    def note(_connection: SSL.Connection, where: int, value: int) -> None:
        if where & SSL.SSL_CB_ALERT and where & SSL.SSL_CB_WRITE:
            alerts.append(value & 0xFF)

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    store = context.get_cert_store()
    assert store is not None
    policy.anchors.load_into(store)
    context.set_verify(SSL.VERIFY_PEER, verification.callback)
    context.set_info_callback(note)
    client = SSL.Connection(context)
    client.set_connect_state()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")  # or OpenSSL would not even load the weak ones
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    for one in issued.chain if sent is None else sent:
        context.add_extra_chain_cert(one)
    server = SSL.Connection(context)
    server.set_accept_state()
    finished = False
    for source, target in ((client, server), (server, client), (client, server)):
        try:
            source.do_handshake()
            finished = finished or source is client
        except SSL.WantReadError:
            pass
        except SSL.Error:
            pass
        try:
            target.bio_write(source.bio_read(100_000))
        except SSL.WantReadError:
            pass
    chain = client.get_peer_cert_chain() or []
    return Shaken(verification.verdict(chain), finished, alerts[0] if alerts else None)


def offline(
    issued: Issued,
    policy: Policy,
    *,
    reference: str = NAME,
    at: datetime = NOW,
    sent: Sequence[x509.Certificate] | None = None,
) -> Verdict:
    return judge(
        [issued.certificate, *(issued.chain if sent is None else sent)], policy=policy, reference=reference, at=at
    )


def codes(verdict: Verdict) -> set[str]:
    return {str(problem.code) for problem in verdict.problems}


def only(verdict: Verdict) -> Problem:
    assert len(verdict.problems) == 1, verdict.problems
    return verdict.problems[0]


@dataclass(frozen=True)
class Fault:
    """A server whose chain has one fault."""

    issued: Issued
    code: str
    index: int = 0
    anchors: TrustList = ROOTS
    sent: tuple[x509.Certificate, ...] | None = None
    alert: int = 42


def through(issuer: CertificateAuthority, **bends: object) -> Issued:
    return issuer.issue(NAME, **bends)  # type: ignore[arg-type]


def root_list(*authorities: CertificateAuthority) -> TrustList:
    return TrustList.from_pem(b"".join(authority.pem for authority in authorities))


OLD = {"not_before": NOW - 9 * DAY, "not_after": NOW - 3 * DAY}
EXPIRED_ROOT = CertificateAuthority("Old root", not_before=NOW - 9 * DAY, not_after=NOW - 3 * DAY)
WEAK_ROOT = CertificateAuthority("Weak root", key="rsa1024")
SHORT_ROOT = CertificateAuthority("Short root", path_length=0)
CLIENT_ROOT = CertificateAuthority("Client root", extensions=[purposes(ExtendedKeyUsageOID.CLIENT_AUTH)])
NO_CA_ROOT = CertificateAuthority("No root", extensions=[NO_CA])
SAME_NAME = CertificateAuthority("Root", key="rsa")
INTERMEDIATE = ROOT.intermediate("Intermediate")
LOWER = INTERMEDIATE.intermediate("Lower")
EXAMPLE_ORG = constraints([x509.DNSName("example.org")])
SELF_SIGNED = self_signed(NAME)

FAULTS = {
    "expired leaf": Fault(through(ROOT, **OLD), "expired", alert=45),
    "expired intermediate": Fault(
        through(ROOT.intermediate("I", not_before=NOW - 9 * DAY, not_after=NOW - 3 * DAY)), "expired", 1, alert=45
    ),
    "expired root": Fault(through(EXPIRED_ROOT), "expired", 0, root_list(EXPIRED_ROOT), alert=45),
    "leaf of the future": Fault(through(ROOT, not_before=NOW + DAY), "not_yet_valid"),
    "self-signed leaf": Fault(SELF_SIGNED, "self_signed", alert=48),
    "self-signed leaf that is a CA": Fault(self_signed(NAME, ca=True), "self_signed", alert=48),
    "issuer nobody knows": Fault(through(CertificateAuthority("Stranger")), "unknown_issuer", alert=48),
    "root sent but not listed": Fault(
        through(INTERMEDIATE), "unknown_issuer", 2, TrustList.empty(), (INTERMEDIATE.certificate, ROOT.certificate), 48
    ),
    "root of the same name with another key": Fault(through(ROOT), "unknown_issuer", 0, root_list(SAME_NAME), alert=48),
    "intermediate missing, published": Fault(
        through(INTERMEDIATE, extensions=[PUBLISHED]), "incomplete_chain", sent=(), alert=48
    ),
    "intermediate missing in the middle": Fault(
        through(LOWER), "incomplete_chain", sent=(INTERMEDIATE.certificate,), alert=48
    ),
    "intermediate missing, not published": Fault(through(INTERMEDIATE), "unknown_issuer", sent=(), alert=48),
    "leaf for clients only": Fault(ROOT.issue(NAME, purposes=["client"]), "wrong_purpose", alert=43),
    "leaf for any purpose": Fault(
        through(ROOT, extensions=[purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)]), "wrong_purpose", alert=43
    ),
    "leaf that may only sign CRLs": Fault(through(ROOT, extensions=[usage("crl_sign")]), "wrong_purpose", alert=43),
    "intermediate for clients only": Fault(
        through(ROOT.intermediate("I", extensions=[purposes(ExtendedKeyUsageOID.CLIENT_AUTH)])),
        "wrong_purpose",
        1,
        alert=43,
    ),
    "root for clients only": Fault(through(CLIENT_ROOT), "wrong_purpose", 0, root_list(CLIENT_ROOT), alert=43),
    "intermediate that is no CA": Fault(through(ROOT.intermediate("I", extensions=[NO_CA])), "not_a_ca", 1, alert=48),
    "intermediate without basic constraints": Fault(
        through(ROOT.intermediate("I", omit=[x509.BasicConstraints.oid])), "not_a_ca", 1, alert=48
    ),
    "intermediate that may not sign": Fault(
        through(ROOT.intermediate("I", extensions=[usage("crl_sign")])), "not_a_ca", 1, alert=48
    ),
    "root that is no CA": Fault(through(NO_CA_ROOT), "not_a_ca", 0, root_list(NO_CA_ROOT), alert=48),
    "one intermediate too many": Fault(
        through(SHORT_ROOT.intermediate("I")), "path_too_long", 1, root_list(SHORT_ROOT), alert=48
    ),
    "DNS name not permitted": Fault(
        through(ROOT.intermediate("I", extensions=EXAMPLE_ORG)), "name_not_permitted", alert=46
    ),
    "DNS name excluded": Fault(
        through(ROOT.intermediate("I", extensions=constraints([], [x509.DNSName("example.com")]))),
        "name_not_permitted",
        alert=46,
    ),
    "common name not permitted": Fault(
        ROOT.intermediate("I", extensions=EXAMPLE_ORG).issue(common_name=NAME), "name_not_permitted", alert=46
    ),
    "URI not permitted": Fault(
        ROOT.intermediate("I", extensions=constraints([x509.UniformResourceIdentifier("example.org")])).issue(
            NAME, uris=["sip:sip.example.com"]
        ),
        "name_not_permitted",
        alert=46,
    ),
    "unknown critical extension": Fault(through(ROOT, extensions=[UNKNOWN]), "unknown_critical_extension", alert=46),
    "unknown critical extension of an intermediate": Fault(
        through(ROOT.intermediate("I", extensions=[UNKNOWN])), "unknown_critical_extension", 1, alert=46
    ),
    "bad signature on the leaf": Fault(tampered(through(ROOT)), "bad_signature", alert=51),
    "weak key of the leaf": Fault(through(ROOT, key="rsa1024"), "weak_key"),
    "weak key of the root": Fault(through(WEAK_ROOT), "weak_key", 0, root_list(WEAK_ROOT)),
    "weak signature on the leaf": Fault(through(ROOT, digest="sha1"), "weak_signature"),
    "weak signature on the intermediate": Fault(through(ROOT.intermediate("I", digest="sha1")), "weak_signature", 1),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_fault_is_named_offline_and_refused_alike_in_a_handshake(fault: Fault) -> None:
    policy = Policy(anchors=fault.anchors)
    verdict = offline(fault.issued, policy, sent=fault.sent)
    assert not verdict.accepted
    assert not verdict.verified
    assert codes(verdict) == {fault.code}
    assert verdict.problems[0].index == fault.index
    # What we can only quote we have not explained.
    assert not any(one.evidence.startswith("OpenSSL refuses") for one in verdict.problems)
    assert all(one.index < len(verdict.chain) and one.rule and one.evidence and one.fix for one in verdict.problems)
    shaken = shake(fault.issued, policy, sent=fault.sent)
    assert not shaken.finished
    assert shaken.alert == fault.alert
    assert shaken.verdict == verdict


GOOD = {
    "leaf of a root": (through(ROOT), ROOTS),
    "leaf of an intermediate": (through(LOWER), ROOTS),
    "leaf without extended key usage": (ROOT.issue(NAME, purposes=[]), ROOTS),
    "leaf with a P-384 key": (through(ROOT, key="ec384"), ROOTS),
    "leaf with an RSA key of 1976 bits": (through(ROOT, key="rsa1976"), ROOTS),
    "root with a SHA-1 signature": (
        (old := CertificateAuthority("Old", key="rsa", digest="sha1")).issue(NAME),
        root_list(old),
    ),
    "intermediate as anchor": (through(INTERMEDIATE), root_list(INTERMEDIATE)),
    "self-signed leaf as anchor": (SELF_SIGNED, TrustList.from_pem(SELF_SIGNED.certificate_pem)),
    "leaf with a SHA-1 signature as anchor": (
        (pinned := through(ROOT, digest="sha1")),
        TrustList.from_pem(pinned.certificate_pem),
    ),
    "names permitted": (
        ROOT.intermediate("I", extensions=constraints([x509.DNSName("example.com")])).issue(NAME),
        ROOTS,
    ),
    "as many intermediates as allowed": (
        (one := CertificateAuthority("One", path_length=1)).intermediate("I").issue(NAME),
        root_list(one),
    ),
    "key agreement only": (through(ROOT, extensions=[usage("key_agreement")]), ROOTS),
    "root sent too": (replace(through(INTERMEDIATE), chain=(INTERMEDIATE.certificate, ROOT.certificate)), ROOTS),
    "something else sent too": (replace(through(ROOT), chain=(CertificateAuthority("Stranger").certificate,)), ROOTS),
}


@pytest.mark.parametrize(("issued", "anchors"), GOOD.values(), ids=GOOD.keys())
def test_good_chain_is_accepted_offline_and_in_a_handshake(issued: Issued, anchors: TrustList) -> None:
    policy = Policy(anchors=anchors)
    verdict = offline(issued, policy)
    assert verdict.problems == ()
    assert verdict.accepted
    assert verdict.verified
    shaken = shake(issued, policy)
    assert shaken.finished
    assert shaken.alert is None
    assert shaken.verdict == verdict


@pytest.mark.parametrize("rule", NameRule)
def test_name_is_checked_by_the_rule_of_the_policy(rule: NameRule) -> None:
    policy = Policy(anchors=ROOTS, names=rule)
    issued = ROOT.issue("other.example.org")
    shaken = shake(issued, policy)
    assert shaken.finished is (rule is NameRule.OFF)
    assert shaken.verdict == offline(issued, policy)
    if rule is not NameRule.OFF:
        assert shaken.verdict.name_only
        assert only(shaken.verdict).code is ProblemCode.NAME_MISMATCH
        assert "DNS:sip.example.com" in only(shaken.verdict).fix


def test_wildcard_that_the_rule_refuses_is_its_own_code() -> None:
    verdict = shake(ROOT.issue("*.example.com"), Policy(anchors=ROOTS, names=NameRule.RFC5922)).verdict
    assert only(verdict).code is ProblemCode.WILDCARD_REFUSED


def test_certificate_without_a_name_that_counts_is_its_own_code() -> None:
    verdict = shake(ROOT.issue(common_name=NAME), Policy(anchors=ROOTS, names=NameRule.RFC9525)).verdict
    assert only(verdict).code is ProblemCode.NO_USABLE_NAME


def test_all_faults_are_named_at_once() -> None:
    issued = ROOT.intermediate("I", digest="sha1", extensions=[*EXAMPLE_ORG]).issue(
        "sip.example.net",
        key="rsa1024",
        purposes=["client"],
        not_before=NOW - 9 * DAY,
        not_after=NOW - DAY,
        extensions=[UNKNOWN],
    )
    policy = Policy(anchors=ROOTS)
    expected = {
        *("expired", "weak_key", "weak_signature", "wrong_purpose", "unknown_critical_extension", "name_not_permitted"),
        "name_mismatch",
    }
    assert codes(offline(issued, policy)) == expected
    assert shake(issued, policy).verdict == offline(issued, policy)


def test_unlisted_issuer_hides_no_other_fault() -> None:
    issued = CertificateAuthority("Stranger").issue(
        "x.example.org", key="rsa1024", not_before=NOW - 9 * DAY, not_after=NOW - DAY
    )
    assert codes(offline(issued, Policy(anchors=ROOTS))) == {"unknown_issuer", "expired", "weak_key", "name_mismatch"}


def test_accepted_verdict_says_which_anchor_and_list() -> None:
    anchors = TrustList.union(TrustList.from_pem(ROOT.pem, origin="built-in"), root_list(SAME_NAME))
    verdict = shake(through(INTERMEDIATE), Policy(anchors=anchors)).verdict
    assert (verdict.anchor, verdict.anchor_list) == ("CN=Root", "built-in")
    assert [one.subject for one in verdict.chain] == ["CN=sip.example.com", "CN=Intermediate"]
    assert verdict.policy == "rfc2818, 2 trust anchors"
    assert verdict.reference == NAME


def test_phones_that_saw_the_same_share_one_verdict() -> None:
    issued = through(INTERMEDIATE)
    verdicts = [shake(issued, Policy(anchors=ROOTS)).verdict for _ in range(3)]
    assert verdicts[0] is verdicts[1] is verdicts[2]


def test_certificate_is_described() -> None:
    issued = ROOT.issue(NAME, "192.0.2.1", uris=["sip:example.com"])
    described = offline(issued, Policy(anchors=ROOTS)).chain[0]
    assert described.subject == "CN=sip.example.com"
    assert described.issuer == "CN=Root"
    assert described.names == ("DNS:sip.example.com", "IP:192.0.2.1", "URI:sip:example.com")
    assert described.key == "EC P-256"
    assert described.signature == "sha256WithRSAEncryption"
    assert described.serial == format(issued.certificate.serial_number, "x")
    assert described.not_after == issued.certificate.not_valid_after_utc
    assert described.der == issued.certificate.public_bytes(Encoding.DER)
    assert len(described.fingerprint) == 64


def test_dates_are_judged_at_the_time_that_is_given() -> None:
    issued = through(ROOT)
    end = issued.certificate.not_valid_after_utc
    policy = Policy(anchors=ROOTS)
    verdict = offline(issued, policy, at=end + timedelta(seconds=2))
    assert "expired" in codes(verdict)
    assert f"{end:%Y-%m-%d %H:%M:%S}" in verdict.problems[0].evidence
    assert offline(issued, policy, at=end - timedelta(seconds=2)).accepted
    zone = datetime.fromisoformat("2020-01-01T00:00:00+09:00")
    assert codes(offline(issued, policy, at=zone)) == {"not_yet_valid"}


def test_first_and_last_second_are_as_openssl_has_them() -> None:
    first, last = NOW.replace(microsecond=0) + DAY, NOW.replace(microsecond=0) + 2 * DAY
    issued = through(ROOT, not_before=first, not_after=last)
    policy = Policy(anchors=ROOTS)
    assert offline(issued, policy, at=first).accepted
    assert offline(issued, policy, at=last).accepted
    assert codes(offline(issued, policy, at=first - timedelta(seconds=1))) == {"not_yet_valid"}
    assert codes(offline(issued, policy, at=last + timedelta(seconds=1))) == {"expired"}
    half = timedelta(microseconds=500_000)
    assert codes(offline(issued, Policy(anchors=TrustList.empty()), at=last + half)) == {"unknown_issuer"}


def test_time_without_a_zone_is_misuse() -> None:
    with pytest.raises(Misuse, match="time zone"):
        offline(through(ROOT), Policy(anchors=ROOTS), at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_evidence_for_another_key_of_the_same_name_says_so() -> None:
    problem = only(offline(through(ROOT), Policy(anchors=root_list(SAME_NAME))))
    assert "same name but another key is trusted" in problem.evidence


def test_evidence_of_an_incomplete_chain_says_where_the_rest_is() -> None:
    problem = only(offline(FAULTS["intermediate missing, published"].issued, Policy(anchors=ROOTS), sent=()))
    assert "http://ca.example/i.der" in problem.evidence
    assert "chain file" in problem.fix


def test_signature_of_an_unlisted_twin_without_key_identifiers_is_bad() -> None:
    issued = through(ROOT, omit=[x509.AuthorityKeyIdentifier.oid])
    fault = Policy(anchors=root_list(SAME_NAME))
    assert codes(offline(issued, fault)) == {"bad_signature"}
    assert shake(issued, fault).verdict == offline(issued, fault)


def test_p192_key_is_weak_offline() -> None:
    issued = through(ROOT, key=ec.generate_private_key(ec.SECP192R1()))
    assert codes(offline(issued, Policy(anchors=ROOTS))) == {"weak_key"}


def test_any_certificate_is_accepted_but_not_verified_and_its_faults_are_listed() -> None:
    policy = Policy(anchors=TrustList.empty(), dangerous_accept_any_certificate=True)
    issued = self_signed("x.example.org", key="rsa1024", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    shaken = shake(issued, policy)
    assert shaken.finished
    assert shaken.verdict.accepted
    assert not shaken.verdict.verified
    assert codes(shaken.verdict) == {"self_signed", "expired", "weak_key", "name_mismatch"}
    assert shaken.verdict == offline(issued, policy)


def test_good_certificate_is_not_verified_where_any_is_accepted() -> None:
    verdict = shake(through(ROOT), Policy(anchors=ROOTS, dangerous_accept_any_certificate=True)).verdict
    assert verdict.accepted
    assert not verdict.verified
    assert verdict.problems == ()


def test_chain_as_bytes_and_as_objects_of_both_libraries_is_the_same() -> None:
    issued = through(ROOT)
    der = issued.certificate.public_bytes(Encoding.DER)
    policy = Policy(anchors=ROOTS)
    verdicts = [
        judge([one], policy=policy, reference=NAME, at=NOW)
        for one in (der, issued.certificate, X509.from_cryptography(issued.certificate))
    ]
    assert verdicts[0] == verdicts[1] == verdicts[2]


def test_empty_chain_is_malformed() -> None:
    assert only(judge([], policy=Policy(anchors=ROOTS), reference=NAME, at=NOW)).code is ProblemCode.MALFORMED


@pytest.mark.parametrize("garbage", [b"", b"\0", b"garbage", b"\x30\x80", b"\x30\x82\xff\xff" + b"\0" * 50])
def test_garbage_is_malformed_and_keeps_its_place(garbage: bytes) -> None:
    leaf = through(ROOT).certificate.public_bytes(Encoding.DER)
    first = judge([garbage, leaf], policy=Policy(anchors=ROOTS), reference=NAME, at=NOW)
    assert only(first).code is ProblemCode.MALFORMED
    assert first.chain[0].subject == "(unreadable)"
    assert first.chain[1].subject == "CN=sip.example.com"
    second = judge([leaf, garbage], policy=Policy(anchors=ROOTS), reference=NAME, at=NOW)
    assert (only(second).code, only(second).index) == (ProblemCode.MALFORMED, 1)
    assert first.as_json()["problems"][0]["code"] == "malformed"


def test_octets_after_the_certificate_are_malformed() -> None:
    der = through(ROOT).certificate.public_bytes(Encoding.DER) + b"\0"
    assert codes(judge([der], policy=Policy(anchors=ROOTS), reference=NAME, at=NOW)) == {"malformed"}


def test_unreadable_subject_alternative_name_is_malformed_in_both() -> None:
    broken = extension(x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01\xff"))
    issued = through(ROOT, extensions=[broken])
    policy = Policy(anchors=ROOTS)
    assert codes(offline(issued, policy)) == {"malformed"}
    shaken = shake(issued, policy)
    assert not shaken.finished
    assert codes(shaken.verdict) == {"malformed"}


@pytest.mark.parametrize(
    "arguments",
    [
        (None, None, 0, 0, 1),
        (None, object(), 0, 0, 1),
        (None, None, None, None, 0),
        ("x", "y", "z", "depth", "ok"),
        (None, None, 10**9, 10**9, 0),
    ],
)
def test_callback_refuses_rubbish_and_never_raises(arguments: tuple[object, ...]) -> None:
    verification = Verification(Policy(anchors=ROOTS), NAME, at=NOW)
    assert verification.callback(*arguments) is False  # type: ignore[arg-type]
    verdict = verification.verdict(None)
    assert not verdict.accepted
    assert "malformed" in codes(verdict)


def test_handshake_without_a_verified_certificate_is_not_accepted() -> None:
    verdict = Verification(Policy(anchors=ROOTS), NAME, at=NOW).verdict([through(ROOT).certificate])
    assert not verdict.accepted
    assert "before the certificate was verified" in only(verdict).evidence


def test_refusal_that_cannot_be_seen_afterwards_keeps_the_words_of_openssl() -> None:
    verification = Verification(Policy(anchors=ROOTS), NAME, at=NOW)
    leaf = through(ROOT).certificate
    assert not verification.callback(None, X509.from_cryptography(leaf), 9, 0, 0)
    problem = only(verification.verdict([leaf]))
    assert problem.code is ProblemCode.NOT_YET_VALID
    assert "error 9" in problem.evidence


def test_refusal_stays_whatever_comes_after() -> None:
    verification = Verification(Policy(anchors=ROOTS), NAME, at=NOW)
    leaf = X509.from_cryptography(through(ROOT).certificate)
    assert verification.callback(None, leaf, 0, 0, 1)
    assert not verification.callback(None, leaf, 47, 0, 0)
    assert not verification.callback(None, leaf, 0, 0, 1)
    assert not verification.verdict([leaf]).accepted


def test_every_error_of_openssl_has_a_code() -> None:
    words = [lib.X509_verify_cert_error_string(errno) for errno in range(1, 256)]
    texts = {errno: ffi.string(text).decode() for errno, text in enumerate(words, 1)}
    known = {errno for errno, text in texts.items() if not text.startswith("unknown certificate verification error")}
    assert known == set(OPENSSL_CODES)


@pytest.mark.parametrize("errno", OPENSSL_CODES)
def test_error_of_openssl_that_we_do_not_see_is_still_explained(errno: int, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = through(ROOT)
    built = tuple(one.public_bytes(Encoding.DER) for one in (issued.certificate, ROOT.certificate))
    monkeypatch.setattr(verifier, "word", lambda *arguments: Word(built, errno))
    assert only(offline(issued, Policy(anchors=ROOTS))).code is OPENSSL_CODES[errno]


LEAF_DER = through(INTERMEDIATE).certificate.public_bytes(Encoding.DER)
INTERMEDIATE_DER = INTERMEDIATE.certificate.public_bytes(Encoding.DER)


@settings(max_examples=400, deadline=None)
@given(
    which=st.integers(0, 1),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 2000),
)
def test_changed_octets_never_raise_and_are_never_accepted(which: int, edits: list[tuple[int, int]], cut: int) -> None:
    ders = [bytearray(LEAF_DER), bytearray(INTERMEDIATE_DER)]
    original = [bytes(one) for one in ders]
    for position, value in edits:
        ders[which][position % len(ders[which])] = value
    if cut % 4 == 0:
        del ders[which][cut % len(ders[which]) :]
    chain = [bytes(one) for one in ders]
    verdict = judge(chain, policy=Policy(anchors=ROOTS), reference=NAME, at=NOW)
    assert verdict.accepted is (chain == original)
    assert all(one.index < len(verdict.chain) and one.evidence for one in verdict.problems)


@settings(max_examples=100, deadline=None)
@given(chain=st.lists(st.binary(max_size=200), max_size=4))
def test_random_octets_never_raise(chain: list[bytes]) -> None:
    assert not judge(chain, policy=Policy(anchors=ROOTS), reference=NAME, at=NOW).accepted


def test_many_certificates_of_the_same_name_do_not_exhaust_us() -> None:
    twins = [CertificateAuthority("Twin").certificate for _ in range(200)]
    leaf = CertificateAuthority("Twin").issue(NAME)
    assert not offline(leaf, Policy(anchors=ROOTS), sent=twins).accepted
