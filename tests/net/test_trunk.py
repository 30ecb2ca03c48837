"""Many accounts on one flow: messages reach their own account, and a lost flow reaches all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from itertools import repeat

import pytest

from sipsua.account.config import AccountConfig, Connection, Limits, Pongs
from sipsua.account.persona import Backoff
from sipsua.errors import CredentialsRefused
from sipsua.events import Event, FlowClosed, Registered, RegistrationFailed
from sipsua.net.connect import Connector
from sipsua.net.line import Line
from sipsua.testing.misbehaviour import Step, Then
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList


def users(count: int) -> dict[str, str]:
    return {str(1000 + index): "secret" for index in range(count)}


class Phones:
    """Lines on one trunk, and what they told."""

    def __init__(self, pbx: PocketPbx, count: int, ca_pem: bytes = b"", **changes: object) -> None:
        connector = Connector()
        policy = Policy(anchors=TrustList.from_pem(ca_pem or pbx.ca_pem))
        self.events: dict[str, list[Event]] = {user: [] for user in users(count)}
        self._changed = asyncio.Event()
        self.lines = {
            user: Line(
                replace(
                    AccountConfig(
                        uri=pbx.uri(user),
                        password="secret",
                        policy=policy,
                        connection=Connection.SHARED,
                        limits=Limits(close=1),
                        backoff=Backoff(0.01, 0.01),
                    ),
                    **changes,  # type: ignore[arg-type]
                ),
                connector,
                partial(self._take, user),
            )
            for user in self.events
        }

    def _take(self, user: str, event: Event) -> None:
        self.events[user].append(event)
        self._changed.set()

    def register(self) -> None:
        for line in self.lines.values():
            line.register()

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for events in self.events.values() for event in events)

    async def until(self, kind: type[Event], count: int) -> None:
        async with asyncio.timeout(10):
            while self.count(kind) < count:
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        await asyncio.gather(*(line.close() for line in self.lines.values()))


@pytest.mark.asyncio
async def test_fifty_accounts_register_over_one_flow_and_leave_nothing() -> None:
    async with PocketPbx(users(50)) as pbx:
        phones = Phones(pbx, 50)
        phones.register()
        await phones.until(Registered, 50)
        assert len(pbx.flows) == 1
        assert len(pbx.bindings) == 50
        assert all(line.account.lock.locked for line in phones.lines.values())
        for line in phones.lines.values():
            line.unregister()
        await pbx.until(lambda: not pbx.bindings)
        await phones.close()
        await pbx.until(lambda: not pbx.flows)


@pytest.mark.asyncio
async def test_refusal_of_one_account_leaves_the_others_alone() -> None:
    async with PocketPbx({**users(3), "1001": "other"}) as pbx:
        phones = Phones(pbx, 3)
        phones.register()
        await phones.until(Registered, 2)
        await phones.until(RegistrationFailed, 1)
        (failed,) = [event for event in phones.events["1001"] if isinstance(event, RegistrationFailed)]
        assert isinstance(failed.error, CredentialsRefused)
        await phones.close()


@pytest.mark.asyncio
async def test_request_reaches_the_account_it_names() -> None:
    async with PocketPbx(users(3)) as pbx:
        phones = Phones(pbx, 3)
        phones.register()
        await phones.until(Registered, 3)
        assert (await pbx.request("1002", "OPTIONS")).status == 200
        told = {user: [type(event).__name__ for event in events] for user, events in phones.events.items()}
        assert "RequestAnswered" in told["1002"]
        assert "RequestAnswered" not in told["1000"] + told["1001"]
        await phones.close()


@pytest.mark.asyncio
async def test_lost_flow_is_told_to_all_and_all_come_back_on_one_new_flow() -> None:
    async with PocketPbx(users(5)) as pbx:
        phones = Phones(pbx, 5)
        phones.register()
        await phones.until(Registered, 5)
        (flow,) = pbx.flows
        flow.end(Then.RESET)
        await phones.until(FlowClosed, 5)
        await phones.until(Registered, 10)
        await pbx.until(lambda: len(pbx.flows) == 1)
        await phones.close()


@pytest.mark.asyncio
async def test_unreachable_server_fails_every_account() -> None:
    async with PocketPbx(users(3)) as pbx:
        pass
    phones = Phones(pbx, 3, backoff=Backoff(60, 60))
    phones.register()
    await phones.until(RegistrationFailed, 3)
    await phones.close()


@pytest.mark.asyncio
async def test_last_line_to_leave_closes_the_flow() -> None:
    async with PocketPbx(users(2)) as pbx:
        phones = Phones(pbx, 2)
        phones.register()
        await phones.until(Registered, 2)
        await phones.lines["1000"].close()
        assert len(pbx.flows) == 1
        assert (await pbx.request("1001", "OPTIONS")).status == 200
        await phones.lines["1001"].close()
        await pbx.until(lambda: not pbx.flows)


@pytest.mark.asyncio
async def test_trunk_pings_once_for_all_and_gives_a_dead_flow_up() -> None:
    async with PocketPbx(users(3)) as pbx:
        phones = Phones(
            pbx,
            3,
            keep_alive=(0.05, 0.05),
            pongs=Pongs.REQUIRED,
            limits=Limits(close=1, pong=0.2),
            backoff=Backoff(60, 60),
        )
        phones.register()
        await phones.until(Registered, 3)
        await pbx.until(lambda: pbx.pings == 2)
        pbx.pongs = False
        await phones.until(FlowClosed, 3)
        assert phones.count(FlowClosed) == 3
        await phones.close()


@pytest.mark.asyncio
async def test_redirect_moves_the_lines_to_a_flow_to_the_other_server_and_closes_the_first() -> None:
    authority = CertificateAuthority()
    certificate = authority.issue("127.0.0.1")
    async with (
        PocketPbx(users(3), certificate=certificate) as first,
        PocketPbx(users(3), certificate=certificate) as second,
    ):
        moved = Step(status=302, headers=(("Contact", f"<sips:127.0.0.1:{second.port}>"),))
        first.script(None, repeat(moved))
        phones = Phones(first, 3, ca_pem=authority.pem)
        phones.register()
        await phones.until(Registered, 3)
        assert len(second.bindings) == 3
        assert len(second.flows) == 1
        await first.until(lambda: not first.flows)
        await phones.close()
        await second.until(lambda: not second.flows)


@pytest.mark.asyncio
async def test_line_that_gives_its_flow_up_joins_again_without_disturbing_the_others() -> None:
    async with PocketPbx(users(2)) as pbx:
        phones = Phones(pbx, 2)
        phones.register()
        await phones.until(Registered, 2)
        leaver = phones.lines["1000"]
        leaver.account.drop_flow("as after Timer F")
        leaver.pump()
        await phones.until(Registered, 3)
        assert sum(isinstance(event, FlowClosed) for event in phones.events["1001"]) == 0
        assert len(pbx.flows) == 1
        await phones.close()
        await pbx.until(lambda: not pbx.flows)
