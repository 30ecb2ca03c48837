"""`sipsua register` against `openssl s_server`: what it says of a bad server does not depend on whose server is bad.

s_server speaks no SIP, so a handshake that is good ends in silence: exit code 16 with the padlock closed.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from sipsua.cli import main
from sipsua.testing.bad_case import Site
from sipsua.testing.bad_servers import CASES, BadServer, ClientFiles
from sipsua.testing.pki import CertificateAuthority

pytestmark = pytest.mark.interop

SITE = Site()


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs, with what its client needs."""

    port: int
    files: ClientFiles
    log: Path

    @property
    def uri(self) -> str:
        return f"sips:1000@{SITE.name}:{self.port}"


@pytest.fixture
def serve(require_program: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts `openssl s_server` with the certificates of a case."""
    openssl = require_program("openssl")
    with ExitStack() as stack:

        def start(case: str, *options: object) -> Served:
            made = BadServer(CASES[case], site=SITE)
            files, setup = made.write(tmp_path), made.setup
            leaf = setup.leaf.write(tmp_path, "leaf")
            shown: list[object] = ["-cert", leaf.certificate, "-key", leaf.key]
            if setup.chain:
                (tmp_path / "chain.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in setup.chain))
                shown += ["-cert_chain", tmp_path / "chain.pem"]
            if setup.staple:
                (tmp_path / "staple.der").write_bytes(setup.staple)
            log = tmp_path / "s_server.log"
            port = stack.enter_context(_s_server(openssl, log, *shown, *options))
            return Served(port, files, log)

        yield start


@contextmanager
def _s_server(openssl: str, log: Path, *options: object) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [openssl, "s_server", "-accept", f"127.0.0.1:{port}", *map(str, options)],
            stdin=subprocess.PIPE,  # it ends with its input
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 20
            while b"ACCEPT" not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            yield port
        finally:
            process.kill()


@pytest.fixture
def register(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs `sipsua register --json`, and returns the object."""

    def run(served: Served, *options: object) -> dict[str, Any]:
        arguments = ["register", served.uri, "--ca", served.files.ca, "--timeout", 2.0, "--json", *options]
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        report: dict[str, Any] = json.loads(out)
        assert report["exit_code"] == code
        return report

    return run


def problems(report: dict[str, Any]) -> set[str]:
    return {problem["code"] for problem in report["verdict"]["problems"]}


def logged(served: Served, words: str) -> bool:
    """Whether s_server comes to write this."""
    deadline = time.monotonic() + 10
    while words not in served.log.read_text(errors="replace"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_good_certificate_closes_the_padlock_and_then_nobody_speaks_sip(
    serve: Callable[..., Served], register: Callable[..., dict[str, Any]]
) -> None:
    report = register(serve("good"))
    assert report["exit_code"] == 16
    assert report["lock"]["state"] == "locked"
    assert report["verdict"]["problems"] == report["verdict"]["warnings"] == []


def test_expired_certificate_is_refused_with_its_alert(
    serve: Callable[..., Served], register: Callable[..., dict[str, Any]]
) -> None:
    served = serve("expired-leaf")
    report = register(served)
    assert report["exit_code"] == 10
    assert problems(report) == {"expired"}
    assert report["lock"]["state"] == "refused"
    assert logged(served, "alert certificate expired")


@pytest.mark.parametrize(("option", "version"), [("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1")])
def test_old_version_is_refused_unless_the_danger_is_asked_for(
    option: str, version: str, serve: Callable[..., Served], register: Callable[..., dict[str, Any]]
) -> None:
    served = serve("good", option, "-cipher", "ALL:@SECLEVEL=0")
    refused = register(served)
    assert refused["exit_code"] == 12
    assert refused["lock"]["state"] == "refused"
    accepted = register(served, "--dangerous-old-tls")
    assert accepted["exit_code"] == 16
    assert accepted["lock"]["state"] == "locked"
    assert accepted["lock"]["protocol"] == version


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_client_certificate_that_is_wanted(
    version: str, serve: Callable[..., Served], register: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    authority = CertificateAuthority("client CA")
    ours = authority.issue("phone").write(tmp_path, "ours")
    theirs = CertificateAuthority("another client CA").issue("phone").write(tmp_path, "theirs")
    ca = authority.write(tmp_path / "clients.pem")
    served = serve("good", version, "-Verify", 2, "-verify_return_error", "-CAfile", ca)
    without = register(served)
    wrong = register(served, "--cert", theirs.certificate, "--key", theirs.key)
    right = register(served, "--cert", ours.certificate, "--key", ours.key)
    assert without["exit_code"] == wrong["exit_code"] == 12
    assert right["exit_code"] == 16
    assert right["lock"]["state"] == "locked"


@pytest.mark.parametrize(
    ("case", "code", "found"),
    [
        ("staple-good", 16, set()),
        ("staple-revoked", 10, {"revoked"}),
        ("staple-expired-hard", 10, {"revocation_unknown"}),
        ("must-staple", 10, {"staple_missing"}),
    ],
)
def test_staple_is_held_to_what_it_says(
    case: str,
    code: int,
    found: set[str],
    serve: Callable[..., Served],
    register: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    staple = () if case == "must-staple" else ("-status_file", tmp_path / "staple.der")
    served = serve(case, *staple)
    report = register(served, "--staple", "--revocation", "hard")
    assert report["exit_code"] == code
    assert problems(report) == found
    if code == 10:
        assert logged(served, "bad certificate status response")
