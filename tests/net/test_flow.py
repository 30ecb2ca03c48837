"""The flow: bytes moved, and each way to end told once."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest

from sipsua.account.config import Limits, Target
from sipsua.errors import FlowLost, HandshakeFailed
from sipsua.net.connect import Connector
from sipsua.net.flow import Direction, Flow, Traffic
from sipsua.net.tls import TlsPipe, server_context
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused, ProblemCode
from tests.net.peer import listen, serving
from tests.net.test_connect import LIMITS, Recorder


@pytest.mark.asyncio
async def test_data_goes_both_ways_and_the_tap_sees_it(tmp_path: Path) -> None:
    seen: list[tuple[Direction, bytes]] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)

    rider = Recorder()
    async with serving(tmp_path, echo) as peer:
        flow = await Connector(tap=lambda way, data: seen.append((way, data))).open(
            rider, peer.target, peer.policy, LIMITS
        )
        flow.send(b"hello")
        await rider.until("data")
        assert rider.data == b"hello"
        flow.close()
        await flow.wait_closed()
    assert seen == [(Direction.SENT, b"hello"), (Direction.RECEIVED, b"hello")]


@pytest.mark.asyncio
async def test_close_says_close_notify_and_the_server_sees_an_orderly_end(tmp_path: Path) -> None:
    ended: list[str] = []

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # `read` raises where TCP ends without close_notify.
        ended.append("orderly" if await reader.read() == b"bye" else "other")

    rider = Recorder()
    async with serving(tmp_path, watch) as peer:
        flow = await Connector().open(rider, peer.target, peer.policy, LIMITS)
        flow.send(b"bye")
        flow.close()
        await flow.wait_closed()
    assert ended == ["orderly"]
    assert "lost" not in rider.told


@pytest.mark.asyncio
async def test_close_of_a_server_that_never_answers_ends_at_the_limit(tmp_path: Path) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with serving(tmp_path, deaf) as peer:
        flow = await Connector().open(Recorder(), peer.target, peer.policy, Limits(close=0.1))
        flow.close()
        async with asyncio.timeout(5):
            await flow.wait_closed()


@pytest.mark.asyncio
async def test_server_closing_orderly_is_a_lost_flow_that_names_it(tmp_path: Path) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Returns at once: the connection is closed with close_notify."""

    rider = Recorder()
    async with serving(tmp_path, leave) as peer:
        await Connector().open(rider, peer.target, peer.policy, LIMITS)
        await rider.until("lost")
    assert isinstance(rider.error, FlowLost)
    assert f"127.0.0.1:{peer.port} closed the flow" in rider.error.what
    assert rider.told.count("lost") == 1


@pytest.mark.asyncio
async def test_server_resetting_the_flow_is_a_lost_flow_that_says_reset(tmp_path: Path) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    rider = Recorder()
    async with serving(tmp_path, reset) as peer:
        await Connector().open(rider, peer.target, peer.policy, LIMITS)
        await rider.until("lost")
    assert rider.error is not None
    assert "reset the connection" in rider.error.what


@pytest.mark.asyncio
async def test_refused_certificate_fails_the_flow_with_its_verdict_and_closes_it(tmp_path: Path) -> None:
    rider = Recorder()
    async with serving(tmp_path) as peer:
        flow = await Connector().open(rider, peer.target, Policy(anchors=TrustList.empty()), LIMITS)
        assert rider.told == ["negotiating", "failed"]
        assert isinstance(rider.error, CertificateRefused)
        assert rider.error.verdict.problems[0].code is ProblemCode.UNKNOWN_ISSUER
        assert rider.error.alert == 48
        await flow.wait_closed()
        assert peer.connections == 0


@pytest.mark.asyncio
async def test_silent_server_fails_the_handshake_at_its_limit() -> None:
    rider = Recorder()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        target = Target("127.0.0.1", server.getsockname()[1])
        flow = await Connector().open(rider, target, Policy(anchors=TrustList.empty()), Limits(handshake=0.1))
        await flow.wait_closed()
    assert isinstance(rider.error, HandshakeFailed)
    assert "within 0.1 s" in rider.error.what


@pytest.mark.asyncio
async def test_send_after_close_does_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        flow = await Connector().open(Recorder(), peer.target, peer.policy, LIMITS)
        flow.close()
        flow.send(b"late")
        await flow.wait_closed()
        await asyncio.sleep(0)
    assert b"late" not in b"".join(peer.received)


@pytest.mark.asyncio
async def test_abort_ends_at_once_without_telling_the_rider(tmp_path: Path) -> None:
    rider = Recorder()
    async with serving(tmp_path, lambda reader, _: listen(peer, reader)) as peer:
        flow = await Connector().open(rider, peer.target, peer.policy, LIMITS)
        flow.abort()
        await flow.wait_closed()
    assert rider.told == ["negotiating", "opened"]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3])
async def test_close_notify_of_the_server_is_answered_with_ours(tmp_path: Path, version: TlsVersion) -> None:
    authority = CertificateAuthority()
    files = authority.issue("127.0.0.1").write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    ended: list[str] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as tls:
            # Says close_notify and waits for the other's; raises where only FIN comes.
            tls.unwrap()
            ended.append("answered")

    rider = Recorder()
    policy = Policy(anchors=TrustList.from_pem(authority.pem), minimum=version, maximum=version)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving_thread = asyncio.get_running_loop().run_in_executor(None, serve, listener)
        flow = await Connector().open(rider, Target("127.0.0.1", listener.getsockname()[1]), policy, LIMITS)
        await rider.until("lost")
        await flow.wait_closed()
        await serving_thread
    assert ended == ["answered"]


class Wire(asyncio.Transport):
    """A transport without a socket: what is written is kept."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5061), "sockname": ("127.0.0.1", 40000)})
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


@pytest.mark.asyncio
async def test_fault_behind_a_message_ends_the_flow_after_the_message_though_the_rider_answers_it() -> None:
    class Answering(Recorder):
        def flow_data(self, data: bytes) -> None:
            super().flow_data(data)
            flow.send(b"an answer")

    authority = CertificateAuthority()
    issued = authority.issue("127.0.0.1")
    policy = Policy(anchors=TrustList.from_pem(authority.pem))
    server = TlsPipe.server(server_context(issued.chain_pem, issued.key_pem))
    rider, wire, buffer = Answering(), Wire(), memoryview(bytearray(65536))
    pipe = TlsPipe.client(policy, "127.0.0.1")
    flow = Flow(asyncio.get_running_loop(), pipe, rider, Target("127.0.0.1", 5061), LIMITS, None, buffer, Traffic())

    def arrive(data: bytes) -> None:
        buffer[: len(data)] = data
        flow.buffer_updated(len(data))

    flow.connection_made(wire)
    while not server.established:
        server.receive(wire.written)
        wire.written = b""
        arrive(server.outgoing())
    server.send(b"first")
    arrive(server.outgoing() + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert rider.told == ["negotiating", "opened", "data", "lost"]
    assert rider.data == b"first"
    assert isinstance(rider.error, FlowLost)
    assert "no TLS record" in rider.error.what
    assert wire.closed
    flow.connection_lost(None)


@pytest.mark.asyncio
async def test_server_that_does_not_read_is_given_up_and_the_socket_let_go(tmp_path: Path) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    rider = Recorder()
    async with serving(tmp_path, deaf) as peer:
        flow = await Connector().open(rider, peer.target, peer.policy, LIMITS)
        for _ in range(1000):
            flow.send(b"x" * 16384)
        await rider.until("lost")
        async with asyncio.timeout(5):
            await flow.wait_closed()
    assert rider.error is not None
    assert "does not read" in rider.error.what
