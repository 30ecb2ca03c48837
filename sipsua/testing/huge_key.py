"""An RSA key of 8192 bits in a moment: slow to use, which is what it is for, but not slow to make.

To find two new primes of 4096 bits takes seconds, so these are two famous ones: the key is no secret, and needs to be none.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa


def huge_key() -> rsa.RSAPrivateKey:
    """An RSA key of 8192 bits, made of the primes of RFC 3526 section 5 and RFC 7919 appendix A.3."""
    bits = 4096
    top = (1 << bits) - (1 << (bits - 64)) - 1
    p = top + (1 << 64) * ((_pi(bits) >> 130) + 240904)
    q = top + (1 << 64) * ((_e(bits) >> 130) + 5736041)
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _e(bits: int) -> int:
    """Euler's number · 2^bits."""
    guard = 64
    total, term, n = 0, 1 << (bits + guard), 0
    while term:
        total += term
        n += 1
        term //= n
    return total >> guard


def _pi(bits: int) -> int:
    """The circle's number · 2^bits, by Machin's formula."""
    guard = 64

    def arctan_of_inverse(x: int) -> int:
        total, power, n, sign = 0, (1 << (bits + guard)) // x, 1, 1
        while power:
            total += sign * (power // n)
            power //= x * x
            n, sign = n + 2, -sign
        return total

    return (4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))) >> guard
