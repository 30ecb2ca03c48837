"""Keys in the session description: the `crypto` attribute of RFC 4568, for SRTP.

The signalling that carries them is TLS, or they are no secret: who offers them says so with `sips` (section 6.4 and RFC 5630 section 4.2).
No text of this module holds a key.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

SUITES: Mapping[str, int] = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AES_256_CM_HMAC_SHA1_80": 46,
    "AES_256_CM_HMAC_SHA1_32": 46,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
"""Suites that we speak, with the octets of master key and salt (RFC 4568 section 6.2, RFC 6188 section 2, RFC 7714 section 12)."""


@dataclass(frozen=True, slots=True)
class SrtpKey:
    """One side's key: what it encrypts with what it sends."""

    suite: str
    key: bytes = field(repr=False)
    """Master key and salt, one after the other."""
    tag: int = 1
    """Number of the crypto line (RFC 4568 section 4.1)."""

    @classmethod
    def fresh(cls, suite: str, dice: Callable[[int], int], tag: int = 1) -> SrtpKey:
        """A random key for a suite of `SUITES`."""
        size = SUITES[suite]
        return cls(suite, dice(8 * size).to_bytes(size, "big"), tag)

    def __str__(self) -> str:
        """The value of the crypto attribute. It holds the key."""
        return f"{self.tag} {self.suite} inline:{b64encode(self.key).decode('ascii')}"


def parse_crypto(values: Iterable[str]) -> list[SrtpKey]:
    """The crypto lines of a section that we are able to use, in their order.

    Left out are those of unknown suites, with several keys or an MKI, and with a session parameter that changes what is sent or that is not
    known (sections 6.1 and 6.3): another line may do.
    """
    keys = []
    for value in values:
        match = _CRYPTO.fullmatch(value)
        if match is None:
            continue
        tag, suite, key, mki, session = match.groups()
        size = SUITES.get(suite.upper())
        if size is None or mki or any(not _harmless(one) for one in session.split()):
            continue
        try:
            octets = b64decode(key + "=" * (-len(key) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(octets) == size:
            keys.append(SrtpKey(suite.upper(), octets, int(tag)))
    return keys


def _harmless(parameter: str) -> bool:
    """Whether a session parameter asks nothing of us: a hint on the window, or an unknown one with a dash (section 6.3)."""
    return parameter.startswith("-") or parameter.upper().startswith("WSH=")


_CRYPTO = re.compile(
    r"\s*+([0-9]{1,9})\s++([A-Za-z0-9_]++)\s++inline:([A-Za-z0-9+/]++)=*+(?:\|(?:2\^)?[0-9]{1,15})?+(\|[0-9]++:[0-9]++)?+((?:\s++\S++)*+)\s*+"
)
