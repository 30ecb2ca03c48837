"""`sipsua trust` and `sipsua factory-reset`: the phone's lists from the command line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography import x509

from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.builtin import built_in_roots
from tests.cli.conftest import Sipsua

ROOTS = [CertificateAuthority(f"Root {number}") for number in range(11)]


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    return tmp_path / "phone"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [root.write(tmp_path / f"{number}.pem") for number, root in enumerate(ROOTS)]


def test_what_is_added_is_listed_exported_and_deleted(sipsua: Sipsua, flash: Path, files: list[Path]) -> None:
    added = sipsua("trust", "add", files[0], "--flash", flash)
    assert added.code == 0
    assert "1 CN=Root 0" in added.out.splitlines()
    assert sipsua("trust", "add", files[1], "--flash", flash).code == 0
    listed = sipsua("trust", "list", "--flash", flash)
    assert listed.code == 0
    fingerprint = sipsua("trust", "list", "--flash", flash, "--json").report["certificates"][1]["fingerprint"]
    for line in ("2 CN=Root 1", "  issued by itself", f"  sha256    {fingerprint}", "  file      1.pem"):
        assert line in listed.out.splitlines()
    assert f"2 certificates in the custom list of {flash}" in listed.out
    exported = sipsua("trust", "export", "--flash", flash).out
    assert len(x509.load_pem_x509_certificates(exported.encode())) == 2
    assert sipsua("trust", "delete", 1, "--flash", flash).out == f"deleted CN=Root 0 from the custom list of {flash}\n"
    assert sipsua("trust", "delete", "1.pem", "--flash", flash).code == 0
    assert sipsua("trust", "list", "--flash", flash).out == f"0 certificates in the custom list of {flash}\n"


def test_json_has_the_list_and_each_certificate(sipsua: Sipsua, flash: Path, files: list[Path]) -> None:
    sipsua("trust", "add", files[0], "--flash", flash)
    report = sipsua("trust", "list", "--flash", flash, "--json").report
    assert set(report) == {"list", "flash", "certificates"}
    assert (report["list"], report["flash"]) == ("custom", str(flash))
    (one,) = report["certificates"]
    assert (one["index"], one["name"], one["subject"], one["issuer"]) == (1, "0.pem", "CN=Root 0", "CN=Root 0")
    assert {"not_before", "not_after", "fingerprint", "key", "signature", "serial", "names"} < set(one)


@pytest.mark.parametrize(("option", "name", "least"), [("--builtin", "built-in", 76), ("--mozilla", "mozilla", 100)])
def test_the_two_lists_that_come_with_sipsua_are_shown(sipsua: Sipsua, option: str, name: str, least: int) -> None:
    report = sipsua("trust", "list", option, "--json").report
    assert (report["list"], report["flash"]) == (name, None)
    assert len(report["certificates"]) >= least
    text = sipsua("trust", "list", option)
    assert text.err == ""
    assert text.out.endswith(f"{len(report['certificates'])} certificates in the {name} list\n")
    assert text.out.count("sha256") == len(report["certificates"])


def test_two_lists_at_once_are_2(sipsua: Sipsua, flash: Path) -> None:
    assert sipsua("trust", "list", "--builtin", "--mozilla").code == 2
    assert sipsua("trust", "list", "--builtin", "--flash", flash).code == 2


def test_an_expired_certificate_is_added_with_a_warning(sipsua: Sipsua, flash: Path, tmp_path: Path) -> None:
    (tmp_path / "old.der").write_bytes(next(one for one in built_in_roots() if "DST Root CA X3" in one.subject).der)
    result = sipsua("trust", "add", tmp_path / "old.der", "--flash", flash)
    assert result.code == 0
    assert "warning certificate 1 (CN=DST Root CA X3,O=Digital Signature Trust Co.) expired on 2021-09-30" in result.out
    assert "2021-09-30, expired" in sipsua("trust", "list", "--flash", flash).out


def test_the_eleventh_certificate_is_17_and_changes_nothing(sipsua: Sipsua, flash: Path, files: list[Path]) -> None:
    for file in files[:10]:
        assert sipsua("trust", "add", file, "--flash", flash).code == 0
    result = sipsua("trust", "add", files[10], "--flash", flash)
    assert result.code == 17
    assert result.told == (
        f"there are 10 custom certificates and a phone holds 10: {files[10]} is one too many",
        "delete some first",
    )
    assert len(sipsua("trust", "list", "--flash", flash, "--json").report["certificates"]) == 10
    assert sipsua("trust", "delete-all", "--flash", flash).out == f"deleted 10 files of the custom list of {flash}\n"


@pytest.mark.parametrize(
    "arguments", [["add", "absent.pem"], ["delete", "1"], ["delete", "absent.pem"], ["export"], ["delete", "9" * 5000]]
)
def test_what_is_not_there_is_17(sipsua: Sipsua, flash: Path, arguments: list[str]) -> None:
    result = sipsua("trust", *arguments, "--flash", flash)
    assert result.code == 17
    assert all(result.told)


@pytest.mark.parametrize("arguments", [[], ["add"], ["add", ""], ["list", "--flash", ""], ["upload"], ["delete"]])
def test_usage_that_fits_nothing_is_2(sipsua: Sipsua, arguments: list[str]) -> None:
    result = sipsua("trust", *arguments)
    assert result.code == 2
    assert result.told


def test_without_flash_the_phone_of_the_environment_is_meant(
    sipsua: Sipsua, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPSUA_HOME", str(tmp_path / "home"))
    assert sipsua("trust", "add", files[0]).code == 0
    assert sipsua("trust", "list", "--json").report["flash"] == str(tmp_path / "home" / "phone")
    assert (tmp_path / "home" / "phone" / "trusted" / "01-0.pem").is_file()


def test_export_to_a_file_replaces_it_in_full_or_not_at_all(
    sipsua: Sipsua, flash: Path, files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out" / "bundle.pem"
    sipsua("trust", "add", files[0], "--flash", flash)
    assert sipsua("trust", "export", out, "--flash", flash).code == 17
    out.parent.mkdir()
    out.write_text("old")
    assert sipsua("trust", "export", out, "--flash", flash).out == f"written {out}\n"
    assert out.read_text() == sipsua("trust", "export", "--flash", flash).out
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    assert os.listdir(out.parent) == ["bundle.pem"]


def test_a_torn_file_is_17_and_its_remedy_works(sipsua: Sipsua, flash: Path, files: list[Path]) -> None:
    sipsua("trust", "add", files[0], "--flash", flash)
    stored = flash / "trusted" / "01-0.pem"
    stored.write_bytes(stored.read_bytes()[:100])
    result = sipsua("trust", "list", "--flash", flash)
    assert result.code == 17
    assert f"{stored} is torn" in result.told[0]
    remedy = f"trust delete 0.pem --flash {flash}"
    assert f"`sipsua {remedy}`" in result.told[1]
    assert sipsua(*remedy.split()).code == 0
    assert sipsua("trust", "list", "--flash", flash).code == 0


# The factory reset


def test_factory_reset_says_what_it_deleted(sipsua: Sipsua, flash: Path, files: list[Path]) -> None:
    sipsua("trust", "add", files[0], "--flash", flash)
    result = sipsua("factory-reset", "--flash", flash)
    assert result.code == 0
    assert result.out.splitlines() == [
        f"reset {flash}",
        "  settings              there were none",
        "  trusted certificates  1 file deleted",
        "  server certificate    there was none",
    ]
    assert sipsua("trust", "list", "--flash", flash, "--json").report["certificates"] == []


def test_factory_reset_keeps_certificates_where_told_to(sipsua: Sipsua, flash: Path, files: list[Path]) -> None:
    sipsua("trust", "add", files[0], "--flash", flash)
    assert "  trusted certificates  kept" in sipsua("factory-reset", "--flash", flash, "--keep-certificates").out
    (flash / "settings.cfg").write_text("#!version:1.0.0.1\nphone_setting.reserve_certs_enable = 1\n")
    assert "  trusted certificates  kept" in sipsua("factory-reset", "--flash", flash).out
    assert not (flash / "settings.cfg").exists()
    assert len(sipsua("trust", "list", "--flash", flash, "--json").report["certificates"]) == 1


def test_factory_reset_of_nothing_is_refused(sipsua: Sipsua, flash: Path) -> None:
    assert sipsua("factory-reset").code == 2
    result = sipsua("factory-reset", "--flash", flash)
    assert result.code == 17
    assert result.told == (f"there is no flash {flash}", "check the path")
    assert not flash.exists()


def test_what_is_no_regular_file_is_17_and_not_waited_for(sipsua: Sipsua, flash: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pem")
    result = sipsua("trust", "add", tmp_path / "fifo.pem", "--flash", flash)
    assert result.code == 17
    assert result.told == (f"{tmp_path}/fifo.pem is no regular file", "give a file, and no pipe or device")
    assert not flash.exists()


@pytest.mark.parametrize(
    "arguments", [["trust", "list"], ["trust", "add", "0.pem"], ["trust", "delete-all"], ["device", "show"]]
)
def test_file_in_place_of_the_flash_is_17(
    sipsua: Sipsua, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = sipsua(*arguments, "--flash", files[1])
    assert result.code == 17
    assert result.told[0].endswith("Not a directory")


def test_more_at_once_than_a_phone_holds_are_17_with_words_that_help(
    sipsua: Sipsua, flash: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle.pem").write_bytes(b"".join(root.pem for root in ROOTS))
    result = sipsua("trust", "add", tmp_path / "bundle.pem", "--flash", flash)
    assert result.code == 17
    assert result.told[1] == "add only those that its servers need, each from a file of its own"


def test_delete_all_where_there_is_nothing_makes_nothing(sipsua: Sipsua, flash: Path) -> None:
    assert sipsua("trust", "delete-all", "--flash", flash).code == 0
    assert not flash.exists()


def test_factory_reset_of_what_is_no_flash_is_17_and_touches_nothing(sipsua: Sipsua, tmp_path: Path) -> None:
    (tmp_path / ".new-thesis").write_text("x")
    result = sipsua("factory-reset", "--flash", tmp_path)
    assert result.code == 17
    assert result.told[0] == f"{tmp_path} is no phone's flash: it holds other files"
    assert [one.name for one in tmp_path.iterdir()] == [".new-thesis"]
