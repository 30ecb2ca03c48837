"""What an account is: its address, its credentials, where its server is, what it trusts, and every time limit.

An AccountConfig is checked when it is made, so the machines behind it need not doubt it: an address without TLS, a password that would
break a header line, an expiry of nothing are refused here with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote

from sipsua.account.call_config import CallConfig
from sipsua.account.persona import GENERIC, Backoff, Persona
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.uri import Uri
from sipsua.trust.policy import Policy, check_types

SIPS_PORT = 5061
"""Port of SIP over TLS (RFC 3261 section 19.1.2)."""

MAX_SECONDS = 2**31 - 1
"""The longest time that can be asked for, 68 years: the phone's own bound."""


class Connection(StrEnum):
    """Whose flow the account lives on."""

    OWN = "own"
    """A flow for this account alone: how phones behave."""
    SHARED = "shared"
    """One flow for all accounts with the same server and policy: how trunks behave."""


class Pongs(StrEnum):
    """What is expected in answer to a keep-alive (RFC 5626 section 4.4.1)."""

    LEARNED = "learned"
    """A server that answered one ping on this flow is expected to answer all; one that never did is not."""
    REQUIRED = "required"
    """Each ping must be answered, or the flow has failed."""
    IGNORED = "ignored"
    """Nothing is expected."""


class Target(NamedTuple):
    """Where a flow leads."""

    host: str
    """Name or address, without brackets: what is resolved, and the name that the certificate must bear."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, port: int = SIPS_PORT) -> Target:
        """Read `HOST[:PORT]`, an IPv6 address in brackets; `port` is meant where none is named. Raises `BadConfiguration`."""
        try:
            uri = Uri.parse(f"sips:{text}")
        except MalformedMessage:
            uri = None
        if uri is None or uri.user is not None or uri.params or uri.headers or uri.port == 0:
            raise BadConfiguration(
                f"{without_password(text)!r} is no server",
                fix="write HOST or HOST:PORT, an IPv6 address in brackets" if text.isascii() else _IDN,
            )
        return cls(uri.host.strip("[]"), port if uri.port is None else uri.port)

    @classmethod
    def of(cls, uri: Uri) -> Target:
        """Where a URI leads over TLS."""
        return cls(uri.host.strip("[]"), SIPS_PORT if uri.port is None else uri.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A time limit in seconds for each wait."""

    resolve: float = 5.0
    """A DNS answer."""
    connect: float = 5.0
    """TCP, for each address."""
    handshake: float = 10.0
    """TLS, from ClientHello to the server's Finished."""
    close: float = 2.0
    """The server's answer to a removal when we leave, and its close_notify."""
    message: float = 32.0
    """The rest of a message of which a part has come (64*T1)."""
    pong: float = 10.0
    """The pong to a ping (RFC 5626 section 4.4.1)."""

    def __post_init__(self) -> None:
        check_types(self)
        for limit in fields(self):
            seconds = getattr(self, limit.name)
            if not 0 < seconds <= MAX_SECONDS:
                raise BadConfiguration(f"a limit of {seconds} s for {limit.name}", fix="give more than 0 s")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """One account."""

    uri: str
    """Address of record: `sips:user@host[:port]`, or `sip:user@host[:port];transport=tls`. It goes to the wire as given, but that
    letters beyond ASCII in the user are escaped: `ü` as `%C3%BC` (RFC 3261 section 25.1)."""
    policy: Policy
    password: str = field(default="", repr=False)
    auth_user: str | None = None
    """The user name of the credentials; the user of `uri` where None."""
    display_name: str = ""
    server: str | None = None
    """`HOST[:PORT]` of an outbound proxy (or of the registrar, where the domain does not resolve to it). Its name is then the one
    that the certificate must bear."""
    source: str | None = None
    """Local IP address to connect from; None leaves it to the system."""
    expires: int = 3600
    """Seconds that are asked for."""
    persona: Persona = GENERIC
    user_agent: str | None = None
    """Takes the place of the persona's."""
    backoff: Backoff | None = None
    """Takes the place of the persona's."""
    line: int = 0
    """Index of the account in its phone."""
    connection: Connection = Connection.OWN
    keep_alive: tuple[float, float] | None = (95.0, 120.0)
    """A ping is sent after so many seconds, drawn between the two (RFC 5626 section 4.4.1 for TCP); None sends none."""
    pongs: Pongs = Pongs.LEARNED
    limits: Limits = Limits()
    calls: CallConfig = field(default_factory=CallConfig)
    aor: Uri = field(init=False, repr=False, compare=False)
    """`uri` as it goes to the wire, parsed."""
    target: Target = field(init=False, repr=False, compare=False)
    """Where the flow leads, and the name to verify: the outbound proxy's host if one is set, else the domain of the URI."""

    def __post_init__(self) -> None:
        check_types(self)
        aor, shown = self._parse_uri(), without_password(self.uri)
        object.__setattr__(self, "aor", aor)
        if aor.scheme not in ("sip", "sips"):
            raise BadConfiguration(f"{shown!r} is no SIP address", fix="write sips:user@host")
        if aor.scheme == "sip" and aor.transport != "tls":
            how = f"transport={aor.transport}" if aor.transport else "no transport"
            raise BadConfiguration(
                f"{shown!r} has {how}: sipsua registers over TLS only", fix="write sips:… or add ;transport=tls"
            )
        if aor.scheme == "sips" and aor.transport not in (None, "tcp", "tls"):
            raise BadConfiguration(f"{shown!r} cannot run over TLS", fix="take its transport parameter out")
        if not aor.user or aor.headers:
            raise BadConfiguration(f"{shown!r} is no address of record", fix="write sips:user@host, without ?headers")
        if aor.password is not None:
            raise BadConfiguration(f"{shown!r} holds a password", fix="give the password apart from the address")
        if aor.port == 0:
            raise BadConfiguration(f"{shown!r} has port 0", fix="give the server's TLS port, or none for 5061")
        if not 1 <= self.expires <= MAX_SECONDS:
            raise BadConfiguration(f"expires of {self.expires} s", fix=f"ask for 1 s to {MAX_SECONDS} s")
        if self.keep_alive is not None and not 0 < self.keep_alive[0] <= self.keep_alive[1] <= MAX_SECONDS:
            raise BadConfiguration(
                f"keep-alives after {self.keep_alive[0]} s to {self.keep_alive[1]} s",
                fix="give the shorter time first, and more than 0 s; None sends none",
            )
        if self.source is not None and not _is_address(self.source):
            raise BadConfiguration(
                f"{self.source!r} is no IP address to connect from", fix="write it as 192.0.2.1 or 2001:db8::1"
            )
        if self.line < 0:
            raise BadConfiguration(f"line {self.line}", fix="count the accounts of a phone from 0")
        for name, value in (
            ("display_name", self.display_name),
            ("user_agent", self.user_agent),
            ("auth_user", self.auth_user),
            ("password", self.password),
            ("the user of the URI", aor.decoded_user),
        ):
            # What stands in a header line, or is hashed as UTF-8. The value itself is not for a message: it may be the password.
            if value and (_CONTROL.search(value) or _HALF_PAIR.search(value)):
                raise BadConfiguration(f"{name} holds a control character or half a surrogate pair", fix="take it out")
        object.__setattr__(self, "target", Target.parse(self.server) if self.server is not None else Target.of(aor))

    def _parse_uri(self) -> Uri:
        user, at, rest = self.uri.partition("@")
        if at:
            user = _FOREIGN.sub(lambda found: quote(found[0], errors="surrogateescape"), user)
        try:
            return Uri.parse(user + at + rest)
        except MalformedMessage as error:
            raise BadConfiguration(
                f"{without_password(self.uri)!r} is no SIP address: {error.what}",
                fix="write sips:user@host" if rest.isascii() else _IDN,
            ) from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HALF_PAIR = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates other than those by which Python holds a byte that is no UTF-8."""

_FOREIGN = re.compile(r"[^\x00-\x7f\ud800-\udfff]+|[\udc80-\udcff]+")
"""What is not ASCII and has an escaped form."""

_IDN = "write an internationalized host name as xn--…"

_PASSWORD = re.compile(r"^((?:(?:sips?|tel):)?+[^:@]*+):.*@", re.IGNORECASE | re.DOTALL)


def without_password(uri: str) -> str:
    """An address as a message may show it: people do write passwords into them."""
    return _PASSWORD.sub(r"\1:***@", uri)
