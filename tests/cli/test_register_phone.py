"""`sipsua register` as one phone among many: `--mac`, a phone stored in a flash, and the lists that `--trust` chooses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sipsua.phone.device import Device
from sipsua.phone.factory import Factory
from sipsua.phone.flash import Flash
from sipsua.phone.settings import Settings
from sipsua.phone.trusted import TrustedCertificates
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority, Issued
from sipsua.trust.builtin import built_in_roots, mozilla_roots
from tests.cli.conftest import PASSWORD, Sipsua

MAC = "00:15:65:AA:BB:CC"
OPERATOR = CertificateAuthority("operator")
CUSTOM = OPERATOR.issue(common_name="desk 7")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the manufacturer of these tests is kept."""
    return tmp_path_factory.mktemp("house")


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, house: Path) -> None:
    monkeypatch.setenv("SIPSUA_HOME", str(house))


@pytest.fixture(scope="module")
def server(authority: CertificateAuthority) -> Issued:
    return authority.issue("127.0.0.1")


@pytest.fixture(scope="module")
def strict(house: Path, server: Issued) -> Iterator[PbxProcess]:
    """A PBX that takes phones of the emulated manufacturer and no others."""
    root = Factory(house / "manufacturer").manufacturer.root_pem
    with PbxProcess(
        {"1000": PASSWORD}, certificate=(server.chain_pem, server.key_pem), client_authority=root
    ) as process:
        yield process


@pytest.fixture(scope="module")
def misnamed(authority: CertificateAuthority) -> Iterator[PbxProcess]:
    """A PBX whose certificate is of a known CA and for another name."""
    issued = authority.issue("other.example.com")
    with PbxProcess({"1000": PASSWORD}, certificate=(issued.chain_pem, issued.key_pem)) as process:
        yield process


@pytest.fixture
def flash(tmp_path: Path) -> Flash:
    return Flash(tmp_path / "phone")


def address(pbx: PbxProcess) -> str:
    return f"sips:1000@127.0.0.1:{pbx.port}"


def test_mac_shows_the_unique_certificate_of_that_phone_issued_on_first_use(
    sipsua: Sipsua, strict: PbxProcess, ca: Path, password_file: Path, house: Path
) -> None:
    options = ("--ca", ca, "--password-file", password_file, "--json")
    assert sipsua("register", address(strict), *options).code == 12  # it does demand one
    stored = house / "manufacturer" / "unique" / "cc" / "001565aabbcc.pem"
    assert not stored.exists()
    result = sipsua("register", address(strict), *options, "--mac", MAC)
    assert result.code == 0
    assert result.report["lock"]["state"] == "locked"
    assert result.report["lock"]["verified"] is True
    first = stored.read_bytes()
    assert sipsua("register", address(strict), *options, "--mac", "001565aabbcc").code == 0
    assert stored.read_bytes() == first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mac", MAC, "--cert", "x.pem"], "--mac with --cert: an account shows one certificate"),
        (["--mac", "0015"], "--mac: '0015' is no MAC address"),
        (["--ca", "CA", "--trust", "builtin"], "the certificates of --ca would not count"),
        (["--trust", "some"], "--trust"),
    ],
)
def test_options_that_cannot_be_together_are_2(sipsua: Sipsua, ca: Path, options: list[str], words: str) -> None:
    result = sipsua("register", "sips:1000@127.0.0.1:9", *(str(ca) if word == "CA" else word for word in options))
    assert result.code == 2
    assert words in result.told[0]


@pytest.mark.parametrize(
    ("options", "with_ca", "code", "anchors"),
    [
        (("--trust", "builtin"), False, 10, len(built_in_roots())),
        (("--trust", "mozilla"), False, 10, len(mozilla_roots())),
        (("--trust", "mozilla"), True, 0, len(mozilla_roots()) + 1),
        (("--trust", "all"), True, 0, len(built_in_roots()) + 1),
        (("--trust", "custom"), True, 0, 1),
        ((), True, 0, 1),
        ((), False, 10, 0),
        (("--trust", "custom"), False, 10, 0),
    ],
)
def test_trust_chooses_the_lists_that_count(
    sipsua: Sipsua,
    pbx: PbxProcess,
    ca: Path,
    password_file: Path,
    options: tuple[str, ...],
    with_ca: bool,
    code: int,
    anchors: int,
) -> None:
    trusting = (*options, "--ca", ca) if with_ca else options
    result = sipsua("register", address(pbx), *trusting, "--password-file", password_file, "--json")
    assert result.code == code, result.err
    count = {0: "no trust anchors", 1: "1 trust anchor"}.get(anchors, f"{anchors} trust anchors")
    assert result.report["verdict"]["policy"] == f"rfc2818, {count}"
    assert ("without --ca nobody is trusted" in result.err) is (anchors == 0)
    if code == 0:
        assert result.report["verdict"]["anchor_list"] == "custom"


def test_flash_is_the_phone_its_custom_list_settings_and_certificate(
    sipsua: Sipsua, strict: PbxProcess, ca: Path, password_file: Path, flash: Flash
) -> None:
    TrustedCertificates(flash).add(ca)
    Device(flash).issue("001565000001")
    result = sipsua("register", address(strict), "--flash", flash.directory, "--password-file", password_file, "--json")
    assert result.code == 0, result.err
    assert result.report["lock"]["state"] == "locked"
    # The phone's own defaults: built-in and custom certificates count (ca_cert 2), names do not (cn_validation 0).
    assert result.report["verdict"]["policy"] == f"off, {len(built_in_roots()) + 1} trust anchors"
    assert result.report["verdict"]["anchor_list"] == "custom"


@pytest.mark.parametrize(
    ("settings", "options", "code", "policy"),
    [
        (Settings(), (), 0, f"off, {len(built_in_roots()) + 1} trust anchors"),
        (Settings(cn_validation=1), (), 11, f"rfc2818, {len(built_in_roots()) + 1} trust anchors"),
        (Settings(cn_validation=1), ("--names", "off"), 0, f"off, {len(built_in_roots()) + 1} trust anchors"),
        (Settings(), ("--names", "rfc9525"), 11, f"rfc9525, {len(built_in_roots()) + 1} trust anchors"),
        (Settings(ca_cert=1), (), 0, "off, 1 trust anchor"),
        (Settings(ca_cert=0), (), 10, f"off, {len(built_in_roots())} trust anchors"),
        (Settings(ca_cert=0), ("--trust", "custom"), 0, "off, 1 trust anchor"),
        (Settings(ca_cert=0, trust_certificates=0), (), 0, "any certificate accepted"),
        (Settings(ca_cert=1, default_ssl_method=5), (), 0, "off, 1 trust anchor"),
    ],
)
def test_settings_of_the_stored_phone_count_unless_an_option_says_otherwise(
    sipsua: Sipsua,
    misnamed: PbxProcess,
    ca: Path,
    password_file: Path,
    flash: Flash,
    settings: Settings,
    options: tuple[str, ...],
    code: int,
    policy: str,
) -> None:
    TrustedCertificates(flash).add(ca)
    settings.write(flash)
    line = ("register", address(misnamed), "--flash", flash.directory, *options, "--password-file", password_file)
    result = sipsua(*line, "--json")
    assert result.code == code, result.err
    assert result.report["verdict"]["policy"] == policy
    if code == 0:
        assert result.report["lock"]["verified"] is bool(settings.trust_certificates)
        assert result.report["lock"]["protocol"] == ("TLSv1.2" if settings.default_ssl_method == 5 else "TLSv1.3")


def test_ca_beside_a_phone_that_trusts_the_built_in_list_alone_is_2(sipsua: Sipsua, ca: Path, flash: Flash) -> None:
    Settings(ca_cert=0).write(flash)
    result = sipsua("register", "sips:1000@127.0.0.1:9", "--flash", flash.directory, "--ca", ca)
    assert result.code == 2
    assert result.told[1] == "say --trust all"


@pytest.mark.parametrize(("mac", "dev_cert", "code"), [(None, 0, 12), (None, 1, 0), (MAC, 0, 0), (MAC, 1, 0)])
def test_dev_cert_of_the_stored_phone_chooses_its_certificate(
    sipsua: Sipsua,
    server: Issued,
    ca: Path,
    password_file: Path,
    flash: Flash,
    tmp_path: Path,
    house: Path,
    mac: str | None,
    dev_cert: int,
    code: int,
) -> None:
    """The PBX trusts the manufacturer where a MAC is given, and else the operator, whose certificate is the custom one."""
    TrustedCertificates(flash).add(ca)
    Settings(dev_cert=dev_cert).write(flash)
    (tmp_path / "desk.pem").write_bytes(CUSTOM.chain_pem + CUSTOM.key_pem)
    Device(flash).upload(tmp_path / "desk.pem")
    trusted = Factory(house / "manufacturer").manufacturer.root_pem if mac else OPERATOR.pem
    with PbxProcess(
        {"1000": PASSWORD}, certificate=(server.chain_pem, server.key_pem), client_authority=trusted
    ) as pbx:
        line = ["register", address(pbx), "--flash", flash.directory, "--password-file", password_file]
        result = sipsua(*line, *(("--mac", mac) if mac else ()))
    assert result.code == code, result.err
    if code == 12:
        assert "it refused our certificate CN=sipsua Emulated Manufacturer Generic Phone" in result.told[0]


def test_stored_phone_without_the_certificate_that_it_is_to_show_is_17(
    sipsua: Sipsua, ca: Path, flash: Flash, tmp_path: Path
) -> None:
    Settings(dev_cert=1).write(flash)
    line = ("register", "sips:1000@127.0.0.1:9", "--flash", flash.directory, "--timeout", 5)
    result = sipsua(*line)
    assert result.code == 17
    assert "none was uploaded" in result.told[0]
    files = CUSTOM.write(tmp_path, "ours")
    assert (
        sipsua(*line, "--cert", files.certificate, "--key", files.key).code == 13
    )  # that is shown, and nobody is there


def test_flash_that_is_not_there_is_17(sipsua: Sipsua, tmp_path: Path) -> None:
    result = sipsua("register", "sips:1000@127.0.0.1:9", "--flash", tmp_path / "absent")
    assert result.code == 17
    assert "there is no flash" in result.told[0]
    assert not (tmp_path / "absent").exists()


def test_server_that_demands_a_certificate_is_told_with_the_options_that_show_one(
    sipsua: Sipsua, strict: PbxProcess, ca: Path, password_file: Path
) -> None:
    fixes = [
        sipsua("register", address(strict), "--ca", ca, "--password-file", password_file).told[1],
        sipsua("check", f"127.0.0.1:{strict.port}", "--ca", ca).told[1],
    ]
    assert ["--cert FILE and --key FILE" in fix for fix in fixes] == [True, True]
    assert "--mac MAC" in fixes[0]


def test_what_is_dangerous_is_named_as_the_option_that_it_is_here(sipsua: Sipsua, flash: Flash) -> None:
    Settings(default_ssl_method=0).write(flash)
    result = sipsua("register", "sips:1000@127.0.0.1:9", "--flash", flash.directory)
    assert result.code == 17
    assert result.told[1].endswith("for a test of old servers say --dangerous-old-tls")


def test_hard_revocation_that_asks_nobody_is_2(sipsua: Sipsua) -> None:
    result = sipsua("register", "sips:1000@127.0.0.1:9", "--revocation", "hard")
    assert result.code == 2
    assert "--crl" in result.told[1]


def test_resuming_without_staying_is_a_usage_error(sipsua: Sipsua) -> None:
    result = sipsua("register", "sips:1000@127.0.0.1:9", "--resume")
    assert result.code == 2
    assert result.told == (
        "--resume without --keep: there is no second handshake",
        "say with --keep SECONDS how long to stay",
    )
