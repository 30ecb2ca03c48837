"""`sipsua pbx` refuses what it cannot do before it listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sipsua.testing.pki import CertificateAuthority
from tests.cli.conftest import PASSWORD, Sipsua


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--password", PASSWORD, "--password-env", "HOME"],
        ["--password", PASSWORD, "--users", "everyone"],
        ["--password", PASSWORD, "--cert", "only.pem"],
        ["--password", PASSWORD, "--realm", "a\r\nb"],
    ],
)
def test_usage_that_fits_nothing_is_2(sipsua: Sipsua, options: list[str]) -> None:
    result = sipsua("pbx", *options)
    assert result.code == 2
    assert result.told


@pytest.mark.parametrize(
    "options",
    [["--cert", "missing.pem", "--key", "missing.key"], ["--client-ca", "missing.pem"], ["--password-env", "NO_SUCH"]],
)
def test_file_that_is_unfit_is_17(
    sipsua: Sipsua, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    password = [] if "--password-env" in options else ["--password", PASSWORD]
    assert sipsua("pbx", "--port", 0, *password, *options).code == 17


def test_port_that_is_taken_is_17(sipsua: Sipsua, tmp_path: Path) -> None:
    files = CertificateAuthority().issue("127.0.0.1").write(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = sipsua("pbx", "--port", port, "--password", PASSWORD, "--cert", files.certificate, "--key", files.key)
    assert result.code == 17
    assert f"port {port}" in result.told[0]
