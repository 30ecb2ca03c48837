"""The pocket PBX's mind: who may register, who is bound where, and what each request is answered. Pure, so any clock will do.

A registrar by RFC 3261 section 10.3, without a socket: `answer` takes a request, the time and the flow that brought it, and gives the
bytes to send back on that flow. It is strict where a phone's mistake should show (a nonce count that does not rise, a CSeq that goes
back, credentials for another URI) and can be set to each way in which real registrars differ. The domain of an address is not looked
at: a pocket PBX answers to any name, and users are told apart by the user part alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypedDict, Unpack

from sipsua.account.persona import Dice
from sipsua.account.uas import KNOWN_METHODS
from sipsua.account.users import UserPattern
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.headers import NameAddr, parse_seconds, quote
from sipsua.sip.message import Header, Request
from sipsua.sip.uri import Uri
from sipsua.testing.challenger import Challenger
from sipsua.testing.challenger import Login as Login
from sipsua.testing.challenger import Users as Users

MAX_BINDINGS = 64
"""Bindings of one user: more than any fork, and a client that makes a new Contact each time does no harm."""


class UnknownUser(StrEnum):
    """When a user who is not known is told so."""

    AT_ONCE = "at once"
    """404 to the first REGISTER."""
    AFTER_CHALLENGE = "after challenge"
    """401 first, 404 to the one with credentials."""
    NEVER = "never"
    """401 for ever, as for a wrong password: what registrars do that give no user names away."""


class Settings(TypedDict, total=False):
    """How a registrar behaves, where not as by default."""

    realm: str
    """`pocket.pbx` by default."""
    algorithm: str | Sequence[str]
    """`MD5` by default; `SHA-256`, `SHA-512-256`, the `-sess` forms, or several, the preferred one first."""
    qop: str | Sequence[str]
    """`auth` by default; `auth-int`, both, or none, as servers of RFC 2069 have it."""
    nonce_lifetime: float
    """Seconds until a nonce is stale; 300 by default."""
    reuse_nonces: bool
    """True by default: a nonce serves many requests. Otherwise the second one is answered with `stale=true`."""
    min_expires: int
    """Seconds; what is shorter gets 423. 1 by default, so that nothing is refused."""
    max_expires: int
    """Seconds; what is longer is cut. 7200 by default."""
    default_expires: int
    """Seconds for who asks for no time; 3600 by default."""
    unknown_user: UnknownUser
    """`AT_ONCE` by default."""
    server: str
    """Value of the Server header field; `sipsua-pocket-pbx` by default, and with "" there is none."""


class Binding(NamedTuple):
    """One Contact of one user."""

    contact: str
    """The URI as the phone wrote it."""
    params: str
    """The Contact's parameters other than expires, as `;name=value`."""
    expires_at: float
    """On the clock of `now`."""
    call_id: str
    cseq: int
    flow: object
    """Whatever the REGISTER came on."""


class Registrar:
    """Bindings, challenges and answers of one domain."""

    def __init__(self, users: Users, dice: Dice, **settings: Unpack[Settings]) -> None:
        """`dice` makes the seal of nonces and the tags. Raises BadConfiguration or Misuse for settings that fit nothing."""
        self.challenger = Challenger(
            users,
            dice,
            realm=settings.get("realm", "pocket.pbx"),
            algorithm=settings.get("algorithm", "MD5"),
            qop=settings.get("qop", "auth"),
            nonce_lifetime=settings.get("nonce_lifetime", 300.0),
            reuse_nonces=settings.get("reuse_nonces", True),
        )
        """Who asks for passwords."""
        self.requests: Counter[str] = Counter()
        """Requests by method; those with an unknown one as `unknown`."""
        self.responses: Counter[int] = Counter()
        """Answers by status."""
        self.tag_seal = f"{dice(32):08x}"
        """What the To tag of each answer begins with, by which an ACK for one of them is known (RFC 3261 section 8.2.7)."""
        self._dice = dice
        self._unknown_user = settings.get("unknown_user", UnknownUser.AT_ONCE)
        self._min_expires = settings.get("min_expires", 1)
        self._max_expires = settings.get("max_expires", 7200)
        self._default_expires = settings.get("default_expires", 3600)
        if not 1 <= self._min_expires <= self._max_expires:
            raise BadConfiguration(
                f"expiries from {self._min_expires} s to {self._max_expires} s hold none",
                fix="give min_expires of at least 1 and max_expires not below it",
            )
        server = settings.get("server", "sipsua-pocket-pbx")
        self._ending = f"Server: {server}\r\nContent-Length: 0\r\n\r\n" if server else "Content-Length: 0\r\n\r\n"
        self._bindings: dict[str, list[Binding]] = {}
        self._users_of: dict[object, set[str]] = {}

    def answer(
        self, request: Request, now: float, *, source: tuple[str, int] = ("127.0.0.1", 5061), flow: object = None
    ) -> bytes:
        """What to send back: one final response, or nothing for an ACK.

        `source` is the peer's address and port as the socket has them, for Via; `flow` any hashable object, for the bindings.
        """
        method = request.method
        self.count(method)
        try:
            if method == "REGISTER":
                status, lines = self._register(request, flow, now)
            elif method == "ACK":
                return b""
            else:
                status, lines = _other(request.check())
        except MalformedMessage as error:
            return self.reject(request, error, source=source)
        return self.response(request, source, status, lines)

    def count(self, method: str) -> None:
        """A request has come."""
        self.requests[method if method in KNOWN_METHODS else "unknown"] += 1

    def respond(
        self,
        request: Request,
        status: int,
        headers: Iterable[Header] = (),
        *,
        source: tuple[str, int] = ("127.0.0.1", 5061),
    ) -> bytes:
        """A response of this status, whatever the request deserves."""
        return self.response(request, source, status, "".join(f"{name}: {value}\r\n" for name, value in headers))

    def reject(
        self, request: Request, error: MalformedMessage, *, source: tuple[str, int] = ("127.0.0.1", 5061)
    ) -> bytes:
        """The response to a request that RFC 3261 forbids: 400 or what the error says, with the reason in a Warning."""
        why = "".join(mark if " " <= mark <= "~" and mark not in '"\\' else "?" for mark in error.what)
        return self.response(request, source, error.status, f'Warning: 399 pocket.pbx "{why}"\r\n')

    def challenge(
        self,
        request: Request,
        now: float,
        *,
        stale: bool = False,
        source: tuple[str, int] = ("127.0.0.1", 5061),
    ) -> bytes:
        """A 401 with a fresh nonce, whatever the request deserves."""
        return self.response(request, source, *self.challenger.challenge(now, stale=stale))

    def response(self, request: Request, source: tuple[str, int], status: int, lines: str, to_tag: str = "") -> bytes:
        """A response by section 8.2.6.2 with these header lines, in the shape that all have: one text instead of a message object."""
        self.responses[status] += 1
        index = request.index
        vias = index.get("via", ())
        text = f"SIP/2.0 {status} {REASONS.get(status, 'Because I Say So')}\r\n"
        for number, via in enumerate(vias):
            text += f"Via: {via if number else stamp(via, *source)}\r\n"
        if (value := index.get("from")) is not None:
            text += f"From: {value[0]}\r\n"
        if (value := index.get("to")) is not None:
            to = value[0]
            tag = (
                ""
                if status == 100 or _TAG.search(to.rpartition(">")[2])
                else f";tag={to_tag or f'{self.tag_seal}{self._dice(64):016x}'}"
            )
            text += f"To: {to}{tag}\r\n"
        if (value := index.get("call-id")) is not None:
            text += f"Call-ID: {value[0]}\r\n"
        if (value := index.get("cseq")) is not None:
            text += f"CSeq: {value[0]}\r\n"
        return (text + lines + self._ending).encode("utf-8", "surrogateescape")

    def bindings(self, now: float) -> dict[str, tuple[Binding, ...]]:
        """What is bound now, by user, oldest binding first. Users without a binding are not in it."""
        return {user: tuple(live) for user in list(self._bindings) if (live := self._live(user, now))}

    def knows(self, user: str) -> bool:
        """Whether there is such a user, bound or not."""
        return self.challenger.find(user) is not None

    def bound(self, user: str, now: float) -> Sequence[Binding]:
        """What is bound to this user now, oldest binding first."""
        return self._live(user, now)

    def locate(self, uri: Uri, now: float, *, everywhere: bool = False) -> Binding | None:
        """The newest binding whose Contact names this place: user, host and port, parameters aside.

        The user of a Contact is that of the address at most phones. With `everywhere` the bindings of all users are looked through.
        """
        found = _naming(uri, self._bindings.get(uri.decoded_user or "", ()))
        if found is None and everywhere:
            place = f"{uri.host}:{uri.port}" if uri.port is not None else uri.host
            found = _naming(uri, (one for bound in self._bindings.values() for one in bound if place in one.contact))
        return found if found is not None and found.expires_at > now else None

    def close_flow(self, flow: object) -> None:
        """The flow is gone, and what was bound through it."""
        for user in self._users_of.pop(flow, ()):
            self._keep(user, [binding for binding in self._bindings.get(user, ()) if binding.flow is not flow])

    def _register(self, request: Request, flow: object, now: float) -> tuple[int, str]:
        """Status and header lines for a REGISTER: the steps of section 10.3."""
        user = request.to.uri.decoded_user or ""
        challenger = self.challenger
        found = challenger.find(user)
        if found is None and self._unknown_user is UnknownUser.AT_ONCE:
            return 404, ""
        credentials = challenger.credentials(request)
        if credentials is None:
            # Most requests come again in a moment, with credentials: then they are read in full.
            if request.defect is not None or any(name not in request.index for name in _COPIED):
                request.check()
            return challenger.challenge(now)
        request.check()
        if found is None:
            return (404, "") if self._unknown_user is UnknownUser.AFTER_CHALLENGE else challenger.challenge(now)
        refusal = challenger.refusal(credentials, user, found, request, now)
        if refusal is not None:
            return refusal
        if unsupported := request.tokens("require"):
            return 420, f"Unsupported: {', '.join(unsupported)}\r\n"
        live = self._live(user, now)
        if "contact" in request.index:
            refusal = self._bind(user, request, live, flow, now)
            if refusal is not None:
                return refusal
            live = self._bindings.get(user, [])
        return 200, "".join(
            f"Contact: <{binding.contact}>{binding.params};expires={max(1, round(binding.expires_at - now))}\r\n"
            for binding in live
        )

    def _bind(
        self, user: str, request: Request, live: list[Binding], flow: object, now: float
    ) -> tuple[int, str] | None:
        """Take the Contacts, all or none of them (section 10.3, steps 6 and 7). Returns the refusal, if it is one."""
        field = request.expires
        call_id, cseq = request.call_id, request.cseq.number
        bindings = list(live)
        values = request.values("contact")
        if "*" in values:
            if len(values) > 1 or field != 0:
                raise MalformedMessage("a Contact of * wants Expires: 0 and no other Contact")
            if any(binding.call_id == call_id and cseq <= binding.cseq for binding in bindings):
                return 500, _BACKWARDS
            bindings.clear()
            values = []
        for value in values:
            contact = NameAddr.parse(value)
            seconds = parse_seconds(contact.params.get("expires"))
            if seconds is None:
                seconds = self._default_expires if field is None else field
            if 0 < seconds < self._min_expires:
                return 423, f"Min-Expires: {self._min_expires}\r\n"
            place = _find(contact, bindings)
            if place is not None:
                if bindings[place].call_id == call_id and cseq <= bindings[place].cseq:
                    return 500, _BACKWARDS
                del bindings[place]
            if seconds:
                params = ""
                if len(contact.params) > ("expires" in contact.params):
                    params = "".join(_param(*item) for item in contact.params.items() if item[0] != "expires")
                expires_at = now + min(seconds, self._max_expires)
                bindings.append(Binding(contact.uri_text, params, expires_at, call_id, cseq, flow))
        if len(bindings) > MAX_BINDINGS:
            return 403, f'Warning: 399 pocket.pbx "more than {MAX_BINDINGS} bindings"\r\n'
        self._keep(user, bindings)
        if bindings and flow is not None:
            self._users_of.setdefault(flow, set()).add(user)
        return None

    def _live(self, user: str, now: float) -> list[Binding]:
        """The bindings of a user that have not ended; the others are forgotten."""
        bindings = self._bindings.get(user)
        if bindings is None:
            return []
        for binding in bindings:
            if binding.expires_at <= now:
                break
        else:
            return bindings
        return self._keep(user, [binding for binding in bindings if binding.expires_at > now])

    def _keep(self, user: str, bindings: list[Binding]) -> list[Binding]:
        if bindings:
            self._bindings[user] = bindings
        else:
            self._bindings.pop(user, None)
        return bindings


def users_in(ranges: str, password: str) -> dict[str, str]:
    """The users of a pattern (see `account.users.UserPattern`), all with one password: `1000-1099`, `7,100-120`.

    Raises BadConfiguration.
    """
    return dict.fromkeys(UserPattern(ranges), password)


def stamp(via: str, host: str, port: int) -> str:
    """The topmost Via with where it really came from (RFC 3261 section 18.2.1, RFC 3581 section 4)."""
    top, comma, others = via.partition(",")
    if "rport" in top:
        top, asked = _RPORT.subn(f";received={host};rport={port}", top, count=1)
        if asked:
            return top + comma + others
    return via if host in top else f"{top};received={host}{comma}{others}"


REASONS: Mapping[int, str] = {
    100: "Trying",
    180: "Ringing",
    200: "OK",
    202: "Accepted",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}
"""Reason phrases of RFC 3261 section 21 and its followers for what the PBX answers, and for what tests make it answer."""

_ALLOW = "Allow: REGISTER, OPTIONS\r\n"
_BACKWARDS = 'Warning: 399 pocket.pbx "the CSeq does not rise"\r\n'
_COPIED = ("via", "from", "to", "call-id", "cseq")
_RPORT = re.compile(r";\s*rport\s*(?=;|\Z)", re.IGNORECASE)
_TAG = re.compile(r";\s*tag\s*=", re.IGNORECASE)
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:]+")


def _other(request: Request) -> tuple[int, str]:
    """Status and header lines for what is no REGISTER."""
    if request.method not in KNOWN_METHODS:
        return 501, _ALLOW
    if request.method != "OPTIONS":
        return 405, _ALLOW
    if not request.uri.is_sip:
        return 416, ""
    if unsupported := request.tokens("require"):
        return 420, f"Unsupported: {', '.join(unsupported)}\r\n"
    return 200, f"{_ALLOW}Accept: application/sdp\r\nAccept-Language: en\r\nSupported: \r\n"


def _find(contact: NameAddr, bindings: list[Binding]) -> int | None:
    """The place of the binding with this URI. One that is spelled otherwise is compared by rule, so it must be readable."""
    for place, binding in enumerate(bindings):
        if binding.contact == contact.uri_text:
            return place
    uri = contact.uri
    for place, binding in enumerate(bindings):
        if uri.equivalent(Uri.parse(binding.contact)):
            return place
    return None


def _param(name: str, value: str | None) -> str:
    if value is None:
        return f";{name}"
    return f";{name}={value if _PLAIN_VALUE.fullmatch(value) else quote(value)}"


def _naming(uri: Uri, bindings: Iterable[Binding]) -> Binding | None:
    """The newest of the bindings whose Contact has this user, host and port. Contacts that cannot be read name nobody."""
    found = None
    for binding in bindings:
        if binding.contact == uri.text:
            found = binding
            continue
        try:
            contact = Uri.parse(binding.contact)
        except MalformedMessage:
            continue
        if (contact.user, contact.host.lower(), contact.port) == (uri.user, uri.host.lower(), uri.port):
            found = binding
    return found
