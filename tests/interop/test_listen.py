"""The phone's listening port and clients that we did not write: openssl, and a Kamailio that calls the phone back as an old PBX does.

The guide: "The IP phone can serve as a TLS client or a TLS server."
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest

from sipsua.account.config import AccountConfig
from sipsua.account.persona import GENERIC, YEALINK, Persona
from sipsua.events import InboundClosed, InboundFailed, InboundOpened
from sipsua.testing.pki import CertificateAuthority, IssuedFiles
from sipsua.trust.identity import Identity
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused
from sipsua.ua.user_agent import UserAgent
from tests.interop.kamailio import Kamailio
from tests.net.callers import listening, options

pytestmark = pytest.mark.interop

StartKamailio = Callable[..., Kamailio]


@pytest.fixture(scope="module")
def identity(authority: CertificateAuthority) -> Identity:
    """The phone's certificate, by the authority that the servers trust."""
    issued = authority.intermediate("phone CA").issue(common_name="001565abcdef")
    return Identity.from_pem(issued.chain_pem, issued.key_pem)


@pytest.fixture(scope="module")
def anchors(authority: CertificateAuthority) -> TrustList:
    """The phone's trust list, for both of its roles."""
    return TrustList.from_pem(authority.pem)


def registering(pbx: Kamailio, anchors: TrustList, identity: Identity, persona: Persona = GENERIC) -> AccountConfig:
    return AccountConfig(
        uri=f"sip:1000@127.0.0.1:{pbx.port};transport=tls",
        password="secret",
        policy=Policy(anchors=anchors, identity=identity),
        persona=persona,
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_verifies_the_phone_and_gets_200(
    version: str,
    identity: Identity,
    anchors: TrustList,
    authority_file: Path,
    server_files: IssuedFiles,
    require_program: Callable[[str], str],
) -> None:
    """The guide: "When clients request a TLS connection with the IP phone, the IP phone sends the server certificate to the clients
    for authentication."
    """
    async with listening("1000", identity=identity, client_anchors=anchors) as phone:
        command = [require_program("openssl"), "s_client", version, "-connect", f"127.0.0.1:{phone.port}", "-quiet"]
        command += ["-CAfile", str(authority_file), "-verify_return_error"]
        command += ["-cert", str(server_files.certificate), "-key", str(server_files.key)]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(options("1000", 1))
        async with asyncio.timeout(20):
            answer = await process.stdout.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"SIP/2.0 200 OK\r\n")
        process.terminate()
        await process.communicate()
        (opened,) = phone.of(InboundOpened)
        assert opened.protocol == version.replace("-tls", "TLSv").replace("_", ".")
        assert opened.certificate is not None
        assert opened.certificate.subject == "CN=127.0.0.1"
        await phone.until_told(InboundClosed)


@pytest.mark.asyncio
@pytest.mark.parametrize("persona", [GENERIC, YEALINK], ids=lambda persona: persona.name)
async def test_kamailio_calls_the_phone_back_at_its_contact_by_mutual_tls_both_ways(
    kamailio: StartKamailio, identity: Identity, anchors: TrustList, authority_file: Path, persona: Persona
) -> None:
    """The guide: "The IP phone can serve as a TLS client or a TLS server." Here it is both, and each side shows its certificate in
    either role."""
    pbx = kamailio(dials=True, client_ca=authority_file)
    async with listening(identity=identity, client_anchors=anchors) as phone:
        async with UserAgent(registering(pbx, anchors, identity, persona), listener=phone) as ua:
            await ua.register(within=20)
            (binding,) = pbx.bindings("1000")
            assert binding.contact.lower() == f"sip:1000@127.0.0.1:{phone.port};transport=tls"
            assert phone.of(InboundOpened) == []
            assert await asyncio.to_thread(pbx.dial, "1000") == (200, "OK")
            (opened,) = phone.of(InboundOpened)
            assert opened.certificate is not None
            assert opened.certificate.subject == "CN=127.0.0.1"
            assert await asyncio.to_thread(pbx.send, "1000") == (200, "OK")  # on the flow of the registration
            assert await asyncio.to_thread(pbx.dial, "1000", "MESSAGE") == (200, "OK")
            assert len(phone.of(InboundOpened)) == 1  # Kamailio keeps its connection
            assert ua.lock.locked
        assert pbx.bindings("1000") == []
    assert [event.reason for event in phone.of(InboundClosed)] == ["the phone stopped listening"]


@pytest.mark.asyncio
async def test_kamailio_whose_certificate_the_phone_does_not_trust_is_turned_away(
    kamailio: StartKamailio, identity: Identity, anchors: TrustList, authority_file: Path
) -> None:
    pbx = kamailio(dials=True, client_ca=authority_file)
    strangers = TrustList.from_pem(CertificateAuthority("another CA").pem)
    async with (
        listening(identity=identity, client_anchors=strangers) as phone,
        UserAgent(registering(pbx, anchors, identity), listener=phone) as ua,
    ):
        await ua.register(within=20)
        status, _ = await asyncio.to_thread(pbx.dial, "1000")
        assert status >= 400
        failed = (await phone.until_told(InboundFailed))[0]
        assert isinstance(failed.error, CertificateRefused)
        assert failed.error.alert == 48
        assert "CN=127.0.0.1" in failed.error.what
        assert ua.lock.locked
        assert await asyncio.to_thread(pbx.send, "1000") == (200, "OK")


@pytest.mark.asyncio
async def test_phone_whose_certificate_kamailio_does_not_trust_is_not_called(
    kamailio: StartKamailio, identity: Identity, anchors: TrustList, authority_file: Path
) -> None:
    pbx = kamailio(dials=True, client_ca=authority_file)
    stranger = CertificateAuthority("another CA").issue(common_name="001565000000")
    async with (
        listening(identity=Identity.from_pem(stranger.chain_pem, stranger.key_pem)) as phone,
        UserAgent(registering(pbx, anchors, identity), listener=phone) as ua,
    ):
        await ua.register(within=20)
        status, _ = await asyncio.to_thread(pbx.dial, "1000")
        assert status >= 400
        failed = (await phone.until_told(InboundFailed))[0]
        assert "unknown_ca (48)" in failed.error.what
        assert failed.error.fix == "look at the client's log: it says what it does not like in this server"
