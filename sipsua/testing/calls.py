"""Who speaks with whom: the calls that the exchange sees pass, for busy lamps, and for requests whose flow is gone.

A proxy needs to know no calls, and this one does not ask here to route what can be routed otherwise. But the lamp of a colleague shows
them (RFC 4235), and a phone that has registered on a new flow in the middle of a call can only be found by its user. States are those of
RFC 4235 section 3.7.1, without its `proceeding`, which a proxy cannot tell from `trying`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

from sipsua.sip.message import Request
from sipsua.testing.proxy import Line

MAX_CALLS = 20_000
"""Calls at a time, ended ones not counted. With more, the oldest is forgotten: phones that never hang up cost no memory without end."""

_Holder = TypeVar("_Holder")


class Stage(StrEnum):
    """How far a call has come."""

    TRYING = "trying"
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Call:
    """One call between two users. Which of several phones of the callee answers shows in its tag."""

    __slots__ = ("call_id", "callee", "callee_line", "callee_tag", "caller", "caller_line", "caller_tag", "stage")

    def __init__(self, call_id: str, caller: str, caller_tag: str, caller_line: Line, callee: str) -> None:
        self.call_id = call_id
        self.caller = caller
        """A user."""
        self.caller_tag = caller_tag
        self.caller_line = caller_line
        self.callee = callee
        """A user."""
        self.callee_tag = ""
        """Of the phone that answered, or that rang last."""
        self.callee_line: Line | None = None
        """Of the phone that answered."""
        self.stage = Stage.TRYING

    def __repr__(self) -> str:
        return f"<Call from {self.caller} to {self.callee}, {self.stage}>"

    def has(self, one: str | None, other: str | None) -> bool:
        """Whether the dialog between these two tags is this call's."""
        return (self.caller_tag, self.callee_tag) in ((one, other), (other, one))


class Calls:
    """The calls of one PBX."""

    def __init__(self, changed: Callable[[Call], None]) -> None:
        """`changed` is told of each change of a stage; a call that is TERMINATED is forgotten by then."""
        self._changed = changed
        self._calls: dict[str, list[Call]] = {}
        self._of_user: dict[str, dict[Call, None]] = {}
        self._of_line: dict[Line, dict[Call, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Call]:
        return (call for calls in self._calls.values() for call in calls)

    def of(self, user: str) -> list[Call]:
        """The calls in which a user takes part, oldest first."""
        return list(self._of_user.get(user, ()))

    def begin(self, request: Request, line: Line, callee: str) -> Call:
        """An INVITE outside any dialog goes on. Raises MalformedMessage."""
        if self._count >= MAX_CALLS:
            self.end(next(iter(self)))
        origin = request.from_
        call = Call(request.call_id, origin.uri.decoded_user or "", origin.tag or "", line, callee)
        self._calls.setdefault(call.call_id, []).append(call)
        self._count += 1
        for user in {call.caller, callee}:
            self._of_user.setdefault(user, {})[call] = None
        self._of_line.setdefault(line, {})[call] = None
        self._changed(call)
        return call

    def ring(self, call: Call, callee_tag: str) -> None:
        """A phone of the callee rings."""
        if call.stage in (Stage.TRYING, Stage.EARLY):
            news = call.stage is not Stage.EARLY
            call.stage, call.callee_tag = Stage.EARLY, callee_tag
            if news:
                self._changed(call)

    def answer(self, call: Call, callee_tag: str, line: Line) -> None:
        """A phone of the callee has answered; the first one counts."""
        if call.stage in (Stage.TRYING, Stage.EARLY):
            call.stage, call.callee_tag, call.callee_line = Stage.CONFIRMED, callee_tag, line
            self._of_line.setdefault(line, {})[call] = None
            self._changed(call)

    def end(self, call: Call) -> None:
        """The call is over, or did not come about."""
        if call.stage is Stage.TERMINATED:
            return
        call.stage = Stage.TERMINATED
        self._count -= 1
        _take(self._of_line, call.caller_line, call)
        if call.callee_line is not None:
            _take(self._of_line, call.callee_line, call)
        for user in {call.caller, call.callee}:
            _take(self._of_user, user, call)
        same = self._calls[call.call_id]
        same.remove(call)
        if not same:
            del self._calls[call.call_id]
        self._changed(call)

    def find(self, request: Request) -> Call | None:
        """The call that a request inside a dialog belongs to. Raises MalformedMessage."""
        calls = self._calls.get(request.call_id)
        if calls is None:
            return None
        one, other = request.from_.tag, request.to.tag
        return next((call for call in calls if call.has(one, other)), None)

    def on(self, line: Line) -> list[Call]:
        """The calls that have one of their ends on a flow."""
        return list(self._of_line.get(line, ()))


def _take(index: dict[_Holder, dict[Call, None]], holder: _Holder, call: Call) -> None:
    calls = index.get(holder)
    if calls is not None:
        calls.pop(call, None)
        if not calls:
            del index[holder]
