"""Where the phones are: from a request to the flows that it goes to.

A Record-Route of ours names both flows of a dialog by their numbers, in its user part, as RFC 5626 section 5 has it for edge proxies. So
requests inside a dialog need no look-up and reach their phone whatever it writes into its Contact. Where such a flow is gone, or the
phones were told of no route, the binding with this Contact leads on, and then the newest one of the user who had the call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

from sipsua.sip.message import Request
from sipsua.testing.calls import Calls
from sipsua.testing.proxy import Line
from sipsua.testing.registrar import Binding, Registrar

Target = tuple[str, Line]
"""Request-URI and flow."""


class Ends(NamedTuple):
    """The flows of a dialog, by number."""

    caller: int
    callee: int


class Directory:
    """The flows and bindings of one PBX."""

    def __init__(self, registrar: Registrar, calls: Calls, numbers: Mapping[str, object], attendant: Line) -> None:
        """`numbers` are the users that the `attendant` stands for."""
        self._registrar = registrar
        self._calls = calls
        self._special = numbers
        self._attendant = attendant
        self._numbers: dict[Line, int] = {}
        self._lines: dict[int, Line] = {}
        self._lines_seen = 0

    def __len__(self) -> int:
        return len(self._lines)

    def ends(self, request: Request) -> Ends | None:
        """The flows of the dialog, where the topmost Route is one of our Record-Routes."""
        route = request.first("route")
        found = _OURS.match(route) if route is not None else None
        return Ends(int(found[1], 16), int(found[2], 16)) if found is not None else None

    def record_route(self, target: str, line: Line, other: Line) -> str:
        """The URI that leads back here and on, for a request from one flow to another."""
        ends = f"{self._number(line):x}-{self._number(other):x}"
        if target[:5].lower() == "sips:":
            return f"sips:pbx-{ends}@{line.address};lr"
        return f"sip:pbx-{ends}@{line.address};transport=tls;lr"

    def targets(self, line: Line, request: Request, now: float) -> list[Target] | int:
        """Where a request that came on this flow goes; or the status that says why it goes nowhere. Raises MalformedMessage."""
        uri = request.uri
        ends, number = self.ends(request), self._numbers.get(line)
        if ends is not None and number in ends:
            other = self._lines.get(ends.callee if number == ends.caller else ends.caller)
            if other is not None and not other.is_closing:
                return [(request.uri_text, other)]
        user = uri.decoded_user or ""
        if user in self._special:
            return [(request.uri_text, self._attendant)]
        registrar = self._registrar
        in_dialog = request.to.tag is not None
        binding = registrar.locate(uri, now, everywhere=in_dialog or not registrar.knows(user))
        if binding is not None and not line_of(binding).is_closing:
            return [(request.uri_text, line_of(binding))]
        if in_dialog:
            return self._other_party(line, request, now)
        if not registrar.knows(user):
            return 404
        return [(one.contact, line_of(one)) for one in _one_each(registrar.bound(user, now))] or 480

    def forget(self, line: Line) -> None:
        """The flow is gone."""
        number = self._numbers.pop(line, None)
        if number is not None:
            del self._lines[number]

    def _other_party(self, line: Line, request: Request, now: float) -> list[Target] | int:
        """The newest flow of the other user of a call, who may have registered again."""
        call = self._calls.find(request)
        if call is None:
            return 481
        user = call.callee if request.from_.tag == call.caller_tag else call.caller
        for binding in reversed(self._registrar.bound(user, now)):
            other = line_of(binding)
            if not other.is_closing and other is not line:
                return [(request.uri_text, other)]
        return 480

    def _number(self, line: Line) -> int:
        number = self._numbers.get(line)
        if number is None:
            self._lines_seen += 1
            number = self._numbers[line] = self._lines_seen
            self._lines[number] = line
        return number


def line_of(binding: Binding) -> Line:
    """The flow of a binding: at a PBX all have one."""
    return cast(Line, binding.flow)


def _one_each(bindings: Iterable[Binding]) -> list[Binding]:
    """The bindings to fork to, whose flow stands: of several flows of one phone only the newest (RFC 5626 section 7)."""
    chosen: dict[str, Binding] = {}
    for binding in bindings:
        if line_of(binding).is_closing:
            continue
        instance = _INSTANCE.search(binding.params) if ";reg-id=" in binding.params else None
        chosen[instance[1] if instance is not None else binding.contact] = binding
    return list(chosen.values())


_OURS = re.compile(r"[^,<]*+<sips?:pbx-([0-9a-f]{1,12})-([0-9a-f]{1,12})@[^,>]*;lr", re.IGNORECASE)
_INSTANCE = re.compile(r';\+sip\.instance="([^"]*+)"', re.IGNORECASE)
