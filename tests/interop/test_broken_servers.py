"""Proof that each broken server is broken in its own way, as OpenSSL's client in Python's ssl sees it."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from sipsua.testing.pki import IssuedFiles
from tests.interop import broken_servers
from tests.interop.broken_servers import BrokenServer

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def connect(server: BrokenServer, authority_file: Path | None, *, timeout: float = 10) -> ssl.SSLSocket:
    """A TLS client whose handshake is over; it trusts nobody without an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority_file:
        context.load_verify_locations(authority_file)
    tcp = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    try:
        return context.wrap_socket(tcp, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
    except BaseException:
        tcp.close()
        raise


@pytest.mark.parametrize("make", [broken_servers.plain_sip, broken_servers.plain_http])
def test_plain_text_is_no_tls(make: Callable[[], BrokenServer], authority_file: Path) -> None:
    with make() as server, pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
        connect(server, authority_file)
    assert server.visits[0].received[0] == 22
    assert server.visits[0].ended != "open"


def test_silent_server_keeps_the_client_waiting(authority_file: Path) -> None:
    with broken_servers.silent() as server, pytest.raises(TimeoutError):
        connect(server, authority_file, timeout=0.2)
    assert server.visits[0].received[0] == 22
    assert server.visits[0].ended == "closed"


def test_close_at_once_is_an_end_of_file(authority_file: Path) -> None:
    with broken_servers.closes_at_once() as server, pytest.raises(ssl.SSLEOFError):
        connect(server, authority_file)


@pytest.mark.parametrize("make", [broken_servers.resets_at_accept, broken_servers.resets_after_client_hello])
def test_reset_is_a_reset(make: Callable[[], BrokenServer], authority_file: Path) -> None:
    with make() as server, pytest.raises(ConnectionResetError):
        connect(server, authority_file)
    assert len(server.visits) == 1


def test_stop_in_handshake_comes_after_the_server_hello(server_files: IssuedFiles, authority_file: Path) -> None:
    with broken_servers.stops_in_handshake(server_files) as server, pytest.raises(TimeoutError):
        connect(server, authority_file, timeout=0.2)
    assert not server.visits[0].handshaken


def test_one_octet_at_a_time_makes_an_honest_handshake_slow(server_files: IssuedFiles) -> None:
    with (
        broken_servers.one_octet_at_a_time(server_files, interval=0.001) as server,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        connect(server, None)
    assert server.visits[0].ended != "open"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_silence_after_the_handshake(server_files: IssuedFiles, authority_file: Path, version: ssl.TLSVersion) -> None:
    with (
        broken_servers.tls_then_silence(server_files, version=version) as server,
        connect(server, authority_file, timeout=0.2) as client,
    ):
        client.sendall(b"REGISTER")
        with pytest.raises(TimeoutError):
            client.recv(1)
    (visit,) = server.visits
    assert (visit.handshaken, visit.decrypted, visit.alert, visit.ended) == (True, b"REGISTER", None, "closed")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_alert_of_a_client_that_refuses_the_certificate_is_noted(
    server_files: IssuedFiles, version: ssl.TLSVersion
) -> None:
    with (
        broken_servers.tls_then_silence(server_files, version=version) as server,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        connect(server, None)
    assert server.visits[0].alert == "unknown_ca"
    assert not server.visits[0].handshaken


def test_close_notify_of_the_client_is_noted(server_files: IssuedFiles, authority_file: Path) -> None:
    with (
        broken_servers.tls_then_silence(server_files) as server,
        connect(server, authority_file, timeout=0.2) as client,
        pytest.raises(TimeoutError),
    ):
        client.unwrap()
    assert server.visits[0].alert == "close_notify"


def test_garbage_arrives_as_application_data(server_files: IssuedFiles, authority_file: Path) -> None:
    with (
        broken_servers.tls_then_garbage(server_files, b"\0garbage") as server,
        connect(server, authority_file) as client,
    ):
        assert client.recv(100) == b"\0garbage"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_broken_record_is_refused_with_bad_record_mac(
    server_files: IssuedFiles, authority_file: Path, version: ssl.TLSVersion
) -> None:
    with (
        broken_servers.tls_then_broken_record(server_files, version=version) as server,
        connect(server, authority_file) as client,
        pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"),
    ):
        client.recv(100)
    assert server.visits[0].alert == "bad_record_mac"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_close_after_the_handshake_is_clean_with_a_close_notify_and_an_error_without(
    server_files: IssuedFiles, authority_file: Path, version: ssl.TLSVersion
) -> None:
    with (
        broken_servers.tls_then_close(server_files, version=version) as server,
        connect(server, authority_file) as client,
    ):
        assert client.recv(100) == b""
    with (
        broken_servers.tls_then_close(server_files, notify=False, version=version) as server,
        connect(server, authority_file) as client,
        pytest.raises(ssl.SSLEOFError),
    ):
        client.recv(100)


def test_client_that_stays_is_noted_as_open_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken_servers, "GRACE", 0.05)
    with broken_servers.silent() as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with client:
        assert client.recv(1) == b""
    assert server.visits[0].ended == "open"
