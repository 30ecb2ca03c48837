"""A SIP message: a start line, raw header fields in order and case, a body; values typed when they are asked for.

Strategy: the head is decoded once and cut at its line ends; each field is kept as written and indexed under its canonical lower-case
name (compact names resolved). Nothing else is read until somebody asks: a phone that refreshes reads five fields of fifteen. So a
message object can hold nonsense; `Request.check` and `Response.check` are the place where RFC 3261's rules for a well-formed message
are held, and what they raise says with which status to answer.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Self

from sipsua.errors import MalformedMessage, Misuse
from sipsua.sip.digest import AuthenticationInfo, Challenge
from sipsua.sip.headers import (
    COMPACT_NAMES,
    TOKEN,
    CSeq,
    NameAddr,
    Via,
    Warning,
    bounded,
    parse_date,
    parse_retry_after,
    parse_seconds,
    split_list,
)
from sipsua.sip.uri import Uri

Header = tuple[str, str]
"""A header field: name as written, value without the blanks round it."""

_REQUEST_LINE = re.compile(rf"({TOKEN}) ([^\r\n]*) (SIP/[0-9]++\.[0-9]++)([ \t]*+)", re.ASCII | re.IGNORECASE)
_STATUS_LINE = re.compile(r"(SIP/[0-9]++\.[0-9]++) ([0-9]++)(?: ([^\r\n]*+))?+", re.ASCII | re.IGNORECASE)
_PLAIN_FIELD = re.compile(rf"\n({TOKEN}): (?![ \t])([^\r]*+)(?<![ \t])(?=\r\n)", re.ASCII)
_FIELD = re.compile(rf"({TOKEN})[ \t]*+:(.*+)", re.ASCII | re.DOTALL)
_FOLD = re.compile(r"\r\n[ \t]++")


class _CanonicalNames(dict[str, str]):
    """Canonical names by the spellings that peers really use, so that the common case is one look-up; others are worked out."""

    def __missing__(self, name: str) -> str:
        lowered = name.lower()
        return COMPACT_NAMES.get(lowered, lowered)


_CANONICAL = _CanonicalNames(COMPACT_NAMES)
for _name in (
    "Via From To Call-ID CSeq Contact Max-Forwards Content-Length Content-Type Expires User-Agent Server Allow Supported Route "
    "Record-Route Path Service-Route WWW-Authenticate Proxy-Authenticate Authorization Proxy-Authorization Authentication-Info "
    "Min-Expires Retry-After Date Warning Allow-Events Require Unsupported Accept Event Reason Subject"
).split():
    for _spelling in (_name, _name.lower(), _name.upper(), _name.title()):
        _CANONICAL[_spelling] = _name.lower()

_SINGLE = ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "expires", "date")
"""Fields that a message may hold once at the most."""

MAGIC_COOKIE = "z9hG4bK"
"""What the branch of an RFC 3261 peer begins with (section 8.1.1.7)."""


def canonical_name(name: str) -> str:
    """The lower-case long form of a header name."""
    return _CANONICAL[name]


class Message:
    """What requests and responses share. Made by `Framer` and `parse_message`, or by the caller to be sent."""

    __slots__ = ("_index", "body", "defect", "headers")

    def __init__(self, headers: Sequence[Header] = (), body: bytes = b"") -> None:
        self.headers: list[Header] = list(headers)
        self.body = body
        self.defect: MalformedMessage | None = None
        """What the parser could not read; `check` raises it."""
        self._index: dict[str, list[str]] | None = None

    def __bytes__(self) -> bytes:
        """The message as it goes to the wire. Raises `Misuse` where a value would break its line."""
        lines = [self.start_line]
        lines += [f"{name}: {value}" for name, value in self.headers]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise Misuse("a header value holds a line break", fix="take CR and LF out of names, URIs and header values")
        return (text + "\r\n\r\n").encode("utf-8", "surrogateescape") + self.body

    @property
    @abstractmethod
    def start_line(self) -> str:
        """The first line, without its line end."""

    @property
    def index(self) -> dict[str, list[str]]:
        """Values by canonical name, in order. Built once: change `headers` before the first look."""
        if self._index is None:
            index: dict[str, list[str]] = {}
            for name, value in self.headers:
                key = canonical_name(name)
                if key in index:
                    index[key].append(value)
                else:
                    index[key] = [value]
            self._index = index
        return self._index

    def first(self, name: str) -> str | None:
        """The first value of a field by canonical name, or None."""
        values = self.index.get(name)
        return values[0] if values else None

    def values(self, name: str) -> list[str]:
        """All values of a list field by canonical name: several fields and comma lists alike (RFC 3261 section 7.3.1)."""
        values = self.index.get(name)
        if values is None:
            return []
        if len(values) == 1:
            return split_list(values[0])
        return [item for value in values for item in split_list(value)]

    def required(self, name: str) -> str:
        """The only value of a field that must be there. Raises `MalformedMessage`."""
        values = self.index.get(name)
        if values is None:
            raise MalformedMessage(f"{name} is missing")
        return values[0]

    def tokens(self, name: str) -> list[str]:
        """The items of a comma list of tokens (Allow, Supported, Require ...), empty ones left out."""
        return [item for value in self.index.get(name, ()) for piece in value.split(",") if (item := piece.strip())]

    @property
    def via(self) -> Via:
        """The top Via. Raises `MalformedMessage`."""
        value = self.required("via")
        return Via.parse(value if "," not in value else split_list(value)[0])

    @property
    def vias(self) -> list[Via]:
        """All Vias, top first. Raises `MalformedMessage`."""
        return [Via.parse(value) for value in self.values("via")]

    @property
    def from_(self) -> NameAddr:
        """Raises `MalformedMessage`."""
        return NameAddr.parse(self.required("from"))

    @property
    def to(self) -> NameAddr:
        """Raises `MalformedMessage`."""
        return NameAddr.parse(self.required("to"))

    @property
    def call_id(self) -> str:
        """Raises `MalformedMessage`."""
        return self.required("call-id")

    @property
    def cseq(self) -> CSeq:
        """Raises `MalformedMessage`."""
        return CSeq.parse(self.required("cseq"))

    @property
    def contacts(self) -> list[NameAddr]:
        """The Contacts; the `*` of a REGISTER is no address and not among them. Raises `MalformedMessage`."""
        return [NameAddr.parse(value) for value in self.values("contact") if value != "*"]

    def addresses(self, name: str) -> list[NameAddr]:
        """The addresses of Route, Record-Route, Path or Service-Route, in order. Raises `MalformedMessage`."""
        return [NameAddr.parse(value) for value in self.values(name)]

    @property
    def expires(self) -> int | None:
        """The Expires field in seconds; None where it is missing or malformed."""
        return parse_seconds(self.first("expires"))

    @property
    def min_expires(self) -> int | None:
        """The Min-Expires field in seconds; None where it is missing or malformed."""
        return parse_seconds(self.first("min-expires"))

    @property
    def retry_after(self) -> int | None:
        """The Retry-After field in seconds; None where it is missing or malformed."""
        return parse_retry_after(self.first("retry-after"))

    @property
    def warnings(self) -> list[Warning]:
        """The Warnings. Raises `MalformedMessage`."""
        return [Warning.parse(value) for value in self.values("warning")]

    @property
    def date(self) -> datetime | None:
        """The Date field, UTC; None where it is missing or malformed."""
        return parse_date(self.first("date"))

    def challenges(self, name: str) -> list[Challenge]:
        """The Digest challenges of `www-authenticate` or `proxy-authenticate`, topmost first. Raises `MalformedMessage`."""
        return Challenge.parse_all(self.index.get(name, ()))

    @property
    def authentication_info(self) -> AuthenticationInfo | None:
        """The Authentication-Info, None where there is none. Raises `MalformedMessage`."""
        value = self.first("authentication-info")
        return None if value is None else AuthenticationInfo.parse(value)

    @property
    def content_length(self) -> int | None:
        """The Content-Length, None where there is none. Raises `MalformedMessage`, fatal: without it a stream cannot be framed."""
        values = self.index.get("content-length")
        if values is None:
            return None
        value = values[0]
        if value.isdigit() and len(values) == 1 and len(value) < 8 and value.isascii():
            return int(value)
        try:
            lengths = {bounded(value, 2**31 - 1, "Content-Length") for value in values}
        except MalformedMessage as error:
            raise MalformedMessage(error.what, fatal=True) from None
        if len(lengths) > 1:
            raise MalformedMessage(f"Content-Length differs from itself: {sorted(lengths)}", fatal=True)
        return lengths.pop()

    def _check_fields(self) -> None:
        if self.defect is not None:
            raise self.defect
        for name in _SINGLE:
            if len(self.index.get(name, ())) > 1:
                raise MalformedMessage(f"{name} stands {len(self.index[name])} times")
        length = self.content_length
        if length is not None and length != len(self.body):
            raise MalformedMessage(f"Content-Length {length}, but the body has {len(self.body)} bytes")
        if not self.vias:
            raise MalformedMessage("Via is missing")
        # Each of these raises where it cannot be read.
        _ = (self.from_, self.to, self.contacts)
        if not self.call_id:
            raise MalformedMessage("Call-ID is empty")


class Request(Message):
    """A request."""

    __slots__ = ("method", "uri_text", "version")

    def __init__(
        self, method: str, uri: str, headers: Sequence[Header] = (), body: bytes = b"", version: str = "SIP/2.0"
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        """Case-sensitive, as written."""
        self.uri_text = uri
        """The Request-URI as written."""
        self.version = version

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri_text} {self.version}"

    @property
    def uri(self) -> Uri:
        """The Request-URI, parsed. Raises `MalformedMessage`."""
        return Uri.parse(self.uri_text)

    def check(self) -> Self:
        """Hold the message to RFC 3261's rules for a well-formed request (sections 7, 8.1.1, 8.2).

        Returns the request; raises `MalformedMessage` whose `status` answers it: 505 for another version, 400 for the rest.
        """
        if self.version != "SIP/2.0":
            raise MalformedMessage(f"{self.version} is not SIP/2.0", status=505)
        self._check_fields()
        cseq = self.cseq
        if cseq.method != self.method:
            raise MalformedMessage(f"CSeq says {cseq.method}, the request line {self.method}")
        forwards = self.first("max-forwards")
        if forwards is not None:
            bounded(forwards, 255, "Max-Forwards")
        if self.uri.headers:
            raise MalformedMessage("the Request-URI holds header fields")
        return self


class Response(Message):
    """A response."""

    __slots__ = ("reason", "status", "version")

    def __init__(
        self, status: int, reason: str, headers: Sequence[Header] = (), body: bytes = b"", version: str = "SIP/2.0"
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason
        self.version = version

    @property
    def start_line(self) -> str:
        return f"{self.version} {self.status} {self.reason}"

    def check(self) -> Self:
        """Hold the message to RFC 3261's rules for a response that reached its client (sections 8.1.3.3 and 18.1.2).

        Returns the response; raises `MalformedMessage`: nothing answers a response, so it is to be dropped.
        """
        if self.version != "SIP/2.0":
            raise MalformedMessage(f"{self.version} is not SIP/2.0")
        self._check_fields()
        _ = self.cseq
        if len(self.vias) > 1:
            raise MalformedMessage("the response has more than one Via: it was not meant for us")
        return self


def parse_head(head: str) -> Request | Response:
    """Read start line and header fields, each with the CRLF that ends it, without the empty line behind them.

    Raises `MalformedMessage` (fatal) where the start line is that of no SIP message; lesser faults are kept in `defect`.
    """
    end = head.find("\r\n")
    message = _parse_start_line(head[:end])
    # What nearly every peer writes: one blank behind the colon, none at the end, no folded lines. A field found for each line feed
    # says that all lines are such, and that no stray CR or LF hides in one of them.
    fields = _PLAIN_FIELD.findall(head, end)
    if len(fields) + 1 != head.count("\n"):
        fields = _read_fields(head[end + 2 : -2], message) if end + 2 < len(head) else []
    message.headers = fields
    index = {_CANONICAL[name]: [value] for name, value in fields}
    if len(index) == len(fields):
        message._index = index
    return message


def parse_message(data: bytes) -> Request | Response:
    """Read one whole message, as a datagram holds it: bytes behind Content-Length are ignored (RFC 3261 section 18.3).

    Raises `MalformedMessage`. On a stream use `sip.framing.Framer`.
    """
    head, end, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not end:
        raise MalformedMessage("the header section does not end")
    message = parse_head(head.decode("utf-8", "surrogateescape") + "\r\n")
    length = message.content_length
    message.body = body if length is None else body[:length]
    return message


def respond(
    request: Request,
    status: int,
    reason: str,
    extra: Iterable[Header] = (),
    *,
    to_tag: str = "",
    body: bytes = b"",
) -> Response:
    """A response to a request as RFC 3261 section 8.2.6.2 builds it: Via, From, To, Call-ID, CSeq copied, To tag added where missing.

    `extra` follows the copied fields, with Content-Type where there is a `body`; Content-Length comes last. Fields that the request lacks
    are left out.
    """
    headers: list[Header] = [("Via", value) for value in request.index.get("via", ())]
    for name, key in (("From", "from"), ("To", "to"), ("Call-ID", "call-id"), ("CSeq", "cseq")):
        value = request.first(key)
        if value is None:
            continue
        if key == "to" and to_tag and status > 100 and not _has_tag(value):
            value = f"{value};tag={to_tag}"
        headers.append((name, value))
    headers += extra
    headers.append(("Content-Length", str(len(body))))
    return Response(status, reason, headers, body)


def _has_tag(to: str) -> bool:
    try:
        return "tag" in NameAddr.parse(to).params
    except MalformedMessage:
        return False


def _parse_start_line(line: str) -> Request | Response:
    match = _STATUS_LINE.fullmatch(line)
    if match is not None:
        version, code, reason = match.groups()
        status = int(code) if len(code) == 3 else 0
        response = Response(status, reason or "", (), b"", version.upper())
        if not 100 <= status <= 699:
            response.defect = MalformedMessage(f"{code[:20]} is no status code")
        return response
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise MalformedMessage(
            f"this is not SIP: {line[:80]!r}", fatal=True, fix="see that the port is one that speaks SIP over TLS"
        )
    method, uri, version, blanks = match.groups()
    request = Request(method, uri, version=version.upper())
    if blanks:
        request.defect = MalformedMessage("blanks behind the SIP version")
    return request


def _read_fields(text: str, message: Message) -> list[Header]:
    """The careful way: unfold lines, trim values, and keep what is no header field as the message's `defect`."""
    fields = []
    for line in _FOLD.sub(" ", text).split("\r\n"):
        if "\r" in line or "\n" in line:
            # A blank in its place, so that what we copy into an answer cannot begin a line of its own.
            message.defect = MalformedMessage(f"a CR or LF stands alone: {line[:80]!r}")
            line = line.replace("\r", " ").replace("\n", " ")
        match = _FIELD.fullmatch(line)
        if match is None:
            message.defect = MalformedMessage(f"no header field: {line[:80]!r}")
        else:
            name, value = match.groups()
            fields.append((name, value.strip(" \t")))
    return fields
