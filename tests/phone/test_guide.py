"""The guide's page, sentence by sentence: a whole phone on the wire for those that speak of the handshake, the lock and the lists.

Each test's docstring carries the words that it holds the phone to (administrator's guide of the T2/T4/T5 series, page 940; "Yealink
Certificate Authority" is here the emulated manufacturer). Those about uploads, the server certificate and the factory reset are with
what they speak of; `tests/test_guide_page.py` sees to it that no sentence is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sipsua.account.config import AccountConfig
from sipsua.errors import IdentityRefused, SipsuaError
from sipsua.events import Event, HandshakeStepped, Lock, LockChanged, LockState
from sipsua.net.connect import Connector
from sipsua.net.flow import Direction
from sipsua.net.listen import Listener
from sipsua.phone.device import Device
from sipsua.phone.factory import Factory
from sipsua.phone.flash import Flash
from sipsua.phone.provisioning import provision
from sipsua.phone.settings import Settings
from sipsua.phone.trusted import TrustedCertificates
from sipsua.phone.trusting import policy
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.builtin import built_in_roots
from sipsua.trust.policy import TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused, Verdict
from sipsua.ua.user_agent import UserAgent

pytestmark = pytest.mark.asyncio

MAC = "001565aabbcc"
OPERATOR = CertificateAuthority("operator's CA")
SERVER = OPERATOR.issue("127.0.0.1")
OTHER_NAME = OPERATOR.issue("pbx.example.com")


@dataclass
class Seen:
    """What a phone's attempt to register came to."""

    lock: Lock = field(default_factory=Lock)
    verdict: Verdict | None = None
    error: SipsuaError | None = None
    events: list[Event] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)


@dataclass
class Phone:
    """A phone with a flash, as it stands on a desk."""

    flash: Flash
    factory: Factory

    @property
    def trusted(self) -> TrustedCertificates:
        return TrustedCertificates(self.flash)

    @property
    def device(self) -> Device:
        return Device(self.flash, self.factory)

    def set(self, **values: int) -> None:
        Settings(**values).write(self.flash)  # type: ignore[arg-type]

    async def register(self, pbx: PocketPbx) -> Seen:
        seen, settings = Seen(), Settings.read(self.flash)
        trust = policy(settings, self.trusted.trust_list(), self.device.shown(settings.dev_cert).identity)
        config = AccountConfig(uri=pbx.uri("1000"), password="secret", policy=trust)

        def tap(direction: Direction, data: bytes) -> None:
            if direction is Direction.SENT:
                seen.sent.append(data)

        async with UserAgent(config, connector=Connector(tap=tap), steps=True) as ua:
            events = ua.events()
            try:
                await ua.register(10)
            except SipsuaError as error:
                seen.error = error
            seen.lock, seen.verdict = ua.lock, ua.verdict
        seen.events = [event async for event in events]
        return seen


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    return Factory(tmp_path_factory.mktemp("manufacturer"))


@pytest.fixture
def phone(tmp_path: Path, factory: Factory) -> Phone:
    phone = Phone(Flash(tmp_path / "phone"), factory)
    phone.device.issue(MAC, "ec")
    return phone


@pytest.fixture
def operator_ca(tmp_path: Path) -> Path:
    return OPERATOR.write(tmp_path / "operator.pem")


@asynccontextmanager
async def pbx(certificate: object = SERVER, **options: object) -> AsyncIterator[PocketPbx]:
    async with PocketPbx({"1000": "secret"}, certificate=certificate, **options) as running:  # type: ignore[arg-type]
        yield running


def steps(seen: Seen) -> list[str]:
    return [event.step for event in seen.events if isinstance(event, HandshakeStepped)]


async def test_the_negotiation_has_the_steps_of_the_guide(phone: Phone, operator_ca: Path) -> None:
    """'with "Server Hello Done" message.' 'IP phone sends session key information (encrypted by server's public key) in the "Client Key
    Exchange" message.' 'Server sends "Change Cipher Spec" message to activate the negotiated options for all future messages it will
    send.'
    """
    phone.trusted.add(operator_ca)
    async with pbx(maximum=TlsVersion.TLS1_2) as server:
        told = steps(await phone.register(server))
    wanted = [
        *["Server Hello", "Certificate", "Server Key Exchange", "Server Hello Done"],
        *["Client Key Exchange", "Change Cipher Spec (client)", "Change Cipher Spec (server)", "Finished (server)"],
    ]
    assert [step for step in told if step in wanted] == wanted


async def test_sip_is_encrypted_and_the_lock_closes_after_the_negotiation(phone: Phone, operator_ca: Path) -> None:
    """'IP phones can encrypt SIP with TLS, which is called SIPS.' 'When TLS is enabled for an account, the SIP message of this account
    will be encrypted, and a lock icon appears on the LCD screen after the successful TLS negotiation.'
    """
    phone.trusted.add(operator_ca)
    wire = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                wire.extend(data)
                writer.write(data)
        finally:
            writer.close()

    async with pbx() as server:

        async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
            await asyncio.gather(relay(reader, outer), relay(inner, writer), return_exceptions=True)

        middle = await asyncio.start_server(through, "127.0.0.1", 0)
        port, server.port = server.port, middle.sockets[0].getsockname()[1]
        uri, server.port = server.uri("1000"), port
        trust = policy(Settings(), phone.trusted.trust_list())
        async with UserAgent(AccountConfig(uri=uri, password="secret", policy=trust)) as ua:
            events = ua.events()
            await ua.register(10)
            assert ua.lock.locked
        locks = [event.lock.state async for event in events if isinstance(event, LockChanged)]
        middle.close()
    assert locks == [LockState.NEGOTIATING, LockState.LOCKED, LockState.OPEN]
    assert uri.startswith("sips:")
    assert len(wire) > 1000
    for word in (b"REGISTER", b"SIP/2.0", b"1000", b"secret", b"WWW-Authenticate"):
        assert word not in wire


async def test_the_phone_is_a_client_and_a_server(phone: Phone, operator_ca: Path) -> None:
    """'The IP phone can serve as a TLS client or a TLS server.' One phone calls another at its listening port."""
    phone.trusted.add(operator_ca)
    own = phone.device.shown(0).identity
    trust = policy(Settings(), phone.trusted.trust_list(), own)
    async with pbx() as server, Listener(own, host="127.0.0.1", port=0) as listener:
        config = AccountConfig(uri=server.uri("1000"), password="secret", policy=trust)
        async with UserAgent(config, listener=listener) as ua:
            await ua.register(10)
            assert ua.lock.locked
            root = TrustList.from_pem(phone.factory.manufacturer.root_pem)
            caller = AccountConfig(
                uri=f"sips:1000@127.0.0.1:{listener.port}", policy=policy(Settings(ca_cert=1), root, own)
            )
            async with UserAgent(caller) as other:
                with pytest.raises(SipsuaError):
                    await other.register(10)  # a phone is no registrar
                assert other.verdict is not None
                assert other.verdict.verified
                assert other.verdict.chain[0].subject == f"CN={MAC}"


async def test_the_handshake_needs_trusted_and_server_certificates(phone: Phone, operator_ca: Path) -> None:
    """'The TLS requires the following security certificates to perform the TLS handshake': without the trusted one the phone refuses,
    without the server certificate a PBX that demands it does.
    """
    root = phone.factory.manufacturer.root_pem
    async with pbx(client_authority=root) as server:
        untrusting = await phone.register(server)
        assert isinstance(untrusting.error, CertificateRefused)
        phone.trusted.add(operator_ca)
        assert (await phone.register(server)).lock.locked
        bare = policy(Settings(), phone.trusted.trust_list())
        async with UserAgent(AccountConfig(uri=server.uri("1000"), password="secret", policy=bare)) as ua:
            with pytest.raises(IdentityRefused):
                await ua.register(10)


async def test_the_servers_certificate_is_verified_against_the_trusted_list(phone: Phone, operator_ca: Path) -> None:
    """'When the IP phone requests a TLS connection with a server, the IP phone should verify the certificate sent by the server to decide
    whether it is trusted based on the trusted certificates list.' 'The IP phone can authenticate the server certificate based on the
    trusted certificates list.'
    """
    async with pbx() as server:
        before = await phone.register(server)
        assert isinstance(before.error, CertificateRefused)
        assert (before.lock.state, before.sent) == (LockState.REFUSED, [])
        phone.trusted.add(operator_ca)
        after = await phone.register(server)
        assert (after.error, after.lock.locked, after.lock.verified) == (None, True, True)
        assert (after.lock.anchor, after.lock.anchor_list) == ("CN=operator's CA", "custom")
        phone.trusted.delete_all()
        assert isinstance((await phone.register(server)).error, CertificateRefused)


async def test_lists_hold_default_and_custom_certificates(phone: Phone, operator_ca: Path) -> None:
    """'The trusted certificates list and the server certificates list contain the default and custom certificates.'"""
    phone.trusted.add(operator_ca)
    both = policy(Settings(), phone.trusted.trust_list()).anchors
    assert {anchor.origin for anchor in both} == {"built-in", "custom"}
    assert len(both) == len(built_in_roots()) + 1
    custom = operator_ca.with_name("own.pem")
    custom.write_bytes(SERVER.chain_pem + SERVER.key_pem)
    phone.device.upload(custom)
    assert [phone.device.shown(choice).kind for choice in (0, 1)] == ["unique", "custom"]


@pytest.mark.parametrize(
    ("ca_cert", "accepted"), [(0, False), (1, True), (2, True)], ids=["default", "custom", "all certificates"]
)
async def test_which_lists_count_can_be_specified(
    phone: Phone, operator_ca: Path, ca_cert: int, accepted: bool
) -> None:
    """'You can specify the type of certificates the IP phone accepts: default certificates, custom certificates or all certificates.'"""
    phone.trusted.add(operator_ca)
    phone.set(ca_cert=ca_cert)
    async with pbx() as server:
        assert (await phone.register(server)).lock.locked is accepted


async def test_trust_certificates_0_takes_any_certificate_and_the_lock_says_so(phone: Phone) -> None:
    phone.set(trust_certificates=0)
    async with pbx() as server:
        seen = await phone.register(server)
    assert (seen.lock.locked, seen.lock.verified) == (True, False)


@pytest.mark.parametrize("cn_validation", [0, 1])
async def test_common_name_validation_refuses_the_name_of_another_server(
    phone: Phone, operator_ca: Path, cn_validation: int
) -> None:
    """'Common Name Validation feature enables the IP phone to mandatorily validate the common name of the certificate sent by the
    connecting server.'
    """
    phone.trusted.add(operator_ca)
    phone.set(cn_validation=cn_validation)
    async with pbx(OTHER_NAME) as server:
        seen = await phone.register(server)
    assert seen.lock.locked is not bool(cn_validation)
    if cn_validation:
        assert isinstance(seen.error, CertificateRefused)
        assert seen.error.verdict.name_only


@pytest.mark.parametrize(
    ("names", "common_name", "accepted"),
    [
        (("127.0.0.1",), "anything", True),
        (("pbx.example.com",), "127.0.0.1", False),
        ((), "127.0.0.1", False),
    ],
    ids=["iPAddress", "address as CN beside a dNSName", "address as CN alone"],
)
async def test_common_name_validation_is_that_of_rfc_2818(
    phone: Phone, operator_ca: Path, names: tuple[str, ...], common_name: str, accepted: bool
) -> None:
    """'And Security verification rules are compliant with RFC 2818.' Section 3.1: an address that is asked for must be an iPAddress of
    the subjectAltName. All cells of the rule are in tests/trust/test_names.py.
    """
    phone.trusted.add(operator_ca)
    phone.set(cn_validation=1)
    async with pbx(OPERATOR.issue(*names, common_name=common_name)) as server:
        assert (await phone.register(server)).lock.locked is accepted


async def test_the_76_are_those_of_appendix_c_as_far_as_they_are_known(phone: Phone) -> None:
    """'The IP phone has 76 built-in trusted certificates' 'For more information on 76 trusted certificates, refer to Appendix C: Trusted
    Certificates' (here certs/README.md).
    """
    roots = built_in_roots()
    assert len(roots) == 76
    readme = (Path(__file__).parents[2] / "certs" / "README.md").read_text()
    missing = [anchor.subject for anchor in roots if anchor.fingerprint[:16] not in readme.lower().replace(":", "")]
    assert missing == []


async def test_trusted_and_server_certificates_are_also_known_as_ca_and_device_certificates(
    phone: Phone, operator_ca: Path, tmp_path: Path
) -> None:
    """'In TLS feature, we use the terms trusted and server certificate. These are also known as CA and device certificates.' So the
    parameters that choose them are called ca_cert and dev_cert.
    """
    phone.trusted.add(operator_ca)
    both = SERVER.chain_pem + SERVER.key_pem
    (tmp_path / "own.pem").write_bytes(both)
    phone.device.upload(tmp_path / "own.pem")
    (tmp_path / "phone.cfg").write_text(
        "#!version:1.0.0.1\nstatic.security.ca_cert = 1\nstatic.security.dev_cert = 1\n"
    )
    settings = provision(phone.flash, tmp_path / "phone.cfg").settings
    trust = policy(settings, phone.trusted.trust_list(), phone.device.shown(settings.dev_cert).identity)
    assert {anchor.origin for anchor in trust.anchors} == {"custom"}
    assert trust.identity is not None
    assert trust.identity.subject == "CN=127.0.0.1"
