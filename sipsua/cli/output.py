"""What a command prints, on streams that can be full, closed, or read by nobody any more.

A reader that goes away, such as `head`, changes nothing: the work goes on to its orderly end, and is not shown. A full disk is a fault
of the surroundings, and told as one. After either the stream leads nowhere, so that the interpreter's own end has nothing to complain of.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from sipsua.errors import BadConfiguration

_PLACE = "name a file in a directory that exists, that you may write to, and that has room"
_FIX = "redirect it to a file that can be written, or to /dev/null"


def prepare() -> None:
    """Make the streams of this process such ones. Raises BadConfiguration where there is no standard output."""
    for name in ("stderr", "stdout"):
        stream = getattr(sys, name)
        if stream is None and name == "stdout":
            raise BadConfiguration("standard output is closed", fix=_FIX)
        if stream is None:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            continue
        wrapped = io.TextIOWrapper(
            io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False)),
            encoding=stream.encoding,
            # What a server is called must not end a command because the terminal lacks a letter.
            errors="backslashreplace",
            line_buffering=stream.line_buffering or stream.write_through,
        )
        setattr(sys, name, wrapped)


def print_json(value: Any) -> None:
    """Write an object to standard output, as one line."""
    # JSON is UTF-8 whatever the terminal speaks, and no half of a surrogate pair may be in it.
    print_bytes(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


def print_bytes(data: bytes) -> None:
    """Write bytes to standard output, after what was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_file(path: str, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file, in full or not at all, with the rights of `mode` that the umask leaves. A link stays one; a terminal or a pipe is
    written to. Raises BadConfiguration, naming the file."""
    try:
        target = Path(path)
        if target.exists() and not target.is_file() and not target.is_dir():  # a terminal, a pipe
            target.write_bytes(data)
            return
        target = target.resolve()  # only now: what /dev/stdout leads to may be a pipe, which has no path of its own
        with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as beside:
            new = Path(beside.name)
            try:
                beside.write(data)
                beside.flush()
                os.fsync(beside.fileno())
                new.chmod(mode & ~_umask())
                new.replace(target)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a usable path"
        raise BadConfiguration(f"cannot write {path}: {why}", fix=_PLACE) from error


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class _Output(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                return len(data)
            which = "standard output" if self.fileno() == 1 else "standard error"
            raise BadConfiguration(f"cannot write to {which}: {error.strerror}", fix=_FIX) from None
