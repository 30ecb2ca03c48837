"""How well a call was heard, in numbers: packets, loss, jitter, delay, and a mean opinion score by the E-model.

The score is ITU-T G.107's with its default values, which leave delay and loss: R = 93.2 - Id - Ie_eff. Codecs enter by G.113 appendix I's
impairment and robustness, loss as random. It is an estimate of what a listener would say, of 4.4 at best for G.711.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CODECS: Mapping[str, tuple[float, float]] = {"PCMU": (0.0, 25.1), "PCMA": (0.0, 25.1), "G722": (13.0, 25.1)}
"""Ie and Bpl with packet loss concealment, by G.113 tables I.1 and I.3; G.722 as a narrow-band listener hears it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What became of the voice of a call."""

    codec: str
    """The last one that was sent with."""
    encrypted: bool
    packets_sent: int = 0
    octets_sent: int = 0
    """Of payload."""
    packets_received: int = 0
    octets_received: int = 0
    lost: int = 0
    """Packets that were sent to us and have not come."""
    late: int = 0
    """Came out of order, or too late to be played."""
    duplicates: int = 0
    unauthentic: int = 0
    """Discarded by SRTP: another key, changed on the way, or no SRTP."""
    replayed: int = 0
    """Discarded by SRTP as seen before."""
    strange: int = 0
    """No RTP, or of a payload type that was not agreed."""
    late_ticks: int = 0
    """Packets of ours that went out more than a packet time late: the sender's own fault."""
    jitter_ms: float = 0.0
    """RFC 3550 section 6.4.1."""
    round_trip_ms: float | None = None
    """By RTCP; None where none was measured."""
    remote_lost: int | None = None
    """Packets of ours that the other side tells to have lost; None where it tells nothing."""

    @property
    def loss(self) -> float:
        """Share of packets lost on the way to us, 0 to 1."""
        expected = self.packets_received + self.lost
        return self.lost / expected if expected else 0.0

    @property
    def mos(self) -> float | None:
        """Mean opinion score, 1 to 4.5; None where nothing was heard."""
        if not self.packets_received:
            return None
        # One way is half of the round trip, a packet of 20 ms, and a jitter buffer of twice the jitter.
        delay = (self.round_trip_ms or 0.0) / 2 + 20 + 2 * self.jitter_ms
        return round(opinion(rating(self.codec, self.loss, delay)), 2)

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all fields, with `loss` and `mos`."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return told | {"jitter_ms": round(self.jitter_ms, 2), "loss": round(self.loss, 4), "mos": self.mos}


def rating(codec: str, loss: float, delay: float) -> float:
    """The transmission rating R of G.107, for a share of packets lost and a one-way delay in milliseconds."""
    ie, bpl = _CODECS.get(codec, (0.0, 25.1))
    percent = 100 * loss
    impairment = ie + (95 - ie) * percent / (percent + bpl)
    late = 0.024 * delay + (0.11 * (delay - 177.3) if delay > 177.3 else 0.0)
    return 93.2 - late - impairment


def opinion(r: float) -> float:
    """The mean opinion score of a rating (G.107 annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
