"""Servers that fail a TLS client, each in one way: what stands behind "it does not register" when there is no sound PBX there.

Each function here makes one, to be entered as a context manager; it listens on a free port of 127.0.0.1, serves each
connection in a thread of its own, and notes what the client did. They are threads so that they work for blocking clients and
beside an event loop alike.

    with tls_then_silence(files) as server:
        ...                             # the client connects to server.port and gives up
    assert server.visits[0].alert == "close_notify"
"""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TypeVar

from sipsua.testing.pki import IssuedFiles

GRACE = 2.0
"""Seconds that the end of the ``with`` block leaves a client that has hung up to be noted as such."""

ALERTS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    80: "internal_error",
    90: "user_canceled",
}
"""Names of RFC 8446, section 6; other numbers are shown as such."""

_T = TypeVar("_T")


class Visit:
    """One connection, as the server saw it; complete once the ``with`` block has ended."""

    def __init__(self, tcp: socket.socket, cut: threading.Event) -> None:
        self.received = b""
        """All octets from the client, as they came."""
        self.decrypted = b""
        """What they held, after a handshake."""
        self.handshaken = False
        """Whether the handshake was finished on this side."""
        self.alert: str | None = None
        """The last TLS alert from the client, in the words of RFC 8446."""
        self.ended: Literal["open", "closed", "reset"] = "open"
        """How the client left; ``open`` when it stayed until this side let go."""
        self.tcp = tcp
        self._cut = cut
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None

    def read(self) -> bytes:
        """The next octets as they come; raises EOFError once the client has left."""
        try:
            data = self.tcp.recv(65536)
        except ConnectionError:
            self.ended = "reset"
            raise EOFError from None
        if not data:
            self.ended = "open" if self._cut.is_set() else "closed"
            raise EOFError
        self.received += data
        return data

    def send(self, octets: bytes) -> None:
        """Send octets beside TLS."""
        try:
            self.tcp.sendall(octets)
        except OSError:
            self.ended = "reset"
            raise EOFError from None

    def end_sending(self) -> None:
        """Send a FIN and go on listening: a close() would answer what the client still sends with a reset."""
        try:
            self.tcp.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended = "reset"
            raise EOFError from None

    def reset(self) -> None:
        """Close with an RST."""
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.close()

    def first_flight(self, context: ssl.SSLContext) -> bytes:
        """Read the ClientHello and return what a sound server would answer, unsent."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            self._incoming.write(self.read())
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                if flight := self._outgoing.read():
                    return flight
            except ssl.SSLError:
                # The client offers what no sound server takes, and is told so.
                self.send(self._outgoing.read())
                raise EOFError from None

    def handshake(self, context: ssl.SSLContext) -> None:
        """Serve a whole handshake; raises EOFError when the client breaks it off."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._drive(self._tls.do_handshake)
        self.handshaken = True

    def send_in_tls(self, octets: bytes) -> None:
        """Send octets as application data."""
        assert self._tls is not None
        tls = self._tls
        self._drive(lambda: tls.write(octets))

    def send_close_notify(self) -> None:
        """Say by TLS that no more will be sent."""
        assert self._tls is not None
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # it wants to read the client's own close_notify, and drain() does
        self.send(self._outgoing.read())

    def drain(self) -> None:
        """Note what comes until the client leaves."""
        tls = self._tls
        try:
            while tls is not None and not self.alert:
                self.decrypted += (data := self._drive(lambda: tls.read(65536)))
                if not data:
                    self.alert = "close_notify"
            while True:
                self.read()
        except EOFError:
            pass

    def _drive(self, step: Callable[[], _T]) -> _T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self.send(self._outgoing.read())
                self._incoming.write(self.read())
            except ssl.SSLZeroReturnError:
                self.alert = "close_notify"
                raise EOFError from None
            except ssl.SSLError as error:
                # Python names an alert of the peer TLSV1_ALERT_UNKNOWN_CA, SSLV3_ALERT_BAD_CERTIFICATE and so on.
                _, is_alert, name = (error.reason or "").partition("_ALERT_")
                if is_alert:
                    self.alert = name.lower()
                self.send(self._outgoing.read())
                raise EOFError from None
            else:
                self.send(self._outgoing.read())
                return result


class BrokenServer:
    """A listener that lets ``behaviour`` treat each connection, then notes what the client does until it leaves."""

    def __init__(self, behaviour: Callable[[Visit], None]) -> None:
        self.visits: list[Visit] = []
        """One per accepted connection, in their order."""
        self._behaviour = behaviour
        self.closing = threading.Event()
        """Set once the ``with`` block has ended."""
        self._cut = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(0.02)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self._acceptor.join()
        self._listener.close()
        deadline = time.monotonic() + GRACE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._cut.set()
        for visit, thread in zip(self.visits, self._threads, strict=True):
            try:
                visit.tcp.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already
            thread.join()

    def _accept(self) -> None:
        # What the kernel has accepted before the end is still served: the client saw it succeed.
        while True:
            try:
                tcp, _ = self._listener.accept()
            except TimeoutError:
                if self.closing.is_set():
                    break
                continue
            tcp.settimeout(None)
            visit = Visit(tcp, self._cut)
            self.visits.append(visit)
            self._threads.append(threading.Thread(target=self._serve, args=(visit,)))
            self._threads[-1].start()

    def _serve(self, visit: Visit) -> None:
        with visit.tcp:
            try:
                self._behaviour(visit)
            except EOFError:
                pass
            if visit.ended == "open" and visit.tcp.fileno() != -1:
                visit.drain()
            visit.alert = visit.alert or _alert_in_clear(visit.received)


def plain_sip() -> BrokenServer:
    """A SIP port without TLS: it takes the ClientHello for a malformed request."""
    return _answers(b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def plain_http() -> BrokenServer:
    """A web server without TLS, as nginx answers there."""
    body = b"<html><body><h1>400 Bad Request</h1></body></html>"
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return _answers(head % len(body) + body)


def silent() -> BrokenServer:
    """Accepts, and never says a word."""
    return BrokenServer(lambda visit: None)


def closes_at_once() -> BrokenServer:
    """Accepts and closes, without waiting for the ClientHello."""
    return BrokenServer(Visit.end_sending)


def resets_at_accept() -> BrokenServer:
    """Accepts and resets the connection, as a firewall does."""
    return BrokenServer(Visit.reset)


def resets_after_client_hello() -> BrokenServer:
    """Reads the ClientHello and resets the connection, as a firewall does that looks at the server name."""

    def behave(visit: Visit) -> None:
        visit.read()
        visit.reset()

    return BrokenServer(behave)


def stops_in_handshake(files: IssuedFiles) -> BrokenServer:
    """Sends its ServerHello and no more."""
    context = server_context(files)

    def behave(visit: Visit) -> None:
        flight = visit.first_flight(context)
        visit.send(flight[: 5 + int.from_bytes(flight[3:5], "big")])

    return BrokenServer(behave)


def one_octet_at_a_time(files: IssuedFiles, *, interval: float = 1.0) -> BrokenServer:
    """Sends what a sound server would answer to the ClientHello, one octet every ``interval`` seconds."""
    context = server_context(files)

    def behave(visit: Visit) -> None:
        for octet in visit.first_flight(context):
            visit.send(bytes([octet]))
            if server.closing.wait(interval):
                break

    server = BrokenServer(behave)
    return server


def tls_then_silence(files: IssuedFiles, *, version: ssl.TLSVersion | None = None) -> BrokenServer:
    """A good handshake, and never a word after it."""
    context = server_context(files, version)
    return BrokenServer(lambda visit: visit.handshake(context))


def tls_then_garbage(
    files: IssuedFiles, garbage: bytes = b"\x00\xff\x16SIP?\r\n\r\n" * 8, *, version: ssl.TLSVersion | None = None
) -> BrokenServer:
    """A good handshake, then application data that is no SIP."""
    context = server_context(files, version)

    def behave(visit: Visit) -> None:
        visit.handshake(context)
        visit.send_in_tls(garbage)

    return BrokenServer(behave)


def tls_then_broken_record(files: IssuedFiles, *, version: ssl.TLSVersion | None = None) -> BrokenServer:
    """A good handshake, then a record that was not encrypted with its keys."""
    context = server_context(files, version)

    def behave(visit: Visit) -> None:
        visit.handshake(context)
        visit.send(b"\x17\x03\x03\x00\x40" + bytes(64))

    return BrokenServer(behave)


def tls_then_close(files: IssuedFiles, *, notify: bool = True, version: ssl.TLSVersion | None = None) -> BrokenServer:
    """A good handshake, then the end: with a close_notify, or by a FIN alone, which is what an attacker can forge."""
    context = server_context(files, version)

    def behave(visit: Visit) -> None:
        visit.handshake(context)
        if notify:
            visit.send_close_notify()
        visit.end_sending()

    return BrokenServer(behave)


def server_context(files: IssuedFiles, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A sound server's context, of one TLS version where that is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def _answers(text: bytes) -> BrokenServer:
    def behave(visit: Visit) -> None:
        visit.read()
        visit.send(text)
        visit.end_sending()

    return BrokenServer(behave)


def _alert_in_clear(octets: bytes) -> str | None:
    """The last alert among TLS records that are not encrypted."""
    found = None
    while len(octets) >= 7:
        end = 5 + int.from_bytes(octets[3:5], "big")
        if octets[0] == 21 and end == 7:
            found = ALERTS.get(octets[6], str(octets[6]))
        octets = octets[end:]
    return found
