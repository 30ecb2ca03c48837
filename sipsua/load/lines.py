"""In which line of a TOML text a value stands: Python's reader gives values and no lines, and who mends a plan wants to go there.

This is no second reader of TOML: it walks over a text that the first one has understood, and notes where keys and items begin. Where it
meets what it does not know, it stops, and what lies behind has the line of its nearest known parent.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]
"""Keys and indices from the top: `("phones", 0, "trust", "ca", 1)`."""


class Lines:
    """The lines of one text, from 1."""

    __slots__ = ("_arrays", "_at", "_known", "_line", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._known: dict[Path, int] = {(): 1}
        self._arrays: dict[Path, int] = {}
        """How many tables each array of tables has so far."""
        try:
            self._walk()
        except (_Lost, RecursionError):
            pass

    def of(self, path: Path) -> int:
        """Where a value begins: its key, its `[header]`, or itself in a list; else its nearest parent."""
        while path not in self._known:
            path = path[:-1]
        return self._known[path]

    def _walk(self) -> None:
        table: Path = ()
        while self._blank():
            line = self._line
            if self._take(r"\[\["):
                table = self._header(self._keys(), array=True)
                self._need(r"\]\]")
            elif self._take(r"\["):
                table = self._header(self._keys(), array=False)
                self._need(r"\]")
            else:
                self._pair(table)
                continue
            self._known[table] = line

    def _header(self, keys: list[str], *, array: bool) -> Path:
        """The table that a header begins. Keys on the way that are arrays mean their last table."""
        path: Path = ()
        for place, key in enumerate(keys, 1):
            path += (key,)
            self._note(path)
            if place == len(keys) and array:
                self._arrays[path] = self._arrays.get(path, 0) + 1
            if path in self._arrays:
                path += (self._arrays[path] - 1,)
        return path

    def _pair(self, table: Path) -> None:
        """`key.key = value`"""
        path = table
        for key in self._keys():
            path += (key,)
            self._note(path)
        self._need("=")
        self._take(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._take(r"\["):
            index = 0
            while self._blank() and not self._take(r"\]"):
                self._note((*path, index))
                self._value((*path, index))
                index += 1
                self._blank()
                self._take(",")
        elif self._take(r"\{"):
            while self._blank() and not self._take(r"\}"):
                self._pair(path)
                self._blank()
                self._take(",")
        else:
            self._need(_SCALAR)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._take(_SPACE)
            key = self._need(_KEY)
            keys.append(tomllib.loads(f"key = {key}")["key"] if key[0] in "\"'" else key)
            self._take(_SPACE)
            if not self._take(r"\."):
                return keys

    def _note(self, path: Path) -> None:
        self._known.setdefault(path, self._line)

    def _blank(self) -> bool:
        """Pass over blanks, ends of lines and comments; whether there is anything behind them."""
        self._take(r"(?:[ \t\r\n]|#[^\n]*)*")
        return self._at < len(self._text)

    def _take(self, pattern: str) -> str:
        """Go on behind what matches here, which is returned."""
        found = re.compile(pattern, re.DOTALL).match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        self._line += found[0].count("\n")
        return found[0]

    def _need(self, pattern: str) -> str:
        taken = self._take(pattern)
        if not taken:
            raise _Lost
        return taken


class _Lost(Exception):
    """What stands here is not known."""


_SPACE = r"[ \t]*"
_STRING = r'"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
_KEY = rf"{_STRING}|[A-Za-z0-9_-]+"
_SCALAR = rf'"""(?:\\.|[^\\])*?"{{3,5}}|\'\'\'.*?\'{{3,5}}|{_STRING}|[^\s,\]}}#"\'][^,\]}}\n#]*'
"""A string of one or several lines, a number, a date, a truth."""
