"""A pocket PBX: a TLS registrar and proxy that starts in a moment, on loopback or any address given, with a certificate of its own.

    async with PocketPbx({"1000": "secret"}) as pbx:
        ...  # phones register at pbx.uri("1000"), trusting pbx.ca_pem
        response = await pbx.request("1000", "OPTIONS")  # calls a phone back on its own flow
        ...  # phones call each other, and pbx.uri("echo"), pbx.uri("busy") and the other numbers
        pbx.set_voicemail("1000", new=2)  # lights the lamps of those who have subscribed

Tests ask it what it has seen and script what it shall do wrong; benches load it with thousands of phones, so there is no task and no
timer for each message, and what it decides is the pure `Registrar`'s and `Exchange`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from random import SystemRandom
from types import TracebackType
from typing import Any, Self, Unpack, cast

from OpenSSL import SSL

from sipsua.errors import BadConfiguration, FlowLost, MalformedMessage, Misuse, NoAnswer, SipsuaError
from sipsua.net.tls import TlsPipe, server_context
from sipsua.sip.message import MAGIC_COOKIE, Header, Request, Response
from sipsua.sip.uri import Uri
from sipsua.testing.calls import Call
from sipsua.testing.echo import EchoDesk
from sipsua.testing.exchange import RING_LIMIT, Exchange
from sipsua.testing.misbehaviour import Script, Step, Then
from sipsua.testing.notifier import Mailbox
from sipsua.testing.numbers import NUMBERS, Number
from sipsua.testing.pbx_flow import PbxFlow as PbxFlow
from sipsua.testing.pki import CertificateAuthority, Issued, IssuedFiles
from sipsua.testing.registrar import Binding, Registrar, Settings, Users
from sipsua.trust.identity import Identity
from sipsua.trust.policy import TlsVersion
from sipsua.trust.store import TrustList, read_file

BACKLOG = 4096
"""Connections that may wait to be accepted: Linux' own limit by default (net.core.somaxconn)."""
CLOSE_LIMIT = 1.0
"""Seconds for what is still to be sent when the PBX stops."""


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
        authenticate_calls: bool = True,
        record_route: bool = True,
        ring_limit: float = RING_LIMIT,
        numbers: Mapping[str, Number] = NUMBERS,
        unsolicited_voicemail: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        """`users` gives the password for each user part (see `registrar.users_in` for ranges).

        `certificate` is one of `pki`, the files of one, or PEM texts of certificate (with intermediates) and key; with None the
        PBX makes its own authority and a certificate for localhost, 127.0.0.1, ::1 and `host`. `port` 0 takes a free one. With
        `client_authority` (or a list, or the PEM, of several) clients must show a certificate. The limits are seconds for a handshake, and
        for the rest of a message of which a part has come. Those from `authenticate_calls` to `numbers` are the exchange's (see there),
        `settings` the registrar's. With `unsolicited_voicemail` phones that have not subscribed are told of their messages, too: when they
        register, and at each change.

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
        self.exchange = Exchange(
            self.registrar,
            SystemRandom().getrandbits,
            authenticate_calls=authenticate_calls,
            record_route=record_route,
            ring_limit=ring_limit,
            numbers=numbers,
        )
        """Who routes calls between the phones."""
        self.address = ""
        """Host and port as Via and Record-Route name them; empty where the PBX listens on all addresses."""
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
        self._unsolicited_voicemail = unsolicited_voicemail
        self._scripts: dict[str | None, Iterator[Step] | Callable[[Request], Step | None]] = {}
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[None]]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._dice = SystemRandom().getrandbits
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

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
        if self.host not in ("", "0.0.0.0", "::"):
            self.address = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        attendant = self.exchange.attendant
        attendant.address = self.address or f"localhost:{self.port}"
        attendant.desk = EchoDesk(self.loop, "" if not self.address else self._server.sockets[0].getsockname()[0])

    async def close(self) -> None:
        """Stop listening, and end all flows: orderly where the clients let it."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.exchange.attendant.close()
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

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that ring or stand now."""
        return tuple(self.exchange.calls)

    @property
    def numbers(self) -> dict[str, Number]:
        """The special numbers, by user part. May be changed at any time, for calls to come."""
        return self.exchange.attendant.numbers

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

    def set_voicemail(self, user: str, *, new: int = 0, old: int = 0) -> None:
        """Put so many voice messages into the user's mailbox: the lamps of the phones that have subscribed show it (RFC 3842)."""
        self.exchange.set_mailbox(user, Mailbox(new, old), self.loop.time())
        if self._unsolicited_voicemail:
            for binding in self.bindings.get(user, ()):
                self.exchange.tell_mailbox(user, binding)
        self._watch()

    async def check_sync(self, user: str, *, reboot: bool | None = None) -> Response:
        """Ask the user's newest phone to fetch its configuration anew (NOTIFY with the event check-sync), and wait for its answer.

        With `reboot` True or False the phone is told to start anew for it, or not to; None leaves that to the phone. Raises as `request`.
        """
        event = "check-sync" if reboot is None else f"check-sync;reboot={'true' if reboot else 'false'}"
        return await self.request(user, "NOTIFY", (("Event", event), ("Subscription-State", "terminated")))

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
        """What to send back on the flow now; nothing where the exchange sends the request on."""
        if self._scripts and request.method != "ACK":
            step = self._step(request)
            if step is not None:
                return self._misbehave(flow, request, step)
        return self._take(flow, request)

    def take_response(self, flow: PbxFlow, response: Response) -> None:
        """A response that no request of the PBX itself waits for. Raises MalformedMessage."""
        self.exchange.receive_response(flow, response, self.loop.time())
        self._watch()

    def forget(self, flow: PbxFlow) -> None:
        """The flow is gone."""
        self.flows.discard(flow)
        if not self._bindings_outlive_flow:
            self.registrar.close_flow(flow)
        self.exchange.close_flow(flow, self.loop.time())
        self._watch()
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

    def _take(self, flow: PbxFlow, request: Request) -> bytes:
        now = self.loop.time()
        if request.method == "REGISTER":
            answer = self.registrar.answer(request, now, source=flow.source, flow=flow)
            if self._unsolicited_voicemail and answer.startswith(b"SIP/2.0 200 "):
                self.loop.call_soon(self._light, flow, request.to.uri.decoded_user or "")
            return answer
        answer = self.exchange.receive_request(flow, request, now)
        self._watch()
        return answer

    def _light(self, flow: PbxFlow, user: str) -> None:
        """The lamp of a phone that has registered, after its 200."""
        for binding in self.bindings.get(user, ()):
            if binding.flow is flow:
                self.exchange.tell_mailbox(user, binding)

    def _watch(self) -> None:
        """Have one timer for all that waits in the exchange. It may ring too early, never too late."""
        deadline = self.exchange.agenda.deadline
        if deadline is None or self._server is None:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.exchange.handle_timer(self.loop.time())
        self._watch()
        self.note_change()

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
        registrar = self.registrar
        if step.ask:
            task = self.loop.create_task(self._ask_ahead(flow, request, step.ask))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        if step.status is not None:
            answer = registrar.respond(request, step.status, step.headers, source=flow.source)
        elif step.stale:
            answer = registrar.challenge(request, self.loop.time(), stale=True, source=flow.source)
        else:
            answer = self._take(flow, request)
        if answer:
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
