"""Cipher strings: what a policy's `ciphers` may say, in OpenSSL's language, and what of it is too weak to be said by accident.

The suites of TLS 1.3 have no weak ones among them and are not chosen here. For the versions below, the string goes to OpenSSL
behind our own security level, so that a list copied from an old manual does not turn encryption off.
"""

from __future__ import annotations

from functools import lru_cache

from OpenSSL import SSL

from sipsua.errors import BadConfiguration

_OURS = "ECDHE+AESGCM+AES128:ALL:!COMPLEMENTOFDEFAULT:!PSK:!SRP"
"""OpenSSL's DEFAULT (a word that it takes at the begin of a string only), AES-128 first, as browsers have it."""
_WITHOUT_PROTECTION = ":!aNULL:!eNULL"


@lru_cache(maxsize=256)
def cipher_list(ciphers: str | None, *, weak: bool, level: int) -> bytes:
    """The string for OpenSSL: `ciphers` or our own list, at a security level, without suites that protect nothing unless `weak`.

    Raises BadConfiguration where OpenSSL finds no suite in it, or where it meddles with the security level.
    """
    text = _OURS if ciphers is None else ciphers
    if ciphers is not None and (not text.isascii() or not text.isprintable() or "@SECLEVEL" in text.upper()):
        raise BadConfiguration(
            f"the cipher string {ciphers!r} sets the security level, or is no cipher string",
            fix="leave @SECLEVEL out; dangerous_weak_ciphers lowers it",
        )
    full = f"{text}{'' if weak else _WITHOUT_PROTECTION}:@SECLEVEL={level}"
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    try:
        context.set_cipher_list(full.encode())
        suites = SSL.Connection(context).get_cipher_list()
    except SSL.Error:
        suites = []
    if ciphers is not None and all(suite.startswith("TLS_") for suite in suites):
        raise BadConfiguration(
            f"the cipher string {ciphers!r} names no suite that OpenSSL has"
            + ("" if weak else ", or only such as protect too little"),
            fix="see `openssl ciphers -v STRING`; suites without encryption or authentication need dangerous_weak_ciphers",
        )
    return full.encode()
