"""A pocket PBX: a TLS registrar that starts in a moment, on loopback or any address given, with a certificate of its own.

    async with PocketPbx({"1000": "secret"}) as pbx:
        ...  # phones register at pbx.uri("1000"), trusting pbx.ca_pem
        response = await pbx.request("1000", "OPTIONS")  # calls a phone back on its own flow

Tests ask it what it has seen and script what it shall do wrong; benches load it with thousands of phones, so there is no task and no
timer for each message, and what it decides is the pure `Registrar`'s. One bad client costs the others nothing: each flow has a time
limit on its handshake and on half a message, and one that does not read what it is sent is cut off.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from random import SystemRandom
from types import TracebackType
from typing import Any, Self, Unpack, cast

from cryptography import x509
from OpenSSL import SSL

from sipsua.errors import BadConfiguration, FlowLost, MalformedMessage, Misuse, NoAnswer, SipsuaError
from sipsua.net.tls import TlsPipe, server_context
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.message import MAGIC_COOKIE, Header, Request, Response
from sipsua.sip.uri import Uri
from sipsua.testing.misbehaviour import Script, Step, Then
from sipsua.testing.pki import CertificateAuthority, Issued, IssuedFiles
from sipsua.testing.registrar import Binding, Registrar, Settings, Users
from sipsua.trust.identity import Identity
from sipsua.trust.policy import TlsVersion
from sipsua.trust.store import TrustList, read_file

BACKLOG = 4096
"""Connections that may wait to be accepted: Linux' own limit by default (net.core.somaxconn)."""
MAX_UNREAD = 256 * 1024
"""Octets that wait for a client to read them; with more it is cut off. A thousand answers are less."""
CLOSE_LIMIT = 1.0
"""Seconds for what is still to be sent when the PBX stops."""


class PbxFlow(asyncio.BufferedProtocol):
    """One client's connection, from TCP to the end."""

    __slots__ = ("_framer", "_limit", "_pbx", "_pipe", "_transport", "pending", "source")

    def __init__(self, pbx: PocketPbx, pipe: TlsPipe) -> None:
        self._pbx = pbx
        self._pipe = pipe
        self._framer = Framer(pings=True)
        self._transport: asyncio.Transport | None = None
        self._limit: asyncio.TimerHandle | None = None
        self.source = ("", 0)
        """The client's address and port."""
        self.pending: dict[tuple[str, str], asyncio.Future[Response]] = {}
        """Requests of ours that wait for an answer, by branch and method."""

    def __repr__(self) -> str:
        return f"<PbxFlow from {self.source[0]} port {self.source[1]}>"

    @property
    def established(self) -> bool:
        """Whether the handshake is done."""
        return self._pipe.established

    @property
    def is_closing(self) -> bool:
        """Whether the connection is gone, or going."""
        return self._transport is None or self._transport.is_closing()

    @property
    def protocol(self) -> str | None:
        """`TLSv1.2` or `TLSv1.3`."""
        return self._pipe.protocol

    @property
    def cipher(self) -> str | None:
        """OpenSSL's name of the cipher suite."""
        return self._pipe.cipher

    @property
    def client_certificate(self) -> x509.Certificate | None:
        """What the client showed."""
        return self._pipe.client_certificate

    def send(self, data: bytes) -> None:
        """Encrypt and send; on a flow that is closing nothing happens."""
        if not self.is_closing:
            self._pipe.send(data)
            self._flush()

    def end(self, how: Then = Then.CLOSE) -> None:
        """Close the flow, one way or another."""
        transport = self._transport
        if transport is None or how is Then.GO_ON:
            return
        if how is Then.RESET:
            # Discarding what is unsent makes the kernel say RST instead of FIN.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            return
        if how is Then.CLOSE:
            self._pipe.close()
            self._flush()
        transport.close()

    def abort(self) -> None:
        """Let the socket go, whatever is still unsent."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.BufferedProtocol: a plain Protocol's socket.recv asks for 256 KiB of fresh memory each time, which costs more
    # than all else about a small message. One buffer serves all flows, since it is emptied before the loop reads again.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=MAX_UNREAD)
        self.source = transport.get_extra_info("peername")[:2]
        self._pbx.flows.add(self)
        if not self._pbx.is_listening:
            self._transport.abort()  # it was accepted in the very moment of the end
            return
        self._limit = self._pbx.loop.call_later(self._pbx.handshake_limit, self._late)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._pbx.buffer

    def buffer_updated(self, nbytes: int) -> None:
        pipe = self._pipe
        was_established = pipe.established
        try:
            plaintext = pipe.receive(bytes(self._pbx.buffer[:nbytes]))
        except SipsuaError as error:
            self._pbx.failures.append(error.what)
            self._flush()
            self.end(Then.BREAK)
            return
        if pipe.established and not was_established:
            self._in_time()
        if plaintext:
            self._receive(plaintext)
        if pipe.closed_by_peer:
            self.end()
        else:
            self._flush()
        self._pbx.note_change()

    def pause_writing(self) -> None:
        self._pbx.failures.append(f"{self!r} does not read what it is sent")
        self.abort()

    def eof_received(self) -> None:
        error = self._pipe.end()
        if error is not None:
            self._pbx.failures.append(error.what)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._in_time()
        for future in self.pending.values():
            if not future.done():
                future.set_exception(FlowLost(f"the phone at {self.source[0]} port {self.source[1]} closed its flow"))
        self._pbx.forget(self)

    def _receive(self, plaintext: bytes) -> None:
        framer, pbx, pipe = self._framer, self._pbx, self._pipe
        framer.receive(plaintext)
        try:
            while (frame := framer.next_frame()) is not None:
                if self._limit is not None:
                    self._in_time()
                if isinstance(frame, Request):
                    if answer := pbx.answer(self, frame):
                        pipe.send(answer)
                elif isinstance(frame, Response):
                    self._take_response(frame)
                elif frame is KeepAlive.PING:
                    pbx.pings += 1
                    if pbx.pongs:
                        pipe.send(KeepAlive.PONG.value)
                if self.is_closing:
                    return
            if framer.incomplete and self._limit is None:
                self._limit = pbx.loop.call_later(pbx.message_limit, self._late)
        except MalformedMessage as error:
            pbx.failures.append(error.what)
            if isinstance(framer.broken, Request):
                pipe.send(pbx.registrar.reject(framer.broken, error, source=self.source))
            self.end()

    def _take_response(self, response: Response) -> None:
        try:
            future = self.pending.get((response.check().via.branch, response.cseq.method))
        except MalformedMessage as error:
            self._pbx.failures.append(error.what)
            return
        if future is not None and response.status >= 200 and not future.done():
            future.set_result(response)

    def _in_time(self) -> None:
        """What was waited for has come."""
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _late(self) -> None:
        what = "the rest of its message" if self.established else "its TLS handshake"
        self._pbx.failures.append(f"{self!r} took too long for {what}")
        self.end()
        self.abort()

    def _flush(self) -> None:
        data = self._pipe.outgoing()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class PocketPbx:
    """The server. Use it with `async with`, or `start` and `close` it."""

    def __init__(
        self,
        users: Users,
        *,
        certificate: Issued | IssuedFiles | tuple[bytes, bytes] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        client_authority: CertificateAuthority | TrustList | bytes | None = None,
        minimum: TlsVersion = TlsVersion.TLS1_2,
        maximum: TlsVersion = TlsVersion.TLS1_3,
        pongs: bool = True,
        bindings_outlive_flow: bool = False,
        handshake_limit: float = 10.0,
        message_limit: float = 32.0,
        **settings: Unpack[Settings],
    ) -> None:
        """`users` gives the password for each user part (see `registrar.users_in` for ranges).

        `certificate` is one of `pki`, the files of one, or PEM texts of certificate (with intermediates) and key; with None the
        PBX makes its own authority and a certificate for localhost, 127.0.0.1, ::1 and `host`. `port` 0 takes a free one. With
        `client_authority` (or a list, or the PEM, of several) clients must show a certificate. The limits are seconds for a handshake, and
        for the rest of a message of which a part has come. `settings` are the registrar's.

        Raises BadConfiguration or Misuse for what cannot be used.
        """
        self._authority: CertificateAuthority | None = None
        if certificate is None:
            self._authority = CertificateAuthority("pocket PBX CA")
            names = ["localhost", "127.0.0.1", "::1"]
            if host not in (*names, "", "0.0.0.0", "::"):
                names.append(host)
            certificate = self._authority.issue(*names)
        if isinstance(certificate, Issued):
            pair = certificate.chain_pem, certificate.key_pem
        elif isinstance(certificate, IssuedFiles):
            # Read as a pair first, so that what is wrong is said of the files.
            Identity.from_files(certificate.certificate, certificate.key)
            pair = read_file(str(certificate.certificate)), read_file(str(certificate.key))
        else:
            pair = certificate
        if isinstance(client_authority, CertificateAuthority):
            client_authority = client_authority.pem
        if isinstance(client_authority, bytes):
            client_authority = TrustList.from_pem(client_authority)
        self._context: SSL.Context = server_context(
            *pair,
            client_anchors=client_authority,
            minimum=minimum,
            maximum=maximum,
        )
        self.registrar = Registrar(users, SystemRandom().getrandbits, **settings)
        """Who decides; `requests` and `responses` count what it saw."""
        self.host = host
        self.port = port
        """Where it listens; after `start` never 0."""
        self.pongs = pongs
        """Whether pings are answered. May be changed at any time."""
        self.handshake_limit = handshake_limit
        self.message_limit = message_limit
        self.buffer = memoryview(bytearray(64 * 1024))
        """What flows read into, one at a time."""
        self.flows: set[PbxFlow] = set()
        """All connections, those in their handshake too."""
        self.pings = 0
        """Pings that came."""
        self.replies: deque[Response | SipsuaError] = deque(maxlen=100)
        """What phones said to the requests of `Step.ask`."""
        self.failures: deque[str] = deque(maxlen=100)
        """What went wrong on flows, newest last."""
        self._bindings_outlive_flow = bindings_outlive_flow
        self._scripts: dict[str | None, Iterator[Step] | Callable[[Request], Step | None]] = {}
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[None]]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._dice = SystemRandom().getrandbits
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. Raises BadConfiguration where the address cannot be had."""
        self.loop = asyncio.get_running_loop()
        try:
            self._server = await self.loop.create_server(self._accept, self.host, self.port, backlog=BACKLOG)
        except OSError as error:
            # What asyncio says names the address again; a name that does not resolve has a number below 0.
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else error.strerror or error
            raise BadConfiguration(
                f"the pocket PBX cannot listen on {self.host} port {self.port}: {why}",
                fix="choose an address of this machine and a free port, or port 0",
            ) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and end all flows: orderly where the clients let it."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._asking:
            task.cancel()
        for flow in list(self.flows):
            flow.end()
        try:
            await self.until(lambda: not self.flows, within=CLOSE_LIMIT)
        except NoAnswer:
            for flow in list(self.flows):
                flow.abort()
            await self.until(lambda: not self.flows)
        await server.wait_closed()

    @property
    def is_listening(self) -> bool:
        """Whether connections are taken."""
        return self._server is not None

    @property
    def authority(self) -> CertificateAuthority:
        """The authority that the PBX made. Raises Misuse where it was given a certificate."""
        if self._authority is None:
            raise Misuse(
                "the pocket PBX has made no authority", fix="take the one of the certificate that it was given"
            )
        return self._authority

    @property
    def ca_pem(self) -> bytes:
        """What clients have to trust: the certificate of `authority`."""
        return self.authority.pem

    @property
    def bindings(self) -> dict[str, tuple[Binding, ...]]:
        """What is bound now, by user; each binding's `flow` is a `PbxFlow`."""
        return self.registrar.bindings(self.loop.time())

    def uri(self, user: str, scheme: str = "sips") -> str:
        """The address of a user at this PBX; with the scheme `sip` it says `transport=tls`."""
        host = "localhost" if self.host in ("", "0.0.0.0", "::") else self.host
        params = {"transport": "tls"} if scheme == "sip" else None
        return str(Uri.build(host, user=user, port=self.port, scheme=scheme, params=params))

    def script(self, user: str | None, script: Script) -> None:
        """What happens to the requests of this user to come, or with None to those of all who have no script of their own.

        It takes the place of the script before; an empty one ends it. A request's user is that of its To.
        """
        self._scripts[user] = script if callable(script) else iter(script)

    async def request(
        self, user: str, method: str = "OPTIONS", headers: tuple[Header, ...] = (), *, within: float = 32.0
    ) -> Response:
        """Send a request on the flow of the user's newest binding, and wait for the final response.

        Raises Misuse where there is no binding, FlowLost where the flow ends, NoAnswer after `within` seconds.
        """
        bindings = self.bindings.get(user)
        if not bindings:
            raise Misuse(f"nothing is bound to {user}", fix="wait until the phone has registered")
        return await self._ask(cast(PbxFlow, bindings[-1].flow), bindings[-1].contact, user, method, headers, within)

    async def until(self, condition: Callable[[], Any], within: float = 10.0) -> None:
        """Wait until the condition holds: it is looked at whenever a client has sent something or gone.

        Raises NoAnswer after `within` seconds.
        """
        if condition():
            return
        future = self.loop.create_future()
        self._waiting.append((condition, future))
        try:
            async with asyncio.timeout(within):
                await future
        except TimeoutError:
            raise NoAnswer(f"what the pocket PBX was to wait for did not come about in {within:g} s") from None
        finally:
            self._waiting.remove((condition, future))

    # What flows ask

    def answer(self, flow: PbxFlow, request: Request) -> bytes:
        """What to send back on the flow now."""
        if self._scripts:
            step = self._step(request)
            if step is not None:
                return self._misbehave(flow, request, step)
        return self.registrar.answer(request, self.loop.time(), source=flow.source, flow=flow)

    def forget(self, flow: PbxFlow) -> None:
        """The flow is gone."""
        self.flows.discard(flow)
        if not self._bindings_outlive_flow:
            self.registrar.close_flow(flow)
        self.note_change()

    def note_change(self) -> None:
        """Something came about that `until` may wait for."""
        for condition, future in self._waiting:
            if future.done():
                continue
            try:
                if condition():
                    future.set_result(None)
            except Exception as error:
                # The fault of who waits, not of the client that has just sent something.
                future.set_exception(error)

    def _accept(self) -> PbxFlow:
        return PbxFlow(self, TlsPipe.server(self._context))

    def _step(self, request: Request) -> Step | None:
        try:
            user = request.to.uri.decoded_user
        except MalformedMessage:
            user = None
        script = self._scripts.get(user) or self._scripts.get(None)
        if script is None:
            return None
        return script(request) if callable(script) else next(script, None)

    def _misbehave(self, flow: PbxFlow, request: Request, step: Step) -> bytes:
        registrar, now = self.registrar, self.loop.time()
        if step.ask:
            task = self.loop.create_task(self._ask_ahead(flow, request, step.ask))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        if step.status is not None:
            answer = registrar.respond(request, step.status, step.headers, source=flow.source)
        elif step.stale:
            answer = registrar.challenge(request, now, stale=True, source=flow.source)
        else:
            answer = registrar.answer(request, now, source=flow.source, flow=flow)
        answer = step.edit(answer)
        if not step.delay and not step.ask and step.then is Then.GO_ON:
            return answer

        def finish() -> None:
            if answer:
                flow.send(answer)
            flow.end(step.then)

        # Not before the task for the other request, which the loop takes up first.
        self.loop.call_later(step.delay, finish) if step.delay else self.loop.call_soon(finish)
        return b""

    async def _ask_ahead(self, flow: PbxFlow, request: Request, method: str) -> None:
        contact = request.contacts[0].uri_text if request.contacts else request.to.uri_text
        try:
            self.replies.append(await self._ask(flow, contact, request.to.uri.decoded_user or "", method, (), 32.0))
        except SipsuaError as error:
            self.replies.append(error)
        self.note_change()

    async def _ask(
        self, flow: PbxFlow, target: str, user: str, method: str, headers: tuple[Header, ...], within: float
    ) -> Response:
        if flow.is_closing:
            raise FlowLost(
                f"the flow that {user} registered on is gone", fix="wait until the phone has registered again"
            )
        host = f"[{self.host}]" if ":" in self.host else self.host
        branch = f"{MAGIC_COOKIE}{self._dice(64):016x}"
        request = Request(
            method,
            target,
            (
                ("Via", f"SIP/2.0/TLS {host}:{self.port};branch={branch}"),
                ("Max-Forwards", "70"),
                ("From", f"<sip:pocket-pbx@{host}>;tag={self._dice(64):016x}"),
                ("To", f"<{self.uri(user)}>"),
                ("Call-ID", f"{self._dice(96):024x}"),
                ("CSeq", f"1 {method}"),
                *headers,
                ("Content-Length", "0"),
            ),
        )
        future: asyncio.Future[Response] = self.loop.create_future()
        flow.pending[branch, method] = future
        try:
            flow.send(bytes(request))
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise NoAnswer(f"{user} did not answer {method} within {within:g} s") from None
        finally:
            del flow.pending[branch, method]
