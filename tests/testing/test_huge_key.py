"""The huge key is made of the primes of the RFCs, and is a key."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sipsua.testing.huge_key import huge_key


def test_primes_are_those_of_the_rfcs_by_their_first_and_last_digits() -> None:
    numbers = huge_key().private_numbers()
    for prime, first, last in (
        # RFC 3526 section 5, and RFC 7919 appendix A.3
        (numbers.p, "FFFFFFFFFFFFFFFFC90FDAA22168C234", "4DF435C934063199FFFFFFFFFFFFFFFF"),
        (numbers.q, "FFFFFFFFFFFFFFFFADF85458A2BB4A9A", "C68A007E5E655F6AFFFFFFFFFFFFFFFF"),
    ):
        digits = f"{prime:X}"
        assert len(digits) == 1024
        assert (digits[:32], digits[-32:]) == (first, last)
        assert pow(2, prime - 1, prime) == 1  # Fermat: a digit that is wrong in between makes it composite


def test_key_of_8192_bits_signs_what_its_public_half_verifies() -> None:
    key = huge_key()
    assert key.key_size == 8192
    signature = key.sign(b"phone", padding.PKCS1v15(), hashes.SHA256())
    key.public_key().verify(signature, b"phone", padding.PKCS1v15(), hashes.SHA256())
