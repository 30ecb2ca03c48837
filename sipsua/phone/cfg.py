"""A Yealink configuration file: `name = value` lines under a version line, edited without losing what others wrote into it.

These files are written by people and by provisioning servers, and hold hundreds of parameters of which a program knows some. So a file is
its lines: what is set is changed where it stands, and comments and foreign lines stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sipsua.errors import BadConfiguration

VERSION_LINE = "#!version:1.0.0.1"
"""What each file must begin with."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class CfgFile:
    """The lines of one file."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        """An empty file: the version line."""
        self._lines = [VERSION_LINE]

    @classmethod
    def parse(cls, data: bytes, where: str) -> CfgFile:
        """Take a file apart. Raises BadConfiguration, naming `where`, if it is no text or does not begin with the version line."""
        try:
            lines = data.decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise BadConfiguration(f"line {line} of {where} is not UTF-8 text", fix="save the file as UTF-8") from None
        if lines[0].rstrip() != VERSION_LINE:
            raise BadConfiguration(
                f"{where} does not begin with {VERSION_LINE}",
                fix="make that its first line: the phone reads no other file",
            )
        self = cls()
        self._lines = lines
        return self

    def __iter__(self) -> Iterator[tuple[int, str, str]]:
        """Number (from 1), name and value of each line that sets something, in order; an empty value or `%NULL%` is empty."""
        for number, line in enumerate(self._lines, 1):
            name, equals, value = map(str.strip, line.partition("="))
            if equals and _NAME.fullmatch(name):
                yield number, name, "" if value == "%NULL%" else value

    def __contains__(self, line: str) -> bool:
        """Whether the file has this line."""
        return line in self._lines

    @property
    def strange(self) -> tuple[tuple[int, str], ...]:
        """Number and text of lines that are neither comment nor `name = value`, nor empty."""
        setting = {number for number, _, _ in self}
        return tuple(
            (number, line)
            for number, line in enumerate(self._lines, 1)
            if line.strip() and not line.lstrip().startswith("#") and number not in setting
        )

    def set(self, values: Mapping[str, str]) -> None:
        """Give parameters a value: where they stand already, the last place if there are several, else at the end."""
        places = {name: number for number, name, _ in self}
        for name, value in values.items():
            line = f"{name} = {value}"
            if name in places:
                self._lines[places[name] - 1] = line
            else:
                self._lines.append(line)

    def remove(self, line: str) -> None:
        """Take out a line wherever it stands."""
        self._lines = [one for one in self._lines if one != line]

    def append(self, line: str) -> None:
        """Add a line at the end."""
        self._lines.append(line)

    def insert(self, line: str) -> None:
        """Add a line after the version line."""
        self._lines.insert(1, line)

    def __bytes__(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()
