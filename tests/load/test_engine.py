"""Workers in processes of their own: begun together, told apart, and never lost without a word. The fleets here are no phones, so that
each can do what a real one does once in a thousand runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from sipsua.errors import BadConfiguration, Defect, Misuse
from sipsua.load import engine as engine_module
from sipsua.load.child import Child
from sipsua.load.engine import Engine
from sipsua.load.fleet import Gate
from sipsua.load.plan import Hold, PhoneGroup, Plan, TrustSettings
from sipsua.load.sample import Health, Sample
from sipsua.load.worker import Arrived, Order, Task
from sipsua.testing.pki import CertificateAuthority


class FakeFleet:
    """Two phases, a sample in each."""

    phases = 2

    def __init__(self, plan: Plan, *, worker: int, workers: int, gate: Gate) -> None:
        self.plan, self.worker, self.workers, self.gate = plan, worker, workers, gate
        self.stopped = asyncio.Event()

    async def run(self) -> AsyncIterator[Sample]:
        for phase in range(self.phases):
            begin = await self.gate.begin(phase)
            await self.act(phase)
            yield self.sample(phase, begin)

    async def act(self, phase: int) -> None:
        """What a phase takes."""

    def sample(self, phase: int, at: float = 0.0) -> Sample:
        health = Health(worker=self.worker, cpu=0.5, lag_ms=0, lag_max_ms=0, rss_kib=os.getpid())
        return Sample(second=phase, at=at, phase=phase, length=1.0, phones=self.plan.in_flight, health=[health])

    def stop(self) -> None:
        self.stopped.set()


class UntilStopped(FakeFleet):
    async def act(self, phase: int) -> None:
        if phase == 1:
            await self.stopped.wait()


class FirstIsKilled(FakeFleet):
    phases = 3

    async def act(self, phase: int) -> None:
        if phase == 1 and self.worker == 0:
            sys.stderr.write("so far, so good\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)


class FirstFails(FakeFleet):
    async def act(self, phase: int) -> None:
        if phase == 1 and self.worker == 0:
            raise ZeroDivisionError("nothing to divide by")


class FirstHangs(FakeFleet):
    async def act(self, phase: int) -> None:
        if phase == 1 and self.worker == 0:
            while True:
                time.sleep(0.1)  # noqa: ASYNC251 - what hangs does not await


class Unusable(FakeFleet):
    def __init__(self, plan: Plan, **options: object) -> None:
        raise BadConfiguration("ca.pem is gone", fix="bring it back")


class Defective(FakeFleet):
    def __init__(self, plan: Plan, **options: object) -> None:
        raise RuntimeError("no such thing")


class Deaf(FakeFleet):
    """Does not end when it is told to."""

    async def act(self, phase: int) -> None:
        if phase == 1:
            await asyncio.Event().wait()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_bytes(CertificateAuthority().pem)
    return file


@pytest.fixture
def plan(ca: Path) -> Plan:
    return Plan(
        server="127.0.0.1:1",
        trust=TrustSettings(ca=(ca,)),
        phones=(PhoneGroup(users="1000-1004"),),
        phases=(Hold(do="hold", duration=0),),
        workers=2,
        in_flight=5,
        grace=0.5,
    )


def no_words(_worker: int, line: str) -> None:
    raise AssertionError(line)


async def gathered(engine: Engine, then: Callable[[Sample], None] = lambda _sample: None) -> list[Sample]:
    samples = []
    async with asyncio.timeout(30):
        async for sample in engine.run():
            samples.append(sample)
            then(sample)
    assert not [worker for worker in engine.workers if worker.running]
    assert_gone([worker.pid for worker in engine.workers])
    return samples


def assert_gone(pids: list[int]) -> None:
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def whose(samples: list[Sample], phase: int) -> list[int]:
    return sorted(sample.health[0].worker for sample in samples if sample.phase == phase)


@pytest.mark.asyncio
async def test_each_worker_has_its_share_and_a_phase_begins_for_all_at_one_instant(plan: Plan) -> None:
    engine = Engine(plan, fleet=FakeFleet, tell=no_words)
    samples = await gathered(engine)
    assert engine.phones == 5
    assert whose(samples, 0) == whose(samples, 1) == [0, 1]
    for phase in (0, 1):
        assert len({sample.at for sample in samples if sample.phase == phase}) == 1
    assert sorted(sample.phones for sample in samples if sample.phase == 0) == [2, 3]  # of the handshakes in flight
    assert len({sample.health[0].rss_kib for sample in samples} - {os.getpid()}) == 2  # their pids
    assert engine.lost == []


@pytest.mark.asyncio
async def test_there_are_no_more_workers_than_phones_or_handshakes_in_flight(plan: Plan) -> None:
    samples = await gathered(Engine(plan.model_copy(update={"in_flight": 1}), fleet=FakeFleet, tell=no_words))
    assert whose(samples, 0) == [0]


@pytest.mark.asyncio
async def test_a_worker_that_is_killed_is_told_with_its_phones_and_the_others_go_on(plan: Plan) -> None:
    said: list[tuple[int, str]] = []
    engine = Engine(plan, fleet=FirstIsKilled, tell=lambda worker, line: said.append((worker, line)))
    samples = await gathered(engine)
    assert whose(samples, 0) == [0, 1]
    assert whose(samples, 1) == whose(samples, 2) == [1]
    (lost,) = engine.lost
    assert (lost.worker, lost.phones) == (0, 3)
    assert "SIGKILL" in lost.reason
    assert lost.reason.endswith("its last words: so far, so good")
    assert said == [(0, "so far, so good")]


@pytest.mark.asyncio
async def test_a_worker_that_fails_in_the_middle_is_told_with_the_error(plan: Plan) -> None:
    engine = Engine(plan, fleet=FirstFails, tell=lambda _worker, _line: None)
    samples = await gathered(engine)
    assert whose(samples, 1) == [1]
    (lost,) = engine.lost
    assert (lost.worker, lost.phones) == (0, 3)
    assert "ZeroDivisionError: nothing to divide by" in lost.reason


@pytest.mark.asyncio
async def test_a_worker_that_hangs_is_killed_and_told(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "PATIENCE", 2.0)
    engine = Engine(plan, fleet=FirstHangs, tell=no_words)
    samples = await gathered(engine)
    assert whose(samples, 1) == [1]
    assert [(lost.worker, lost.reason) for lost in engine.lost] == [(0, "it said nothing for 2 s, and was killed")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fleet", "kind", "words"),
    [(Unusable, BadConfiguration, "ca.pem is gone"), (Defective, Defect, "RuntimeError: no such thing")],
)
async def test_what_keeps_a_worker_from_the_begin_ends_the_run(
    plan: Plan, fleet: type[FakeFleet], kind: type[Exception], words: str
) -> None:
    engine = Engine(plan, fleet=fleet, tell=lambda _worker, _line: None)
    with pytest.raises(kind, match=words):
        await gathered(engine)
    assert_gone([worker.pid for worker in engine.workers])


@pytest.mark.asyncio
async def test_stop_has_all_workers_leave_and_tell_the_rest(plan: Plan) -> None:
    engine = Engine(plan, fleet=UntilStopped, tell=no_words)
    seen: list[Sample] = []

    def stop_once_all_are_in(sample: Sample) -> None:
        seen.append(sample)
        if len(seen) == 2:
            engine.stop()

    samples = await gathered(engine, stop_once_all_are_in)
    assert whose(samples, 1) == [0, 1]
    assert engine.lost == []


@pytest.mark.asyncio
async def test_a_second_stop_does_not_wait_for_who_does_not_end(plan: Plan) -> None:
    engine = Engine(plan, fleet=Deaf, tell=no_words)

    def stop_twice(_sample: Sample) -> None:
        engine.stop()
        engine.stop()

    await gathered(engine, stop_twice)
    assert engine.lost == []


@pytest.mark.asyncio
async def test_what_is_said_after_hanging_up_is_not_said(plan: Plan) -> None:
    child = await Child.start(Task(plan, 0, 1, FakeFleet), 1, no_words)
    try:
        child.hang_up()
        child.send(Order.STOP)
        heard = []
        while (message := await child.receive()) is not None:
            heard.append(type(message))
    finally:
        child.destroy()
    assert Arrived in heard


@pytest.mark.asyncio
async def test_who_does_not_end_within_the_grace_is_lost(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MARGIN", 0.5)
    engine = Engine(plan, fleet=Deaf, tell=no_words)
    await gathered(engine, lambda _sample: engine.stop() if not engine._stops else None)
    assert sorted(lost.worker for lost in engine.lost) == [0, 1]
    assert all("did not end within 1 s" in lost.reason for lost in engine.lost)


@pytest.mark.asyncio
async def test_a_stop_before_the_begin_is_the_end(plan: Plan) -> None:
    engine = Engine(plan, fleet=FakeFleet, tell=no_words)
    engine.stop()
    assert await gathered(engine) == []


@pytest.mark.asyncio
async def test_who_leaves_early_leaves_no_process_behind(plan: Plan) -> None:
    engine = Engine(plan, fleet=UntilStopped, tell=no_words)
    async with asyncio.timeout(30), aclosing(engine.run()) as samples:
        async for _sample in samples:
            break
    assert_gone([worker.pid for worker in engine.workers])


@pytest.mark.asyncio
async def test_an_engine_runs_once(plan: Plan) -> None:
    engine = Engine(plan, fleet=FakeFleet, tell=no_words)
    await gathered(engine)
    with pytest.raises(Misuse, match="has run already"):
        await anext(engine.run())


ENGINE_ALONE = """
import asyncio, sys
from sipsua.load.engine import Engine
from sipsua.load.plan import Hold, PhoneGroup, Plan, TrustSettings
from tests.load.test_engine import UntilStopped

async def main():
    plan = Plan(server="127.0.0.1:1", trust=TrustSettings(ca=(sys.argv[1],)), phones=(PhoneGroup(users="1-2"),),
                phases=(Hold(do="hold", duration=0),), workers=2, grace=0.5)
    engine = Engine(plan, fleet=UntilStopped)
    count = 0
    async for sample in engine.run():
        count += 1
        if count == 2:
            print(*(worker.pid for worker in engine.workers), flush=True)

asyncio.run(main())
"""


def test_workers_end_by_themselves_when_the_engine_is_killed(ca: Path) -> None:
    command = [sys.executable, "-c", ENGINE_ALONE, str(ca)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"workers {pids} still run"
        time.sleep(0.05)
