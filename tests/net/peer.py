"""A TLS server for the tests of this room: it does what the test says, and remembers what it saw."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sipsua.account.config import Target
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """A running server."""

    port: int
    policy: Policy
    """Trusts the server's certificate."""
    connections: int = 0
    received: list[bytes] = field(default_factory=list)

    @property
    def target(self) -> Target:
        return Target("127.0.0.1", self.port)


async def listen(peer: Peer, reader: asyncio.StreamReader) -> None:
    """Remember all that comes, until the client ends."""
    while data := await reader.read(65536):
        peer.received.append(data)


@asynccontextmanager
async def serving(directory: Path, talk: Talk | None = None, *, name: str = "127.0.0.1") -> AsyncIterator[Peer]:
    """Serve TLS on a free loopback port by Python's own `ssl`; `talk` gets each connection, by default nothing is said."""
    authority = CertificateAuthority()
    files = authority.issue(name).write(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    peer = Peer(0, Policy(anchors=TrustList.from_pem(authority.pem)))
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await (talk(reader, writer) if talk is not None else listen(peer, reader))
        except (ConnectionError, ssl.SSLError):
            pass  # what clients do to it is what is tested
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
