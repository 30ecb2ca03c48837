"""`sipsua register` against servers that fail it: each has its exit code, a cause and a remedy, and none makes it hang."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sipsua.testing.pki import CertificateAuthority, IssuedFiles
from tests.cli.conftest import PASSWORD, Sipsua
from tests.interop import broken_servers
from tests.interop.broken_servers import BrokenServer


@pytest.fixture(scope="module")
def files(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> IssuedFiles:
    return authority.issue("127.0.0.1").write(tmp_path_factory.mktemp("server"))


@pytest.mark.parametrize(
    ("make", "codes", "words"),
    [
        (lambda files: broken_servers.plain_sip(), {12}, "does not speak TLS on this port but SIP"),
        (lambda files: broken_servers.plain_http(), {12}, "does not speak TLS on this port but HTTP"),
        (lambda files: broken_servers.silent(), {12}, "did not finish the TLS handshake within"),
        (lambda files: broken_servers.closes_at_once(), {12}, "instead of beginning a TLS handshake"),
        # The reset may come before connect() has returned.
        (lambda files: broken_servers.resets_at_accept(), {12, 13}, "reset"),
        (lambda files: broken_servers.resets_after_client_hello(), {12}, "reset the connection in the middle"),
        (broken_servers.stops_in_handshake, {12}, "did not finish the TLS handshake within"),
        (broken_servers.one_octet_at_a_time, {12}, "did not finish the TLS handshake within"),
        (broken_servers.tls_then_silence, {16}, "did not answer REGISTER within 0.5 s"),
        (broken_servers.tls_then_broken_record, {18}, "is no TLS record of this connection"),
        (broken_servers.tls_then_close, {18}, "closed the flow"),
        (lambda files: broken_servers.tls_then_close(files, notify=False), {18}, "without a word in TLS"),
    ],
    ids=[
        "plain SIP",
        "plain HTTP",
        "silent",
        "closes at once",
        "resets at accept",
        "resets after ClientHello",
        "stops in handshake",
        "one octet at a time",
        "TLS then silence",
        "TLS then broken record",
        "TLS then close_notify",
        "TLS then FIN",
    ],
)
def test_broken_server_is_told(
    make: Callable[[IssuedFiles], BrokenServer],
    codes: set[int],
    words: str,
    sipsua: Sipsua,
    ca: Path,
    files: IssuedFiles,
) -> None:
    with make(files) as server:
        uri = f"sips:1000@127.0.0.1:{server.port}"
        result = sipsua("register", uri, "--ca", ca, "--password", PASSWORD, "--timeout", 0.5, "--json")
    assert result.code in codes
    what, fix = result.told
    assert words in what
    assert fix
    assert result.report["exit_code"] == result.code
    assert result.report["registration"]["state"] == "failed"
    assert result.report["lock"]["state"] == {12: "refused", 13: "open", 16: "locked", 18: "open"}[result.code]
    assert PASSWORD.encode() not in b"".join(visit.received + visit.decrypted for visit in server.visits)
