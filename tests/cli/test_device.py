"""`sipsua device`: what is shown and why, uploads and their refusals, the factory, and keys that stay where they belong."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.identity import Identity
from sipsua.trust.manufacturer import GENERIC_NAME, ISSUING_NAME, ROOT_NAME
from tests.cli.conftest import Result, Sipsua

MAC = "00:15:65:AA:BB:CC"
CN = "CN=001565aabbcc"
CA = CertificateAuthority("operator")
CUSTOM = CA.issue(common_name="desk 7")


@pytest.fixture(autouse=True)
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where phone and manufacturer are kept."""
    monkeypatch.setenv("SIPSUA_HOME", str(tmp_path / "house"))
    return tmp_path / "house"


@pytest.fixture
def device(sipsua: Sipsua) -> Sipsua:
    """`sipsua device`, whose output is checked for private keys."""

    def run(*arguments: object) -> Result:
        result = sipsua("device", *arguments)
        assert "PRIVATE KEY" not in result.out + result.err
        return result

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "desk7.pem"
    path.write_bytes(CUSTOM.chain_pem + CUSTOM.key_pem)
    return path


def choose(house: Path, dev_cert: int) -> None:
    (house / "phone").mkdir(parents=True, exist_ok=True)
    (house / "phone" / "settings.cfg").write_text(f"#!version:1.0.0.1\nstatic.security.dev_cert = {dev_cert}\n")


def test_show_tells_which_certificate_the_phone_shows_and_why(device: Sipsua, house: Path) -> None:
    result = device("show")
    assert result.code == 0
    assert f"generic certificate CN={GENERIC_NAME}\n" in result.out
    assert (
        "shown the generic certificate: dev_cert is 0 (default certificates), and it has no unique one\n" in result.out
    )
    assert not (house / "phone").exists()
    assert device("issue", "--mac", MAC).code == 0
    result = device("show")
    certificate = x509.load_pem_x509_certificates((house / "phone" / "device" / "unique.pem").read_bytes())[0]
    for words in (
        f"unique certificate {CN}\n",
        f"issuer   CN={ISSUING_NAME}\n",
        f" to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, 7304 days left\n",
        f"sha256   {certificate.fingerprint(certificate.signature_hash_algorithm).hex()}\n",  # type: ignore[arg-type]
        f"file     {house}/phone/device/unique.pem\n",
        "shown the unique certificate: dev_cert is 0 (default certificates), and it has a unique one\n",
    ):
        assert words in result.out
    assert GENERIC_NAME not in result.out


def test_json_of_show_is_one_object(device: Sipsua, house: Path, file: Path) -> None:
    device("issue", "--mac", MAC)
    device("upload", file)
    choose(house, 1)
    result = device("show", "--json")
    report = result.report
    assert list(report) == ["flash", "dev_cert", "shown", "why", "certificates", "ahead", "error", "exit_code"]
    assert (report["flash"], report["dev_cert"], report["shown"]) == (str(house / "phone"), 1, "custom")
    assert report["why"] == "dev_cert is 1 (custom certificates)"
    unique, custom = report["certificates"]
    assert (unique["kind"], unique["subject"], unique["doubts"]) == ("unique", CN, [])
    assert (custom["kind"], custom["subject"], custom["issuer"]) == ("custom", "CN=desk 7", "CN=operator")
    assert {"fingerprint", "not_after", "key", "file"} <= set(custom)
    assert (report["error"], report["exit_code"], report["ahead"]) == (None, 0, None)
    assert "custom certificate CN=desk 7\n" in result.err


def test_dev_cert_1_without_an_upload_is_17_and_what_there_is_is_shown(device: Sipsua, house: Path) -> None:
    choose(house, 1)
    issued = device("issue", "--mac", MAC)
    assert issued.code == 0  # that was done
    assert (
        "shown none: the phone is to show its custom certificate (dev_cert is 1), and none was uploaded\n" in issued.out
    )
    result = device("show", "--json")
    assert result.code == result.report["exit_code"] == 17
    assert (result.report["shown"], result.report["why"]) == (None, None)
    assert [one["kind"] for one in result.report["certificates"]] == ["unique"]
    assert f"unique certificate {CN}\n" in result.err
    what, fix = result.told
    assert "none was uploaded" in what
    assert f"set static.security.dev_cert to 0 in {house}/phone/settings.cfg" in fix


def test_another_flash_is_another_phone(device: Sipsua, house: Path, tmp_path: Path) -> None:
    assert device("issue", "--mac", MAC, "--flash", tmp_path / "b").code == 0
    assert "generic certificate" in device("show").out
    assert f"unique certificate {CN}\n" in device("show", "--flash", tmp_path / "b").out
    assert not (house / "phone").exists()


def test_issue_gives_the_same_certificate_again_and_exports_it_for_its_owner_only(
    device: Sipsua, tmp_path: Path
) -> None:
    out = tmp_path / "phone.pem"
    first = device("issue", "--mac", MAC, "--out", out, "--json")
    assert first.code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert Identity.from_files(out).subject == CN
    again = device("issue", "--mac", "001565aabbcc", "--json", "--flash", tmp_path / "b")
    assert again.report["certificates"][0]["fingerprint"] == first.report["certificates"][0]["fingerprint"]


def test_kind_of_key(device: Sipsua) -> None:
    assert device("issue", "--mac", MAC, "--key", "ec", "--json").report["certificates"][0]["key"] == "EC P-256"
    result = device("issue", "--mac", MAC, "--key", "rsa")
    assert result.code == 17
    assert "has its unique certificate already, with a key of EC P-256" in result.told[0]


def test_many_are_made_ahead_and_those_that_are_there_are_not_made_again(device: Sipsua, house: Path) -> None:
    first = device("issue", "--mac", "001565000000", "--count", 300)
    assert first.code == 0
    assert first.out.startswith("issued 300 unique certificates in ")
    assert " ms each; 0 were there already\n" in first.out
    assert f"kept   {house}/manufacturer/unique\n" in first.out
    again = device("issue", "--mac", "00:15:65:00:00:00", "--count", 310, "--json").report
    ahead = again["ahead"]
    assert (ahead["first"], ahead["count"], ahead["made"]) == ("001565000000", 310, 10)
    assert (again["flash"], again["shown"], again["certificates"]) == (None, None, [])
    one = device("issue", "--mac", "001565000123", "--json").report["certificates"][0]
    assert (one["subject"], one["key"]) == ("CN=001565000123", "EC P-256")
    assert len(list((house / "manufacturer" / "unique").rglob("*.pem"))) == 310


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["issue"], "--mac"),
        (["issue", "--mac", "0015"], "--mac: '0015' is no MAC address"),
        (["issue", "--mac", ""], "--mac is empty"),
        (["issue", "--mac", MAC, "--count", "0"], "--count"),
        (["issue", "--mac", "ffffffffffff", "--count", "2"], "--count: there are no 2 MAC addresses"),
        (["issue", "--mac", MAC, "--count", "2", "--flash", "x"], "--count with --flash"),
        (["issue", "--mac", MAC, "--count", "2", "--out", "x"], "--count with --out"),
        (["issue", "--mac", MAC, "--key", "dsa"], "--key"),
        (["delete", "http://localhost/desk7.pem"], "names no server certificate"),
        (["upload"], "FILE"),
    ],
)
def test_command_line_that_cannot_be_is_2(device: Sipsua, house: Path, arguments: list[str], words: str) -> None:
    result = device(*arguments)
    assert result.code == 2
    assert words in result.told[0]
    assert not (house / "manufacturer" / "unique").exists()


def test_key_goes_to_a_file_and_nowhere_else(device: Sipsua, tmp_path: Path) -> None:
    result = device("issue", "--mac", MAC, "--out", tmp_path)
    assert result.code == 2
    assert "is no file, and a private key goes to nothing else" in result.told[0]
    assert device("issue", "--mac", MAC, "--out", "/dev/null").code == 2
    assert device("issue", "--mac", MAC, "--out", tmp_path / "absent" / "x.pem").code == 17


def test_upload_and_delete(device: Sipsua, house: Path, file: Path) -> None:
    choose(house, 1)
    result = device("upload", file)
    assert result.code == 0
    assert f"uploaded custom certificate CN=desk 7 to {house}/phone\n" in result.out
    assert "shown the custom certificate: dev_cert is 1 (custom certificates)\n" in result.out
    assert device("delete").out == f"deleted custom certificate of {house}/phone\n"
    again = device("delete", "http://localhost/all")
    assert (again.code, again.out) == (0, f"there was no custom certificate of {house}/phone\n")


def test_expired_upload_is_kept_with_a_warning(device: Sipsua, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    old = CA.issue(common_name="old", not_before=now - timedelta(days=9), not_after=now - timedelta(days=2))
    (tmp_path / "old.cer").write_bytes(old.chain_pem + old.key_pem)
    result = device("upload", tmp_path / "old.cer", "--json")
    assert result.code == 0
    doubts = result.report["certificates"][-1]["doubts"]
    assert doubts == [f"it expired on {old.certificate.not_valid_after_utc:%Y-%m-%d}"]
    assert f"warning {doubts[0]}\n" in result.err


def test_bad_upload_is_17_and_leaves_the_old_one(device: Sipsua, file: Path, tmp_path: Path) -> None:
    device("upload", file)
    bad = CUSTOM.write(tmp_path, "bad").certificate
    result = device("upload", bad, "--json")
    assert result.code == result.report["exit_code"] == 17
    assert "without its private key" in result.told[0]
    assert device("show", "--json").report["certificates"][-1]["subject"] == "CN=desk 7"


def test_torn_certificate_is_17_and_named(device: Sipsua, house: Path, file: Path) -> None:
    device("upload", file)
    (house / "phone" / "device" / "custom.pem").write_bytes(file.read_bytes()[:300])
    result = device("show")
    assert result.code == 17
    assert f"{house}/phone/device/custom.pem is torn" in result.told[0]
    assert device("delete").code == 0


def names(pem: str | bytes) -> list[str]:
    data = pem.encode() if isinstance(pem, str) else pem
    return [one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(data)]


@pytest.mark.parametrize(
    ("options", "subjects"),
    [
        ([], [ROOT_NAME]),
        (["--which", "root"], [ROOT_NAME]),
        (["--which", "issuing"], [ISSUING_NAME]),
        (["--which", "both"], [ISSUING_NAME, ROOT_NAME]),
    ],
)
def test_manufacturer_ca_is_printed_or_written_for_the_pbx(
    device: Sipsua, tmp_path: Path, options: list[str], subjects: list[str]
) -> None:
    printed = device("manufacturer-ca", *options)
    assert printed.code == 0
    assert names(printed.out) == [f"CN={name}" for name in subjects]
    out = tmp_path / "ca.pem"
    written = device("manufacturer-ca", *options, "--out", out)
    assert written.code == 0
    assert out.read_text() == printed.out
    assert stat.S_IMODE(out.stat().st_mode) == 0o644


def test_error_with_json_is_the_object_of_the_device(device: Sipsua) -> None:
    result = device("upload", "absent.pem", "--json")
    assert result.code == 17
    assert json.loads(result.out)["error"]["what"] == "there is no file absent.pem"
    assert result.report["certificates"] == []


def test_out_that_takes_no_key_is_refused_before_anything_is_issued(
    device: Sipsua, house: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert device("issue", "--mac", MAC, "--out", tmp_path / "fifo").code == 2
    assert not house.exists() or not list(house.rglob("*.pem"))


def test_upload_that_is_a_pipe_is_17_and_not_waited_for(device: Sipsua, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pem")
    result = device("upload", tmp_path / "fifo.pem")
    assert result.code == 17
    assert "is no regular file" in result.told[0]
