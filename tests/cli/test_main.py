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


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["register"], {"account", "registration", "lock", "verdict", "handshake", "timings_ms"}),
        (["check"], {"server", "chain", "path", "verdict", "verdicts", "advice"}),
        (["check", "--timeout"], {"server", "chain", "path", "verdict", "verdicts", "advice"}),
        (["device", "issue"], {"flash", "dev_cert", "shown", "why", "certificates", "ahead"}),
        (["provision"], {"flash", "set", "done", "warnings", "refused", "unknown"}),
        (["trust", "list", "--builtin", "--mozilla"], set()),
        (["trust", "add"], set()),
        (["trust"], set()),
        (["bad-pbx", "no-such-case"], set()),
        (["regsiter"], set()),
    ],
)
def test_failure_with_json_is_the_one_object_of_the_command_or_the_error_alone(
    sipsua: Sipsua, arguments: list[str], fields: set[str]
) -> None:
    result = sipsua(*arguments, "--json")
    assert result.code == 2
    assert set(result.report) == fields | {"error", "exit_code"}
    assert (result.report["error"]["code"], result.report["exit_code"]) == ("usage", 2)
    assert result.report["error"]["what"] == result.told[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trust", "list", "--flash"], ("Option '--flash' requires an argument", "see sipsua trust list --help")),
        (["trust", "add", ""], ("FILE is empty", "give it a value, or leave it out")),
        (["trust", "export", ""], ("FILE is empty", "give it a value, or leave it out")),
        (
            ["device", "issue", "--mac", "001565aabbcc", "--key", "dsa"],
            ("Invalid value for '--key': 'dsa' is not one of 'rsa', 'ec'", "see sipsua device issue --help"),
        ),
    ],
)
def test_usage_error_names_the_word_and_the_help_of_its_command(
    sipsua: Sipsua, arguments: list[str], words: tuple[str, str]
) -> None:
    assert sipsua(*arguments).told == words
