"""The flow: bytes moved, and each way to end told once."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from sipsua.account.config import Limits, Target
from sipsua.errors import FlowLost, HandshakeFailed
from sipsua.net.connect import Connector
from sipsua.net.flow import Direction
from sipsua.trust.policy import Policy
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
