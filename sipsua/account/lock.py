"""The padlock as a machine: four states, and the only way to `locked` is a finished handshake with an accepted Verdict.

The guide's sentence is "a lock icon appears on the LCD screen after the successful TLS negotiation"; this table is that sentence, and
its other half: the icon leaves the moment the flow is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from sipsua.errors import Defect
from sipsua.events import Lock, LockState, Negotiated
from sipsua.trust.verdict import Verdict


class Turn(StrEnum):
    """What turns the lock."""

    NEGOTIATE = "negotiate"
    """A handshake begins."""
    AGREE = "agree"
    """The handshake is finished and the Verdict accepted."""
    REFUSE = "refuse"
    """The handshake failed, or the certificate was refused."""
    LOSE = "lose"
    """The flow is gone, or no TCP connection came about."""


TABLE: Mapping[tuple[LockState, Turn], LockState] = {
    (LockState.OPEN, Turn.NEGOTIATE): LockState.NEGOTIATING,
    (LockState.OPEN, Turn.LOSE): LockState.OPEN,
    (LockState.NEGOTIATING, Turn.AGREE): LockState.LOCKED,
    (LockState.NEGOTIATING, Turn.REFUSE): LockState.REFUSED,
    (LockState.NEGOTIATING, Turn.LOSE): LockState.OPEN,
    (LockState.LOCKED, Turn.LOSE): LockState.OPEN,
    (LockState.REFUSED, Turn.NEGOTIATE): LockState.NEGOTIATING,
    (LockState.REFUSED, Turn.LOSE): LockState.REFUSED,
}
"""The next state by state and turn."""


def turn(lock: Lock, given: Turn, at: datetime) -> Lock:
    """The lock after a turn other than `AGREE`. Raises `Defect` for a turn that the state does not know."""
    state = _next(lock, given)
    return lock if state is lock.state else Lock(state=state, since=at)


def close(lock: Lock, verdict: Verdict, negotiated: Negotiated) -> Lock:
    """The closed lock: handshake finished, verdict accepted. Raises `Defect` where either is not so."""
    if not verdict.accepted:
        raise Defect("a lock cannot close on a refused certificate")
    return Lock(
        state=_next(lock, Turn.AGREE),
        since=negotiated.at,
        verified=verdict.verified,
        protocol=negotiated.protocol,
        cipher=negotiated.cipher,
        group=negotiated.group,
        server_name=negotiated.server_name,
        peer=negotiated.peer,
        anchor=verdict.anchor,
        anchor_list=verdict.anchor_list,
        resumed=negotiated.resumed,
    )


def _next(lock: Lock, given: Turn) -> LockState:
    try:
        return TABLE[lock.state, given]
    except KeyError:
        expected = ", ".join(known for state, known in TABLE if state is lock.state)
        raise Defect(f"{given} of a lock that is {lock.state}: expected {expected}") from None
