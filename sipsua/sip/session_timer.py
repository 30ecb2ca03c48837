"""Session timers, RFC 4028: how long a call stands without a sign of life, and whose it is to give one.

Both sides are asked nothing but header fields; what they come to is an `Interval`. The one who refreshes does so at half time; the other
hangs up a little before the end (section 10), so that no call stands for ever because a BYE was lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from sipsua.sip.fields import SessionExpires, parse_min_se
from sipsua.sip.message import Header, Request, Response

ABSOLUTE_MINIMUM = 90
"""Seconds; the least that a Min-SE can say (section 5)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What was agreed."""

    seconds: int
    ours: bool
    """We are the one who refreshes."""

    @property
    def refresh_after(self) -> float:
        """Seconds after which to refresh (section 10 recommends half)."""
        return self.seconds / 2

    @property
    def expire_after(self) -> float:
        """Seconds after which to hang up, if nothing has come: the interval less 32 s, or less a third of it where that is less."""
        return self.seconds - min(32.0, self.seconds / 3)


def ask(seconds: int, min_se: int, refresher: str | None = None) -> list[Header]:
    """The fields of an INVITE or UPDATE that asks for an interval (section 7.1); none for 0 seconds."""
    if not seconds:
        return []
    headers = [("Session-Expires", str(SessionExpires(seconds, refresher)))]
    if min_se > ABSOLUTE_MINIMUM:
        headers.append(("Min-SE", str(min_se)))
    return headers


def too_small(request: Request, min_se: int) -> bool:
    """Whether a request asks for a shorter interval than we take: it is answered 422 with our Min-SE (section 9). Raises MalformedMessage.

    Only a side that says `timer` knows what a 422 is; another one is served as it asks.
    """
    value = request.first("session-expires")
    return value is not None and "timer" in request.tokens("supported") and SessionExpires.parse(value).seconds < min_se


def answer(request: Request, seconds: int, min_se: int, *, ours: bool | None) -> tuple[list[Header], Interval | None]:
    """The fields of our 2xx and what is agreed with it (section 9). Raises MalformedMessage.

    `seconds` is what we wish for where they leave it to us, 0 for nothing; `ours`: whether we would refresh, None to go by their wish.
    """
    value = request.first("session-expires")
    able = "timer" in request.tokens("supported")
    asked = SessionExpires.parse(value) if value is not None else None
    least = request.first("min-se")
    floor = max(min_se, parse_min_se(least) if least is not None else 0)
    if asked is None:
        if not seconds:
            return [], None
        # They know nothing of it, or wish for nothing: we may wish alone, and then it is ours to refresh unless they are able to.
        granted = SessionExpires(max(seconds, floor), "uac" if able and ours is False else "uas")
    else:
        wish = min(asked.seconds, seconds) if seconds else asked.seconds
        granted_seconds = max(wish, floor)
        if asked.refresher is not None and able:
            refresher = asked.refresher
        elif not able:
            refresher = "uas"
        else:
            refresher = "uas" if ours else "uac"
        granted = SessionExpires(granted_seconds, refresher)
    headers = [("Session-Expires", str(granted))]
    if granted.refresher == "uac":
        headers.append(("Require", "timer"))
    return headers, Interval(granted.seconds, granted.refresher == "uas")


def agreed(response: Response, asked: int) -> Interval | None:
    """What a 2xx to our request comes to (section 7.2). Without a Session-Expires there is no timer on their side: we go on alone with what
    was `asked` for (0: nothing). Raises MalformedMessage."""
    value = response.first("session-expires")
    if value is None:
        return Interval(asked, ours=True) if asked else None
    granted = SessionExpires.parse(value)
    return Interval(max(granted.seconds, ABSOLUTE_MINIMUM), granted.refresher != "uas")


def longer(response: Response) -> int | None:
    """The Min-SE of a 422, which the next request has to ask for (section 7.3); None where it cannot be read. Raises MalformedMessage."""
    value = response.first("min-se")
    return parse_min_se(value) if value is not None else None
