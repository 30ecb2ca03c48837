"""What a registrar's answer says: how long the binding stands, where to go instead, or why not and what to do about it.

RFC 3261 sections 10.2.4 (the granted time), 8.1.3.4 (redirects) and 21 (status codes). A 2xx is a success whatever else it holds: what
cannot be read of it counts as absent.
"""

from __future__ import annotations

import re

from sipsua.account.config import Target
from sipsua.errors import MalformedMessage, Refused, printable
from sipsua.sip.headers import NameAddr, parse_seconds
from sipsua.sip.message import Response
from sipsua.sip.uri import Uri


def granted(response: Response, contact: str, asked: int) -> int:
    """Seconds that a 2xx grants to our binding: its Contact's own parameter, else the Expires field, else what was asked.

    `contact` is our Contact value. Registrars behind a NAT helper show another address in its place: where no binding is ours, the one
    with the longest time left is taken for it, since ours was set this moment.
    """
    values = response.index.get("contact", ())
    if len(values) == 1 and values[0].startswith(contact) and (plain := _EXPIRES.match(values[0], len(contact))):
        # What nearly every registrar answers to a phone's only binding; Kamailio adds where the request came from.
        return int(plain[1])
    mine = contact[1:-1]
    bindings = _contacts(response)
    ours = [binding for binding in bindings if binding.uri_text == mine] or _equivalent(bindings, mine)
    times = [seconds for one in ours or bindings if (seconds := parse_seconds(one.params.get("expires"))) is not None]
    if times:
        return max(times) if ours else min(max(times), asked)
    expires = response.expires
    return asked if expires is None else expires


def redirect(response: Response, scheme: str) -> Uri | None:
    """The Contact of a 3xx that an account of this scheme may follow, the one with the greatest q first; None where there is none.

    Over TLS only: from `sips:` to `sips:`, from `sip:` also to `sip:` with `transport=tls`.
    """
    for contact in sorted(_contacts(response), key=_preference, reverse=True):
        try:
            uri = contact.uri
        except MalformedMessage:
            continue
        if uri.scheme == "sips" or (uri.scheme == "sip" == scheme and uri.transport == "tls"):
            return uri
    return None


def refusal(response: Response, target: Target, detail: str = "", *, fix: str = "") -> Refused:
    """The error that a final answer amounts to: who answered what, what it wants, and what an operator does about it."""
    status = response.status
    what = f"the registrar at {target} answered {status} {printable(response.reason)}".rstrip()
    if detail:
        what += f", but {detail}" if status < 300 else f": {detail}"
    if (seconds := response.retry_after) is not None:
        what += f" [Retry-After: {seconds} s]"
    warnings = "; ".join(response.index.get("warning", ()))
    if warnings:
        what += f" [Warning: {printable(warnings[:200])}]"
    return Refused(
        what,
        status=status,
        reason=printable(response.reason),
        fix=fix or _FIXES.get(status) or _FAMILY_FIXES[status // 100],
    )


def _contacts(response: Response) -> list[NameAddr]:
    try:
        return response.contacts
    except MalformedMessage:
        return []


def _equivalent(bindings: list[NameAddr], mine: str) -> list[NameAddr]:
    uri = Uri.parse(mine)
    try:
        return [binding for binding in bindings if binding.uri.equivalent(uri)]
    except MalformedMessage:
        return []


def _preference(contact: NameAddr) -> float:
    q = contact.params.get("q")
    return float(q) if q is not None and _QVALUE.match(q) else 1.0


_EXPIRES = re.compile(r";expires=([0-9]{1,9})(?:;[^,]*+)?+\Z")
_QVALUE = re.compile(r"[01](?:\.[0-9]{0,3})?\Z")

_FIXES = {
    200: "see which times the registrar allows, and whether it lets this user have one more binding",
    400: "the server finds fault with our request: see its log for what it misses",
    403: "the server forbids it, and many do so for an unknown user or a wrong password: check both, then its access list",
    404: "the server does not know this user: check the address, or create the account there",
    405: "this server is no registrar: check --server and the port",
    408: "the server's own next hop does not answer: see its log",
    410: "the account is gone from this server: create it again, or take the phone out of service",
    416: "the server does not take this scheme: write sip:…;transport=tls in place of sips:…, or the other way round",
    420: "the server wants an extension that sipsua does not offer here",
    421: "the server wants an extension that sipsua does not offer here",
    439: "the server wants RFC 5626 outbound of its first hop: register without an outbound proxy, or have it switched off",
    480: "the server cannot take the registration now: see its log",
    483: "the request went round in circles: check the proxies between us and the registrar",
    494: "the server wants a security agreement (RFC 3329): have it switched off for this account",
    500: "the server failed inside: see its log",
    501: "this server is no registrar: check --server and the port",
    502: "the server's own next hop failed: see its log",
    503: "the server is overloaded or in maintenance: try later",
    504: "a server behind this one does not answer in time: see its log",
    505: "the server does not speak SIP/2.0",
    513: "the server takes no request of this length: shorten the user agent and the address",
}

_FAMILY_FIXES = {
    2: "see the registrar's log",
    3: "register with the server that it names: check --server",
    4: "see the registrar's log for its reason",
    5: "the server failed: see its log",
    6: "the server refuses this account everywhere: see its log",
}
