"""Texts from one address to another: MESSAGE outside any dialog (RFC 3428), each by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sipsua.account import request as requests
from sipsua.account.asking import Answer, Asking, content_headers
from sipsua.account.dialling import call_target, fresh_call_id
from sipsua.account.reception import Pending
from sipsua.errors import BadConfiguration, Misuse, printable
from sipsua.events import MessageReceived
from sipsua.sip.message import Request

if TYPE_CHECKING:
    from sipsua.account.call import Surroundings

PLAIN = "text/plain"
LIMIT = 1300
"""Octets of a MESSAGE (RFC 3428 section 8): who sends more has to open a session."""


def send(account: Surroundings, target: str, text: str, take: Callable[[Answer, float], None], now: float) -> None:
    """Send a text; `take` hears what came of it.

    Raises Misuse without a flow, BadConfiguration for what is no address and for more text than a MESSAGE holds.
    """
    uri = call_target(account.config, target)
    body = text.encode("utf-8", "replace")
    if len(body) > LIMIT:
        raise BadConfiguration(f"a text of {len(body)} octets", fix=f"send {LIMIT} at the most, in several messages")
    if not account.has_flow:
        raise Misuse("there is no flow to send a message on", fix="register first")
    persona = account.config.persona
    call_id, tag, first = (
        fresh_call_id(account.config, account.dice, account.host),
        persona.tag.make(account.dice),
        account.dice(16),
    )
    numbers = iter(range(first, first + 100))

    def make(via: str) -> Request:
        headers = [
            ("Via", via),
            ("Max-Forwards", "70"),
            *(("Route", route) for route in account.route),
            ("From", f"{requests.own_address(account.config, account.config.aor)};tag={tag}"),
            ("To", f"<{uri}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{next(numbers)} MESSAGE"),
            ("User-Agent", account.config.user_agent or persona.user_agent),
            *content_headers(f"{PLAIN};charset=UTF-8", body),
        ]
        return Request("MESSAGE", uri, headers, body)

    Asking(account, make, take, now)


def receive(account: Surroundings, pending: Pending, now: float, to_tag: str = "") -> None:
    """A MESSAGE, in a call or outside."""
    request = pending.request
    content = (request.first("content-type") or PLAIN).partition(";")[0].strip().lower()
    if content != PLAIN:
        pending.answer(415, "Unsupported Media Type", [("Accept", PLAIN)], now, to_tag=to_tag)
        return
    pending.answer(200, "OK", (), now, to_tag=to_tag)
    text = request.body.decode("utf-8", "backslashreplace")
    account.emit(MessageReceived(printable(request.from_.uri_text), printable(text, lines=True)))
