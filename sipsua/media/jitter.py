"""The jitter buffer: packets as they come become packets as they are heard, one each packet time.

It holds back a little, so that what comes a bit late is still in time; where packets come later than that it waits longer, up to a limit,
and where all are early for a while it waits less again. What is missing when its time has come is a gap.
"""

from __future__ import annotations

MAX_PACKETS = 64
"""Packets that are kept: more than a second; a peer that sends faster than time cannot fill memory."""
LOWEST, HIGHEST = 2, 10
"""Packets of delay: 40 to 200 ms of packets of 20 ms. More than that and people talk at the same time (ITU-T G.114)."""
CALM = 250
"""Packets in a row that were early enough before the delay is made shorter: five seconds."""


class JitterBuffer:
    """The buffer of one source."""

    __slots__ = ("_calm", "_delay", "_kept", "_next", "late", "missing")

    def __init__(self, delay: int = LOWEST) -> None:
        self._kept: dict[int, bytes] = {}
        self._next: int | None = None
        self._delay = delay
        self._calm = 0
        self.late = 0
        """Packets that came when their time was over."""
        self.missing = 0
        """Gaps that were heard."""

    def put(self, sequence: int, payload: bytes) -> None:
        """A packet came, by its extended sequence number."""
        if self._next is not None and sequence < self._next:
            self.late += 1
            self._calm = 0
            self._delay = min(HIGHEST, self._delay + 1)
            return
        if len(self._kept) >= MAX_PACKETS:
            self.clear()
        self._kept[sequence] = payload

    def take(self) -> bytes | None:
        """The next packet that is to be heard; None: there is none, or it is missing, or it is held back."""
        kept = self._kept
        if self._next is None:
            if len(kept) < self._delay:
                return None
            self._next = min(kept)
        payload = kept.pop(self._next, None)
        if payload is not None:
            self._next += 1
            self._calm += 1
            if self._calm >= CALM and self._delay > LOWEST and len(kept) > self._delay:
                # One packet is left out: the only way to talk faster.
                self._calm = 0
                self._delay -= 1
                kept.pop(self._next, None)
                self._next += 1
            return payload
        if not kept:
            # It has run dry: where the other side pauses, time goes on without its numbers.
            self._next = None
            return None
        self.missing += 1
        self._next += 1
        return None

    def clear(self) -> None:
        """Forget all: the source begins anew."""
        self._kept.clear()
        self._next = None
