"""On what terms an account makes and takes calls: its voice, its timers, and what it does by itself.

The defaults are those of a desk phone that a manual calls factory settings, but that they never weaken what the account trusts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sipsua.errors import BadConfiguration
from sipsua.media.offer import MediaConfig
from sipsua.trust.policy import check_types

DAY = 86_400
"""Seconds: the longest that any of these times can be."""


class Reliability(StrEnum):
    """Whether provisional responses are acknowledged (RFC 3262)."""

    OFF = "off"
    """100rel is not named: one who requires it is refused with 420."""
    SUPPORTED = "supported"
    REQUIRED = "required"
    """Our INVITEs require it; our own provisional responses are sent reliably to whoever supports it."""


class DigitsBy(StrEnum):
    """How pressed keys are told to the other side."""

    RTP = "rtp"
    """As RFC 4733 events in the stream; with SIP INFO where that was not agreed."""
    INFO = "info"
    """As `application/dtmf-relay` in SIP INFO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallConfig:
    """The calls of one account."""

    media: MediaConfig = field(default_factory=MediaConfig)
    """Codecs, encryption, packet time."""
    reliability: Reliability = Reliability.SUPPORTED
    session_expires: int = 1800
    """Seconds of a session interval that is asked for (RFC 4028); 0 asks for none. The phone's default is 1800 s."""
    min_se: int = 90
    """The shortest session interval that is taken (RFC 4028 section 5)."""
    refresh_here: bool | None = None
    """Whether we are to refresh sessions, where that is ours to choose; None leaves it to the other side's wish."""
    calls: int = 8
    """At once; one more that comes in is answered 486."""
    ring_limit: float = 180.0
    """Seconds that a call may ring here; then it is answered 480."""
    wait_limit: float = 180.0
    """Seconds that the other side may ring; then we cancel."""
    flow_limit: float = 64.0
    """Seconds that a call may stand while the account has no flow: as long as two transactions take to fail."""
    digits: DigitsBy = DigitsBy.RTP
    follow_redirects: bool = True
    """A 3xx to an address that the account may call is followed."""
    accept_transfers: bool = True
    """A REFER in a call is followed; else it is answered 603."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.session_expires and not max(90, self.min_se) <= self.session_expires <= DAY:
            raise BadConfiguration(
                f"a session interval of {self.session_expires} s",
                fix=f"ask for at least {max(90, self.min_se)} s (RFC 4028 section 4) and a day at the most, or 0 for none",
            )
        if not 90 <= self.min_se <= DAY:
            raise BadConfiguration(f"min_se of {self.min_se} s", fix="90 s is the least that RFC 4028 allows")
        if not 1 <= self.calls <= 100:
            raise BadConfiguration(f"{self.calls} calls at once", fix="allow 1 to 100 calls")
        for name in ("ring_limit", "wait_limit", "flow_limit"):
            if not 0 < getattr(self, name) <= DAY:
                raise BadConfiguration(
                    f"{name} of {getattr(self, name)} s", fix="give more than 0 s, and a day at the most"
                )
