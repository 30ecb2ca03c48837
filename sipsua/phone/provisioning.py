"""Provisioning: what the lines of a configuration file do to the phone's flash.

Some lines are values, which the settings keep. Others are deeds, done when the file is loaded: `static.trusted_certificates.delete =
http://localhost/all` empties the list, each `static.trusted_certificates.url = FILE` loads one file. A phone loads its configuration again
and again, so what is done already is no error. First is deleted, then loaded, so that a file may replace the whole list.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sipsua.errors import BadConfiguration
from sipsua.phone.cfg import CfgFile
from sipsua.phone.device import Device
from sipsua.phone.flash import Flash
from sipsua.phone.settings import PREFIX, Settings, told_settings
from sipsua.phone.trusted import AlreadyTrusted, TrustedCertificates
from sipsua.trust.store import path_text, read_file

DELETE_TRUSTED = "static.trusted_certificates.delete"
"""`http://localhost/all`, or `http://localhost/NAME` for what was uploaded under a name."""
LOAD_TRUSTED = "static.trusted_certificates.url"
"""A file of this machine, as a path (relative to the configuration file) or a `file://` URL; each line loads one."""
DELETE_SERVER = "static.server_certificates.delete"
"""`http://localhost/all`: there is one at most."""
LOAD_SERVER = "static.server_certificates.url"
"""Likewise a file of this machine, with certificate and key; it takes the place of the one that was there."""

NOTHING_TO_DELETE = "there was no server certificate to delete"

_DEEDS = {
    name.removeprefix(old): name
    for name in (DELETE_TRUSTED, DELETE_SERVER, LOAD_TRUSTED, LOAD_SERVER)
    for old in ("", PREFIX)
}
_ORDER = (DELETE_TRUSTED, DELETE_SERVER, LOAD_TRUSTED, LOAD_SERVER)


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What a configuration file did."""

    settings: Settings
    """The settings from now on; `unknown` says which lines of the file had no effect."""
    values: tuple[str, ...]
    """The settings that the file names, such as `line 2: static.security.ca_cert = 1 (custom certificates)`."""
    deeds: tuple[str, ...]
    """What its lines did to the certificates, such as `line 3: loaded CN=Example CA`."""
    warnings: tuple[str, ...]
    """What is odd about loaded certificates."""
    refused: tuple[BadConfiguration, ...]
    """Why lines of the file that load or delete could not be followed. The others were."""


def provision(
    flash: Flash, path: str | os.PathLike[str], at: datetime | None = None, *, data: bytes | None = None
) -> Provisioned:
    """Load a configuration file into the flash. `at` (None: now) is the time to warn of expired certificates by, `data` what the
    file holds where it was read already, as a pipe can be once only.

    Raises BadConfiguration, before anything is changed, for a file that cannot be read and for a value that is not permitted.
    """
    where = path_text(path)
    file = CfgFile.parse(data if data is not None else read_file(where), where)
    trusted, device = TrustedCertificates(flash), Device(flash)
    deeds = sorted(
        ((_ORDER.index(_DEEDS[name]), number, value) for number, name, value in file if name in _DEEDS and value)
    )
    told: list[str] = []
    warnings: list[str] = []
    refused: list[BadConfiguration] = []
    with flash.lock():
        settings = Settings.of(file, where, Settings.read(flash), elsewhere=frozenset(_DEEDS))
        settings.write(flash)
        for kind, number, value in deeds:
            try:
                if _ORDER[kind] == DELETE_TRUSTED:
                    gone = trusted.delete_url(value)
                    files = "1 file" if gone == 1 else f"{gone} files"
                    told.append(f"line {number}: deleted {files} of the custom list")
                elif _ORDER[kind] == LOAD_TRUSTED:
                    upload = trusted.add(_local(value, Path(where).parent), at)
                    warnings += upload.warnings
                    told += (f"line {number}: loaded {one.certificate.subject}" for one in upload.added)
                elif _ORDER[kind] == LOAD_SERVER:
                    own = device.upload(_local(value, Path(where).parent))
                    warnings += own.doubts(at if at is not None else datetime.now(UTC))
                    told.append(f"line {number}: loaded the server certificate {own.certificate.subject}")
                else:
                    there = device.delete(value)
                    told.append(f"line {number}: " + ("deleted the server certificate" if there else NOTHING_TO_DELETE))
            except AlreadyTrusted as error:
                told.append(f"line {number}: {error.what}")
            except BadConfiguration as error:
                refused.append(BadConfiguration(f"{where}, line {number}: {error.what}", fix=error.fix))
    return Provisioned(settings, told_settings(file), tuple(told), tuple(warnings), tuple(refused))


def _local(url: str, directory: Path) -> Path:
    """The file that a URL means. Raises BadConfiguration for one that is not on this machine."""
    if "://" not in url:
        return directory / url
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadConfiguration(f"{url[:200]!r} is no URL", fix="give the path of a file") from None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise BadConfiguration(
            f"{url[:200]!r} is not on this machine, and sipsua fetches nothing", fix="download it and give its path"
        )
    return Path(unquote(parts.path))
