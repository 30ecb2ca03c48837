"""A fleet in one process: 5,000 phones on their own flows, all locked, all refreshed once, all unregistered, none lost."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from sipsua.events import FlowClosed, Registered, RegistrationFailed, Unregistered
from sipsua.testing.pbx_process import PbxProcess
from tests.bench.phones import Phones, policy, run, users
from tests.bench.table import Row

PHONES = 5000
EXPIRES = 60


async def _lag(lags: list[float]) -> None:
    """How late the loop is, ten times a second."""
    while True:
        due = time.monotonic() + 0.1
        await asyncio.sleep(0.1)
        lags.append(time.monotonic() - due)


async def hold(count: int, port: int, ca_pem: bytes, expires: int) -> dict[str, float]:
    """Register, wait for one refresh of each, unregister; what was counted and measured."""
    phones = Phones(count, port, policy(ca_pem), expires=expires)
    begin = time.monotonic()
    for line in phones.lines:
        line.register()
    await phones.until(Registered, count)
    registered = time.monotonic()
    locked = sum(line.account.lock.locked for line in phones.lines)
    lags: list[float] = []
    watcher = asyncio.create_task(_lag(lags))
    await phones.until(Registered, 2 * count, within=expires + 60)
    watcher.cancel()
    still_locked = sum(line.account.lock.locked for line in phones.lines)
    lost = phones.seen[FlowClosed] + phones.seen[RegistrationFailed]
    leaving = time.monotonic()
    for line in phones.lines:
        line.unregister()
    await phones.until(Unregistered, count)
    left = time.monotonic()
    await phones.close()
    lags.sort()
    return {
        "locked": min(locked, still_locked),
        "lost": lost,
        "refreshed": phones.seen[Registered] - count,
        "unregistered": phones.seen[Unregistered],
        "registering_s": registered - begin,
        "unregistering_s": left - leaving,
        "lag_p99_ms": lags[int(len(lags) * 0.99)] * 1000 if lags else 0.0,
    }


def bench() -> list[Row]:
    """One process for the phones, one for the PBX."""
    with PbxProcess(users(PHONES)) as pbx:
        seen = run(partial(hold, PHONES, pbx.port, pbx.ca_pem, EXPIRES), fast=False)
        bound = pbx.counts().bound
    rate = PHONES / seen["registering_s"]
    return [
        Row(
            "phones locked, before and after the refresh",
            seen["locked"],
            "",
            str(PHONES),
            seen["locked"] / PHONES,
            "1.00",
        ),
        Row("phones lost or failed", seen["lost"], "", budget="0"),
        Row("refreshes", seen["refreshed"], "", str(PHONES), seen["refreshed"] / PHONES, "1.00"),
        Row("phones unregistered", seen["unregistered"], "", str(PHONES), seen["unregistered"] / PHONES, "1.00"),
        Row("bindings left at the PBX", bound, "", budget="0"),
        Row("registrations in a second, PBX on the other core", rate, "/s"),
        Row("loop lag while refreshing, p99", seen["lag_p99_ms"], "ms", budget="< 20 ms"),
    ]
