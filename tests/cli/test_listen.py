"""`sipsua register --listen`: the phone takes connections, and a person sees who comes."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority, IssuedFiles
from tests.cli.conftest import PASSWORD, Sipsua
from tests.net.callers import options

SIPSUA = [sys.executable, "-c", "import sys; from sipsua.cli import main; sys.exit(main())"]


@pytest.fixture
def phone(authority: CertificateAuthority, tmp_path: Path) -> IssuedFiles:
    """The phone's certificate."""
    return authority.issue(common_name="001565abcdef").write(tmp_path, "phone")


@contextmanager
def call(port: int, ca: Path, client: IssuedFiles | None = None) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as sock, context.wrap_socket(sock) as tls:
        yield tls


def test_clients_are_shown_the_phones_certificate_and_told_on_the_screen(
    pbx: PbxProcess, authority: CertificateAuthority, ca: Path, phone: IssuedFiles, tmp_path: Path
) -> None:
    client = authority.issue("pbx.example.com").write(tmp_path, "client")
    stranger = CertificateAuthority("other CA").issue("stranger.example.com").write(tmp_path, "stranger")
    command = [*SIPSUA, "register", f"sips:1000@127.0.0.1:{pbx.port}", "--ca", ca, "--keep", "50", "--listen", "0"]
    command += ["--listen-demand-certificate", "--cert", phone.certificate, "--key", phone.key]
    with subprocess.Popen(
        [*map(str, command), "--password-env", "PHONE_PASSWORD"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PHONE_PASSWORD": PASSWORD},
    ) as process:
        assert process.stdout is not None
        out = ""

        def read_until(words: str) -> None:
            nonlocal out
            assert process.stdout is not None
            while words not in out:
                line = process.stdout.readline()
                assert line, out
                out += line

        read_until("registered 200 OK")
        found = re.search(r"listening on port (\d+) as CN=001565abcdef\n", out)
        assert found is not None
        port = int(found[1])
        with call(port, ca, client) as tls:
            tls.sendall(options("1000", 1))
            assert tls.recv(4096).startswith(b"SIP/2.0 200 OK\r\n")
            read_until("sent OPTIONS and got 200")
            tls.unwrap()
        read_until("is gone: it closed the flow")
        with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"), call(port, ca, stranger) as tls:
            tls.recv(4096)
        read_until("trust the issuer of the client's certificate")
        with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            read_until("set its transport to TLS")
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate()
    assert process.returncode == 130
    assert "unregistered the registrar answered 200" in rest
    assert PASSWORD not in out + rest
    assert "Traceback" not in out + rest
    for words in (
        r"client 127\.0\.0\.1:\d+ connected: TLSv1\.3, TLS_\w+, it showed CN=pbx\.example\.com\n",
        r"\d 127\.0\.0\.1:\d+ sent OPTIONS and got 200\n",
        r"client 127\.0\.0\.1:\d+: its certificate was refused; it was sent the alert unknown_ca \(48\)\n  verdict refused for the client ",
        r"\n    unknown_issuer in certificate 0\n      seen   OpenSSL refuses CN=stranger\.example\.com: ",
        r"client 127\.0\.0\.1:\d+: the client does not speak TLS but HTTP: 'GET / HTTP/1\.1'\n",
    ):
        assert re.search(words, out), words


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ([], [True, True]),
        (["--tls", "1.2"], [True, False]),
        (["--tls", "1.3"], [False, True]),
        (["--dangerous-old-tls", "--tls", "1.0-1.2"], [True, False]),
    ],
)
def test_callers_get_the_versions_of_tls_and_none_below_1_2(
    pbx: PbxProcess, ca: Path, phone: IssuedFiles, options: list[str], taken: list[bool]
) -> None:
    command = [*SIPSUA, "register", f"sips:1000@127.0.0.1:{pbx.port}", "--ca", ca, "--keep", "50", "--listen", "0"]
    command += ["--cert", phone.certificate, "--key", phone.key, "--password-env", "PHONE_PASSWORD", *options]
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PHONE_PASSWORD": PASSWORD}
    ) as process:
        try:
            assert process.stdout is not None
            line = ""
            while "listening" not in line:
                line = process.stdout.readline()
                assert line
            found = re.search(r"on port (\d+) ", line)
            assert found is not None
            assert [
                speaks(int(found[1]), ca, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
            ] == taken
        finally:
            process.terminate()


def speaks(port: int, ca: Path, version: ssl.TLSVersion) -> bool:
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as sock:
        try:
            context.wrap_socket(sock).close()
        except ssl.SSLError:
            return False
    return True


def test_port_that_is_taken_is_a_bad_setting(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, phone: IssuedFiles, password_file: Path
) -> None:
    result = sipsua(
        *("register", f"sips:1000@127.0.0.1:{pbx.port}", "--ca", ca, "--password-file", password_file, "--keep", "9"),
        *("--listen", pbx.port, "--cert", phone.certificate, "--key", phone.key),
    )
    assert result.code == 17
    assert f"cannot listen on port {pbx.port}" in result.told[0]
    assert pbx.counts().bound == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--listen", "0", "--keep", "9"], "--listen without --cert"),
        (["--listen", "0", "--cert", "PHONE"], "--listen without --keep"),
        (["--listen-demand-certificate", "--keep", "9"], "--listen-demand-certificate without --listen"),
        (["--listen", "0", "--keep", "9", "--cert", "PHONE", "--listen-demand-certificate"], "without --ca"),
        (["--listen", "70000", "--keep", "9"], "65535"),
    ],
)
def test_listening_without_what_it_needs_is_a_usage_error(
    sipsua: Sipsua, phone: IssuedFiles, tmp_path: Path, arguments: list[str], what: str
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(phone.certificate.read_bytes() + phone.key.read_bytes())
    result = sipsua(
        "register", "sips:1000@127.0.0.1:9", *(str(both) if word == "PHONE" else word for word in arguments)
    )
    assert result.code == 2
    assert what in result.err
