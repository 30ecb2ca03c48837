"""How a phone spells and times what it sends: the differences between phones as data.

A persona never changes what a message means, only its looks (which header fields in which order, the shape of branches, tags and
Call-IDs) and the phone's habits (when it refreshes, how it retries). A server that treats phones differently by their looks, or chokes
on one of them, is reproduced by choosing the persona.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sipsua.errors import BadConfiguration
from sipsua.sip.digest import AUTHORIZATION_ORDER

Dice = Callable[[int], int]
"""Gives an integer of that many random bits: `random.SystemRandom().getrandbits`, or a seeded one in tests."""


def fraction(dice: Dice) -> float:
    """A random number from 0 up to 1."""
    return dice(32) / 2**32


@dataclass(frozen=True, slots=True)
class Token:
    """The shape of a random identifier."""

    bits: int
    decimal: bool = False
    """Decimal digits, else hexadecimal ones of fixed length."""

    def make(self, dice: Dice) -> str:
        """A fresh identifier."""
        number = dice(self.bits)
        return str(number) if self.decimal else f"{number:x}".zfill(self.bits // 4)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after failures: RFC 5626 section 4.5's form; base and maximum alike make a fixed wait."""

    base: float
    """Seconds: the upper bound doubles from here with each failure in a row."""
    maximum: float
    """Seconds: it never grows beyond this."""
    spread: float = 0.5
    """The wait is drawn between this share of the upper bound and all of it; 1 takes the dice out."""

    def __post_init__(self) -> None:
        if not (0 < self.base <= self.maximum and 0 <= self.spread <= 1):
            raise BadConfiguration(
                f"a back-off from {self.base} s to {self.maximum} s with a spread of {self.spread}",
                fix="give a base above 0 s, a maximum not below it, and a spread from 0 to 1",
            )

    def delay(self, failures: int, dice: Dice) -> float:
        """Seconds to wait after so many failures in a row: 1 for the first, 0 where a flow that served has broken."""
        bound = min(self.maximum, self.base * 2.0 ** min(failures, 32))
        return bound * (self.spread + (1 - self.spread) * fraction(dice))


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One make of phone."""

    name: str
    user_agent: str
    register_fields: tuple[str, ...]
    """Header fields of a REGISTER in the phone's order and spelling; Authorization stands for both kinds of credentials."""
    allow: tuple[str, ...]
    """Methods that the phone says it takes."""
    allow_events: tuple[str, ...] = ()
    list_separator: str = ", "
    """Between the items of Allow-Events."""
    branch: Token = Token(64)
    """What follows the magic cookie."""
    tag: Token = Token(64)
    call_id: str = "%(token)s"
    """`%(token)s`, `%(line)d` (0 for the first account) and `%(host)s` (our own address) are filled in."""
    call_id_token: Token = Token(96)
    cnonce: Token = Token(64)
    rport: bool = True
    """Via asks for the source port (RFC 3581)."""
    port_in_aor: bool = False
    """From and To name the port of the account's URI, which RFC 3261's table in section 19.1.1 leaves out."""
    transport_in_request_uri: bool = True
    """The Request-URI keeps the URI's transport parameter."""
    contact_transport: str = "tls"
    """The transport parameter of a `sip:` Contact; a `sips:` one needs none (RFC 3261 section 26.2.2)."""
    user_as_display_name: bool = False
    """From and To carry the user name as display name where the account has none."""
    digest_order: tuple[str, ...] = AUTHORIZATION_ORDER
    """Order of the credentials' parameters; those without a value are left out."""
    refresh: tuple[float, float] = (0.8, 0.9)
    """A binding is refreshed after a share of its life drawn from here, so that many phones do not come at once."""
    backoff: Backoff = Backoff(30.0, 1800.0)
    """RFC 5626 section 4.5 with its default base and maximum."""
    gives_up: bool = True
    """A refusal that another try cannot mend (credentials, 403, 404 ...) ends a registration that never stood; else it is tried again
    for ever."""

    def __post_init__(self) -> None:
        if unknown := set(self.register_fields) - _REGISTER_FIELDS:
            raise BadConfiguration(
                f"persona {self.name}: a REGISTER has no field {', '.join(sorted(unknown))} here",
                fix=f"choose from {', '.join(sorted(_REGISTER_FIELDS))}",
            )
        if missing := _REGISTER_FIELDS - {"Allow-Events", "Allow", "User-Agent"} - set(self.register_fields):
            raise BadConfiguration(
                f"persona {self.name}: a REGISTER without {', '.join(sorted(missing))}", fix="add it"
            )
        low, high = self.refresh
        if not 0 < low <= high < 1:
            raise BadConfiguration(
                f"persona {self.name} refreshes after {low} to {high} of a binding's life",
                fix="give two shares between 0 and 1, the lower first",
            )
        spellings = (self.user_agent, self.list_separator, self.contact_transport, self.call_id)
        if not all(text.isprintable() for text in (*spellings, *self.allow, *self.allow_events)):
            raise BadConfiguration(f"persona {self.name} holds a control character", fix="take it out")


_REGISTER_FIELDS = frozenset(
    (
        *("Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Expires", "Authorization"),
        *("Content-Length", "Allow", "Allow-Events", "User-Agent"),
    )
)
"""What a REGISTER of ours can hold; but for the last three it must."""

GENERIC = Persona(
    name="generic",
    user_agent="sipsua",
    register_fields=(
        "Via",
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Expires",
        "Authorization",
        "Allow",
        "User-Agent",
        "Content-Length",
    ),
    allow=(
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "PRACK",
        "UPDATE",
        "INFO",
        "REFER",
        "NOTIFY",
        "MESSAGE",
    ),
    allow_events=("talk", "hold", "message-summary", "dialog", "check-sync"),
)
"""A plain phone by the RFCs; it says only what sipsua does."""

YEALINK = Persona(
    name="yealink",
    user_agent="Yealink SIP-T46S 66.85.0.5",
    register_fields=(
        "Via",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Authorization",
        "Allow",
        "Max-Forwards",
        "User-Agent",
        "Expires",
        "Allow-Events",
        "Content-Length",
    ),
    allow=(
        "INVITE",
        "INFO",
        "PRACK",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "NOTIFY",
        "REGISTER",
        "SUBSCRIBE",
        "REFER",
        "PUBLISH",
        "UPDATE",
        "MESSAGE",
    ),
    allow_events=("talk", "hold", "conference", "refer", "check-sync"),
    list_separator=",",
    branch=Token(32, decimal=True),
    tag=Token(32, decimal=True),
    call_id="%(line)d_%(token)s@%(host)s",
    call_id_token=Token(32, decimal=True),
    cnonce=Token(32),
    rport=False,
    port_in_aor=True,
    transport_in_request_uri=False,
    contact_transport="TLS",
    user_as_display_name=True,
    refresh=(0.5, 0.5),
    backoff=Backoff(30.0, 30.0, spread=1.0),
    gives_up=False,
)
"""A Yealink T4 of firmware 80 to 85, by traces in public documents; `account.X.reg_fail_retry_interval` is 30 s, and
`account.X.register_expires_overlap` of -1 refreshes at half time."""

PERSONAS: Mapping[str, Persona] = {persona.name: persona for persona in (GENERIC, YEALINK)}
"""By name."""
