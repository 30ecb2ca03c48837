"""What goes over the flow, in clear: the messages for `--trace`, and the keys for `--keylog`.

Both open what TLS protects, so both go only where they are asked to: to stderr, and into a file that no other user can read.
"""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from sipsua.errors import BadConfiguration, printable
from sipsua.net.flow import Direction


def show_traffic(direction: Direction, data: bytes) -> None:
    """Print what was sent or received, as it came off the flow, to stderr: the tap of `--trace`."""
    arrow = "-->" if direction is Direction.SENT else "<--"
    head = f"{arrow} {datetime.now(UTC).astimezone():%H:%M:%S.%f} {direction}, {len(data)} bytes"
    if not data.strip(b"\r\n"):
        head += f": {'ping' if len(data) > 2 else 'pong'} (CRLF keep-alive)"
    text = printable(data.decode("utf-8", "surrogateescape"), lines=True).strip("\n")
    print(f"{head}\n{text}\n" if text else head, file=sys.stderr, flush=True)


class KeyLog:
    """A file in the format of SSLKEYLOGFILE, which Wireshark reads. A context manager."""

    def __init__(self, path: str) -> None:
        """Open it to add to it, with mode 0600 also where it was there. Raises BadConfiguration."""
        self._path = path
        self._failure: OSError | None = None
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "no usable path"
            raise BadConfiguration(f"cannot write the key log {path}: {why}", fix="choose another path") from None
        try:
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.fchmod(self._descriptor, 0o600)
        except OSError as error:
            os.close(self._descriptor)
            raise BadConfiguration(
                f"cannot take the key log {path} from other users: {error.strerror}", fix="choose another path"
            ) from None

    def write(self, line: bytes) -> None:
        """Add a line. A full disk does not end a call, so it is told at the end."""
        try:
            os.write(self._descriptor, line + b"\n")
        except OSError as error:
            self._failure = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if self._failure is not None and error is None:
            raise BadConfiguration(
                f"all went well but the key log {self._path}: {self._failure.strerror}", fix="choose another path"
            )
