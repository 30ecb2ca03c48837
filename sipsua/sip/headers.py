"""Header field values, typed: what stands behind the colon, read when it is asked for.

A message keeps its header fields as text (`sip.message`); the functions here turn one such text into a value, and raise
`MalformedMessage` where RFC 3261's grammar (section 25.1) cannot be met. They repair what real peers do wrong where there is only one
way to read it (no blank before `<`), and refuse the rest: a guessed address is worse than a 400.

The values are NamedTuples because they are built for each message of ten thousand phones; each common shape has one regular
expression, and only what does not fit goes the long way round. A peer chooses the text, so no expression may be slow for any of it:
what a pattern has taken it does not give back (`++`, `*+`), wherever it could try many ways to divide the same run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sipsua.errors import MalformedMessage
from sipsua.sip.uri import Uri

COMPACT_NAMES: Mapping[str, str] = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""Compact header names and what they stand for (IANA's SIP header field registry; RFC 3261 section 7.3.3)."""

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"
"""A token (RFC 3261 section 25.1), as a regular expression."""

_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_PARAM = re.compile(rf"\s*+;\s*+({TOKEN})\s*+(?:=\s*+({_QUOTED}|[^\s;,\"]++)\s*+)?+", re.ASCII | re.DOTALL)
_VIA = re.compile(
    rf"\s*+SIP\s*+/\s*+2\.0\s*+/\s*+({TOKEN})\s++(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9\-._]++)\s*+(?::\s*+([0-9]{{1,5}})\s*+)?+(;.*+)?",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
_PLAIN_VIA = re.compile(r"SIP/2\.0/([A-Z]++) ([A-Za-z0-9\-.]++)(?::([0-9]{1,5}))?+(;.*+)?", re.ASCII)
_NAME_ADDR = re.compile(
    rf"\s*+(?:({_QUOTED})\s*+|([A-Za-z0-9\-.!%*_+`'~\s\x80-\U0010ffff]*+))<([^<>]*+)>\s*+(;.*+)?", re.ASCII | re.DOTALL
)
_PLAIN_NAME_ADDR = re.compile(r'(?:"([^"\\]*+)" ?+)?+<([^<>]*+)>(?:;([A-Za-z]++)=([A-Za-z0-9\-._]++))?+', re.ASCII)
_ADDR_SPEC = re.compile(r"\s*+([A-Za-z][A-Za-z0-9+.\-]*+:[^\s<>\",;?]++)\s*+(;.*+)?", re.ASCII | re.DOTALL)
_CSEQ = re.compile(rf"\s*+([0-9]++)\s++({TOKEN})\s*+", re.ASCII)
_LIST_ITEM = re.compile(rf'(?:[^,"<]++|{_QUOTED}|<[^>]*+>)++', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_RETRY_AFTER = re.compile(r"\s*+([0-9]{1,10})\s*+(?:\(.*\)\s*+)?(?:;.*+)?", re.ASCII | re.DOTALL)
_WARNING = re.compile(rf"\s*+([0-9]{{3}})\s++(\S++)\s++({_QUOTED})\s*+", re.ASCII | re.DOTALL)
_DATE = re.compile(
    r"\s*+[A-Z]{3},\s++([0-9]{1,2})\s++([A-Z]{3})\s++([0-9]{4})\s++([0-9]{2}):([0-9]{2}):([0-9]{2})\s++GMT\s*+",
    re.ASCII | re.IGNORECASE,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

MAX_SECONDS = 2**32 - 1
"""The largest delta-seconds (RFC 3261 section 20.19)."""

Params = dict[str, str | None]
"""Parameters: names in lower case, None for a parameter without a value."""


class Via(NamedTuple):
    """One Via value (RFC 3261 section 20.42)."""

    transport: str
    """As written, for example `TLS`."""
    host: str
    """As written; an IPv6 address keeps its brackets."""
    port: int | None
    params: Params
    """Names in lower case; None for a parameter without a value."""

    @property
    def branch(self) -> str:
        """The branch, or an empty text where an RFC 2543 peer sent none."""
        return self.params.get("branch") or ""

    @classmethod
    def parse(cls, value: str) -> Via:
        """Read one Via value. Raises `MalformedMessage`."""
        match = _PLAIN_VIA.fullmatch(value) or _VIA.fullmatch(value)
        if match is None:
            raise MalformedMessage(f"Via cannot be read: {value[:80]!r}")
        transport, host, digits, params = match.groups()
        port = int(digits) if digits else None
        if port is not None and port > 65535:
            raise MalformedMessage(f"Via has port {port}")
        return tuple.__new__(cls, (transport, host, port, parse_params(params) if params else {}))


class NameAddr(NamedTuple):
    """A name-addr or addr-spec with header parameters: From, To, Contact, Route ... (RFC 3261 section 20.10)."""

    display: str
    """The display name without its quotes; empty where there is none."""
    uri_text: str
    """The URI as written."""
    params: Params
    """The parameters behind the address: they belong to the header, not to the URI."""

    @property
    def uri(self) -> Uri:
        """The URI, parsed. Raises `MalformedMessage`."""
        return Uri.parse(self.uri_text)

    @property
    def tag(self) -> str | None:
        """The tag parameter of a From or To."""
        return self.params.get("tag")

    @classmethod
    def parse(cls, value: str) -> NameAddr:
        """Read one address. Raises `MalformedMessage`."""
        match = _PLAIN_NAME_ADDR.fullmatch(value)
        if match is not None:
            display, uri, name, text = match.groups()
            return tuple.__new__(cls, (display or "", uri, {name.lower(): text} if name else {}))
        match = _NAME_ADDR.fullmatch(value)
        if match is not None:
            quoted, plain, uri, params = match.groups()
            display = unquote(quoted) if quoted else plain.strip()
            return cls(display, uri, parse_params(params) if params else {})
        # Without angle brackets, parameters belong to the header and the URI may hold no comma, question mark or semicolon
        # (RFC 3261 section 20).
        match = _ADDR_SPEC.fullmatch(value)
        if match is None:
            raise MalformedMessage(f"address cannot be read: {value[:80]!r}")
        uri, params = match.groups()
        return cls("", uri, parse_params(params) if params else {})


class CSeq(NamedTuple):
    """Sequence number and method (RFC 3261 section 20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, value: str) -> CSeq:
        """Read a CSeq value. Raises `MalformedMessage`, also for a number above 2**32 - 1."""
        match = _CSEQ.fullmatch(value)
        if match is None:
            raise MalformedMessage(f"CSeq cannot be read: {value[:80]!r}")
        digits, method = match.groups()
        return tuple.__new__(cls, (int(digits) if len(digits) < 10 else bounded(digits, 2**32 - 1, "CSeq"), method))


class Warning(NamedTuple):
    """One Warning value (RFC 3261 section 20.43)."""

    code: int
    agent: str
    text: str

    @classmethod
    def parse(cls, value: str) -> Warning:
        """Read one Warning value. Raises `MalformedMessage`."""
        match = _WARNING.fullmatch(value)
        if match is None:
            raise MalformedMessage(f"Warning cannot be read: {value[:80]!r}")
        return cls(int(match.group(1)), match.group(2), unquote(match.group(3)))


def parse_params(text: str) -> Params:
    """Read `;name=value;flag` with names in lower case and quoted values without their quotes.

    Raises `MalformedMessage` for an empty parameter or a stray separator.
    """
    params: Params = {}
    if text.startswith(";") and '"' not in text and "," not in text and " " not in text and "\t" not in text:
        for piece in text[1:].split(";"):
            name, equals, value = piece.partition("=")
            if value and name:
                params[name.lower()] = value
            elif name and not equals:
                params[name.lower()] = None
            else:
                raise MalformedMessage(f"parameters cannot be read: {text[:80]!r}")
        return params
    position = 0
    while position < len(text):
        match = _PARAM.match(text, position)
        if match is None:
            raise MalformedMessage(f"parameters cannot be read: {text[position : position + 80]!r}")
        name, value = match.groups()
        params[name.lower()] = unquote(value) if value and value[0] == '"' else value
        position = match.end()
    return params


def split_list(value: str) -> list[str]:
    """Split a header value at its commas, but not at those in quotes or angle brackets.

    Raises `MalformedMessage` for an empty item, an open quote or an open bracket.
    """
    if "," not in value:
        return [value]
    items: list[str] = []
    position = 0
    while True:
        match = _LIST_ITEM.match(value, position)
        if match is None or not match.group().strip():
            raise MalformedMessage(f"list cannot be read: {value[position : position + 80]!r}")
        items.append(match.group().strip())
        position = match.end()
        if position == len(value):
            return items
        if value[position] != ",":
            raise MalformedMessage(f"open quote or bracket: {value[position : position + 80]!r}")
        position += 1


def unquote(text: str) -> str:
    """Take the quotes off a quoted-string and undo its escapes."""
    inner = text[1:-1]
    return _ESCAPE.sub(r"\1", inner) if "\\" in inner else inner


def quote(text: str) -> str:
    """Write a text as a quoted-string (RFC 3261 section 25.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def bounded(digits: str, most: int, name: str) -> int:
    """Read decimal digits up to a bound. Raises `MalformedMessage`: the length is looked at first, so a huge number costs nothing."""
    digits = digits.strip()
    if not digits.isascii() or not digits.isdigit() or len(digits.lstrip("0")) > 10 or int(digits) > most:
        raise MalformedMessage(f"{name} is no number up to {most}: {digits[:40]!r}")
    return int(digits)


def parse_seconds(value: str | None) -> int | None:
    """Read delta-seconds (Expires, Min-Expires, an expires parameter), or None where they are missing or malformed.

    RFC 3261 section 20.10 lets a malformed expires be treated as absent.
    """
    if value is None:
        return None
    try:
        return bounded(value, MAX_SECONDS, "seconds")
    except MalformedMessage:
        return None


def parse_retry_after(value: str | None) -> int | None:
    """Read the seconds of a Retry-After value with its optional comment and parameters (RFC 3261 section 20.33)."""
    match = _RETRY_AFTER.fullmatch(value) if value is not None else None
    return parse_seconds(match.group(1)) if match else None


def parse_date(value: str | None) -> datetime | None:
    """Read a Date value (RFC 3261 section 20.17: always GMT), or None where it is missing or malformed."""
    match = _DATE.fullmatch(value) if value is not None else None
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        number = _MONTHS.index(month.lower()) + 1
        return datetime(int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
