"""A worker's process as the engine sees it: started, spoken with, watched, and in the end taken away with all that belonged to it.

Started by hand and not by asyncio's subprocesses, which differ between asyncio and uvloop and between versions of Python in who reaps a
process and when. Here a process is over when its end of the socket is closed: then it is killed if need be, and waited for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from sipsua.errors import BadConfiguration, printable
from sipsua.load.worker import LIMIT, Task, frame, receive

Tell = Callable[[int, str], None]
"""Takes a worker's number and a line that it wrote to standard error."""

LINES = 200
"""Lines that are passed on of one worker: the errors of ten thousand phones may be one and the same."""
LENGTH = 1000
"""Characters of a line that are kept."""


class Child:
    """One process. `await Child.start(...)` makes it; `destroy` must be called in the end."""

    def __init__(self, number: int, phones: int, process: subprocess.Popen[bytes], tell: Tell) -> None:
        self.number = number
        self.phones = phones
        """How many phones it has."""
        self.pid = process.pid
        self.arrived: int | None = None
        """The phase that it waits for."""
        self.began = False
        """Whether it has arrived at its first phase: phones may have gone out."""
        self.silent = 0.0
        """Seconds of the engine's watch since it was heard."""
        self.cpu = 0.0
        """Share of a core in its last second."""
        self.killed = ""
        """Why we killed it."""
        self._process = process
        self._errors = _Errors(number, tell)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._pipe: asyncio.ReadTransport | None = None
        self._spent = 0
        self._hung_up = False

    @classmethod
    async def start(cls, task: Task, phones: int, tell: Tell) -> Self:
        """Start a process for it. Raises BadConfiguration where the machine has no room for one."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(  # noqa: ASYNC220 - a few milliseconds, before any phone has begun
                    # -P: a file called pickle.py in the current directory is not ours.
                    [sys.executable, "-P", "-X", "faulthandler", "-c", "from sipsua.load.worker import main; main()"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # so that Ctrl-C and the end of a terminal reach the engine alone
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(place or os.getcwd() for place in sys.path)},
                )
        except OSError as error:
            ours.close()
            raise BadConfiguration(
                f"worker {task.worker} could not be started: {error.strerror or error}",
                fix="fewer workers, or see the limits of processes, open files and memory",
            ) from error
        child = cls(task.worker, phones, process, tell)
        try:
            child._reader, child._writer = await asyncio.open_connection(sock=ours, limit=LIMIT)
            child._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: child._errors, process.stdout)
            child.send(task)
        except BaseException:
            child.destroy()
            ours.close()
            raise
        return child

    def send(self, message: object) -> None:
        """Say something, if it still listens, and we have not hung up: a phase may begin while one that has failed is on its way out."""
        if self._writer is not None and not self._hung_up and not self._writer.is_closing():
            self._writer.write(frame(message))

    async def receive(self) -> Any:
        """Its next message; None when its end of the socket is closed."""
        assert self._reader is not None
        return await receive(self._reader)

    def hang_up(self) -> None:
        """Say that nothing more will come. Its messages can still be received."""
        if self._writer is not None and self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()
            self._hung_up = True

    def kill(self, why: str = "") -> None:
        """End it at once, for a reason that `reason` shall give."""
        if self._process.poll() is None:
            self.killed = self.killed or why
            self._process.kill()

    async def over(self) -> None:
        """Wait for the end of a process whose socket is closed, and for its last words."""
        try:
            await asyncio.to_thread(self._process.wait, 2.0)
        except subprocess.TimeoutExpired:
            self.kill("it closed its socket, but did not end")
            await asyncio.to_thread(self._process.wait)
        await asyncio.wait([self._errors.over], timeout=1.0)

    @property
    def reason(self) -> str:
        """Why it ended, when it is over: what we killed it for, or signal or exit code; and what it wrote last."""
        code = self._process.returncode
        if self.killed:
            why = f"{self.killed}, and was killed"
        elif code == -signal.SIGKILL:
            why = "killed by signal SIGKILL: by somebody, or by the kernel because memory ran out"
        elif code is not None and code < 0:
            why = f"killed by signal {_signal(-code)}"
        else:
            why = f"ended with exit code {code}"
        last = " | ".join(self._errors.last)
        return f"{why}; its last words: {last}" if last else why

    def at_work(self) -> bool:
        """Whether it has used its core since this was asked last. False where nobody can say."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        before, self._spent = self._spent, int(fields[11]) + int(fields[12])
        return self._spent > before

    def destroy(self) -> None:
        """Take away process, socket and pipe, whatever their state. Blocks for the moment that a killed process needs to end."""
        self.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            pass  # It hangs in the kernel: Python's own list of such processes reaps it later.
        if self._writer is not None:
            self._writer.transport.abort()
        if self._pipe is not None:
            self._pipe.close()
        elif self._process.stdout is not None:
            self._process.stdout.close()


class _Errors(asyncio.Protocol):
    """What a worker writes to standard error and standard output, line by line."""

    def __init__(self, number: int, tell: Tell) -> None:
        self.last: deque[str] = deque(maxlen=3)
        """The last lines."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number = number
        self._tell = tell
        self._told = 0
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > LENGTH:
            self._line(self._rest)
            self._rest = b""

    def connection_lost(self, error: Exception | None) -> None:
        if self._rest:
            self._line(self._rest)
        if not self.over.done():
            self.over.set_result(None)

    def _line(self, line: bytes) -> None:
        text = printable(line.decode(errors="replace").rstrip())[:LENGTH]
        if text:
            self.last.append(text.strip())
            self._told += 1
            if self._told <= LINES:
                self._tell(self._number, text)
            elif self._told == LINES + 1:
                self._tell(self._number, "(further lines of this worker are left out)")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
