"""A configuration file sets, deletes and loads; loaded again it changes nothing more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration
from sipsua.phone.device import Device
from sipsua.phone.flash import Flash
from sipsua.phone.provisioning import Provisioned, provision
from sipsua.phone.reset import SERVER_CERTIFICATE
from sipsua.phone.settings import Settings
from sipsua.phone.trusted import TrustedCertificates
from sipsua.testing.pki import CertificateAuthority

ROOTS = [CertificateAuthority(f"Root {number}") for number in range(3)]


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path / "phone")


@pytest.fixture
def load(flash: Flash, tmp_path: Path) -> Callable[..., Provisioned]:
    """A function that provisions the phone with these lines, beside the files 0.pem to 2.pem."""
    for number, root in enumerate(ROOTS):
        (tmp_path / f"{number}.pem").write_bytes(root.pem)

    def run(*lines: str) -> Provisioned:
        path = tmp_path / "y000000000028.cfg"
        path.write_text("\n".join(["#!version:1.0.0.1", *lines]))
        return provision(flash, path)

    return run


def names(flash: Flash) -> list[str]:
    return [one.name for one in TrustedCertificates(flash).list()]


@pytest.mark.parametrize("prefix", ["static.", ""])
def test_a_file_sets_and_loads_with_and_without_the_prefix(
    load: Callable[..., Provisioned], flash: Flash, tmp_path: Path, prefix: str
) -> None:
    done = load(
        f"{prefix}security.ca_cert = 1",
        f"{prefix}trusted_certificates.url = 0.pem",
        f"{prefix}trusted_certificates.url = {tmp_path}/1.pem",
        f"{prefix}trusted_certificates.url = file://{tmp_path}/2.pem",
        "account.1.label = Desk",
    )
    assert done.settings == Settings(ca_cert=1, unknown=("line 6: account.1.label",))
    assert done.refused == ()
    assert done.warnings == ()
    assert Settings.read(flash).ca_cert == 1
    assert names(flash) == ["0.pem", "1.pem", "2.pem"]


def test_a_file_that_is_loaded_again_changes_nothing(load: Callable[..., Provisioned], flash: Flash) -> None:
    lines = ["static.trusted_certificates.url = 0.pem", "static.trusted_certificates.delete = http://localhost/1.pem"]
    for _ in range(2):
        assert load(*lines).refused == ()
        assert names(flash) == ["0.pem"]


def test_first_is_deleted_and_then_loaded(load: Callable[..., Provisioned], flash: Flash) -> None:
    load("static.trusted_certificates.url = 0.pem", "static.trusted_certificates.url = 1.pem")
    load("static.trusted_certificates.url = 2.pem", "static.trusted_certificates.delete = http://localhost/all")
    assert names(flash) == ["2.pem"]
    load("static.trusted_certificates.delete = http://localhost/2.pem")
    assert names(flash) == []


def test_the_server_certificate_is_deleted(load: Callable[..., Provisioned], flash: Flash) -> None:
    flash.write(SERVER_CERTIFICATE, b"certificate and key")
    flash.write("device/unique.pem", b"certificate and key")
    assert load("static.server_certificates.delete = http://localhost/all").refused == ()
    assert flash.names("device") == ["device/unique.pem"]


def test_the_old_server_certificate_will_be_overridden_by_the_new_one(
    load: Callable[..., Provisioned], flash: Flash, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        issued = ROOTS[0].issue(name)
        (tmp_path / f"{name}.pem").write_bytes(issued.certificate_pem + issued.key_pem)
        assert load(f"static.server_certificates.url = {name}.pem").refused == ()
    custom = Device(flash).custom
    assert custom is not None
    assert custom.certificate.subject == "CN=new"


def test_what_is_odd_about_a_certificate_is_told(
    load: Callable[..., Provisioned], flash: Flash, tmp_path: Path
) -> None:
    old = datetime(2020, 1, 1, tzinfo=UTC)
    (tmp_path / "0.pem").write_bytes(CertificateAuthority("Old", not_after=old, not_before=old - timedelta(1)).pem)
    issued = ROOTS[0].issue("phone", not_after=old, not_before=old - timedelta(1))
    (tmp_path / "phone.pem").write_bytes(issued.certificate_pem + issued.key_pem)
    done = load("static.server_certificates.url = phone.pem", "static.trusted_certificates.url = 0.pem")
    assert done.refused == ()
    assert len(done.warnings) == 2
    assert all("2020-01-01" in one for one in done.warnings)


def test_what_the_file_does_not_say_stays(load: Callable[..., Provisioned], flash: Flash) -> None:
    Settings(dev_cert=1).write(flash)
    assert load("static.security.ca_cert = 0").settings == Settings(ca_cert=0, dev_cert=1)
    assert load("static.security.dev_cert = %NULL%", "static.trusted_certificates.delete =").settings == Settings(
        ca_cert=0
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("static.trusted_certificates.url = https://example.com/ca.pem", "is not on this machine, and sipsua fetches"),
        ("static.trusted_certificates.url = file://server/ca.pem", "is not on this machine"),
        ("static.trusted_certificates.url = http://[", "is no URL"),
        ("static.trusted_certificates.url = absent.pem", "there is no file"),
        ("static.trusted_certificates.url = y000000000028.cfg", "none of the extensions"),
        ("static.trusted_certificates.delete = all", "does not say what to delete"),
        ("static.server_certificates.delete = http://localhost/custom.pem", "does not say what to delete"),
        ("static.server_certificates.url = 0.pem", "without its private key"),
        ("static.server_certificates.url = https://example.com/phone.pem", "is not on this machine"),
    ],
)
def test_a_line_that_cannot_be_followed_is_told_and_the_others_are_followed(
    load: Callable[..., Provisioned], flash: Flash, tmp_path: Path, line: str, says: str
) -> None:
    done = load("static.security.ca_cert = 1", line, "static.trusted_certificates.url = 0.pem")
    (refused,) = done.refused
    assert refused.what.startswith(f"{tmp_path}/y000000000028.cfg, line 3: ")
    assert says in refused.what
    assert refused.fix
    assert names(flash) == ["0.pem"]
    assert Settings.read(flash).ca_cert == 1


def test_a_value_that_is_not_permitted_refuses_the_whole_file(load: Callable[..., Provisioned], flash: Flash) -> None:
    with pytest.raises(BadConfiguration, match=r"line 3: static\.security\.ca_cert cannot be '7'"):
        load("static.trusted_certificates.url = 0.pem", "static.security.ca_cert = 7")
    assert names(flash) == []
    assert flash.names() == []
