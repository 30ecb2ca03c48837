"""Every error has its exit code, and a cause and a remedy of one line each."""

from __future__ import annotations

import pytest

from sipsua import errors
from sipsua.cli.failure import ExitCode, Failure, UsageError
from sipsua.trust.verdict import CertificateRefused, Problem, ProblemCode, Verdict


def refused(*codes: ProblemCode) -> CertificateRefused:
    problems = tuple(Problem(code, 0, "RFC 5280", "what was seen", "what to do") for code in codes)
    return CertificateRefused(Verdict(False, False, "rfc2818, no trust anchors", "sip.example.com", problems=problems))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("two passwords"), 2),
        (refused(ProblemCode.EXPIRED), 10),
        (refused(ProblemCode.NAME_MISMATCH, ProblemCode.UNKNOWN_ISSUER), 10),
        (refused(), 10),
        (refused(ProblemCode.NAME_MISMATCH), 11),
        (refused(ProblemCode.NO_USABLE_NAME), 11),
        (errors.HandshakeFailed("no common version", alert=70), 12),
        (errors.IdentityRefused("it demands a certificate of ours"), 12),
        (errors.Unreachable("no such name"), 13),
        (errors.CredentialsRefused("401", status=401), 14),
        (errors.Refused("404", status=404), 15),
        (errors.NoAnswer("silence"), 16),
        (errors.BadConfiguration("no such file"), 17),
        (errors.FlowLost("reset"), 18),
        (errors.Lost("gone"), 18),
        (errors.MalformedMessage("this is not SIP"), 18),
        (errors.Misuse("entered twice"), 70),
        (errors.Defect("impossible"), 70),
        (RuntimeError("what nobody thought of"), 70),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_error_has_its_exit_code_and_a_remedy(error: BaseException, code: int) -> None:
    failure = Failure.of(error)
    assert failure.code == code
    assert failure.what
    assert failure.fix
    assert failure.as_json()["code"] == ExitCode(code).name.lower()


def test_words_of_a_server_stay_on_one_line_and_off_the_terminal() -> None:
    failure = Failure.of(errors.Refused("403 \x1b[2J\r\nsipsua: all is well\N{RIGHT-TO-LEFT OVERRIDE}", status=403))
    assert "\x1b" not in str(failure)
    assert len(str(failure).splitlines()) == 2
    assert "\\x1b[2J" in failure.what


def test_unknown_error_asks_for_a_report() -> None:
    failure = Failure.of(ZeroDivisionError("division by zero"))
    assert failure.what == "sipsua itself is wrong: ZeroDivisionError: division by zero"
    assert "report" in failure.fix


def test_remedy_of_the_error_goes_before_that_of_the_table() -> None:
    assert Failure.of(errors.Unreachable("no such name", fix="check the name")).fix == "check the name"
