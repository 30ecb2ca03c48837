"""RTP packets, and what one learns from those of a source: RFC 3550 sections 5.1, 6.4.1 and appendix A.

A packet costs little: header by `struct`, payload by slice. `Reception` counts as the RFC's appendix does, so that what is reported of loss
and jitter is what any other implementation would report.
"""

from __future__ import annotations

from enum import Enum, auto
from struct import Struct
from typing import NamedTuple

_HEADER = Struct("!BBHII")
_EXTENSION = Struct("!HH")
VERSION = 0x80
MARKER = 0x80

MAX_PACKET = 1472
"""Octets that we send in a packet: an Ethernet frame's worth of UDP over IPv4. What comes may be as long as a datagram."""
MAX_DROPOUT = 3000
"""A sequence number that is so far ahead is that of a source which has begun anew (RFC 3550 appendix A.1)."""
WINDOW = 128
"""Sequence numbers behind the highest in which a duplicate is told from a late packet."""


class Packet(NamedTuple):
    """An RTP packet."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes) -> Packet | None:
    """Read a packet; None for what is no RTP: another version, or shorter than it says of itself (RFC 3550 appendix A.1)."""
    size = len(data)
    if size < 12:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first & 0xC0 != VERSION:
        return None
    begin = 12
    if first & 0x1F:
        begin += 4 * (first & 0x0F)
        if first & 0x10:
            if size < begin + 4:
                return None
            begin += 4 + 4 * _EXTENSION.unpack_from(data, begin)[1]
    if first & 0x20:
        size -= data[-1] or size
    if size < begin:
        return None
    return Packet(second & 0x7F, second >= MARKER, sequence, timestamp, ssrc, data[begin:size])


def build(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> bytes:
    """A packet as it goes to the wire; sequence and timestamp are counted on by the caller, and cut here."""
    return (
        _HEADER.pack(
            VERSION,
            payload_type | MARKER if marker else payload_type,
            sequence & 0xFFFF,
            timestamp & 0xFFFF_FFFF,
            ssrc,
        )
        + payload
    )


class Order(Enum):
    """How a packet comes."""

    NEXT = auto()
    """After all that came before, with or without a gap."""
    LATE = auto()
    """Out of order: one that came before it was sent after it."""
    DUPLICATE = auto()
    RESTART = auto()
    """The source has begun to count anew."""


class Reception:
    """What came from one source."""

    __slots__ = (
        "_cycles",
        "_first",
        "_highest",
        "_last_transit",
        "_reported_expected",
        "_reported_received",
        "_seen",
        "_stray",
        "duplicates",
        "jitter",
        "late",
        "received",
        "ssrc",
    )

    def __init__(self, ssrc: int, sequence: int) -> None:
        """The source and its first packet, which is given to `receive` as well."""
        self.ssrc = ssrc
        self.received = 0
        """Packets, without duplicates."""
        self.late = 0
        self.duplicates = 0
        self.jitter = 0.0
        """In units of the timestamp (section 6.4.1)."""
        self._first = sequence
        self._highest = sequence
        self._cycles = 0
        self._seen = 0
        self._stray = -1
        self._last_transit: int | None = None
        self._reported_expected = 0
        self._reported_received = 0

    def receive(self, sequence: int, timestamp: int, arrival: int) -> Order:
        """A packet came; `arrival` is when, in units of the timestamp, on a clock that begins anywhere."""
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead < MAX_DROPOUT:
            if ahead:
                self._seen = ((self._seen << ahead) | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
                if sequence < self._highest:
                    self._cycles += 0x10000
                self._highest = sequence
            elif self._seen & 1:
                self.duplicates += 1
                return Order.DUPLICATE
            else:
                self._seen |= 1  # the very first
            order = Order.NEXT
        elif ahead <= 0x10000 - WINDOW:
            # Far off: the second such packet in a row tells that the source counts anew.
            if sequence != self._stray:
                self._stray = (sequence + 1) & 0xFFFF
                return Order.LATE
            self._restart(sequence)
            order = Order.RESTART
        else:
            bit = 1 << (0x10000 - ahead)
            if self._seen & bit:
                self.duplicates += 1
                return Order.DUPLICATE
            self._seen |= bit
            self.late += 1
            order = Order.LATE
        self.received += 1
        transit = (arrival - timestamp) & 0xFFFF_FFFF
        if self._last_transit is not None:
            change = (transit - self._last_transit) & 0xFFFF_FFFF
            if change >= 0x8000_0000:
                change = 0x1_0000_0000 - change
            self.jitter += (change - self.jitter) / 16
        self._last_transit = transit
        return order

    @property
    def highest(self) -> int:
        """Extended highest sequence number (section 6.4.1)."""
        return self._cycles + self._highest

    @property
    def expected(self) -> int:
        """Packets that were sent to us, by their numbers."""
        return self._cycles + self._highest - self._first + 1

    @property
    def lost(self) -> int:
        """Packets that have not come; a duplicate makes none good here, other than in the RFC's own count."""
        return max(0, self.expected - self.received)

    def fraction_lost(self) -> int:
        """The share lost since the last call, in 256ths (appendix A.3)."""
        expected = self.expected - self._reported_expected
        received = self.received - self._reported_received
        self._reported_expected, self._reported_received = self.expected, self.received
        lost = expected - received
        return min(255, (lost << 8) // expected) if expected > 0 and lost > 0 else 0

    def _restart(self, sequence: int) -> None:
        self._first = sequence - (self.received & 0xFFFF_FFFF)
        self._cycles = 0
        self._highest = sequence
        self._seen = 1
        self._stray = -1
        self._last_transit = None
