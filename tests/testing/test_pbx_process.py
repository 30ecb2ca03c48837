"""The pocket PBX in a process of its own."""

from __future__ import annotations

import os
import socket
import ssl

import pytest

from sipsua.errors import BadConfiguration, Misuse
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority
from sipsua.testing.registrar import users_in
from sipsua.trust.policy import TlsVersion

REGISTER = (
    b"REGISTER sips:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sips:1000@a>;tag=1\r\n"
    b"To: <sips:1000@a>\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
)


def exchange(port: int, ca_pem: bytes, message: bytes) -> bytes:
    context = ssl.create_default_context(cadata=ca_pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port)) as tcp,
        context.wrap_socket(tcp, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(message)
        return connection.recv(65536)


def test_it_serves_counts_and_ends() -> None:
    with PbxProcess(users_in("1000-1001", "secret"), realm="child", maximum=TlsVersion.TLS1_2) as pbx:
        answer = exchange(pbx.port, pbx.ca_pem, REGISTER + b"\r\n\r\n")
        assert answer.startswith(b"SIP/2.0 401 Unauthorized\r\n")
        assert b'realm="child"' in answer
        counts = pbx.counts()
        assert counts.requests == {"REGISTER": 1}
        assert counts.responses == {401: 1}
        assert (counts.pings, counts.bound, counts.failures) == (1, 0, ())
        assert counts.cpu_seconds > 0
        pid, port = pbx.pid, pbx.port
        assert pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    with pytest.raises(Misuse, match="does not run"):
        pbx.counts()


def test_a_given_certificate_is_shown() -> None:
    authority = CertificateAuthority()
    issued = authority.issue("127.0.0.1")
    with PbxProcess({"1000": "secret"}, certificate=(issued.chain_pem, issued.key_pem)) as pbx:
        assert pbx.ca_pem == b""
        assert b" 401 " in exchange(pbx.port, authority.pem, REGISTER)


def test_what_it_cannot_use_is_told_to_the_parent() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(BadConfiguration, match="cannot listen on 127"),
        PbxProcess({}, port=taken.getsockname()[1]),
    ):
        pass
    with pytest.raises(BadConfiguration, match="ROT13"), PbxProcess({}, algorithm="ROT13"):
        pass


def test_more_users_than_a_pipe_holds_arrive() -> None:
    with PbxProcess(users_in("100000-119999", "secret")) as pbx:
        assert pbx.counts().bound == 0
