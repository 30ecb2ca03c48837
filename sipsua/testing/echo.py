"""The voice of the special numbers: what a caller says comes back, packet for packet.

Nothing is decoded. A packet is taken off its socket, its encryption undone, and sent back under our own SSRC and key, with the sequence
number, the time stamp and the payload that it came with. So speech, silence, keys (RFC 4733) and losses come back as they were sent, and
who compares what was played with what was recorded hears the other side alone. It shares no code with the phones that it proves but that
of the session description.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from random import SystemRandom

import pylibsrtp

from sipsua.errors import MalformedMessage
from sipsua.media.offer import Address, Agreed, MediaConfig, Rejected, Session
from sipsua.media.sdes import SrtpKey
from sipsua.media.sdp import Description
from sipsua.testing.numbers import NumberCall

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
"""The suites that libsrtp has by name."""

ECHO = MediaConfig(suites=tuple(PROFILES))
"""How the numbers answer: encrypted where that is offered, and in the clear where it is not."""
AT_ONCE = 64
"""Packets that are read off one socket before the others have their turn."""
TRIES = 16
"""The port for RTP is even and the next one free as well (RFC 3550 section 11); the kernel gives any, so that two tries do on average."""
SILENCE = 1.0
"""Seconds without a packet after which another sender is believed: who has moved comes from elsewhere, and who only listens in must not."""


class Echo:
    """One call's sockets, keys, and counts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, config: MediaConfig) -> None:
        """Raises OSError where no port can be had."""
        self._loop = loop
        self._rtp, self._rtcp = _port_pair(host)
        dice = SystemRandom().getrandbits
        self.session = Session(config, Address(host, self._rtp.getsockname()[1]), dice)
        """Our side of the description."""
        self.packets = 0
        """Packets that were sent back."""
        self.dropped = 0
        """Packets that were no RTP, not encrypted as agreed, or came from a stranger."""
        self._agreed: Agreed | None = None
        self._mask = dice(32) | 1
        self._inbound: pylibsrtp.Session | None = None
        self._outbound: pylibsrtp.Session | None = None
        self._source: tuple[object, ...] | None = None
        self._heard_at = 0.0
        loop.add_reader(self._rtp, self._read)

    def agree(self, agreed: Agreed) -> None:
        """What holds from now on."""
        before, self._agreed = self._agreed, agreed
        if before is None or before.srtp_receive != agreed.srtp_receive:
            self._inbound = _srtp(agreed.srtp_receive, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        if before is None or before.srtp_send != agreed.srtp_send:
            self._outbound = _srtp(agreed.srtp_send, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        if before is None or before.remote != agreed.remote:
            self._source = None

    def close(self) -> None:
        """Let the ports go."""
        self._loop.remove_reader(self._rtp)
        self._rtp.close()
        self._rtcp.close()

    def _read(self) -> None:
        for _ in range(AT_ONCE):
            try:
                packet, source = self._rtp.recvfrom(2048)
            except OSError:
                return  # nothing more, or word of a port that is closed
            self._take(packet, source)

    def _take(self, packet: bytes, source: tuple[object, ...]) -> None:
        agreed = self._agreed
        # Version 2 (RFC 3550 section 5.1), and no RTCP on the same port (RFC 5761 section 4).
        if agreed is None or len(packet) < 12 or packet[0] >> 6 != 2 or 64 <= packet[1] & 0x7F < 96:
            self.dropped += 1
            return
        try:
            if self._inbound is not None:
                packet = self._inbound.unprotect(packet)
            now = self._loop.time()
            if source != self._source and self._source is not None and now - self._heard_at < SILENCE:
                self.dropped += 1
                return
            self._source, self._heard_at = source, now
            if not agreed.direction.sends:
                return
            kind = packet[1]
            if kind & 0x7F == agreed.dtmf_receive and agreed.dtmf_send is not None:
                kind = kind & 0x80 | agreed.dtmf_send
            # An SSRC of ours for each of theirs: numbers go on from where they were, and libsrtp wants them to.
            ssrc = int.from_bytes(packet[8:12], "big") ^ self._mask
            packet = b"%c%c%b%b%b" % (packet[0], kind, packet[2:8], ssrc.to_bytes(4, "big"), packet[12:])
            if self._outbound is not None:
                packet = self._outbound.protect(packet)
        except (pylibsrtp.Error, ValueError):
            self.dropped += 1
            return
        with contextlib.suppress(OSError):
            # Symmetric RTP (RFC 4961): back to where it came from, whatever the description says.
            self._rtp.sendto(packet, source)
            self.packets += 1


class EchoDesk:
    """The desk of a pocket PBX: an `Echo` for each call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, config: MediaConfig = ECHO) -> None:
        """`host` is where the PBX listens; where that is all addresses, a call's is the one that its caller has reached."""
        self.config = config
        """For calls to come."""
        self.echoes: dict[NumberCall, Echo] = {}
        """The calls under way."""
        self._loop = loop
        self._host = host

    def take(self, call: NumberCall, offer: bytes, reply: Callable[[bytes | int], None]) -> None:
        """See `Desk`: the answer comes at once."""
        reply(self._describe(call, offer))

    def accept(self, call: NumberCall, answer: bytes) -> None:
        """See `Desk`; what is no answer leaves the call without voice."""
        echo = self.echoes.get(call)
        if echo is not None:
            with contextlib.suppress(MalformedMessage, Rejected):
                echo.agree(echo.session.accept(Description.parse(answer)))

    def leave(self, call: NumberCall) -> None:
        """See `Desk`."""
        echo = self.echoes.pop(call, None)
        if echo is not None:
            echo.close()

    def _describe(self, call: NumberCall, offer: bytes) -> bytes | int:
        echo = self.echoes.get(call)
        try:
            description = Description.parse(offer) if offer else None
            if echo is None:
                host = self._host or call.address.rpartition(":")[0].strip("[]")
                echo = self.echoes[call] = Echo(self._loop, host, self.config)
            if description is None:
                return bytes(echo.session.offer())
            answer, agreed = echo.session.answer(description)
        except MalformedMessage as error:
            return error.status
        except Rejected as error:
            return error.status
        except OSError:
            return 500
        echo.agree(agreed)
        return bytes(answer)


def _port_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Sockets for RTP and RTCP. What comes as RTCP is not read: the kernel drops it, and nobody is told that the port is closed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(TRIES):
        rtp = socket.socket(family, socket.SOCK_DGRAM)
        rtcp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            rtp.bind((host, 0))
            port = rtp.getsockname()[1]
            if port % 2 == 0 and port < 65535:
                rtcp.bind((host, port + 1))
                rtp.setblocking(False)
                return rtp, rtcp
        except OSError:
            pass
        rtp.close()
        rtcp.close()
    raise OSError("no pair of ports is free")


def _srtp(key: SrtpKey | None, kind: int) -> pylibsrtp.Session | None:
    if key is None:
        return None
    return pylibsrtp.Session(pylibsrtp.Policy(key=key.key, ssrc_type=kind, srtp_profile=PROFILES[key.suite]))
