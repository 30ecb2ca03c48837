"""The connection to a Locust master: ZeroMQ messages of MessagePack, and what can be said of a master that does not answer.

Each message is a list of its kind, its data and the worker's name. ZeroMQ connects by itself, again and again, and says nothing of it; its
monitor tells how far it came, and so what to say to a person: nothing listens there, or something else does, or a master that is silent.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

from sipsua.errors import BadConfiguration, NoAnswer, SipsuaError, Unreachable, printable

PORT = 5557
"""Where a Locust master awaits its workers unless told otherwise (`--master-bind-port`)."""

LARGEST = 16 * 1024 * 1024
"""Octets of a message that are taken: a `spawn` with its options has some thousand."""

LINGER = 1.0
"""Seconds that the last messages have to leave, once the connection is closed."""


REST = 0.5
"""Seconds without a connection, before it is made anew."""


class Message(NamedTuple):
    """What the master says."""

    kind: str
    data: Any


class Link(StrEnum):
    """How far the connection came."""

    NOWHERE = "nowhere"
    """No TCP connection."""
    CONNECTED = "connected"
    """TCP, but not ZeroMQ: it may come yet."""
    FOREIGN = "foreign"
    """What answered does not speak ZeroMQ."""
    SPEAKING = "speaking"


class Wire:
    """A connection to a master. `open` it on the running loop; `close` it in the end."""

    def __init__(
        self, host: str, port: int, name: str, tell: Callable[[str], None], moved: Callable[[Link], None]
    ) -> None:
        """`moved` is called with each new state of the connection. Raises BadConfiguration where the libraries
        are missing, and where name or port are none."""
        if not 0 < len(name.encode()) < 256 or not name.isprintable():
            raise BadConfiguration(
                f"{name!r} is no name for a Locust worker", fix="give 1 to 255 printable characters, such as host1_1"
            )
        if not 0 < port < 65536:
            raise BadConfiguration(f"{port} is no port of a Locust master", fix="give one from 1 to 65535")
        self._zmq = _library("zmq")
        self._zmq_asyncio = _library("zmq.asyncio")
        self._monitor = _library("zmq.utils.monitor")
        self._msgpack = _library("msgpack")
        self._where = f"{f'[{host}]' if ':' in host else host}:{port}"
        self._host = host
        self._port = port
        self._name = name
        self._tell = tell
        self._moved = moved
        self.link = Link.NOWHERE
        self.garbled = 0
        """Messages that were none of Locust's."""

    def __str__(self) -> str:
        return self._where

    async def open(self) -> None:
        """Begin to connect. Raises Unreachable where the host's name has no address."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port)
        except (OSError, UnicodeError) as error:
            raise Unreachable(
                f"the host of the Locust master, {self._host}, has no address: {getattr(error, 'strerror', None) or error}",
                fix="check its name",
                kind="DNS failure",
            ) from None
        zmq = self._zmq
        self._context = self._zmq_asyncio.Context()
        self._socket = socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, self._name.encode())
        socket.setsockopt(zmq.IPV6, int(all(":" in str(entry[4][0]) for entry in found)))
        # What is said while there is no connection would otherwise be said to whoever takes the next one.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self._events = socket.get_monitor_socket()
        self._watcher = asyncio.get_running_loop().create_task(self._watch(self._events))
        socket.connect(f"tcp://{self._where}")

    async def renew(self) -> None:
        """Connect anew."""
        endpoint = f"tcp://{self._where}"
        self._socket.disconnect(endpoint)
        self._move(Link.NOWHERE)
        # The master takes nobody with the name of one that it has not yet seen going.
        await asyncio.sleep(REST)
        self._socket.connect(endpoint)

    def send(self, kind: str, data: Any = None) -> bool:
        """Send a message; returns whether there was a connection to take it."""
        payload = self._msgpack.packb((kind, data, self._name))
        future = self._socket.send(payload, flags=self._zmq.DONTWAIT)  # which is done when it returns
        return future.exception() is None

    async def receive(self) -> Message:
        """The next message. What is none of Locust's is told once, and left out."""
        while True:
            frames = await self._socket.recv_multipart()
            message = self._unpack(frames[-1])
            if message is not None:
                return message
            self.garbled += 1
            if self.garbled == 1:
                self._tell(f"{self} sent what is no message of Locust's: {printable(repr(frames[-1][:40]))}; ignored")

    def silence(self) -> SipsuaError:
        """The error that says why no master answers, as far as one can see."""
        if self.link is Link.NOWHERE:
            return Unreachable(
                f"no Locust master answers at {self}",
                fix="is it running (locust --master), is this its --master-bind-port, and does no firewall lie between?",
                kind="no Locust master",
            )
        if self.link is not Link.SPEAKING:
            return NoAnswer(
                f"what answers at {self} does not speak Locust's protocol",
                fix=f"give the master's --master-bind-port ({PORT} unless set), not the port of its web page",
                kind="no Locust master",
            )
        heard = f"; it sent {self.garbled} messages that are none of Locust's" if self.garbled else ""
        return NoAnswer(
            f"{self} speaks ZeroMQ, but does not take this worker{heard}",
            fix="is it a Locust master, and is no other worker called the same?",
            kind="no Locust master",
        )

    async def close(self) -> None:
        """Let the last messages leave, and close."""
        self._watcher.cancel()
        await asyncio.wait([self._watcher])
        self._socket.disable_monitor()
        self._events.close(linger=0)
        self._socket.close(linger=int(LINGER * 1000))
        await asyncio.to_thread(self._context.term)

    async def _watch(self, events: Any) -> None:
        zmq = self._zmq
        foreign = (
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
            zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        )
        while True:
            event = self._monitor.parse_monitor_message(await events.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._move(Link.SPEAKING)
            elif event == zmq.EVENT_CONNECTED:
                # What hung up on us once is still what it is when TCP stands again.
                self._move(Link.FOREIGN if self.link is Link.FOREIGN else Link.CONNECTED)
            elif event in foreign or (event == zmq.EVENT_DISCONNECTED and self.link is Link.CONNECTED):
                self._move(Link.FOREIGN)
            elif event == zmq.EVENT_DISCONNECTED and self.link is Link.SPEAKING:
                self._move(Link.NOWHERE)

    def _move(self, link: Link) -> None:
        self.link = link
        self._moved(link)

    def _unpack(self, payload: bytes) -> Message | None:
        try:
            kind, data, _ = self._msgpack.unpackb(payload, strict_map_key=False)
        except (ValueError, TypeError, RecursionError, self._msgpack.UnpackException):
            return None
        return Message(kind, data) if isinstance(kind, str) else None


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadConfiguration(
            f"a Locust worker needs pyzmq and msgpack, and {error.name or name} is not installed",
            fix="pip install 'sipsua[locust]'",
        ) from None
