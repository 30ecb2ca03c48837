"""A pocket PBX in a process of its own, so that a benchmark counts the phones' CPU time and not the server's.

    with PbxProcess(users_in("1000-1999", "secret"), maximum=TlsVersion.TLS1_2) as pbx:
        ...  # phones register at pbx.port, trusting pbx.ca_pem
        print(pbx.counts().cpu_seconds)

The child runs `main` here. Parent and child speak over its standard input and output: no password stands in a
command line or in the environment, and the child ends by itself when its parent is gone.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from sipsua.errors import BadConfiguration, Misuse
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.registrar import Login


@dataclass(frozen=True, slots=True)
class PbxCounts:
    """What the PBX has seen and spent since its start."""

    cpu_seconds: float
    """User and system time of the process, without its start."""
    flows: int
    """Connections that are open now."""
    bound: int
    """Users with a binding now."""
    requests: dict[str, int]
    """Requests by method."""
    responses: dict[int, int]
    """Answers by status."""
    pings: int
    failures: tuple[str, ...]
    """The newest of what went wrong on flows."""


class PbxProcess:
    """A pocket PBX, started on entering and ended on leaving the `with` block."""

    def __init__(self, users: Mapping[str, str | Login], **options: Any) -> None:
        """`options` are those of `PocketPbx`; certificates as files or PEM texts, since keys stay in their process."""
        self._configuration = pickle.dumps((dict(users), options))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        """Where it listens."""
        self.ca_pem = b""
        """What clients have to trust, where the PBX made its own authority."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from sipsua.testing.pbx_process import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # so that Ctrl-C reaches the parent alone, which ends the child in order
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(self._configuration)
            self._process.stdin.flush()
            self.port, self.ca_pem = self._read()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The process."""
        return self._running.pid

    def counts(self) -> PbxCounts:
        """Ask the PBX. It takes a millisecond, more while the PBX is busy."""
        stdin = cast(BinaryIO, self._running.stdin)
        stdin.write(b"?")
        stdin.flush()
        return cast(PbxCounts, self._read())

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise Misuse("the pocket PBX does not run", fix="use it inside its `with` block")
        return self._process

    def _read(self) -> Any:
        try:
            answer = pickle.load(cast(BinaryIO, self._running.stdout))
        except EOFError:
            raise BadConfiguration(
                "the process of the pocket PBX ended", fix="see what it wrote to standard error"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


async def _serve(users: dict[str, str | Login], options: dict[str, Any]) -> None:
    try:
        pbx = PocketPbx(users, **options)
        await pbx.start()
    except Misuse as error:
        _write(BadConfiguration(error.what, fix=error.fix))
        return
    _write((pbx.port, pbx.ca_pem if options.get("certificate") is None else b""))
    ended = asyncio.Event()
    begin = time.process_time()

    def asked() -> None:
        questions = os.read(0, 100)
        if not questions:
            pbx.loop.remove_reader(0)
            ended.set()
        for _ in questions:
            registrar = pbx.registrar
            _write(
                PbxCounts(
                    time.process_time() - begin,
                    len(pbx.flows),
                    len(pbx.bindings),
                    dict(registrar.requests),
                    dict(registrar.responses),
                    pbx.pings,
                    tuple(pbx.failures),
                )
            )

    pbx.loop.add_reader(0, asked)
    await ended.wait()
    await pbx.close()


def _write(answer: object) -> None:
    sys.stdout.buffer.write(pickle.dumps(answer))
    sys.stdout.buffer.flush()


def main() -> None:
    """The child: configuration from standard input, then an answer for each octet that comes, until there are no more."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Read with a buffer, without which a pipe gives 64 KiB at most: the parent asks nothing before the first answer.
    users, options = pickle.load(os.fdopen(0, "rb", closefd=False))
    asyncio.run(_serve(users, options))
