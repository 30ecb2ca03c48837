"""Voice as samples and as octets: PCMU and PCMA by tables (ITU-T G.711), G.722 by its library.

Samples are signed 16 bits, one channel, in `array("h")`. A codec has a state (G.722 has), so each direction of each stream has its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from operator import itemgetter
from typing import Protocol

import G722

Samples = array  # of "h"
"""Signed 16-bit samples, one channel."""


class Coder(Protocol):
    """One direction of one codec."""

    rate: int
    """Samples a second."""

    def encode(self, samples: array[int]) -> bytes:
        """Samples as octets."""

    def decode(self, payload: bytes) -> array[int]:
        """Octets as samples."""


class _G711:
    rate = 8000

    __slots__ = ("_high", "_low", "_table")

    def __init__(self, tables: tuple[bytes, bytes, bytes]) -> None:
        self._table, self._low, self._high = tables

    def encode(self, samples: array[int]) -> bytes:
        if len(samples) < 2:
            return bytes(self._table[sample & 0xFFFF] for sample in samples)
        return bytes(itemgetter(*memoryview(samples).cast("B").cast("H"))(self._table))

    def decode(self, payload: bytes) -> array[int]:
        octets = bytearray(2 * len(payload))
        octets[_LOW::2] = payload.translate(self._low)
        octets[1 - _LOW :: 2] = payload.translate(self._high)
        samples = array("h")
        samples.frombytes(octets)
        return samples


class _G722:
    rate = 16_000

    __slots__ = ("_codec",)

    def __init__(self) -> None:
        self._codec = G722.G722(16_000, 64_000)

    def encode(self, samples: array[int]) -> bytes:
        octets: bytes = self._codec.encode(samples)
        return octets

    def decode(self, payload: bytes) -> array[int]:
        samples: array[int] = self._codec.decode(payload)
        return samples


def coder(name: str) -> Coder:
    """A codec by its name in the session description: `PCMU`, `PCMA`, `G722`."""
    return _G722() if name == "G722" else _G711(_TABLES[name])


OCTETS_PER_MS = 8
"""Of all three: 64 kbit/s."""

_LOW = 0 if array("H", [1]).tobytes()[0] else 1
"""Where the low octet of a sample is on this machine."""


def _expand_mu(octet: int) -> int:
    """G.711 table 2: mu-law."""
    octet = ~octet & 0xFF
    magnitude = (((octet & 0x0F) << 3) + 0x84) << (octet >> 4 & 7)
    return 0x84 - magnitude if octet & 0x80 else magnitude - 0x84


def _expand_a(octet: int) -> int:
    """G.711 table 1: A-law, whose even bits are inverted on the line."""
    octet ^= 0x55
    exponent, magnitude = octet >> 4 & 7, (octet & 0x0F) << 4
    magnitude = magnitude + 8 if exponent == 0 else (magnitude + 0x108) << (exponent - 1)
    return magnitude if octet & 0x80 else -magnitude


def _compress_mu(sample: int) -> int:
    sign, magnitude = (0x80, -sample) if sample < 0 else (0, sample)
    magnitude = min(magnitude, 32_635) + 0x84
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3) & 0x0F)) & 0xFF


def _compress_a(sample: int) -> int:
    sign, magnitude = (0x80, sample) if sample >= 0 else (0, ~sample)
    magnitude >>= 4
    exponent = max(0, magnitude.bit_length() - 4)
    mantissa = magnitude & 0x0F if exponent == 0 else magnitude >> (exponent - 1) & 0x0F
    return (sign | exponent << 4 | mantissa) ^ 0x55


def _tables(expand: list[int], compress: bytes) -> tuple[bytes, bytes, bytes]:
    return compress, bytes(sample & 0xFF for sample in expand), bytes(sample >> 8 & 0xFF for sample in expand)


_SIGNED = [*range(0x8000), *range(-0x8000, 0)]
"""Samples by their 16 bits."""

_TABLES: Mapping[str, tuple[bytes, bytes, bytes]] = {
    "PCMU": _tables([_expand_mu(octet) for octet in range(256)], bytes(map(_compress_mu, _SIGNED))),
    "PCMA": _tables([_expand_a(octet) for octet in range(256)], bytes(map(_compress_a, _SIGNED))),
}
"""Octets by the 16 bits of a sample; low and high octets of the sample by octet."""
