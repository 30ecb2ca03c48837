"""What strangers wrote is printed without doing anything to the terminal."""

from __future__ import annotations

import pytest

from sipsua.errors import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CN=Müller, O=電話", "CN=Müller, O=電話"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("one\r\ntwo", "one\\r\\u000atwo".replace("\\u000a", "\\n")),
        ("\x9b31m", "\\x9b31m"),
        ("abc\N{RIGHT-TO-LEFT OVERRIDE}cba", "abc\\u202ecba"),
        ("\N{LINE SEPARATOR}", "\\u2028"),
        ("caf\udce9", "caf\\udce9"),
        ("", ""),
    ],
)
def test_harmful_characters_become_escapes(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_lines_stay_lines_where_they_are_wanted() -> None:
    assert printable("SIP/2.0 200 OK\r\nA: \x07b\rc\r\n", lines=True) == "SIP/2.0 200 OK\nA: \\x07b\\rc\n"
