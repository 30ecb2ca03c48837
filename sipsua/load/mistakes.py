"""Mistakes gathered: who corrects a plan wants to hear of all of them at once, each with its place.

Each is one line, `plan.toml:12: phones[0].persona: 'grandstream' is not known: generic or yealink`, so that an editor can jump to it.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

from sipsua.errors import BadConfiguration, printable

MOST = 20
"""Mistakes that are told; a wrong column makes one in each of ten thousand rows."""

FIX = "correct the plan; `sipsua load plan --example` shows all its parts"

P = ParamSpec("P")
T = TypeVar("T")


class Mistakes:
    """Lines of what is wrong."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}  # groups that share a wrong setting have one mistake

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, where: str, what: str) -> None:
        """One more. `where` is the field or the place in a file; it may be empty."""
        self._lines[printable(f"{where}: {what}" if where else what)] = None

    def attempt(self, where: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `work` returns; None where it raises BadConfiguration, which is then one of the mistakes."""
        try:
            return work(*args, **kwargs)
        except BadConfiguration as error:
            if isinstance(error, BadLines):
                self._lines.update(dict.fromkeys(error.lines))  # each has its place
            else:
                self.add(where, sentence(error))
            return None

    def error(self, fix: str = FIX) -> BadConfiguration:
        """All of them as one error; `fix` is what to do about them."""
        return BadLines(list(self._lines), fix)

    def check(self, fix: str = FIX) -> None:
        """Raise BadConfiguration where there are any."""
        if self._lines:
            raise self.error(fix)


class BadLines(BadConfiguration):
    """Several mistakes in files."""

    def __init__(self, lines: list[str], fix: str) -> None:
        told = lines if len(lines) <= MOST else [*lines[: MOST - 1], f"and {len(lines) - MOST + 1} more"]
        super().__init__("\n".join(told), fix=fix)
        self.lines = lines
        """All of them."""

    def __reduce__(self) -> tuple[type[BadLines], tuple[list[str], str]]:
        return BadLines, (self.lines, self.fix)


def sentence(error: BadConfiguration) -> str:
    """What went wrong and what to do about it in one line."""
    return f"{error.what}: {error.fix}" if error.fix else error.what


def meant(name: str, known: list[str]) -> str:
    """What would be right in place of a name that is not known: the one that looks like it, or all."""
    near = get_close_matches(name, known, 1)
    return f"is not known: did you mean {near[0]}?" if near else f"is not known: {one_of(known)}"


def one_of(words: list[str]) -> str:
    """`a, b or c`"""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
