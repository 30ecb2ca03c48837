"""The sockets of the voice: a pair of UDP ports for each call, and one timer for the streams of all of them.

A stream that is due says so by its deadline; the engine fires once for all that are due by then, and not more often than each few
milliseconds, so that hundreds of streams cost their packets and not their wakings. No task runs, and what a socket says of a peer that is
not there is counted and forgotten: it is not ours to tell apart from a lost packet.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import SystemRandom
from typing import Protocol

from sipsua.errors import BadConfiguration, Misuse, Unreachable
from sipsua.media.audio import Prepared, Sink, Source
from sipsua.media.offer import Address, Agreed
from sipsua.media.quality import Quality
from sipsua.media.stream import Listener, Place, Port, Stream

GRAIN = 0.005
"""Seconds between two firings, at least: a quarter of a packet, which nobody hears."""
MAX_READS = 32
"""Datagrams that are read of one socket before others have their turn."""
TRIES = 50
"""Pairs of ports that are tried where the system chooses: half of the free ones are odd, and another program may take the next."""
BUFFER = 256 * 1024
"""Octets that the kernel keeps for us: a second of a call is 10 KB, and the loop may be held up."""


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports that may be taken for the voice, both ends included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 1024 <= self.low < self.high <= 65_535:
            raise BadConfiguration(
                f"ports {self.low} to {self.high} for the voice", fix="give 1024 to 65535, the lower first"
            )

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read `LOW-HIGH`. Raises BadConfiguration."""
        low, dash, high = text.partition("-")
        if not dash or not low.strip().isdigit() or not high.strip().isdigit() or len(text) > 20:
            raise BadConfiguration(f"{text[:40]!r} is no range of ports", fix="write it as 16384-32767")
        return cls(int(low), int(high))


class Dice(Protocol):
    """Random bits."""

    def __call__(self, bits: int, /) -> int:
        """So many of them."""


class MediaEngine:
    """All voice of one loop."""

    def __init__(self, *, ports: PortRange | None = None, dice: Dice | None = None) -> None:
        """`ports`: where the voice is to be; None takes what the system gives."""
        self.loop = asyncio.get_running_loop()
        self.dice = dice or SystemRandom().getrandbits
        self.endpoints: set[Endpoint] = set()
        """Those that are open."""
        self._ports = ports
        self._next_port = ports.low + (ports.low & 1) if ports is not None else 0
        self._due: list[tuple[float, int, Endpoint]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def open(self, host: str) -> Endpoint:
        """Take a pair of ports on an address of this machine.

        Raises Unreachable where none is free, and BadConfiguration for an address that is not of this machine.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if self._ports is None:
            for _ in range(TRIES):
                pair = _pair(family, host, 0)
                if pair is not None:
                    return Endpoint(self, host, *pair)
        else:
            for _ in range((self._ports.high - self._ports.low) // 2 + 1):
                port = self._next_port
                self._next_port += 2
                if self._next_port + 1 > self._ports.high:
                    self._next_port = self._ports.low + (self._ports.low & 1)
                pair = _pair(family, host, port)
                if pair is not None:
                    return Endpoint(self, host, *pair)
        where = f"{self._ports.low} to {self._ports.high}" if self._ports is not None else "any"
        raise Unreachable(
            f"no pair of UDP ports is free on {host} ({where})", fix="allow more ports, or end calls that are over"
        )

    def schedule(self, endpoint: Endpoint, at: float) -> None:
        """Call the endpoint's `fire` then."""
        heapq.heappush(self._due, (at, next(self._order), endpoint))
        if self._timer is None or at < self._timer_at:
            self._arm(at)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        due = self._due
        now = self.loop.time()
        while due and due[0][0] <= now:
            _, order, endpoint = heapq.heappop(due)
            at = endpoint.fire(now)
            if at is not None:
                heapq.heappush(due, (at, order, endpoint))
        if due:
            self._arm(max(due[0][0], now + GRAIN))


class Endpoint:
    """The two sockets of one call, and its stream once something was agreed."""

    def __init__(self, engine: MediaEngine, host: str, rtp: socket.socket, rtcp: socket.socket) -> None:
        self._engine = engine
        self._rtp = rtp
        self._rtcp = rtcp
        self.address = Address(host, rtp.getsockname()[1])
        """What the session description says of us."""
        self.stream: Stream | None = None
        """None before `start`."""
        self.unsent = 0
        """Packets that the system did not take."""
        self._closed = False
        engine.endpoints.add(self)

    def start(self, agreed: Agreed, source: Source | Prepared, sink: Sink, listener: Listener) -> None:
        """The voice begins. Raises Misuse where it has."""
        if self.stream is not None or self._closed:
            raise Misuse("this voice has begun before, or is over", fix="update it, or open another endpoint")
        engine = self._engine
        now = engine.loop.time()
        self.stream = Stream(agreed, source, sink, self._send, listener, engine.dice, now, time.time())
        engine.loop.add_reader(self._rtp.fileno(), self._read, self._rtp, self.stream.receive)
        engine.loop.add_reader(self._rtcp.fileno(), self._read, self._rtcp, self._take_rtcp)
        engine.schedule(self, now)

    def update(self, agreed: Agreed) -> None:
        """Something else was agreed."""
        if self.stream is not None:
            self.stream.update(agreed, self._engine.loop.time())

    def quality(self) -> Quality | None:
        """The numbers so far; None before `start`."""
        return self.stream.quality() if self.stream is not None else None

    def fire(self, now: float) -> float | None:
        """Do what is due; when to call it again, None: never."""
        if self._closed or self.stream is None:
            return None
        self.stream.handle_timer(now)
        return self.stream.deadline

    def close(self) -> None:
        """Say goodbye, and give the ports back."""
        if self._closed:
            return
        if self.stream is not None:
            self.stream.close(self._engine.loop.time())
            self._engine.loop.remove_reader(self._rtp.fileno())
            self._engine.loop.remove_reader(self._rtcp.fileno())
        self._closed = True
        self._rtp.close()
        self._rtcp.close()
        self._engine.endpoints.discard(self)

    def _send(self, port: Port, data: bytes, place: Place) -> None:
        if not place[1] or self._closed:
            return
        try:
            (self._rtp if port is Port.RTP else self._rtcp).sendto(data, place)
        except OSError:
            # Full, or nobody there: what is lost is lost, as on any other link of the way.
            self.unsent += 1

    def _read(self, sock: socket.socket, take: Callable[[bytes, Place, float], None]) -> None:
        now = self._engine.loop.time()
        for _ in range(MAX_READS):
            try:
                data, place = sock.recvfrom(65_535)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP message to something that we sent: nobody listens there.
                continue
            take(data, (place[0], place[1]), now)
            if self._closed:
                return

    def _take_rtcp(self, data: bytes, _place: Place, now: float) -> None:
        if self.stream is not None:
            self.stream.receive_rtcp(data, now)


def _pair(family: socket.AddressFamily, host: str, port: int) -> tuple[socket.socket, socket.socket] | None:
    """Sockets on an even port and on the next one (RFC 3550 section 11); None where they are not free. Raises BadConfiguration."""
    rtp = _bound(family, host, port)
    if rtp is None:
        return None
    port = rtp.getsockname()[1]
    if port & 1 or port == 65_535:
        rtp.close()
        return None
    rtcp = _bound(family, host, port + 1)
    if rtcp is None:
        rtp.close()
        return None
    return rtp, rtcp


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket | None:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise BadConfiguration(
            f"no voice can be taken at {host}: {error.strerror}", fix="give an address of this machine"
        ) from None
    return sock
