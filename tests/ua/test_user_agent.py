"""The user-agent API on real flows to the pocket PBX: what is awaited, what is raised, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import repeat

import pytest

from sipsua.account.config import AccountConfig, Connection, Limits
from sipsua.account.persona import Backoff
from sipsua.errors import BadConfiguration, CredentialsRefused, FlowLost, Lost, Misuse, NoAnswer, Refused
from sipsua.events import (
    Event,
    FlowClosed,
    FlowOpened,
    HandshakeStepped,
    LockChanged,
    LockState,
    Registered,
    Unregistered,
)
from sipsua.testing.misbehaviour import Step, Then, silence
from sipsua.testing.pbx import PocketPbx
from sipsua.trust.policy import NameRule, Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused, ProblemCode
from sipsua.ua import UserAgent


def account(pbx: PocketPbx, user: str = "1000", password: str = "secret", **changes: object) -> AccountConfig:
    config = AccountConfig(
        uri=pbx.uri(user),
        password=password,
        policy=Policy(anchors=TrustList.from_pem(pbx.ca_pem)),
        limits=Limits(resolve=2, connect=2, handshake=2, close=1),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


class Recorder:
    """All events of a user agent from `listen` on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Condition()

    async def listen(self, ua: UserAgent) -> None:
        async for event in ua.events():
            async with self._more:
                self.events.append(event)
                self._more.notify_all()

    async def until(self, condition: Callable[[list[Event]], object]) -> None:
        async with asyncio.timeout(5), self._more:
            await self._more.wait_for(lambda: condition(self.events))


@asynccontextmanager
async def recorded(ua: UserAgent) -> AsyncIterator[Recorder]:
    recorder = Recorder()
    task = asyncio.create_task(recorder.listen(ua))
    await asyncio.sleep(0)
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.asyncio
async def test_register_locks_binds_and_leaving_removes_all() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        async with UserAgent(account(pbx)) as ua:
            binding = await ua.register(within=5)
            assert (binding.status, binding.expires) == (200, 3600)
            assert ua.binding is binding
            assert ua.lock.locked
            assert ua.lock.verified
            assert ua.lock.protocol == "TLSv1.3"
            assert ua.lock.anchor == "CN=pocket PBX CA"
            assert ua.verdict is not None
            assert ua.verdict.accepted
            assert len(pbx.bindings["1000"]) == 1
        assert ua.lock.state is LockState.OPEN
        await pbx.until(lambda: not pbx.bindings and not pbx.flows)
        assert not pbx.failures


@pytest.mark.asyncio
async def test_leaving_leaves_no_task_and_no_socket() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        before = asyncio.all_tasks()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            async with UserAgent(account(pbx)) as ua:
                await ua.register(within=5)
            assert asyncio.all_tasks() == before
            gc.collect()
        await pbx.until(lambda: not pbx.flows)


@pytest.mark.asyncio
async def test_register_twice_is_one_binding() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx)) as ua:
        first = await ua.register(within=5)
        assert await ua.register(within=5) is first
        assert pbx.registrar.requests["REGISTER"] == 2


@pytest.mark.asyncio
async def test_unregister_then_register_goes_over_the_same_flow() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx)) as ua:
        await ua.register(within=5)
        assert (await ua.unregister()).status == 200
        assert ua.binding is None
        assert not pbx.bindings
        assert ua.lock.locked
        await ua.register(within=5)
        assert len(pbx.flows) == 1


@pytest.mark.asyncio
async def test_wrong_password_raises_credentials_refused_and_shows_no_password() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx, password="hunter2")) as ua:
        with pytest.raises(CredentialsRefused) as caught:
            await ua.register(within=5)
        assert "hunter2" not in str(caught.value)
        assert ua.lock.locked


@pytest.mark.asyncio
async def test_unknown_user_raises_refused_with_the_status() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx, "2000")) as ua:
        with pytest.raises(Refused) as caught:
            await ua.register(within=5)
        assert caught.value.status == 404


@pytest.mark.asyncio
async def test_untrusted_server_raises_with_the_verdict_and_never_locks() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        untrusting = account(pbx, policy=Policy(anchors=TrustList.empty()))
        async with UserAgent(untrusting) as ua, recorded(ua) as seen:
            with pytest.raises(CertificateRefused) as caught:
                await ua.register(within=5)
            assert [problem.code for problem in caught.value.verdict.problems] == [ProblemCode.UNKNOWN_ISSUER]
            assert ua.lock.state is LockState.REFUSED
        assert LockState.LOCKED not in [event.lock.state for event in seen.events if isinstance(event, LockChanged)]


@pytest.mark.asyncio
async def test_wrong_name_is_refused_and_with_the_rule_off_accepted() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        elsewhere = account(pbx, uri="sips:1000@pbx.example", server=f"127.0.0.2:{pbx.port}")
        assert elsewhere.target.host == "127.0.0.2"
    async with PocketPbx({"1000": "secret"}, host="0.0.0.0") as pbx:
        elsewhere = account(pbx, uri="sips:1000@pbx.example", server=f"127.0.0.2:{pbx.port}")
        async with UserAgent(elsewhere) as ua:
            with pytest.raises(CertificateRefused) as caught:
                await ua.register(within=5)
            assert caught.value.verdict.name_only
        policy = replace(elsewhere.policy, names=NameRule.OFF)
        async with UserAgent(replace(elsewhere, policy=policy)) as ua:
            await ua.register(within=5)
            assert ua.lock.locked


@pytest.mark.asyncio
async def test_accepting_any_certificate_locks_but_says_not_verified() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        policy = Policy(anchors=TrustList.empty(), dangerous_accept_any_certificate=True)
        async with UserAgent(account(pbx, policy=policy)) as ua:
            await ua.register(within=5)
            assert ua.lock.locked
            assert not ua.lock.verified
            assert ua.verdict is not None
            assert [problem.code for problem in ua.verdict.problems] == [ProblemCode.UNKNOWN_ISSUER]


@pytest.mark.asyncio
async def test_silent_registrar_raises_no_answer_within_the_time_given() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        pbx.script("1000", repeat(Step(edit=silence)))
        async with UserAgent(account(pbx, limits=Limits(close=0.1))) as ua:
            with pytest.raises(NoAnswer, match=r"within 0\.2 s"):
                await ua.register(within=0.2)
        await pbx.until(lambda: not pbx.flows)


@pytest.mark.asyncio
async def test_register_cancelled_takes_the_binding_back() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        pbx.script("1000", [Step(delay=0.1)])
        async with UserAgent(account(pbx)) as ua:
            task = asyncio.create_task(ua.register())
            await pbx.until(lambda: pbx.registrar.requests["REGISTER"])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await pbx.until(lambda: not pbx.bindings and not pbx.flows)


@pytest.mark.asyncio
async def test_block_left_by_an_exception_removes_the_binding_too() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:

        async def fail() -> None:
            async with UserAgent(account(pbx)) as ua:
                await ua.register(within=5)
                raise RuntimeError("inside")

        with pytest.raises(RuntimeError, match="inside"):
            await fail()
        await pbx.until(lambda: not pbx.bindings and not pbx.flows)


@pytest.mark.asyncio
async def test_flow_lost_opens_the_lock_and_the_account_comes_back_by_itself() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        config = account(pbx, backoff=Backoff(0.01, 0.01))
        async with UserAgent(config) as ua, recorded(ua) as seen:
            await ua.register(within=5)
            (flow,) = pbx.flows
            flow.end(Then.RESET)
            await seen.until(lambda events: sum(isinstance(event, Registered) for event in events) == 2)
            assert ua.lock.locked
            assert len(pbx.bindings["1000"]) == 1
        states = [event.lock.state for event in seen.events if isinstance(event, LockChanged)]
        lost = states.index(LockState.OPEN)
        assert states[:lost] == [LockState.NEGOTIATING, LockState.LOCKED]
        assert states[lost + 1 : lost + 3] == [LockState.NEGOTIATING, LockState.LOCKED]


@pytest.mark.asyncio
async def test_flow_lost_before_the_answer_is_raised() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        pbx.script("1000", [Step(edit=silence, then=Then.CLOSE)])
        async with UserAgent(account(pbx)) as ua:
            with pytest.raises(FlowLost, match="closed the flow"):
                await ua.register(within=5)


@pytest.mark.asyncio
async def test_refresh_happens_before_the_granted_time_is_over_and_uses_the_nonce_again() -> None:
    pbx = PocketPbx({"1000": "secret"}, max_expires=1)
    async with pbx, UserAgent(account(pbx)) as ua, recorded(ua) as seen:
        await ua.register(within=5)
        await seen.until(lambda events: any(isinstance(event, Registered) and event.refreshed for event in events))
        assert pbx.bindings
        refreshed = [event for event in seen.events if isinstance(event, Registered) and event.refreshed]
        assert refreshed[0].challenge_ms is None


@pytest.mark.asyncio
async def test_request_of_the_server_reaches_the_phone_on_its_own_flow() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx)) as ua:
        await ua.register(within=5)
        response = await pbx.request("1000", "OPTIONS")
        assert response.status == 200
        assert "OPTIONS" in response.tokens("allow")


@pytest.mark.asyncio
async def test_events_tell_the_way_in_order_and_end_with_the_block() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        seen = Recorder()
        async with UserAgent(account(pbx), steps=True) as ua:
            task = asyncio.create_task(seen.listen(ua))
            await asyncio.sleep(0)
            await ua.register(within=5)
        async with asyncio.timeout(5):
            await task
    kinds = [type(event) for event in seen.events if not isinstance(event, HandshakeStepped)]
    assert kinds == [LockChanged, LockChanged, FlowOpened, Registered, Unregistered, LockChanged, FlowClosed]
    steps = [event.step for event in seen.events if isinstance(event, HandshakeStepped)]
    assert steps[0] == "ClientHello"
    assert steps[-1] == "Finished (client)"


@pytest.mark.asyncio
async def test_use_outside_the_block_is_misuse_that_says_how() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        ua = UserAgent(account(pbx))
        with pytest.raises(Misuse, match="async with"):
            await ua.register()
        async with ua:
            pass
        with pytest.raises(Misuse):
            await ua.__aenter__()


@pytest.mark.asyncio
async def test_two_calls_of_register_side_by_side_get_the_same_binding() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx)) as ua:
        async with asyncio.timeout(5):
            first, second = await asyncio.gather(ua.register(), ua.register())
        assert first is second
        assert pbx.registrar.requests["REGISTER"] == 2


@pytest.mark.asyncio
async def test_register_waiting_while_another_task_unregisters_is_told_so() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx)) as ua:
        waiting = asyncio.create_task(ua.register())
        await asyncio.sleep(0)
        await ua.unregister()
        async with asyncio.timeout(5):
            with pytest.raises(Lost, match="unregistered before"):
                await waiting
        await ua.register(within=5)
        assert ua.lock.locked


@pytest.mark.asyncio
async def test_register_waiting_while_the_block_is_left_ends() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        pbx.script("1000", repeat(Step(edit=silence)))
        async with UserAgent(account(pbx, limits=Limits(close=0.1))) as ua:
            waiting = asyncio.create_task(ua.register())
            await pbx.until(lambda: pbx.registrar.requests["REGISTER"])
        async with asyncio.timeout(5):
            with pytest.raises(Lost):
                await waiting


@pytest.mark.asyncio
async def test_unanswered_removal_leaves_no_binding_to_hand_out_and_register_begins_anew() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx, limits=Limits(close=0.1))) as ua:
        await ua.register(within=5)
        pbx.script("1000", [Step(delay=0.3)])
        assert (await ua.unregister()).status is None
        assert [ua.binding] == [None]
        again = await ua.register(within=5)
        assert again is ua.binding
        assert len(pbx.bindings["1000"]) == 1


@pytest.mark.asyncio
async def test_cancelling_register_while_the_binding_stands_leaves_it() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx)) as ua:
        binding = await ua.register(within=5)
        task = asyncio.create_task(ua.register())
        task.cancel()
        await asyncio.wait([task])
        assert ua.binding is binding
        assert pbx.bindings


@pytest.mark.asyncio
async def test_after_the_block_register_is_misuse_and_events_are_over() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        async with UserAgent(account(pbx)) as ua:
            await ua.register(within=5)
        with pytest.raises(Misuse, match="was left"):
            await ua.register()
        async with asyncio.timeout(5):
            assert [event async for event in ua.events()] == []


@pytest.mark.asyncio
async def test_events_are_heard_from_the_call_on_not_from_the_first_read() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        async with UserAgent(account(pbx)) as ua:
            events = ua.events()
            await ua.register(within=5)
        kinds = [type(event) async for event in events]
    assert kinds[0] is LockChanged
    assert Registered in kinds


@pytest.mark.asyncio
async def test_user_agents_of_one_loop_share_a_connector_and_with_one_policy_a_flow() -> None:
    async with PocketPbx({"1000": "secret", "1001": "secret"}) as pbx:
        first = account(pbx, connection=Connection.SHARED)
        second = replace(first, uri=pbx.uri("1001"))
        async with UserAgent(first) as one, UserAgent(second) as other:
            await asyncio.gather(one.register(within=5), other.register(within=5))
            assert len(pbx.flows) == 1


@pytest.mark.asyncio
async def test_another_event_loop_than_the_one_that_entered_is_misuse() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx, UserAgent(account(pbx)) as ua:
        await ua.register(within=5)
        with pytest.raises(Misuse, match="was entered in another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(ua.register()))
        with pytest.raises(Misuse, match="was entered in another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(ua.unregister()))
        assert ua.binding is not None


def test_what_is_no_account_makes_no_user_agent() -> None:
    with pytest.raises(BadConfiguration, match=r"cannot be made of type NoneType .*an AccountConfig"):
        UserAgent(None)  # type: ignore[arg-type]


@pytest.mark.asyncio
@pytest.mark.parametrize("user", ["jürgen", "j%C3%BCrgen"])
async def test_a_user_beyond_ascii_registers_escaped_or_not(user: str) -> None:
    async with PocketPbx({"jürgen": "secret"}) as pbx:
        uri = pbx.uri("1000").replace("1000", user)
        async with UserAgent(account(pbx, uri=uri)) as ua:
            await ua.register(within=5)
            assert len(pbx.bindings["jürgen"]) == 1
