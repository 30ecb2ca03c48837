"""One client's connection to the pocket PBX: TLS and framing on one side, the registrar and the exchange on the other.

There is no task and no timer for each message. One bad client costs the others nothing: each flow has a time limit on its handshake and
on half a message, and one that does not read what it is sent is cut off.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, cast

from cryptography import x509

from sipsua.errors import FlowLost, MalformedMessage, SipsuaError
from sipsua.net.tls import TlsPipe
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.message import Request, Response
from sipsua.testing.misbehaviour import Then

if TYPE_CHECKING:
    from sipsua.testing.pbx import PocketPbx

MAX_UNREAD = 256 * 1024
"""Octets that wait for a client to read them; with more it is cut off. A thousand answers are less."""


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
    def address(self) -> str:
        """Host and port of the PBX's end, as Via and Record-Route name it."""
        if self._pbx.address or self._transport is None:
            return self._pbx.address
        host, port = self._transport.get_extra_info("sockname")[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

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
            future = self.pending.get((response.via.branch, response.cseq.method)) if self.pending else None
            if future is None:
                self._pbx.take_response(self, response)
            elif response.check().status >= 200 and not future.done():
                future.set_result(response)
        except MalformedMessage as error:
            self._pbx.failures.append(error.what)

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
