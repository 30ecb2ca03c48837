"""A dialog: what two user agents know of each other while they have something going on, RFC 3261 section 12.

It is made of the request and the response that began it, gives requests their To, Route, CSeq and Request-URI, and says of theirs whether
they come in order. It sends nothing and knows nothing of what the dialog is for: a call and a subscription may share one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from sipsua.errors import MalformedMessage, Misuse
from sipsua.sip.headers import NameAddr
from sipsua.sip.message import Header, Request, Response, canonical_name

TARGET_REFRESHERS = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})
"""Methods whose Contact moves the remote target (RFC 3261 section 12.2, RFC 3311 section 5.1, RFC 6665 section 4.4.1)."""

MAX_ROUTES = 32
"""Values of a route set that are taken: a message passes fewer proxies than that, and each of them stands in each request."""


class State(StrEnum):
    """Where a dialog stands."""

    EARLY = "early"
    """Begun by a provisional response."""
    CONFIRMED = "confirmed"


class Dialog:
    """One dialog, from our side."""

    __slots__ = (
        "call_id",
        "local_cseq",
        "local_tag",
        "local_value",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "remote_value",
        "route_set",
        "secure",
        "state",
    )

    def __init__(
        self,
        *,
        call_id: str,
        local_value: str,
        local_tag: str,
        remote_value: str,
        remote_tag: str,
        remote_target: str,
        route_set: Sequence[str],
        local_cseq: int,
        remote_cseq: int | None,
        secure: bool,
        state: State,
    ) -> None:
        self.call_id = call_id
        self.local_value = local_value
        """Our From as it is written, with the tag."""
        self.local_tag = local_tag
        self.remote_value = remote_value
        """Their To as it is written, with the tag where they gave one."""
        self.remote_tag = remote_tag
        """Empty where an RFC 2543 peer gave none (section 12.1.1)."""
        self.remote_target = remote_target
        """URI that requests are sent to."""
        self.route_set = tuple(route_set)
        """Route values, in the order in which requests carry them."""
        self.local_cseq = local_cseq
        """Of our last request."""
        self.remote_cseq = remote_cseq
        """Of theirs; None before the first."""
        self.secure = secure
        """The dialog was begun for a sips URI over TLS: its Contacts are sips (sections 12.1.1 and 12.1.2)."""
        self.state = state

    @classmethod
    def as_caller(cls, request: Request, response: Response) -> Dialog:
        """The dialog that a response with a To tag to our request begins (section 12.1.2). Raises MalformedMessage."""
        sender = request.from_
        return cls(
            call_id=request.call_id,
            local_value=request.required("from"),
            local_tag=sender.tag or "",
            remote_value=response.required("to"),
            remote_tag=response.to.tag or "",
            remote_target=_target(response) or request.uri_text,
            route_set=tuple(reversed(_routes(response))),
            local_cseq=request.cseq.number,
            remote_cseq=None,
            secure=request.uri_text[:5].lower() == "sips:",
            state=State.EARLY if response.status < 200 else State.CONFIRMED,
        )

    @classmethod
    def as_callee(cls, request: Request, local_tag: str, *, state: State = State.EARLY) -> Dialog:
        """The dialog that our response with this To tag to their request begins (section 12.1.1). Raises MalformedMessage."""
        target = _target(request)
        if target is None:
            raise MalformedMessage(f"a {request.method} without Contact cannot begin a dialog")
        to = request.required("to")
        return cls(
            call_id=request.call_id,
            local_value=to if request.to.tag is not None else f"{to};tag={local_tag}",
            local_tag=local_tag,
            remote_value=request.required("from"),
            remote_tag=request.from_.tag or "",
            remote_target=target,
            route_set=_routes(request),
            local_cseq=0,
            remote_cseq=request.cseq.number,
            secure=request.uri_text[:5].lower() == "sips:",
            state=state,
        )

    @property
    def key(self) -> tuple[str, str, str]:
        """Call-ID, our tag and theirs (section 12)."""
        return self.call_id, self.local_tag, self.remote_tag

    @property
    def remote_uri(self) -> str:
        """The URI of the other side, as its From or To has it."""
        return NameAddr.parse(self.remote_value).uri_text

    def request(
        self,
        method: str,
        via: str,
        contact: str | None,
        *,
        extra: Sequence[Header] = (),
        body: bytes = b"",
        content_type: str | None = None,
        cseq: int | None = None,
    ) -> Request:
        """A request in the dialog (section 12.2.1.1), with the next CSeq unless `cseq` gives another.

        `contact` is our Contact value, None for a request that has none. Raises Misuse for ACK, which is `ack`'s.
        """
        if method == "ACK":
            raise Misuse("an ACK is no request of its own", fix="use Dialog.ack")
        if cseq is None:
            # Whoever is called begins to count where it likes (section 12.2.1.1).
            self.local_cseq += 1
            cseq = self.local_cseq
        if method not in TARGET_REFRESHERS:
            contact = None
        return self._build(method, via, cseq, contact, extra, body, content_type)

    def ack(
        self,
        invite: Request,
        via: str,
        *,
        extra: Sequence[Header] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Request:
        """The ACK to a 2xx to our INVITE, with its credentials (section 13.2.2.4)."""
        credentials = [
            field for field in invite.headers if canonical_name(field[0]) in ("authorization", "proxy-authorization")
        ]
        return self._build("ACK", via, invite.cseq.number, None, [*credentials, *extra], body, content_type)

    def receive(self, request: Request) -> int | None:
        """A request of theirs in the dialog: None where it comes in order, else the status that refuses it (section 12.2.2).

        Moves the remote target where the method does that. Raises MalformedMessage. ACK and CANCEL are not given here: they have the number
        of their INVITE.
        """
        number = request.cseq.number
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return 500
        self.remote_cseq = number
        if request.method in TARGET_REFRESHERS:
            self.remote_target = _target(request) or self.remote_target
        return None

    def receive_response(self, response: Response) -> None:
        """A 2xx to a request of ours that moves the target, or the one that confirms the dialog; then the route set is learnt anew (section
        13.2.2.4). Raises MalformedMessage."""
        if response.cseq.method not in TARGET_REFRESHERS or response.status >= 300:
            return
        if response.status >= 200 and self.state is State.EARLY:
            self.state = State.CONFIRMED
            self.route_set = tuple(reversed(_routes(response)))
        self.remote_target = _target(response) or self.remote_target

    def confirm(self) -> None:
        """We have answered with a 2xx."""
        self.state = State.CONFIRMED

    def _build(
        self,
        method: str,
        via: str,
        cseq: int,
        contact: str | None,
        extra: Sequence[Header],
        body: bytes,
        content_type: str | None,
    ) -> Request:
        uri, routes = self.remote_target, self.route_set
        if routes and not _is_loose(routes[0]):
            # A strict router by RFC 2543 wants itself as the Request-URI, and the target at the end (section 12.2.1.1).
            uri, routes = _bare(NameAddr.parse(routes[0]).uri_text), (*routes[1:], f"<{self.remote_target}>")
        headers: list[Header] = [("Via", via), ("Max-Forwards", "70")]
        headers += [("Route", route) for route in routes]
        headers += [
            ("From", self.local_value),
            ("To", self.remote_value),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        if contact is not None:
            headers.append(("Contact", contact))
        headers += extra
        if content_type is not None:
            headers.append(("Content-Type", content_type))
        headers.append(("Content-Length", str(len(body))))
        return Request(method, uri, headers, body)


def _routes(message: Request | Response) -> tuple[str, ...]:
    """The Record-Route values in their order."""
    routes = tuple(message.values("record-route"))
    if len(routes) > MAX_ROUTES:
        raise MalformedMessage(f"{len(routes)} Record-Route values")
    for route in routes:
        NameAddr.parse(route)
    return routes


def _target(message: Request | Response) -> str | None:
    contacts = message.contacts
    if not contacts:
        return None
    if len(contacts) > 1:
        raise MalformedMessage(f"{len(contacts)} Contacts where a dialog has one")
    if not contacts[0].uri.is_sip:
        raise MalformedMessage("a Contact that is no SIP address")
    return contacts[0].uri_text


def _is_loose(route: str) -> bool:
    return "lr" in NameAddr.parse(route).uri.params


def _bare(uri: str) -> str:
    """The URI without what a Request-URI may not hold: method and header fields (section 12.2.1.1)."""
    return _METHOD.sub("", uri.partition("?")[0])


_METHOD = re.compile(r";method=[^;]*+", re.IGNORECASE)
