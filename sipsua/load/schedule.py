"""When each phone of a phase does what: pure, and drawn from the plan's seed, so that the same plan has the same schedule wherever it runs.

A worker of several takes the actions of its own phones out of the one schedule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from itertools import count
from random import Random
from typing import NamedTuple

from sipsua.load.arrivals import instants
from sipsua.load.plan import Churn, Cut, Hold, Phase, Register, Reregister, Storm


class Verb(StrEnum):
    """What a phone is to do."""

    REGISTER = "register"
    REFRESH = "refresh"
    UNREGISTER = "unregister"
    RESET = "reset"
    """Its flow is cut without a word."""
    CLOSE = "close"
    """Its flow is closed in order, the wish to be registered stays."""


class Action(NamedTuple):
    """One phone's turn."""

    at: float
    """Seconds from the begin of the phase."""
    verb: Verb
    phone: int
    """Index in the population."""


def schedule(phase: Phase, phones: int, *, seed: int, index: int) -> Iterator[Action]:
    """The actions of a phase, ordered by time. `seed` is the plan's, `index` the phase's place in it, `phones` the population's size.

    All phones are taken to be registered when a phase other than `register` begins.
    """
    # A text, because the seeds 1, 2, 3 of a number and an index that are added would be each other's.
    dice = Random(f"{seed}/{index}")
    if isinstance(phase, Hold):
        return iter(())
    if isinstance(phase, Storm):
        return _storm(phase, phones, dice)
    if isinstance(phase, Churn):
        return _churn(phase, phones, dice)
    verb = {Register: Verb.REGISTER, Reregister: Verb.REFRESH}.get(type(phase), Verb.UNREGISTER)
    # The phones first: a stream without end may draw one number too many.
    return (Action(at, verb, phone) for phone, at in zip(range(phones), instants(phase.arrivals, dice), strict=False))


def _storm(phase: Storm, phones: int, dice: Random) -> Iterator[Action]:
    if phase.cut is Cut.AWAIT:
        return iter(())
    verb = Verb.RESET if phase.cut is Cut.RESET else Verb.CLOSE
    hit = max(1, round(phones * phase.share))
    return (Action(0.0, verb, phone) for phone in dice.sample(range(phones), hit))


def _churn(phase: Churn, phones: int, dice: Random) -> Iterator[Action]:
    """At each instant one that is there leaves; it comes back after `away`, at the end of the phase at the latest.

    Where all are away, nobody can leave, and that turn is passed over.
    """
    present = list(range(phones))
    away: deque[tuple[float, int]] = deque()
    for number in count():
        at = number / phase.rate
        if at >= phase.duration:
            break
        # Drawn before those who come back now are among them: who has only just come would leave without having registered.
        leaving = _draw(present, dice)
        while away and away[0][0] <= at:
            back, phone = away.popleft()
            yield Action(back, Verb.REGISTER, phone)
            present.append(phone)
        if leaving is None:
            continue
        yield Action(at, Verb.UNREGISTER, leaving)
        away.append((min(at + phase.away, phase.duration), leaving))
    for back, phone in away:
        yield Action(back, Verb.REGISTER, phone)


def _draw(present: list[int], dice: Random) -> int | None:
    """Take one out; None where nobody is there."""
    if not present:
        return None
    drawn = dice.randrange(len(present))
    present[drawn], present[-1] = present[-1], present[drawn]
    return present.pop()
