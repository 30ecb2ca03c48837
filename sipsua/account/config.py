"""What an account is: its address, its credentials, where its server is, what it trusts, and every time limit.

An AccountConfig is checked when it is made, so the machines behind it need not doubt it: an address without TLS, a password that would
break a header line, an expiry of nothing are refused here with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sipsua.account.persona import GENERIC, Backoff, Persona
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.uri import Uri
from sipsua.trust.policy import Policy

SIPS_PORT = 5061
"""Port of SIP over TLS (RFC 3261 section 19.1.2)."""


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
    def parse(cls, text: str) -> Target:
        """Read `HOST[:PORT]`, an IPv6 address in brackets. Raises `BadConfiguration`."""
        try:
            uri = Uri.parse(f"sips:{text}")
        except MalformedMessage:
            uri = None
        if uri is None or uri.user is not None or uri.params or uri.headers:
            raise BadConfiguration(f"{text!r} is no server", fix="write HOST or HOST:PORT, an IPv6 address in brackets")
        return cls(uri.host.strip("[]"), uri.port or SIPS_PORT)

    @classmethod
    def of(cls, uri: Uri) -> Target:
        """Where a URI leads over TLS."""
        return cls(uri.host.strip("[]"), uri.port or SIPS_PORT)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """One account."""

    uri: str
    """Address of record: `sips:user@host[:port]`, or `sip:user@host[:port];transport=tls`. It goes to the wire as given."""
    policy: Policy
    password: str = field(default="", repr=False)
    auth_user: str | None = None
    """The user name of the credentials; the user of `uri` where None."""
    display_name: str = ""
    server: str | None = None
    """`HOST[:PORT]` of an outbound proxy (or of the registrar, where the domain does not resolve to it). Its name is then the one
    that the certificate must bear."""
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

    def __post_init__(self) -> None:
        aor = self.aor
        if aor.scheme not in ("sip", "sips"):
            raise BadConfiguration(f"{self.uri!r} is no SIP address", fix="write sips:user@host")
        if aor.scheme == "sip" and aor.transport != "tls":
            how = f"transport={aor.transport}" if aor.transport else "no transport"
            raise BadConfiguration(
                f"{self.uri!r} has {how}: sipsua registers over TLS only", fix="write sips:… or add ;transport=tls"
            )
        if aor.scheme == "sips" and aor.transport not in (None, "tcp", "tls"):
            raise BadConfiguration(f"{self.uri!r} cannot run over TLS", fix="take its transport parameter out")
        if not aor.user or aor.headers:
            raise BadConfiguration(
                f"{self.uri!r} is no address of record", fix="write sips:user@host, without ?headers"
            )
        if not 1 <= self.expires <= 2**31 - 1:
            raise BadConfiguration(f"expires of {self.expires} s", fix="ask for 1 s to 2147483647 s")
        for name in ("display_name", "user_agent", "auth_user", "password"):
            value = getattr(self, name) or ""
            if any(ord(character) < 32 or ord(character) == 127 for character in value):
                raise BadConfiguration(f"{name} holds a control character", fix="take it out")
        _ = self.target

    @property
    def aor(self) -> Uri:
        """The address of record, parsed."""
        try:
            return Uri.parse(self.uri)
        except MalformedMessage as error:
            raise BadConfiguration(
                f"{self.uri!r} is no SIP address: {error.what}", fix="write sips:user@host"
            ) from None

    @property
    def target(self) -> Target:
        """Where the flow leads, and the name to verify: the outbound proxy's host if one is set, else the domain of the URI."""
        return Target.parse(self.server) if self.server else Target.of(self.aor)
