"""Phones from a CSV: our form and SIPp's, and each wrong row told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration
from sipsua.load.plan import Order
from sipsua.load.rows import Row, Rows


def read(directory: Path, content: str | bytes) -> Rows:
    path = directory / "phones.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Rows.read(path)


def refusal(directory: Path, content: str | bytes) -> str:
    with pytest.raises(BadConfiguration) as refused:
        read(directory, content)
    return refused.value.what.replace(str(directory / "phones.csv"), "CSV")


def test_our_form_names_its_columns(tmp_path: Path) -> None:
    rows = read(tmp_path, 'User, PASSWORD, site\n1000,secret,"Bonn, Nord"\n1001, "a ""b""",\n')
    assert (rows.columns, rows.order) == (("user", "password", "site"), None)
    assert rows.rows == [Row(2, ("1000", "secret", "Bonn, Nord")), Row(3, ("1001", 'a "b"', ""))]
    assert (len(rows), repr(rows)) == (2, f"<Rows: 2 of {tmp_path / 'phones.csv'}>")


def test_semicolons_are_taken_where_the_header_has_them(tmp_path: Path) -> None:
    assert read(tmp_path, "user;site\n1000;Bonn, Nord\n").rows == [Row(2, ("1000", "Bonn, Nord"))]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_byte_order_mark_line_ends_and_empty_lines_change_nothing(tmp_path: Path, mark: str, end: str) -> None:
    rows = read(tmp_path, mark + end.join(["", "user,note", "1000,x", "", "   ", f'1001,"two{end}lines"', "1002,y"]))
    assert rows.columns == ("user", "note")
    assert [(row.line, row.cells[0]) for row in rows.rows] == [(3, "1000"), (6, "1001"), (8, "1002")]


@pytest.mark.parametrize(
    ("word", "order"), [("SEQUENTIAL", Order.SEQUENTIAL), ("RANDOM", Order.RANDOM), ("USER", Order.USER)]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_sipps_form_says_its_order(tmp_path: Path, mark: str, end: str, word: str, order: Order) -> None:
    lines = [word, "#Sarah;a", 'Bob;"12";', "#", "Fred;94;", ""]
    rows = read(tmp_path, mark + end.join(lines))
    assert (rows.columns, rows.order) == (("field0", "field1"), order)
    assert rows.rows == [Row(3, ("Bob", '"12"')), Row(5, ("Fred", "94"))]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "CSV: there are no phones in it: give a row for each"),
        ("\n\n", "CSV: there are no phones in it: give a row for each"),
        ("user,password\n", "CSV: there are no phones in it: give a row for each"),
        ("SEQUENTIAL\n#a\n", "CSV: there are no phones in it: give a row for each"),
        (
            "1000,secret\n1001,secret\n",
            "CSV:1: there is no column user and no column uri: name the columns in the first line, such as user,password",
        ),
        ("user,site,site\na,b,c\n", "CSV:1: there are two columns 'site': take one out"),
        ("user,User\na,b\n", "CSV:1: there are two columns 'user': take one out"),
        ("user,,{x}\na,b,c\n", "CSV:1: column 2 has no usable name: give one without braces\n"
         "CSV:1: column 3 has no usable name: give one without braces"),
        ("user,index\na,1\n", "CSV:1: a column cannot be called index: that is a phone's number in its group"),
        (
            "user,x\na,b\nc\n\nd,e,f\n",
            "CSV:3: the row has 1 cell, the header 2: give each row the same number\n"
            "CSV:5: the row has 3 cells, the header 2: give each row the same number",
        ),
        ("user,x\n,b\n", "CSV:2: user: is empty: say who the phone is"),
        ("uri,x\n,b\n", "CSV:2: uri: is empty: say who the phone is"),
        (
            'user\na\n"b\nc\n',
            'CSV:3: the quotes of this row do not pair: write "..." around a cell, and "" for a quote in it',
        ),
        (
            'user\n"a"b\n',
            'CSV:2: the quotes of this row do not pair: write "..." around a cell, and "" for a quote in it',
        ),
        (
            "USER\na;b\nc;d;e\n",
            "CSV:3: the row has 3 cells, the first row 2: give each row the same number",
        ),
        ("USER\n;b\n", "CSV:2: field0: is empty: say who the phone is"),
        ("USER\na\n\n#x\nb\nc\n", "CSV:5: SIPp ends the data at the empty line 3: take that line out"),
        (
            "RANDOM,PRINTF=10\nu%d;x\n",
            "CSV:1: rows made by PRINTF are not known here: write them out, or give users = PATTERN",
        ),
        (b"user\n\xe4\n", "CSV, line 2, is no UTF-8 text"),
        ("user\na\n".encode("utf-16"), "CSV, line 1, is no UTF-8 text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, content: str | bytes, what: str) -> None:
    assert refusal(tmp_path, content) == what


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    for path, what in (
        (tmp_path / "none.csv", f"there is no file {tmp_path}/none.csv"),
        (tmp_path, f"cannot read {tmp_path}: Is a directory"),
        (Path("a\0b"), "cannot read a\0b: not a usable path"),
    ):
        with pytest.raises(BadConfiguration) as refused:
            Rows.read(path)
        assert refused.value.what == what


def test_a_huge_file_and_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsua.load.rows.MAXIMUM_ROWS", 2)
    assert refusal(tmp_path, "user\na\nb\nc\n") == "CSV: it has 3 rows: give 2 at most"
    monkeypatch.setattr("sipsua.load.rows.MAXIMUM_SIZE", 10)
    assert refusal(tmp_path, "user\na\nb\nc\n") == "CSV is larger than 256 MB"
