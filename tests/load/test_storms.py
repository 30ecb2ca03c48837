"""Reconnect storms: the server's process is killed and started again; all phones come back by themselves, and nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sipsua.load.fleet import Fleet
from sipsua.load.health import resident_kib
from sipsua.load.plan import Arrivals, BackoffSettings, Cut, Hold, Register, Storm, Unregister
from sipsua.load.results import Results
from sipsua.load.sample import Count
from sipsua.net.flow import Flow
from sipsua.net.line import Line
from sipsua.net.tls import TlsPipe
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority
from tests.load.whole import group, plan_of, users


class Server:
    """A pocket PBX that keeps its port and its certificate over its death."""

    def __init__(self, phones: int, authority: CertificateAuthority) -> None:
        issued = authority.issue("127.0.0.1")
        self._phones = phones
        self._certificate = (issued.chain_pem, issued.key_pem)
        self._process: PbxProcess | None = None
        self.port = 0

    def start(self) -> None:
        process = PbxProcess(users(self._phones), certificate=self._certificate, port=self.port)
        self._process = process.__enter__()
        self.port = process.port

    def kill(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.__exit__(None, None, None)
            self._process = None

    def left(self) -> tuple[int, int]:
        """Flows and bindings that it has."""
        assert self._process is not None
        counts = self._process.counts()
        return counts.flows, counts.bound


def census() -> Counter[str]:
    """What there is of each kind that a leak would be made of."""
    gc.collect()
    kinds = {kind: kind.__name__ for kind in (Flow, Line, TlsPipe)}
    found: Counter[str] = Counter()
    for thing in gc.get_objects():
        name = kinds.get(type(thing))
        if name is not None:
            found[name] += 1
        elif isinstance(thing, asyncio.TimerHandle) and not thing.cancelled():
            found["timer"] += 1
    found["task"] = len(asyncio.all_tasks())
    found["file"] = len(os.listdir("/proc/self/fd"))
    return found


@pytest.mark.asyncio
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("phones", "deaths"), [(100, 2), pytest.param(5_000, 5, marks=pytest.mark.heavy)])
async def test_after_each_death_of_the_server_all_phones_come_back_and_nothing_leaks(
    tmp_path: Path, phones: int, deaths: int
) -> None:
    authority = CertificateAuthority()
    ca = authority.write(tmp_path / "ca.pem")
    server = Server(phones, authority)
    server.start()
    storm: list[Any] = [Storm(do="storm", cut=Cut.AWAIT, within=120), Hold(do="hold", duration=1)]
    phones_that_wait = group(phones, backoff=BackoffSettings(base=3, maximum=6))  # the first time from 1.5 s to 3 s
    register = Register(do="register", arrivals=Arrivals(rate=500), within=60)
    unregister = Unregister(do="unregister", arrivals=Arrivals(rate=1000), within=60)
    plan = plan_of(server.port, ca, phones_that_wait, phases=(register, *deaths * storm, unregister))
    results = Results(plan, phones)
    seen: list[Counter[str]] = []
    memory: list[int] = []
    phase = 0
    try:
        async for sample in Fleet(plan).run():
            results.add(sample)
            if sample.phase == phase:
                continue
            phase = sample.phase
            if plan.phases[phase].do == "storm":
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            elif plan.phases[phase].do == "hold":
                seen.append(census())
                memory.append(resident_kib())
        results.finish()
        flows, bound = await asyncio.to_thread(server.left)
    finally:
        server.stop()
    assert (flows, bound) == (0, 0)
    storms = [one.storm() for one in results.phases if one.phase.do == "storm"]
    assert [(storm["affected"], storm["recovered"]) for storm in storms if storm] == deaths * [(phones, phones)]
    assert all(0 < storm["seconds_to_95"] <= storm["seconds_to_100"] for storm in storms if storm)
    assert results.counts[Count.UNREGISTERED] == phones
    for index in range(deaths):
        curve = [row["registered"] for row in results.rows if row["phase"] == 1 + 2 * index]
        assert min(curve) < phones / 2
        assert curve[-1] == phones
    assert len(seen) == deaths
    first, last = seen[0], seen[-1]
    assert last["Flow"] == last["Line"] == last["TlsPipe"] == phones
    assert last["file"] == first["file"]
    assert last["task"] == first["task"]
    # A phone has one timer; the loop and the fleet have a few.
    assert last["timer"] <= phones + 20
    # What one storm needs is taken once and used again by the others.
    assert memory[-1] < memory[0] * 1.1
