"""CRLF keep-alive with pong supervision: RFC 5626 sections 3.5.1 and 4.4.1.

A NAT or a firewall forgets a silent flow, and TCP tells nobody for minutes. So a ping goes out after a drawn interval, and where the
server is known to answer pings, a missing pong within ten seconds means that the flow has failed.
"""

from __future__ import annotations

from enum import StrEnum

from sipsua.account.config import AccountConfig, Pongs
from sipsua.account.persona import Dice, fraction


class Pulse(StrEnum):
    """What to do when the timer fires."""

    PING = "ping"
    """Send a ping."""
    FAILED = "failed"
    """The pong did not come: the flow has failed."""
    NOTHING = "nothing"


class KeepAlive:
    """The pulse of one flow."""

    __slots__ = ("_answers", "_config", "_dice", "_waiting", "deadline")

    def __init__(self, config: AccountConfig, dice: Dice, now: float) -> None:
        self._config = config
        self._dice = dice
        self._waiting = False
        self._answers = config.pongs is Pongs.REQUIRED
        self.deadline: float | None = None
        """When to call `handle_timer`; None where nothing is to be done."""
        self._rest(now)

    def receive_pong(self, now: float) -> None:
        """A pong came."""
        if self._config.pongs is Pongs.LEARNED:
            self._answers = True
        if self._waiting:
            self._rest(now)

    def handle_timer(self, now: float) -> Pulse:
        """What is due now."""
        if self.deadline is None or self.deadline > now:
            return Pulse.NOTHING
        if self._waiting:
            if self._answers:
                self.deadline = None
                return Pulse.FAILED
            # This server has never answered a ping: it need not, so the next one goes out in its time.
            self._rest(now)
            return Pulse.NOTHING
        self._waiting = True
        self.deadline = now + self._config.limits.pong
        return Pulse.PING

    def _rest(self, now: float) -> None:
        self._waiting = False
        interval = self._config.keep_alive
        if interval is None:
            self.deadline = None
            return
        low, high = interval
        self.deadline = now + low + (high - low) * fraction(self._dice)
