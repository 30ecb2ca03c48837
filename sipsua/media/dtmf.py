"""Pressed keys in the bodies of SIP INFO: `application/dtmf-relay` and `application/dtmf`, as PBXes have spoken them before any RFC."""

from __future__ import annotations

import re

from sipsua.errors import MalformedMessage

KEYS = "0123456789*#ABCD"
"""Keys by their event code (RFC 4733 section 3.2)."""


def parse_info(content: str, body: bytes) -> str:
    """The keys in a body of `application/dtmf-relay` or `application/dtmf`. Raises MalformedMessage."""
    text = body.decode("ascii", "replace").strip()
    if content == "application/dtmf-relay":
        match = _SIGNAL.search(text)
        text = match[1] if match is not None else ""
    text = text.upper()
    if text.isdigit() and len(text) == 2 and int(text) < len(KEYS):
        text = KEYS[int(text)]  # event codes: 10 is the star, 11 the square
    if not text or len(text) > 32 or any(key not in KEYS for key in text):
        raise MalformedMessage(f"no keys in an INFO: {text[:40]!r}")
    return text


def info_body(key: str, milliseconds: int = 160) -> bytes:
    """An `application/dtmf-relay` body for one key."""
    return f"Signal={key}\r\nDuration={milliseconds}\r\n".encode()


_SIGNAL = re.compile(r"^\s*Signal\s*=\s*([0-9A-D*#]{1,2})\s*$", re.IGNORECASE | re.MULTILINE)
