"""Padlock, chain and verdict as lines, on terminals of different kinds."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sipsua.cli.screen import Screen
from sipsua.events import Lock, LockState
from sipsua.trust.verdict import Certificate, Problem, ProblemCode, Verdict

LOCKED = Lock(
    state=LockState.LOCKED,
    verified=True,
    protocol="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    group="x25519",
    server_name="sip.example.com",
    peer="127.0.0.1:5061",
    anchor="CN=Anchor",
    anchor_list="custom",
)


def certificate(subject: str) -> Certificate:
    return Certificate(
        subject=subject,
        issuer="CN=Issuer",
        serial="01",
        names=("DNS:sip.example.com",),
        not_before=datetime(2020, 1, 1, tzinfo=UTC),
        not_after=datetime(2021, 1, 1, tzinfo=UTC),
        key="EC P-256",
        signature="ecdsa-with-SHA256",
        fingerprint="ab" * 32,
        der=b"",
    )


@pytest.mark.parametrize(
    ("lock", "encoding", "line"),
    [
        (LOCKED, "utf-8", "\N{LOCK} locked"),
        (LOCKED, "ascii", "[#] locked"),
        (Lock(), "utf-8", "\N{OPEN LOCK} open"),
        (Lock(state=LockState.REFUSED), "utf-8", "\N{OPEN LOCK} refused"),
        (Lock(state=LockState.REFUSED), "latin-1", "[x] refused"),
        (Lock(state=LockState.LOCKED), "ascii", "[#] locked, NOT VERIFIED: any certificate was accepted"),
    ],
)
def test_padlock_fits_the_terminal(lock: Lock, encoding: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    Screen().padlock(lock)
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == f"{line}\n"


def test_verdict_names_every_problem_with_evidence_rule_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    problems = (
        Problem(ProblemCode.EXPIRED, 0, "RFC 5280 4.1.2.5", "ended 2021-01-01", "renew it"),
        Problem(ProblemCode.NAME_MISMATCH, 0, "RFC 2818 3.1", "it is for b.example", "use b.example"),
    )
    verdict = Verdict(False, False, "rfc2818, 1 trust anchor", "a.example", (certificate("CN=b"),), problems=problems)
    screen = Screen()
    screen.chain(verdict)
    screen.verdict(verdict)
    out = capsys.readouterr().out
    assert "verdict refused for a.example (rfc2818, 1 trust anchor)" in out
    for problem in problems:
        for words in (f"{problem.code} in certificate 0", problem.evidence, problem.rule, problem.fix):
            assert words in out
    assert "2020-01-01 00:00 to 2021-01-01 00:00 UTC, expired" in out


def test_warning_of_an_accepted_chain_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    warning = Problem(ProblemCode.OUT_OF_ORDER, 2, "RFC 5246 7.4.2", "the root came first", "sort the chain file")
    Screen().verdict(Verdict(True, True, "rfc2818", "a.example", (certificate("CN=b"),), warnings=(warning,)))
    out = capsys.readouterr().out
    assert "verdict accepted for a.example (rfc2818)\n" in out
    for words in ("out_of_order in certificate 2, a warning\n", warning.evidence, warning.rule, warning.fix):
        assert words in out


def test_long_lines_are_not_wrapped_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().chain(Verdict(True, True, "", "", (certificate("CN=" + "long " * 100 + "end"),)))
    assert "long end\n" in capsys.readouterr().out


def test_name_in_a_certificate_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().chain(Verdict(True, True, "", "", (certificate("CN=\x1b[2J[bold]x[/bold]"),)))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "CN=\\x1b[2J[bold]x[/bold]" in out


@pytest.mark.parametrize("resumed", [True, False])
def test_a_resumed_session_is_told(resumed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    Screen().session(replace(LOCKED, resumed=resumed), Verdict(True, True, "rfc2818", "sip.example.com"))
    protocol = capsys.readouterr().out.splitlines()[0]
    assert protocol.endswith("session resumed: the verdict is that of the handshake before") is resumed
    assert "TLSv1.3, TLS_AES_256_GCM_SHA384, x25519" in protocol
