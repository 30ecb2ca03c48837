"""Proof that each bad server is bad in its own way, as clients see it that are not ours: Python's ssl, and OpenSSL's programs for OCSP."""

from __future__ import annotations

import re
import socket
import ssl
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sipsua.errors import BadConfiguration
from sipsua.sip.message import Response
from sipsua.testing import bad_servers
from sipsua.testing.bad_case import Case, Kind, Site
from sipsua.testing.bad_servers import CASES, BadServer
from sipsua.testing.pki import CertificateAuthority
from sipsua.testing.visit import Progress, Visit

SILENT = {"silence", "silence-after-server-hello", "one-octet-a-second", "tls-then-silence"}

REFUSED: dict[str, int] = {
    # X509_V_ERR_* of openssl/x509_vfy.h, by which Python's ssl refuses the certificate.
    **dict.fromkeys(("expired-leaf", "expired-intermediate", "expired-root"), 10),
    **dict.fromkeys(("not-yet-valid-leaf", "not-yet-valid-intermediate"), 9),
    **dict.fromkeys(("self-signed", "self-signed-ca"), 18),
    **dict.fromkeys(("untrusted-root", "root-of-same-name"), 20),
    **dict.fromkeys(("incomplete-chain", "incomplete-chain-aia", "incomplete-chain-gap"), 20),
    "untrusted-root-sent": 19,
    **dict.fromkeys(("eku-client-only", "eku-of-ca-client-only", "key-usage-without-signature"), 26),
    **dict.fromkeys(("key-usage-of-ca", "not-a-ca", "no-basic-constraints"), 79),
    "path-length": 25,
    "name-constraints-permitted": 47,
    "name-constraints-excluded": 48,
    **dict.fromkeys(("unknown-critical-extension", "unknown-critical-extension-of-ca"), 34),
    "weak-key": 66,
    "weak-key-of-ca": 67,
    **dict.fromkeys(("weak-signature-sha1", "weak-signature-md5"), 68),
    **dict.fromkeys(("bad-signature", "bad-signature-of-ca"), 7),
    "malformed-extension": 20,
    **dict.fromkeys(("crl-revoked", "crl-revoked-intermediate"), 23),
    # It knows no soft failure.
    **dict.fromkeys(("crl-expired", "crl-expired-hard"), 12),
    "crl-missing-hard": 3,
    "crl-forged-hard": 8,
    **dict.fromkeys(("name-ip-other", "name-ip-as-dns", "name-ip-as-cn", "name-ip-missing", "wildcard-ip"), 64),
    **dict.fromkeys(
        (
            *("name-other-dns", "name-other-domain", "name-parent-domain", "name-subdomain", "name-with-port"),
            *("name-with-nul", "name-cn-other", "name-cn-with-nul", "name-cn-right-san-other", "name-empty"),
            *("name-uri-other", "name-uri-only", "name-uri-of-a-user", "name-email-only", "name-directory-only"),
            *("wildcard-two-deep", "wildcard-below", "wildcard-other-domain", "wildcard-a-label", "wildcard-alone"),
            *("wildcard-partial-rfc6125", "wildcard-middle-rfc6125", "wildcard-twice-rfc6125"),
            "wildcard-in-the-last-label",
            # It goes by a stricter rule than RFC 2818, by no other, or does not take the dot.
            *("wildcard-partial", "wildcard-of-a-tld", "name-uri-only-rfc5922", "name-trailing-dot"),
        ),
        62,
    ),
}

BROKEN: dict[str, type[OSError] | str] = {
    # The error of Python's ssl, or the reason in it, where TLS does not come about or breaks.
    "huge-chain": "EXCESSIVE_MESSAGE_SIZE",
    **dict.fromkeys(("tls-1.0-only", "tls-1.1-only"), "TLSV1_ALERT_PROTOCOL_VERSION"),
    **dict.fromkeys(("no-common-cipher", "no-common-group"), "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    "client-certificate-wanted": "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "client-certificate-wanted-tls-1.2": "SSLV3_ALERT_HANDSHAKE_FAILURE",
    **dict.fromkeys(("client-certificate-untrusted", "client-certificate-untrusted-tls-1.2"), "TLSV1_ALERT_UNKNOWN_CA"),
    **dict.fromkeys(("plain-sip", "plain-http", "plain-ssh"), "WRONG_VERSION_NUMBER"),
    **dict.fromkeys(SILENT, TimeoutError),
    **dict.fromkeys(
        (f"close-{stage}" for stage in ("at-accept", "after-client-hello", "after-server-hello", "after-certificate")),
        ssl.SSLEOFError,
    ),
    **dict.fromkeys(
        (f"reset-{stage}" for stage in ("at-accept", "after-client-hello", "after-server-hello", "after-certificate")),
        ConnectionResetError,
    ),
    "garbage-server-hello": "LENGTH_MISMATCH",
    "garbage-in-handshake": "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    **dict.fromkeys(("unknown-content-type", "message-order", "data-before-handshake"), "UNEXPECTED_MESSAGE"),
    "oversized-record": "PACKET_LENGTH_TOO_LONG",
    "empty-records": "RECORD_TOO_SMALL",
    "alert-handshake-failure": "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "alert-internal-error": "TLSV1_ALERT_INTERNAL_ERROR",
    "alert-unrecognized-name": "TLSV1_UNRECOGNIZED_NAME",
    "certificate-garbage": ssl.SSLError,
    "tls-then-broken-record": "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    "tls-then-oversized-record": "PACKET_LENGTH_TOO_LONG",
    "tls-then-plain-sip": "WRONG_VERSION_NUMBER",
    "tls-then-empty-records": "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    "tls-then-fin": ssl.SSLEOFError,
    "tls-then-reset": OSError,
}

OPTIONS = (
    b"OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
REGISTER = OPTIONS.replace(b"OPTIONS", b"REGISTER").replace(b"Content-Length", b"Contact: <sips:a@c>\r\nContent-Length")


def connect(server: BadServer, directory: Path, *, timeout: float = 10) -> ssl.SSLSocket:
    """A client of Python's ssl, given what the case wants its client to be given; its handshake is over."""
    files = server.write(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    if files.crl is not None:
        context.load_verify_locations(files.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if files.certificate is not None:
        context.load_cert_chain(files.certificate, files.key)
    tcp = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
    try:
        return context.wrap_socket(tcp, server_hostname=server.setup.reference, suppress_ragged_eofs=False)
    except BaseException:
        tcp.close()
        raise


def ask(server: BadServer, directory: Path, request: bytes = OPTIONS) -> bytes:
    """What it answers."""
    with connect(server, directory, timeout=0.2 if server.case.name in SILENT else 10) as client:
        client.sendall(request)
        return client.recv(65536)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_python_refuses_it_for_its_one_fault_or_is_answered(case: Case, tmp_path: Path) -> None:
    name, broken = case.name, BROKEN.get(case.name)
    with BadServer(case) as server:
        if name in REFUSED:
            with pytest.raises(ssl.SSLCertVerificationError) as refusal:
                ask(server, tmp_path)
            assert refusal.value.verify_code == REFUSED[name]
        elif isinstance(broken, str):
            with pytest.raises(ssl.SSLError) as failure:
                ask(server, tmp_path)
            assert failure.value.reason == broken
        elif broken is not None:
            with pytest.raises(broken):
                ask(server, tmp_path)
        else:
            answer = ask(server, tmp_path)
            expected = {"tls-then-garbage": b"\x00\xff\x16SIP?", "tls-then-close": b""}.get(name, b"SIP/2.0 200 OK\r\n")
            assert answer[: len(expected) or 1] == expected
    (visit,) = server.visits
    assert visit.over
    assert visit.handshaken is (case.kind is Kind.FLOW or (name not in REFUSED and name not in BROKEN))


@pytest.mark.parametrize(
    ("name", "sent", "said"),
    [
        ("staple-good", "Cert Status: good", "leaf.pem: good.*Response verify OK"),
        ("staple-good-delegate", "Cert Status: good", "leaf.pem: good.*Response verify OK"),
        ("staple-revoked", "Cert Status: revoked", "leaf.pem: revoked.*Response verify OK"),
        ("staple-unknown-hard", "Cert Status: unknown", "leaf.pem: unknown.*Response verify OK"),
        ("staple-expired-hard", "Cert Status: good", "Status times invalid.*status expired.*Response verify OK"),
        ("staple-of-another-hard", "Cert Status: good", "No Status found.*Response verify OK"),
        ("staple-of-a-stranger-hard", "Cert Status: good", "Response Verify Failure.*missing ocspsigning usage"),
        ("staple-forged-hard", "Cert Status: good", "Response Verify Failure.*signature failure"),
        ("staple-garbage-hard", "Response Type: Basic OCSP Response", "Error parsing response"),
        ("staple-refusal-hard", "OCSP Response Status: trylater", "Responder Error: trylater"),
        ("staple-missing-hard", "OCSP response: no response sent", ""),
        ("must-staple", "OCSP response: no response sent", ""),
    ],
)
def test_openssl_sees_the_staple_and_what_is_wrong_with_it(
    name: str, sent: str, said: str, require_program: Callable[[str], str], tmp_path: Path
) -> None:
    openssl = require_program("openssl")
    with BadServer(CASES[name]) as server:
        ca = server.write(tmp_path).ca
        words = run(openssl, "s_client", "-status", "-CAfile", ca, "-connect", f"127.0.0.1:{server.port}")
    assert sent in words
    leaf, staple = tmp_path / "leaf.pem", tmp_path / "staple.der"
    leaf.write_bytes(server.setup.leaf.certificate_pem)
    if said:
        staple.write_bytes(server.setup.staple)
        words = run(openssl, "ocsp", "-respin", staple, "-issuer", ca, "-cert", leaf, "-CAfile", ca)
        assert re.search(said, words, re.DOTALL), words
    promise = run(openssl, "x509", "-in", leaf, "-noout", "-ext", "tlsfeature")
    assert ("status_request" in promise) is (name == "must-staple")


def run(*command: object) -> str:
    """What a program wrote, to whichever of its two streams."""
    done = subprocess.run(list(map(str, command)), input=b"", capture_output=True, check=False)
    return (done.stdout + done.stderr).decode()


def test_every_case_of_the_tables_exists_and_the_names_are_for_command_lines() -> None:
    assert not (REFUSED.keys() | BROKEN.keys()) - CASES.keys()
    assert not REFUSED.keys() & BROKEN.keys()
    for case in CASES.values():
        assert re.fullmatch(r"[a-z0-9]+(?:[-.][a-z0-9]+)*", case.name)
        assert case.what.endswith(".")


SITES = (
    Site("pbx.example.com", "192.0.2.10"),
    Site("pbx.test", "2001:db8::10"),
    Site(f"{'a' * 40}.example", "192.0.2.10"),
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_certificates_are_made_for_any_site(case: Case) -> None:
    for site in SITES:
        setup = case.make(site)
        assert setup.reference == site.address or setup.reference.endswith(site.fill(".{top}"))
        assert b"localhost" not in setup.leaf.certificate.public_bytes(Encoding.DER)
        setup.context()


def test_names_below_and_beside_the_site_are_filled_in() -> None:
    site = Site("pbx.example.com", "192.0.2.10")
    assert site.fill("{name} {parent} {top} {address}") == "pbx.example.com example.com com 192.0.2.10"
    assert site.fill("*.{tail}") == "*.0.2.10"


def test_files_are_those_that_the_case_has_and_the_key_is_private(tmp_path: Path) -> None:
    server = BadServer(CASES["client-certificate-untrusted"])
    files = server.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "client.key", "client.pem"]
    assert files.crl is None
    assert files.key is not None
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert tuple(x509.load_pem_x509_certificates(files.ca.read_bytes())) == server.setup.anchors
    crl = BadServer(CASES["crl-revoked"]).write(tmp_path).crl
    assert crl is not None
    assert crl.read_bytes().count(b"BEGIN X509 CRL") == 2


def test_client_that_registers_is_noted_and_asked_for_no_password(tmp_path: Path) -> None:
    with BadServer(CASES["good"]) as server:
        answer = ask(server, tmp_path, REGISTER)
    assert answer.startswith(b"SIP/2.0 200 OK\r\n")
    assert b"\r\nContact: <sips:a@c>;expires=3600\r\n" in answer
    assert server.visits[0].progress is Progress.REGISTERED
    assert server.visits[0].answers == [("REGISTER", 200)]


def test_contact_that_is_taken_back_is_bound_no_more(tmp_path: Path) -> None:
    request = REGISTER.replace(b"\r\nContent-Length", b"\r\nExpires: 0\r\nContent-Length")
    with BadServer(CASES["good"]) as server:
        assert b"Contact" not in ask(server, tmp_path, request)


def test_malformed_register_is_400(tmp_path: Path) -> None:
    with BadServer(CASES["good"]) as server:
        assert ask(server, tmp_path, REGISTER.replace(b"CSeq: 1 ", b"CSeq: x ")).startswith(b"SIP/2.0 400 ")


def test_server_with_a_password_challenges(tmp_path: Path) -> None:
    with BadServer(CASES["good"], password="secret") as server:
        answer = ask(server, tmp_path, REGISTER)
    assert answer.startswith(b"SIP/2.0 401 ")
    assert server.visits[0].progress is Progress.HANDSHAKE


def test_ping_is_answered(tmp_path: Path) -> None:
    with BadServer(CASES["good"]) as server:
        assert ask(server, tmp_path, b"\r\n\r\n") == b"\r\n"


def test_what_is_no_sip_ends_the_connection_in_good_order(tmp_path: Path) -> None:
    with BadServer(CASES["good"]) as server:
        assert ask(server, tmp_path, b"\x00\xff no SIP\r\n\r\n") == b""
    assert server.visits[0].fault


def test_client_is_told_of_when_it_has_registered_and_when_it_has_left(tmp_path: Path) -> None:
    told: list[tuple[Progress, bool]] = []
    left = threading.Event()

    def note(visit: Visit) -> None:
        told.append((visit.progress, visit.over))
        if visit.over:
            left.set()

    with BadServer(CASES["good"], told=note) as server:
        ask(server, tmp_path, REGISTER)
        assert left.wait(10)
        assert server.visits == []
    assert told == [(Progress.REGISTERED, False), (Progress.REGISTERED, True)]


def test_client_that_stays_is_noted_as_open_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_servers, "GRACE", 0.05)
    with BadServer(CASES["silence"]) as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with client:
        assert client.recv(1) == b""
    assert server.visits[0].ended == "open"
    assert server.visits[0].progress is Progress.CONNECTED


@pytest.mark.parametrize("case", ["silence", "plain-sip", "good", "tls-then-silence"])
def test_client_that_resets_the_connection_is_noted_as_such(case: str) -> None:
    with BadServer(CASES[case]) as server:
        for place, reset in enumerate((True, False)):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                client.sendall(b"\x16")
                deadline = time.monotonic() + 10
                while (
                    not (len(server.visits) > place and server.visits[place].received) and time.monotonic() < deadline
                ):
                    time.sleep(0.005)
                if case == "plain-sip":
                    client.recv(1024)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
    assert [visit.ended for visit in server.visits] == ["reset", "closed"]


def test_connections_beyond_the_most_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_servers, "MAX_VISITS", 2)
    with BadServer(CASES["silence"]) as server:
        first, second = (socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(2))
        with first, second, socket.create_connection(("127.0.0.1", server.port), timeout=10) as third:
            assert third.recv(1) == b""
    assert len(server.visits) == 2


def test_alert_of_a_client_is_noted_whatever_its_version(tmp_path: Path) -> None:
    other = CertificateAuthority("another CA").write(tmp_path / "other.pem")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(other)
        context.minimum_version = context.maximum_version = version
        with (
            BadServer(CASES["good"]) as server,
            socket.create_connection(("127.0.0.1", server.port), timeout=10) as tcp,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(tcp, server_hostname=server.setup.reference)
        assert (server.visits[0].alert, server.visits[0].progress) == ("unknown_ca", Progress.HELLO)


def test_port_that_is_taken_is_told() -> None:
    with BadServer(CASES["good"]) as server, pytest.raises(BadConfiguration, match=f"port {server.port}"):
        BadServer(CASES["good"], port=server.port).__enter__()


def test_server_listens_on_ipv6_too(tmp_path: Path) -> None:
    with BadServer(CASES["name-ip"], site=Site(address="::1"), host="::1") as server:
        assert server.uri() == f"sips:1000@[::1]:{server.port}"
        context = ssl.create_default_context(cafile=str(server.write(tmp_path).ca))
        with (
            socket.create_connection(("::1", server.port), timeout=10) as tcp,
            context.wrap_socket(tcp, server_hostname="::1") as client,
        ):
            client.sendall(OPTIONS)
            assert client.recv(65536).startswith(b"SIP/2.0 200 ")


def test_answers_are_responses_that_a_client_can_read(tmp_path: Path) -> None:
    from sipsua.sip.framing import Framer

    framer = Framer()
    with BadServer(CASES["good"]) as server:
        framer.receive(ask(server, tmp_path, REGISTER))
    response = framer.next_frame()
    assert isinstance(response, Response)
    assert response.check().status == 200
