"""Scripted misbehaviour: what a pocket PBX does wrong, once or for ever, as data.

A phone proves itself against servers that fail it. A `Step` is what happens to one request: the status it gets instead of the right
answer, what becomes of the answer's bytes on their way out, and what the server does to the flow. Since an edit is any function from
bytes to bytes, the steps here are few; the edits below are those that tests want most. A plain `Step()` does nothing wrong, so it
stands for the requests before the one that matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from sipsua.sip.message import Header, Request

Edit = Callable[[bytes], bytes]
"""From the answer that should be sent to the bytes that are sent instead."""


class Then(StrEnum):
    """What becomes of the flow after the answer."""

    GO_ON = "go on"
    CLOSE = "close"
    """close_notify and FIN."""
    BREAK = "break"
    """FIN without close_notify, which TLS calls a truncation."""
    RESET = "reset"
    """RST."""


def unchanged(answer: bytes) -> bytes:
    """The answer as it should be."""
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happens to one request."""

    status: int | None = None
    """Answer so, and do nothing of what was asked for. None: the registrar does and answers what is right."""
    headers: tuple[Header, ...] = ()
    """Header fields of the answer, where `status` is given."""
    stale: bool = False
    """Challenge anew with `stale=true`, whatever the credentials, and do nothing of what was asked for."""
    edit: Edit = unchanged
    """Applied to the answer."""
    delay: float = 0.0
    """Seconds before the answer and what follows it. Other requests are answered meanwhile."""
    ask: str = ""
    """A request of this method is sent ahead of the answer; what the phone says to it is in `PocketPbx.replies`."""
    then: Then = Then.GO_ON


Script = Iterable[Step] | Callable[[Request], Step | None]
"""Steps for the requests to come, one each (`itertools.repeat` for ever); or a function, whose None means nothing wrong."""


def silence(answer: bytes) -> bytes:
    """Nothing is sent."""
    return b""


def twice(answer: bytes) -> bytes:
    """The answer comes a second time."""
    return answer + answer


def half(answer: bytes) -> bytes:
    """The answer breaks off in the middle of its header section."""
    return answer[: len(answer) // 2]


def garbage(answer: bytes) -> bytes:
    """What comes is no SIP."""
    return b"\x00\xff\xfe{ not: sip }\r\n\r\n"


def ping_first(answer: bytes) -> bytes:
    """A double CRLF stands before the answer."""
    return b"\r\n\r\n" + answer


def without_content_length(answer: bytes) -> bytes:
    """The stream does not say where the answer ends."""
    return re.sub(rb"(?im)^Content-Length:.*\r\n", b"", answer)


def contacts(*values: str) -> Edit:
    """These Contacts stand in the answer in place of its own."""
    lines = "".join(f"Contact: {value}\r\n" for value in values).encode()

    def edit(answer: bytes) -> bytes:
        head, _, body = re.sub(rb"(?im)^Contact:.*\r\n", b"", answer).partition(b"\r\n\r\n")
        return head + b"\r\n" + lines + b"\r\n" + body

    return edit
