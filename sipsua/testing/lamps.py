"""What lights a phone's lamps, as text: the bodies of NOTIFYs for voice mail (RFC 3842) and for calls (RFC 4235)."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from sipsua.testing.calls import Call

MESSAGE_SUMMARY = "application/simple-message-summary"
DIALOG_INFO = "application/dialog-info+xml"


def message_summary(account: str, new: int, old: int) -> bytes:
    """The voice messages of an account (RFC 3842 section 5.2)."""
    waiting = "yes" if new else "no"
    return (
        f"Messages-Waiting: {waiting}\r\nMessage-Account: {account}\r\nVoice-Message: {new}/{old} (0/0)\r\n"
    ).encode("utf-8", "surrogateescape")


def dialog_info(entity: str, user: str, version: int, calls: Iterable[Call], domain: str) -> bytes:
    """The calls of a user, all of them (RFC 4235 section 4). `entity` is the URI of the user, `domain` host and port for the others."""
    text = (
        '<?xml version="1.0"?>\r\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" '
        f'version="{version}" state="full" entity={quoteattr(entity)}>\r\n'
    )
    for call in calls:
        called = user == call.callee
        local, remote = (call.callee_tag, call.caller_tag) if called else (call.caller_tag, call.callee_tag)
        text += f"<dialog id={quoteattr(f'{call.call_id}-{call.caller_tag}')} call-id={quoteattr(call.call_id)}"
        text += f" local-tag={quoteattr(local)}" if local else ""
        text += f" remote-tag={quoteattr(remote)}" if remote else ""
        text += f' direction="{"recipient" if called else "initiator"}">\r\n<state>{call.stage}</state>\r\n'
        for side, name in (("local", user), ("remote", call.caller if called else call.callee)):
            uri = f"sip:{name}@{domain}"
            text += f"<{side}><identity>{escape(uri)}</identity><target uri={quoteattr(uri)}/></{side}>\r\n"
        text += "</dialog>\r\n"
    return f"{text}</dialog-info>\r\n".encode("utf-8", "replace")
