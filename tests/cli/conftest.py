"""A pocket PBX in a process of its own, and `sipsua` as a function: its exit code and what it wrote, checked for secrets each time."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sipsua.cli import main
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority

PASSWORD = "Sesam-0effne-Dich-7"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1
        return dict(json.loads(self.out))

    @property
    def told(self) -> tuple[str, str]:
        """Cause and remedy: the last two lines on stderr."""
        what, fix = self.err.splitlines()[-2:]
        assert what.startswith("sipsua: ")
        assert fix.startswith("   fix: ")
        return what.removeprefix("sipsua: "), fix.removeprefix("   fix: ")


Sipsua = Callable[..., Result]


@pytest.fixture(autouse=True)
def signals_reach_children() -> Iterator[None]:
    """A shell starts what is to run in the background with SIGINT ignored, nohup with SIGHUP, and children inherit that."""
    numbers = (signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def sipsua(capsys: pytest.CaptureFixture[str]) -> Sipsua:
    """Run a command in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        assert "Traceback" not in out + err
        return Result(code, out, err)

    return run


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    """Who certified the servers of these tests."""
    return CertificateAuthority("CLI test CA")


@pytest.fixture(scope="session")
def ca(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate."""
    return authority.write(tmp_path_factory.mktemp("authority") / "ca.pem")


@pytest.fixture(scope="session")
def pbx(authority: CertificateAuthority) -> Iterator[PbxProcess]:
    """A PBX as it should be, with the user 1000."""
    issued = authority.issue("127.0.0.1", "localhost")
    with PbxProcess({"1000": PASSWORD}, certificate=(issued.chain_pem, issued.key_pem)) as process:
        yield process


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """The password, as a file."""
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path
