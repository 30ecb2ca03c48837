"""`sipsua register` against each kind of bad server: exit code, problems, alert and padlock are what the case says. And `sipsua bad-pbx`,
which runs them for other phones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sipsua.cli.trial import WIDTH, command, expectation, judgement
from sipsua.testing.bad_case import Case, Kind, Must, Site
from sipsua.testing.bad_servers import CASES, BadServer
from sipsua.testing.visit import Progress
from tests.cli.conftest import PASSWORD, Sipsua

SILENT = {"silence", "silence-after-server-hello", "one-octet-a-second", "tls-then-silence"}
"""Against these only a time-out helps."""


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_register_makes_of_each_bad_server_what_a_strict_client_must(
    case: Case, sipsua: Sipsua, tmp_path: Path
) -> None:
    must = case.must
    with BadServer(case) as server:
        program, *arguments = command(server, server.write(tmp_path), needs_password=False).split()
        timeout = 1 if case.name in SILENT else 20
        result = sipsua(*arguments, "--password", PASSWORD, "--timeout", timeout, "--json")
    assert program == "sipsua"
    report = result.report
    assert result.code in must.exit_codes, result.err
    assert report["exit_code"] == result.code
    verdict = report["verdict"] or {"problems": [], "warnings": []}
    assert {problem["code"] for problem in verdict["problems"]} == must.problems
    assert {warning["code"] for warning in verdict["warnings"]} == must.warnings
    (visit,) = server.visits
    assert visit.alert == must.alert
    assert (visit.progress is Progress.REGISTERED) is must.registers
    assert judgement(must, visit.progress) == ("right", "good")
    # The steps and the padlock's turns are told on stderr, in their order.
    assert (" locked\n" in result.err) is must.locks
    if not must.registers:
        what, fix = result.told
        assert what
        assert fix
        assert report["registration"]["state"] == "failed"
        expected = {13: "open", 16: "locked", 18: "open"}.get(result.code, "open" if must.late else "refused")
        # On a busy machine --timeout may strike before the handshake's own limit.
        assert report["lock"]["state"] in {expected, "negotiating" if case.name in SILENT else expected}
    assert PASSWORD.encode() not in visit.received + visit.decrypted


@pytest.mark.parametrize(
    ("case", "options", "lock"),
    [
        ("tls-1.0-only", ["--dangerous-old-tls"], {"protocol": "TLSv1"}),
        ("tls-1.1-only", ["--dangerous-old-tls"], {"protocol": "TLSv1.1"}),
        ("tls-1.1-only", ["--dangerous-old-tls", "--tls", "1.1"], {"protocol": "TLSv1.1"}),
        ("good", ["--dangerous-old-tls"], {"protocol": "TLSv1.3"}),
        ("good", ["--tls", "1.2"], {"protocol": "TLSv1.2"}),
        ("good-tls-1.2", ["--ciphers", "ECDHE+CHACHA20"], {"cipher": "ECDHE-ECDSA-CHACHA20-POLY1305"}),
        ("weak-key", ["--dangerous-weak-ciphers"], {"verified": True}),
        ("weak-signature-sha1", ["--dangerous-weak-ciphers"], {"verified": True}),
    ],
)
def test_what_is_refused_by_default_is_taken_where_that_is_asked_for(
    case: str, options: list[str], lock: dict[str, object], sipsua: Sipsua, tmp_path: Path
) -> None:
    with BadServer(CASES[case]) as server:
        result = sipsua("register", server.uri(), "--ca", server.write(tmp_path).ca, *options, "--json")
    assert result.code == 0, result.err
    assert result.report["lock"].items() >= lock.items()
    assert server.visits[0].progress is Progress.REGISTERED


def test_cipher_string_that_holds_nothing_is_refused_before_anything_is_sent(sipsua: Sipsua, tmp_path: Path) -> None:
    with BadServer(CASES["good"]) as server:
        result = sipsua("register", server.uri(), "--ciphers", "NONSENSE", "--json")
    assert result.code == 17
    assert "NONSENSE" in result.told[0]
    assert server.visits == []


def test_there_are_at_least_sixty_kinds_and_of_every_kind_some() -> None:
    assert len(CASES) >= 60
    assert {case.kind for case in CASES.values()} == set(Kind)
    bad = [case for case in CASES.values() if not case.must.registers]
    assert len(bad) >= 60


def test_list_shows_every_case_with_what_a_good_phone_does(sipsua: Sipsua) -> None:
    result = sipsua("bad-pbx", "--list")
    assert result.code == 0
    lines = [line.strip() for line in result.out.splitlines()]
    for case in CASES.values():
        place = lines.index(f"{case.name:{WIDTH}} {case.what}")
        assert lines[place + 1] == f"a good phone {expectation(case.must)}"
    assert f"{len(CASES)} cases" in lines


def test_list_as_json_is_one_object_of_all_cases(sipsua: Sipsua) -> None:
    cases = sipsua("bad-pbx", "--list", "--json").report["cases"]
    assert [case["name"] for case in cases] == list(CASES)
    (expired,) = (case for case in cases if case["name"] == "expired-leaf")
    assert expired == {
        "name": "expired-leaf",
        "kind": "validity",
        "what": "Its certificate has expired.",
        "registers": False,
        "exit_codes": [10],
        "problems": ["expired"],
        "warnings": [],
        "alert": "certificate_expired",
        "locks": False,
        "settings": {},
    }
    assert json.dumps(cases)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no case is given"),
        (["expired"], "there is no case expired"),
        (["good", "--list"], "--list shows all cases"),
        (["good", "--json"], "--json without --list"),
        (["good", "--host", "localhost"], "--host localhost is no IP address"),
        (["good", "--address", "pbx"], "--address pbx is no IP address"),
        (["good", "--host", "0.0.0.0"], "0.0.0.0 is no address to reach it by"),
        (["good", "--name", "pbx"], "--name pbx is no DNS name of at least two labels"),
        (["good", "--name", "192.0.2.1"], "--name 192.0.2.1 is no DNS name of at least"),
        (["good", "--name", f"{'long.' * 12}example.com"], "at most 48 letters"),
        (["good", "--write", ""], "--write is empty"),
    ],
)
def test_usage_of_bad_pbx_that_fits_nothing_is_2(sipsua: Sipsua, arguments: list[str], words: str) -> None:
    result = sipsua("bad-pbx", *arguments)
    assert result.code == 2
    assert words in result.told[0]
    assert result.told[1]


def test_case_that_is_misspelt_is_answered_with_its_neighbours(sipsua: Sipsua) -> None:
    assert "expired-leaf" in sipsua("bad-pbx", "expired-leef").told[1]


def test_directory_that_cannot_be_written_is_17(sipsua: Sipsua, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = sipsua("bad-pbx", "good", "--port", 0, "--write", tmp_path / "file" / "below")
    assert result.code == 17
    assert "file/below" in result.told[0]


def test_port_that_is_taken_is_17(sipsua: Sipsua, tmp_path: Path) -> None:
    with BadServer(CASES["good"]) as other:
        result = sipsua("bad-pbx", "good", "--port", other.port, "--write", tmp_path)
    assert result.code == 17
    assert f"port {other.port}" in result.told[0]


@pytest.mark.parametrize(
    ("must", "progress", "words"),
    [
        (Must(exit_codes=(0,)), Progress.REGISTERED, "right"),
        (Must(exit_codes=(0,)), Progress.HELLO, "WRONG: it should register"),
        (Must(exit_codes=(10,)), Progress.HELLO, "right"),
        (Must(exit_codes=(10,)), Progress.HANDSHAKE, "LATE: it should refuse in the handshake"),
        (Must(exit_codes=(11,)), Progress.REGISTERED, "WRONG: it should refuse"),
        (Must(exit_codes=(18,)), Progress.HANDSHAKE, "right"),
        (Must(exit_codes=(12,), late=True), Progress.HANDSHAKE, "right"),
    ],
)
def test_judgement_of_a_phone(must: Must, progress: Progress, words: str) -> None:
    assert judgement(must, progress)[0] == words


def test_command_to_try_has_all_that_the_case_wants_of_its_client(tmp_path: Path) -> None:
    site = Site("pbx.example.com", "192.0.2.10")
    crl = BadServer(CASES["crl-expired-hard"], site=site)
    mine = BadServer(CASES["client-certificate"], site=site)
    legacy = BadServer(CASES["cross-signed-expired-root-legacy"], site=site)
    assert (
        command(crl, crl.write(tmp_path), needs_password=True)
        == f"sipsua register sips:1000@pbx.example.com:0 --ca {tmp_path}/ca.pem --crl {tmp_path}/crl.pem --revocation hard "
        "--password PASSWORD"
    )
    words = command(mine, mine.write(tmp_path), needs_password=False)
    assert words.endswith(f"--cert {tmp_path}/client.pem --key {tmp_path}/client.key")
    assert command(legacy, legacy.write(tmp_path), needs_password=False).endswith(" --legacy-path")
