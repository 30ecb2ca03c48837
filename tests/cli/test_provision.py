"""`sipsua provision`: each line of a configuration file is answered for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sipsua.phone.flash import Flash
from sipsua.phone.settings import Settings
from sipsua.testing.pki import CertificateAuthority
from tests.cli.conftest import Sipsua


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    return tmp_path / "phone"


def written(tmp_path: Path, *lines: str) -> Path:
    """A configuration file beside the certificate ca.pem."""
    CertificateAuthority("Provisioned CA").write(tmp_path / "ca.pem")
    path = tmp_path / "y000000000028.cfg"
    path.write_text("\n".join(["#!version:1.0.0.1", *lines, ""]))
    return path


def test_each_line_is_answered_for(sipsua: Sipsua, flash: Path, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "static.security.ca_cert = 1",
        "security.cn_validation = 1",
        "static.trusted_certificates.url = ca.pem",
        "static.server_certificates.delete = http://localhost/all",
        "account.1.label = Desk",
    )
    result = sipsua("provision", file, "--flash", flash)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "set     line 2: static.security.ca_cert = 1 (custom certificates)",
        "set     line 3: static.security.cn_validation = 1 (enabled)",
        "done    line 5: there was no server certificate to delete",
        "done    line 4: loaded CN=Provisioned CA",
        "unknown line 6: account.1.label",
        f"provisioned {flash}",
    ]
    assert Settings.read(Flash(flash)).ca_cert == 1
    report = sipsua("provision", file, "--flash", flash, "--json").report
    assert (report["flash"], report["unknown"], report["exit_code"]) == (str(flash), ["line 6: account.1.label"], 0)
    assert any("already" in one for one in report["done"])


def test_line_that_cannot_be_followed_is_17_and_the_others_count(sipsua: Sipsua, flash: Path, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "static.trusted_certificates.url = absent.pem",
        "static.trusted_certificates.url = http://example.com/ca.pem",
        "static.trusted_certificates.url = ca.pem",
    )
    result = sipsua("provision", file, "--flash", flash, "--json")
    assert result.code == result.report["exit_code"] == 17
    assert [one["what"].partition(": ")[0] for one in result.report["refused"]] == [f"{file}, line {n}" for n in (2, 3)]
    assert result.report["done"] == ["line 4: loaded CN=Provisioned CA"]
    assert result.told[0].startswith(f"{file}, line 2: there is no file")
    assert result.told[0].endswith("; 1 more line was refused")


@pytest.mark.parametrize("line", ["static.security.ca_cert = 7", "static.security.dev_cert = on"])
def test_value_that_is_not_permitted_is_17_and_nothing_is_changed(
    sipsua: Sipsua, flash: Path, tmp_path: Path, line: str
) -> None:
    file = written(tmp_path, "static.trusted_certificates.url = ca.pem", line)
    result = sipsua("provision", file, "--flash", flash)
    assert result.code == 17
    assert f"{file}, line 3" in result.told[0]
    assert sipsua("trust", "list", "--flash", flash, "--json").report["certificates"] == []


def test_pipe_without_a_writer_is_17_in_time(
    sipsua: Sipsua, flash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipsua.cli.interrupt.PATIENCE", 0.1)
    os.mkfifo(tmp_path / "fifo.cfg")
    result = sipsua("provision", tmp_path / "fifo.cfg", "--flash", flash)
    assert result.code == 17
    assert not flash.exists()


@pytest.mark.parametrize("arguments", [[], ["absent.cfg"], ["."]])
def test_what_is_no_file_fails_with_the_commands_object(sipsua: Sipsua, flash: Path, arguments: list[str]) -> None:
    result = sipsua("provision", *arguments, "--flash", flash, "--json")
    assert result.code == result.report["exit_code"] == (17 if arguments else 2)
    assert set(result.report) == {"flash", "set", "done", "warnings", "refused", "unknown", "error", "exit_code"}
