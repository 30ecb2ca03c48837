"""A session description as lines and values: RFC 8866, read as phones and PBXes write it.

A description is read whole into frozen values and written from them; what is not known is kept in its place, so that what is read and
written again is the same but for blanks and line ends. What the lines mean for a call is `media.offer`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sipsua.errors import MalformedMessage

MAX_SIZE = 65_536
"""Octets: a description with all that a browser offers has a tenth of it, and it has to fit into a SIP message."""
MAX_MEDIA = 64
"""Media sections: each costs a line in each answer. A conference system offers a dozen."""
MAX_FORMATS = 128
"""Payload types of one section: there are no more of RTP's."""

Attribute = tuple[str, str | None]
"""Name and value; None for one without a value, such as `sendrecv`."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A `c=` line (section 5.7)."""

    host: str
    """Address or name; without the TTL of a multicast one."""
    ip6: bool = False

    @classmethod
    def parse(cls, value: str) -> Connection:
        """Read what stands behind `c=`. Raises MalformedMessage."""
        parts = value.split()
        if len(parts) != 3 or parts[0].upper() != "IN" or parts[1].upper() not in ("IP4", "IP6"):
            raise MalformedMessage(f"no Internet address in the SDP's c={value[:60]!r}")
        return cls(parts[2].partition("/")[0], parts[1].upper() == "IP6")

    @classmethod
    def to(cls, host: str) -> Connection:
        """That of an address."""
        return cls(host, ":" in host)

    def __str__(self) -> str:
        return f"IN {'IP6' if self.ip6 else 'IP4'} {self.host}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The `o=` line (section 5.2)."""

    session: int
    version: int
    host: str
    username: str = "-"

    @classmethod
    def parse(cls, value: str) -> Origin:
        """Read what stands behind `o=`. Raises MalformedMessage."""
        parts = value.split()
        if len(parts) != 6:
            raise MalformedMessage(f"the SDP's o= has {len(parts)} parts, not 6")
        return cls(_number(parts[1], "o="), _number(parts[2], "o="), parts[5], parts[0])

    def __str__(self) -> str:
        return f"{self.username} {self.session} {self.version} {Connection.to(self.host)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One `m=` section (section 5.14)."""

    kind: str
    """`audio`, `video`, `image` ..."""
    port: int
    """0: not wanted."""
    proto: str
    """`RTP/AVP`, `RTP/SAVP` ..."""
    formats: tuple[str, ...]
    """Payload types, for RTP."""
    ports: int = 1
    connection: Connection | None = None
    """None: that of the session."""
    attributes: tuple[Attribute, ...] = ()
    lines: tuple[str, ...] = ()
    """Other lines of the section, as they were: i=, b=, k=."""

    def first(self, name: str) -> str | None:
        """The value of the first attribute of this name; None where there is none, or it has no value."""
        return next((value for known, value in self.attributes if known == name), None)

    def values(self, name: str) -> list[str]:
        """The values of all attributes of this name."""
        return [value for known, value in self.attributes if known == name and value is not None]

    def has(self, name: str) -> bool:
        """Whether there is an attribute of this name."""
        return any(known == name for known, _ in self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A whole description."""

    origin: Origin
    name: str = "-"
    connection: Connection | None = None
    attributes: tuple[Attribute, ...] = ()
    lines: tuple[str, ...] = ()
    """Other lines of the session, as they were: i=, u=, e=, p=, b=, z=, k=."""
    times: tuple[str, ...] = ("0 0",)
    media: tuple[Media, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Description:
        """Read a description. Bare line feeds, a missing s= or t=, and blanks at the end of a line are taken. Raises MalformedMessage."""
        if len(data) > MAX_SIZE:
            raise MalformedMessage(f"an SDP of {len(data)} octets")
        lines = [line.rstrip(" \t\r") for line in data.decode("utf-8", "surrogateescape").split("\n")]
        session: _Section = _Section()
        sections: list[_Section] = []
        current = session
        for line in lines:
            if not line:
                continue
            if len(line) < 2 or line[1] != "=" or not line[0].isalpha():
                raise MalformedMessage(f"no line of an SDP: {line[:60]!r}")
            if line[0] == "m":
                if len(sections) == MAX_MEDIA:
                    raise MalformedMessage(f"an SDP of more than {MAX_MEDIA} media")
                current = _Section(line[2:])
                sections.append(current)
            else:
                current.add(line)
        if session.version != "0":
            raise MalformedMessage("the SDP does not begin with v=0")
        if session.origin is None:
            raise MalformedMessage("the SDP has no o=")
        return cls(
            origin=session.origin,
            name=session.name,
            connection=session.connection,
            attributes=tuple(session.attributes),
            lines=tuple(session.lines),
            times=tuple(session.times) or ("0 0",),
            media=tuple(section.media() for section in sections),
        )

    def __bytes__(self) -> bytes:
        lines = ["v=0", f"o={self.origin}", f"s={self.name}"]
        lines += self.lines
        if self.connection is not None:
            lines.append(f"c={self.connection}")
        lines += [f"t={times}" for times in self.times]
        lines += map(_attribute_line, self.attributes)
        for media in self.media:
            ports = f"{media.port}/{media.ports}" if media.ports > 1 else str(media.port)
            lines.append(f"m={media.kind} {ports} {media.proto} {' '.join(media.formats)}")
            if media.connection is not None:
                lines.append(f"c={media.connection}")
            lines += media.lines
            lines += map(_attribute_line, media.attributes)
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")

    def address(self, media: Media) -> str | None:
        """Where the media of a section goes: the section's own c=, or the session's; None where there is neither."""
        connection = media.connection or self.connection
        return connection.host if connection is not None else None

    def next_version(self, **changes: object) -> Description:
        """A changed description with the version counted up (RFC 3264 section 8)."""
        origin = replace(self.origin, version=self.origin.version + 1)
        return replace(self, origin=origin, **changes)  # type: ignore[arg-type]


class _Section:
    """What is gathered of the session, or of one medium, while its lines are read."""

    def __init__(self, head: str = "") -> None:
        self.head = head
        self.version: str | None = None
        self.origin: Origin | None = None
        self.name = "-"
        self.connection: Connection | None = None
        self.attributes: list[Attribute] = []
        self.lines: list[str] = []
        self.times: list[str] = []

    def add(self, line: str) -> None:
        value = line[2:]
        match line[0]:
            case "a":
                name, colon, text = value.partition(":")
                self.attributes.append((name.strip().lower(), text.strip() if colon else None))
            case "c":
                # A section may have several, for layered multicast: the first counts.
                self.connection = self.connection or Connection.parse(value)
            case "v" if not self.head:
                self.version = value.strip()
            case "o" if not self.head:
                self.origin = Origin.parse(value)
            case "s" if not self.head:
                self.name = value or "-"
            case "t" if not self.head:
                self.times.append(value)
            case _:
                self.lines.append(line)

    def media(self) -> Media:
        match = _MEDIA.fullmatch(self.head)
        if match is None:
            raise MalformedMessage(f"the SDP's m= cannot be read: {self.head[:60]!r}")
        kind, port, ports, proto, formats = match.groups()
        if int(port) > 65_535:
            raise MalformedMessage(f"the SDP's m= has port {port}")
        known = tuple(formats.split())
        if len(known) > MAX_FORMATS:
            raise MalformedMessage(f"the SDP's m= has {len(known)} formats")
        return Media(
            kind=kind.lower(),
            port=int(port),
            proto=proto.upper(),
            formats=known,
            ports=int(ports) if ports else 1,
            connection=self.connection,
            attributes=tuple(self.attributes),
            lines=tuple(self.lines),
        )


_MEDIA = re.compile(
    r"\s*+([A-Za-z0-9\-]++)\s++([0-9]{1,5})(?:/([0-9]{1,3}))?+\s++([A-Za-z0-9/\-]++)((?:\s++\S++)*+)\s*+"
)


def _attribute_line(attribute: Attribute) -> str:
    name, value = attribute
    return f"a={name}" if value is None else f"a={name}:{value}"


def _number(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise MalformedMessage(f"the SDP's {where} has {text[:20]!r} where a number has to be")
    return int(text)
