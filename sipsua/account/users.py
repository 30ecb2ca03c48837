"""Users by a pattern: `1000-1999`, `phone0001-phone0500`, `anna,bert`, several with commas.

A load run and a registrar for tests say with the same words whom they have. A pattern of a million users is kept as its pieces, and a
user's name is made when it is asked for.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, overload

from sipsua.errors import BadConfiguration

MAX_USERS = 1_000_000
"""The longest pattern."""

_LONGEST = 200
"""Characters of one piece."""


class _Piece(NamedTuple):
    """One range; a single name is a range of one without digits."""

    prefix: str
    first: int
    width: int
    size: int


class UserPattern(Sequence[str]):
    """The users of a pattern, in its order; one who is named twice is there twice."""

    __slots__ = ("_ends", "_pieces", "pattern")

    def __init__(self, pattern: str) -> None:
        """Leading zeros are kept: `098-101` is 098, 099, 100, 101. Raises BadConfiguration."""
        self.pattern = pattern
        self._pieces = [_piece(text.strip(), pattern) for text in pattern.split(",")]
        self._ends = list(accumulate(piece.size for piece in self._pieces))
        if self._ends[-1] > MAX_USERS:
            raise BadConfiguration(f"{_short(pattern)} is more than {MAX_USERS} users", fix="take fewer")

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = bisect_right(self._ends, index)
        prefix, first, width, size = self._pieces[place]
        if not width:
            return prefix
        return f"{prefix}{first + index - (self._ends[place] - size):0{width}d}"

    def longer(self, count: int) -> str:
        """A pattern that begins like this one and has so many users; empty where it ends in a name, which has no next."""
        prefix, first, width, size = self._pieces[-1]
        if not width:
            return ""
        head, comma, _ = self.pattern.rpartition(",")
        last = first + size - 1 + count - len(self)
        return f"{head}{comma}{prefix}{first:0{width}d}-{prefix}{last:0{width}d}"

    def __repr__(self) -> str:
        return f"<UserPattern: {_short(self.pattern)}>"


def _piece(text: str, pattern: str) -> _Piece:
    if not text:
        raise BadConfiguration(f"there is an empty range of users in {_short(pattern)}", fix=_FIX)
    if len(text) > _LONGEST:
        raise BadConfiguration(f"{_short(text)} is no range of users: it is too long", fix=_FIX)
    if _NAME.fullmatch(text):
        return _Piece(text, 0, 0, 1)
    found = _RANGE.fullmatch(text)
    size = int(found["last"]) - int(found["first"]) + 1 if found else 0
    if not found or size < 1:
        why = ": it ends before it begins" if found else ""
        raise BadConfiguration(f"{_short(text)} is no range of users{why}", fix=_FIX)
    return _Piece(found["prefix"], int(found["first"]), len(found["first"]), size)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


_FIX = "write a range like 1000-1099 or phone001-phone099, a name, or several with commas"
_NAME = re.compile(r"[^\s,@<>\"-]+")
"""A dash is in ranges only: `a-b` would be a mistake rather than a name."""
_RANGE = re.compile(r"(?P<prefix>[^\s,@<>\"]*?)(?P<first>[0-9]{1,18})-(?P=prefix)(?P<last>[0-9]{1,18})", re.ASCII)
