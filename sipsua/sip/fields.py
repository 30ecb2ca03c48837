"""The header field values that calls and subscriptions add to those of RFC 3261, typed: session timers (RFC 4028), reliable responses
(RFC 3262), events (RFC 6665), transfers (RFC 3515, RFC 3891).

Each has `parse`, which raises `MalformedMessage` where the RFC's grammar cannot be met, and `str` gives the value back.
"""

from __future__ import annotations

from typing import NamedTuple, Self
from urllib.parse import quote as escape
from urllib.parse import unquote as unescape

from sipsua.errors import MalformedMessage
from sipsua.sip.headers import NameAddr, Params, bounded, parse_params

MAX_RSEQ = 2**31 - 1
"""The largest first RSeq (RFC 3262 section 3); it may grow beyond, to 2**32 - 1."""


class SessionExpires(NamedTuple):
    """A Session-Expires value (RFC 4028 section 4)."""

    seconds: int
    refresher: str | None = None
    """`uac` or `uas`; None where it is left to the other side."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read one value. Raises MalformedMessage."""
        digits, params = _head(value)
        refresher = (params.get("refresher") or "").lower() or None
        if refresher not in (None, "uac", "uas"):
            raise MalformedMessage(f"refresher is neither uac nor uas: {refresher[:20]!r}")
        return cls(bounded(digits, 2**32 - 1, "Session-Expires"), refresher)

    def __str__(self) -> str:
        return str(self.seconds) if self.refresher is None else f"{self.seconds};refresher={self.refresher}"


def parse_min_se(value: str) -> int:
    """The seconds of a Min-SE value (RFC 4028 section 5). Raises MalformedMessage."""
    return bounded(_head(value)[0], 2**32 - 1, "Min-SE")


def parse_rseq(value: str) -> int:
    """The number of an RSeq value (RFC 3262 section 7.1). Raises MalformedMessage."""
    return bounded(value, 2**32 - 1, "RSeq")


class RAck(NamedTuple):
    """An RAck value: which provisional response is acknowledged (RFC 3262 section 7.2)."""

    rseq: int
    cseq: int
    method: str

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read one value. Raises MalformedMessage."""
        parts = value.split()
        if len(parts) != 3:
            raise MalformedMessage(f"RAck cannot be read: {value[:80]!r}")
        return cls(bounded(parts[0], 2**32 - 1, "RAck"), bounded(parts[1], 2**32 - 1, "RAck"), parts[2])

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


class Event(NamedTuple):
    """An Event value (RFC 6665 section 8.2.1)."""

    package: str
    """In lower case, with its templates: `dialog`, `message-summary`, `presence.winfo`."""
    id: str | None = None

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read one value. Raises MalformedMessage."""
        package, params = _head(value)
        if not package or not package.isascii() or not package.isprintable() or " " in package:
            raise MalformedMessage(f"Event cannot be read: {value[:80]!r}")
        return cls(package.lower(), params.get("id"))

    def __str__(self) -> str:
        return self.package if self.id is None else f"{self.package};id={self.id}"


class SubscriptionState(NamedTuple):
    """A Subscription-State value (RFC 6665 section 8.2.3)."""

    state: str
    """`active`, `pending`, `terminated`, or an extension's, in lower case."""
    expires: int | None = None
    """Seconds."""
    reason: str | None = None
    """Why it is terminated, in lower case."""
    retry_after: int | None = None
    """Seconds."""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read one value. Raises MalformedMessage."""
        state, params = _head(value)
        if not state:
            raise MalformedMessage(f"Subscription-State cannot be read: {value[:80]!r}")
        numbers = [
            bounded(text, 2**32 - 1, name) if (text := params.get(name)) is not None else None
            for name in ("expires", "retry-after")
        ]
        reason = params.get("reason")
        return cls(state.lower(), numbers[0], reason.lower() if reason else None, numbers[1])

    def __str__(self) -> str:
        text = self.state
        for name, value in (("reason", self.reason), ("expires", self.expires), ("retry-after", self.retry_after)):
            if value is not None:
                text += f";{name}={value}"
        return text


class Replaces(NamedTuple):
    """A Replaces value: the dialog that a call takes the place of, as its receiver knows it (RFC 3891 section 6.1)."""

    call_id: str
    to_tag: str
    """The receiver's own."""
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read one value. Raises MalformedMessage."""
        call_id, params = _head(value)
        to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
        if not call_id or to_tag is None or from_tag is None:
            raise MalformedMessage(f"Replaces cannot be read: {value[:80]!r}")
        return cls(call_id, to_tag, from_tag, "early-only" in params)

    def __str__(self) -> str:
        text = f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}"
        return f"{text};early-only" if self.early_only else text


class ReferTo(NamedTuple):
    """A Refer-To value: whom to call, and what the INVITE has to say (RFC 3515 section 2.1, RFC 3891 section 4)."""

    uri: str
    """What is to be called, without method and header fields."""
    method: str = "INVITE"
    replaces: Replaces | None = None

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read one value. Raises MalformedMessage; header fields of the URI other than Replaces are left out, as they are a stranger's."""
        uri, _, fields = NameAddr.parse(value).uri_text.partition("?")
        replaces = None
        for field in fields.split("&"):
            name, _, text = field.partition("=")
            if name.lower() == "replaces":
                replaces = Replaces.parse(unescape(text))
        parts = uri.split(";")
        methods = [part.partition("=")[2] for part in parts if part.lower().startswith("method=")]
        uri = ";".join(part for part in parts if not part.lower().startswith("method="))
        return cls(uri, methods[0].upper() if methods else "INVITE", replaces)

    def __str__(self) -> str:
        uri = self.uri if self.method == "INVITE" else f"{self.uri};method={self.method}"
        if self.replaces is not None:
            uri += f"?Replaces={escape(str(self.replaces), safe='')}"
        return f"<{uri}>"


def parse_status_line(body: bytes) -> tuple[int, str]:
    """Status and reason of the response in a message/sipfrag (RFC 3515 section 2.4.5). Raises MalformedMessage."""
    line = body.lstrip(b"\r\n").partition(b"\n")[0].decode("utf-8", "replace").strip()
    version, _, rest = line.partition(" ")
    digits, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or len(digits) != 3 or not digits.isascii() or not digits.isdigit():
        raise MalformedMessage(f"no status line in a sipfrag: {line[:80]!r}")
    return int(digits), reason


def status_line(status: int, reason: str) -> bytes:
    """A message/sipfrag of a response."""
    return f"SIP/2.0 {status} {reason}\r\n".encode()


def _head(value: str) -> tuple[str, Params]:
    """What stands before the parameters, and these."""
    head, semicolon, params = value.partition(";")
    return head.strip(), parse_params(f";{params}") if semicolon else {}
