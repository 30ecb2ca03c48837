"""Revocation by CRL and by stapled response: every answer and every fault, in a real handshake and offline alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509

from sipsua.testing.pki import CertificateAuthority, Issued, extension, self_signed
from sipsua.testing.revocation import MUST_STAPLE, crl, delegate, ocsp_response
from sipsua.trust.certificate import Parsed
from sipsua.trust.crl import CrlList
from sipsua.trust.ocsp import staple_problems
from sipsua.trust.policy import NameRule, Policy, Revocation
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Problem, ProblemCode, Verdict
from sipsua.trust.verifier import Verification, judge

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
NAME = "sip.example.com"
ROOT = CertificateAuthority("Root", key="rsa")
ROOTS = TrustList.from_pem(ROOT.pem)
ISSUER = ROOT.intermediate("Issuer")
LEAF = ISSUER.issue(NAME)
OTHER = ISSUER.issue(NAME)
PROMISING = ISSUER.issue(NAME, extensions=[MUST_STAPLE])
STRANGER = CertificateAuthority("Stranger")
ISSUER_CRL = crl(ISSUER)
ROOT_CRL = crl(ROOT)


@dataclass(frozen=True)
class Shaken:
    """What came of a handshake."""

    verdict: Verdict
    accepted: bool
    errors: list[int] = field(default_factory=list)


def shake(
    issued: Issued,
    policy: Policy,
    *,
    sent: Sequence[x509.Certificate] | None = None,
    response: bytes = b"",
    reference: str = NAME,
) -> Shaken:
    """A real handshake in memory, driven as `net.tls` does: CRLs in the store, the staple judged after the chain."""
    verification = Verification(policy, reference, at=NOW)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if policy.dangerous_weak_ciphers:
        context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    store = context.get_cert_store()
    assert store is not None
    policy.anchors.load_into(store)
    if policy.crls is not None:
        policy.crls.load_into(store)
    context.set_verify(SSL.VERIFY_PEER, verification.callback)
    client = SSL.Connection(context)
    if policy.staple:
        client.request_ocsp()
    client.set_connect_state()
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    for one in issued.chain if sent is None else sent:
        context.add_extra_chain_cert(one)
    context.set_ocsp_server_callback(lambda _connection, _data: response)
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
    if finished and policy.staple:
        start = ffi.new("unsigned char **")
        length = lib.SSL_get_tlsext_status_ocsp_resp(client._ssl, start)
        stapled = ffi.buffer(start[0], length)[:] if length > 0 else b""
        # OpenSSL's server passes on only what it can read and what is about its certificate: others are not so kind.
        assert stapled in (response, b"")
        finished = verification.staple(response, client.get_verified_chain() or [])
    return Shaken(verification.verdict(client.get_peer_cert_chain() or []), finished)


def both(
    issued: Issued,
    policy: Policy,
    *,
    sent: Sequence[x509.Certificate] | None = None,
    response: bytes | None = None,
    reference: str = NAME,
) -> Verdict:
    """The verdict of a handshake, which is the one offline."""
    shaken = shake(issued, policy, sent=sent, response=response or b"", reference=reference)
    chain = [issued.certificate, *(issued.chain if sent is None else sent)]
    offline = judge(chain, policy=policy, reference=reference, at=NOW, staple=response)
    assert shaken.verdict == offline
    assert shaken.accepted is offline.accepted
    return offline


def listed(*pems: bytes) -> CrlList:
    return CrlList.from_pem(b"".join(pems))


def codes(problems: Iterable[Problem]) -> list[tuple[str, int]]:
    return [(str(one.code), one.index) for one in problems]


def only(problems: Sequence[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


# CRLs


def test_certificate_that_the_crls_do_not_list_is_accepted_without_a_warning() -> None:
    for revocation in Revocation:
        verdict = both(LEAF, Policy(anchors=ROOTS, crls=listed(ISSUER_CRL, ROOT_CRL), revocation=revocation))
        assert verdict.accepted
        assert verdict.warnings == ()


def test_revoked_leaf_is_refused_with_date_and_reason() -> None:
    when = NOW - 3 * DAY
    revoked = crl(ISSUER, revoked=[OTHER.certificate, LEAF.certificate], reason="keyCompromise", revoked_at=when)
    for revocation in Revocation:
        policy = Policy(anchors=ROOTS, crls=listed(revoked, ROOT_CRL), revocation=revocation)
        problem = only(both(LEAF, policy).problems)
        assert (problem.code, problem.index, problem.rule) == (ProblemCode.REVOKED, 0, "RFC 5280 6.3.3 (i)")
        assert f"revoked on {when:%Y-%m-%d %H:%M:%S} UTC (keyCompromise)" in problem.evidence
        assert format(LEAF.certificate.serial_number, "x") in problem.evidence
        assert "new key" in problem.fix


def test_revoked_intermediate_is_refused_and_named() -> None:
    policy = Policy(anchors=ROOTS, crls=listed(ISSUER_CRL, crl(ROOT, revoked=[ISSUER.certificate])))
    problem = only(both(LEAF, policy).problems)
    assert (problem.code, problem.index) == (ProblemCode.REVOKED, 1)
    assert "CN=Issuer" in problem.evidence


def test_entry_that_is_taken_off_the_list_is_not_revoked() -> None:
    off = crl(ISSUER, revoked=[LEAF.certificate], reason="removeFromCRL")
    assert both(LEAF, Policy(anchors=ROOTS, crls=listed(off, ROOT_CRL))).accepted


def test_certificate_of_the_same_serial_number_by_another_issuer_is_not_revoked() -> None:
    assert both(LEAF, Policy(anchors=ROOTS, crls=listed(ISSUER_CRL, crl(ROOT, revoked=[LEAF.certificate])))).accepted


SCOPES: dict[str, dict[str, Any]] = {
    "CAs only": {"only_contains_ca_certs": True},
    "attribute certificates only": {"only_contains_attribute_certs": True},
    "some reasons only": {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})},
    "indirect": {"indirect_crl": True},
    "another distribution point": {"full_name": [x509.UniformResourceIdentifier("http://other.example/")]},
}


def scope(**given: Any) -> x509.Extension[x509.ExtensionType]:
    settings: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return extension(x509.IssuingDistributionPoint(**(settings | given)), critical=True)


UNANSWERED = {
    "no CRL at all": ((), 0, "there is no CRL of CN=Issuer"),
    "expired": ((crl(ISSUER, this_update=NOW - 9 * DAY, next_update=NOW - DAY),), 0, "expired on"),
    "not yet valid": ((crl(ISSUER, this_update=NOW + DAY, next_update=NOW + 9 * DAY),), 0, "is valid from"),
    "signed by another key": (
        (crl(ISSUER, revoked=[LEAF.certificate], key=STRANGER.key, omit=[x509.AuthorityKeyIdentifier.oid]),),
        0,
        "was not signed with the key of CN=Issuer",
    ),
    "signed by another key that it names": ((crl(ISSUER, key=STRANGER.key),), 0, "there is no CRL of CN=Issuer"),
    "of another issuer": ((crl(STRANGER),), 0, "there is no CRL of CN=Issuer"),
    "with an unknown critical extension": (
        (
            crl(
                ISSUER,
                revoked=[LEAF.certificate],
                extensions=[
                    extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), critical=True)
                ],
            ),
        ),
        0,
        "critical extension 1.2.3.4",
    ),
    **{
        f"for {what}": ((crl(ISSUER, revoked=[LEAF.certificate], extensions=[scope(**given)]),), 0, "there is no CRL")
        for what, given in SCOPES.items()
    },
    "a delta": (
        (crl(ISSUER, revoked=[LEAF.certificate], extensions=[extension(x509.DeltaCRLIndicator(1), critical=True)]),),
        0,
        "there is no CRL",
    ),
}


@pytest.mark.parametrize(("crls", "index", "evidence"), UNANSWERED.values(), ids=UNANSWERED.keys())
def test_certificate_on_which_no_crl_answers_warns_or_refuses_as_the_policy_has_it(
    crls: Sequence[bytes], index: int, evidence: str
) -> None:
    soft = both(LEAF, Policy(anchors=ROOTS, crls=listed(*crls, ROOT_CRL)))
    assert soft.accepted
    assert soft.verified
    warning = only(soft.warnings)
    assert (warning.code, warning.index) == (ProblemCode.REVOCATION_UNKNOWN, index)
    assert evidence in warning.evidence
    assert warning.fix
    hard = both(LEAF, Policy(anchors=ROOTS, crls=listed(*crls, ROOT_CRL), revocation=Revocation.HARD))
    assert not hard.accepted
    assert hard.problems == (warning,)


def test_intermediate_without_a_crl_is_named() -> None:
    policy = Policy(anchors=ROOTS, crls=listed(ISSUER_CRL))
    assert codes(both(LEAF, policy).warnings) == [("revocation_unknown", 1)]
    hard = Policy(anchors=ROOTS, crls=listed(ISSUER_CRL), revocation=Revocation.HARD)
    assert codes(both(LEAF, hard).problems) == [("revocation_unknown", 1)]


def test_crl_for_servers_only_counts_for_the_leaf() -> None:
    mine = crl(ISSUER, revoked=[LEAF.certificate], extensions=[scope(only_contains_user_certs=True)])
    assert codes(both(LEAF, Policy(anchors=ROOTS, crls=listed(mine, ROOT_CRL))).problems) == [("revoked", 0)]


def test_crl_of_the_distribution_point_of_the_certificate_counts() -> None:
    here = [x509.UniformResourceIdentifier("http://ca.example/1.crl")]
    points = extension(x509.CRLDistributionPoints([x509.DistributionPoint(here, None, None, None)]))
    leaf = ISSUER.issue(NAME, extensions=[points])
    mine = crl(ISSUER, revoked=[leaf.certificate], extensions=[scope(full_name=here)])
    assert codes(both(leaf, Policy(anchors=ROOTS, crls=listed(mine, ROOT_CRL))).problems) == [("revoked", 0)]


def test_expired_crl_that_lists_the_certificate_still_revokes_it() -> None:
    old = crl(ISSUER, revoked=[LEAF.certificate], this_update=NOW - 9 * DAY, next_update=NOW - DAY)
    verdict = both(LEAF, Policy(anchors=ROOTS, crls=listed(old, ROOT_CRL)))
    assert codes(verdict.problems) == [("revoked", 0)]
    assert codes(verdict.warnings) == [("revocation_unknown", 0)]


def test_newest_crl_counts() -> None:
    first = crl(ISSUER, revoked=[LEAF.certificate], reason="certificateHold", this_update=NOW - 2 * DAY)
    assert both(LEAF, Policy(anchors=ROOTS, crls=listed(first, ISSUER_CRL, ROOT_CRL))).accepted
    assert not both(LEAF, Policy(anchors=ROOTS, crls=listed(first, ROOT_CRL))).accepted


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("revocation", Revocation)
def test_one_of_several_crls_of_the_same_moment_revokes_alone(place: int, revocation: Revocation) -> None:
    lists = [crl(ISSUER, revoked=[OTHER.certificate], this_update=NOW - DAY) for _ in range(2)]
    lists.insert(place, crl(ISSUER, revoked=[LEAF.certificate], this_update=NOW - DAY))
    policy = Policy(anchors=ROOTS, crls=listed(*lists, ROOT_CRL), revocation=revocation)
    offline = judge([LEAF.certificate, *LEAF.chain], policy=policy, reference=NAME, at=NOW)
    shaken = shake(LEAF, policy)  # OpenSSL itself takes some of them for good
    assert codes(offline.problems) == codes(shaken.verdict.problems) == [("revoked", 0)]
    assert not offline.accepted
    assert not shaken.verdict.accepted


def test_newer_crl_that_somebody_forged_does_not_hide_a_revocation() -> None:
    forged = crl(ISSUER, key=STRANGER.key, omit=[x509.AuthorityKeyIdentifier.oid], this_update=NOW - DAY)
    true = crl(ISSUER, revoked=[LEAF.certificate], this_update=NOW - 2 * DAY)
    policy = Policy(anchors=ROOTS, crls=listed(forged, true, ROOT_CRL))
    for verdict in (
        shake(LEAF, policy).verdict,
        judge([LEAF.certificate, *LEAF.chain], policy=policy, reference=NAME, at=NOW),
    ):
        assert not verdict.accepted
        assert codes(verdict.problems) == [("revoked", 0)]
        assert codes(verdict.warnings) == [("revocation_unknown", 0)]


@pytest.mark.parametrize("revocation", Revocation)
def test_crl_whose_signature_nobody_can_check_gives_no_answer(revocation: Revocation) -> None:
    known = bytes.fromhex("06082a8648ce3d040302")  # ecdsa-with-SHA256
    der = x509.load_pem_x509_crl(ISSUER_CRL).public_bytes(Encoding.DER)
    assert der.count(known) == 2
    odd = x509.load_der_x509_crl(der.replace(known, known[:-1] + b"\x7f")).public_bytes(Encoding.PEM)
    verdict = both(LEAF, Policy(anchors=ROOTS, crls=listed(odd, ROOT_CRL), revocation=revocation))
    assert verdict.accepted is (revocation is Revocation.SOFT)
    problem = only([*verdict.problems, *verdict.warnings])
    assert (problem.code, problem.index) == (ProblemCode.REVOCATION_UNKNOWN, 0)
    assert "was not signed with the key of CN=Issuer" in problem.evidence


def test_crl_that_openssl_takes_with_a_complaint_leaves_no_error_behind() -> None:
    broken = x509.UnrecognizedExtension(x509.AuthorityKeyIdentifier.oid, b"\x05\x00")
    assert len(listed(crl(ISSUER, extensions=[extension(broken)]))) == 1
    assert lib.ERR_peek_error() == 0  # or the next read of any connection would find it


@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize("revocation", Revocation)
def test_crl_whose_scope_cannot_be_read_gives_no_answer(revocation: Revocation, critical: bool) -> None:
    scope = x509.UnrecognizedExtension(x509.IssuingDistributionPoint.oid, b"\x30\x03\x82\x01\xff")
    lists = listed(crl(ISSUER, extensions=[extension(scope, critical=critical)]), ROOT_CRL)
    verdict = both(LEAF, Policy(anchors=ROOTS, crls=lists, revocation=revocation))
    assert verdict.accepted is (revocation is Revocation.SOFT)
    problem = only([*verdict.problems, *verdict.warnings])
    assert (problem.code, problem.index) == (ProblemCode.REVOCATION_UNKNOWN, 0)


def test_issuer_that_may_not_sign_crls_gives_no_answer() -> None:
    usage = x509.KeyUsage(
        **{
            name: name == "key_cert_sign"
            for name in (
                *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
            )
        }
    )
    quiet = ROOT.intermediate("Quiet", extensions=[extension(usage, critical=True)])
    leaf = quiet.issue(NAME)
    crls = listed(crl(quiet, revoked=[leaf.certificate]), ROOT_CRL)
    warning = only(both(leaf, Policy(anchors=ROOTS, crls=crls)).warnings)
    assert "lacks cRLSign" in warning.evidence
    assert not both(leaf, Policy(anchors=ROOTS, crls=crls, revocation=Revocation.HARD)).accepted


def test_trust_anchor_needs_no_crl_even_where_the_policy_is_hard() -> None:
    policy = Policy(anchors=ROOTS, crls=listed(ISSUER_CRL, ROOT_CRL), revocation=Revocation.HARD)
    assert both(LEAF, policy).accepted
    direct = Policy(anchors=TrustList.from_pem(ISSUER.pem), crls=listed(ISSUER_CRL), revocation=Revocation.HARD)
    assert both(LEAF, direct).accepted
    pinned = Policy(
        anchors=TrustList.from_pem(LEAF.certificate_pem), crls=listed(crl(STRANGER)), revocation=Revocation.HARD
    )
    assert both(LEAF, pinned, sent=()).accepted


def test_root_is_not_looked_up_even_in_its_own_crl() -> None:
    policy = Policy(anchors=ROOTS, crls=listed(ISSUER_CRL, crl(ROOT, revoked=[ROOT.certificate])))
    assert both(LEAF, policy).accepted


def test_pinned_certificate_that_its_issuer_revoked_is_refused_where_the_issuer_is_sent() -> None:
    anchors = TrustList.from_pem(LEAF.certificate_pem)
    policy = Policy(anchors=anchors, crls=listed(crl(ISSUER, revoked=[LEAF.certificate])), revocation=Revocation.HARD)
    assert codes(both(LEAF, policy).problems) == [("revoked", 0)]
    quiet = Policy(anchors=anchors, crls=listed(crl(STRANGER)), revocation=Revocation.HARD)
    assert both(LEAF, quiet).accepted
    forged = crl(ISSUER, revoked=[LEAF.certificate], key=STRANGER.key, omit=[x509.AuthorityKeyIdentifier.oid])
    assert both(LEAF, Policy(anchors=anchors, crls=listed(forged), revocation=Revocation.HARD)).accepted


def test_all_faults_are_named_beside_a_revocation() -> None:
    leaf = ISSUER.issue("other.example.org", not_before=NOW - 9 * DAY, not_after=NOW - DAY, key="rsa1024")
    policy = Policy(anchors=ROOTS, crls=listed(crl(ISSUER, revoked=[leaf.certificate])))
    verdict = both(leaf, policy)
    assert {code for code, _ in codes(verdict.problems)} == {"expired", "weak_key", "revoked", "name_mismatch"}
    assert codes(verdict.warnings) == [("revocation_unknown", 1)]


def test_phones_that_saw_the_same_share_one_verdict_with_its_warning() -> None:
    policy = Policy(anchors=ROOTS, crls=listed(ROOT_CRL))
    assert shake(LEAF, policy).verdict is shake(LEAF, policy).verdict


# Stapled responses


EXPIRED_DELEGATE = delegate(ISSUER, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
DELEGATE = delegate(ISSUER, "Responder")
FOREIGN_DELEGATE = delegate(STRANGER, "Foreign")
RSA_ISSUER = ROOT.intermediate("RSA issuer", key="rsa")
RSA_LEAF = RSA_ISSUER.issue(NAME)

GOOD_STAPLES = {
    "by the issuer": ocsp_response(ISSUER, LEAF.certificate),
    "by the issuer by name": ocsp_response(ISSUER, LEAF.certificate, by_name=True),
    "with SHA-256 in the CertID": ocsp_response(ISSUER, LEAF.certificate, digest="sha256"),
    "by a delegate": ocsp_response(ISSUER, LEAF.certificate, signer=DELEGATE),
    "by a delegate by name": ocsp_response(ISSUER, LEAF.certificate, signer=DELEGATE, by_name=True),
    "by a delegate with an RSA key": ocsp_response(ISSUER, LEAF.certificate, signer=delegate(ISSUER, key="rsa")),
    "without an end, of an hour ago": ocsp_response(ISSUER, LEAF.certificate, endless=True),
    "of a clock that is two minutes fast": ocsp_response(
        ISSUER, LEAF.certificate, this_update=NOW + timedelta(minutes=2)
    ),
}


@pytest.mark.parametrize("response", GOOD_STAPLES.values(), ids=GOOD_STAPLES.keys())
@pytest.mark.parametrize("revocation", Revocation)
def test_good_staple_is_accepted(response: bytes, revocation: Revocation) -> None:
    verdict = both(LEAF, Policy(anchors=ROOTS, staple=True, revocation=revocation), response=response)
    assert verdict.accepted
    assert verdict.warnings == ()


def test_good_staple_of_an_rsa_issuer_is_accepted() -> None:
    response = ocsp_response(RSA_ISSUER, RSA_LEAF.certificate)
    assert both(RSA_LEAF, Policy(anchors=ROOTS, staple=True), response=response).accepted


NAMESAKE = CertificateAuthority("Issuer")


def signed_in_an_unknown_way(issued: Issued) -> Issued:
    """Its certificate with another signature algorithm than any that there is, in the place of ecdsa-with-SHA256."""
    der = issued.certificate.public_bytes(Encoding.DER)
    known = bytes.fromhex("06082a8648ce3d040302")
    assert der.count(known) == 2
    return replace(issued, certificate=x509.load_der_x509_certificate(der.replace(known, known[:-1] + b"\x7f")))


def test_staple_of_an_issuer_whose_kind_of_key_is_not_known_here_is_refused() -> None:
    key = dsa.generate_private_key(2048)
    name, serial = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DSA")]), x509.random_serial_number()
    issuer = x509.CertificateBuilder(name, name, key.public_key(), serial, NOW - DAY, NOW + DAY).sign(
        key, hashes.SHA256()
    )
    begun = ocsp.OCSPResponseBuilder().add_response(
        LEAF.certificate, issuer, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, NOW - DAY, NOW + DAY, None, None
    )
    namesake = CertificateAuthority("DSA")
    response = begun.responder_id(ocsp.OCSPResponderEncoding.NAME, namesake.certificate).sign(
        namesake.key, hashes.SHA256()
    )
    about, by = (Parsed(one.public_bytes(Encoding.DER)) for one in (LEAF.certificate, issuer))
    problem = only(list(staple_problems(response.public_bytes(Encoding.DER), about, by, NOW)))
    assert (problem.code, "cannot be read" in problem.evidence) == (ProblemCode.MALFORMED, True)


BAD_STAPLES = {
    "revoked": (
        ocsp_response(ISSUER, LEAF.certificate, status="revoked", reason="cessationOfOperation", revoked_at=NOW - DAY),
        "revoked",
        f"revoked on {NOW - DAY:%Y-%m-%d %H:%M:%S} UTC (cessationOfOperation)",
    ),
    "revoked without a reason": (
        ocsp_response(ISSUER, LEAF.certificate, status="revoked"),
        "revoked",
        "says the stapled OCSP response of CN=Issuer",
    ),
    "unknown": (ocsp_response(ISSUER, LEAF.certificate, status="unknown"), "revocation_unknown", "is unknown to"),
    "expired": (
        ocsp_response(ISSUER, LEAF.certificate, this_update=NOW - 9 * DAY, next_update=NOW - DAY),
        "revocation_unknown",
        "expired on",
    ),
    "without an end, of the day before yesterday": (
        ocsp_response(ISSUER, LEAF.certificate, this_update=NOW - 2 * DAY, endless=True),
        "revocation_unknown",
        "expired on",
    ),
    "not yet valid": (
        ocsp_response(ISSUER, LEAF.certificate, this_update=NOW + DAY),
        "revocation_unknown",
        "is valid from",
    ),
    "about another certificate": (
        ocsp_response(ISSUER, OTHER.certificate),
        "revocation_unknown",
        format(OTHER.certificate.serial_number, "x"),
    ),
    "about the same serial number of another issuer": (
        ocsp_response(STRANGER, LEAF.certificate, signer=ISSUER),
        "revocation_unknown",
        "about another certificate",
    ),
    "by somebody else": (
        ocsp_response(ISSUER, LEAF.certificate, signer=STRANGER),
        "revocation_unknown",
        "whom CN=Issuer did not certify",
    ),
    "by somebody else who is not shown": (
        ocsp_response(ISSUER, LEAF.certificate, signer=STRANGER, shown=False),
        "revocation_unknown",
        "brings no certificate of the signer",
    ),
    "by a delegate of somebody else": (
        ocsp_response(ISSUER, LEAF.certificate, signer=FOREIGN_DELEGATE, by_name=True),
        "revocation_unknown",
        "CN=Foreign, whom CN=Issuer did not certify",
    ),
    "by another certificate of the issuer that is no delegate": (
        ocsp_response(ISSUER, LEAF.certificate, signer=OTHER),
        "revocation_unknown",
        "lacks the extended key usage OCSPSigning",
    ),
    "by an expired delegate": (
        ocsp_response(ISSUER, LEAF.certificate, signer=EXPIRED_DELEGATE),
        "revocation_unknown",
        "whose certificate is valid from",
    ),
    "with a changed signature": (
        ocsp_response(ISSUER, LEAF.certificate, tampered=True),
        "revocation_unknown",
        "was not made with the key of CN=Issuer",
    ),
    "with a changed signature of a delegate": (
        ocsp_response(ISSUER, LEAF.certificate, signer=DELEGATE, tampered=True),
        "revocation_unknown",
        "was not made with that key",
    ),
    "by a delegate of somebody of the same name": (
        ocsp_response(ISSUER, LEAF.certificate, signer=delegate(NAMESAKE)),
        "revocation_unknown",
        "whom CN=Issuer did not certify",
    ),
    "by a delegate whose certificate is signed in a way that nobody knows": (
        ocsp_response(ISSUER, LEAF.certificate, signer=signed_in_an_unknown_way(delegate(NAMESAKE))),
        "revocation_unknown",
        "whom CN=Issuer did not certify",
    ),
    "try later": (ocsp_response(ISSUER, LEAF.certificate, status="tryLater"), "revocation_unknown", "said tryLater"),
    "unauthorized": (
        ocsp_response(ISSUER, LEAF.certificate, status="unauthorized"),
        "revocation_unknown",
        "said unauthorized",
    ),
    "garbage": (b"garbage", "malformed", "cannot be read"),
    "cut off": (ocsp_response(ISSUER, LEAF.certificate)[:-5], "malformed", "cannot be read"),
}


@pytest.mark.parametrize(("response", "code", "evidence"), BAD_STAPLES.values(), ids=BAD_STAPLES.keys())
@pytest.mark.parametrize("revocation", Revocation)
def test_staple_that_is_not_satisfactory_is_refused_however_lenient_the_policy(
    response: bytes, code: str, evidence: str, revocation: Revocation
) -> None:
    verdict = both(LEAF, Policy(anchors=ROOTS, staple=True, revocation=revocation), response=response)
    assert not verdict.accepted
    problem = only(verdict.problems)
    assert (problem.code, problem.index) == (code, 0)
    assert evidence in problem.evidence
    assert problem.rule
    assert problem.fix


def test_revoked_and_expired_staple_says_both() -> None:
    response = ocsp_response(
        ISSUER, LEAF.certificate, status="revoked", this_update=NOW - 9 * DAY, next_update=NOW - DAY
    )
    verdict = both(LEAF, Policy(anchors=ROOTS, staple=True), response=response)
    assert codes(verdict.problems) == [("revoked", 0), ("revocation_unknown", 0)]


def test_missing_staple_warns_or_refuses_as_the_policy_has_it() -> None:
    soft = both(LEAF, Policy(anchors=ROOTS, staple=True), response=b"")
    assert soft.accepted
    assert "the server stapled nothing" in only(soft.warnings).evidence
    hard = both(LEAF, Policy(anchors=ROOTS, staple=True, revocation=Revocation.HARD), response=b"")
    assert not hard.accepted
    assert hard.problems == soft.warnings


def test_missing_staple_of_a_certificate_that_promises_one_is_refused() -> None:
    for revocation in Revocation:
        verdict = both(PROMISING, Policy(anchors=ROOTS, staple=True, revocation=revocation), response=b"")
        problem = only(verdict.problems)
        assert (problem.code, problem.index, problem.rule) == (ProblemCode.STAPLE_MISSING, 0, "RFC 7633 4.3.3")
        assert "must-staple" in problem.evidence


def test_kept_promise_of_a_staple_is_accepted() -> None:
    response = ocsp_response(ISSUER, PROMISING.certificate)
    assert both(PROMISING, Policy(anchors=ROOTS, staple=True), response=response).accepted


def test_policy_that_asks_for_no_staple_holds_nobody_to_a_promise() -> None:
    assert both(PROMISING, Policy(anchors=ROOTS)).accepted
    verdict = judge(
        [PROMISING.certificate, *PROMISING.chain], policy=Policy(anchors=ROOTS), reference=NAME, at=NOW, staple=b""
    )
    assert verdict.accepted


def test_offline_nothing_is_said_of_a_staple_that_is_not_known() -> None:
    policy = Policy(anchors=ROOTS, staple=True, revocation=Revocation.HARD)
    verdict = judge([PROMISING.certificate, *PROMISING.chain], policy=policy, reference=NAME, at=NOW)
    assert verdict.accepted
    assert verdict.warnings == ()


def test_good_staple_answers_where_no_crl_does_and_the_other_way_round() -> None:
    response = ocsp_response(ISSUER, LEAF.certificate)
    policy = Policy(anchors=ROOTS, crls=listed(ROOT_CRL), staple=True, revocation=Revocation.HARD)
    assert both(LEAF, policy, response=response).accepted
    refused = both(LEAF, policy, response=b"")
    assert codes(refused.problems) == [("revocation_unknown", 0)]
    policy = Policy(anchors=ROOTS, crls=listed(ISSUER_CRL, ROOT_CRL), staple=True, revocation=Revocation.HARD)
    assert both(LEAF, policy, response=b"").accepted


def test_good_staple_does_not_outweigh_a_crl_that_says_revoked() -> None:
    crls = listed(crl(ISSUER, revoked=[LEAF.certificate]), ROOT_CRL)
    policy = Policy(anchors=ROOTS, crls=crls, staple=True)
    response = ocsp_response(ISSUER, LEAF.certificate)
    assert not shake(LEAF, policy, response=response).accepted
    verdict = judge([LEAF.certificate, *LEAF.chain], policy=policy, reference=NAME, at=NOW, staple=response)
    assert codes(verdict.problems) == [("revoked", 0)]


def test_staple_for_a_pinned_leaf_whose_issuer_is_not_there_cannot_be_checked() -> None:
    response = ocsp_response(ISSUER, LEAF.certificate)
    anchors = TrustList.from_pem(LEAF.certificate_pem)
    soft = both(LEAF, Policy(anchors=anchors, staple=True), sent=(), response=response)
    assert soft.accepted
    assert "of an issuer that was not sent" in only(soft.warnings).evidence
    assert not both(
        LEAF, Policy(anchors=anchors, staple=True, revocation=Revocation.HARD), sent=(), response=response
    ).accepted


def test_staple_for_a_pinned_leaf_counts_where_its_issuer_was_sent() -> None:
    policy = Policy(anchors=TrustList.from_pem(LEAF.certificate_pem), staple=True, revocation=Revocation.HARD)
    assert both(LEAF, policy, response=ocsp_response(ISSUER, LEAF.certificate)).accepted
    revoked = ocsp_response(ISSUER, LEAF.certificate, status="revoked")
    assert codes(both(LEAF, policy, response=revoked).problems) == [("revoked", 0)]


def test_staple_that_was_never_asked_about_is_not_accepted() -> None:
    verification = Verification(Policy(anchors=ROOTS, staple=True), NAME, at=NOW)
    assert verification.callback(None, X509.from_cryptography(LEAF.certificate), 0, 0, 1)
    problem = only(verification.verdict([LEAF.certificate, *LEAF.chain]).problems)
    assert "before the certificate was asked for its staple" in problem.evidence


def test_self_signed_certificate_may_staple_for_itself() -> None:
    own = self_signed(NAME, ca=True)
    authority = CertificateAuthority("x", key=own.key)
    authority.certificate = own.certificate
    anchors = TrustList.from_pem(own.certificate_pem)
    response = ocsp_response(authority, own.certificate)
    assert both(own, Policy(anchors=anchors, staple=True, revocation=Revocation.HARD), response=response).accepted


@pytest.mark.parametrize("rubbish", [None, 5, "text", [b"x"], object()])
def test_staple_never_raises(rubbish: Any) -> None:
    verification = Verification(Policy(anchors=ROOTS, staple=True), NAME, at=NOW)
    assert not verification.staple(rubbish, rubbish)
    assert not verification.staple(b"", [])
    assert not verification.verdict(None).accepted


# Any certificate, weak ciphers, other names


def test_where_any_certificate_is_accepted_revocation_is_still_told() -> None:
    crls = listed(crl(ISSUER, revoked=[LEAF.certificate]))
    policy = Policy(anchors=ROOTS, crls=crls, staple=True, dangerous_accept_any_certificate=True)
    verdict = both(LEAF, policy, response=ocsp_response(ISSUER, LEAF.certificate, status="revoked"))
    assert verdict.accepted
    assert not verdict.verified
    assert codes(verdict.problems) == [("revoked", 0), ("revoked", 0)]
    assert codes(verdict.warnings) == [("revocation_unknown", 1)]


def test_where_any_certificate_is_accepted_a_broken_promise_is_still_told() -> None:
    policy = Policy(anchors=TrustList.empty(), staple=True, dangerous_accept_any_certificate=True)
    verdict = both(PROMISING, policy, response=b"")
    assert verdict.accepted
    assert {code for code, _ in codes(verdict.problems)} == {"unknown_issuer", "staple_missing"}


WEAK = {
    "key": ISSUER.issue(NAME, key="rsa1024"),
    "signature": ROOT.issue(NAME, digest="sha1"),
}


@pytest.mark.parametrize("what", WEAK)
def test_where_weak_ciphers_are_taken_weak_certificates_are_warnings(what: str) -> None:
    refused = both(WEAK[what], Policy(anchors=ROOTS))
    assert codes(refused.problems) == [(f"weak_{what}", 0)]
    taken = both(WEAK[what], Policy(anchors=ROOTS, dangerous_weak_ciphers=True))
    assert taken.accepted
    assert taken.warnings == refused.problems


def test_name_is_told_beside_a_bad_staple_offline() -> None:
    response = ocsp_response(ISSUER, LEAF.certificate, status="revoked")
    policy = Policy(anchors=ROOTS, staple=True, names=NameRule.RFC9525)
    chain = [LEAF.certificate, *LEAF.chain]
    verdict = judge(chain, policy=policy, reference="other.example.org", at=NOW, staple=response)
    assert codes(verdict.problems) == [("revoked", 0), ("name_mismatch", 0)]


def test_judging_a_tampered_chain_leaves_no_error_in_the_queue_of_openssl() -> None:
    """Else the next read of any connection would find it."""
    der = bytearray(LEAF.certificate.public_bytes(Encoding.DER))
    der[-1] ^= 1
    chains: list[list[bytes | x509.Certificate]] = [
        [bytes(der), *LEAF.chain],
        [b"garbage"],
        [LEAF.certificate, b"garbage"],
    ]
    for chain in chains:
        judge(chain, policy=Policy(anchors=ROOTS, crls=listed(ISSUER_CRL)), reference=NAME, at=NOW, staple=b"x")
        assert lib.ERR_peek_error() == 0
