"""The end that a person or a supervisor asks for: Ctrl-C and SIGTERM alike, and always in good order.

asyncio turns Ctrl-C into a cancellation, so that phones take their bindings away before they go; SIGTERM would end the process on the
spot and leave them to the registrar.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run it on a loop of its own. Raises KeyboardInterrupt after Ctrl-C or SIGTERM, when `work` has cleaned up."""

    async def interruptible() -> _T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
