"""A factory reset deletes the settings and the custom certificates, and keeps these where it was told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration
from sipsua.phone.flash import Flash
from sipsua.phone.reset import SERVER_CERTIFICATE, Reset, factory_reset
from sipsua.phone.settings import FILE, Settings
from sipsua.phone.trusted import TrustedCertificates
from sipsua.testing.pki import CertificateAuthority

ROOT = CertificateAuthority("Root")


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    """A phone with settings, a trusted certificate, a custom server certificate and the unique one."""
    flash = Flash(tmp_path / "phone")
    Settings(ca_cert=1).write(flash)
    TrustedCertificates(flash).put("ca.pem", ROOT.pem)
    flash.write(SERVER_CERTIFICATE, b"certificate and key")
    flash.write("device/unique.pem", b"certificate and key of the factory")
    return flash


def has(flash: Flash) -> list[str]:
    return [*flash.names(), *flash.names("device"), *flash.names("trusted")]


def test_resetting_the_ip_phone_to_factory_defaults_will_delete_custom_certificates_by_default(flash: Flash) -> None:
    """'Resetting the IP phone to factory defaults will delete custom certificates by default.'"""
    assert factory_reset(flash) == Reset(trusted_deleted=1, server_deleted=True, settings_deleted=True, kept=False)
    assert has(flash) == ["device/unique.pem"]
    assert Settings.read(flash) == Settings()


def test_this_feature_is_configurable_by_the_parameter_reserve_certs_enable(flash: Flash) -> None:
    """'But this feature is configurable by the parameter "static.phone_setting.reserve_certs_enable" using the configuration files.'"""
    Settings(ca_cert=1, reserve_certs_enable=1).write(flash)
    assert factory_reset(flash) == Reset(trusted_deleted=0, server_deleted=False, settings_deleted=True, kept=True)
    assert has(flash) == ["device/custom.pem", "device/unique.pem", "trusted/01-ca.pem"]
    assert Settings.read(flash) == Settings()
    # The parameter was a setting too: the next reset deletes.
    assert factory_reset(flash).trusted_deleted == 1


def test_the_caller_can_keep_the_certificates(flash: Flash) -> None:
    assert factory_reset(flash, keep_certificates=True).kept
    assert has(flash) == ["device/custom.pem", "device/unique.pem", "trusted/01-ca.pem"]


def test_a_phone_that_has_nothing_is_reset_too(tmp_path: Path) -> None:
    flash = Flash(tmp_path / "phone")
    assert factory_reset(flash) == Reset(trusted_deleted=0, server_deleted=False, settings_deleted=False, kept=False)


def test_torn_certificates_go_with_the_rest(flash: Flash) -> None:
    flash.path("trusted/01-ca.pem").write_bytes(b"")
    flash.path(SERVER_CERTIFICATE).write_bytes(b"")
    factory_reset(flash)
    assert has(flash) == ["device/unique.pem"]


def test_settings_that_cannot_be_read_do_not_decide_over_certificates(flash: Flash) -> None:
    flash.path(FILE).write_bytes(flash.path(FILE).read_bytes()[:-10])
    before = has(flash)
    with pytest.raises(BadConfiguration, match=r"settings\.cfg is torn"):
        factory_reset(flash)
    assert has(flash) == before
    factory_reset(flash, keep_certificates=True)
    assert has(flash) == ["device/custom.pem", "device/unique.pem", "trusted/01-ca.pem"]
