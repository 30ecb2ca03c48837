"""The instants at which phones come: all at once, at a rate, by a ramp, in steps, or as a Poisson stream. Pure, lazy, without end.

A rate that changes is followed exactly: phone N comes when the integral of the rate has reached N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count, repeat
from random import Random

from sipsua.load.plan import Arrivals, Ramp, RateStep


def instants(arrivals: Arrivals, dice: Random) -> Iterator[float]:
    """Seconds from the begin, never going back; as many as are taken. `dice` is thrown for a Poisson stream only."""
    if arrivals.rate is not None:
        return _evenly(arrivals.rate)
    if arrivals.ramp is not None:
        return _ramp(arrivals.ramp)
    if arrivals.steps is not None:
        return _steps(arrivals.steps)
    if arrivals.poisson is not None:
        return _poisson(arrivals.poisson, dice)
    return repeat(0.0)


def _evenly(rate: float, begin: float = 0.0) -> Iterator[float]:
    return (begin + number / rate for number in count())


def _ramp(ramp: Ramp) -> Iterator[float]:
    """With the rate s + g·t, phone N comes when s·t + g·t²/2 = N; after the ramp at its end's rate."""
    growth = (ramp.end - ramp.start) / ramp.over
    whole = (ramp.start + ramp.end) / 2 * ramp.over
    for number in count():
        if number > whole:
            yield ramp.over + (number - whole) / ramp.end
        elif growth == 0:
            yield number / ramp.start
        else:
            # Of the two roots the one within the ramp, in the form that does not take the difference of two large numbers.
            root = math.sqrt(max(0.0, ramp.start**2 + 2 * growth * number))
            yield 2 * number / (ramp.start + root) if number else 0.0


def _steps(steps: tuple[RateStep, ...]) -> Iterator[float]:
    """Each step goes on where the one before it has ended, with the part of a phone that was still to come."""
    begin, owed = 0.0, 0.0
    for step in steps[:-1]:
        while step.rate > 0 and owed <= step.rate * step.seconds:
            yield begin + owed / step.rate
            owed += 1
        owed -= step.rate * step.seconds
        begin += step.seconds
    yield from _evenly(steps[-1].rate, begin + owed / steps[-1].rate)


def _poisson(rate: float, dice: Random) -> Iterator[float]:
    at = 0.0
    while True:
        at += dice.expovariate(rate)
        yield at
