"""The phone as TLS server: what it shows, whom it takes, and that no client can hurt the others.

The guide: "The IP phone can serve as a TLS client or a TLS server." The client's half is tested in test_flow.py and test_connect.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import resource
import socket
import ssl
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from sipsua.account.inbound import InboundLimits
from sipsua.errors import BadConfiguration, HandshakeFailed, Misuse
from sipsua.events import InboundClosed, InboundFailed, InboundOpened, InboundRefused, RequestAnswered
from sipsua.net import listen as listen_module
from sipsua.net.listen import BACKLOG, MAX_GREETING, Listener, _source
from sipsua.net.tls import TlsPipe, server_context
from sipsua.testing.pki import CertificateAuthority, Issued
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused, ProblemCode
from tests.net.callers import (
    HELLO_BEGUN,
    IDENTITY,
    PATIENT,
    PHONE,
    Callee,
    Client,
    calling,
    client_context,
    listening,
    options,
    record,
)

TLS1_2, TLS1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
versions = pytest.mark.parametrize("version", [TLS1_2, TLS1_3], ids=["TLSv1.2", "TLSv1.3"])

CLIENTS = CertificateAuthority("clients' CA")
STRANGERS = CertificateAuthority("strangers' CA")
NOW = datetime.now(UTC).replace(microsecond=0)


def short(**limits: Any) -> InboundLimits:
    """Limits of which only these are reached."""
    return replace(PATIENT, **limits)


# What clients get


@pytest.mark.asyncio
@versions
async def test_client_that_verifies_is_shown_the_phones_certificate_and_answered(version: ssl.TLSVersion) -> None:
    """The guide: "When clients request a TLS connection with the IP phone, the IP phone sends the server certificate to the clients
    for authentication."
    """
    async with listening("1000") as phone:
        # It trusts the manufacturer's root alone: the phone sends its intermediate along.
        async with calling(phone, client_context(version)) as client:
            tls = client.writer.get_extra_info("ssl_object")
            assert tls.getpeercert(binary_form=True) == PHONE.certificate.public_bytes(Encoding.DER)
            assert await client.ask() == 200
            assert await client.ask("nobody") == 404
            host, port = client.writer.get_extra_info("sockname")
            cipher = tls.cipher()[0]
        await phone.until_told(InboundClosed)
        peer = f"{host}:{port}"
        assert phone.events == [
            InboundOpened(peer, version.name.replace("v1_", "v1."), cipher, None),
            InboundClosed(peer, "it closed the flow"),
        ]


@pytest.mark.asyncio
async def test_request_reaches_the_line_that_it_is_for_with_the_callers_address() -> None:
    async with listening("1000") as phone:
        lines = [Callee("1001"), Callee("1002")]
        for line in lines:
            phone.admit(line)
        async with calling(phone) as client:
            assert await client.ask("1002") == 200
            host, port = client.writer.get_extra_info("sockname")
            assert [line.events for line in lines] == [[], [RequestAnswered("OPTIONS", 200, f"{host}:{port}")]]
            phone.dismiss(lines[1])
            assert await client.ask("1002") == 404


@pytest.mark.asyncio
async def test_requests_and_pings_in_one_segment_are_all_answered() -> None:
    async with listening("1000") as phone, calling(phone) as client:
        client.writer.write(b"\r\n\r\n" + options("1000", 1) + b"\r\n\r\n" + options("nobody", 2) + options("1000", 3))
        assert await client.reader.readexactly(4) == b"\r\n\r\n"  # two pongs, which wait for nobody
        assert [await client.answer() for _ in range(3)] == [200, 404, 200]


@pytest.mark.asyncio
async def test_leaving_says_close_notify_to_all_and_waits_for_theirs() -> None:
    async with listening("1000") as phone:
        async with calling(phone) as client, calling(phone) as other, calling(phone, plain=True):
            assert await client.ask() == await other.ask() == 200
            leaving = asyncio.create_task(phone.close())
            assert await client.ended() == await other.ended() == b""
            await leaving
            await phone.close()
        assert [event.reason for event in phone.of(InboundClosed)] == ["the phone stopped listening"] * 2
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", phone.port)


@pytest.mark.asyncio
async def test_client_that_never_answers_close_notify_holds_the_end_up_no_longer_than_the_limit() -> None:
    async with listening("1000", limits=short(close=0.1)) as phone, calling(phone) as client:
        assert await client.ask() == 200
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            await phone.close()


# Certificates of clients


@pytest.mark.asyncio
@versions
async def test_client_with_a_trusted_certificate_is_taken_and_named(version: ssl.TLSVersion, tmp_path: Path) -> None:
    issued = CLIENTS.intermediate("site CA").issue("pbx.example.com")
    async with listening("1000", client_anchors=TrustList.from_pem(CLIENTS.pem)) as phone:
        async with calling(phone, client_context(version, issued, tmp_path)) as client:
            assert await client.ask() == 200
        certificate = phone.of(InboundOpened)[0].certificate
        assert certificate is not None
        assert certificate.subject == "CN=pbx.example.com"
        assert certificate.der == issued.certificate.public_bytes(Encoding.DER)


@pytest.mark.asyncio
@versions
@pytest.mark.parametrize(
    ("shown", "code", "alert", "fix"),
    [
        (STRANGERS.issue("a.example"), ProblemCode.UNKNOWN_ISSUER, 48, "trust the issuer"),
        (
            CLIENTS.issue("a.example", not_before=NOW - timedelta(9), not_after=NOW - timedelta(2)),
            "expired",
            45,
            "clocks",
        ),
        (CLIENTS.issue("a.example", not_before=NOW + timedelta(2)), ProblemCode.NOT_YET_VALID, 42, "clocks"),
        (CLIENTS.issue("a.example", purposes=("server",)), ProblemCode.WRONG_PURPOSE, 43, "clientAuth"),
        (CLIENTS.issue("ca.example", key="rsa1024"), ProblemCode.WEAK_KEY, 42, "openssl x509"),
    ],
    ids=["stranger", "expired", "not_yet_valid", "wrong_purpose", "weak_key"],
)
async def test_refused_client_certificate_is_explained_and_the_client_told_by_alert(
    version: ssl.TLSVersion, shown: Issued, code: str, alert: int, fix: str, tmp_path: Path
) -> None:
    context = client_context(version)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    files = shown.write(tmp_path, "client")
    context.load_cert_chain(files.certificate, files.key)
    async with listening("1000", client_anchors=TrustList.from_pem(CLIENTS.pem)) as phone:
        with pytest.raises(ssl.SSLError) as caught:
            async with calling(phone, context) as client:
                await client.ask()
        assert "ALERT" in (caught.value.reason or "")
        (failed,) = await phone.until_told(InboundFailed)
        assert isinstance(failed.error, CertificateRefused)
        assert failed.error.alert == alert
        verdict = failed.error.verdict
        name = shown.certificate.subject.rfc4514_string().removeprefix("CN=")
        assert (verdict.accepted, verdict.verified, verdict.reference) == (False, False, f"the client CN={name}")
        assert [str(problem.code) for problem in verdict.problems] == [code]
        assert fix in verdict.problems[0].fix
        assert verdict.chain[0].der == shown.certificate.public_bytes(Encoding.DER)
        assert phone.of(InboundOpened) == []


@pytest.mark.asyncio
@versions
async def test_client_without_the_demanded_certificate_is_told_so(version: ssl.TLSVersion) -> None:
    async with listening("1000", client_anchors=TrustList.from_pem(CLIENTS.pem)) as phone:
        with pytest.raises(ssl.SSLError) as caught:
            async with calling(phone, client_context(version)) as client:
                await client.ask()
        (failed,) = await phone.until_told(InboundFailed)
        assert "it showed no certificate" in failed.error.what
        assert failed.error.fix == "give the client a certificate"
        alert, name = (40, "HANDSHAKE_FAILURE") if version is TLS1_2 else (116, "CERTIFICATE_REQUIRED")
        assert failed.error.alert == alert
        assert name in (caught.value.reason or "")


@pytest.mark.asyncio
async def test_client_is_told_whose_certificates_are_taken() -> None:
    async with listening("1000", client_anchors=TrustList.from_pem(CLIENTS.pem + STRANGERS.pem)) as phone:

        def names() -> list[str]:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            with closing(socket.create_connection(("127.0.0.1", phone.port))) as sock:
                sock.setblocking(True)
                tls = SSL.Connection(context, sock)
                tls.set_connect_state()
                tls.do_handshake()
                return [str(name.CN) for name in tls.get_client_ca_list()]

        assert await asyncio.to_thread(names) == ["clients' CA", "strangers' CA"]


# Hostile clients: what they do must not hurt who calls at the same time


HELLO_OF_16_MIB = record(22, b"\x01\xff\xff\xff\x03\x03" + bytes(1000))
HELLO_OF_100_KIB = [
    record(22, (b"\x01\x01\x90\x00\x03\x03" if not number else b"") + bytes(16000)) for number in range(6)
]
"""OpenSSL itself would go on collecting it."""

NO_TLS = [
    pytest.param(options("1000", 1), "does not speak TLS but SIP", "set its transport to TLS", id="plain SIP"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", "does not speak TLS but HTTP", "set its transport to TLS", id="plain HTTP"),
    pytest.param(b"\x00" * 5000, "does not speak TLS but something else", "set its transport", id="garbage"),
    pytest.param(b"\x16" * 5000, "TLS handshake with the client failed", "log", id="garbage like a record"),
    pytest.param(
        record(23, b"too soon"), "TLS handshake with the client failed", "log", id="data before the handshake"
    ),
    pytest.param(record(21, b"\x02\x28"), "TLS handshake with the client failed", "log", id="alert at once"),
    pytest.param(HELLO_OF_16_MIB, "TLS handshake with the client failed", "log", id="ClientHello of 16 MiB"),
    pytest.param(
        b"".join(HELLO_OF_100_KIB), f"more than {MAX_GREETING // 1024} KiB", "log", id="ClientHello of 100 KiB"
    ),
    pytest.param(record(22, b"\x01\x00\x00\x02\x03\x00"), "TLS handshake with the client failed", "log", id="SSL 3"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("data", "what", "fix"), NO_TLS)
async def test_client_that_begins_no_handshake_is_named_and_closed(data: bytes, what: str, fix: str) -> None:
    async with listening("1000") as phone, calling(phone) as good:
        async with calling(phone, plain=True) as bad:
            bad.writer.write(data)
            (failed,) = await phone.until_told(InboundFailed)
            assert what in failed.error.what
            assert fix in failed.error.fix
            assert await good.ask() == 200
            await phone.until(lambda: phone.connections == 1)
        assert await good.ask() == 200


def test_client_hello_changed_anywhere_is_refused_or_waited_for_and_nothing_else() -> None:
    client = TlsPipe.client(Policy(anchors=TrustList.empty()), "phone.example.com")
    client.start()
    hello = client.outgoing()
    context, dice = server_context(IDENTITY, client_anchors=TrustList.from_pem(CLIENTS.pem)), random.Random(5061)
    refused = 0
    for _ in range(1000):
        changed = bytearray(hello)
        for _ in range(dice.choice((1, 1, 1, 5))):
            changed[dice.randrange(5, len(changed))] = dice.randrange(256)
        pipe = TlsPipe.server(context)
        try:
            assert pipe.receive(bytes(changed)) == b""
        except HandshakeFailed:
            refused += 1
        assert not pipe.established
    assert refused > 100  # others are taken for another client's, and answered


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("data", "what"),
    [(b"", "closed the connection instead of beginning"), (HELLO_BEGUN, "in the middle of the TLS handshake")],
    ids=["nothing", "half a ClientHello"],
)
async def test_client_that_goes_before_the_handshake_is_done_is_told_of(data: bytes, what: str) -> None:
    async with listening("1000") as phone:
        async with calling(phone, plain=True) as client:
            client.writer.write(data)
            client.writer.write_eof()
            (failed,) = await phone.until_told(InboundFailed)
            assert type(failed.error) is HandshakeFailed
            assert what in failed.error.what
            assert "look at the client" in failed.error.fix
        await phone.until(lambda: phone.connections == 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("data", [b"", HELLO_BEGUN, b"\x16"], ids=["nothing", "half a ClientHello", "one octet"])
async def test_client_that_does_not_finish_its_handshake_is_closed_at_the_limit(data: bytes) -> None:
    async with listening("1000", limits=short(handshake=0.1)) as phone, calling(phone, plain=True) as client:
        client.writer.write(data)
        (failed,) = await phone.until_told(InboundFailed)
        assert "did not finish the TLS handshake within 0.1 s" in failed.error.what
        await phone.until(lambda: phone.connections == 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("limits", "data", "reason"),
    [
        (short(first=0.1), b"", "nothing came from it any more"),
        (short(idle=0.1), b"\r\n\r\n", "nothing came from it any more"),
        (short(message=0.1), options("1000", 1)[:-1], "a message was begun and not finished"),
        (short(message=0.1), options("1000", 1).replace(b": 0", b": 9"), "a message was begun and not finished"),
        (PATIENT, b"INVITE but no SIP\r\n\r\n", "this is not SIP"),
        (PATIENT, options("1000", 1).replace(b": 0", b": 99999999"), "body of 99999999 bytes"),
        (PATIENT, b"OPTIONS sip:a SIP/2.0\r\n" + b"X: y\r\n" * 20000, "header section of more than"),
    ],
    ids=["silent", "silent later", "half a message", "half a body", "no SIP", "huge body", "huge head"],
)
async def test_client_that_wastes_the_phones_time_is_closed_orderly(
    limits: InboundLimits, data: bytes, reason: str
) -> None:
    async with listening("1000", limits=limits) as phone, calling(phone) as client:
        client.writer.write(data)
        await client.ended()
        (closed,) = await phone.until_told(InboundClosed)
        assert reason in closed.reason


@pytest.mark.asyncio
@versions
async def test_client_that_never_reads_is_cut_off_and_others_are_served(version: ssl.TLSVersion) -> None:
    async with listening("1000") as phone, calling(phone) as good, calling(phone, client_context(version)) as bad:
        assert await bad.ask() == 200
        bad.writer.transport.pause_reading()  # type: ignore[attr-defined]
        bad.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        many = b"".join(options("nobody", number) for number in range(10, 110))
        while not phone.of(InboundClosed):
            bad.writer.write(many)
            # What it cannot send any more is of no use to it.
            if bad.writer.transport.get_write_buffer_size() > 1_000_000:
                break
            assert await good.ask() == 200
        (closed,) = await phone.until_told(InboundClosed)
        assert "does not read" in closed.reason
        assert await good.ask() == 200


@pytest.mark.asyncio
async def test_resets_at_every_stage_leave_nothing_behind() -> None:
    async with listening("1000") as phone, calling(phone) as good:
        for stage in range(5):
            async with AsyncExitStack() as stack:
                bad = await stack.enter_async_context(calling(phone, plain=stage < 2))
                if stage == 1:
                    bad.writer.write(HELLO_BEGUN)
                elif stage == 3:
                    bad.writer.write(options("1000", 1)[:100])
                elif stage == 4:
                    bad.writer.write(options("1000", 1) * 50)
                bad.reset()
            await phone.until(lambda: phone.connections == 1)
            assert await good.ask() == 200
        assert len(phone.of(InboundFailed)) + len(phone.of(InboundClosed)) == 5


@pytest.mark.asyncio
async def test_reset_before_the_connection_is_accepted_is_survived() -> None:
    async with listening("1000") as phone:
        for _ in range(20):
            with closing(socket.create_connection(("127.0.0.1", phone.port))) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        async with calling(phone) as good:
            assert await good.ask() == 200
            await phone.until(lambda: phone.connections == 1)


@pytest.mark.asyncio
async def test_renegotiation_is_not_taken_part_in_and_hurts_nobody() -> None:
    async with listening("1000") as phone, calling(phone) as good:

        def renegotiate() -> str:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            with closing(socket.create_connection(("127.0.0.1", phone.port), timeout=10)) as sock:
                sock.setblocking(True)
                tls = SSL.Connection(context, sock)
                tls.set_connect_state()
                tls.do_handshake()
                assert tls.renegotiate()
                try:
                    tls.do_handshake()
                except SSL.Error as error:
                    return str(error)
                return "renegotiated"

        for _ in range(3):
            assert "no renegotiation" in await asyncio.to_thread(renegotiate)
            assert await good.ask() == 200


# Too many


@pytest.mark.asyncio
async def test_thousand_idle_connections_do_not_keep_a_client_out() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("2,100 open files are needed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        async with listening("1000", limits=replace(PATIENT, connections=1001)) as phone:
            async with AsyncExitStack() as stack:
                for number in range(1000):
                    sock = stack.enter_context(closing(socket.socket()))
                    # 20 sources with 50 connections each.
                    sock.bind((f"127.0.1.{1 + number // 50}", 0))
                    sock.connect(("127.0.0.1", phone.port))
                    if number % (BACKLOG // 2) == 0:
                        await asyncio.sleep(0)
                async with calling(phone) as good:
                    assert phone.connections == 1001
                    assert await good.ask() == 200
                    assert phone.of(InboundRefused) == []
            await phone.until(lambda: phone.connections == 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.asyncio
async def test_source_with_too_many_connections_is_turned_away_and_another_is_not() -> None:
    async with listening("1000", limits=replace(PATIENT, per_source=3)) as phone:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(calling(phone, plain=True, source="127.0.0.2"))
            for _ in range(5):
                async with calling(phone, plain=True, source="127.0.0.2") as refused:
                    assert await refused.ended() == b""
            assert phone.of(InboundRefused) == [
                InboundRefused("127.0.0.2 has 3 connections", "see what it wants, or allow more")
            ]
            async with calling(phone, source="127.0.0.3") as good:
                assert await good.ask() == 200
        await phone.until(lambda: phone.connections == 0)
        async with calling(phone, source="127.0.0.2") as back:
            assert await back.ask() == 200


@pytest.mark.asyncio
async def test_when_all_connections_are_taken_others_are_turned_away_until_one_is_free() -> None:
    async with listening("1000", limits=replace(PATIENT, connections=2)) as phone:
        async with calling(phone) as good, calling(phone, plain=True, source="127.0.0.2"):
            async with calling(phone, plain=True, source="127.0.0.3") as refused:
                assert await refused.ended() == b""
            assert [event.reason for event in phone.of(InboundRefused)] == ["all 2 connections are taken"]
            assert await good.ask() == 200
        await phone.until(lambda: phone.connections == 0)
        async with calling(phone, source="127.0.0.3") as welcome:
            assert await welcome.ask() == 200


@pytest.mark.asyncio
async def test_half_of_the_files_stay_for_the_phones_own_flows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
    try:
        async with Listener(IDENTITY, host="127.0.0.1", port=0) as phone:
            assert phone._most == (used + 40) // 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.asyncio
async def test_want_of_file_descriptors_is_survived_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "PAUSE", 0.02)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with listening("1000") as phone, calling(phone) as good:
        assert await good.ask() == 200
        waiting = [socket.create_connection(("127.0.0.1", phone.port)) for _ in range(5)]
        top = max(int(name) for name in os.listdir("/proc/self/fd"))
        spare = [os.dup(0) for _ in range(top)]  # every number below the limit is in use
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
        try:
            (refused,) = await phone.until_told(InboundRefused)
            assert refused == InboundRefused(
                f"no connection can be taken: {os.strerror(errno.EMFILE)}", "raise the limit of files (ulimit -n)"
            )
            # It is tried again and again meanwhile.
            for _ in range(10):
                assert await good.ask() == 200
                await asyncio.sleep(0.02)
            assert len(phone.of(InboundRefused)) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in spare:
                os.close(descriptor)
        async with calling(phone) as late:
            assert await late.ask() == 200
            assert phone.connections == 7
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002::/64"),
        ("2001:db8:1:2::1", "2001:0db8:0001:0002::/64"),
        ("fe80::1%eth0", "fe80:0000:0000:0000::/64"),
    ],
)
def test_source_is_an_address_of_ipv4_and_a_network_of_ipv6(host: str, source: str) -> None:
    assert _source(host) == source


# Where it listens


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "contact"), [("127.0.0.1", "127.0.0.1"), ("", ""), ("0.0.0.0", ""), ("::1", "::1"), ("::", "")]
)
async def test_account_says_the_address_where_it_can_be_called(host: str, contact: str) -> None:
    async with listening("1000", host=host) as phone:
        line = Callee("1001")
        phone.admit(line)
        assert line.account.listening == (contact, phone.port)


@pytest.mark.asyncio
@pytest.mark.parametrize("target", ["127.0.0.1", "::1"])
async def test_all_addresses_are_those_of_both_families(target: str) -> None:
    async with listening("1000", host="") as phone:
        reader, writer = await asyncio.open_connection(target, phone.port, ssl=client_context())
        assert await Client(reader, writer).ask() == 200
        writer.close()
        await writer.wait_closed()
        (opened,) = phone.of(InboundOpened)
        assert opened.peer.startswith(f"[{target}]:" if ":" in target else f"{target}:")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"host": "192.0.2.1"}, "cannot listen on port"),
        ({"host": "nowhere.example"}, "'nowhere.example' is no IP address"),
        ({"host": "a\0b"}, "is no IP address"),
        ({"host": None}, "host cannot be of type NoneType"),
        ({"port": 70000}, "port 70000"),
        ({"minimum": TlsVersion.TLS1_1}, "TLSv1.1 is not safe any more"),
        ({"port": "5061"}, "port cannot be of type str"),
        ({"identity": PHONE}, "identity cannot be of type Issued"),
    ],
)
async def test_what_cannot_be_listened_on_is_bad_configuration(options: dict[str, Any], what: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        await Listener(**{"identity": IDENTITY, "host": "127.0.0.1", "port": 0, **options}).start()
    assert what in caught.value.what
    assert caught.value.fix


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_port_that_is_taken_is_named(host: str) -> None:
    async with listening("1000", host=host) as phone:
        with pytest.raises(BadConfiguration) as caught:
            await Listener(IDENTITY, host=host, port=phone.port).start()
        assert f"port {phone.port}" in caught.value.what
        assert os.strerror(errno.EADDRINUSE) in caught.value.what


@pytest.mark.asyncio
async def test_listener_out_of_its_time_is_misuse() -> None:
    phone = Listener(IDENTITY, host="127.0.0.1", port=0)
    with pytest.raises(Misuse, match="does not listen"):
        phone.admit(Callee())
    async with phone:
        with pytest.raises(Misuse, match="listens already"):
            await phone.start()
    await phone.close()


@pytest.mark.asyncio
async def test_listener_that_was_closed_listens_on_its_port_again() -> None:
    async with listening("1000") as phone:
        for _ in range(3):
            async with calling(phone) as client:
                assert await client.ask() == 200
                port = phone.port
                await phone.close()
            await phone.start()
            assert phone.port == port
        async with calling(phone) as client:
            assert await client.ask() == 200
        await phone.until(lambda: phone.connections == 0)
