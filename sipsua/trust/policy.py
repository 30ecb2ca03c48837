"""What an account trusts, by which rule it checks names, and which certificate it shows: the TLS side of an account as one value.

A policy is only data. `trust.verifier` applies it, `net.tls` makes one OpenSSL context for all policies that share trust list and
versions. The defaults are the strict ones; what is weaker is spelled `dangerous`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum, IntEnum, StrEnum
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

from sipsua.errors import BadConfiguration
from sipsua.trust.ciphers import cipher_list
from sipsua.trust.crl import CrlList
from sipsua.trust.identity import Identity
from sipsua.trust.store import TrustList


class NameRule(StrEnum):
    """The rule by which the certificate's names are compared with the name that was asked for."""

    RFC2818 = "rfc2818"
    """HTTP over TLS, section 3.1: the rule that the phone's guide cites."""
    RFC5922 = "rfc5922"
    """Domain certificates in SIP, section 7."""
    RFC6125 = "rfc6125"
    """Service identity with the CN as last resort, section 6."""
    RFC9525 = "rfc9525"
    """Service identity without the CN, section 6."""
    OFF = "off"
    """The name is not checked (the chain still is)."""


class TlsVersion(IntEnum):
    """A TLS version by its number on the wire (RFC 8446 section 4.2.1)."""

    TLS1_0 = 0x0301
    """Deprecated by RFC 8996; a policy takes it with `dangerous_old_tls` only."""
    TLS1_1 = 0x0302
    """Likewise."""
    TLS1_2 = 0x0303
    TLS1_3 = 0x0304

    def __str__(self) -> str:
        return {0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}[self.value]


class Revocation(StrEnum):
    """What it means that nobody says whether a certificate is revoked."""

    SOFT = "soft"
    """Go on; the Verdict warns."""
    HARD = "hard"
    """Refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The TLS side of an account."""

    anchors: TrustList
    """The trust anchors that count. Parsed once, shared by all accounts that hold the same list."""
    names: NameRule = NameRule.RFC2818
    """Its name will do: `Policy(names="rfc5922")`."""
    identity: Identity | None = None
    """The certificate shown when the server asks for one."""
    minimum: TlsVersion = TlsVersion.TLS1_2
    maximum: TlsVersion = TlsVersion.TLS1_3
    ciphers: str | None = None
    """An OpenSSL cipher string for TLS 1.2 and below, such as `ECDHE+AESGCM`; None offers the suites of `net.tls`."""
    crls: CrlList | None = None
    """Certificate revocation lists that count; None: revocation is not looked up in any."""
    staple: bool = False
    """Ask the server for a stapled OCSP response (RFC 6066 section 8), hold it to RFC 6960, and a certificate that promises one
    (RFC 7633) to its promise."""
    revocation: Revocation = Revocation.SOFT
    """What counts where `crls` or `staple` is set and no answer is to be had."""
    legacy_path: bool = False
    """Follow the chain as the server sent it, as OpenSSL 1.0 did: an expired root that it leads to refuses, even where a shorter way
    leads to a trusted one (the DST Root CA X3 trap of 2021)."""
    resume: bool = False
    """Resume TLS sessions with the same server, name and policy. A resumed handshake shows no certificate: the Verdict is that of the
    handshake which the session is from. A policy that is hard on revocation keeps no session: neither CRLs nor staple answer anew."""
    dangerous_old_tls: bool = False
    """Take a `minimum` below TLS 1.2."""
    dangerous_weak_ciphers: bool = False
    """Take keys, signatures and suites below OpenSSL's security level 2, and suites without encryption or authentication in
    `ciphers`."""
    dangerous_accept_any_certificate: bool = False
    """Accept whatever the server shows. Problems are still listed in the Verdict, whose `verified` is False."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.minimum > self.maximum:
            raise BadConfiguration(
                f"TLS versions from {self.minimum} to {self.maximum} hold none", fix="give the lower version first"
            )
        if self.ciphers is not None:
            cipher_list(self.ciphers, weak=self.dangerous_weak_ciphers, level=0 if self.dangerous_weak_ciphers else 2)
        if self.minimum < TlsVersion.TLS1_2 and not self.dangerous_old_tls:
            raise BadConfiguration(
                f"{self.minimum} is not safe any more (RFC 8996)",
                fix="begin with TLSv1.2; for a test of an old phone or server say dangerous_old_tls",
            )

    @property
    def versions(self) -> str:
        """The TLS versions in words."""
        return str(self.minimum) if self.minimum == self.maximum else f"{self.minimum} to {self.maximum}"

    def __str__(self) -> str:
        if self.dangerous_accept_any_certificate:
            return "any certificate accepted"
        return f"{self.names}, {self.anchors}"


def check_types(settings: Any) -> None:
    """Hold the fields of a frozen dataclass to their types, and turn the value of an enumeration into its member.

    What a program gives wrongly is then told where it is given, and not by whatever trips over it later. Values are not for a message:
    one may be the password. Raises BadConfiguration.
    """
    owner = type(settings)
    for name, wanted, words, exact in _typed_fields(owner):  # type: ignore[arg-type]
        value = getattr(settings, name)
        if type(value) in exact:
            continue
        if isinstance(wanted, type) and issubclass(wanted, Enum):
            try:
                object.__setattr__(settings, name, wanted(value))
            except ValueError:
                raise BadConfiguration(
                    f"{owner.__name__}: {name} is no {wanted.__name__}",
                    fix=f"choose from {', '.join(str(member) for member in wanted)}",
                ) from None
        elif not _fits(value, wanted):
            raise BadConfiguration(
                f"{owner.__name__}: {name} cannot be of type {type(value).__name__}", fix=f"give one of type {words}"
            )


@lru_cache(maxsize=16)  # reading annotations is dear
def _typed_fields(owner: type[Any]) -> tuple[tuple[str, Any, str, frozenset[type]], ...]:
    """Of each field its name, its type, that in words, and the classes of values that need no longer look: ten thousand accounts are made
    at once."""
    hints = get_type_hints(owner)
    return tuple(
        (field.name, hints[field.name], str(field.type), _exact(hints[field.name]))
        for field in fields(owner)
        if field.init
    )


def _exact(wanted: Any) -> frozenset[type]:
    if get_origin(wanted) is tuple:
        return frozenset()
    if arguments := get_args(wanted):
        return frozenset[type]().union(*map(_exact, arguments))
    return frozenset((int, float) if wanted is float else (wanted,))


def _fits(value: object, wanted: Any) -> bool:
    """Whether a value is of a type: a class, a union of such, or a tuple of so many."""
    arguments = get_args(wanted)
    if get_origin(wanted) is tuple:
        return isinstance(value, tuple) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if arguments:
        return any(_fits(value, one) for one in arguments)
    if isinstance(value, bool):  # which Python takes for a number
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)
