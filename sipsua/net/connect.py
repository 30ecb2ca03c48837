"""Flows opened: name to address, address to TCP, TCP to TLS, each wait with its limit and all of them paced.

Addresses race as in RFC 8305: the next one is tried when the one before has failed or taken 250 ms. Not more than `in_flight`
connections are under way at a time: a PBX whose listen backlog is short (PJSIP's TLS transport: 5) drops the rest at TCP, where a time-out
of seconds is all that one sees.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from sipsua.account.config import Limits, Target
from sipsua.account.persona import Dice
from sipsua.errors import SipsuaError, Unreachable
from sipsua.net.flow import Flow, Rider, Tap, Traffic
from sipsua.net.media import MediaEngine, PortRange
from sipsua.net.resolve import resolve
from sipsua.net.sessions import Sessions
from sipsua.net.tls import Context, Steps, TlsPipe, client_context
from sipsua.trust.policy import Policy

ATTEMPT_DELAY = 0.25
"""Seconds before the next address is tried beside the one under way (RFC 8305 section 5)."""

READ_SIZE = 64 * 1024
"""Bytes that are taken from a socket at once: three TLS records of the largest size."""


class SystemDice:
    """Unpredictable bits, as RFC 3261 section 19.3 wants them, fetched from the system a page at a time: a registration takes seven
    numbers, and a system call for each would cost as much as its digest."""

    __slots__ = ("_at", "_page")

    def __init__(self) -> None:
        self._page = b""
        self._at = 0

    def __call__(self, bits: int) -> int:
        """An integer of that many random bits."""
        size = (bits + 7) // 8
        begin, end = self._at, self._at + size
        if end > len(self._page):
            self._page = os.urandom(max(4096, size))
            begin, end = 0, size
        self._at = end
        return int.from_bytes(self._page[begin:end], "big") >> (8 * size - bits)


def clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """A loop's clock in microseconds, where uvloop's own shows whole milliseconds of the same one; a loop with another clock keeps it."""
    return time.monotonic if abs(loop.time() - time.monotonic()) < 1.0 else loop.time


class Connector:
    """Opens flows for any number of lines on one event loop."""

    def __init__(
        self,
        *,
        in_flight: int = 64,
        tap: Tap | None = None,
        keylog: Callable[[bytes], None] | None = None,
        dice: Dice | None = None,
        media_ports: PortRange | None = None,
    ) -> None:
        """`in_flight` connections at the most are being opened at a time; the others wait their turn, for as long as those before them
        take, each within its own limits. `tap` sees the plaintext of all flows; `keylog` gets lines in the format of SSLKEYLOGFILE.
        Both give secrets away. `media_ports` are where the voice of calls is."""
        self.loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = clock(self.loop)
        """The loop's clock, finer."""
        self.dice: Dice = dice or SystemDice()
        self.opening = 0
        """Flows that are being opened, with those that wait for their turn."""
        self.traffic = Traffic()
        """What went over all flows so far."""
        self._media_ports = media_ports
        self._media: MediaEngine | None = None
        self._pace = asyncio.Semaphore(in_flight)
        self._tap = tap
        self._keylog = keylog
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._contexts: dict[Policy, Context] = {}
        self._sessions = Sessions()

    @property
    def media(self) -> MediaEngine:
        """The voice of all calls on this loop."""
        if self._media is None:
            self._media = MediaEngine(ports=self._media_ports, dice=self.dice)
        return self._media

    async def open(
        self,
        rider: Rider,
        target: Target,
        policy: Policy,
        limits: Limits,
        steps: Steps | None = None,
        *,
        addresses: list[str] | None = None,
        source: str | None = None,
    ) -> Flow:
        """Open a flow for a rider, and wait until its handshake has ended; the rider is told how.

        Raises `Unreachable` where no TCP connection came about. `steps` sees the handshake's messages. `addresses` are tried in place
        of those that the target's name has. `source` is the local address to connect from.
        """
        self.opening += 1
        try:
            return await self._open(rider, target, policy, limits, steps, addresses, source)
        finally:
            self.opening -= 1

    async def _open(
        self,
        rider: Rider,
        target: Target,
        policy: Policy,
        limits: Limits,
        steps: Steps | None,
        addresses: list[str] | None,
        source: str | None,
    ) -> Flow:
        async with self._pace:
            begin = time.monotonic()
            addresses = addresses or await resolve(target.host, timeout=limits.resolve)
            resolved = time.monotonic()
            sock = await self._race(addresses, target, limits, source)
            connected = time.monotonic()
            session = self._sessions.take(target, policy, datetime.now(UTC)) if policy.resume else None
            pipe = TlsPipe.client(policy, target.host, context=self._context(policy), steps=steps, session=session)
            flow = Flow(self.loop, pipe, rider, target, limits, self._tap, self._buffer, self.traffic)
            if policy.resume:
                flow.keep_session = partial(self._sessions.put, target, policy)
            flow.timings_ms["dns"] = (resolved - begin) * 1000
            flow.timings_ms["tcp"] = (connected - resolved) * 1000
            try:
                await self.loop.create_connection(lambda: flow, sock=sock)
                await flow.finished
            except asyncio.CancelledError:
                flow.abort()
                raise
            return flow

    async def _race(self, addresses: list[str], target: Target, limits: Limits, source: str | None) -> socket.socket:
        """The socket of the first address that answers."""
        if len(addresses) == 1:
            return await self._connect(addresses[0], target, limits, source)
        waiting = list(addresses)
        attempts: set[asyncio.Task[socket.socket]] = set()
        failures: list[SipsuaError] = []
        try:
            while waiting or attempts:
                if waiting:
                    attempts.add(self.loop.create_task(self._connect(waiting.pop(0), target, limits, source)))
                done, attempts = await asyncio.wait(
                    attempts, timeout=ATTEMPT_DELAY if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                winners = []
                for attempt in done:
                    error = attempt.exception()
                    if error is None:
                        winners.append(attempt.result())
                    elif isinstance(error, SipsuaError):
                        failures.append(error)
                    else:
                        raise error
                for late in winners[1:]:
                    late.close()
                if winners:
                    return winners[0]
        finally:
            for attempt in attempts:
                attempt.cancel()
            for result in await asyncio.gather(*attempts, return_exceptions=True):
                if isinstance(result, socket.socket):
                    result.close()
        what = "; ".join(failure.what for failure in failures)
        raise Unreachable(what, fix=_FIX, kind=failures[-1].kind)

    async def _connect(self, address: str, target: Target, limits: Limits, source: str | None) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = Target(address, target.port)
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise Unreachable(
                f"no socket for {where}: {_reason(error)}",
                fix="raise the limit of open files (ulimit -n)",
                kind=_reason(error),
            ) from None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source is not None:
                _bind(sock, source)
            async with asyncio.timeout(limits.connect):
                await self.loop.sock_connect(sock, (address, target.port))
        except TimeoutError:
            sock.close()
            raise Unreachable(
                f"no TCP connection to {where} within {limits.connect:g} s",
                fix="check address and port, and whether a firewall drops the packets",
                kind="TCP time-out",
            ) from None
        except OSError as error:
            sock.close()
            reason = _reason(error)
            raise Unreachable(f"no TCP connection to {where}: {reason}", fix=_FIX, kind=reason) from None
        except BaseException:
            sock.close()
            raise
        return sock

    def _context(self, policy: Policy) -> Context | None:
        """A context of our own where keys are logged; else the one that all share."""
        if self._keylog is None:
            return None
        if policy not in self._contexts:
            self._contexts[policy] = client_context(policy, keylog=self._keylog)
        return self._contexts[policy]


def _bind(sock: socket.socket, source: str) -> None:
    """Fix our own address and leave the port to `connect`, which may then use one again that leads elsewhere. Raises Unreachable."""
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
    except OSError as error:
        reason = _reason(error)
        raise Unreachable(
            f"cannot connect from {source}: {reason}",
            fix="give an address that this machine has, of the same family as the server's",
            kind=f"source address: {reason}",
        ) from None


def _reason(error: OSError) -> str:
    """The system's own words: asyncio puts others in their place."""
    return os.strerror(error.errno) if error.errno else str(error)


_IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)
"""Python names it from 3.12 on."""

_FIX = "check address and port (SIP over TLS has 5061), and that the server listens there"
