"""What an account trusts, by which rule it checks names, and which certificate it shows: the TLS side of an account as one value.

A policy is only data. `trust.verifier` applies it, `net.tls` makes one OpenSSL context for all policies that share trust list and
versions. The defaults are the strict ones; what is weaker is spelled `dangerous`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from sipsua.errors import BadConfiguration
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

    TLS1_2 = 0x0303
    TLS1_3 = 0x0304

    def __str__(self) -> str:
        return {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The TLS side of an account."""

    anchors: TrustList
    """The trust anchors that count. Parsed once, shared by all accounts that hold the same list."""
    names: NameRule = NameRule.RFC2818
    identity: Identity | None = None
    """The certificate shown when the server asks for one."""
    minimum: TlsVersion = TlsVersion.TLS1_2
    maximum: TlsVersion = TlsVersion.TLS1_3
    dangerous_accept_any_certificate: bool = False
    """Accept whatever the server shows. Problems are still listed in the Verdict, whose `verified` is False."""

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise BadConfiguration(
                f"TLS versions from {self.minimum} to {self.maximum} hold none", fix="give the lower version first"
            )

    @property
    def versions(self) -> str:
        """The TLS versions in words."""
        return str(self.minimum) if self.minimum == self.maximum else f"{self.minimum} to {self.maximum}"

    def __str__(self) -> str:
        if self.dangerous_accept_any_certificate:
            return "any certificate accepted"
        return f"{self.names}, {self.anchors}"
