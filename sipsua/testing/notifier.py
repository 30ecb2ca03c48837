"""Lamps: what the pocket PBX tells phones that have subscribed to voice mail and to each other's calls.

A notifier by RFC 6665 for two packages: message-summary (RFC 3842), whose state a test sets, and dialog (RFC 4235), whose state the
exchange sees pass. Each subscription gets the whole state at once, at each change, and a last NOTIFY when it ends. It lives on the flow
that brought it: where that is gone it is forgotten, as the phone will subscribe again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sipsua.account.persona import Dice
from sipsua.sip.headers import parse_seconds
from sipsua.sip.message import MAGIC_COOKIE, Header, Request, Response
from sipsua.sip.timers import T1
from sipsua.testing.agenda import Agenda
from sipsua.testing.calls import Call, Calls
from sipsua.testing.lamps import DIALOG_INFO, MESSAGE_SUMMARY, dialog_info, message_summary
from sipsua.testing.proxy import Line
from sipsua.testing.registrar import Registrar

PACKAGES = {"message-summary": MESSAGE_SUMMARY, "dialog": DIALOG_INFO}
"""The packages that the PBX serves, and the type of their bodies."""
MAX_SUBSCRIPTIONS = 50_000
"""At a time: ten thousand phones with five lamps each. The next one gets 503."""
DEFAULT_EXPIRES, MAX_EXPIRES = 3600, 7200
"""Seconds for who asks for no time, and at the most."""


class Mailbox(NamedTuple):
    """Voice messages of one user."""

    new: int
    old: int


class Subscription:
    """One phone that watches one user."""

    __slots__ = (
        "call_id",
        "cseq",
        "deadline",
        "event",
        "line",
        "local",
        "package",
        "remote",
        "routes",
        "tag",
        "target",
        "user",
        "version",
    )

    def __init__(self, line: Line, request: Request, package: str, user: str, tag: str) -> None:
        self.line = line
        self.package = package
        self.user = user
        """Who is watched."""
        self.event = request.required("event")
        """The Event value, with the id that the phone may have given it."""
        self.call_id = request.call_id
        self.tag = tag
        """Ours."""
        self.local = f"{request.required('to')};tag={tag}"
        self.remote = request.required("from")
        self.target = request.contacts[0].uri_text
        self.routes = request.values("record-route")
        self.cseq = 0
        self.version = 0
        """Of the dialog information (RFC 4235 section 4.3)."""
        self.deadline: float | None = None
        """When it ends."""


class Notice:
    """A NOTIFY that waits for its answer."""

    __slots__ = ("branch", "deadline", "subscription")

    def __init__(self, branch: str, subscription: Subscription) -> None:
        self.branch = branch
        self.subscription = subscription
        self.deadline: float | None = None


class Notifier:
    """The subscriptions of one PBX."""

    def __init__(
        self,
        registrar: Registrar,
        calls: Calls,
        agenda: Agenda,
        dice: Dice,
        send: Callable[[Line, bytes], None],
    ) -> None:
        self.mailboxes: dict[str, Mailbox] = {}
        """By user; who has none has no messages."""
        self._registrar = registrar
        self._calls = calls
        self._agenda = agenda
        self._dice = dice
        self._send = send
        self._by_tag: dict[str, Subscription] = {}
        self._watching: dict[tuple[str, str], dict[Subscription, None]] = {}
        self._on_line: dict[Line, dict[Subscription, None]] = {}
        self._notices: dict[str, Notice] = {}

    def __len__(self) -> int:
        return len(self._by_tag)

    def watchers(self, package: str, user: str) -> int:
        """How many subscriptions there are to a user's state."""
        return len(self._watching.get((package, user), ()))

    def serves(self, request: Request) -> bool:
        """Whether a SUBSCRIBE is for the PBX. Raises MalformedMessage."""
        if request.method != "SUBSCRIBE":
            return False
        if (tag := request.to.tag) is not None:
            return tag in self._by_tag
        return _package(request) in PACKAGES

    def subscribe(self, line: Line, request: Request, now: float) -> None:
        """Answer a SUBSCRIBE that `serves` (RFC 6665 section 4.2.1). Raises MalformedMessage."""
        tag = request.to.tag
        refusal = self._objection(request, tag)
        if refusal is not None:
            self._send(line, self._registrar.response(request, line.source, *refusal))
            return
        asked = parse_seconds(request.first("expires"))
        seconds = min(DEFAULT_EXPIRES if asked is None else asked, MAX_EXPIRES)
        if tag is None:
            tag = f"{self._dice(64):016x}"
            subscription = Subscription(line, request, _package(request), request.uri.decoded_user or "", tag)
        else:
            subscription = self._by_tag[tag]
            if request.contacts:
                subscription.target = request.contacts[0].uri_text
            self._drop(subscription)
            subscription.line = line
        lines = f"Expires: {seconds}\r\nContact: {self._contact(subscription)}\r\n"
        lines += "".join(f"Record-Route: {route}\r\n" for route in subscription.routes)
        self._send(line, self._registrar.response(request, line.source, 200, lines, tag))
        if seconds:
            self._by_tag[tag] = subscription
            self._watching.setdefault((subscription.package, subscription.user), {})[subscription] = None
            self._on_line.setdefault(line, {})[subscription] = None
            subscription.deadline = None
            self._agenda.set(subscription, now + seconds)
        self._notify(subscription, now)

    def receive_response(self, line: Line, response: Response) -> None:
        """The answer to a NOTIFY: a phone that does not know the subscription has ended it (RFC 6665 section 4.2.2)."""
        if response.status < 200:
            return
        notice = self._notices.get(response.via.branch)
        if notice is not None and notice.subscription.line is line:
            self._settle(notice)
            if response.status >= 300:
                self._drop(notice.subscription)

    def due(self, item: Subscription | Notice, now: float) -> None:
        """A subscription has come to its end, or a NOTIFY found no answer."""
        if isinstance(item, Notice):
            self._settle(item)
            self._drop(item.subscription)
        else:
            self._drop(item)
            self._notify(item, now)

    def set_mailbox(self, user: str, mailbox: Mailbox, now: float) -> None:
        """The messages of a user have changed."""
        self.mailboxes[user] = mailbox
        for subscription in list(self._watching.get(("message-summary", user), ())):
            self._notify(subscription, now)

    def call_changed(self, call: Call, now: float) -> None:
        """A call has come further, or ended."""
        for user in dict.fromkeys((call.caller, call.callee)):
            for subscription in list(self._watching.get(("dialog", user), ())):
                self._notify(subscription, now, call)

    def unsolicited(self, user: str, contact: str, line: Line) -> None:
        """Tell a phone of its messages that has not subscribed, as some PBXes do; the answer does not matter."""
        fields: list[Header] = [
            ("From", f"<sip:{user}@{line.address}>;tag={self._dice(64):016x}"),
            ("To", f"<{contact}>"),
            ("Call-ID", f"{self._dice(96):024x}"),
            ("CSeq", "1 NOTIFY"),
            ("Event", "message-summary"),
            ("Subscription-State", "terminated;reason=noresource"),
        ]
        body = message_summary(f"sip:{user}@{line.address}", *self.mailboxes.get(user, _EMPTY))
        self._send_notify(line, contact, f"{MAGIC_COOKIE}{self._dice(64):016x}", fields, MESSAGE_SUMMARY, body)

    def close_flow(self, line: Line) -> None:
        """The flow is gone."""
        for subscription in list(self._on_line.get(line, ())):
            self._drop(subscription)

    def _objection(self, request: Request, tag: str | None) -> tuple[int, str] | None:
        if tag is not None:
            return None if self._by_tag[tag].call_id == request.call_id else (481, "")
        package = _package(request)
        if not self._registrar.knows(request.uri.decoded_user or ""):
            return 404, ""
        accepted = {item.partition(";")[0].strip().lower() for item in request.tokens("accept")}
        if accepted and not accepted & {PACKAGES[package], "application/*", "*/*"}:
            return 406, f"Accept: {PACKAGES[package]}\r\n"
        if not request.contacts:
            return 400, 'Warning: 399 pocket.pbx "a SUBSCRIBE needs a Contact"\r\n'
        if len(self._by_tag) >= MAX_SUBSCRIPTIONS:
            return 503, "Retry-After: 60\r\n"
        return None

    def _notify(self, subscription: Subscription, now: float, changed: Call | None = None) -> None:
        """Send the state. `changed` is a call that has just ended, and is shown as such."""
        user, line = subscription.user, subscription.line
        entity = f"sip:{user}@{line.address}"
        if subscription.package == "dialog":
            calls = self._calls.of(user)
            if changed is not None and changed not in calls:
                calls.append(changed)
            body = dialog_info(entity, user, subscription.version, calls, line.address)
            subscription.version += 1
        else:
            body = message_summary(entity, *self.mailboxes.get(user, _EMPTY))
        deadline = subscription.deadline if subscription.tag in self._by_tag else None
        state = "terminated;reason=timeout" if deadline is None else f"active;expires={max(0, round(deadline - now))}"
        subscription.cseq += 1
        fields: list[Header] = [
            *(("Route", route) for route in subscription.routes),
            ("From", subscription.local),
            ("To", subscription.remote),
            ("Call-ID", subscription.call_id),
            ("CSeq", f"{subscription.cseq} NOTIFY"),
            ("Contact", self._contact(subscription)),
            ("Event", subscription.event),
            ("Subscription-State", state),
        ]
        branch = f"{MAGIC_COOKIE}{self._dice(64):016x}"
        notice = self._notices[branch] = Notice(branch, subscription)
        self._agenda.set(notice, now + 64 * T1)
        self._send_notify(line, subscription.target, branch, fields, PACKAGES[subscription.package], body)

    def _send_notify(self, line: Line, target: str, branch: str, fields: list[Header], kind: str, body: bytes) -> None:
        first: list[Header] = [("Via", f"SIP/2.0/TLS {line.address};branch={branch}"), ("Max-Forwards", "70")]
        last: list[Header] = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        self._send(line, bytes(Request("NOTIFY", target, [*first, *fields, *last], body)))

    def _contact(self, subscription: Subscription) -> str:
        return f"<sip:{subscription.user}@{subscription.line.address};transport=tls>"

    def _settle(self, notice: Notice) -> None:
        notice.deadline = None
        self._notices.pop(notice.branch, None)

    def _drop(self, subscription: Subscription) -> None:
        subscription.deadline = None
        self._by_tag.pop(subscription.tag, None)
        _take(self._watching, (subscription.package, subscription.user), subscription)
        _take(self._on_line, subscription.line, subscription)


def _take(index: dict[_Key, dict[Subscription, None]], key: _Key, subscription: Subscription) -> None:
    same = index.get(key)
    if same is not None:
        same.pop(subscription, None)
        if not same:
            del index[key]


_Key = TypeVar("_Key")
_EMPTY = Mailbox(0, 0)


def _package(request: Request) -> str:
    return (request.first("event") or "").partition(";")[0].strip().lower()
