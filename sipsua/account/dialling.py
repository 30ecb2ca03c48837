"""Whom an account may call, and how a call is named: from what people dial, redirects and transfers to a Request-URI."""

from __future__ import annotations

import re

from sipsua.account.config import AccountConfig, without_password
from sipsua.account.persona import Dice
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.message import Request, Response
from sipsua.sip.uri import Uri

_SPOKEN = re.compile(r"[ ()./-]++")
"""What people write into numbers to read them better (RFC 3966 section 5.1.1)."""
_NUMBER = re.compile(r"\+?[0-9*#A-D ()./-]++")


def call_target(config: AccountConfig, text: str) -> str:
    """The Request-URI for what was dialled: a whole URI, `user@host`, or a number or name of the account's own domain.

    Raises BadConfiguration for what cannot be called over TLS.
    """
    shown = without_password(text)
    aor = config.aor
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "tel":
        text = rest.partition(";")[0]
    if _NUMBER.fullmatch(text):
        text = _SPOKEN.sub("", text).replace("#", "%23")
    if not colon or scheme.lower() not in ("sip", "sips"):
        host = aor.host if aor.port is None else f"{aor.host}:{aor.port}"
        text = f"{aor.scheme}:{text}" if "@" in text else f"{aor.scheme}:{text}@{host}"
    try:
        uri = Uri.parse(text)
    except MalformedMessage as error:
        raise BadConfiguration(
            f"{shown!r} cannot be called: {error.what}", fix="dial sips:user@host, or a number"
        ) from None
    if not uri.user or uri.headers or uri.password is not None:
        raise BadConfiguration(
            f"{shown!r} cannot be called", fix="dial sips:user@host or a number, without password and header fields"
        )
    if uri.transport in ("udp", "sctp", "ws", "wss"):
        raise BadConfiguration(f"{shown!r} is not to be called over TLS", fix="take its transport parameter out")
    return str(uri)


def redirect_target(config: AccountConfig, response: Response) -> str | None:
    """The address that a 3xx sends a call to: the first that the account may call, by preference (RFC 3261 section 8.1.3.4); or None."""
    try:
        contacts = response.contacts
    except MalformedMessage:
        return None
    for contact in sorted(contacts, key=lambda one: -_preference(one.params.get("q"))):
        try:
            target = call_target(config, contact.uri_text)
        except BadConfiguration:
            continue
        # A sips call stays one (RFC 3261 section 8.1.3.4, RFC 5630 section 5.1.1.1).
        if config.aor.scheme != "sips" or target.startswith("sips:"):
            return target
    return None


def fresh_call_id(config: AccountConfig, dice: Dice, host: str) -> str:
    """A new Call-ID as the persona spells them."""
    persona = config.persona
    return persona.call_id % {"token": persona.call_id_token.make(dice), "line": config.line, "host": host}


def wants_auto_answer(invite: Request) -> bool:
    """Whether the caller asks that nobody has to lift a hand: the ways of the PBXes, and RFC 5373."""
    values = [
        *invite.index.get("call-info", ()),
        *invite.index.get("alert-info", ()),
        *invite.index.get("answer-mode", ()),
    ]
    return any(_AUTO.search(value) for value in values)


_AUTO = re.compile(r"answer-after\s*=\s*0\b|info\s*=\s*(?:alert-autoanswer|Auto Answer)|^\s*auto\b", re.IGNORECASE)


def _preference(q: str | None) -> float:
    return float(q) if q is not None and _QVALUE.fullmatch(q) else 1.0


_QVALUE = re.compile(r"[01](?:\.[0-9]{0,3})?")
