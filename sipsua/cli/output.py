"""What a command prints, on streams that can be full, closed, or read by nobody any more.

A reader that goes away, such as `head`, changes nothing: the work goes on to its orderly end, and is not shown. A full disk is a fault
of the surroundings, and told as one. After either the stream leads nowhere, so that the interpreter's own end has nothing to complain of.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from sipsua.errors import BadConfiguration

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
