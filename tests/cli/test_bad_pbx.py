"""`sipsua bad-pbx` as the process that a person starts, and `sipsua register` as the phone under test."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import PASSWORD, Sipsua

TOP = Path(__file__).parent.parent.parent
PROGRAM = [sys.executable, "-c", "import sys; from sipsua.cli import main; sys.exit(main())"]


class BadPbx:
    """A server that runs, and what it said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.said: list[str] = []

    def until(self, words: str) -> str:
        """The line with these words."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError((self.said, self._process.communicate()))


@contextmanager
def bad_pbx(directory: Path, *arguments: object, end: signal.Signals = signal.SIGINT) -> Iterator[BadPbx]:
    with subprocess.Popen(
        [*PROGRAM, "bad-pbx", *map(str, arguments), "--port", "0"],
        cwd=TOP,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(directory), "COLUMNS": "40"},
    ) as process:
        pbx = BadPbx(process)
        try:
            yield pbx
        finally:
            process.send_signal(end)
            out, err = process.communicate()
            pbx.said.append(out)
        assert process.returncode == 0
        assert err == ""
        assert PASSWORD not in "".join(pbx.said)


def tried(pbx: BadPbx, sipsua: Sipsua, *more: object) -> int:
    """The exit code of the command that it says to try."""
    program, *arguments = shlex.split(pbx.until("to try it").partition("to try it")[2])
    assert program == "sipsua"
    return sipsua(*arguments, *more).code


def test_phone_that_refuses_is_told_to_be_right(sipsua: Sipsua, tmp_path: Path) -> None:
    with bad_pbx(tmp_path, "expired-leaf") as pbx:
        assert tried(pbx, sipsua) == 10
        line = pbx.until("from 127.0.0.1")
    assert "did not finish the handshake, sent the alert certificate_expired, closed the connection: right\n" in line
    assert "bad PBX expired-leaf on 127.0.0.1 port " in pbx.said[0]
    assert any(
        "good phone  refuses the certificate (expired), and sends the alert certificate_expired" in one
        for one in pbx.said
    )
    assert list(tmp_path.iterdir()) == []


def test_phone_that_accepts_what_it_should_not_is_seen_to_register(sipsua: Sipsua, tmp_path: Path) -> None:
    with bad_pbx(tmp_path, "untrusted-root", end=signal.SIGTERM) as pbx:
        assert tried(pbx, sipsua, "--dangerous-accept-any-certificate") == 0
        registered = pbx.until("registered")
        left = pbx.until("registered and left")
    assert registered.endswith("registered, WRONG: it should refuse\n")
    assert left.endswith(": WRONG: it should refuse\n")


def test_phone_that_registers_with_a_good_one_is_right_and_one_that_stays_is_told_at_the_end(
    sipsua: Sipsua, tmp_path: Path
) -> None:
    with bad_pbx(tmp_path, "wildcard", "--password", PASSWORD) as pbx:
        command = pbx.until("to try it").partition("to try it")[2]
        assert command.endswith(" --password PASSWORD\n")
        _, *arguments = shlex.split(command)
        with subprocess.Popen(
            [*PROGRAM, *arguments[:-1], PASSWORD, "--keep", "50"], cwd=TOP, stdout=subprocess.PIPE, text=True
        ) as phone:
            try:
                assert pbx.until("registered").endswith("registered, right\n")
            finally:
                phone.send_signal(signal.SIGINT)
                phone.communicate()
        assert "registered and left, sent the alert close_notify" in pbx.until("registered and left")


def test_connection_that_is_open_at_the_end_is_told_of_then(tmp_path: Path) -> None:

    with bad_pbx(tmp_path, "silence") as pbx:
        port = int(pbx.until("bad PBX").partition(" port ")[2].partition(",")[0])
        pbx.until("to try it")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"\x16\x03\x01\x00\x05hello")
            os.kill(pbx._process.pid, signal.SIGINT)
            assert client.recv(1) == b""
    assert "did not finish the handshake, stayed until the end: right" in "".join(pbx.said)


def test_files_that_are_to_be_kept_are(sipsua: Sipsua, tmp_path: Path) -> None:
    files = tmp_path / "for" / "the phone"
    with bad_pbx(tmp_path, "crl-revoked", "--write", files) as pbx:
        assert tried(pbx, sipsua) == 10
        pbx.until("sent the alert certificate_revoked")
    assert sorted(path.name for path in files.iterdir()) == ["ca.pem", "crl.pem"]
    assert not any("removed at the end" in line for line in pbx.said)


@pytest.mark.parametrize("case", ["client-certificate", "name-ip", "staple-good"])
def test_command_to_try_works_as_it_stands(case: str, sipsua: Sipsua, tmp_path: Path) -> None:
    with bad_pbx(tmp_path, case, "--write", tmp_path) as pbx:
        assert tried(pbx, sipsua) == 0


def test_help_comes_without_what_only_the_work_needs() -> None:
    program = (
        "import sys; from sipsua.cli import main; code = main(['bad-pbx', '--help']);"
        "print(code, sorted({'OpenSSL', 'cryptography', 'asyncio', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
    assert "--list" in done.stdout
