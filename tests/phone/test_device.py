"""The phone's own certificates: the sentences of the guide's paragraph on the server certificate, and every bad upload."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from sipsua.errors import BadConfiguration
from sipsua.phone.device import ALL, Device
from sipsua.phone.factory import Factory
from sipsua.phone.flash import Flash
from sipsua.testing.pki import CertificateAuthority, self_signed
from sipsua.trust.manufacturer import GENERIC_NAME, ISSUING_NAME
from sipsua.trust.store import MAXIMUM_FILE_SIZE

NOW = datetime.now(UTC)
MAC = "001565aabbcc"
CA = CertificateAuthority("operator's CA").intermediate("operator's phones")
CUSTOM = CA.issue(common_name="desk 7")
OTHER = CA.issue(common_name="desk 8")


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    return Factory(tmp_path_factory.mktemp("manufacturer"))


@pytest.fixture
def device(tmp_path: Path, factory: Factory) -> Device:
    return Device(Flash(tmp_path / "phone"), factory)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """A maker of files."""

    def make(data: bytes = CUSTOM.chain_pem + CUSTOM.key_pem, name: str = "custom.pem") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return make


def test_a_unique_server_certificate_is_unique_to_a_phone_and_issued_by_the_manufacturer(device: Device) -> None:
    """'It is unique to an IP phone (based on the MAC address) and issued by the Yealink Certificate Authority (CA).'"""
    own = device.issue("00:15:65:AA:BB:CC")
    assert (own.kind, own.certificate.subject, own.certificate.issuer) == ("unique", f"CN={MAC}", f"CN={ISSUING_NAME}")
    assert device.shown(0).identity.der == own.identity.der
    assert own.path.read_bytes().count(b"-----BEGIN") == 3
    assert stat.S_IMODE(own.path.stat().st_mode) == 0o600
    assert own.doubts(NOW) == ()


def test_only_if_no_unique_certificate_exists_the_generic_one_is_shown(device: Device) -> None:
    """'It issued by the Yealink Certificate Authority (CA). Only if no unique certificate exists, the IP phone may send a generic
    certificate for authentication.'
    """
    own = device.shown(0)
    assert (own.kind, own.certificate.subject, own.certificate.issuer) == (
        "generic",
        f"CN={GENERIC_NAME}",
        f"CN={ISSUING_NAME}",
    )
    device.issue(MAC)
    assert device.shown(0).kind == "unique"


def test_phones_without_a_unique_certificate_share_the_generic_one(
    device: Device, tmp_path: Path, factory: Factory
) -> None:
    """'The IP phone has two types of built-in server certificates: a unique server certificate and a generic server certificate.'"""
    assert Device(Flash(tmp_path / "another"), factory).generic.identity.der == device.generic.identity.der


def test_broken_unique_certificate_is_named_and_the_generic_one_does_not_stand_in(device: Device) -> None:
    path = device.issue(MAC).path
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(
        BadConfiguration, match=r"device/unique\.pem is torn: .*delete it with `rm .*device/unique\.pem`"
    ):
        device.shown(0)


def test_dev_cert_chooses_between_the_default_and_the_custom_certificate(
    device: Device, file: Callable[..., Path]
) -> None:
    """'The trusted certificates list and the server certificates list contain the default and custom certificates.'"""
    device.issue(MAC)
    device.upload(file())
    assert (device.shown(0).kind, device.shown(1).kind) == ("unique", "custom")
    assert device.shown(1).certificate.subject == "CN=desk 7"
    assert len(device.shown(1).identity.extra_chain) == 1


def test_dev_cert_1_without_a_custom_certificate_is_an_error_that_says_both_ways_out(device: Device) -> None:
    device.issue(MAC)
    with pytest.raises(
        BadConfiguration,
        match=r"none was uploaded \(upload one .*or set static\.security\.dev_cert to 0 in .*settings\.cfg",
    ):
        device.shown(1)


@pytest.mark.parametrize("name", ["a.pem", "a.cer", "A.PEM", "a b.Cer"])
def test_the_format_of_the_server_certificate_files_must_be_pem_and_cer(
    device: Device, file: Callable[..., Path], name: str
) -> None:
    """'The format of the server certificate files must be *.pem and *.cer and the maximum file size is 5MB.'"""
    own = device.upload(file(name=name))
    assert own.path.read_bytes() == CUSTOM.chain_pem + CUSTOM.key_pem
    assert stat.S_IMODE(own.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["a.crt", "a.der", "a.p12", "pem", "a.pem.bak"])
def test_any_other_name_is_refused(device: Device, file: Callable[..., Path], name: str) -> None:
    with pytest.raises(BadConfiguration, match=r"does not end in \.pem or \.cer"):
        device.upload(file(name=name))
    assert device.custom is None


def test_the_old_server_certificate_will_be_overridden_by_the_new_one(
    device: Device, file: Callable[..., Path]
) -> None:
    """'You can only upload one server certificate to the IP phone. The old server certificate will be overridden by the new one.'"""
    device.upload(file())
    device.upload(file(OTHER.key_pem + OTHER.chain_pem, "other.cer"))
    assert device.custom is not None
    assert device.custom.certificate.subject == "CN=desk 8"
    assert device.flash.names("device") == ["device/custom.pem"]


def padded(size: int) -> bytes:
    data = CUSTOM.chain_pem + CUSTOM.key_pem
    return data + b"\n" * (size - len(data))


def test_the_maximum_file_size_is_5_mb(device: Device, file: Callable[..., Path]) -> None:
    """'[…] and the maximum file size is 5MB.'"""
    assert device.upload(file(padded(MAXIMUM_FILE_SIZE))).certificate.subject == "CN=desk 7"


WEAK = self_signed("weak", key="rsa1024")

BAD: dict[str, tuple[bytes, str]] = {
    "too large": (padded(MAXIMUM_FILE_SIZE + 1), r"is larger than 5 MB \(upload the certificate, its interm"),
    "no key": (CUSTOM.chain_pem, r"without its private key \(put both into one PEM file"),
    "DER, which has no room for a key": (CUSTOM.certificate.public_bytes(Encoding.DER), "without its private key"),
    "encrypted key": (
        CUSTOM.chain_pem
        + CUSTOM.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        r"is encrypted \(decrypt it with `openssl pkey.* into the file in its place",
    ),
    "encrypted key of the old form": (
        CUSTOM.chain_pem
        + CUSTOM.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")),
        r"is encrypted \(decrypt it with `openssl pkey",
    ),
    "key of another": (CUSTOM.chain_pem + OTHER.key_pem, "does not belong to the certificate CN=desk 7"),
    "intermediate first": (
        CA.pem + CUSTOM.certificate_pem + CUSTOM.key_pem,
        "not the first one .*put the own certificate first",
    ),
    "too weak": (WEAK.chain_pem + WEAK.key_pem, "key of RSA 1024 is too weak.*use RSA 2048 or P-256"),
    "key only": (CUSTOM.key_pem, "holds a private key and no certificate"),
    "torn": ((CUSTOM.key_pem + CUSTOM.chain_pem)[:-40], "is cut off"),
    "torn key": ((CUSTOM.chain_pem + CUSTOM.key_pem)[:-40], "no usable private key"),
    "not a certificate": (b"hello\n", "is neither a PEM nor a DER certificate"),
    "empty": (b"", "is empty"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD)
def test_bad_upload_is_told_and_leaves_the_old_certificate_in_place(
    device: Device, file: Callable[..., Path], data: bytes, words: str
) -> None:
    device.upload(file())
    with pytest.raises(BadConfiguration, match=words) as caught:
        device.upload(file(data, "new.pem"))
    assert "new.pem" in caught.value.what
    assert caught.value.fix
    assert device.shown(1).certificate.subject == "CN=desk 7"
    key = CUSTOM.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).splitlines()[1].decode()
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.pem", "folder.pem"])
def test_upload_of_what_is_no_file_is_told(device: Device, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.pem").mkdir()
    with pytest.raises(BadConfiguration, match=name):
        device.upload(tmp_path / name)


@pytest.mark.parametrize(
    ("begin", "end", "doubt"), [(-30, -1, "it expired on "), (1, 30, "it is not valid before "), (-1, 30, None)]
)
def test_expired_certificate_is_kept_with_a_warning(
    device: Device, file: Callable[..., Path], begin: int, end: int, doubt: str | None
) -> None:
    day = timedelta(days=1)
    issued = CA.issue(common_name="dated", not_before=NOW + begin * day, not_after=NOW + end * day)
    said = device.upload(file(issued.chain_pem + issued.key_pem)).doubts(NOW)
    assert [text.startswith(doubt) for text in said] == [True] if doubt else said == ()
    assert device.shown(1).certificate.subject == "CN=dated"


def test_delete_leaves_the_phone_with_what_the_factory_gave_it(device: Device, file: Callable[..., Path]) -> None:
    device.issue(MAC)
    device.upload(file())
    assert device.delete()
    assert device.custom is None
    assert device.shown(0).kind == "unique"
    assert not device.delete()


def test_delete_by_the_url_of_the_parameter(device: Device, file: Callable[..., Path]) -> None:
    device.upload(file())
    with pytest.raises(BadConfiguration, match=r"http://localhost/custom\.pem' does not say what to delete"):
        device.delete("http://localhost/custom.pem")
    assert device.custom is not None
    assert device.delete(ALL)


def test_broken_custom_certificate_can_be_deleted_and_overridden(device: Device, file: Callable[..., Path]) -> None:
    path = device.upload(file()).path
    path.write_bytes(b"torn")
    with pytest.raises(BadConfiguration, match=r"device/custom\.pem is torn: "):
        device.shown(1)
    assert device.upload(file()).kind == "custom"
    path.write_bytes(b"torn")
    assert device.delete()


def test_a_phone_is_given_another_mac(device: Device) -> None:
    device.issue(MAC)
    device.issue("001565000001")
    assert device.shown(0).certificate.subject == "CN=001565000001"
