"""Nothing but an exit code, a cause and a remedy leaves `main`."""

from __future__ import annotations

import pytest

from sipsua.cli import DEBUG, main
from tests.cli.conftest import Sipsua


def break_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    def play(screen: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("sipsua.cli.stage.play", play)


def test_what_nobody_thought_of_is_70_without_a_traceback(sipsua: Sipsua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEBUG, raising=False)
    break_demo(monkeypatch)
    result = sipsua("demo")
    assert result.code == 70
    assert "sipsua itself is wrong: ZeroDivisionError" in result.told[0]
    assert "report" in result.told[1]


def test_traceback_is_there_for_who_asks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG, "1")
    break_demo(monkeypatch)
    assert main(["demo"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_no_command_shows_help(sipsua: Sipsua) -> None:
    result = sipsua()
    assert result.code == 2
    assert "register" in result.out + result.err


def test_unknown_command_is_2(sipsua: Sipsua) -> None:
    assert sipsua("regsiter").code == 2
