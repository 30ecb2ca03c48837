"""RTCP: sender and receiver reports, the name, and the goodbye; RFC 3550 section 6, as much of it as two parties need.

What is read is bounded by the datagram, and a packet that does not fit its own length ends the reading without a word.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

_SR, _RR, _SDES, _BYE = 200, 201, 202, 203
_HEAD = Struct("!BBHI")
_SENDER = Struct("!IIIII")
_BLOCK = Struct("!IIIIII")

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 3550 section 4)."""


class Block(NamedTuple):
    """What somebody tells of what it receives from a source (section 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """In 256ths, since its last report."""
    lost: int
    """In all; below 0 where duplicates came."""
    highest: int
    jitter: int
    """In units of the timestamp."""
    last_sr: int
    """Middle of the NTP time of the last sender report that it has from there; 0: none."""
    delay: int
    """In 65,536ths of a second, from that report to this one."""


class Report(NamedTuple):
    """A compound packet, as far as it matters here."""

    ssrc: int
    ntp: int | None
    """Middle 32 bits of the NTP time of a sender report; None for a receiver's."""
    blocks: tuple[Block, ...]
    goodbye: bool


def parse(data: bytes) -> Report | None:
    """Read a compound packet; None for what is no RTCP (appendix A.2)."""
    ssrc, ntp, goodbye = 0, None, False
    blocks: list[Block] = []
    begin = 0
    while begin + 8 <= len(data):
        first, kind, words, sender = _HEAD.unpack_from(data, begin)
        end = begin + 4 * (words + 1)
        if first & 0xC0 != 0x80 or end > len(data) or (begin == 0 and kind not in (_SR, _RR)):
            return None if begin == 0 else Report(ssrc, ntp, tuple(blocks), goodbye)
        at = begin + 8
        if kind in (_SR, _RR):
            ssrc = sender
            if kind == _SR:
                if at + 20 > end:
                    return None
                high, low, *_ = _SENDER.unpack_from(data, at)
                ntp = (high & 0xFFFF) << 16 | low >> 16
                at += 20
            for _ in range(first & 0x1F):
                if at + 24 > end:
                    break
                source, loss, highest, jitter, last_sr, delay = _BLOCK.unpack_from(data, at)
                lost = loss & 0xFF_FFFF
                lost = lost - 0x100_0000 if lost & 0x80_0000 else lost
                blocks.append(Block(source, loss >> 24, lost, highest, jitter, last_sr, delay))
                at += 24
        elif kind == _BYE:
            goodbye = True
        begin = end
    return Report(ssrc, ntp, tuple(blocks), goodbye) if begin else None


def build(
    ssrc: int,
    name: str,
    *,
    at: float,
    timestamp: int,
    packets: int,
    octets: int,
    block: Block | None = None,
    goodbye: bool = False,
) -> bytes:
    """A compound packet: a sender report where packets were sent, else a receiver report; the name; and the goodbye.

    `at` is the time of day in seconds since 1970, `timestamp` that of the stream at the same moment, `name` the CNAME (section 6.5.1).
    """
    blocks = b""
    if block is not None:
        lost = max(-0x80_0000, min(0x7F_FFFF, block.lost)) & 0xFF_FFFF
        blocks = _BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | lost,
            block.highest & 0xFFFF_FFFF,
            block.jitter,
            block.last_sr,
            block.delay & 0xFFFF_FFFF,
        )
    count = len(blocks) // 24
    if packets:
        seconds = at + NTP_EPOCH
        ntp = (int(seconds) & 0xFFFF_FFFF, int(seconds % 1 * 2**32))
        sender = _SENDER.pack(*ntp, timestamp & 0xFFFF_FFFF, packets & 0xFFFF_FFFF, octets & 0xFFFF_FFFF)
        data = _HEAD.pack(0x80 | count, _SR, 6 + 6 * count, ssrc) + sender + blocks
    else:
        data = _HEAD.pack(0x80 | count, _RR, 1 + 6 * count, ssrc) + blocks
    text = name.encode()[:255]
    chunk = bytes((1, len(text))) + text
    chunk += bytes(4 - len(chunk) % 4)  # one zero at least ends the list
    data += _HEAD.pack(0x81, _SDES, 1 + len(chunk) // 4, ssrc) + chunk
    if goodbye:
        data += _HEAD.pack(0x81, _BYE, 1, ssrc)
    return data


def middle(at: float) -> int:
    """The middle 32 bits of the NTP time of a time of day: what sender reports are named by."""
    seconds = at + NTP_EPOCH
    return (int(seconds) & 0xFFFF) << 16 | int(seconds % 1 * 65_536)


def round_trip(block: Block, at: float) -> float | None:
    """Seconds from our sender report to them and back (section 6.4.1, figure 2); None where the block answers none of ours."""
    if not block.last_sr:
        return None
    ticks = (middle(at) - block.last_sr - block.delay) & 0xFFFF_FFFF
    # Clocks step, and peers err: what is longer than a minute is no round trip.
    return ticks / 65_536 if ticks < 60 * 65_536 else None
