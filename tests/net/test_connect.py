"""The connector: TCP raced and paced, each wait with its limit, foreign exceptions translated."""

from __future__ import annotations

import asyncio
import resource
import socket
from pathlib import Path

import pytest

from sipsua.account.config import Limits, Target
from sipsua.errors import FlowLost, SipsuaError, Unreachable
from sipsua.events import Negotiated
from sipsua.net import connect
from sipsua.net.connect import Connector
from sipsua.net.flow import Flow
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList
from tests.net.peer import serving

LIMITS = Limits(resolve=2, connect=1, handshake=2, close=1)


class Recorder:
    """A rider that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.error: SipsuaError | None = None
        self.negotiated: Negotiated | None = None
        self.data = b""
        self.changed = asyncio.Event()

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self.changed.set()

    def flow_negotiating(self, flow: Flow) -> None:
        self._tell("negotiating")

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        self.negotiated = negotiated
        self._tell("opened")

    def flow_data(self, data: bytes) -> None:
        self.data += data
        self._tell("data")

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        self.error = error
        self._tell("failed")

    def flow_lost(self, error: FlowLost) -> None:
        self.error = error
        self._tell("lost")

    async def until(self, what: str) -> None:
        async with asyncio.timeout(5):
            while what not in self.told:
                self.changed.clear()
                await self.changed.wait()


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.asyncio
async def test_given_addresses_are_tried_in_place_of_the_names(tmp_path: Path) -> None:
    rider = Recorder()
    async with serving(tmp_path, name="sip.invalid") as peer:
        target = Target("sip.invalid", peer.port)
        flow = await Connector().open(rider, target, peer.policy, LIMITS, addresses=["127.0.0.9", "127.0.0.1"])
        assert rider.told == ["negotiating", "opened"]
        assert flow.peer == f"127.0.0.1:{peer.port}"
        assert flow.pipe.verdict is not None
        assert flow.pipe.verdict.reference == "sip.invalid"
        flow.close()
        await flow.wait_closed()


@pytest.mark.asyncio
async def test_open_tells_negotiating_then_opened_and_measures_each_step(tmp_path: Path) -> None:
    rider = Recorder()
    async with serving(tmp_path) as peer:
        flow = await Connector().open(rider, peer.target, peer.policy, LIMITS)
        assert rider.told == ["negotiating", "opened"]
        assert rider.negotiated is not None
        assert rider.negotiated.protocol == "TLSv1.3"
        assert rider.negotiated.peer == f"127.0.0.1:{peer.port}"
        assert rider.negotiated.local[0] == "127.0.0.1"
        assert set(flow.timings_ms) == {"dns", "tcp", "tls"}
        flow.close()
        await flow.wait_closed()
    assert "lost" not in rider.told


@pytest.mark.asyncio
async def test_open_with_nothing_listening_says_refused_and_what_to_check(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        target = Target("127.0.0.1", unused_port())
        with pytest.raises(Unreachable, match="Connection refused") as caught:
            await Connector().open(Recorder(), target, peer.policy, LIMITS)
    assert "listens there" in caught.value.fix


@pytest.mark.asyncio
async def test_open_when_tcp_does_not_answer_ends_at_the_limit(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        with socket.socket() as full:
            # A listener whose backlog is full drops further SYNs: that is what a firewall looks like.
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            address = full.getsockname()
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            try:
                with pytest.raises(Unreachable, match=r"no TCP connection to .* within 0\.2 s"):
                    await Connector().open(
                        Recorder(), Target("127.0.0.1", address[1]), peer.policy, Limits(connect=0.2)
                    )
            finally:
                for filler in fillers:
                    filler.close()


@pytest.mark.asyncio
async def test_open_of_several_addresses_takes_the_one_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def two(_host: str, **_: object) -> list[str]:
        return ["::1", "127.0.0.1"]

    monkeypatch.setattr(connect, "resolve", two)
    async with serving(tmp_path) as peer:
        flow = await Connector().open(Recorder(), Target("127.0.0.1", peer.port), peer.policy, LIMITS)
        assert flow.peer == f"127.0.0.1:{peer.port}"
        flow.close()
        await flow.wait_closed()


@pytest.mark.asyncio
async def test_open_where_no_address_answers_names_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = unused_port()

    async def two(_host: str, **_: object) -> list[str]:
        return ["127.0.0.1", "127.0.0.2"]

    monkeypatch.setattr(connect, "resolve", two)
    async with serving(tmp_path) as peer:
        with pytest.raises(Unreachable) as caught:
            await Connector().open(Recorder(), Target("pbx.example", port), peer.policy, LIMITS)
    assert f"127.0.0.1:{port}" in caught.value.what
    assert f"127.0.0.2:{port}" in caught.value.what


@pytest.mark.asyncio
async def test_pacing_keeps_no_more_than_in_flight_connections_under_way(tmp_path: Path) -> None:
    under_way = 0
    most = 0

    class Counting(Recorder):
        def flow_negotiating(self, flow: Flow) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)

        def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
            nonlocal under_way
            under_way -= 1

    async with serving(tmp_path) as peer:
        connector = Connector(in_flight=3)
        flows = await asyncio.gather(*(connector.open(Counting(), peer.target, peer.policy, LIMITS) for _ in range(20)))
        assert most <= 3
        for flow in flows:
            flow.close()
        await asyncio.gather(*(flow.wait_closed() for flow in flows))


@pytest.mark.asyncio
async def test_open_cancelled_in_mid_handshake_leaves_no_socket() -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    rider = Recorder()
    with server:
        task = asyncio.create_task(
            Connector().open(
                rider, Target("127.0.0.1", server.getsockname()[1]), Policy(anchors=TrustList.empty()), LIMITS
            )
        )
        await rider.until("negotiating")
        connection, _ = server.accept()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        connection.settimeout(5)
        with connection:
            while True:
                try:
                    if not connection.recv(65536):
                        break
                except ConnectionResetError:
                    break
    assert rider.told == ["negotiating"]


@pytest.mark.asyncio
async def test_out_of_open_files_is_told_with_its_remedy(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        connector = Connector()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A descriptor is given the lowest free number, and none above the limit.
        with socket.socket() as lowest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, hard))
            try:
                with pytest.raises(Unreachable, match="Too many open files") as caught:
                    await connector.open(Recorder(), peer.target, peer.policy, LIMITS)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in caught.value.fix


@pytest.mark.asyncio
@pytest.mark.parametrize(("host", "source"), [("127.0.0.1", "127.0.5.6"), ("::1", "::1")])
async def test_connection_comes_from_the_source_address(host: str, source: str) -> None:
    seen: list[str] = []

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        writer.close()

    server = await asyncio.start_server(note, host, 0)
    async with server:
        target = Target(host, server.sockets[0].getsockname()[1])
        await Connector().open(Recorder(), target, Policy(anchors=TrustList.empty()), LIMITS, source=source)
    assert seen == [source]


@pytest.mark.asyncio
@pytest.mark.parametrize("source", ["192.0.2.77", "::1"])
async def test_source_address_that_cannot_be_used_is_told(source: str) -> None:
    connector = Connector()
    with pytest.raises(Unreachable, match=f"cannot connect from {source}") as caught:
        await connector.open(
            Recorder(), Target("127.0.0.1", 9), Policy(anchors=TrustList.empty()), LIMITS, source=source
        )
    assert caught.value.kind.startswith("source address: ")
    assert connector.opening == 0
