"""When each phone of a phase does what: pure, and drawn from the plan's seed, so that the same plan has the same schedule wherever it runs.

A worker of several takes the actions of its own phones out of the one schedule.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


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
