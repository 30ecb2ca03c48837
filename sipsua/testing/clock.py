"""A clock that only a hand moves: tests of timers that take no time and never come out otherwise.

The pure rooms take the time as an argument, so a test holds a `Clock`, passes `clock.now`, and turns it. `run` turns it as the loop
would: from one deadline to the next, so that a day of refreshes and pings passes in the right order.

    clock = Clock()
    account.register(clock.now)
    clock.run(account, 32)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sipsua.errors import Defect, Misuse

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of day at second 0, unless another one is given."""


class Timed(Protocol):
    """What has one timer: an Account, for example."""

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called, or None."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""


class Clock:
    """Seconds since an arbitrary point, as `loop.time()` gives them, and the time of day that belongs to them."""

    def __init__(self, now: float = 0.0, *, epoch: datetime = EPOCH) -> None:
        self._now = now
        self._epoch = epoch

    def __repr__(self) -> str:
        return f"Clock({self._now:g})"

    @property
    def now(self) -> float:
        """Seconds."""
        return self._now

    @property
    def at(self) -> datetime:
        """The time of day, UTC."""
        return self._epoch + timedelta(seconds=self._now)

    def advance(self, seconds: float) -> float:
        """Turn the clock forward, and give the new `now`. Raises `Misuse` for backward."""
        if not seconds >= 0:
            raise Misuse(f"a clock does not turn by {seconds} s", fix="give 0 s or more")
        self._now += seconds
        return self._now

    def run(self, timed: Timed, seconds: float, after_each: Callable[[], None] | None = None) -> None:
        """Turn the clock forward by so many seconds, stopping at each deadline on the way to fire the timer.

        `after_each` is called after each firing: there a test does what the door does. Raises `Defect` where a timer that was handled
        is still due, which on a loop would spin.
        """
        end = self._now + seconds
        while (deadline := timed.get_timer()) is not None and deadline <= end:
            self._now = max(self._now, deadline)
            self.fire(timed)
            if after_each is not None:
                after_each()
        self._now = end

    def fire(self, timed: Timed) -> None:
        """Fire the timer now. Raises `Defect` where it is still due afterwards."""
        timed.handle_timer(self._now)
        deadline = timed.get_timer()
        if deadline is not None and deadline <= self._now:
            raise Defect(f"the timer of {timed!r} is still due after it was handled: a loop would spin")
