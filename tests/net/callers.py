"""A phone that listens, and clients that call it, good and bad: for the tests of the listening port."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sipsua.account.account import Account
from sipsua.account.config import AccountConfig
from sipsua.account.inbound import InboundLimits
from sipsua.events import Event
from sipsua.net.listen import Listener
from sipsua.testing.pki import CertificateAuthority, Issued
from sipsua.trust.identity import Identity
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

MANUFACTURER = CertificateAuthority("manufacturer CA")
PHONE = MANUFACTURER.intermediate("phone CA").issue(common_name="001565abcdef")
IDENTITY = Identity.from_pem(PHONE.chain_pem, PHONE.key_pem)

PATIENT = InboundLimits(handshake=30, first=30, idle=30, message=30, close=0.5)
"""Limits that no test reaches unless it shortens one."""


class Callee:
    """A line of the phone without a flow of its own."""

    def __init__(self, user: str = "1000") -> None:
        policy = Policy(anchors=TrustList.empty())
        config = AccountConfig(uri=f"sips:{user}@pbx.example.com", policy=policy)
        self.account = Account(config, random.Random(5061).getrandbits)
        self.events: list[Event] = []

    def pump(self) -> None:
        while (event := self.account.next_event()) is not None:
            self.events.append(event)


class Phone(Listener):
    """A listener whose events can be waited for."""

    def __init__(self, **options: Any) -> None:
        usual = {"identity": IDENTITY, "host": "127.0.0.1", "port": 0, "limits": PATIENT, "sink": self._took}
        super().__init__(**{**usual, **options})
        self.events: list[Event] = []
        self._waiting: list[tuple[Callable[[], object], asyncio.Future[None]]] = []

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition that an event makes true, or a connection's end."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((condition, future))
        self._look()
        async with asyncio.timeout(20):
            await future

    async def until_told(self, kind: type[Event], count: int = 1) -> list[Any]:
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def _took(self, event: Event) -> None:
        self.events.append(event)
        self._look()

    def _forget(self, flow: Any) -> None:
        super()._forget(flow)
        self._look()

    def _look(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)


@asynccontextmanager
async def listening(*users: str, **options: Any) -> AsyncIterator[Phone]:
    """A phone where these users can be called; whatever clients do to it, nothing may escape into the loop."""
    faults: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, fault: faults.append(fault))
    tasks = asyncio.all_tasks()
    async with Phone(**options) as phone:
        for user in users:
            phone.admit(Callee(user))
        yield phone
    assert faults == []
    assert phone.connections == 0
    assert asyncio.all_tasks() <= tasks
    loop.set_exception_handler(None)


def client_context(
    version: ssl.TLSVersion | None = None, shown: Issued | None = None, directory: Path | None = None
) -> ssl.SSLContext:
    """Python's own TLS, which trusts the phone's manufacturer; `shown` is written to `directory` and shown."""
    context = ssl.create_default_context(cadata=MANUFACTURER.pem.decode())
    context.check_hostname = False  # a phone's certificate bears its MAC address
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if shown is not None and directory is not None:
        files = shown.write(directory, "client")
        context.load_cert_chain(files.certificate, files.key)
    return context


class Client:
    """A client that has connected."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._sent = 0

    def begin(self, user: str = "1000") -> None:
        """Send an OPTIONS."""
        self._sent += 1
        self.writer.write(options(user, self._sent))

    async def answer(self) -> int:
        """The status of the next answer."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
        found = re.match(rb"SIP/2\.0 (\d{3}) ", head)
        assert found is not None
        return int(found[1])

    async def ask(self, user: str = "1000") -> int:
        """Send an OPTIONS and give the status of its answer."""
        self.begin(user)
        return await self.answer()

    async def ended(self) -> bytes:
        """What came until the phone closed; raises where it did so without close_notify."""
        async with asyncio.timeout(20):
            return await self.reader.read()

    def reset(self) -> None:
        """Go without a word, not even FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def calling(
    phone: Listener, context: ssl.SSLContext | None = None, *, source: str = "127.0.0.1", plain: bool = False
) -> AsyncIterator[Client]:
    """A connection to the phone; `plain` leaves TLS out."""
    tls = None if plain else context or client_context()
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", phone.port, ssl=tls, local_addr=(source, 0))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except (OSError, ssl.SSLError):
            pass  # what phone and client have done to each other is what is tested


def options(user: str, number: int) -> bytes:
    return (
        f"OPTIONS sips:{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK{number}\r\n"
        f"From: <sips:pbx@pbx.example.com>;tag=1\r\nTo: <sips:{user}@pbx.example.com>\r\nCall-ID: a@pbx\r\n"
        f"CSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def record(kind: int, body: bytes) -> bytes:
    """A TLS record in the clear."""
    return bytes([kind, 3, 1]) + len(body).to_bytes(2, "big") + body


HELLO_BEGUN = record(22, b"\x01\x00\x02\x00\x03\x03" + bytes(40))
"""The first octets of a ClientHello of 512, and no more."""
