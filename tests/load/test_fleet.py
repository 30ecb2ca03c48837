"""A fleet taken through its phases against a real registrar, and everything that is to come of it in its samples."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sipsua.errors import Misuse
from sipsua.load.fleet import Fleet
from sipsua.load.plan import (
    Arrivals,
    BackoffSettings,
    Churn,
    Cut,
    Hold,
    PhoneGroup,
    Plan,
    Register,
    Reregister,
    Storm,
    TrustSettings,
    Unregister,
)
from sipsua.load.sample import Count, Sample, Step
from sipsua.testing.misbehaviour import Then
from sipsua.testing.pbx import PocketPbx

PHONES = 20
REGISTER = Register(do="register", arrivals=Arrivals(rate=200))
UNREGISTER = Unregister(do="unregister")


@pytest_asyncio.fixture
async def pbx() -> AsyncIterator[PocketPbx]:
    async with PocketPbx({str(1000 + index): "secret" for index in range(PHONES)}) as pbx:
        yield pbx
        await pbx.until(lambda: not pbx.flows)


def plan(pbx: PocketPbx, directory: Path, *phases: Any, **more: Any) -> Plan:
    (directory / "ca.pem").write_bytes(pbx.ca_pem)
    group = PhoneGroup(
        users=f"1000-{1000 + PHONES - 1}", password="secret", backoff=BackoffSettings(base=0.05, maximum=0.05)
    )
    return Plan(
        server=f"127.0.0.1:{pbx.port}",
        trust=TrustSettings(ca=(directory / "ca.pem",)),
        phones=(group,),
        phases=phases,
        **more,
    )


async def gathered(fleet: Fleet) -> list[Sample]:
    async with asyncio.timeout(30):
        return [sample async for sample in fleet.run()]


def merged(samples: list[Sample]) -> Sample:
    whole = samples[0]
    for sample in samples[1:]:
        whole.merge(sample)
    return whole


@pytest.mark.asyncio
async def test_phones_register_are_held_refreshed_and_unregistered(pbx: PocketPbx, tmp_path: Path) -> None:
    renew = Reregister(do="reregister", arrivals=Arrivals(at_once=True))
    samples = await gathered(Fleet(plan(pbx, tmp_path, REGISTER, Hold(do="hold", duration=1.2), renew, UNREGISTER)))
    assert [sample.phase for sample in samples] == sorted(sample.phase for sample in samples)
    assert {sample.phase for sample in samples} == {0, 1, 2, 3}
    held = [sample for sample in samples if sample.phase == 1]
    assert all((one.phones, one.locked, one.registered) == (PHONES, PHONES, PHONES) for one in held)
    assert abs(sum(sample.length for sample in held) - 1.2) < 0.3
    last = samples[-1]
    assert (last.phones, last.locked, last.registered) == (0, 0, 0)
    assert all(len(sample.health) == 1 for sample in samples)
    whole = merged(samples)
    expected = {Count.STARTED: 20, Count.REGISTERED: 20, Count.REFRESHED: 20, Count.UNREGISTERED: 20}
    expected |= {Count.HANDSHAKES: 20, Count.TLS1_3: 20}
    assert +whole.counts == Counter(expected)
    assert whole.errors == {}
    assert len(whole.latencies[Step.REGISTER]) == len(whole.latencies[Step.REFRESH]) == PHONES


@pytest.mark.asyncio
async def test_seconds_and_phases_part_the_run_without_gap(pbx: PocketPbx, tmp_path: Path) -> None:
    samples = await gathered(Fleet(plan(pbx, tmp_path, REGISTER, Hold(do="hold", duration=2.3), UNREGISTER)))
    assert len({(sample.second, sample.phase) for sample in samples}) == len(samples)
    begin = 0.0
    for sample in samples:
        assert sample.second == int(begin + 0.01)
        begin += sample.length


@pytest.mark.asyncio
async def test_fleets_share_the_phones_and_wait_for_each_other_at_the_gate(pbx: PocketPbx, tmp_path: Path) -> None:
    class Gate:
        def __init__(self) -> None:
            self.barrier = asyncio.Barrier(3)
            self.phases: list[int] = []

        async def begin(self, phase: int) -> float:
            self.phases.append(phase)
            async with self.barrier:
                return asyncio.get_running_loop().time() + 0.05

    gate = Gate()
    whole = plan(pbx, tmp_path, REGISTER, Hold(do="hold", duration=0.1), UNREGISTER)
    fleets = [Fleet(whole, worker=worker, workers=3, gate=gate) for worker in range(3)]
    of_each = await asyncio.gather(*(gathered(fleet) for fleet in fleets))
    assert sorted(gate.phases) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [merged(samples).counts[Count.REGISTERED] for samples in of_each] == [7, 7, 6]
    assert [samples[0].health[0].worker for samples in of_each] == [0, 1, 2]
    assert pbx.registrar.responses[200] == 2 * PHONES


@pytest.mark.asyncio
async def test_stop_has_all_phones_unregister_and_tells_it(pbx: PocketPbx, tmp_path: Path) -> None:
    fleet = Fleet(plan(pbx, tmp_path, REGISTER, Hold(do="hold", duration=3600), UNREGISTER))
    samples = []
    async with asyncio.timeout(30):
        async for sample in fleet.run():
            samples.append(sample)
            if sample.registered == PHONES:
                fleet.stop()
    assert merged([sample for sample in samples if sample.phase == 3]).counts[Count.UNREGISTERED] == PHONES
    assert not pbx.bindings


@pytest.mark.asyncio
async def test_a_stop_before_the_begin_does_nothing_at_all(pbx: PocketPbx, tmp_path: Path) -> None:
    fleet = Fleet(plan(pbx, tmp_path, REGISTER))
    fleet.stop()
    assert await gathered(fleet) == []
    assert not pbx.registrar.requests


@pytest.mark.asyncio
async def test_phones_that_the_plan_leaves_registered_unregister_at_its_end(pbx: PocketPbx, tmp_path: Path) -> None:
    samples = await gathered(Fleet(plan(pbx, tmp_path, REGISTER)))
    assert [sample.registered for sample in samples if sample.phase == 0][-1] == PHONES
    assert merged([sample for sample in samples if sample.phase == 1]).counts[Count.UNREGISTERED] == PHONES


@pytest.mark.asyncio
async def test_who_breaks_off_leaves_no_phone_behind(pbx: PocketPbx, tmp_path: Path) -> None:
    fleet = Fleet(plan(pbx, tmp_path, REGISTER, Hold(do="hold", duration=3600)))
    async with asyncio.timeout(30), aclosing(fleet.run()) as samples:
        async for _sample in samples:
            break
    await pbx.until(lambda: not pbx.bindings)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_churn_has_phones_leave_and_come_back(pbx: PocketPbx, tmp_path: Path) -> None:
    churn = Churn(do="churn", duration=1.0, rate=10, away=0.2)
    samples = await gathered(Fleet(plan(pbx, tmp_path, REGISTER, churn, UNREGISTER)))
    of_churn = [sample for sample in samples if sample.phase == 1]
    assert of_churn[-1].phones == PHONES
    whole = merged(of_churn)
    assert whole.counts[Count.UNREGISTERED] == whole.counts[Count.REGISTERED] == 10
    assert not whole.errors


@pytest.mark.asyncio
@pytest.mark.parametrize(("cut", "share", "hit"), [(Cut.RESET, 1.0, 20), (Cut.CLOSE, 0.25, 5)])
async def test_after_a_storm_the_phase_ends_when_all_are_back(
    pbx: PocketPbx, tmp_path: Path, cut: Cut, share: float, hit: int
) -> None:
    storm = Storm(do="storm", cut=cut, share=share, within=20)
    samples = await gathered(Fleet(plan(pbx, tmp_path, REGISTER, storm, UNREGISTER)))
    of_storm = [sample for sample in samples if sample.phase == 1]
    assert of_storm[-1].registered == PHONES
    whole = merged(of_storm)
    assert whole.counts[Count.CUT] == whole.counts[Count.REGISTERED] == hit
    assert len(whole.latencies[Step.RECOVER]) == hit
    assert not whole.errors


@pytest.mark.asyncio
async def test_an_awaited_storm_lasts_from_the_first_loss_until_all_are_back(pbx: PocketPbx, tmp_path: Path) -> None:
    storm = Storm(do="storm", cut=Cut.AWAIT, within=20)
    fleet = Fleet(plan(pbx, tmp_path, REGISTER, storm, UNREGISTER))
    samples: list[Sample] = []
    async with asyncio.timeout(30):
        async for sample in fleet.run():
            samples.append(sample)
            if sample.phase == 1 and len([one for one in samples if one.phase == 1]) == 1:
                for flow in list(pbx.flows):
                    flow.end(Then.RESET)
    whole = merged([sample for sample in samples if sample.phase == 1])
    assert whole.counts[Count.LOST] == len(whole.latencies[Step.RECOVER]) == PHONES
    assert set(whole.errors) == {"flow lost: reset the connection"}


@pytest.mark.asyncio
async def test_a_phase_whose_phones_get_no_answer_ends_in_time(pbx: PocketPbx, tmp_path: Path) -> None:
    hasty = Register(do="register", arrivals=Arrivals(at_once=True), within=0)
    samples = await gathered(Fleet(plan(pbx, tmp_path, hasty, Hold(do="hold", duration=1), UNREGISTER)))
    assert sum(sample.length for sample in samples if sample.phase == 0) < 1
    assert merged(samples).counts[Count.REGISTERED] == PHONES


@pytest.mark.asyncio
async def test_a_fleet_runs_once(pbx: PocketPbx, tmp_path: Path) -> None:
    fleet = Fleet(plan(pbx, tmp_path, REGISTER))
    await gathered(fleet)
    with pytest.raises(Misuse, match="has run already"):
        await anext(fleet.run())
