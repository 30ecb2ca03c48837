"""What a policy may loosen or tighten in a handshake: versions, suites, security level, staples, revocation lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL

from sipsua.errors import BadConfiguration, HandshakeFailed
from sipsua.net.tls import TlsPipe, client_context, server_context
from sipsua.testing.pki import CertificateAuthority, Issued
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused
from tests.net.test_tls import Pair

ROOT = CertificateAuthority("root", key="rsa")
SERVER = ROOT.issue("sip.example.com", key="rsa")
TRUST = TrustList.from_pem(ROOT.pem)
NAME = "sip.example.com"
UNSUCCESSFUL = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
OLD = (TlsVersion.TLS1_0, TlsVersion.TLS1_1)


def lax_server(
    version: TlsVersion | None = None, ciphers: bytes = b"ALL:COMPLEMENTOFALL", shown: Issued = SERVER
) -> TlsPipe:
    """A server that takes all that OpenSSL has, of one version."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(ciphers + b":@SECLEVEL=0")
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    context.use_certificate(shown.certificate)
    context.use_privatekey(shown.key)
    for one in shown.chain:
        context.add_extra_chain_cert(one)
    return TlsPipe.server(context)


def shake(server: TlsPipe, **options: Any) -> Pair:
    return Pair(TlsPipe.client(Policy(anchors=TRUST, **options), NAME), server)


@pytest.mark.parametrize("version", OLD, ids=str)
def test_an_old_version_is_spoken_only_where_it_is_called_dangerous(version: TlsVersion) -> None:
    pair = shake(lax_server(version))
    assert isinstance(pair.errors[pair.client], HandshakeFailed)
    pair = shake(lax_server(version), minimum=version, dangerous_old_tls=True)
    assert not pair.errors
    assert pair.client.protocol == str(version)
    assert pair.client.verdict is not None
    assert pair.client.verdict.verified
    with pytest.raises(BadConfiguration) as caught:
        Policy(anchors=TRUST, minimum=version)
    assert (caught.value.what, "dangerous_old_tls" in caught.value.fix) == (
        f"{version} is not safe any more (RFC 8996)",
        True,
    )


def test_old_versions_do_not_let_weak_certificates_in() -> None:
    weak = ROOT.issue(NAME, key="rsa1024")
    pair = shake(lax_server(TlsVersion.TLS1_0, shown=weak), minimum=TlsVersion.TLS1_0, dangerous_old_tls=True)
    error = pair.errors[pair.client]
    assert isinstance(error, CertificateRefused)
    assert [str(problem.code) for problem in error.verdict.problems] == ["weak_key"]
    assert not pair.client.established


def test_weak_certificates_are_taken_where_that_is_called_dangerous() -> None:
    weak = ROOT.issue(NAME, key="rsa1024")
    assert isinstance(shake(lax_server(shown=weak)).errors.popitem()[1], Exception)
    pair = shake(lax_server(shown=weak), dangerous_weak_ciphers=True)
    assert not pair.errors
    verdict = pair.client.verdict
    assert verdict is not None
    assert (verdict.accepted, [str(one.code) for one in verdict.warnings]) == (True, ["weak_key"])


@pytest.mark.parametrize(
    ("ciphers", "agreed"),
    [
        ("AES256-SHA", "AES256-SHA"),
        ("ECDHE+AESGCM+AES256", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("AES:!ADH:!LOW:!EXPORT:!NULL", None),
    ],
)
def test_a_cipher_string_chooses_the_suite(ciphers: str, agreed: str | None) -> None:
    pair = shake(lax_server(TlsVersion.TLS1_2), ciphers=ciphers)
    assert not pair.errors
    assert pair.client.cipher
    assert agreed in (None, pair.client.cipher)


def test_a_suite_without_encryption_is_dangerous() -> None:
    with pytest.raises(BadConfiguration, match="protect too little"):
        Policy(anchors=TRUST, ciphers="NULL-SHA256")
    pair = shake(lax_server(TlsVersion.TLS1_2), ciphers="NULL-SHA256", dangerous_weak_ciphers=True)
    assert pair.client.cipher == "NULL-SHA256"


@pytest.mark.parametrize(
    "ciphers", ["", "RC4-MD5", "no such suite", "ALL:@SECLEVEL=0", "AES256-SHA:@seclevel=1", "AES\n", "Ä", "ALL:Ä"]
)
def test_a_cipher_string_that_cannot_be_used_is_told_where_it_is_given(ciphers: str) -> None:
    with pytest.raises(BadConfiguration, match="the cipher string") as caught:
        Policy(anchors=TRUST, ciphers=ciphers)
    assert caught.value.fix


def test_unprotected_suites_stay_out_of_a_generous_string() -> None:
    context = client_context(Policy(anchors=TRUST, ciphers="ALL:COMPLEMENTOFALL"))
    suites = SSL.Connection(context).get_cipher_list()
    assert suites
    assert not [suite for suite in suites if "NULL" in suite or "ADH" in suite or "AECDH" in suite]


def test_policies_that_differ_in_the_connection_only_share_a_context() -> None:
    policy = Policy(anchors=TRUST)
    assert client_context(policy) is client_context(replace(policy, names="off", staple=True, legacy_path=True))  # type: ignore[arg-type]
    for other in (
        replace(policy, ciphers="AES256-SHA"),
        replace(policy, resume=True),
        replace(policy, dangerous_weak_ciphers=True),
        replace(policy, minimum=TlsVersion.TLS1_0, dangerous_old_tls=True),
    ):
        assert client_context(policy) is not client_context(other)
        assert client_context(other) is client_context(replace(other))


@pytest.mark.parametrize("suite", ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "AES256-SHA"])
def test_a_server_with_one_common_suite_is_reached_without_saying_so(suite: str) -> None:
    pair = shake(lax_server(TlsVersion.TLS1_2, suite.encode()))
    assert (pair.errors, pair.client.cipher) == ({}, suite)


# Staples


def stapling(response: bytes) -> TlsPipe:
    context = server_context(SERVER.chain_pem, SERVER.key_pem)
    context.set_ocsp_server_callback(lambda _connection, _data: response)
    return TlsPipe.server(context)


@pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=str)
@pytest.mark.parametrize("steps", [None, lambda step: None])
def test_a_staple_that_says_nothing_is_refused_with_the_alert_of_rfc_6066(version: TlsVersion, steps: Any) -> None:
    policy = Policy(anchors=TRUST, staple=True, minimum=version, maximum=version)
    pair = Pair(TlsPipe.client(policy, NAME, steps=steps), stapling(UNSUCCESSFUL))
    error = pair.errors[pair.client]
    assert isinstance(error, CertificateRefused)
    assert (error.alert, pair.client.staple) == (113, UNSUCCESSFUL)
    assert (pair.client.established, pair.server.alert_received) == (False, 113)


@pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=str)
def test_no_staple_is_told_apart_from_none_asked_for(version: TlsVersion) -> None:
    policy = Policy(anchors=TRUST, minimum=version, maximum=version)
    asked = Pair(TlsPipe.client(replace(policy, staple=True), NAME), lax_server())
    assert (asked.errors, asked.client.staple) == ({}, b"")
    silent = Pair(TlsPipe.client(policy, NAME), stapling(UNSUCCESSFUL))
    assert (silent.errors, silent.client.staple) == ({}, None)


@pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=str)
@pytest.mark.parametrize("asks", [True, False])
def test_steps_tell_whether_the_server_asked_for_a_certificate(version: TlsVersion, asks: bool) -> None:
    context = server_context(SERVER.chain_pem, SERVER.key_pem)
    if asks:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    policy = Policy(anchors=TRUST, minimum=version, maximum=version)
    pair = Pair(TlsPipe.client(policy, NAME, steps=lambda step: None), TlsPipe.server(context))
    assert (pair.errors, pair.client.asked_for_certificate) == ({}, asks)
