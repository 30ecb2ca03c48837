"""Our own certificate: pairs that fit, and what is said of those that do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from sipsua.errors import BadConfiguration
from sipsua.testing.pki import CertificateAuthority, PrivateKey, self_signed
from sipsua.trust.certificate import describe, doubts
from sipsua.trust.identity import Identity

INTERMEDIATE = CertificateAuthority("Yealink-like root").intermediate("Phones")
PHONE = INTERMEDIATE.issue(common_name="001565aabbcc")
OTHER = INTERMEDIATE.issue(common_name="001565000000")


def test_certificate_with_chain_and_key_from_two_files(tmp_path: Path) -> None:
    files = PHONE.write(tmp_path)
    identity = Identity.from_files(files.certificate, files.key)
    assert identity.subject == "CN=001565aabbcc"
    assert identity.not_after == PHONE.certificate.not_valid_after_utc
    assert identity.x509.to_cryptography() == PHONE.certificate
    assert [one.to_cryptography() for one in identity.extra_chain] == [INTERMEDIATE.certificate]
    assert identity.pkey.bits() == 256


def test_key_may_be_in_the_file_of_the_certificate(tmp_path: Path) -> None:
    path = tmp_path / "phone.pem"
    path.write_bytes(PHONE.key_pem + PHONE.chain_pem)
    assert Identity.from_files(path).subject == "CN=001565aabbcc"


def test_der_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(PHONE.certificate.public_bytes(Encoding.DER))
    (tmp_path / "k").write_bytes(PHONE.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    assert Identity.from_files(tmp_path / "c", tmp_path / "k").extra_chain == ()


def test_rsa_identity_is_taken() -> None:
    issued = INTERMEDIATE.issue(common_name="phone", key="rsa")
    assert Identity.from_pem(issued.certificate_pem, issued.key_pem).pkey.bits() == 2048


def test_identities_are_compared_by_identity() -> None:
    one, other = (Identity.from_pem(PHONE.chain_pem, PHONE.key_pem) for _ in range(2))
    assert one != other
    assert len({one, other, one}) == 2


def test_repr_shows_the_subject_only() -> None:
    assert repr(Identity.from_pem(PHONE.chain_pem, PHONE.key_pem)) == "<Identity: CN=001565aabbcc>"


def test_key_of_another_certificate_is_a_configuration_error() -> None:
    with pytest.raises(BadConfiguration, match="does not belong to the certificate CN=001565aabbcc"):
        Identity.from_pem(PHONE.chain_pem, OTHER.key_pem)


def test_chain_in_the_wrong_order_is_a_configuration_error() -> None:
    with pytest.raises(BadConfiguration, match="not the first one"):
        Identity.from_pem(INTERMEDIATE.pem + PHONE.certificate_pem, PHONE.key_pem)


def test_encrypted_key_is_a_configuration_error_that_says_how_to_decrypt() -> None:
    key = PHONE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(BadConfiguration, match=r"is encrypted.*openssl pkey"):
        Identity.from_pem(PHONE.chain_pem, key)


@pytest.mark.parametrize("key", [b"", b"hello", PHONE.certificate_pem, PHONE.key_pem.replace(b"\n", b"\nAAAA", 2)])
def test_file_without_a_usable_key_is_a_configuration_error_that_shows_nothing(key: bytes) -> None:
    with pytest.raises(BadConfiguration, match="no usable private key") as caught:
        Identity.from_pem(PHONE.chain_pem, key)
    assert caught.value.__cause__ is None
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "name"), [("rsa1024", "RSA 1024"), (ec.generate_private_key(ec.SECP192R1()), "EC secp192r1")]
)
def test_weak_key_is_a_configuration_error_when_it_is_read(key: str | PrivateKey, name: str) -> None:
    issued = self_signed("phone", key=key)
    with pytest.raises(BadConfiguration, match=f"key of {name} is too weak, that of CN=phone.*use RSA 2048 or P-256"):
        Identity.from_pem(issued.chain_pem, issued.key_pem)


def test_weak_key_of_an_intermediate_is_a_configuration_error() -> None:
    issued = CertificateAuthority("root").intermediate("weak", key="rsa1024").issue("phone")
    with pytest.raises(BadConfiguration, match="key of RSA 1024 is too weak, that of an intermediate certificate"):
        Identity.from_pem(issued.chain_pem, issued.key_pem)


def test_sha1_signature_on_the_own_certificate_is_taken() -> None:
    issued = CertificateAuthority("old", key="rsa").issue("phone", digest="sha1")
    assert Identity.from_pem(issued.chain_pem, issued.key_pem).subject


def test_certificate_file_without_its_key_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(
        BadConfiguration, match=r"server\.pem holds the certificate, but no usable private key \(.*key too"
    ):
        Identity.from_files(PHONE.write(tmp_path).certificate)


def test_a_file_of_nothing_but_beginnings_is_refused_in_linear_time() -> None:
    # What takes quadratic time does not come to an end.
    with pytest.raises(BadConfiguration, match="no usable private key"):
        Identity.from_pem(PHONE.chain_pem, b"-----BEGIN PRIVATE KEY-----\n" * 170_000)


def test_pem_texts_are_told_apart_in_words() -> None:
    with pytest.raises(BadConfiguration) as caught:
        Identity.from_pem(PHONE.chain_pem, OTHER.key_pem)
    assert caught.value.what == (
        "the private key in the PEM text of the key does not belong to the certificate CN=001565aabbcc"
        " in the PEM text of the certificate"
    )


def test_bundle_is_certificate_chain_and_key_in_one_text() -> None:
    identity = Identity.from_bundle(PHONE.key_pem + PHONE.chain_pem, "custom.pem")
    assert identity.der == PHONE.certificate.public_bytes(Encoding.DER)
    assert [one.to_cryptography() for one in identity.extra_chain] == [INTERMEDIATE.certificate]
    with pytest.raises(BadConfiguration, match=r"custom\.pem holds the certificate, but no usable private key"):
        Identity.from_bundle(PHONE.chain_pem, "custom.pem")


@pytest.mark.parametrize(
    ("days", "purposes", "found"),
    [
        (0, ("client", "server"), []),
        (0, ("client",), []),
        (0, (), []),  # without the extension it is good for all
        (0, ("server",), ["its extended key usage lacks clientAuth, so a server may refuse it"]),
        (-2, ("client",), ["it is not valid before "]),
        (366, ("client",), ["it expired on "]),
        (366, ("server",), ["it expired on ", "its extended key usage lacks clientAuth"]),
    ],
)
def test_doubts_are_about_dates_and_the_purpose_of_a_client(
    days: int, purposes: tuple[str, ...], found: list[str]
) -> None:
    der = INTERMEDIATE.issue("phone", purposes=purposes).certificate.public_bytes(Encoding.DER)
    said = doubts(describe(der), datetime.now(UTC) + timedelta(days=days))
    assert len(said) == len(found)
    for text, begin in zip(said, found, strict=True):
        assert text.startswith(begin)


def test_missing_key_file_is_a_configuration_error(tmp_path: Path) -> None:
    files = PHONE.write(tmp_path)
    with pytest.raises(BadConfiguration, match="there is no file"):
        Identity.from_files(files.certificate, tmp_path / "absent.key")
