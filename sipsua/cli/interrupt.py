"""The end that a person or a supervisor asks for: Ctrl-C, SIGTERM and SIGHUP alike, and always in good order.

What has begun is cancelled, so that phones take their bindings away before they go. It is asked for once: the end takes two seconds at
most, and who presses Ctrl-C again in that time does not mean to leave a binding behind.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from sipsua.errors import BadConfiguration

_T = TypeVar("_T")

PATIENCE = 15.0
"""Seconds to read local files in, where a command has no --timeout to say so."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def arm() -> None:
    """From now on a signal ends the work that `run` has, and raises KeyboardInterrupt elsewhere. What nohup ignores stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def disarm() -> None:
    """The end has begun: signals change nothing any more."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run it on a loop of its own. Raises KeyboardInterrupt after a signal, when `work` has cleaned up."""
    import asyncio

    async def interruptible() -> _T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        if _asked:
            raise KeyboardInterrupt
        _cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            return await work
        finally:
            _cancel.clear()

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        work.close()


@contextmanager
def heard(stop: Callable[[], None]) -> Iterator[None]:
    """On a running loop, while the block runs: a signal calls `stop` and cancels nothing, each time that it comes. For work whose good end
    takes longer than a moment; where signals are not ours (see `arm`), nothing changes."""
    import asyncio

    loop = asyncio.get_running_loop()
    ours = [number for number in SIGNALS if signal.getsignal(number) is _interrupt]
    for number in ours:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in ours:
            loop.remove_signal_handler(number)
            signal.signal(number, _interrupt)


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Raises BadConfiguration where the block, which reads or opens local files, takes longer: a FIFO may have no writer."""

    def late(number: int, frame: FrameType | None) -> None:
        raise BadConfiguration(f"{what} could not be opened and read within {seconds:g} s", fix="see who writes to it")

    handler, timer = signal.signal(signal.SIGALRM, late), signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


_cancel: list[Callable[[], object]] = []
"""What ends the work, while there is some."""
_asked: list[int] = []
"""The signal that came: Python swallows what is raised in a destructor, so `run` looks here."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    disarm()
    _asked.append(number)
    if not _cancel:
        raise KeyboardInterrupt
    _cancel[0]()
