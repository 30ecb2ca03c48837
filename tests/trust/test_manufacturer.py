"""The emulated manufacturer: what its certificates say, whom OpenSSL and a phone's own rules take them for, and what is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sipsua.errors import BadConfiguration
from sipsua.trust.certificate import describe, doubts
from sipsua.trust.identity import Identity
from sipsua.trust.manufacturer import (
    GENERIC_NAME,
    ISSUING_NAME,
    ROOT_NAME,
    KeyKind,
    Manufacturer,
    macs_from,
    normal_mac,
)

NOW = datetime(2026, 11, 26, 12, 30, 15, 999, tzinfo=UTC)
YEAR = timedelta(days=365.25)
MAKER = Manufacturer.found(NOW)
MAC = "001565aabbcc"


def leaf(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


@pytest.mark.parametrize("text", [MAC, MAC.upper(), "00:15:65:aa:bb:cc", "00-15-65-AA-BB-CC", " 001565AABBCC\n"])
def test_mac_in_each_form_of_its_writing_is_twelve_digits_in_lower_case(text: str) -> None:
    assert normal_mac(text) == MAC


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "001565aabbc",
            "001565aabbcc0",
            "001565aabbcg",
            "00:15:65:aa:bb",
            "00:15:65:aa:bb:cc:dd",
            "00:15-65:aa:bb:cc",
        ],
        *["0015.65aa.bbcc", "00 15 65 aa bb cc", "0:15:65:aa:bb:cc", "001565:aabbcc", "٠٠١٥٦٥aabbcc", "phone-7"],
    ],
)
def test_what_is_no_mac_is_refused_and_how_one_is_written_is_said(text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"is no MAC address \(give twelve hexadecimal digits"):
        normal_mac(text)


def test_macs_follow_one_another_across_octets() -> None:
    assert list(macs_from("00:15:65:00:00:fe", 3)) == ["0015650000fe", "0015650000ff", "001565000100"]
    assert list(macs_from("ffffffffffff", 1)) == ["ffffffffffff"]


@pytest.mark.parametrize(("first", "count"), [("ffffffffffff", 2), (MAC, 0), (MAC, -1)])
def test_more_macs_than_there_are_and_none_are_refused(first: str, count: int) -> None:
    with pytest.raises(BadConfiguration, match="MAC addresses from"):
        macs_from(first, count)


@pytest.mark.parametrize(("kind", "name"), [("rsa", "RSA 2048"), ("ec", "EC P-256")])
def test_unique_certificate_names_the_mac_and_is_good_for_both_roles_for_twenty_years(kind: KeyKind, name: str) -> None:
    pem = MAKER.issue("00:15:65:AA:BB:CC", at=NOW, key=kind)
    certificate = leaf(pem)
    assert certificate.subject.rfc4514_string() == f"CN={MAC}"
    assert certificate.issuer.rfc4514_string() == f"CN={ISSUING_NAME}"
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment is (kind == "rsa")  # RSA key exchange of TLS 1.2, at the phone's own server
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc <= NOW - timedelta(hours=23)
    assert abs(certificate.not_valid_after_utc - NOW - 20 * YEAR) < timedelta(days=2)
    assert describe(Identity.from_pem(pem, pem).der).key == name


def test_the_text_holds_certificate_issuing_authority_and_key_and_an_identity_takes_it() -> None:
    pem = MAKER.issue(MAC, at=NOW, key="ec")
    identity = Identity.from_bundle(pem, "the phone's")
    assert identity.subject == f"CN={MAC}"
    assert [one.to_cryptography() for one in identity.extra_chain] == [leaf(MAKER.issuing_pem)]
    assert doubts(describe(identity.der), NOW) == ()
    assert pem.count(b"-----BEGIN") == 3


def test_generic_certificate_says_no_phone() -> None:
    generic = leaf(MAKER.issue_generic(at=NOW))
    assert generic.subject.rfc4514_string() == f"CN={GENERIC_NAME}"
    generic.verify_directly_issued_by(leaf(MAKER.issuing_pem))


def test_two_certificates_have_neither_key_nor_serial_number_in_common() -> None:
    one, other = (leaf(MAKER.issue(MAC, at=NOW, key="ec")) for _ in range(2))
    assert one.public_key() != other.public_key()
    assert one.serial_number != other.serial_number


def test_authorities_are_a_root_and_one_below_it_that_outlive_the_phones() -> None:
    root, issuing = leaf(MAKER.root_pem), leaf(MAKER.issuing_pem)
    root.verify_directly_issued_by(root)
    issuing.verify_directly_issued_by(root)
    assert root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == ROOT_NAME
    for authority, length in ((root, None), (issuing, 0)):
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, length)
        assert authority.not_valid_after_utc > NOW + 49 * YEAR


@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
@pytest.mark.parametrize("kind", ["rsa", "ec"])
@pytest.mark.interop
def test_openssl_verifies_a_phone_by_the_root_alone(
    purpose: str, kind: KeyKind, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    phone, root, issuing = tmp_path / "phone.pem", tmp_path / "root.pem", tmp_path / "issuing.pem"
    phone.write_bytes(MAKER.issue(MAC, at=NOW, key=kind))
    root.write_bytes(MAKER.root_pem)
    issuing.write_bytes(MAKER.issuing_pem)
    trust = ["-CAfile", root, "-attime", str(int(NOW.timestamp())), "-purpose", purpose, "-x509_strict"]

    def verify(*arguments: object) -> int:
        command = [require_program("openssl"), "verify", *map(str, [*trust, *arguments, phone])]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert verify("-untrusted", phone) == 0
    assert verify() != 0  # the chain is in the phone's file for a reason
    assert verify("-untrusted", phone, "-attime", str(int((NOW + 21 * YEAR).timestamp()))) != 0
    root.write_bytes(Manufacturer.found(NOW).root_pem)
    assert verify("-untrusted", phone) != 0  # a namesake is another


def test_no_phone_outlives_the_authority_and_an_expired_one_issues_nothing() -> None:
    end = leaf(MAKER.issuing_pem).not_valid_after_utc
    assert leaf(MAKER.issue(MAC, at=end - YEAR, key="ec")).not_valid_after_utc == end
    with pytest.raises(BadConfiguration, match="authority expired on 2076"):
        MAKER.issue(MAC, at=end, key="ec")


def test_a_kept_manufacturer_is_the_same_one() -> None:
    again = Manufacturer.from_pem(MAKER.pem, "authority.pem")
    assert again.pem == MAKER.pem
    leaf(again.issue(MAC, at=NOW, key="ec")).verify_directly_issued_by(leaf(MAKER.issuing_pem))


def test_what_is_kept_cannot_make_another_authority() -> None:
    key = x509.load_pem_x509_certificates(MAKER.pem)[1].public_key()
    assert MAKER.pem.count(b"PRIVATE KEY-----") == 2
    assert leaf(MAKER.issuing_pem).public_key() != key  # the one key is not the root's


OTHER = Manufacturer.found(NOW)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        MAKER.root_pem,
        MAKER.pem[: MAKER.pem.index(b"-----BEGIN PRIVATE")],
        MAKER.pem[:-100],
        MAKER.pem.replace(b"-----BEGIN CERTIFICATE-----\nM", b"-----BEGIN CERTIFICATE-----\nN", 1),
        MAKER.issuing_pem + OTHER.root_pem + MAKER.pem[MAKER.pem.index(b"-----BEGIN PRIVATE") :],
        MAKER.issuing_pem + MAKER.root_pem + OTHER.pem[OTHER.pem.index(b"-----BEGIN PRIVATE") :],
        MAKER.issue(MAC, at=NOW, key="ec"),
    ],
    ids=["empty", "text", "root", "no key", "torn key", "torn certificate", "other root", "other key", "phone"],
)
def test_file_that_is_no_whole_manufacturer_is_named_and_shown_to_nobody(data: bytes) -> None:
    with pytest.raises(BadConfiguration, match=r"authority\.pem does not hold the emulated manufacturer") as caught:
        Manufacturer.from_pem(data, "authority.pem")
    assert caught.value.__cause__ is None
    assert "delete it" in caught.value.fix


def test_repr_shows_a_fingerprint_only() -> None:
    assert repr(MAKER) == f"<Manufacturer: {describe(leaf(MAKER.root_pem).public_bytes(Encoding.DER)).fingerprint}>"
