"""Phones from a CSV: ours, whose first line names the columns, or the one that SIPp takes with `-inf`.

SIPp's first line says in which order rows are used (`SEQUENTIAL`, `RANDOM` or `USER`, in capitals); then come rows with `;` between the
cells, without quotes, lines with `#` passed over, and the data end at the first empty line. Ours has commas (or `;`, as some spreadsheets
write), quotes where a cell holds one of these, and may have empty lines. Both are UTF-8, with or without a byte order mark, and lines end
as on any system.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple, Self

from sipsua.errors import BadConfiguration
from sipsua.load.mistakes import Mistakes
from sipsua.load.plan import Order

KNOWN = ("user", "password", "auth_user", "uri", "server", "mac", "display_name", "source", "certificate")
"""Columns that say something of a phone by themselves; all others are for filling in."""

MAXIMUM_SIZE = 256_000_000
"""Bytes of a file."""
MAXIMUM_ROWS = 1_000_000


class Row(NamedTuple):
    """One phone."""

    line: int
    """Where it begins in the file, from 1."""
    cells: tuple[str, ...]


class Rows:
    """A whole file."""

    __slots__ = ("columns", "order", "path", "rows")

    columns: tuple[str, ...]
    """Names by place; `field0`, `field1` ... in SIPp's form."""
    order: Order | None
    """What SIPp's first line says; None in our form."""
    path: str
    rows: list[Row]

    def __init__(self, path: str, columns: tuple[str, ...], rows: list[Row], order: Order | None = None) -> None:
        self.path = path
        self.columns = columns
        self.rows = rows
        self.order = order

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BadConfiguration with one line for each mistake: file, line, column, what would be right."""
        name = str(path)
        text = _text(path, name)
        first, _, rest = text.partition("\n")
        word = first.strip().split(",")[0].strip()
        mistakes = Mistakes()
        if word in _ORDERS:
            if "PRINTF" in first:
                mistakes.add(
                    f"{name}:1", "rows made by PRINTF are not known here: write them out, or give users = PATTERN"
                )
            columns, rows = _sipp(name, rest, mistakes)
            order: Order | None = _ORDERS[word]
        else:
            columns, rows = _ours(name, text, mistakes)
            order = None
        if not rows and not len(mistakes):
            mistakes.add(name, "there are no phones in it: give a row for each")
        if len(rows) > MAXIMUM_ROWS:
            mistakes.add(name, f"it has {len(rows)} rows: give {MAXIMUM_ROWS} at most")
        mistakes.check("correct the file")
        return cls(name, columns, rows, order)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Rows: {len(self.rows)} of {self.path}>"


_ORDERS = {order.name: order for order in Order}


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAXIMUM_SIZE + 1)
    except FileNotFoundError:
        raise BadConfiguration(
            f"there is no file {name}", fix="check the path, which is relative to the plan"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a usable path"
        raise BadConfiguration(f"cannot read {name}: {why}", fix="check the path and the rights of the file") from None
    if len(data) > MAXIMUM_SIZE:
        raise BadConfiguration(f"{name} is larger than 256 MB", fix="split it, and give each part a group of phones")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        # `from None`: the error quotes the whole file, passwords and all.
        raise BadConfiguration(f"{name}, line {line}, is no UTF-8 text", fix="save the file as UTF-8") from None


def _sipp(name: str, text: str, mistakes: Mistakes) -> tuple[tuple[str, ...], list[Row]]:
    rows: list[Row] = []
    ended = 0
    for line, whole in enumerate(text.split("\n"), 2):
        data = whole.removesuffix("\r")
        if not data:
            ended = ended or line
        elif data[0] == "#":
            pass
        elif ended:
            mistakes.add(f"{name}:{line}", f"SIPp ends the data at the empty line {ended}: take that line out")
            break
        else:
            # A `;` at the end of each row is a habit of many such files.
            cells = tuple(data.removesuffix(";").split(";"))
            if not cells[0]:
                mistakes.add(f"{name}:{line}: field0", "is empty: say who the phone is")
            elif _fits(name, line, len(cells), len(rows[0].cells) if rows else len(cells), "the first row", mistakes):
                rows.append(Row(line, cells))
    return tuple(f"field{place}" for place in range(len(rows[0].cells) if rows else 0)), rows


def _ours(name: str, text: str, mistakes: Mistakes) -> tuple[tuple[str, ...], list[Row]]:
    header = next((line for line in StringIO(text) if line.strip()), "")
    separator = ";" if ";" in header and "," not in header else ","
    columns: tuple[str, ...] = ()
    rows: list[Row] = []
    for line, cells in _records(name, text, separator, mistakes):
        if not columns:
            columns = _header(f"{name}:{line}", cells, mistakes)
            if len(mistakes):
                break  # the rows can only be wrong for the same reason
        elif _fits(name, line, len(cells), len(columns), "the header", mistakes):
            if not any(cell for cell, column in zip(cells, columns, strict=True) if column in ("user", "uri")):
                mistakes.add(
                    f"{name}:{line}: {'user' if 'user' in columns else 'uri'}", "is empty: say who the phone is"
                )
            rows.append(Row(line, tuple(cells)))
    return columns, rows


def _records(name: str, text: str, separator: str, mistakes: Mistakes) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with the line that it begins in."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            # Its words may be of C, and what comes after a broken quote is no row.
            mistakes.add(
                f"{name}:{line}",
                'the quotes of this row do not pair: write "..." around a cell, and "" for a quote in it',
            )
            return
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield line, cells


def _header(where: str, cells: list[str], mistakes: Mistakes) -> tuple[str, ...]:
    columns: list[str] = []
    for place, cell in enumerate(cells, 1):
        column = cell.strip()
        if column.lower() in KNOWN:
            column = column.lower()
        if not column or set(column) & set("{}"):
            mistakes.add(where, f"column {place} has no usable name: give one without braces")
        elif column == "index":
            mistakes.add(where, "a column cannot be called index: that is a phone's number in its group")
        elif column in columns:
            mistakes.add(where, f"there are two columns {column!r}: take one out")
        columns.append(column)
    if "user" not in columns and "uri" not in columns:
        what = "there is no column user and no column uri: name the columns in the first line, such as user,password"
        mistakes.add(where, what)
    return tuple(columns)


def _fits(name: str, line: int, cells: int, columns: int, like: str, mistakes: Mistakes) -> bool:
    if cells != columns:
        mistakes.add(f"{name}:{line}", f"the row has {_count(cells)}, {like} {columns}: give each row the same number")
    return cells == columns


def _count(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"
