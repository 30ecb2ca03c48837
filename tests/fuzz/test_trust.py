"""Hostile certificates, CRLs and OCSP responses: a Verdict always, and of files only BadConfiguration.

Mutations are drawn from a seeded generator, so that a failure comes again. A few thousand run each time; the `heavy` ones are the same
tests with more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL._util import lib

from sipsua.errors import BadConfiguration
from sipsua.testing.pki import CertificateAuthority, extension
from sipsua.testing.revocation import MUST_STAPLE, crl, delegate, ocsp_response
from sipsua.trust.crl import CrlList
from sipsua.trust.policy import Policy, Revocation
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Verdict
from sipsua.trust.verifier import Verification, judge

NOW = datetime.now(UTC)
NAME = "sip.example.com"
ROOT = CertificateAuthority("Root")
ISSUER = ROOT.intermediate(
    "Issuer",
    extensions=[extension(x509.NameConstraints([x509.DNSName("example.com"), x509.RFC822Name("example.com")], None))],
)
OLD = CertificateAuthority("Old")
CROSS = CertificateAuthority("Root", issuer=OLD, key=ROOT.key)
POINTS = [x509.DistributionPoint([x509.UniformResourceIdentifier("http://ca.example/1.crl")], None, None, None)]
LEAF = ISSUER.issue(NAME, "192.0.2.1", extensions=[MUST_STAPLE, extension(x509.CRLDistributionPoints(POINTS))])
CHAIN = [one.public_bytes(Encoding.DER) for one in (LEAF.certificate, ISSUER.certificate, CROSS.certificate)]
CRLS = [
    crl(ISSUER, revoked=[LEAF.certificate, ISSUER.certificate], reason="keyCompromise"),
    crl(ROOT, extensions=[extension(x509.CRLNumber(7))]),
]
RESPONSES = [
    ocsp_response(ISSUER, LEAF.certificate),
    ocsp_response(ISSUER, LEAF.certificate, signer=delegate(ISSUER), by_name=True),
    ocsp_response(ISSUER, LEAF.certificate, status="revoked", reason="keyCompromise", digest="sha256"),
    ocsp_response(ISSUER, LEAF.certificate, status="tryLater"),
]
POLICIES = [
    Policy(anchors=TrustList.from_pem(ROOT.pem + OLD.pem), crls=CrlList.from_pem(b"".join(CRLS)), staple=True),
    Policy(
        anchors=TrustList.from_pem(ROOT.pem),
        crls=CrlList.from_pem(crl(STRANGER := CertificateAuthority("Stranger"))),
        revocation=Revocation.HARD,
        legacy_path=True,
    ),
    Policy(anchors=TrustList.from_pem(LEAF.certificate_pem), staple=True, dangerous_weak_ciphers=True),
    Policy(anchors=TrustList.from_pem(STRANGER.pem), staple=True, dangerous_accept_any_certificate=True),
]


def counts(few: int, many: int) -> list[object]:
    """Two runs of a test: a few rounds each time, many under `heavy`."""
    return [few, pytest.param(many, marks=[pytest.mark.heavy, pytest.mark.timeout(600)])]


def changed(data: bytes, dice: random.Random) -> bytes:
    """Octets set, bits turned, pieces cut out, doubled or put elsewhere; lengths and tags of DER are hit as often as contents."""
    result = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        if not result:
            break
        place = dice.randrange(len(result))
        match dice.randrange(6):
            case 0:
                result[place] = dice.randrange(256)
            case 1:
                result[place] ^= 1 << dice.randrange(8)
            case 2:
                del result[place : place + dice.randrange(1, 20)]
            case 3:
                result[place:place] = result[place : place + dice.randrange(1, 20)]
            case 4:
                # An object identifier, a boolean, a date or a name becomes another.
                result[place] = dice.choice((0x00, 0x01, 0x7F, 0x80, 0x84, 0xFF, 0x30, 0x02, 0x05, 0x17, 0x18))
            case 5:
                del result[place:]
    return bytes(result)


def sane(verdict: Verdict) -> None:
    """Everything that a Verdict says can be said: in JSON, with an index that there is."""
    assert verdict.accepted or verdict.problems
    for one in (*verdict.problems, *verdict.warnings):
        assert one.index < max(1, len(verdict.chain))
        assert one.rule
        assert one.evidence.isprintable()
        assert one.fix.isprintable()
    verdict.as_json()
    assert lib.ERR_peek_error() == 0


@pytest.mark.parametrize("rounds", counts(600, 6_000))
@pytest.mark.parametrize("policy", POLICIES, ids=["both", "hard", "pinned", "any"])
def test_mutated_chains_get_a_verdict(policy: Policy, rounds: int) -> None:
    dice = random.Random(rounds)
    for _ in range(rounds):
        chain = [changed(one, dice) if dice.random() < 0.5 else one for one in CHAIN]
        if dice.random() < 0.2:
            dice.shuffle(chain)
        staple = dice.choice([None, b"", *RESPONSES])
        verdict = judge(chain, policy=policy, reference=NAME, at=NOW, staple=staple)
        sane(verdict)
        if chain[0] != CHAIN[0] and not policy.dangerous_accept_any_certificate:
            assert not verdict.accepted


@pytest.mark.parametrize("rounds", counts(1_500, 20_000))
def test_mutated_responses_are_refused_and_never_raise(rounds: int) -> None:
    dice = random.Random(rounds)
    policy = Policy(anchors=TrustList.from_pem(ROOT.pem), staple=True)
    path: list[bytes | x509.Certificate] = [*CHAIN[:2], ROOT.certificate]
    for _ in range(rounds):
        original = dice.choice(RESPONSES)
        response = changed(original, dice)
        verification = Verification(policy, NAME, at=NOW)
        good = verification.staple(response, path)
        verdict = judge(CHAIN[:2], policy=policy, reference=NAME, at=NOW, staple=response)
        sane(verdict)
        assert verdict.accepted is (good and bool(response))
        if good and response:
            assert original in RESPONSES[:2]  # no change makes another answer good


@pytest.mark.parametrize("rounds", counts(1_500, 20_000))
def test_mutated_crls_are_a_bad_configuration_or_count(rounds: int) -> None:
    dice = random.Random(rounds)
    taken = 0
    ders = [x509.load_pem_x509_crl(one).public_bytes(Encoding.DER) for one in CRLS]
    anchors = TrustList.from_pem(ROOT.pem)
    for _ in range(rounds):
        data = changed(dice.choice([*CRLS, *ders, *ders, *ders]), dice)
        try:
            crls = CrlList.from_pem(data)
        except BadConfiguration:
            continue
        taken += 1
        policy = Policy(anchors=anchors, crls=crls, revocation=dice.choice(list(Revocation)))
        sane(judge(CHAIN[:2], policy=policy, reference=NAME, at=NOW))
        crls.load_into(TrustList.empty().store_at(NOW))
        assert lib.ERR_peek_error() == 0
    assert taken > rounds // 20


@pytest.mark.parametrize("rounds", counts(1_500, 20_000))
def test_mutated_certificate_files_are_a_bad_configuration_or_a_trust_list(rounds: int) -> None:
    dice = random.Random(rounds)
    taken = 0
    for _ in range(rounds):
        data = changed(dice.choice([*CHAIN, *CHAIN, ROOT.pem + LEAF.certificate_pem]), dice)
        try:
            anchors = TrustList.from_pem(data)
        except BadConfiguration:
            continue
        taken += 1
        if taken % 5 == 0:
            sane(judge(CHAIN, policy=Policy(anchors=anchors), reference=NAME, at=NOW))
    assert taken > rounds // 20


def test_versions_that_there_are_not_are_a_bad_configuration() -> None:
    """The parser has an error of its own for them, which is no ValueError."""
    certificate = bytearray(CHAIN[0])
    certificate[certificate.index(b"\xa0\x03\x02\x01\x02") + 4] = 0x41
    with pytest.raises(BadConfiguration):
        TrustList.from_pem(bytes(certificate))
    sane(judge([bytes(certificate)], policy=POLICIES[0], reference=NAME, at=NOW))
    listed = bytearray(x509.load_pem_x509_crl(CRLS[1]).public_bytes(Encoding.DER))
    listed[listed.index(b"\x02\x01\x01") + 2] = 0x41
    with pytest.raises(BadConfiguration):
        CrlList.from_pem(bytes(listed))


READERS: list[Callable[[bytes], object]] = [
    lambda data: judge([data], policy=POLICIES[0], reference=NAME, at=NOW),
    lambda data: judge([CHAIN[0], data], policy=POLICIES[1], reference=NAME, at=NOW, staple=data),
    lambda data: judge(CHAIN, policy=POLICIES[0], reference=NAME, at=NOW, staple=data),
    lambda data: Verification(POLICIES[0], NAME, at=NOW).staple(data, (data,)),
    CrlList.from_pem,
]


@pytest.mark.parametrize("reader", READERS)
def test_noise_is_refused(reader: Callable[[bytes], object]) -> None:
    dice = random.Random(7)
    for size in (0, 1, 2, 7, 100, 5_000):
        for _ in range(20):
            data = dice.randbytes(size)
            try:
                answer = reader(data)
            except BadConfiguration:
                continue
            assert isinstance(answer, Verdict | bool)
            assert answer is not True
            assert isinstance(answer, bool) or not answer.accepted
