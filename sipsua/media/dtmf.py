"""Pressed keys: as events in the stream (RFC 4733), and in the bodies of SIP INFO, as PBXes have spoken them before any RFC."""

from __future__ import annotations

import re

from sipsua.errors import BadConfiguration, MalformedMessage

INFO = "application/dtmf-relay"
"""The content type of `info_body`."""

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


class Sender:
    """Keys as RFC 4733 events: while one sounds there is a packet each packet time, and its end is told three times (section 2.5.1.4)."""

    __slots__ = ("_at", "_begun", "_keys", "_left", "_length", "_pause")

    def __init__(self, milliseconds: int = 160, pause: int = 80) -> None:
        """How long a key sounds, and how long it is silent before the next one."""
        self._keys: list[str] = []
        self._length = milliseconds * 8
        self._pause = pause * 8
        self._at = 0
        self._left = 0
        self._begun = 0

    def press(self, keys: str) -> None:
        """Add keys. Raises BadConfiguration for what is none."""
        keys = keys.upper().replace(" ", "")
        wrong = [key for key in keys if key not in KEYS]
        if wrong:
            raise BadConfiguration(f"{''.join(wrong)[:20]!r} are no keys", fix=f"press keys of {KEYS}")
        self._keys += keys

    @property
    def is_busy(self) -> bool:
        """A key sounds, or waits."""
        return bool(self._keys)

    def packets(self, timestamp: int, step: int) -> list[tuple[int, bool, bytes]] | None:
        """What takes the place of the voice in a packet time that begins at `timestamp` and is `step` units long: timestamp, marker and
        payload of each packet. None: the voice is sent."""
        if not self._keys:
            return None
        if self._left:
            self._left = max(0, self._left - step)
            if not self._left:
                self._keys.pop(0)
            return []
        first = self._at == 0
        if first:
            self._begun = timestamp
        self._at += step
        over = self._at >= self._length
        code = KEYS.index(self._keys[0])
        payload = bytes((code, 0x8A if over else 0x0A)) + min(self._at, 0xFFFF).to_bytes(2, "big")
        packets = [(self._begun, first, payload)]
        if over:
            packets = [(self._begun, first and not number, payload) for number in range(3)]
            self._at = 0
            self._left = max(self._pause, 1)
        return packets


class Receiver:
    """RFC 4733 events as keys: one for each event, however many of its packets come (section 2.5.2.2)."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: int | None = None

    def receive(self, timestamp: int, payload: bytes) -> str | None:
        """The key of an event that has not been told yet; the event is known by its timestamp."""
        if len(payload) < 4 or payload[0] >= len(KEYS) or timestamp == self._told:
            return None
        self._told = timestamp
        return KEYS[payload[0]]
