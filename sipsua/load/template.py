"""Texts of a plan with places to be filled in for each phone: `sips:{user}@{server}`, `certs/{mac}.pem`, `{field1}`.

Cut into pieces once for a group, so that a phone costs a join. Python's own `format` is not used: it would take `{user.__class__}`
from a file that somebody else has written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sipsua.errors import BadConfiguration


class Template:
    """One text. `{{` and `}}` stand for the braces themselves."""

    __slots__ = ("_pieces", "names")

    def __init__(self, text: str) -> None:
        """Raises BadConfiguration for a brace without its partner. The text is in no error: it may be a password."""
        pieces, end = [""], 0
        for found in _BRACES.finditer(text):
            pieces[-1] += text[end : found.start()]
            end = found.end()
            if found["name"] is not None:
                pieces += found["name"], ""
            elif len(found[0]) == 2:
                pieces[-1] += found[0][0]
            else:
                raise BadConfiguration(
                    f"there is a {found[0]} without its partner",
                    fix="write a name in braces, such as {user}; a brace itself is written twice: {{ or }}",
                )
        pieces[-1] += text[end:]
        self._pieces = tuple(pieces)  # text and name by turns
        self.names = frozenset(pieces[1::2])
        """What is to be filled in."""

    def fill(self, values: Mapping[str, str]) -> str:
        """The text of a phone. `values` has all of `names`."""
        if not self.names:
            return self._pieces[0]
        return "".join([values[piece] if place & 1 else piece for place, piece in enumerate(self._pieces)])


def literal(text: str) -> str:
    """The template that is filled in as just this text."""
    return text.replace("{", "{{").replace("}", "}}")


_BRACES = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")
