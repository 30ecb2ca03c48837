"""How the generator itself fares: its share of a core, how late its event loop is, and its memory.

A load generator that is its own bottleneck measures itself and not the server. So the loop is asked fifty times a second how late it is,
with a timer that costs microseconds.
"""

from __future__ import annotations

import asyncio
import os
import time

from sipsua.load.sample import Health

PROBE = 0.02
"""Seconds between two probes of the loop's lag."""


class HealthWatch:
    """Watches the running loop and its process until `close`."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._lags: list[float] = []
        self._cpu = time.process_time()
        self._since = self._loop.time()
        self._due = self._since + PROBE
        self._timer = self._loop.call_at(self._due, self._probe)

    def take(self) -> Health:
        """What was seen since the last call, or since the begin."""
        now, cpu = self._loop.time(), time.process_time()
        # A loop that hangs now has not run its probe: how late that is already counts as well.
        lags = sorted([*self._lags, max(0.0, now - self._due)])
        health = Health(
            worker=self._worker,
            cpu=(cpu - self._cpu) / max(now - self._since, 1e-6),
            lag_ms=lags[int(0.99 * (len(lags) - 1))] * 1000,
            lag_max_ms=lags[-1] * 1000,
            rss_kib=resident_kib(),
        )
        self._lags.clear()
        self._cpu, self._since = cpu, now
        return health

    def close(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def _probe(self) -> None:
        now = self._loop.time()
        self._lags.append(max(0.0, now - self._due))
        self._due = now + PROBE
        self._timer = self._loop.call_at(self._due, self._probe)


def resident_kib() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE_KIB
    except OSError:
        return 0


_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
