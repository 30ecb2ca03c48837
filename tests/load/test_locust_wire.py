"""What a worker says of whoever is there in place of a Locust master, and of one that talks nonsense."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import msgpack  # type: ignore[import-untyped]
import pytest

from sipsua.errors import BadConfiguration, NoAnswer, SipsuaError, Unreachable
from sipsua.load.locust.wire import Link, Message, Wire
from tests.load.locust_stage import Master


async def silence_of(port: int, link: Link) -> SipsuaError:
    """What is said of what is at a port, once the connection has come so far."""
    reached = asyncio.Event()
    wire = Wire("127.0.0.1", port, "one", print, lambda new: reached.set() if new is link else None)
    await wire.open()
    try:
        if link is not Link.NOWHERE:
            async with asyncio.timeout(10):
                await reached.wait()
        assert wire.send("client_ready", -1) is (link is Link.SPEAKING)
        return wire.silence()
    finally:
        await wire.close()


async def serve(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        answer(reader, writer)
        await reader.read()
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0)


@pytest.mark.asyncio
async def test_port_where_nobody_listens(unused_tcp_port: int) -> None:
    error = await silence_of(unused_tcp_port, Link.NOWHERE)
    assert isinstance(error, Unreachable)
    assert error.what == f"no Locust master answers at 127.0.0.1:{unused_tcp_port}"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "refusal", [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b""]
)
async def test_web_page_is_no_master(refusal: bytes) -> None:
    def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(refusal)
        writer.write_eof()

    async with await serve(answer) as server:
        error = await silence_of(server.sockets[0].getsockname()[1], Link.FOREIGN)
    assert isinstance(error, NoAnswer)
    assert "does not speak Locust's protocol (give the master's --master-bind-port (5557 unless set)" in str(error)


@pytest.mark.asyncio
async def test_server_that_takes_the_connection_and_says_nothing_is_no_master() -> None:
    async with await serve(lambda _reader, _writer: None) as server:
        error = await silence_of(server.sockets[0].getsockname()[1], Link.CONNECTED)
    assert "does not speak Locust's protocol" in str(error)


@pytest.mark.asyncio
async def test_zeromq_that_does_not_answer() -> None:
    async with Master(answers=False) as master:
        error = await silence_of(master.port, Link.SPEAKING)
        await master.hear("client_ready")
    assert isinstance(error, NoAnswer)
    assert "speaks ZeroMQ, but does not take this worker (is it a Locust master" in str(error)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xc1",
        b"\x93\xa3",
        b"GET / HTTP/1.1\r\n",
        msgpack.packb(7),
        msgpack.packb(["spawn"]),
        msgpack.packb([7, None, "one"]),
        b"\x93\xa3ack\xa1\xff\xc0",  # a text that is no UTF-8
        b"\x93\xa3ack\x81\x90\x01\xc0",  # a map whose key is a list
        b"\x91" * 100_000,
    ],
)
async def test_garbage_is_told_once_and_left_out(garbage: bytes) -> None:
    lines: list[str] = []
    async with Master() as master:
        wire = Wire(
            "127.0.0.1", master.port, "one", lines.append, lambda link: moved.set() if link is Link.SPEAKING else None
        )
        moved = asyncio.Event()
        await wire.open()
        try:
            await moved.wait()
            assert wire.send("client_ready", -1)
            await master.hear("client_ready")
            await master.send(garbage)
            await master.send(garbage)
            await master.say("spawn", {"timestamp": 1.5}, "one")
            async with asyncio.timeout(10):
                assert await wire.receive() == Message("ack", {"index": 0})
                assert await wire.receive() == Message("spawn", {"timestamp": 1.5})
            assert wire.garbled == 2
            assert "it sent 2 messages that are none of Locust's" in str(wire.silence())
        finally:
            await wire.close()
    (line,) = lines
    assert line.isprintable()
    assert "no message of Locust's" in line


@pytest.mark.asyncio
async def test_host_without_an_address_is_refused_at_once() -> None:
    wire = Wire("no..host", 5557, "one", print, lambda _: None)
    with pytest.raises(Unreachable, match=r"the host of the Locust master, no\.\.host, has no address"):
        await wire.open()


@pytest.mark.parametrize("library", ["msgpack", "zmq"])
def test_without_the_libraries_the_extra_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "zmq.asyncio", raising=False)
    with pytest.raises(BadConfiguration, match=r"pip install 'sipsua\[locust\]'"):
        Wire("127.0.0.1", 5557, "one", print, lambda _: None)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb"])
def test_name_that_zeromq_or_a_log_cannot_take_is_refused(name: str) -> None:
    with pytest.raises(BadConfiguration, match="no name for a Locust worker"):
        Wire("127.0.0.1", 5557, name, print, lambda _: None)


@pytest.mark.parametrize("port", [0, 65_536])
def test_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(BadConfiguration, match="no port of a Locust master"):
        Wire("127.0.0.1", port, "one", print, lambda _: None)
