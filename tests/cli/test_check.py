"""`sipsua check` against sound servers, odd ones and none, and on files: each exit code, and what a person and a program read."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sipsua.cli import main
from sipsua.testing.bad_servers import CASES, BadServer
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority, IssuedFiles, extension
from sipsua.testing.revocation import crl, ocsp_response
from sipsua.trust.personas import PERSONAS
from tests.cli.conftest import Sipsua
from tests.net.s_server import s_server

FIELDS = ["server", "chain", "path", "verdict", "verdicts", "advice", "error", "exit_code"]
SERVER_FIELDS = [
    *["host", "port", "name", "address", "versions", "protocol", "cipher", "group", "client_certificate", "resumes"],
    *["resumes_reason", "handshake", "timings_ms", "alert_sent", "alert_received", "staple"],
]


@pytest.fixture(scope="session")
def issuer(authority: CertificateAuthority) -> CertificateAuthority:
    return authority.intermediate("CLI test issuer")


@pytest.fixture
def files(issuer: CertificateAuthority, tmp_path: Path) -> IssuedFiles:
    """A certificate for 127.0.0.1 and sip.example.com, and its intermediate."""
    return issuer.issue("127.0.0.1", "sip.example.com", common_name="sip.example.com").write(tmp_path)


@pytest.fixture
def openssl(require_program: Callable[[str], str]) -> str:
    return require_program("openssl")


def test_sound_server_is_told_from_versions_to_verdicts(sipsua: Sipsua, pbx: PbxProcess, ca: Path) -> None:
    result = sipsua("check", f"127.0.0.1:{pbx.port}", "--ca", ca)
    assert result.code == 0
    assert result.err == ""
    lines = iter(result.out.splitlines())
    for words in (
        f"server 127.0.0.1:{pbx.port} at 127.0.0.1:{pbx.port}",
        "  TLSv1   not taken ",
        "  TLSv1.1 not taken ",
        "  TLSv1.2 taken     TLSv1.2, ECDHE-ECDSA-",
        "  TLSv1.3 taken     TLSv1.3, TLS_",
        "  agreed on          TLSv1.3, TLS_",
        "  client certificate not asked for",
        "  resumption ",
        "  stapled OCSP       none",
        f"handshake with 127.0.0.1:{pbx.port}",
        " ms  ClientHello",
        " ms  Finished (server)",
        "  took dns ",
        "certificate 0 CN=127.0.0.1",
        "days left",
        "  key      EC P-256, ecdsa-with-SHA256",
        "path that was built",
        "  0 CN=127.0.0.1 (sent as 0)",
        "  1 CN=CLI test CA (not sent, custom list)",
        "verdict accepted for 127.0.0.1 (rfc2818, 1 trust anchor)",
        "  revocation_unknown in certificate 0, a warning",
        "verdicts for 127.0.0.1, as others judge",
        "  yealink    accepted",
        "  rfc5922    refused   no_usable_name",
        "  rustls     accepted",
        "to make all agree",
        "  - ",
    ):
        assert any(words in line for line in lines), words


def test_json_is_one_object_with_all_fields(sipsua: Sipsua, pbx: PbxProcess, ca: Path) -> None:
    result = sipsua("check", f"localhost:{pbx.port}", "--ca", ca, "--json")
    assert result.code == 0
    report = result.report
    assert list(report) == FIELDS
    server = report["server"]
    assert list(server) == SERVER_FIELDS
    assert (server["host"], server["port"], server["name"]) == ("localhost", pbx.port, "localhost")
    assert server["address"] == f"127.0.0.1:{pbx.port}"
    assert {version: one["taken"] for version, one in server["versions"].items()} == {
        "TLSv1": False,
        "TLSv1.1": False,
        "TLSv1.2": True,
        "TLSv1.3": True,
    }
    assert all(one["reason"] for one in server["versions"].values())
    assert server["protocol"] == "TLSv1.3"
    assert server["staple"] == {"status": "none", "problems": []}
    assert server["client_certificate"] == "not_asked"
    assert [one["subject"] for one in report["chain"]] == ["CN=127.0.0.1"]
    assert report["chain"][0]["days_left"] in (364, 365)
    assert [one["subject"] for one in report["path"]] == ["CN=127.0.0.1", "CN=CLI test CA"]
    assert report["verdict"]["accepted"] is True
    assert list(report["verdicts"]) == [persona.name for persona in PERSONAS]
    assert all(one == {"accepted": True, "problems": [], "unknown": ""} for one in report["verdicts"].values())
    assert report["advice"] == []
    assert report["error"] is None
    assert report["exit_code"] == 0
    assert "verdict accepted" in result.err


def test_nobody_trusted_still_shows_everything(sipsua: Sipsua, pbx: PbxProcess) -> None:
    result = sipsua("check", f"127.0.0.1:{pbx.port}", "--json")
    assert result.code == 10
    assert "nobody is trusted: give the CA's certificate with --ca FILE" in result.told[1]
    assert result.report["server"]["protocol"] == "TLSv1.3"
    assert result.report["server"]["alert_sent"] == 48
    assert result.report["verdict"]["problems"][0]["code"] == "unknown_issuer"
    assert len(result.report["chain"]) == 1
    assert "we sent the alert unknown_ca (48)" in result.err


@pytest.mark.parametrize(
    ("trust", "with_ca", "code", "anchors"),
    [
        ("custom", True, 0, "1 trust anchor"),
        ("all", True, 0, "77 trust anchors"),
        ("all", False, 10, "76 trust anchors"),
        ("builtin", False, 10, "76 trust anchors"),
        ("mozilla", False, 10, " trust anchors"),
        ("mozilla", True, 0, " trust anchors"),
    ],
)
def test_lists_that_count_are_chosen(
    sipsua: Sipsua, pbx: PbxProcess, ca: Path, trust: str, with_ca: bool, code: int, anchors: str
) -> None:
    own = ["--ca", ca] if with_ca else []
    result = sipsua("check", f"127.0.0.1:{pbx.port}", "--trust", trust, *own, "--json")
    assert result.code == code
    assert result.report["verdict"]["policy"].endswith(anchors)
    assert result.report["verdict"]["anchor_list"] == ("custom" if code == 0 else None)


def test_certificates_that_would_not_count_are_2(sipsua: Sipsua, ca: Path) -> None:
    result = sipsua("check", "127.0.0.1:1", "--ca", ca, "--trust", "builtin", "--json")
    assert result.code == 2
    assert "would not count" in result.told[0]
    assert list(result.report) == FIELDS


@pytest.mark.parametrize(
    ("options", "code", "reference"),
    [
        (["--name", "sip.example.com"], 0, "sip.example.com"),
        (["--name", "sip.example.net"], 11, "sip.example.net"),
        (["--name", "sip.example.net", "--names", "off"], 0, "sip.example.net"),
        (["--names", "rfc5922"], 11, "127.0.0.1"),
        (["--name", "two words"], 11, "two words"),
    ],
)
def test_name_and_rule_decide_the_main_verdict(
    sipsua: Sipsua, openssl: str, files: IssuedFiles, ca: Path, options: list[str], code: int, reference: str
) -> None:
    with s_server(openssl, files) as port:
        result = sipsua("check", f"127.0.0.1:{port}", "--ca", ca, *options, "--json")
    assert result.code == code
    assert result.report["server"]["name"] == reference
    assert result.report["verdict"]["reference"] == reference
    assert result.report["verdicts"]["yealink"]["accepted"] is True
    assert result.report["error"] is None or result.report["error"]["code"] == "name_refused"


def test_advice_makes_all_personas_agree(
    sipsua: Sipsua, issuer: CertificateAuthority, ca: Path, tmp_path: Path
) -> None:
    before = issuer.issue(common_name="sip.example.com").write(tmp_path, "before").certificate
    report = sipsua("check", "--chain", before, "--name", "sip.example.com", "--ca", ca, "--json").report
    assert report["verdicts"]["rfc2818"]["accepted"] is True
    assert report["verdicts"]["rustls"] == {"accepted": False, "problems": ["no_usable_name"], "unknown": ""}
    assert "subjectAltName DNS:sip.example.com" in report["advice"][0]
    after = issuer.issue("sip.example.com").write(tmp_path, "after").certificate
    report = sipsua("check", "--chain", after, "--name", "sip.example.com", "--ca", ca, "--json").report
    assert all(one["accepted"] for one in report["verdicts"].values())
    assert report["advice"] == []


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_chain_in_a_file_is_judged_without_a_server(
    sipsua: Sipsua, authority: CertificateAuthority, ca: Path, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "chain"
    path.write_bytes(authority.issue("sip.example.com").certificate.public_bytes(getattr(Encoding, form)))
    result = sipsua("check", "--chain", path, "--name", "sip.example.com", "--ca", ca)
    assert result.code == 0
    assert result.out.startswith("certificate 0 CN=sip.example.com\n")
    assert "verdict accepted for sip.example.com" in result.out
    report = sipsua("check", "--chain", path, "--name", "sip.example.com", "--json").report
    assert list(report) == FIELDS
    assert report["server"] is None
    assert report["exit_code"] == 10
    assert report["verdict"]["problems"][0]["code"] == "unknown_issuer"


@pytest.mark.parametrize(
    ("make", "status", "code", "problems"),
    [
        ({}, "good", 0, []),
        ({"status": "revoked"}, "revoked", 10, ["revoked"]),
        ({"status": "unknown"}, "bad", 10, ["revocation_unknown"]),
        ({"next_update": datetime.now(UTC) - timedelta(minutes=30)}, "bad", 10, ["revocation_unknown"]),
        ({"tampered": True}, "bad", 10, ["revocation_unknown"]),
        ({"status": "tryLater"}, "bad", 10, ["revocation_unknown"]),
    ],
    ids=["good", "revoked", "unknown", "expired", "tampered", "try later"],
)
def test_staple_is_read_and_counts(
    sipsua: Sipsua,
    openssl: str,
    issuer: CertificateAuthority,
    files: IssuedFiles,
    ca: Path,
    tmp_path: Path,
    make: dict[str, object],
    status: str,
    code: int,
    problems: list[str],
) -> None:
    leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    (tmp_path / "staple").write_bytes(ocsp_response(issuer, leaf, **make))  # type: ignore[arg-type]
    with s_server(openssl, files, "-status_file", str(tmp_path / "staple")) as port:
        result = sipsua("check", f"127.0.0.1:{port}", "--ca", ca, "--json")
    assert result.code == code
    staple = result.report["server"]["staple"]
    assert staple["status"] == status
    assert [one["code"] for one in staple["problems"]] == problems
    assert [one["code"] for one in result.report["verdict"]["problems"]] == problems
    assert result.report["server"]["alert_sent"] == (None if code == 0 else 113)


def test_staple_of_an_issuer_that_nobody_shows_is_not_checked(
    sipsua: Sipsua, openssl: str, issuer: CertificateAuthority, ca: Path, tmp_path: Path
) -> None:
    issued = issuer.issue("127.0.0.1")
    files = issued.write(tmp_path)
    files.certificate.write_bytes(issued.certificate_pem)
    (tmp_path / "staple").write_bytes(ocsp_response(issuer, issued.certificate))
    with s_server(openssl, files, "-status_file", str(tmp_path / "staple")) as port:
        result = sipsua("check", f"127.0.0.1:{port}", "--ca", ca, "--json")
    assert result.code == 10
    assert result.report["server"]["staple"]["status"] == "not_checked"


def test_crl_counts_and_what_nobody_says_is_a_warning(
    sipsua: Sipsua, authority: CertificateAuthority, pbx: PbxProcess, ca: Path, tmp_path: Path
) -> None:
    sound, damning = tmp_path / "sound.pem", tmp_path / "damning.pem"
    sound.write_bytes(crl(authority, this_update=datetime.now(UTC) - timedelta(hours=2)))
    result = sipsua("check", f"127.0.0.1:{pbx.port}", "--ca", ca, "--crl", sound, "--json")
    assert result.code == 0
    assert result.report["verdict"]["warnings"] == []
    leaf = authority.issue("sip.example.com")
    damning.write_bytes(crl(authority, revoked=[leaf.certificate]))
    chain = leaf.write(tmp_path).certificate
    options = ["--chain", chain, "--name", "sip.example.com", "--ca", ca, "--crl", damning]
    result = sipsua("check", *options, "--json")
    assert result.code == 10
    assert result.report["verdict"]["problems"][0]["code"] == "revoked"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_demanded_client_certificate_is_told_and_the_chain_judged(
    sipsua: Sipsua,
    openssl: str,
    authority: CertificateAuthority,
    files: IssuedFiles,
    ca: Path,
    version: str,
    tmp_path: Path,
) -> None:
    phone = authority.issue("phone.example.com").write(tmp_path, "phone")
    with s_server(openssl, files, "-Verify", "1", "-verify_return_error", "-CAfile", str(ca), version) as port:
        without = sipsua("check", f"127.0.0.1:{port}", "--ca", ca, "--json")
        ours = sipsua(
            "check", f"127.0.0.1:{port}", "--ca", ca, "--json", "--cert", phone.certificate, "--key", phone.key
        )
    assert without.code == 12
    assert without.report["server"]["client_certificate"] == "demanded"
    assert without.report["verdict"]["accepted"] is True
    assert "client certificate demanded: give one that the server trusts with --cert and --key" in without.err
    assert ours.code == 0
    assert ours.report["server"]["client_certificate"] == "accepted"


def test_server_of_an_old_version_only_fails_and_is_described(
    sipsua: Sipsua, openssl: str, files: IssuedFiles, ca: Path
) -> None:
    with s_server(openssl, files, "-cipher", "DEFAULT@SECLEVEL=0", "-tls1") as port:
        result = sipsua("check", f"127.0.0.1:{port}", "--ca", ca, "--json")
    assert result.code == 12
    assert result.report["server"]["versions"]["TLSv1"]["taken"] is True
    assert result.report["server"]["protocol"] == "TLSv1"
    assert result.report["verdict"]["accepted"] is True
    assert result.report["verdicts"]["go"]["accepted"] is True
    assert "allow" in result.told[1]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("plain-sip", "does not speak TLS on this port but SIP"),
        ("plain-http", "does not speak TLS on this port but HTTP"),
        ("silence", "did not finish the TLS handshake within 0.5 s"),
        ("close-at-accept", "instead of beginning a TLS handshake"),
        ("reset-at-accept", "reset"),
        ("reset-after-client-hello", "reset the connection in the middle"),
        ("silence-after-server-hello", "did not finish the TLS handshake within"),
        ("one-octet-a-second", "did not finish the TLS handshake within"),
    ],
)
def test_broken_server_is_told(case: str, words: str, sipsua: Sipsua, ca: Path) -> None:
    with BadServer(CASES[case]) as server:
        seconds = 1 if "within" in words else 20
        result = sipsua("check", f"127.0.0.1:{server.port}", "--ca", ca, "--timeout", seconds, "--json")
    assert result.code in CASES[case].must.exit_codes
    assert words in result.told[0]
    assert result.told[1]
    assert result.report["exit_code"] == result.code
    assert result.report["verdicts"] == {}
    assert result.report["verdict"] is None
    assert all(one["taken"] is not True for one in result.report["server"]["versions"].values())


@pytest.mark.parametrize("host", ["127.0.0.1", "host.invalid"])
def test_server_that_is_not_there_is_13(sipsua: Sipsua, host: str) -> None:
    with BadServer(CASES["silence"]) as server:
        port = server.port
    result = sipsua("check", f"{host}:{port}", "--timeout", 2, "--json")
    assert result.code == 13
    assert result.report["server"]["address"] is None
    assert list(result.report["server"]) == SERVER_FIELDS
    assert result.err.splitlines()[0] == f"server {host}:{port} not reached"
    assert len(result.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "neither a server nor --chain"),
        (["host", "--chain", "x", "--name", "n"], "a server and --chain"),
        (["--chain", "x"], "--chain without --name"),
        (["--chain", "x", "--name", "n", "--cert", "x"], "--cert with --chain"),
        (["host", "--key", "x"], "--key without --cert"),
        (["host", "--timeout", "0"], "--timeout of 0 s"),
        (["host", "--timeout", "nan"], "--timeout of nan s"),
        (["host:port"], "is no server"),
        (["sips:1000:secret@host"], "is no server"),
        (["host", "--name", ""], "--name is empty"),
        (["host", "--trust", "nobody"], "nobody"),
        (["host", "--names", "rfc1"], "rfc1"),
    ],
)
def test_command_line_that_cannot_be_is_2(sipsua: Sipsua, arguments: list[str], words: str) -> None:
    result = sipsua("check", *arguments, "--json")
    assert result.code == 2
    assert words in result.told[0]
    assert "secret" not in result.out + result.err
    assert result.report["exit_code"] == 2


@pytest.mark.parametrize("option", ["--ca", "--cert", "--crl", "--chain"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_unusable_file_is_17(sipsua: Sipsua, tmp_path: Path, option: str, content: bytes | None) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    where = ["--name", "sip.example.com"] if option == "--chain" else ["127.0.0.1:1"]
    result = sipsua("check", *where, option, path, "--json")
    assert result.code == 17
    assert str(path) in result.told[0]
    assert list(result.report) == FIELDS
    assert result.report["error"]["code"] == "configuration"


def test_file_that_nobody_writes_to_does_not_hang(sipsua: Sipsua, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    result = sipsua("check", "--chain", tmp_path / "fifo", "--name", "n", "--timeout", 0.2)
    assert result.code == 17
    assert "the file of --chain" in result.told[0]


@pytest.fixture
def hostile(authority: CertificateAuthority, tmp_path: Path) -> Path:
    """A chain whose names want to write on the terminal."""
    names = extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("sip:\x1b]0;owned\x07.example")]))
    issued = authority.issue(common_name="\x1b[31m\nverdict accepted\u202e\x00", extensions=[names])
    return issued.write(tmp_path, "hostile").certificate


def test_hostile_names_write_nothing_on_the_terminal(sipsua: Sipsua, hostile: Path, ca: Path) -> None:
    result = sipsua("check", "--chain", hostile, "--name", "sip.example.com\x1b[2J", "--ca", ca)
    assert result.code == 11
    assert not any(character in result.out + result.err for character in "\x1b\x07\x00\u202e\r")
    assert not any(line.startswith("verdict accepted") for line in result.out.splitlines())


def test_hostile_names_of_a_server_are_good_json(sipsua: Sipsua, hostile: Path, ca: Path, openssl: str) -> None:
    files = IssuedFiles(hostile, hostile.with_suffix(".key"))
    with s_server(openssl, files) as port:
        result = sipsua("check", f"127.0.0.1:{port}", "--ca", ca, "--json")
    assert result.code == 11
    assert result.report["chain"][0]["subject"].startswith("CN=")
    assert "\x1b" not in result.out + result.err


def test_narrow_terminal_without_unicode_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch, authority: CertificateAuthority, ca: Path, tmp_path: Path
) -> None:
    issued = authority.issue("sip.example.com", common_name="Fernsprechvermittlung Köln-Süd, 電話").write(tmp_path)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    with monkeypatch.context() as terminal:
        terminal.setenv("COLUMNS", "60")
        terminal.setattr(sys, "stdout", stream)
        code = main(["check", "--chain", str(issued.certificate), "--name", "sip.example.com", "--ca", str(ca)])
    assert code == 0
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "  yealink-cn accepted\n" in text
    assert any(len(line) > 60 for line in text.splitlines())
    assert "Fernsprechvermittlung K\\xf6ln-S\\xfcd" in text


def test_all_that_is_wrong_with_a_chain_in_a_file_is_told(sipsua: Sipsua, ca: Path, tmp_path: Path) -> None:
    ancient = CertificateAuthority("ancient", not_after=datetime(2021, 1, 1, tzinfo=UTC))
    leaf = ancient.issue("sip.example.com", common_name="", not_after=datetime(2020, 1, 1, tzinfo=UTC), key="rsa1024")
    path = leaf.write(tmp_path).certificate
    path.write_bytes(path.read_bytes() + ancient.pem + CertificateAuthority("stranger").pem)
    result = sipsua("check", "--chain", path, "--name", "sip.example.com", "--ca", ca, "--json")
    assert result.code == 10
    assert result.report["chain"][0]["days_left"] < 0
    assert {"expired", "weak_key"} <= {one["code"] for one in result.report["verdict"]["problems"]}
    assert "expired" in result.err


def test_help_imports_nothing_dear() -> None:
    program = (
        "import sys; from sipsua.cli import main; code = main(['check', '--help']);"
        "print(code, sorted({'OpenSSL', 'cryptography', 'asyncio', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
    assert "--chain FILE" in done.stdout


SILENT = {"silence", "silence-after-server-hello", "one-octet-a-second", "tls-then-silence"}


@pytest.mark.parametrize("name", list(CASES))
def test_check_finds_of_each_bad_server_what_a_phone_would(name: str, sipsua: Sipsua, tmp_path: Path) -> None:
    case = CASES[name]
    with BadServer(case) as server:
        files = server.write(tmp_path)
        options: list[object] = ["--ca", files.ca, "--names", case.wishes.get("names", "rfc2818")]
        if case.wishes.get("legacy_path"):
            options.append("--legacy-path")
        options += ["--revocation", case.wishes.get("revocation", "soft")]
        if files.crl is not None:
            options += ["--crl", files.crl]
        if files.certificate is not None:
            options += ["--cert", files.certificate, "--key", files.key]
        options += ["--name", server.setup.reference, "--timeout", 1 if name in SILENT else 20]
        result = sipsua("check", f"127.0.0.1:{server.port}", *options, "--json")
    # What comes after the handshake is none of its business.
    codes = {code if code in (10, 11, 12, 13) else 0 for code in case.must.exit_codes}
    assert result.code in codes
    verdict = result.report["verdict"] or {"problems": []}
    assert {problem["code"] for problem in verdict["problems"]} == case.must.problems
    assert list(result.report["verdicts"]) == ([persona.name for persona in PERSONAS] if result.report["chain"] else [])
    assert all(visit.decrypted == b"" for visit in server.visits)


def test_hard_revocation_refuses_here_what_the_others_accept(sipsua: Sipsua, pbx: PbxProcess, ca: Path) -> None:
    result = sipsua("check", f"127.0.0.1:{pbx.port}", "--ca", ca, "--revocation", "hard", "--json")
    assert result.code == 10
    assert [one["code"] for one in result.report["verdict"]["problems"]] == ["revocation_unknown"]
    assert result.report["verdicts"]["rfc2818"] == {"accepted": True, "problems": [], "unknown": ""}


def test_hard_revocation_of_a_file_without_a_crl_is_2(sipsua: Sipsua, files: IssuedFiles) -> None:
    result = sipsua("check", "--chain", files.certificate, "--name", "n", "--revocation", "hard")
    assert result.code == 2
