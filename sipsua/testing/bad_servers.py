"""Bad and odd TLS servers, each bad in one way: what stands behind "it does not register", to be tried against any phone.

`CASES` has them by name; `BadServer` runs one. Behind those that a client may accept stands a registrar, so that a phone which should have
refused is seen to register. A server is threads with blocking sockets: it works for blocking clients and beside an event loop alike.

    with BadServer(CASES["expired-leaf"]) as server:
        ...     # a client connects to server.port, trusts server.setup.anchors_pem, and asks for server.setup.reference
    assert server.visits[0].alert == "certificate_expired"
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Self

from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.headers import parse_seconds
from sipsua.sip.message import Header, Request
from sipsua.testing.bad_behaviours import BEHAVIOUR_CASES
from sipsua.testing.bad_case import Case, Setup, Site
from sipsua.testing.bad_certificates import CERTIFICATE_CASES
from sipsua.testing.bad_names import NAME_CASES
from sipsua.testing.bad_negotiation import NEGOTIATION_CASES
from sipsua.testing.bad_revocation import REVOCATION_CASES
from sipsua.testing.pki import replace_file
from sipsua.testing.registrar import Registrar
from sipsua.testing.visit import Visit, alert_in_clear
from sipsua.trust.policy import Policy

_ALL = (*CERTIFICATE_CASES, *REVOCATION_CASES, *NAME_CASES, *NEGOTIATION_CASES, *BEHAVIOUR_CASES)

CASES: Mapping[str, Case] = {case.name: case for case in _ALL}
"""All kinds of bad servers by their names."""

GRACE = 2.0
"""Seconds that the end of a server leaves a client that has hung up to be noted as such."""

MAX_VISITS = 256
"""Connections at a time, each with its thread; those beyond are closed at once."""


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """What was written for a client of a bad server."""

    ca: Path
    """PEM: the certificates to trust."""
    crl: Path | None = None
    """PEM: the revocation lists to go by, where the case has some."""
    certificate: Path | None = None
    """PEM: the certificate to show, where the case has one."""
    key: Path | None = None
    """Its key, mode 0600."""


class BadServer:
    """A server of one kind, from entering to leaving the `with` block."""

    def __init__(
        self,
        case: Case,
        *,
        site: Site | None = None,
        setup: Setup | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        password: str | None = None,
        told: Callable[[Visit], None] | None = None,
    ) -> None:
        """`site` is where clients find it, `setup` takes the place of the one that the case makes for it. It listens on `host` and
        `port`, 0 takes a free one. The registrar knows every user, by this password; with None it asks for none.

        Each connection is told to `told` when the client has registered and when it has ended, by a thread of its own; without, all are
        kept in `visits`.
        """
        self.case = case
        self.setup = setup if setup is not None else case.make(site or Site())
        self.host = host
        self.port = port
        """Where it listens; inside the `with` block never 0."""
        self.visits: list[Visit] = []
        """One for each connection, in their order; complete once the `with` block has ended. With `told`, those that are open."""
        self.closing = threading.Event()
        """Set once the `with` block has ended."""
        self._told = told
        self._context = self.setup.context()
        self._password = password
        self._registrar = Registrar(lambda user: password, SystemRandom().getrandbits)
        self._deciding = threading.Lock()
        self._cut = threading.Event()
        self._threads: dict[Visit, threading.Thread] = {}
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        """Listen. Raises BadConfiguration where the address cannot be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            self._listener = socket.create_server((self.host, self.port), family=family, backlog=128)
        except (OSError, UnicodeError) as error:
            # What Python says names the address again.
            number = getattr(error, "errno", None) or 0
            why = os.strerror(number) if number > 0 else getattr(error, "strerror", "") or error
            raise BadConfiguration(
                f"the bad server cannot listen on {self.host} port {self.port}: {why}",
                fix="choose an address of this machine and a free port, or port 0",
            ) from None
        self._listener.settimeout(0.02)
        self.port = self._listener.getsockname()[1]
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._acceptor.join()
        self._listener.close()
        deadline = time.monotonic() + GRACE
        running = list(self._threads.items())
        for _, thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._cut.set()
        for visit, thread in running:
            try:
                visit.tcp.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already
            thread.join()

    @property
    def policy(self) -> Policy:
        """The policy that the client of this case has to have."""
        return self.setup.policy(self.case.wishes)

    def uri(self, user: str = "1000") -> str:
        """The address of a user at this server, by the name that the client has to look for."""
        host = f"[{self.setup.reference}]" if ":" in self.setup.reference else self.setup.reference
        return f"sips:{user}@{host}:{self.port}"

    def write(self, directory: str | Path) -> ClientFiles:
        """Write what the client needs into an existing directory: `ca.pem`, and `crl.pem`, `client.pem` and `client.key` where the
        case has them."""
        directory = Path(directory)
        ca, crl, client = directory / "ca.pem", None, None
        replace_file(ca, self.setup.anchors_pem, 0o644)
        if self.setup.crls:
            crl = directory / "crl.pem"
            replace_file(crl, self.setup.crls, 0o644)
        if self.setup.client is not None:
            client = self.setup.client.write(directory, "client")
        return ClientFiles(ca, crl, client.certificate if client else None, client.key if client else None)

    def _accept(self) -> None:
        # What the kernel has accepted before the end is still served: the client saw it succeed.
        while True:
            try:
                tcp, _ = self._listener.accept()
            except TimeoutError:
                if self.closing.is_set():
                    break
                continue
            except OSError:
                self.closing.wait(0.02)  # the client was gone before its turn came, or no descriptor is free
                continue
            if sum(thread.is_alive() for thread in list(self._threads.values())) >= MAX_VISITS:
                tcp.close()
                continue
            tcp.settimeout(None)
            try:
                visit = Visit(tcp, self._context, self._answer, self.closing, self._cut)
            except OSError:
                tcp.close()  # likewise
                continue
            self.visits.append(visit)
            thread = self._threads[visit] = threading.Thread(target=self._serve, args=(visit,))
            thread.start()

    def _serve(self, visit: Visit) -> None:
        with visit.tcp:
            try:
                self.case.behave(visit)
            except EOFError:
                pass
            if visit.tcp.fileno() != -1:
                visit.drain()
            visit.alert = visit.alert or alert_in_clear(visit.received)
            visit.over = True
        if self._told is not None:
            self.visits.remove(visit)
            del self._threads[visit]
            self._told(visit)

    def _answer(self, request: Request, visit: Visit) -> bytes:
        with self._deciding:
            if self._password is None and request.method == "REGISTER":
                answer = self._welcome(request, visit)
            else:
                answer = self._registrar.answer(request, time.monotonic(), source=visit.source, flow=visit)
        if answer:
            before = visit.progress
            visit.answers.append((request.method, int(answer[8:11])))
            if self._told is not None and visit.progress is not before:
                self._told(visit)
        return answer

    def _welcome(self, request: Request, visit: Visit) -> bytes:
        """200 for whoever comes, with the bindings that were asked for."""
        bound: list[Header] = []
        try:
            for contact in request.check().contacts:
                seconds = parse_seconds(contact.params.get("expires"))
                if seconds is None:
                    seconds = 3600 if request.expires is None else request.expires
                if seconds:
                    bound.append(("Contact", f"<{contact.uri_text}>;expires={seconds}"))
        except MalformedMessage as error:
            return self._registrar.reject(request, error, source=visit.source)
        return self._registrar.respond(request, 200, bound, source=visit.source)
