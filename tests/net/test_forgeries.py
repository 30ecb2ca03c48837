"""What OpenSSL alone lets pass and we do not: attacks on a handshake, each by a server that holds what an attacker can get.

In each the callback of OpenSSL says yes, so it is the pipe that stops: it is not established, and the client's Finished never leaves.
"""

from __future__ import annotations

import pytest
from cryptography import x509

from sipsua.net.tls import TlsPipe, server_context
from sipsua.testing.pki import CertificateAuthority, Issued, extension
from sipsua.testing.revocation import crl
from sipsua.trust.crl import CrlList
from sipsua.trust.policy import NameRule, Policy, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused, ProblemCode
from tests.net.test_tls import Pair

ROOT = CertificateAuthority("Root")
TRUST = TrustList.from_pem(ROOT.pem)
NAME = "sip.bank.example"


def constrained(*, permitted: str | None = None, excluded: str | None = None) -> CertificateAuthority:
    """A CA that may certify some names only, and whose key the attacker has."""
    trees = [[x509.DNSName(one)] if one is not None else None for one in (permitted, excluded)]
    return ROOT.intermediate("Constrained", extensions=[extension(x509.NameConstraints(*trees), critical=True)])


def shake(server: Issued, policy: Policy, name: str) -> Pair:
    return Pair(TlsPipe.client(policy, name), TlsPipe.server(server_context(server.chain_pem, server.key_pem)))


def refused(pair: Pair) -> set[ProblemCode]:
    """The codes of a refusal, after which the client has said nothing more and the server never was established."""
    error = pair.errors[pair.client]
    assert isinstance(error, CertificateRefused)
    assert not pair.client.established
    assert pair.client.outgoing() == b""
    with pytest.raises(CertificateRefused):
        pair.client.send(b"REGISTER")
    return {one.code for one in error.verdict.problems}


USURPERS = {
    "Common Name": (constrained(permitted="evil.example").issue(common_name=NAME), NAME),
    "Common Name with a dot behind it": (constrained(permitted="evil.example").issue(common_name=f"{NAME}."), NAME),
    "Common Name with a wildcard": (constrained(permitted="evil.example").issue(common_name="*.bank.example"), NAME),
    "Common Name of one label": (constrained(permitted="evil.example").issue(common_name="pbx"), "pbx"),
    "excluded name with a dot behind it": (constrained(excluded="bank.example").issue(f"{NAME}."), NAME),
    "wildcard above an excluded name": (constrained(excluded=NAME).issue("*.bank.example"), NAME),
}


@pytest.mark.parametrize(("server", "name"), USURPERS.values(), ids=USURPERS.keys())
@pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=str)
def test_name_that_the_authority_may_not_certify_is_refused_however_it_is_written(
    server: Issued, name: str, version: TlsVersion
) -> None:
    pair = shake(server, Policy(anchors=TRUST, minimum=version, maximum=version), name)
    assert refused(pair) == {ProblemCode.NAME_NOT_PERMITTED}
    if version is TlsVersion.TLS1_3:
        assert not pair.server.established


def test_uri_of_a_name_that_the_authority_may_not_certify_is_refused() -> None:
    uri = extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"sip:{NAME}")]))
    server = constrained(permitted="evil.example").issue(common_name="-", extensions=[uri])
    policy = Policy(anchors=TRUST, names=NameRule.RFC5922)
    assert refused(shake(server, policy, NAME)) == {ProblemCode.NAME_NOT_PERMITTED}


@pytest.mark.parametrize("constraints", [True, False])
def test_authority_whose_name_constraints_cannot_be_read_certifies_no_name(constraints: bool) -> None:
    # OpenSSL takes a DNS name that is not ASCII, and `cryptography` then reads no extension at all.
    odd = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01\xe4")
    limits = extension(x509.NameConstraints(None, [x509.DNSName("bank.example")]), critical=True)
    authority = ROOT.intermediate("Odd", extensions=[extension(odd), *([limits] if constraints else [])])
    pair = shake(authority.issue(f"{NAME}."), Policy(anchors=TRUST), NAME)
    if constraints:
        assert refused(pair) == {ProblemCode.NAME_NOT_PERMITTED}
    else:
        assert pair.client.established


@pytest.mark.parametrize("entry", [NAME, "*.bank.example"])
def test_name_that_the_authority_may_certify_is_accepted(entry: str) -> None:
    server = constrained(permitted="bank.example", excluded="evil.example").issue(entry)
    assert shake(server, Policy(anchors=TRUST), NAME).client.established


def test_letter_that_only_looks_like_one_in_ascii_matches_nothing() -> None:
    server = ROOT.issue(common_name="sip.ban\N{KELVIN SIGN}.example")
    assert refused(shake(server, Policy(anchors=TRUST), NAME)) == {ProblemCode.NAME_MISMATCH}


@pytest.mark.parametrize("place", range(3))
def test_one_of_several_crls_of_the_same_moment_stops_the_handshake(place: int) -> None:
    server, other = ROOT.issue(NAME), ROOT.issue(NAME)
    begin = ROOT.certificate.not_valid_before_utc
    lists = [crl(ROOT, revoked=[other.certificate], this_update=begin) for _ in range(2)]
    lists.insert(place, crl(ROOT, revoked=[server.certificate], this_update=begin))
    pair = shake(server, Policy(anchors=TRUST, crls=CrlList.from_pem(b"".join(lists))), NAME)
    assert refused(pair) == {ProblemCode.REVOKED}
    assert not pair.server.established
