"""The phones of one loop: what they do is done, and all of it is in the samples."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from sipsua.account.config import AccountConfig, Connection, Limits
from sipsua.account.persona import Backoff
from sipsua.load.crowd import Crowd
from sipsua.load.sample import Count, Sample, Step
from sipsua.net.connect import Connector
from sipsua.net.flow import Flow
from sipsua.net.line import Line
from sipsua.testing.misbehaviour import Step as Misstep
from sipsua.testing.misbehaviour import Then
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

USERS = {str(1000 + index): "secret" for index in range(20)}


class Sameness:
    """Phones that differ in their user only."""

    def __init__(self, pbx: PocketPbx, *, ca_pem: bytes | None = None, connection: Connection = Connection.OWN) -> None:
        self._pbx = pbx
        self._policy = Policy(anchors=TrustList.from_pem(ca_pem or pbx.ca_pem))
        self._connection = connection

    def config(self, index: int) -> AccountConfig:
        return AccountConfig(
            uri=self.label(index),
            password="secret",
            policy=self._policy,
            connection=self._connection,
            limits=Limits(close=1),
            backoff=Backoff(0.05, 0.05),
        )

    def label(self, index: int) -> str:
        return self._pbx.uri(str(1000 + index))


def take(crowd: Crowd) -> Sample:
    return crowd.take(second=0, phase=0, at=0.0, length=1.0)


async def registered(crowd: Crowd, count: int) -> Sample:
    """The sample of phones that have registered."""
    now = asyncio.get_running_loop().time()
    for phone in range(count):
        crowd.start(phone, now - 1.5)
    assert crowd.pending == count
    await crowd.until(lambda: crowd.registered == count)
    return take(crowd)


def in_crowd(
    test: Callable[[PocketPbx, Crowd], Awaitable[None]], *, connection: Connection = Connection.OWN
) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        async with PocketPbx(USERS) as pbx:
            crowd = Crowd(Sameness(pbx, connection=connection), Connector())
            try:
                await test(pbx, crowd)
            finally:
                await crowd.close()
            await pbx.until(lambda: not pbx.flows)
            assert (crowd.locked, crowd.registered, crowd.pending, len(crowd)) == (0, 0, 0, 0)

    return run


@pytest.mark.asyncio
async def test_each_step_of_each_phone_is_measured_from_the_intended_start() -> None:
    async def test(_pbx: PocketPbx, crowd: Crowd) -> None:
        sample = await registered(crowd, 20)
        assert (sample.phones, sample.locked, sample.registered, sample.opening) == (20, 20, 20, 0)
        assert sample.counts == {
            Count.STARTED: 20,
            Count.REGISTERED: 20,
            Count.HANDSHAKES: 20,
            Count.TLS1_3: 20,
            Count.RESUMED: 0,
            Count.UNVERIFIED: 0,
        }
        steps = (Step.QUEUE, Step.DNS, Step.TCP, Step.TLS, Step.CHALLENGE, Step.FINAL, Step.REGISTER)
        assert {step: len(values) for step, values in sample.latencies.items()} == dict.fromkeys(steps, 20)
        assert min(sample.latencies[Step.REGISTER]) >= 1_500_000
        assert min(sample.latencies[Step.QUEUE]) >= 1_500_000
        assert max(sample.latencies[Step.TLS]) < 1_500_000
        assert sample.sent > 20 * 1000
        assert sample.received > 20 * 1000
        assert crowd.pending == 0

    await in_crowd(test)()


@pytest.mark.asyncio
async def test_refresh_counts_from_the_instant_when_it_was_due() -> None:
    async def test(_pbx: PocketPbx, crowd: Crowd) -> None:
        await registered(crowd, 3)
        due = asyncio.get_running_loop().time() - 2
        for phone in (0, 1, 7):  # there is no seventh
            crowd.refresh(phone, due)
        assert crowd.pending == 2
        await crowd.until(lambda: crowd.pending == 0)
        sample = take(crowd)
        assert sample.counts[Count.REFRESHED] == 2
        assert len(sample.latencies[Step.REFRESH]) == 2
        assert min(sample.latencies[Step.REFRESH]) >= 2_000_000

    await in_crowd(test)()


@pytest.mark.asyncio
@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("connection", list(Connection))
async def test_phones_whose_flow_is_cut_come_back_and_the_time_is_measured(reset: bool, connection: Connection) -> None:
    async def test(pbx: PocketPbx, crowd: Crowd) -> None:
        await registered(crowd, 4)
        for phone in (0, 1) if connection is Connection.OWN else (0,):
            crowd.cut(phone, reset=reset)
        hit = 2 if connection is Connection.OWN else 4
        assert (crowd.pending, crowd.registered, crowd.locked) == (hit, 4 - hit, 4 - hit)
        await crowd.until(lambda: crowd.pending == 0)
        sample = take(crowd)
        assert (sample.counts[Count.CUT], sample.counts[Count.LOST], sample.counts[Count.REGISTERED]) == (hit, 0, hit)
        assert sample.counts[Count.HANDSHAKES] == (2 if connection is Connection.OWN else 1)
        assert len(sample.latencies[Step.RECOVER]) == hit
        assert not sample.errors
        assert len(pbx.bindings) == 4

    await in_crowd(test, connection=connection)()


@pytest.mark.asyncio
async def test_flow_that_the_server_breaks_is_lost_with_its_class_and_recovered() -> None:
    async def test(pbx: PocketPbx, crowd: Crowd) -> None:
        await registered(crowd, 3)
        for flow in list(pbx.flows):
            flow.end(Then.RESET)
        await crowd.until(lambda: crowd.sample.counts[Count.REGISTERED] == 3)
        sample = take(crowd)
        assert sample.counts[Count.LOST] == 3
        (kind,) = sample.errors
        assert kind.startswith("flow lost: ")
        assert sample.errors[kind].count == 3
        assert "sips:10" in sample.errors[kind].example

    await in_crowd(test)()


@pytest.mark.asyncio
async def test_stopped_phones_leave_no_binding_and_come_again() -> None:
    async def test(pbx: PocketPbx, crowd: Crowd) -> None:
        await registered(crowd, 3)
        loop = asyncio.get_running_loop()
        for phone in (0, 2):
            crowd.stop(phone, loop.time() - 3)
        crowd.stop(9, loop.time())
        assert (len(crowd), crowd.pending) == (1, 2)
        await crowd.until(lambda: crowd.pending == 0)
        sample = take(crowd)
        assert sample.counts[Count.UNREGISTERED] == 2
        assert min(sample.latencies[Step.UNREGISTER]) >= 3_000_000
        assert list(pbx.bindings) == ["1001"]
        crowd.start(0, loop.time())
        crowd.start(0, loop.time())
        await crowd.until(lambda: crowd.registered == 2)
        assert take(crowd).counts[Count.STARTED] == 1

    await in_crowd(test)()


@pytest.mark.asyncio
async def test_phone_that_is_stopped_before_it_has_registered_owes_nothing() -> None:
    async def test(pbx: PocketPbx, crowd: Crowd) -> None:
        crowd.start(0, asyncio.get_running_loop().time())
        crowd.stop(0, asyncio.get_running_loop().time())
        assert (crowd.pending, len(crowd)) == (0, 0)
        await crowd.close()
        assert not pbx.bindings

    await in_crowd(test)()


@pytest.mark.asyncio
async def test_refused_certificate_is_a_class_with_an_example_and_the_phone_gives_up() -> None:
    async with PocketPbx(USERS) as pbx:
        crowd = Crowd(Sameness(pbx, ca_pem=CertificateAuthority("another").pem), Connector())
        crowd.start(0, asyncio.get_running_loop().time())
        await crowd.until(lambda: crowd.pending == 0)
        sample = take(crowd)
        await crowd.close()
    assert (sample.counts[Count.FAILED], sample.counts[Count.REFUSED], sample.locked) == (1, 1, 0)
    (kind,) = sample.errors
    assert kind == "certificate refused: unknown_issuer"
    assert sample.errors[kind].example.startswith("sips:1000@127.0.0.1")


@pytest.mark.asyncio
async def test_phone_whose_removal_is_not_answered_leaves_all_the_same_and_is_counted() -> None:
    async def test(pbx: PocketPbx, crowd: Crowd) -> None:
        await registered(crowd, 1)
        pbx.script("1000", [Misstep(delay=30)] * 4)
        crowd.stop(0, asyncio.get_running_loop().time())
        await crowd.close(within=0.1)
        assert take(crowd).counts[Count.UNANSWERED] == 1

    await in_crowd(test)()


@pytest.mark.asyncio
async def test_what_is_dear_in_a_phone_that_has_left_goes_without_the_garbage_collector() -> None:
    async def test(_pbx: PocketPbx, crowd: Crowd) -> None:
        await registered(crowd, 3)
        for phone in range(3):
            crowd.stop(phone, asyncio.get_running_loop().time())
        gc.collect()
        gc.disable()
        try:
            await crowd.close(5)
            await asyncio.sleep(0)
            assert not [thing for thing in gc.get_objects() if type(thing) in (Flow, Line)]
        finally:
            gc.enable()

    await in_crowd(test)()
