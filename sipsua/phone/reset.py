"""The factory reset: what it deletes, and what stays.

Guide page 940: "Resetting the IP phone to factory defaults will delete custom certificates by default. But this feature is configurable by
the parameter "static.phone_setting.reserve_certs_enable" using the configuration files."
"""

from __future__ import annotations

from dataclasses import dataclass

from sipsua.phone import settings
from sipsua.phone.flash import Flash
from sipsua.phone.settings import Settings
from sipsua.phone.trusted import TrustedCertificates

SERVER_CERTIFICATE = "device/custom.pem"
"""Where the flash keeps the custom server certificate. The built-in ones beside it are the phone's for life."""


@dataclass(frozen=True, slots=True)
class Reset:
    """What a factory reset did."""

    trusted_deleted: int
    """Files of custom trusted certificates."""
    server_deleted: bool
    """Whether there was a custom server certificate."""
    settings_deleted: bool
    """Whether there were settings."""
    kept: bool
    """Whether certificates were to be kept."""


def factory_reset(flash: Flash, *, keep_certificates: bool = False) -> Reset:
    """Delete the settings, and the custom certificates too, unless they are to be kept: by `keep_certificates`, or by
    `static.phone_setting.reserve_certs_enable = 1` in the settings that are deleted.

    Raises BadConfiguration, before anything is deleted, if the settings do not say whether because they cannot be read.
    """
    with flash.lock():
        keep = keep_certificates or bool(Settings.read(flash).reserve_certs_enable)
        trusted, server = 0, False
        if not keep:
            trusted = TrustedCertificates(flash).delete_all()
            server = flash.delete(SERVER_CERTIFICATE)
        return Reset(trusted, server, flash.delete(settings.FILE), keep)
