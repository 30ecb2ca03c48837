"""A server is asked what it does: each of its ways is seen, and none of its failures is more than a reason in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sipsua.account.config import Target
from sipsua.errors import HandshakeFailed, IdentityRefused, Unreachable
from sipsua.net.probe import ClientCertificate, Probe, probe
from sipsua.testing.bad_servers import CASES, BadServer
from sipsua.testing.pki import CertificateAuthority, IssuedFiles
from sipsua.trust.identity import Identity
from sipsua.trust.policy import NameRule, Policy, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused, ProblemCode
from tests.net.peer import serving
from tests.net.s_server import s_server

ROOT = CertificateAuthority("probe root")
ISSUER = ROOT.intermediate("probe issuer")
TRUST = TrustList.from_pem(ROOT.pem)
POLICY = Policy(anchors=TRUST)

TLS1_0, TLS1_1, TLS1_2, TLS1_3 = TlsVersion


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> IssuedFiles:
    return ISSUER.issue("127.0.0.1", "localhost", "sip.example.com").write(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def root_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ROOT.write(tmp_path_factory.mktemp("root") / "root.pem")


@pytest.fixture
def openssl(require_program: Callable[[str], str]) -> str:
    return require_program("openssl")


def ask(port: int, policy: Policy = POLICY, *, reference: str | None = None, seconds: float = 20.0) -> Probe:
    return asyncio.run(probe(Target("127.0.0.1", port), policy, reference=reference, seconds=seconds))


def taken(found: Probe) -> dict[TlsVersion, bool | None]:
    return {version: one.taken for version, one in found.versions.items()}


def test_sound_server_is_known_in_every_point(openssl: str, files: IssuedFiles) -> None:
    with s_server(openssl, files, "-cipher", "DEFAULT@SECLEVEL=2") as port:
        found = ask(port)
    assert found.address == f"127.0.0.1:{port}"
    assert found.reference == "127.0.0.1"
    assert taken(found) == {TLS1_0: False, TLS1_1: False, TLS1_2: True, TLS1_3: True}
    assert all(one.reason for one in found.versions.values())
    handshake = found.handshake
    assert handshake.error is None
    assert handshake.established
    assert (handshake.protocol, handshake.group) == ("TLSv1.3", "x25519")
    assert handshake.cipher is not None
    assert handshake.cipher.startswith("TLS_")
    assert handshake.verdict is not None
    assert handshake.verdict.accepted
    assert handshake.verdict.verified
    assert [one.subject for one in handshake.verdict.chain] == ["CN=127.0.0.1", "CN=probe issuer"]
    assert handshake.chain == tuple(one.der for one in handshake.verdict.chain)
    assert [one.step for one in handshake.steps][:2] == ["ClientHello", "ServerHello"]
    assert list(handshake.timings_ms) == ["dns", "tcp", "tls"]
    assert handshake.staple == b""
    assert found.client_certificate is ClientCertificate.NOT_ASKED
    assert found.resumption is not None
    assert found.resumption.resumed
    assert found.best is handshake


def test_old_versions_are_tried_each_alone(openssl: str, files: IssuedFiles) -> None:
    with s_server(openssl, files, "-cipher", "DEFAULT@SECLEVEL=0", "-min_protocol", "TLSv1") as port:
        found = ask(port)
    assert taken(found) == dict.fromkeys(TlsVersion, True)
    assert [one.protocol for one in found.versions.values()] == ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]


@pytest.mark.parametrize("version", [TLS1_0, TLS1_1], ids=str)
def test_server_with_an_old_version_only_is_refused_and_still_described(
    openssl: str, files: IssuedFiles, version: TlsVersion
) -> None:
    switch = {TLS1_0: "-tls1", TLS1_1: "-tls1_1"}[version]
    with s_server(openssl, files, "-cipher", "DEFAULT@SECLEVEL=0", switch) as port:
        found = ask(port)
    assert isinstance(found.handshake.error, HandshakeFailed)
    assert found.handshake.alert_received == 70 or found.handshake.alert_sent == 70
    assert taken(found) == {one: one is version for one in TlsVersion}
    assert found.best is found.versions[version]
    assert found.best.protocol == str(version)
    assert len(found.best.chain) == 2


@pytest.mark.parametrize(
    ("options", "without", "ours", "strangers"),
    [
        (["-verify", "1"], "optional", "accepted", "accepted"),
        (["-Verify", "1", "-verify_return_error"], "demanded", "accepted", "refused"),
        (["-Verify", "1", "-verify_return_error", "-tls1_2"], "demanded", "accepted", "refused"),
    ],
    ids=["asked for", "demanded by TLS 1.3", "demanded by TLS 1.2"],
)
def test_what_a_server_does_about_client_certificates_is_seen(
    openssl: str,
    files: IssuedFiles,
    root_file: Path,
    options: list[str],
    without: str,
    ours: str,
    strangers: str,
) -> None:
    phone = ISSUER.issue("phone.example.com")
    stranger = CertificateAuthority("stranger").issue("phone.example.com")
    with s_server(openssl, files, "-CAfile", str(root_file), *options) as port:
        for issued, expected in ((None, without), (phone, ours), (stranger, strangers)):
            identity = Identity.from_pem(issued.chain_pem, issued.key_pem) if issued is not None else None
            found = ask(port, Policy(anchors=TRUST, identity=identity))
            assert found.client_certificate == expected
            assert found.versions[TLS1_2].taken
            refused = expected in ("demanded", "refused")
            assert isinstance(found.handshake.error, IdentityRefused) is refused
            # The chain is known whatever became of us, and a refusal says nothing about resumption.
            assert found.best.chain[0] == found.versions[TLS1_2].chain[0]
            assert (found.resumption is None) is refused


@pytest.mark.parametrize(
    ("options", "resumed"),
    [
        ([], True),
        (["-tls1_2"], True),
        (["-num_tickets", "0", "-no_cache"], False),
        (["-tls1_2", "-no_ticket", "-no_cache"], False),
    ],
    ids=["1.3 with tickets", "1.2", "1.3 without tickets", "1.2 without sessions"],
)
def test_resumption_is_tried(openssl: str, files: IssuedFiles, options: list[str], resumed: bool) -> None:
    with s_server(openssl, files, *options) as port:
        found = ask(port)
    assert found.resumption is not None
    assert found.resumption.established
    assert found.resumption.resumed is resumed
    assert found.as_json()["resumes"] is resumed


def test_staple_comes_unread(openssl: str, files: IssuedFiles, tmp_path: Path) -> None:
    (tmp_path / "staple.der").write_bytes(b"0\x03\x0a\x01\x03")  # tryLater: RFC 6960 section 4.2.1
    with s_server(openssl, files, "-status_file", str(tmp_path / "staple.der")) as port:
        found = ask(port)
    assert found.best.staple == b"0\x03\x0a\x01\x03"


def test_refused_certificate_is_told_the_server_and_all_else_is_found_out(openssl: str, files: IssuedFiles) -> None:
    with s_server(openssl, files) as port:
        found = ask(port, Policy(anchors=TrustList.empty()))
    assert isinstance(found.handshake.error, CertificateRefused)
    assert not found.handshake.established
    assert found.handshake.alert_sent == 48
    assert len(found.handshake.chain) == 2
    assert found.handshake.verdict is not None
    assert not found.handshake.verdict.accepted
    assert found.best is found.versions[TLS1_3]
    assert found.best.established
    assert found.resumption is not None
    assert found.resumption.resumed


def test_reference_is_verified_and_told_in_place_of_the_host(openssl: str, files: IssuedFiles, tmp_path: Path) -> None:
    other = CertificateAuthority("of another host").issue("sip.example.com").write(tmp_path)
    options = ["-servername", "sip.example.com", "-cert2", str(other.certificate), "-key2", str(other.key)]
    with s_server(openssl, files, *options) as port:
        told, untold = ask(port, reference="sip.example.com"), ask(port, reference="sip.example.net")
    assert told.reference == "sip.example.com"
    assert told.handshake.verdict is not None
    assert [one.issuer for one in told.handshake.verdict.chain][:1] == ["CN=of another host"]
    assert isinstance(untold.handshake.error, CertificateRefused)
    assert [one.code for one in untold.handshake.error.verdict.problems] == [ProblemCode.NAME_MISMATCH]
    assert "sip.example.net" in untold.handshake.error.verdict.problems[0].evidence


def test_name_rule_of_the_policy_decides(openssl: str, files: IssuedFiles) -> None:
    with s_server(openssl, files) as port:
        found = ask(port, Policy(anchors=TRUST, names=NameRule.RFC5922))
    assert isinstance(found.handshake.error, CertificateRefused)
    assert found.handshake.error.verdict.name_only


@pytest.mark.parametrize(
    ("case", "words", "known"),
    [
        ("plain-sip", "does not speak TLS on this port but SIP", False),
        ("plain-http", "does not speak TLS on this port but HTTP", False),
        ("close-at-accept", "instead of beginning a TLS handshake", False),
        ("reset-after-client-hello", "reset the connection in the middle", False),
        ("silence", "did not finish the TLS handshake within 0.5 s", None),
    ],
)
def test_server_without_tls_gets_its_reason(case: str, words: str, known: bool | None) -> None:
    with BadServer(CASES[case]) as server:
        # Who answers is waited for, however busy the machine; who is silent is not.
        found = ask(server.port, seconds=20.0 if known is not None else 1.0)
    assert isinstance(found.handshake.error, HandshakeFailed)
    assert words in found.handshake.error.what
    assert taken(found) == dict.fromkeys(TlsVersion, known)
    assert all(one.reason and one.error is not None for one in found.versions.values())
    assert found.client_certificate is None
    assert found.resumption is None
    assert found.best is found.handshake
    assert found.best.chain == ()


@pytest.mark.parametrize("case", ["silence-after-server-hello", "one-octet-a-second"])
def test_half_a_handshake_ends_in_time(case: str) -> None:
    with BadServer(CASES[case]) as server:
        found = ask(server.port, seconds=1.0)
    assert found.handshake.taken is not False
    assert isinstance(found.handshake.error, HandshakeFailed)
    assert found.resumption is None


@pytest.mark.parametrize("case", ["tls-then-silence", "tls-then-broken-record", "tls-then-close"])
def test_what_a_server_does_after_the_handshake_is_no_failure(case: str) -> None:
    with BadServer(CASES[case]) as server:
        found = ask(server.port, server.policy, reference=server.setup.reference)
    assert found.handshake.error is None
    assert found.handshake.established
    assert found.versions[TLS1_2].taken
    assert found.versions[TLS1_3].taken is (server.setup.maximum is TLS1_3)


def test_closed_port_is_unreachable_and_no_version_is_known() -> None:
    with BadServer(CASES["silence"]) as server:
        port = server.port
    found = ask(port)
    assert isinstance(found.handshake.error, Unreachable)
    assert found.address is None
    assert taken(found) == dict.fromkeys(TlsVersion, None)
    assert found.as_json()["timings_ms"]["tls"] is None


def test_unknown_name_is_unreachable() -> None:
    found = asyncio.run(probe(Target("host.invalid", 5061), POLICY, seconds=2.0))
    assert isinstance(found.handshake.error, Unreachable)
    assert "host.invalid" in found.versions[TLS1_3].reason


@pytest.mark.asyncio
async def test_probe_that_is_cancelled_leaves_no_flow_behind(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        gone.set()

    connected = asyncio.Event()
    async with serving(tmp_path, talk) as peer:
        task = asyncio.create_task(probe(peer.target, peer.policy, seconds=30.0))
        await connected.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 10)


@pytest.mark.asyncio
async def test_server_is_told_nothing_but_tls(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        found = await probe(peer.target, peer.policy, seconds=20.0)
        assert found.handshake.error is None
        assert peer.connections >= 4
        assert peer.received == []


def test_json_has_all_fields_whatever_happened(openssl: str, files: IssuedFiles) -> None:
    with s_server(openssl, files) as port:
        good = ask(port).as_json()
    assert list(good) == list(ask(port, seconds=1.0).as_json())
    assert good["versions"]["TLSv1.3"]["taken"] is True
    assert good["protocol"] == "TLSv1.3"
    assert good["client_certificate"] == "not_asked"
    assert good["handshake"][0] == {"step": "ClientHello", "at_ms": good["handshake"][0]["at_ms"]}
