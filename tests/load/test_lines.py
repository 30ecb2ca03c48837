"""In which line of a TOML text a value stands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files

from hypothesis import given
from hypothesis import strategies as st

from sipsua.load.lines import Lines, Path


def test_the_lines_of_all_values_are_found() -> None:
    text = (
        "# a comment\n"
        "a.b = 1\n"
        '"a".c = """\n'
        "[not a section]\n"
        '"""\n'
        "list = [ # [\n"
        "  1, 'x]',\n"
        "  { k = '''\n"
        "''', \"l m\" = [2,\n"
        "  3] },\n"
        "]\n"
        "[[t]]\n"
        "x = 1979-05-27 07:32:00\n"
        "[t.u]\n"
        "y = -inf\n"
        "[[t.v]]\n"
        "[[t.v]]\n"
        "z = '#'\n"
        "[[t]]\n"
        "[t.u] # again\n"
        "'y' = true"
    )
    expected = {
        ("a",): 2,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("list",): 6,
        ("list", 0): 7,
        ("list", 1): 7,
        ("list", 2, "k"): 8,
        ("list", 2, "l m", 1): 10,
        ("t", 0): 12,
        ("t", 0, "x"): 13,
        ("t", 0, "u"): 14,
        ("t", 0, "u", "y"): 15,
        ("t", 0, "v", 0): 16,
        ("t", 0, "v", 1): 17,
        ("t", 0, "v", 1, "z"): 18,
        ("t", 1): 19,
        ("t", 1, "u"): 20,
        ("t", 1, "u", "y"): 21,
        # What is not there has the line of its nearest parent.
        ("none",): 1,
        ("list", 9, "k"): 6,
        ("t", 1, "u", "z", 3): 20,
    }
    lines = Lines(text)
    assert {path: lines.of(path) for path in expected} == expected


@given(st.text(st.sampled_from("abc.=[]{}\"'#, \n\\01-"), max_size=60))
def test_lines_are_found_wherever_a_text_is_toml(text: str) -> None:
    lines = Lines(text)
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError):
        return
    for key in document:
        line = text.split("\n")[lines.of((key,)) - 1]
        assert key in line or "\\" in line


def test_every_key_of_the_example_is_in_its_line() -> None:
    text = (files("sipsua.load") / "example.toml").read_text()
    lines, whole = Lines(text), text.split("\n")
    paths = list(keys(tomllib.loads(text), ()))
    assert len(paths) > 60
    for path in paths:
        assert str(path[-1]) in whole[lines.of(path) - 1]


def keys(value: object, path: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from keys(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from keys(inner, (*path, place))
