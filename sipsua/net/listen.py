"""The phone as TLS server: connections that come to its listening port, each answered, none of them able to hurt the others.

    accept → InboundFlow → Visitor.flow_data → Inbound → the account that the request is for → Visitor → InboundFlow

Who connects is anybody: a PBX that calls back, a monitor, a scanner, an enemy. So whatever a client can take has a bound, with its
reason: connections by `InboundLimits`, the rest here. Accepting is done here and not by the loop, which would make a transport before a
bound is looked at, and print a traceback a second while no file descriptors are left.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address
from types import TracebackType
from typing import Protocol, Self

from sipsua.account.account import Account
from sipsua.account.config import SIPS_PORT, Limits, Target
from sipsua.account.inbound import Inbound, InboundLimits
from sipsua.account.persona import Dice
from sipsua.account.roster import Roster
from sipsua.errors import BadConfiguration, FlowLost, HandshakeFailed, Misuse, SipsuaError
from sipsua.events import Event, InboundClosed, InboundFailed, InboundOpened, InboundRefused, Negotiated
from sipsua.net.connect import READ_SIZE, SystemDice
from sipsua.net.flow import Flow, Tap, Traffic
from sipsua.net.tls import TlsPipe, server_context
from sipsua.trust.identity import Identity
from sipsua.trust.policy import TlsVersion
from sipsua.trust.store import TrustList

MAX_GREETING = 64 * 1024
"""Octets of a client before its handshake is done: several times a long chain. OpenSSL alone would keep a ClientHello of 128 KiB."""

SEND_BUFFER = 64 * 1024
"""Octets that the kernel keeps for a client that does not read, before `flow.MAX_UNREAD` begins to count; by itself it keeps 4 MiB."""

BACKLOG = 128
"""Connections that wait to be accepted: a burst of a PBX that starts anew, and the kernel's own limit for long."""

BATCH = 64
"""Connections that are accepted in one turn of the loop: then those that stand have theirs."""

PAUSE = 1.0
"""Seconds until accepting is tried again where it failed: what was missing comes back when something else is closed."""


class Callee(Protocol):
    """A line that can be called here."""

    account: Account

    def pump(self) -> None:
        """The account has got a request: do what there is to do."""


class Listener:
    """Where a phone listens. Use it with `async with`, or `start` and `close` it; one serves any number of user agents of its loop.

    async with Listener(identity, port=0) as listener, UserAgent(config, listener=listener) as ua: ...
    """

    def __init__(
        self,
        identity: Identity,
        *,
        host: str = "",
        port: int = SIPS_PORT,
        client_anchors: TrustList | None = None,
        minimum: TlsVersion = TlsVersion.TLS1_2,
        maximum: TlsVersion = TlsVersion.TLS1_3,
        limits: InboundLimits | None = None,
        sink: Callable[[Event], None] | None = None,
        tap: Tap | None = None,
        dice: Dice | None = None,
    ) -> None:
        """`identity` is the certificate that clients are shown. `host` is an address of this machine, "" all of them; `port` 0 takes a
        free one. With `client_anchors` a client must show a certificate that leads to one of them.

        `sink` takes `InboundOpened`, `InboundFailed`, `InboundClosed` and `InboundRefused`, and must not raise; `tap` sees the plaintext.
        Raises BadConfiguration for what cannot be used.
        """
        for name, value, kind in (("identity", identity, Identity), ("host", host, str), ("port", port, int)):
            if not isinstance(value, kind):
                raise BadConfiguration(
                    f"Listener: {name} cannot be of type {type(value).__name__}", fix=f"give {kind.__name__}"
                )
        if not 0 <= port <= 65535:
            raise BadConfiguration(f"port {port}", fix="give 1 to 65535, or 0 for a free one")
        if minimum < TlsVersion.TLS1_2:
            # With them OpenSSL takes weak certificates of clients too.
            raise BadConfiguration(
                f"{minimum} is not safe any more (RFC 8996), and the phone does not listen with it",
                fix="begin with TLSv1.2",
            )
        self.identity = identity
        self.host = host
        self.port = port
        """Where it listens; while it does never 0."""
        self.limits = limits if limits is not None else InboundLimits()
        self.roster = Roster()
        """Who can be called here."""
        self.dice: Dice = dice or SystemDice()
        self.tell: Callable[[Event], None] = sink if sink is not None else _nobody
        self._tap = tap
        self._context = server_context(identity, client_anchors=client_anchors, minimum=minimum, maximum=maximum)
        self._flow_limits = Limits(handshake=self.limits.handshake, close=self.limits.close)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._traffic = Traffic()
        self._callees: dict[Account, Callee] = {}
        self._visitors: dict[InboundFlow, Visitor] = {}
        self._by_source: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._adopting: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._most = self.limits.connections
        self._resume: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def connections(self) -> int:
        """How many clients there are, those in their handshake too."""
        return len(self._visitors)

    async def start(self) -> None:
        """Listen. Raises BadConfiguration where the address cannot be had, Misuse where it listens already."""
        if self._socket is not None:
            raise Misuse(f"this listener listens already, on port {self.port}", fix="make another one for another port")
        self.loop = asyncio.get_running_loop()
        try:
            self._socket = _listening(self.host, self.port)
        except (socket.gaierror, ValueError):
            raise BadConfiguration(f"{self.host!r} is no IP address", fix="give an address of this machine") from None
        except OSError as error:
            where = f"address {self.host}" if self.host else "all addresses"
            raise BadConfiguration(
                f"the phone cannot listen on port {self.port} of {where}: {os.strerror(error.errno or 0)}",
                fix="choose an address of this machine and a free port, or port 0",
            ) from None
        self.port = self._socket.getsockname()[1]
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            # The other half is for the phone's own flows: callers must not keep it from registering.
            self._most = min(self.limits.connections, files // 2)
        self.loop.add_reader(self._socket, self._accept)

    async def close(self) -> None:
        """Stop listening, and end all connections: orderly where the clients let it, within the limit for that. Twice is harmless."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self.loop.remove_reader(sock)
        sock.close()
        if self._resume is not None:
            self._resume.cancel()
        if self._adopting:
            await asyncio.wait(self._adopting)
        for visitor in list(self._visitors.values()):
            visitor.leave("the phone stopped listening")
        if self._visitors:
            self._empty = self.loop.create_future()
            await self._empty
            self._empty = None

    # The lines

    def admit(self, line: Callee) -> None:
        """Let a line be called here: the Contact of its account says this port from the next flow on. Raises Misuse before `start`."""
        if self._socket is None:
            raise Misuse("the listener does not listen", fix="enter it first: `async with Listener(…) as listener:`")
        line.account.listening = ("" if self.host in ("", "0.0.0.0", "::") else self.host, self.port)
        self._callees[line.account] = line
        self.roster.admit(line.account)

    def dismiss(self, line: Callee) -> None:
        """Let a line go: who calls it gets 404."""
        self._callees.pop(line.account, None)
        self.roster.dismiss(line.account)

    def pump(self, account: Account) -> None:
        """An account has got a request."""
        line = self._callees.get(account)
        if line is not None:
            line.pump()

    # The connections

    def _accept(self) -> None:
        for _ in range(BATCH):
            if self._socket is None:
                return
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._rest(error)
                return
            self._refused.discard("")
            self._welcome(sock, Target(address[0].removeprefix("::ffff:"), address[1]))

    def _welcome(self, sock: socket.socket, peer: Target) -> None:
        """Take a connection, unless there are too many."""
        source, limits = _source(peer.host), self.limits
        if len(self._visitors) >= self._most:
            sock.close()
            self._refuse("*", f"all {self._most} connections are taken", "see who holds them, or allow more")
            return
        if self._by_source[source] >= limits.per_source:
            sock.close()
            self._refuse(source, f"{source} has {limits.per_source} connections", "see what it wants, or allow more")
            return
        visitor = Visitor(self, str(peer))
        pipe = TlsPipe.server(self._context)
        flow = InboundFlow(self.loop, pipe, visitor, peer, self._flow_limits, self._tap, self._buffer, self._traffic)
        flow.forget = self._forget
        visitor.flow = flow
        self._visitors[flow] = visitor
        self._by_source[source] += 1
        # Done within a turn or two of the loop.
        task = self.loop.create_task(self._adopt(flow, sock))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopt(self, flow: InboundFlow, sock: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: flow, sock)
        except OSError:
            # It was gone before it was here.
            sock.close()
            self._forget(flow)

    def _forget(self, flow: InboundFlow) -> None:
        """The connection is gone."""
        if self._visitors.pop(flow, None) is None:
            return
        source = _source(flow.target.host)
        self._by_source[source] -= 1
        if self._by_source[source] <= 0:
            del self._by_source[source]
        self._refused -= {"*", source}
        if self._empty is not None and not self._visitors and not self._empty.done():
            self._empty.set_result(None)

    def _rest(self, error: OSError) -> None:
        """No connection can be taken now, for want of file descriptors or memory: those that wait go on waiting in the kernel."""
        if self._socket is None:
            return
        self.loop.remove_reader(self._socket)
        self._resume = self.loop.call_later(PAUSE, self._go_on)
        self._refuse(
            "", f"no connection can be taken: {os.strerror(error.errno or 0)}", "raise the limit of files (ulimit -n)"
        )

    def _go_on(self) -> None:
        if self._socket is not None:
            self.loop.add_reader(self._socket, self._accept)

    def _refuse(self, key: str, reason: str, fix: str) -> None:
        """Tell once, until the key is out of `_refused`: a flood of clients is not to become a flood of lines."""
        if key not in self._refused:
            self._refused.add(key)
            self.tell(InboundRefused(reason, fix))


class InboundFlow(Flow):
    """The flow of a client: as one that we open, but for who begins."""

    __slots__ = ("_greeting", "forget")

    forget: Callable[[InboundFlow], None]
    """Is told when the socket is gone."""

    @property
    def peer(self) -> str:
        # The socket does not know any more when the client has gone already.
        return str(self.target)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._greeting = 0
        super().connection_made(transport)

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        if not self.pipe.established and self.pipe.failure is None:
            self._greeting += nbytes
            if self._greeting > MAX_GREETING:
                error = HandshakeFailed(f"{self.target} sent more than {MAX_GREETING // 1024} KiB in its handshake")
                self._end(error, at_once=True)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.forget(self)


class Visitor:
    """One client: the rider of its flow."""

    __slots__ = ("_inbound", "_listener", "_peer", "_timer", "flow")

    flow: InboundFlow

    def __init__(self, listener: Listener, peer: str) -> None:
        self._listener = listener
        self._peer = peer
        self._inbound: Inbound | None = None
        self._timer: asyncio.TimerHandle | None = None

    def leave(self, reason: str) -> None:
        """End the connection from our side."""
        self.flow.close()
        self._end(reason)

    # The rider of the flow

    def flow_negotiating(self, flow: Flow) -> None:
        """Nobody wants to know of a connection before it is one."""

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        listener = self._listener
        self._inbound = Inbound(listener.roster, listener.dice, listener.limits, self._peer, listener.loop.time())
        listener.tell(InboundOpened(self._peer, negotiated.protocol, negotiated.cipher, flow.pipe.shown))
        self._pump(self._inbound)

    def flow_data(self, data: bytes) -> None:
        inbound, listener = self._inbound, self._listener
        if inbound is None:
            return
        for account in inbound.receive_data(data, listener.loop.time()):
            listener.pump(account)
        self._pump(inbound)

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        if error is not flow.pipe.failure:
            # What a flow says by itself is meant for who reads of a server.
            error.fix = (
                "look at the client's log; one that is silent may want plain SIP, or only see whether the port is open"
            )
        self._listener.tell(InboundFailed(self._peer, error))

    def flow_lost(self, error: FlowLost) -> None:
        self._end(error.what.replace(self._peer, "it", 1))

    def _end(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inbound is not None:
            self._inbound = None
            self._listener.tell(InboundClosed(self._peer, reason))

    def _pump(self, inbound: Inbound) -> None:
        """Do what there is to do, after each call into the inbound."""
        data = inbound.data_to_send()
        if data:
            self.flow.send(data)
        if inbound.wants_close is not None:
            self.leave(inbound.wants_close)
            return
        # A timer that fires too early finds nothing due and is set anew: cheaper than to move it at each message.
        deadline = inbound.get_timer()
        if self._timer is None or deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._listener.loop.call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        inbound = self._inbound
        if inbound is not None:
            inbound.handle_timer(self._listener.loop.time())
            self._pump(inbound)


def _nobody(event: Event) -> None:
    """The sink where none was given."""


def _source(host: str) -> str:
    """Whom an address belongs to: for IPv6 its /64, since one host has as many addresses as it likes in there."""
    return f"{IPv6Address(host.partition('%')[0]).exploded[:19]}::/64" if ":" in host else host


def _listening(host: str, port: int) -> socket.socket:
    """The listening socket. Raises OSError, ValueError."""
    if host:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )[0]
        sock = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    else:
        try:
            sock = socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            # A machine without IPv6.
            sock = socket.create_server(("", port), backlog=BACKLOG)
    sock.setblocking(False)
    # Who is accepted inherits it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return sock
