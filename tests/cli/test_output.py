"""A file that a command writes: whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sipsua.cli.output import write_file
from sipsua.errors import BadConfiguration


def test_file_takes_the_place_of_the_last_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_text("old")
    write_file(str(path), "new – äöü\r\n".encode())
    assert path.read_bytes() == "new – äöü\r\n".encode()
    assert os.listdir(tmp_path) == ["run.html"]


def test_file_may_be_read_by_those_the_umask_lets(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_file(str(tmp_path / "run.html"), b"")
        assert os.umask(0o027) == 0o027, "the umask is as it was"
    finally:
        os.umask(mask)
    assert (tmp_path / "run.html").stat().st_mode & 0o777 == 0o640


def test_directory_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"cannot write .*missing/run\.html: No such file") as caught:
        write_file(str(tmp_path / "missing" / "run.html"), b"")
    assert "directory that exists" in str(caught.value.fix)


def test_place_that_cannot_be_taken_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "run.html").mkdir()
    with pytest.raises(BadConfiguration, match="Is a directory"):
        write_file(str(tmp_path / "run.html"), b"new")
    assert os.listdir(tmp_path) == ["run.html"]


def test_link_stays_one_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to("run.html")
    write_file(str(tmp_path / "link.html"), b"new")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "run.html").read_text() == "new"


def test_pipe_is_written_to_and_not_replaced() -> None:
    reading, writing = os.pipe()
    try:
        write_file(f"/dev/fd/{writing}", b"new")
        assert os.read(reading, 100) == b"new"
    finally:
        os.close(reading)
        os.close(writing)
