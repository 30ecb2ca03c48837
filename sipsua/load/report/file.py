"""A report on disk: there whole, or not at all.

A report is often written over the last one, by a run that somebody waits for. So the text goes into a file beside it that takes the
name once all of it is there: who opens the report while it is written, or after the disk was full, reads the old one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sipsua.errors import BadConfiguration


def write_report(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, in place of what is there; a link stays one, and a terminal or a pipe is written to.

    Raises BadConfiguration where the file cannot be written.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(text.encode(errors="backslashreplace"))
            return
        path = path.resolve()  # only now: what /dev/stdout leads to may be a pipe, which has no path of its own
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        # newline="": a CSV brings its own line ends.
        with open(handle, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            # mkstemp gives the file to us alone; a report has no secrets and is there to be passed on.
            os.fchmod(handle, 0o666 & ~_umask())
            file.write(text)
        os.replace(beside, path)
    except OSError as error:
        os.unlink(beside)
        raise _unwritable(path, error) from error


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _unwritable(path: Path, error: OSError) -> BadConfiguration:
    return BadConfiguration(
        f"cannot write the report {path}: {error.strerror}",
        fix="name a file in a directory that exists, that you may write to, and that has room",
    )
