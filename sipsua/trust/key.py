"""A public key: what it is called, and whether it is strong enough to be shown or believed.

A server's certificate and our own are held to the same measure, OpenSSL's default one: so a key that would fail a handshake is
told where it is read.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

# OpenSSL's security level 2 wants 112 bits. By its formula (SP 800-57), rounded to multiples of 8, RSA has them from 1968 bits on.
_RSA_BITS = 1968
_EC_BITS = 224
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp224r1": "P-224"}


def name_of(key: object) -> str:
    """For example `RSA 2048`, `EC P-256`, `Ed25519`; `unknown` for what is no public key of `cryptography`."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {_CURVES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    return "Ed448" if isinstance(key, ed448.Ed448PublicKey) else "unknown"


def is_weak(key: object) -> bool:
    """Whether the key has less than 112 bits of security."""
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return key.key_size < _RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _EC_BITS
