"""What the watch says of the loop and its process."""

from __future__ import annotations

import asyncio
import time

import pytest

from sipsua.load.health import HealthWatch


@pytest.mark.asyncio
async def test_loop_that_is_held_up_is_seen_and_the_next_second_begins_anew() -> None:
    watch = HealthWatch(3)
    time.sleep(0.15)  # noqa: ASYNC251 - what is to be seen
    held = watch.take()
    await asyncio.sleep(0.1)
    after = watch.take()
    watch.close()
    assert held.worker == 3
    assert held.lag_max_ms >= 100
    assert held.rss_kib > 1000
    assert after.lag_max_ms >= held.lag_max_ms - 50  # the probe that was due then ran only now
    assert held.cpu >= 0


@pytest.mark.asyncio
async def test_watch_that_is_closed_leaves_no_timer() -> None:
    watch = HealthWatch(0)
    watch.close()
    await asyncio.sleep(0.05)
    assert watch.take().lag_ms >= 20
