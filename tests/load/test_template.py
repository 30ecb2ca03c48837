"""Texts with places that are filled in for each phone."""

from __future__ import annotations

import pytest

from sipsua.errors import BadConfiguration
from sipsua.load.template import Template


@pytest.mark.parametrize(
    ("text", "names", "filled"),
    [
        ("", set(), ""),
        ("plain", set(), "plain"),
        ("sips:{user}@{host}", {"user", "host"}, "sips:anna@h"),
        ("{user}{user}", {"user"}, "annaanna"),
        ("{{user}} {{{user}}}", {"user"}, "{user} {anna}"),
        ("{user.__class__}", {"user.__class__"}, "odd"),
    ],
)
def test_names_in_braces_are_filled_in(text: str, names: set[str], filled: str) -> None:
    template = Template(text)
    assert template.names == names
    assert template.fill({"user": "anna", "host": "h", "user.__class__": "odd"}) == filled


@pytest.mark.parametrize(("text", "brace"), [("hid{den", "{"), ("hid}den", "}"), ("{{user}", "}"), ("{a{b}}", "{")])
def test_a_lone_brace_is_refused_and_the_text_not_told(text: str, brace: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Template(text)
    assert refused.value.what == f"there is a {brace} without its partner"
    assert "hid" not in str(refused.value)
