"""One connection to a server that misbehaves, as that server sees it: what it can do to the client, and what the client did.

A sound server leaves TLS to its library. One that breaks off in the middle of a handshake, or sends octets that no library would, holds
the octets in its own hands: here TLS runs on memory BIOs beside a blocking socket, one thread a connection, so that a behaviour is a
function that a reader follows from top to bottom. What the client did is noted all the while: how far it came, which alert it sent, how
it left, and what its requests were answered.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Literal, NoReturn, TypeVar

from OpenSSL import SSL

from sipsua.errors import MalformedMessage
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.message import Request
from sipsua.trust.verdict import ALERT_NAMES

NOTED = 256 * 1024
"""Octets of a client that are kept; what it sends beyond is only counted as heard."""

Answer = Callable[[Request, "Visit"], bytes]
"""From a request to the octets that answer it."""

_T = TypeVar("_T")


class Progress(StrEnum):
    """How far a client came."""

    CONNECTED = "connected"
    """TCP stood."""
    HELLO = "hello"
    """It sent a TLS record: its ClientHello."""
    HANDSHAKE = "handshake"
    """The handshake was finished on both sides, so it accepted what it was shown."""
    REGISTERED = "registered"
    """A REGISTER of it was answered with 200."""


class Visit:
    """One connection. Behaviours call its verbs; whoever tests reads its attributes once the connection has ended."""

    def __init__(
        self,
        tcp: socket.socket,
        context: SSL.Context,
        answer: Answer,
        closing: threading.Event,
        cut: threading.Event,
    ) -> None:
        """`closing` is set when the server ends, `cut` when it lets go of clients that stay."""
        self.tcp = tcp
        self.closing = closing
        self.source: tuple[str, int] = tcp.getpeername()[:2]
        """The client's address and port."""
        self.received = b""
        """The octets from the client as they came, the first `NOTED` of them."""
        self.decrypted = b""
        """What they held, after a handshake; likewise."""
        self.handshaken = False
        """Whether the handshake was finished on this side."""
        self.alert: str | None = None
        """The last TLS alert from the client, in the words of RFC 8446."""
        self.ended: Literal["open", "closed", "reset"] = "open"
        """How the client left; `open` where it stayed until this side let go."""
        self.answers: list[tuple[str, int]] = []
        """The method of each request that was answered, and the status of the answer."""
        self.over = False
        """Whether the connection has ended; nothing changes any more then."""
        self.fault = ""
        """What this side's OpenSSL did not like in the client, such as a version that it does not offer."""
        self._context = context
        self._answer = answer
        self._cut = cut
        self._finished = False
        self._tls: SSL.Connection | None = None

    @property
    def progress(self) -> Progress:
        """How far the client came."""
        if ("REGISTER", 200) in self.answers:
            return Progress.REGISTERED
        if self.handshaken:
            return Progress.HANDSHAKE
        return Progress.HELLO if self.received[:1] == b"\x16" else Progress.CONNECTED

    def read(self) -> bytes:
        """The next octets as they come; raises EOFError once the client has left."""
        try:
            data = self.tcp.recv(65536)
        except OSError as error:
            self._note_end("reset" if isinstance(error, ConnectionError) else "closed")
            raise EOFError from None
        if not data:
            self._note_end("open" if self._cut.is_set() else "closed")
            raise EOFError
        self.received += data[: NOTED - len(self.received)]
        return data

    def send(self, octets: bytes) -> None:
        """Send octets beside TLS, none after our FIN; raises EOFError where the client has left."""
        if not octets or self._finished:
            return
        try:
            self.tcp.sendall(octets)
        except OSError:
            self._note_end("reset")
            raise EOFError from None

    def end_sending(self) -> None:
        """Send a FIN and go on listening: a close() would answer what the client still sends with a reset."""
        self._finished = True
        try:
            self.tcp.shutdown(socket.SHUT_WR)
        except OSError:
            self._note_end("reset")
            raise EOFError from None

    def reset(self) -> NoReturn:
        """Close with an RST, and raise EOFError."""
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.tcp.close()
        raise EOFError

    def first_flight(self) -> list[bytes]:
        """Read the ClientHello, and return the records with which a sound server would answer it, unsent."""
        tls = self._begin()
        while True:
            tls.bio_write(self.read())
            try:
                tls.do_handshake()
            except SSL.WantReadError:
                if flight := self._outgoing():
                    return list(records_in(flight))
            except SSL.Error as error:
                self._fail(error)

    def handshake(self) -> None:
        """Serve a whole handshake; raises EOFError where it does not come about."""
        tls = self._begin()
        self._drive(tls.do_handshake)
        self.handshaken = True

    def send_in_tls(self, octets: bytes) -> None:
        """Send octets as application data."""
        assert self._tls is not None
        tls = self._tls
        self._drive(lambda: tls.sendall(octets))

    def send_close_notify(self) -> None:
        """Say by TLS that no more will be sent."""
        assert self._tls is not None
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass  # it is too late to say so
        self.send(self._outgoing())

    def serve(self) -> None:
        """Answer the client's requests until it leaves: what makes a phone that accepts this server see a registrar."""
        framer = Framer(pings=True)
        try:
            while True:
                framer.receive(self._plaintext())
                while (frame := framer.next_frame()) is not None:
                    if isinstance(frame, Request):
                        self.send_in_tls(self._answer(frame, self))
                    elif frame is KeepAlive.PING:
                        self.send_in_tls(KeepAlive.PONG.value)
        except MalformedMessage as error:
            self.fault = error.what
            self.send_close_notify()
            self.end_sending()
        except EOFError:
            if self.alert == "close_notify":
                self.send_close_notify()
                self.end_sending()
            raise

    def drain(self) -> None:
        """Note what comes until the client leaves; where it has reset the connection, also what it had said before."""
        try:
            if self._tls is not None and not self.handshaken:
                # What was sent in place of the library's flight is not what the client answers; its alert can be read all the same.
                self._drive(self._tls.do_handshake)
                self.handshaken = True
            while self._tls is not None:
                self._plaintext()
        except EOFError:
            pass
        try:
            while not self._cut.is_set():
                self.read()
        except EOFError:
            pass

    def _note_end(self, how: Literal["open", "closed", "reset"]) -> None:
        """Note how the client left. What is said first counts: after a reset the socket goes on with an end of file."""
        if self.ended == "open":
            self.ended = how

    def _begin(self) -> SSL.Connection:
        self._tls = tls = SSL.Connection(self._context)
        tls.set_info_callback(self._note)
        tls.set_accept_state()
        return tls

    def _note(self, connection: SSL.Connection, where: int, value: int) -> None:
        if where & SSL.SSL_CB_ALERT and where & SSL.SSL_CB_READ:
            self.alert = ALERT_NAMES.get(value & 0xFF, str(value & 0xFF))

    def _plaintext(self) -> bytes:
        """The next application data; raises EOFError after the client's close_notify."""
        assert self._tls is not None
        tls = self._tls
        data = self._drive(lambda: tls.recv(65536))
        self.decrypted += data[: NOTED - len(self.decrypted)]
        return data

    def _outgoing(self) -> bytes:
        assert self._tls is not None
        octets = b""
        try:
            while True:
                octets += self._tls.bio_read(65536)
        except SSL.WantReadError:
            return octets

    def _drive(self, step: Callable[[], _T]) -> _T:
        """Do a step of TLS, with all the reading and sending that it wants."""
        assert self._tls is not None
        while True:
            try:
                result = step()
            except SSL.WantReadError:
                self.send(self._outgoing())
                self._tls.bio_write(self.read())
            except SSL.Error as error:
                self._fail(error)
            else:
                self.send(self._outgoing())
                return result

    def _fail(self, error: SSL.Error) -> NoReturn:
        """TLS is over: by the client's alert, which is noted by now, or by ours, which goes out."""
        if self.alert is None and not self.fault:
            queue = error.args[0] if error.args else ()
            self.fault = str(queue[0][-1]) if isinstance(queue, list) and queue else "an error without a name"
        self.send(self._outgoing())
        raise EOFError


def records_in(octets: bytes) -> Iterator[bytes]:
    """The TLS records that a flight is made of (RFC 8446 section 5.1), headers included."""
    while octets:
        end = 5 + int.from_bytes(octets[3:5], "big")
        yield octets[:end]
        octets = octets[end:]


def alert_in_clear(octets: bytes) -> str | None:
    """The last alert among records that are not encrypted, in the words of RFC 8446."""
    found = None
    for record in records_in(octets):
        if record[0] == 21 and len(record) == 7:
            found = ALERT_NAMES.get(record[6], str(record[6]))
    return found
