"""One flow: a TCP connection with TLS on it, and whoever rides on it.

    buffer_updated → TlsPipe → rider.flow_data → … → Flow.send → TlsPipe → transport

The flow moves bytes and knows when it began, stood and ended; what they mean is the rider's business. A rider is a `Line` (one account)
or a `SharedFlow` (many). Each of the rider's verbs is called at most once for a flow, except `flow_data`; the first two come from inside
`buffer_updated`, so that the REGISTER leaves in the same segment as TLS 1.3's Finished.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, cast

from sipsua.account.config import Limits, Target
from sipsua.errors import FlowLost, HandshakeFailed, SipsuaError
from sipsua.events import Negotiated
from sipsua.net.tls import Session, TlsPipe

MAX_UNREAD = 256 * 1024
"""Bytes that may wait for the server to read them: more than a thousand answers. A server that lets more pile up is given up."""


@dataclass(slots=True)
class Traffic:
    """What went over the flows of a connector: octets of TLS, with those of handshakes."""

    sent: int = 0
    received: int = 0


class Direction(StrEnum):
    """Which way bytes went."""

    SENT = "sent"
    RECEIVED = "received"


Tap = Callable[[Direction, bytes], None]
"""Sees the plaintext of a flow, as it is sent and received. It must not raise, and what it sees holds credentials."""


class Rider(Protocol):
    """Who rides on a flow."""

    def flow_negotiating(self, flow: Flow) -> None:
        """TCP stands, the handshake begins."""

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        """The handshake is finished, the certificate accepted."""

    def flow_data(self, data: bytes) -> None:
        """Plaintext came."""

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        """The handshake failed."""

    def flow_lost(self, error: FlowLost) -> None:
        """The flow stood and is gone."""


class _Stage(StrEnum):
    CONNECTED = "connected"
    OPEN = "open"
    CLOSING = "closing"
    """Our close_notify is out."""
    GONE = "gone"


class Flow(asyncio.BufferedProtocol):
    """One flow. Made by `Connector.open`.

    It reads into the buffer that all flows of a connector share, since what was read is taken before anything else is: a buffer of
    its own, or a plain Protocol, for whose every read the loop allocates 256 KiB, costs more than the message itself.
    """

    __slots__ = (
        "_began",
        "_buffer",
        "_limit",
        "_limits",
        "_loop",
        "_pipe",
        "_rider",
        "_stage",
        "_tap",
        "_traffic",
        "_transport",
        "closed",
        "finished",
        "keep_session",
        "target",
        "timings_ms",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: TlsPipe,
        rider: Rider,
        target: Target,
        limits: Limits,
        tap: Tap | None,
        buffer: memoryview,
        traffic: Traffic,
    ) -> None:
        self._loop = loop
        self._pipe = pipe
        self._rider = rider
        self._limits = limits
        self._tap = tap
        self._buffer = buffer
        self._traffic = traffic
        self._stage = _Stage.CONNECTED
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self._limit: asyncio.TimerHandle | None = None
        self.target = target
        self.timings_ms: dict[str, float] = {}
        """What `dns`, `tcp` and `tls` took, in milliseconds."""
        self.finished: asyncio.Future[None] = loop.create_future()
        """Done when the handshake has ended, well or ill."""
        self.keep_session: Callable[[Session], None] | None = None
        """Takes the session when the flow ends, where the policy resumes."""
        self.closed: asyncio.Future[None] | None = None
        """Done when the socket is closed; made by `close`."""

    @property
    def pipe(self) -> TlsPipe:
        """The TLS on it."""
        return self._pipe

    @property
    def peer(self) -> str:
        """Address and port of the other end."""
        assert self._transport is not None
        host, port, *_ = self._transport.get_extra_info("peername")
        return str(Target(host, port))

    @property
    def is_closed(self) -> bool:
        """Whether the socket is gone."""
        return self._transport is None

    def send(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._stage is not _Stage.OPEN or self._pipe.failure is not None:
            return
        if self._tap is not None:
            self._tap(Direction.SENT, data)
        self._pipe.send(data)
        self._flush()

    def close(self) -> None:
        """Say close_notify, wait for the peer's within the limit, then let the socket go. The rider is not told."""
        if self._stage is _Stage.OPEN:
            self._stage = _Stage.CLOSING
            self._keep()
            self._pipe.close()
            self._flush()
            self._limit = self._loop.call_later(self._limits.close, self.abort)
        elif self._stage is _Stage.CONNECTED:
            self.abort()

    def abort(self) -> None:
        """Let the socket go at once. The rider is not told."""
        self._stage = _Stage.GONE if self._stage is _Stage.CONNECTED else _Stage.CLOSING
        self._finish()
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, after `close` or `abort`."""
        if self._transport is not None:
            self.closed = self.closed or self._loop.create_future()
            # All lines of a shared flow wait for this one; who is cancelled must not take it from the others.
            await asyncio.shield(self.closed)

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MAX_UNREAD)
        self._rider.flow_negotiating(self)
        self._limit = self._loop.call_later(self._limits.handshake, self._handshake_late)
        self._began = time.monotonic()
        self._pipe.start()
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        pipe = self._pipe
        self._traffic.received += nbytes
        try:
            plaintext = pipe.receive(bytes(self._buffer[:nbytes]))
        except SipsuaError as error:
            self._flush()
            self._end(error)
            return
        if self._stage is _Stage.CONNECTED:
            if not pipe.established:
                self._flush()
                return
            self._open()
        if plaintext and self._stage is _Stage.OPEN:
            if self._tap is not None:
                self._tap(Direction.RECEIVED, plaintext)
            self._rider.flow_data(plaintext)
        if pipe.failure is not None:
            # It stood behind the plaintext in the same bytes.
            self._flush()
            self._end(pipe.failure)
        elif pipe.closed_by_peer:
            pipe.close()  # the answer to a close_notify is ours (RFC 5246 section 7.2.1; RFC 8446 section 6.1 wants one, too)
            self._flush()
            fix = "see its log; a server closes what it finds idle"
            self._end(FlowLost(f"{self.target} closed the flow", fix=fix, kind="closed"))
        elif self._stage is _Stage.OPEN:
            # TLS answers by itself now and then (a key update): what it wants to say goes out even where the rider is silent.
            self._flush()

    def pause_writing(self) -> None:
        # Not here and now: this is called from the midst of what the rider sends.
        self._loop.call_soon(self._give_up_reader)

    def eof_received(self) -> None:
        error = self._pipe.end()
        self._end(error or FlowLost(f"{self.target} closed the flow", kind="closed"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        what = "reset the connection" if isinstance(exc, ConnectionError) else "closed the connection"
        if self._stage is _Stage.CONNECTED:
            self._end(
                HandshakeFailed(
                    f"{self.target} {what} in the middle of the TLS handshake",
                    fix="check that this is its TLS port, and look at its log",
                    kind=what,
                )
            )
        else:
            self._end(FlowLost(f"{self.target} {what}", fix="look at its log, and at what lies between", kind=what))
        self._stage = _Stage.GONE
        if self.closed is not None and not self.closed.done():
            self.closed.set_result(None)

    # The stages

    def _open(self) -> None:
        pipe = self._pipe
        transport = self._transport
        assert transport is not None
        self._clear_limit()
        self._stage = _Stage.OPEN
        self.timings_ms["tls"] = (time.monotonic() - self._began) * 1000
        host, port, *_ = transport.get_extra_info("sockname")
        negotiated = Negotiated(
            protocol=pipe.protocol or "",
            cipher=pipe.cipher or "",
            group=pipe.group,
            server_name=self.target.host,
            peer=self.peer,
            local=(host, port),
            at=datetime.now(UTC),
            resumed=pipe.resumed,
        )
        self._finish()
        self._rider.flow_opened(self, negotiated)

    def _finish(self) -> None:
        """The handshake has ended; who waited for that may have been cancelled meanwhile, and the future with it."""
        if not self.finished.done():
            self.finished.set_result(None)

    def _end(self, error: SipsuaError, *, at_once: bool = False) -> None:
        """The flow ends here; the rider is told, unless it knows. `at_once`: what is not written yet is not waited for."""
        stage, self._stage = self._stage, _Stage.GONE
        self._clear_limit()
        if self._transport is not None and at_once:
            self._transport.abort()
        elif self._transport is not None:
            # It closes when all is written, and that is not up to us alone.
            self._transport.close()
            self._limit = self._loop.call_later(self._limits.close, self._transport.abort)
        self._finish()
        if stage is _Stage.OPEN:
            self._keep()
        if stage is _Stage.CONNECTED:
            self._rider.flow_failed(self, error)
        elif stage is _Stage.OPEN:
            self._rider.flow_lost(
                error if isinstance(error, FlowLost) else FlowLost(error.what, fix=error.fix, kind=error.kind)
            )

    def _keep(self) -> None:
        """Keep the session for a flow to come; but not that of a pipe which broke, whose keys may be known to whoever broke it."""
        if self.keep_session is not None and self._pipe.failure is None:
            session = self._pipe.session
            if session is not None:
                self.keep_session(session)

    def _give_up_reader(self) -> None:
        error = FlowLost(
            f"{self.target} does not read what it is sent: {MAX_UNREAD // 1024} KiB wait",
            fix="look at the server: it hangs, or asks faster than it listens",
            kind="does not read",
        )
        self._end(error, at_once=True)

    def _handshake_late(self) -> None:
        error = HandshakeFailed(
            f"{self.target} did not finish the TLS handshake within {self._limits.handshake:g} s",
            fix="check that this is its TLS port; a server that is silent here waits for something else than TLS",
            kind="time-out",
        )
        self._end(error, at_once=True)

    def _clear_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _flush(self) -> None:
        data = self._pipe.outgoing()
        if data and self._transport is not None:
            self._traffic.sent += len(data)
            self._transport.write(data)
