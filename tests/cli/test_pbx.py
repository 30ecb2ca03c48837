"""`sipsua pbx` refuses what it cannot do before it listens."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from sipsua import AccountConfig, BadConfiguration, Policy, TrustList, UserAgent
from sipsua.cli.screen import Screen
from sipsua.cli.switchboard import Switchboard
from sipsua.testing.pki import CertificateAuthority
from tests.cli.conftest import PASSWORD, Sipsua


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--password", PASSWORD, "--password-env", "HOME"],
        ["--password", PASSWORD, "--users", "every one"],
        ["--password", PASSWORD, "--cert", "only.pem"],
        ["--password", PASSWORD, "--host", ""],
        ["--password", PASSWORD, "--realm", "a\r\nb"],
    ],
)
def test_usage_that_fits_nothing_is_2(sipsua: Sipsua, options: list[str]) -> None:
    result = sipsua("pbx", *options)
    assert result.code == 2
    assert result.told


@pytest.mark.parametrize(
    "options",
    [
        ["--cert", "missing.pem", "--key", "missing.key"],
        ["--client-ca", "missing.pem"],
        ["--password-env", "NO_SUCH"],
        ["--password", ""],
    ],
)
def test_file_that_is_unfit_is_17(
    sipsua: Sipsua, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    password = [] if {"--password-env", "--password"}.intersection(options) else ["--password", PASSWORD]
    assert sipsua("pbx", "--port", 0, *password, *options).code == 17
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--cert", "a.pem", "--key", "b.key"], ["a.pem", "b.key"]),
        (["--client-ca", "empty"], ["empty"]),
    ],
)
def test_file_that_does_not_fit_is_named(
    sipsua: Sipsua, options: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        CertificateAuthority().issue("127.0.0.1").write(tmp_path, name)
    Path("empty").touch()
    result = sipsua("pbx", "--port", 0, "--password", PASSWORD, *options)
    assert result.code == 17
    for name in names:
        assert name in result.told[0]


def test_port_that_is_taken_is_17_and_leaves_no_files(
    sipsua: Sipsua, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = sipsua("pbx", "--port", port, "--password", PASSWORD)
    assert result.code == 17
    assert list(tmp_path.iterdir()) == []
    assert f"port {port}" in result.told[0]


@pytest.mark.asyncio
async def test_disk_that_fills_up_later_ends_the_pbx() -> None:
    class Full(Screen):
        def line(self, *parts: Any, **options: Any) -> None:
            raise BadConfiguration("cannot write to standard output: No space left on device")

    async with Switchboard({"1000": PASSWORD}, Full()) as pbx:
        serving = asyncio.create_task(pbx.serve())
        trust = Policy(anchors=TrustList.from_pem(pbx.ca_pem))
        async with UserAgent(AccountConfig(uri=pbx.uri("1000"), password=PASSWORD, policy=trust)) as ua:
            await ua.register(10.0)
        with pytest.raises(BadConfiguration, match="No space left"):
            await serving


@pytest.mark.parametrize("command", [["pbx", "--port", "0"], ["bad-pbx", "good", "--port", "0"]])
def test_password_that_nobody_writes_is_17_in_time(
    sipsua: Sipsua, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("sipsua.cli.interrupt.PATIENCE", 0.1)
    os.mkfifo(tmp_path / "fifo")
    result = sipsua(*command, "--password-file", tmp_path / "fifo")
    assert result.code == 17
    assert "the file of --password-file could not be opened and read" in result.told[0]


@pytest.mark.parametrize("command", [["pbx", "--password", PASSWORD], ["bad-pbx", "good"]])
def test_address_that_is_not_ours_is_17_and_named_once(sipsua: Sipsua, command: list[str]) -> None:
    result = sipsua(*command, "--host", "192.0.2.1", "--port", "0")
    assert result.code == 17
    assert result.told[0].endswith("cannot listen on 192.0.2.1 port 0: Cannot assign requested address")
