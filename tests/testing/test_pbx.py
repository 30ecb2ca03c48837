"""The pocket PBX on loopback, against Python's own TLS client: a peer that shares no TLS code with it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Unpack, cast

import pytest

from sipsua.errors import BadConfiguration, FlowLost, Misuse, NoAnswer
from sipsua.sip.digest import Challenge, DigestClient
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.message import Request, Response, respond
from sipsua.testing import misbehaviour
from sipsua.testing.misbehaviour import Step, Then
from sipsua.testing.pbx import PbxFlow, PocketPbx
from sipsua.testing.pki import CertificateAuthority, IssuedFiles, self_signed
from sipsua.testing.registrar import Settings, users_in
from sipsua.trust.policy import TlsVersion
from sipsua.trust.store import TrustList

pytestmark = pytest.mark.asyncio


def trusting(ca_pem: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ca_pem.decode())


class Client:
    """A phone made of Python's own TLS and our message codec."""

    def __init__(self, pbx: PocketPbx, user: str = "1000", password: str = "secret") -> None:
        self.pbx = pbx
        self.user = user
        self.uri = f"sips:127.0.0.1:{pbx.port}"
        self.digest = DigestClient(user, password)
        self.framer = Framer()
        self.cseq = 0

    async def connect(self, context: ssl.SSLContext | None = None) -> Client:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.pbx.port, ssl=context or trusting(self.pbx.ca_pem)
        )
        self.local = self.writer.get_extra_info("sockname")
        return self

    def register(self, expires: int = 3600) -> None:
        self.cseq += 1
        headers = [
            ("Via", f"SIP/2.0/TLS 127.0.0.1:{self.local[1]};branch=z9hG4bK{self.cseq};rport"),
            ("Max-Forwards", "70"),
            ("From", f"<sips:{self.user}@127.0.0.1>;tag=a"),
            ("To", f"<sips:{self.user}@127.0.0.1>"),
            ("Call-ID", f"{self.user}-{self.local[1]}"),
            ("CSeq", f"{self.cseq} REGISTER"),
            ("Contact", f"<sips:{self.user}@127.0.0.1:{self.local[1]}>"),
            ("Expires", str(expires)),
        ]
        if self.digest.challenge is not None:
            headers.append(("Authorization", self.digest.authorize("REGISTER", self.uri, b"", "cnonce")))
        self.writer.write(bytes(Request("REGISTER", self.uri, [*headers, ("Content-Length", "0")])))

    async def frame(self) -> Request | Response | KeepAlive:
        while (frame := self.framer.next_frame()) is None:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self.framer.receive(data)
        return frame

    async def response(self) -> Response:
        frame = await self.frame()
        assert isinstance(frame, Response)
        if frame.check().status == 401:
            self.digest.answer(Challenge.parse(frame.required("www-authenticate")))
        return frame

    async def send(self, expires: int = 3600) -> Response:
        """One REGISTER and its answer."""
        self.register(expires)
        return await self.response()

    async def bind(self, expires: int = 3600) -> Response:
        """REGISTER, and again with credentials where they are wanted."""
        response = await self.send(expires)
        return await self.send(expires) if response.status == 401 else response

    async def is_closed(self) -> bool:
        """Whether the server has closed, once all that it sent is read."""
        return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def pocket(**settings: Unpack[Settings]) -> AsyncIterator[tuple[PocketPbx, Client]]:
    """A PBX and a phone that is connected to it."""
    async with PocketPbx({"1000": "secret"}, **settings) as pbx:
        client = await Client(pbx).connect()
        try:
            yield pbx, client
        finally:
            await client.close()


def options(name: str = "a") -> bytes:
    return (
        "OPTIONS sips:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1\r\n"
        f"From: <sips:{name}@b>;tag=1\r\nTo: <sips:127.0.0.1>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


# Registering


@pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=str)
async def test_a_phone_registers_refreshes_and_unregisters(version: TlsVersion) -> None:
    async with PocketPbx({"1000": "secret"}, minimum=version, maximum=version) as pbx:
        client = await Client(pbx).connect()
        assert [(await client.send()).status for _ in range(3)] == [401, 200, 200]
        (binding,) = pbx.bindings["1000"]
        assert isinstance(binding.flow, PbxFlow)
        assert binding.flow.source == client.local
        assert binding.flow.protocol == str(version)
        assert binding.flow.cipher
        assert binding.flow.client_certificate is None
        assert (await client.send(0)).status == 200
        assert pbx.bindings == {}
        assert pbx.registrar.requests == {"REGISTER": 4}
        assert pbx.registrar.responses == {401: 1, 200: 3}
        await client.close()
        assert not pbx.failures


async def test_a_wrong_password_is_challenged_again() -> None:
    async with pocket() as (pbx, client):
        client.digest = DigestClient("1000", "wrong")
        assert (await client.bind()).status == 401
        assert pbx.bindings == {}


async def test_an_unknown_user_is_not_found() -> None:
    async with pocket() as (_, client):
        client.user = "1999"
        assert (await client.send()).status == 404


async def test_what_is_too_brief_gets_423() -> None:
    async with pocket(min_expires=60) as (_, client):
        response = await client.bind(30)
        assert (response.status, response.min_expires) == (423, 60)
        assert (await client.send(60)).status == 200


async def test_the_via_says_where_the_phone_really_is() -> None:
    async with pocket() as (_, client):
        via = (await client.send()).via
        assert (via.params["received"], via.params["rport"]) == ("127.0.0.1", str(client.local[1]))


async def test_a_binding_ends_when_its_flow_closes() -> None:
    async with pocket() as (pbx, client):
        await client.bind()
        assert "1000" in pbx.bindings
        await client.close()
        await pbx.until(lambda: not pbx.flows)
        assert pbx.bindings == {}


async def test_a_binding_outlives_its_flow_where_it_shall() -> None:
    async with PocketPbx({"1000": "secret"}, bindings_outlive_flow=True) as pbx:
        client = await Client(pbx).connect()
        await client.bind()
        await client.close()
        await pbx.until(lambda: not pbx.flows)
        assert "1000" in pbx.bindings
        with pytest.raises(FlowLost, match="1000"):
            await pbx.request("1000")


async def test_hundreds_of_phones_at_the_same_time() -> None:
    users = users_in("1000-1199", "secret")
    async with PocketPbx(users) as pbx:
        context = trusting(pbx.ca_pem)

        async def phone(user: str) -> Client:
            client = await Client(pbx, user).connect(context)
            assert (await client.bind()).status == 200
            return client

        clients = await asyncio.gather(*map(phone, users))
        assert sorted(pbx.bindings) == list(users)
        assert len(pbx.flows) == 200
        await asyncio.gather(*(client.close() for client in clients))
        await pbx.until(lambda: not pbx.flows)
        assert not pbx.failures


# Keep-alive, and requests to the phone


async def test_a_ping_gets_a_pong() -> None:
    async with pocket() as (pbx, client):
        client.writer.write(b"\r\n\r\n")
        assert await client.frame() is KeepAlive.PONG
        assert pbx.pings == 1


async def test_a_ping_gets_no_pong_where_none_is_given() -> None:
    async with pocket() as (pbx, client):
        pbx.pongs = False
        client.writer.write(b"\r\n\r\n" + options())
        assert isinstance(await client.frame(), Response)
        assert pbx.pings == 1


async def test_a_registered_phone_can_be_called_back_on_its_flow() -> None:
    async with pocket() as (pbx, client):
        await client.bind()
        waiting = asyncio.ensure_future(pbx.request("1000", "OPTIONS", (("Accept", "application/sdp"),)))
        request = await client.frame()
        assert isinstance(request, Request)
        assert request.check().uri_text == f"sips:1000@127.0.0.1:{client.local[1]}"
        assert request.first("accept") == "application/sdp"
        client.writer.write(bytes(respond(request, 100, "Trying")) + bytes(respond(request, 200, "OK", to_tag="b")))
        assert (await waiting).status == 200


async def test_a_request_to_a_phone_that_leaves_or_is_silent_or_unknown_says_so() -> None:
    async with pocket() as (pbx, client):
        with pytest.raises(Misuse, match="nothing is bound to 1000"):
            await pbx.request("1000")
        await client.bind()
        with pytest.raises(NoAnswer, match=r"1000 did not answer OPTIONS within 0\.01 s"):
            await pbx.request("1000", within=0.01)
        assert isinstance(await client.frame(), Request)
        waiting = asyncio.ensure_future(pbx.request("1000"))
        assert isinstance(await client.frame(), Request)
        await client.close()
        with pytest.raises(FlowLost, match="closed its flow"):
            await waiting


async def test_a_response_that_nobody_waits_for_or_that_is_malformed_is_let_pass() -> None:
    async with pocket() as (pbx, client):
        answer = (
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK9\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n"
        )
        answer += b"Call-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        client.writer.write(answer + answer.replace(b"Via", b"Vie") + options())
        assert (await client.response()).status == 200
        assert list(pbx.failures) == ["Via is missing"]


async def test_requests_in_one_piece_are_answered_in_their_order() -> None:
    async with pocket() as (_, client):
        client.writer.write(b"".join(options(name) for name in "abc"))
        assert [(await client.response()).from_.uri.user for _ in range(3)] == ["a", "b", "c"]


# Bad clients


async def test_plain_text_is_told_from_tls_and_closed() -> None:
    async with pocket() as (pbx, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", pbx.port)
        writer.write(options())
        await reader.read()
        writer.close()
        assert "does not speak TLS but SIP" in pbx.failures[-1]
        assert (await client.send()).status == 401


async def test_garbage_after_the_handshake_closes_that_flow_only() -> None:
    async with pocket() as (pbx, client):
        bad = await Client(pbx).connect()
        bad.writer.write(b"\x00\x01\x02 no SIP at all\r\n\r\n")
        assert await bad.is_closed()
        await bad.close()
        assert "this is not SIP" in pbx.failures[-1]
        assert (await client.send()).status == 401


async def test_a_request_without_content_length_is_answered_before_the_close() -> None:
    async with pocket() as (_, client):
        client.writer.write(options().replace(b"Content-Length: 0\r\n", b""))
        assert (await client.response()).status == 400
        assert await client.is_closed()


async def test_a_client_that_trusts_another_authority_leaves_its_alert_in_the_failures() -> None:
    async with pocket() as (pbx, _):

        def client() -> None:
            # asyncio's own TLS does not send the alert.
            with socket.create_connection(("127.0.0.1", pbx.port)) as tcp, pytest.raises(ssl.SSLCertVerificationError):
                trusting(CertificateAuthority().pem).wrap_socket(tcp, server_hostname="127.0.0.1")

        await asyncio.to_thread(client)
        await pbx.until(lambda: pbx.failures)
        assert "unknown_ca (48)" in pbx.failures[-1]


async def test_a_handshake_that_takes_too_long_is_ended() -> None:
    async with PocketPbx({}, handshake_limit=0.02) as pbx:
        reader, writer = await asyncio.open_connection("127.0.0.1", pbx.port)
        assert await reader.read() == b""
        writer.close()
        assert "took too long for its TLS handshake" in pbx.failures[-1]


async def test_half_a_message_that_is_not_finished_in_time_ends_the_flow() -> None:
    async with PocketPbx({}, message_limit=0.02) as pbx:
        client = await Client(pbx).connect()
        client.writer.write(options() + options()[:50])
        assert (await client.response()).status == 200
        assert await client.is_closed()
        await client.close()
        assert "took too long for the rest of its message" in pbx.failures[-1]


async def test_a_message_that_comes_in_pieces_is_answered() -> None:
    async with PocketPbx({}, message_limit=30.0) as pbx:
        client = await Client(pbx).connect()
        (flow,) = pbx.flows
        for octet in options():
            client.writer.write(bytes([octet]))
            await client.writer.drain()
        assert (await client.response()).status == 200
        assert not flow.is_closing
        await client.close()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with pocket() as (pbx, client):
        bad = await Client(pbx).connect()
        cast(asyncio.Transport, bad.writer.transport).pause_reading()
        request = options("a" * 30_000)
        with contextlib.suppress(ConnectionError):
            while not pbx.failures:
                bad.writer.write(request)
                await asyncio.sleep(0)
        bad.writer.transport.abort()
        assert "does not read what it is sent" in pbx.failures[-1]
        assert (await client.send()).status == 401


# Certificates


async def test_a_client_certificate_is_demanded_and_known(tmp_path: Path) -> None:
    phones = CertificateAuthority("phones")
    async with PocketPbx({"1000": "secret"}, client_authority=phones) as pbx:
        context = trusting(pbx.ca_pem)
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # the refusal is then part of the handshake
        with pytest.raises(ssl.SSLError):
            await Client(pbx).connect(context)
        assert "showed no certificate" in pbx.failures[-1]

        context = trusting(pbx.ca_pem)
        files = phones.issue("phone-1").write(tmp_path)
        context.load_cert_chain(files.certificate, files.key)
        client = await Client(pbx).connect(context)
        assert (await client.bind()).status == 200
        flow = pbx.bindings["1000"][0].flow
        assert isinstance(flow, PbxFlow)
        assert flow.client_certificate is not None
        assert flow.client_certificate.subject.rfc4514_string() == "CN=phone-1"
        await client.close()


async def test_a_certificate_may_be_given_in_each_form(tmp_path: Path) -> None:
    authority = CertificateAuthority()
    issued = authority.intermediate().issue("127.0.0.1")
    for certificate in (issued, issued.write(tmp_path), (issued.chain_pem, issued.key_pem)):
        async with PocketPbx({"1000": "secret"}, certificate=certificate) as pbx:
            client = await Client(pbx).connect(trusting(authority.pem))
            assert (await client.send()).status == 401
            await client.close()
            with pytest.raises(Misuse, match="has made no authority"):
                _ = pbx.ca_pem


async def test_its_own_certificate_names_loopback_and_its_host() -> None:
    async with PocketPbx({}, host="127.0.0.2") as pbx:
        for name in ("localhost", "127.0.0.1", "127.0.0.2", "::1"):
            _, writer = await asyncio.open_connection(
                "127.0.0.2", pbx.port, ssl=trusting(pbx.ca_pem), server_hostname=name
            )
            writer.close()
            await writer.wait_closed()
        assert pbx.authority.pem == pbx.ca_pem


async def test_what_it_cannot_use_is_refused_with_the_reason() -> None:
    with pytest.raises(BadConfiguration):
        PocketPbx({}, certificate=(b"nonsense", b""))
    with pytest.raises(BadConfiguration, match="does not belong"):
        PocketPbx({}, certificate=(self_signed("a").certificate_pem, self_signed("b").key_pem))
    async with PocketPbx({}) as pbx:
        with pytest.raises(BadConfiguration, match=f"cannot listen on 127.0.0.1 port {pbx.port}"):
            await PocketPbx({}, port=pbx.port).start()


async def test_a_user_has_an_address_of_either_scheme() -> None:
    async with PocketPbx({}) as pbx:
        assert pbx.uri("10 00") == f"sips:10%2000@127.0.0.1:{pbx.port}"
        assert pbx.uri("1000", "sip") == f"sip:1000@127.0.0.1:{pbx.port};transport=tls"
    async with PocketPbx({}, host="0.0.0.0") as pbx:
        assert pbx.uri("1000") == f"sips:1000@localhost:{pbx.port}"


# Misbehaviour


async def test_scripted_statuses_take_the_place_of_the_right_answers_in_their_order() -> None:
    async with pocket() as (pbx, client):
        pbx.script(None, [Step(), Step(status=503, headers=(("Retry-After", "7"),)), Step(status=302)])
        assert (await client.send()).status == 401
        response = await client.send()
        assert (response.status, response.reason, response.retry_after) == (503, "Service Unavailable", 7)
        assert (await client.send()).status == 302
        assert pbx.bindings == {}
        assert (await client.send()).status == 200


async def test_a_script_is_for_one_user_and_goes_before_that_for_all() -> None:
    async with PocketPbx(users_in("1000-1001", "secret")) as pbx:
        pbx.script("1000", itertools.repeat(Step(status=403)))
        pbx.script(None, lambda request: Step(status=480) if request.cseq.number > 1 else None)
        one, two = await Client(pbx, "1000").connect(), await Client(pbx, "1001").connect()
        assert [(await one.send()).status for _ in range(2)] == [403, 403]
        assert [(await two.send()).status for _ in range(2)] == [401, 480]
        pbx.script("1000", [])
        assert (await one.send()).status == 401
        await one.close()
        await two.close()


async def test_a_stale_challenge_comes_whatever_the_credentials() -> None:
    async with pocket() as (pbx, client):
        await client.send()
        pbx.script(None, [Step(stale=True)])
        assert Challenge.parse((await client.send()).required("www-authenticate")).stale
        assert (await client.send()).status == 200


async def test_silence_and_delay_hold_an_answer_back_but_not_the_next() -> None:
    async with pocket() as (pbx, client):
        pbx.script(None, [Step(edit=misbehaviour.silence), Step(delay=0.03)])
        client.register()
        client.register()
        client.writer.write(options())
        assert [(await client.response()).cseq for _ in range(2)] == [(1, "OPTIONS"), (2, "REGISTER")]


async def test_an_edit_changes_the_answer_on_its_way() -> None:
    async with pocket() as (pbx, client):
        pbx.script(None, [Step(edit=misbehaviour.twice), Step(edit=misbehaviour.contacts("<sip:x@y>;expires=5"))])
        assert [(await client.send()).status, (await client.response()).status] == [401, 401]
        assert (await client.send()).values("contact") == ["<sip:x@y>;expires=5"]
        assert "1000" in pbx.bindings


async def test_another_request_is_sent_ahead_of_the_answer() -> None:
    async with pocket() as (pbx, client):
        pbx.script(None, [Step(ask="OPTIONS")])
        client.register()
        request = await client.frame()
        assert isinstance(request, Request)
        assert request.check().method == "OPTIONS"
        assert (await client.response()).status == 401
        client.writer.write(bytes(respond(request, 200, "OK", to_tag="b")))
        await pbx.until(lambda: pbx.replies)
        (reply,) = pbx.replies
        assert isinstance(reply, Response)
        assert reply.status == 200


async def test_a_request_sent_ahead_that_stays_unanswered_is_let_go_at_the_end() -> None:
    async with pocket() as (pbx, client):
        pbx.script(None, [Step(ask="OPTIONS")])
        client.register()
        await client.frame()
        await client.close()
        await pbx.until(lambda: pbx.replies)
        assert isinstance(pbx.replies[0], FlowLost)


@pytest.mark.parametrize(
    ("then", "end"),
    [(Then.CLOSE, b""), (Then.BREAK, ssl.SSLEOFError), (Then.RESET, ConnectionResetError)],
)
@pytest.mark.parametrize("delay", [0.0, 0.01])
async def test_the_flow_ends_as_scripted(then: Then, end: object, delay: float) -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        pbx.script(None, [Step(edit=misbehaviour.half, then=then, delay=delay)])

        def client() -> object:
            # On memory BIOs, since Python's TLS sockets do not tell a reset from a truncation.
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = trusting(pbx.ca_pem).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            plaintext = b""
            with socket.create_connection(("127.0.0.1", pbx.port)) as tcp:

                def step(function: Callable[[], object]) -> object:
                    while True:
                        try:
                            return function()
                        except ssl.SSLWantReadError:
                            tcp.sendall(outgoing.read())
                            if data := tcp.recv(65536):
                                incoming.write(data)
                            else:
                                incoming.write_eof()

                step(tls.do_handshake)
                tls.write(options())
                try:
                    while data := step(tls.read):
                        assert isinstance(data, bytes)
                        plaintext += data
                    end: object = data
                except OSError as error:
                    end = type(error)
            if then is not Then.RESET:  # which throws away what is under way
                assert plaintext.startswith(b"SIP/2.0 200 OK\r\n")
                assert b"\r\n\r\n" not in plaintext
            return end

        assert await asyncio.to_thread(client) == end


# Start and end


async def test_the_end_closes_all_flows_those_in_their_handshake_too() -> None:
    pbx = PocketPbx({"1000": "secret"})
    await pbx.start()
    client = await Client(pbx).connect()
    reader, writer = await asyncio.open_connection("127.0.0.1", pbx.port)
    await client.bind()
    assert len(pbx.flows) == 2
    await pbx.close()
    await pbx.close()
    assert pbx.flows == set()
    assert not pbx.is_listening
    assert await client.is_closed()
    assert await reader.read() == b""
    writer.close()
    await client.close()


async def test_waiting_ends_with_a_reason_where_nothing_comes() -> None:
    async with pocket() as (pbx, client):
        with pytest.raises(NoAnswer, match=r"did not come about in 0\.01 s"):
            await pbx.until(lambda: pbx.pings, within=0.01)
        waiting = asyncio.ensure_future(pbx.until(lambda: 1 / (1 - pbx.pings) < 0))
        await asyncio.sleep(0)
        client.writer.write(b"\r\n\r\n")
        with pytest.raises(ZeroDivisionError):
            await waiting
        assert (await client.frame(), (await client.send()).status) == (KeepAlive.PONG, 401)


async def test_a_weak_key_is_bad_configuration_when_the_pbx_is_made() -> None:
    with pytest.raises(BadConfiguration, match=r"key of RSA 1024 is too weak.*use RSA 2048 or P-256"):
        PocketPbx({"1000": "secret"}, certificate=self_signed("127.0.0.1", key="rsa1024"))


async def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    one, other = (self_signed("127.0.0.1").write(tmp_path, stem) for stem in ("one", "other"))
    with pytest.raises(BadConfiguration, match=r"the private key in .*other\.key does not belong to .* in .*one\.pem"):
        PocketPbx({"1000": "secret"}, certificate=IssuedFiles(one.certificate, other.key))


async def test_clients_may_be_held_to_a_trust_list(tmp_path: Path) -> None:
    phones = CertificateAuthority("phones")
    async with PocketPbx({"1000": "secret"}, client_authority=TrustList.from_pem(phones.pem)) as pbx:
        context = trusting(pbx.ca_pem)
        files = phones.issue("phone-1").write(tmp_path)
        context.load_cert_chain(files.certificate, files.key)
        client = await Client(pbx).connect(context)
        assert (await client.bind()).status == 200
        await client.close()
