"""`sipsua register` against a PBX as it should be, and against everything that can be wrong with a command line."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from sipsua.account.persona import PERSONAS
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import NameRule, TlsVersion
from tests.cli.conftest import PASSWORD, Sipsua


def address(pbx: PbxProcess) -> str:
    return f"sips:1000@127.0.0.1:{pbx.port}"


def test_good_registration_tells_all_in_lines_and_leaves_nothing_bound(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, password_file: Path
) -> None:
    result = sipsua("register", address(pbx), "--ca", ca, "--password-file", password_file)
    assert result.code == 0
    assert result.err == ""
    for words in (
        f"handshake with 127.0.0.1:{pbx.port}",
        " ms  ClientHello\n",
        " ms  Finished (server)\n",
        "certificate 0 CN=127.0.0.1\n",
        "verdict accepted for 127.0.0.1 (rfc2818, 1 trust anchor)\n",
        " locked\n",
        "TLSv1.3, TLS_",
        "anchor     CN=CLI test CA (custom list)\n",
        "registered 200 OK: expires in 3600 s, refresh in ",
        "unregistered the registrar answered 200\n",
    ):
        assert words in result.out
    assert pbx.counts().bound == 0


def test_json_is_one_object_with_the_lock_of_the_moment_of_success(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, password_file: Path
) -> None:
    uri = f"sip:1000@127.0.0.1:{pbx.port};transport=tls"
    result = sipsua(
        "register", uri, "--ca", ca, "--password-file", password_file, "--json", "--tls", "1.2", "--expires", 60
    )
    assert result.code == 0
    report = result.report
    assert list(report) == [
        "account",
        "registration",
        "lock",
        "verdict",
        "handshake",
        "timings_ms",
        "error",
        "exit_code",
    ]
    assert report["account"] == uri
    assert report["registration"] == {"state": "registered", "status": 200, "reason": "OK", "expires": 60}
    assert report["lock"]["state"] == "locked"
    assert report["lock"]["verified"] is True
    assert report["lock"]["protocol"] == "TLSv1.2"
    assert report["verdict"]["accepted"] is True
    assert [one["step"] for one in report["handshake"]][:2] == ["Client Hello", "Server Hello"]
    assert list(report["timings_ms"]) == ["dns", "tcp", "tls", "challenge", "register"]
    assert all(value is not None for value in report["timings_ms"].values())
    assert report["error"] is None
    assert report["exit_code"] == 0
    assert "verdict accepted" in result.err


@pytest.mark.parametrize("persona", sorted(PERSONAS))
def test_trace_shows_every_message_of_each_persona(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, password_file: Path, persona: str
) -> None:
    result = sipsua(
        "register", address(pbx), "--ca", ca, "--password-file", password_file, "--trace", "--persona", persona
    )
    assert result.code == 0
    assert result.err.count("\nREGISTER sips:") == 3
    assert result.err.count("\nSIP/2.0 401 Unauthorized") == 1
    assert result.err.count("\nSIP/2.0 200 OK") == 2
    assert "REGISTER sips:" not in result.out


def test_keep_refreshes_the_binding(sipsua: Sipsua, pbx: PbxProcess, ca: Path, password_file: Path) -> None:
    result = sipsua(
        "register", address(pbx), "--ca", ca, "--password-file", password_file, "--expires", 1, "--keep", 1.0
    )
    assert result.code == 0
    assert " refreshed 200 OK: expires in 1 s" in result.out
    assert "unregistered the registrar answered 200" in result.out


def test_key_log_is_for_nobody_else(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, password_file: Path, tmp_path: Path
) -> None:
    log = tmp_path / "keys"
    log.write_text("# here before\n")
    log.chmod(0o644)
    result = sipsua("register", address(pbx), "--ca", ca, "--password-file", password_file, "--keylog", log)
    assert result.code == 0
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    first, *lines = log.read_text().splitlines()
    assert first == "# here before"
    assert any(line.startswith("CLIENT_TRAFFIC_SECRET_0 ") for line in lines)


def test_any_certificate_is_accepted_only_where_that_is_asked_for_and_said(
    sipsua: Sipsua, pbx: PbxProcess, password_file: Path
) -> None:
    result = sipsua(
        "register", address(pbx), "--dangerous-accept-any-certificate", "--password-file", password_file, "--json"
    )
    assert result.code == 0
    assert result.report["lock"]["state"] == "locked"
    assert result.report["lock"]["verified"] is False
    assert result.report["verdict"]["problems"][0]["code"] == "unknown_issuer"
    assert "locked, NOT VERIFIED" in result.err


def test_without_a_trust_list_the_chain_is_shown_and_the_remedy_is_ca(
    sipsua: Sipsua, pbx: PbxProcess, password_file: Path
) -> None:
    result = sipsua("register", address(pbx), "--password-file", password_file)
    assert result.code == 10
    what, fix = result.told
    assert "certificate for 127.0.0.1 refused: unknown_issuer" in what
    assert "--ca FILE" in fix
    assert "certificate 0 CN=127.0.0.1" in result.out
    assert " refused\n" in result.out


def test_untrusted_issuer_is_10(sipsua: Sipsua, pbx: PbxProcess, password_file: Path, tmp_path: Path) -> None:
    other = CertificateAuthority("another CA").write(tmp_path / "other.pem")
    result = sipsua("register", address(pbx), "--ca", other, "--password-file", password_file, "--json")
    assert result.code == result.report["exit_code"] == 10
    assert result.report["lock"]["state"] == "refused"
    assert result.report["registration"] == {"state": "failed", "status": None, "reason": None, "expires": None}
    assert result.report["verdict"]["problems"][0]["code"] == "unknown_issuer"
    assert result.report["error"]["code"] == "certificate_refused"
    assert (result.report["error"]["what"], result.report["error"]["fix"]) == result.told


def test_name_of_another_server_is_11_and_passes_where_names_are_off(
    sipsua: Sipsua, authority: CertificateAuthority, ca: Path, password_file: Path
) -> None:
    issued = authority.issue("other.example.com")
    with PbxProcess({"1000": PASSWORD}, certificate=(issued.chain_pem, issued.key_pem)) as pbx:
        refused = sipsua("register", address(pbx), "--ca", ca, "--password-file", password_file, "--json")
        accepted = sipsua("register", address(pbx), "--ca", ca, "--password-file", password_file, "--names", "off")
    assert refused.code == 11
    assert refused.report["error"]["code"] == "name_refused"
    assert "other.example.com" in refused.told[0]
    assert accepted.code == 0


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_server_that_demands_a_certificate_of_ours(
    version: str,
    sipsua: Sipsua,
    authority: CertificateAuthority,
    ca: Path,
    password_file: Path,
    tmp_path: Path,
) -> None:
    server = authority.issue("127.0.0.1")
    ours = authority.issue("phone").write(tmp_path, "ours")
    theirs = CertificateAuthority("another CA").issue("phone").write(tmp_path, "theirs")
    options = ("--ca", ca, "--password-file", password_file, "--tls", version)
    with PbxProcess(
        {"1000": PASSWORD}, certificate=(server.chain_pem, server.key_pem), client_authority=authority.pem
    ) as pbx:
        without = sipsua("register", address(pbx), *options)
        wrong = sipsua("register", address(pbx), *options, "--cert", theirs.certificate, "--key", theirs.key)
        right = sipsua("register", address(pbx), *options, "--cert", ours.certificate, "--key", ours.key)
    assert without.code == 12
    assert "certificate" in without.told[1]
    assert wrong.code == 12
    assert right.code == 0


def test_version_that_the_server_does_not_speak_is_12(
    sipsua: Sipsua, authority: CertificateAuthority, ca: Path, password_file: Path
) -> None:
    issued = authority.issue("127.0.0.1")
    with PbxProcess(
        {"1000": PASSWORD}, certificate=(issued.chain_pem, issued.key_pem), maximum=TlsVersion.TLS1_2
    ) as pbx:
        result = sipsua("register", address(pbx), "--ca", ca, "--password-file", password_file, "--tls", "1.3")
    assert result.code == 12


def test_nothing_listening_is_13(sipsua: Sipsua, ca: Path, password_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = sipsua("register", f"sips:1000@127.0.0.1:{port}", "--ca", ca, "--password-file", password_file, "--json")
    assert result.code == 13
    assert f"127.0.0.1:{port}" in result.told[0]
    assert result.report["lock"]["state"] == "open"
    assert result.report["timings_ms"]["tls"] is None


def test_wrong_password_is_14(sipsua: Sipsua, pbx: PbxProcess, ca: Path) -> None:
    result = sipsua("register", address(pbx), "--ca", ca, "--password", "wrong", "--json")
    assert result.code == 14
    assert result.report["registration"] == {
        "state": "failed",
        "status": 401,
        "reason": "Unauthorized",
        "expires": None,
    }
    assert result.report["lock"]["state"] == "locked"


def test_no_password_is_14_and_the_remedy_is_to_give_one(sipsua: Sipsua, pbx: PbxProcess, ca: Path) -> None:
    result = sipsua("register", address(pbx), "--ca", ca)
    assert result.code == 14
    assert "--password-env" in result.told[1]


def test_unknown_user_is_15(sipsua: Sipsua, pbx: PbxProcess, ca: Path) -> None:
    result = sipsua("register", f"sips:nobody@127.0.0.1:{pbx.port}", "--ca", ca, "--password", "x", "--json")
    assert result.code == 15
    assert result.report["registration"]["status"] == 404


def test_interval_too_brief_is_mended(
    sipsua: Sipsua, authority: CertificateAuthority, ca: Path, password_file: Path
) -> None:
    issued = authority.issue("127.0.0.1")
    with PbxProcess({"1000": PASSWORD}, certificate=(issued.chain_pem, issued.key_pem), min_expires=120) as pbx:
        result = sipsua(
            "register", address(pbx), "--ca", ca, "--password-file", password_file, "--expires", 60, "--json"
        )
    assert result.code == 0
    assert result.report["registration"]["expires"] == 120


def test_password_of_an_environment_variable(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONE_PASSWORD", PASSWORD)
    assert sipsua("register", address(pbx), "--ca", ca, "--password-env", "PHONE_PASSWORD").code == 0


def test_password_on_the_command_line_is_taken_and_not_shown(sipsua: Sipsua, pbx: PbxProcess, ca: Path) -> None:
    assert sipsua("register", address(pbx), "--ca", ca, "--password", PASSWORD, "--trace", "--json").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sips:1000@127.0.0.1", "--no-such-option"],
        ["sips:1000@127.0.0.1", "--names", "rfc1"],
        ["sips:1000@127.0.0.1", "--revocation", "none"],
        ["sips:1000@127.0.0.1", "--persona", "rotary"],
        ["sips:1000@127.0.0.1", "--expires", "soon"],
        ["sips:1000@127.0.0.1", "more"],
    ],
)
def test_usage_that_the_parser_refuses_is_2(sipsua: Sipsua, arguments: list[str]) -> None:
    result = sipsua("register", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.told[1] == "see sipsua register --help"
    result = sipsua("register", *arguments, "--json")
    assert result.report["error"] == {"code": "usage", "what": result.told[0], "fix": result.told[1]}
    assert result.report["exit_code"] == 2
    assert result.report["account"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sip:1000@127.0.0.1"], "over TLS only"),
        (["sip:1000@127.0.0.1;transport=udp"], "over TLS only"),
        (["tel:+4930123"], "is no SIP address"),
        (["nonsense"], "is no SIP address"),
        (["sips:127.0.0.1"], "is no address of record"),
        (["sips:1000@127.0.0.1", "--server", "no port:x"], "is no server"),
        (["sips:1000@127.0.0.1", "--expires", "0"], "expires of 0 s"),
        (["sips:1000@127.0.0.1", "--timeout", "0"], "--timeout of 0 s"),
        (["sips:1000@127.0.0.1", "--server", ""], "--server is empty"),
        (["sips:1000@127.0.0.1", "--ca", ""], "--ca is empty"),
        (["sips:1000@127.0.0.1", "--password-file", ""], "--password-file is empty"),
        (["sips:1000@127.0.0.1", "--password-env", ""], "--password-env is empty"),
        (["sips:1000@127.0.0.1", "--timeout", "nan"], "--timeout of nan s"),
        (["sips:1000@127.0.0.1", "--timeout", "inf"], "--timeout of inf s"),
        (["sips:1000@127.0.0.1", "--keep", "-1"], "--keep of -1 s"),
        (["sips:1000@127.0.0.1", "--user-agent", "a\r\nb"], "user_agent holds a control character"),
        (["sips:1000@127.0.0.1", "--tls", "1.1"], "TLSv1.1 is not safe any more"),
        (["sips:1000@127.0.0.1", "--tls", "1.0-1.3"], "TLSv1 is not safe any more"),
        (["sips:1000@127.0.0.1", "--tls", "1.4"], "--tls 1.4 names no TLS versions"),
        (["sips:1000@127.0.0.1", "--tls", "1.3-1.2"], "--tls 1.3-1.2 names no TLS versions"),
        (["sips:1000@127.0.0.1", "--tls", "-1.3"], "--tls -1.3 names no TLS versions"),
        (["sips:1000@127.0.0.1", "--crl", ""], "--crl is empty"),
        (["sips:1000@127.0.0.1", "--key", "somewhere"], "--key without --cert"),
        (["sips:1000@127.0.0.1", "--password", "a", "--password-env", "B"], "more than one way"),
    ],
)
def test_usage_that_fits_nothing_is_2_with_its_reason_also_in_json(
    sipsua: Sipsua, arguments: list[str], words: str
) -> None:
    result = sipsua("register", *arguments, "--json")
    assert result.code == result.report["exit_code"] == 2
    assert words in result.told[0]
    assert result.report["error"]["code"] == "usage"
    assert result.report["registration"]["state"] == "unregistered"


@pytest.mark.parametrize(
    "options",
    [
        ["--ca", "missing.pem"],
        ["--ca", "empty"],
        ["--ca", "password"],
        ["--crl", "missing.pem"],
        ["--crl", "empty"],
        ["--crl", "phone.pem"],
        ["--crl", "fifo", "--timeout", "0.2"],
        ["--cert", "missing.pem"],
        ["--cert", "phone.pem", "--key", "other.key"],
        ["--cert", "phone.pem"],
        ["--password-file", "missing"],
        ["--password-file", "empty"],
        ["--password-file", "binary"],
        ["--password-file", "/dev/zero"],
        ["--password-file", "mark"],
        ["--password-env", "NO_SUCH_VARIABLE"],
        ["--password-env", "EMPTY_VARIABLE"],
        ["--password", ""],
        ["--ca", "fifo", "--timeout", "0.2"],
        ["--cert", "fifo", "--timeout", "0.2"],
        ["--password-file", "fifo", "--timeout", "0.2"],
        ["--keylog", "fifo", "--timeout", "0.2"],
        ["--keylog", "no/such/directory/keys"],
    ],
)
def test_local_file_that_is_unfit_is_17(
    sipsua: Sipsua, options: list[str], tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    maker = CertificateAuthority()
    maker.issue("phone").write(tmp_path, "phone")
    maker.issue("other").write(tmp_path, "other")
    Path("empty").touch()
    Path("mark").write_bytes(b"\xef\xbb\xbf\n")
    os.mkfifo("fifo")
    monkeypatch.setenv("EMPTY_VARIABLE", "")
    Path("binary").write_bytes(b"\xff" + PASSWORD.encode())
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    result = sipsua("register", "sips:1000@127.0.0.1:9", *options, "--json")
    assert result.code == 17
    assert result.told
    assert result.report["error"]["code"] == "configuration"


def test_certificate_without_key_is_told_of_the_option(
    sipsua: Sipsua, authority: CertificateAuthority, tmp_path: Path
) -> None:
    files = authority.issue("phone").write(tmp_path, "phone")
    result = sipsua("register", "sips:1000@127.0.0.1:9", "--cert", files.certificate)
    assert result.code == 17
    assert "--key FILE" in result.told[1]


def test_byte_order_mark_is_no_part_of_the_password(sipsua: Sipsua, pbx: PbxProcess, ca: Path, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\r\n", encoding="utf-8-sig")
    assert sipsua("register", address(pbx), "--ca", ca, "--password-file", file).code == 0


def test_key_log_that_could_not_be_written_is_17(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, password_file: Path
) -> None:
    result = sipsua("register", address(pbx), "--ca", ca, "--password-file", password_file, "--keylog", "/dev/full")
    assert result.code == 17
    assert "the key log /dev/full: No space left on device" in result.told[0]


def test_shortest_and_longest_time_are_told(sipsua: Sipsua) -> None:
    assert "from 0.001 to 10000000" in sipsua("register", "sips:1000@127.0.0.1", "--timeout", 0).told[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_file_without_the_right_to_read_it_is_17(sipsua: Sipsua, ca: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ca.pem"
    copy.write_bytes(ca.read_bytes())
    copy.chmod(0)
    result = sipsua("register", "sips:1000@127.0.0.1:9", "--ca", copy)
    assert result.code == 17


def test_choices_of_the_options_are_those_of_the_library(sipsua: Sipsua) -> None:
    text = "".join(sipsua("register", "--help").out.split())
    assert f"<{'|'.join(NameRule)}>" in text
    assert f"<{'|'.join(sorted(PERSONAS))}>" in text
