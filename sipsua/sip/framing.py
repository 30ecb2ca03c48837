"""A stream cut into messages: RFC 3261 section 18.3 with the keep-alives of RFC 5626 section 3.5.1.

Strategy: bytes go in as they come, however they are split; `next_frame` hands out what is whole. Where a message is not whole yet, the
framer remembers how far it searched and the head it has already parsed, so a slow peer costs no more than a fast one. In the common
case, one message in one piece, nothing is copied into a buffer.

Invariant: whatever bytes come, `next_frame` returns a frame, returns None, or raises `MalformedMessage`. After a fatal one the
framing of the stream is lost and the flow must be closed; `broken` is then the message that broke it, if its head could be read, so
that it can be answered first.
"""

from __future__ import annotations

import re
from enum import Enum

from sipsua.errors import MalformedMessage
from sipsua.sip.headers import TOKEN
from sipsua.sip.message import Message, Request, Response, parse_head

MAX_HEAD = 64 * 1024
"""Cap on start line and header fields: Kamailio's and OpenSIPS' default limit for a whole message."""
MAX_BODY = 1024 * 1024
"""Cap on a body: a hundred times the largest SDP, presence document or resource list met in practice."""

_BEGINNING = 8192
"""Where no empty line has come, this many bytes are looked at again with each new piece: a start line is shorter."""

_START = re.compile(TOKEN.encode() + rb"(?:[ /]|\Z)")
_WHOLE_START_LINE = re.compile(rb"(?:SIP/|" + TOKEN.encode() + rb" [^\r\n]* SIP/)", re.IGNORECASE)


class KeepAlive(Enum):
    """What stands between messages."""

    PING = b"\r\n\r\n"
    """Double CRLF: wants a pong."""
    PONG = b"\r\n"
    """Single CRLF: answers a ping."""


class Framer:
    """Cuts one stream of bytes into messages and keep-alives."""

    __slots__ = ("_at", "_buffer", "_head", "_needed", "_pings", "_scanned", "broken")

    def __init__(self, *, pings: bool = False) -> None:
        """`pings`: this side is the one that is pinged (a server), so a single CRLF may be the first half of a ping."""
        self._pings = pings
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._scanned = 0
        self._head: Request | Response | None = None
        self._needed = 0
        self.broken: Message | None = None

    @property
    def incomplete(self) -> bool:
        """True where a part of a message waits for the rest: after a time limit, close the flow."""
        return self._head is not None or self._at < len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take bytes from the stream."""
        if self._at == len(self._buffer):
            self._buffer = data
            self._at = self._scanned = 0
            return
        if isinstance(self._buffer, bytes) or self._at > MAX_HEAD:
            self._buffer = bytearray(self._buffer[self._at :])
            self._scanned -= self._at
            self._at = 0
        self._buffer += data

    def next_frame(self) -> Request | Response | KeepAlive | None:
        """The next whole frame, or None where more bytes are needed.

        Raises `MalformedMessage`, always fatal: no further frame can be told from the stream.
        """
        buffer, at = self._buffer, self._at
        if self._head is None:
            if at == len(buffer):
                return None
            if buffer[at : at + 1] == b"\r":
                return self._keep_alive()
            end = buffer.find(b"\r\n\r\n", self._scanned)
            if end < 0:
                self._look_at_beginning()
                self._scanned = max(at, len(buffer) - 3)
                return None
            if end - at > MAX_HEAD:
                raise MalformedMessage(f"header section of {end - at} bytes", status=513, fatal=True)
            message = parse_head(buffer[at : end + 2].decode("utf-8", "surrogateescape"))
            try:
                length = message.content_length
                if length is None:
                    raise MalformedMessage("Content-Length is missing: a stream needs it (RFC 3261 18.3)", fatal=True)
                if length > MAX_BODY:
                    raise MalformedMessage(f"body of {length} bytes", status=513, fatal=True)
            except MalformedMessage:
                self.broken = message
                raise
            at = end + 4
        else:
            message, length = self._head, self._needed
        end = at + length
        if len(buffer) < end:
            self._at, self._head, self._needed = at, message, length
            return None
        if length:
            message.body = bytes(buffer[at:end])
        self._head = None
        self._consume(end)
        return message

    def _keep_alive(self) -> KeepAlive | None:
        buffer, at = self._buffer, self._at
        if buffer[at : at + 4] == b"\r\n\r\n":
            self._consume(at + 4)
            return KeepAlive.PING
        if buffer[at : at + 2] == b"\r\n" and not (
            self._pings and len(buffer) - at < 4 and buffer[at + 2 :] in (b"", b"\r")
        ):
            self._consume(at + 2)
            return KeepAlive.PONG
        if len(buffer) - at > 1 and buffer[at + 1 : at + 2] != b"\n":
            raise MalformedMessage("a CR without its LF stands where a message should begin", fatal=True)
        return None

    def _consume(self, end: int) -> None:
        if end == len(self._buffer):
            self._buffer = b""
            self._at = self._scanned = 0
        else:
            self._at = self._scanned = end

    def _look_at_beginning(self) -> None:
        """Tell early that these bytes will never be SIP, instead of waiting for an empty line that does not come."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at > MAX_HEAD + 3:  # the last three may be the beginning of the empty line
            raise MalformedMessage(f"header section of more than {MAX_HEAD} bytes", status=513, fatal=True)
        if self._scanned - at > _BEGINNING:
            return
        beginning = bytes(buffer[at : at + _BEGINNING])
        line, found, _ = beginning.partition(b"\r\n")
        if not _START.match(beginning) or (found and not _WHOLE_START_LINE.match(line)):
            raise MalformedMessage(
                f"this is not SIP: {beginning[:40]!r}",
                fatal=True,
                fix="see that the port is one that speaks SIP over TLS",
            )
