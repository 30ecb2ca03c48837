"""The user-agent API against a real Kamailio: what it sends to phones is answered, what it loses comes back, and nothing is left behind."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sipsua.account.config import AccountConfig, Connection, Limits
from sipsua.account.persona import GENERIC, YEALINK, Backoff, Persona
from sipsua.errors import CredentialsRefused, FlowLost, HandshakeFailed, Refused, Unreachable
from sipsua.events import Event, FlowClosed, LockChanged, LockState, Registered, RegistrationFailed, RequestAnswered
from sipsua.net.connect import Connector
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList
from sipsua.ua.user_agent import UserAgent
from tests.interop.kamailio import Kamailio

pytestmark = pytest.mark.interop

StartKamailio = Callable[..., Kamailio]
Account = Callable[..., AccountConfig]


@pytest.fixture
def account(authority_file: Path) -> Account:
    """A maker of accounts at a Kamailio; takes what is to be changed in one."""
    policy = Policy(anchors=TrustList.from_files(str(authority_file)))

    def make(pbx: Kamailio, user: str = "1000", **changes: Any) -> AccountConfig:
        config = AccountConfig(
            uri=f"sip:{user}@127.0.0.1:{pbx.port};transport=tls",
            password="secret",
            policy=policy,
            limits=Limits(resolve=10, connect=10, handshake=10, close=5),
        )
        return replace(config, **changes)

    return make


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition comes true; at most twenty seconds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


@asynccontextmanager
async def recorded(ua: UserAgent) -> AsyncIterator[list[Event]]:
    """All events of a user agent from here on."""
    events: list[Event] = []

    async def listen() -> None:
        async for event in ua.events():
            events.append(event)  # noqa: PERF401 - a comprehension would show them at the end only

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    try:
        yield events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def of(kind: type[Event], events: Iterable[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.asyncio
@pytest.mark.parametrize("connection", Connection)
@pytest.mark.parametrize("persona", [GENERIC, YEALINK], ids=lambda persona: persona.name)
async def test_leaving_the_block_leaves_no_binding_and_no_flow(
    kamailio: StartKamailio, account: Account, connection: Connection, persona: Persona
) -> None:
    pbx = kamailio()
    config = account(pbx, persona=persona, connection=connection, display_name='Zoë "Bob" <x>; \\ 1')
    async with UserAgent(config) as ua:
        granted = await ua.register(within=20)
        (binding,) = pbx.bindings("1000")
        (flow,) = pbx.flows()
        assert granted.expires == 3600
        assert ua.lock.locked
        assert ua.lock.verified
        assert (ua.lock.protocol or "") in flow.cipher
        assert (ua.lock.cipher or "") in flow.cipher
        assert binding.received == f"sip:127.0.0.1:{flow.peer_port};transport=tls"
        assert binding.contact.lower() == f"sip:1000@127.0.0.1:{flow.peer_port};transport=tls"
        assert (binding.user_agent, binding.cseq) == (persona.user_agent, 2)
    assert ua.lock.state is LockState.OPEN
    assert (pbx.registered(), pbx.bindings()) == (0, [])
    await until(lambda: not pbx.flows())
    assert "ERROR" not in pbx.log()


@pytest.mark.asyncio
async def test_block_left_by_an_exception_leaves_no_binding(kamailio: StartKamailio, account: Account) -> None:
    pbx = kamailio()

    async def fail() -> None:
        async with UserAgent(account(pbx)) as ua:
            await ua.register(within=20)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        await fail()
    assert pbx.bindings() == []
    await until(lambda: not pbx.flows())


@pytest.mark.asyncio
async def test_unregistered_phone_keeps_its_flow_and_registers_on_it_again(
    kamailio: StartKamailio, account: Account
) -> None:
    pbx = kamailio()
    async with UserAgent(account(pbx)) as ua:
        await ua.register(within=20)
        (first,) = pbx.bindings("1000")
        assert (await ua.unregister()).status == 200
        assert pbx.bindings("1000") == []
        assert ua.lock.locked
        await ua.register(within=20)
        (second,) = pbx.bindings("1000")
        assert (second.received, second.call_id) == (first.received, first.call_id)
        assert second.cseq > first.cseq + 1


@pytest.mark.asyncio
async def test_wrong_password_raises_and_the_flow_stands_until_the_block_is_left(
    kamailio: StartKamailio, account: Account
) -> None:
    pbx = kamailio()
    async with UserAgent(account(pbx, password="guess")) as ua:
        with pytest.raises(CredentialsRefused) as caught:
            await ua.register(within=20)
        assert caught.value.status == 401
        assert ua.lock.locked
        assert len(pbx.flows()) == 1
        assert pbx.bindings() == []
    await until(lambda: not pbx.flows())


@pytest.mark.asyncio
@pytest.mark.parametrize("connection", Connection)
async def test_request_of_kamailio_on_the_phones_flow_is_answered(
    kamailio: StartKamailio, account: Account, connection: Connection
) -> None:
    pbx = kamailio(users={"1000": "secret", "1001": "secret"})
    connector = Connector()
    generic = account(pbx, connection=connection)
    yealink = account(pbx, "1001", connection=connection, persona=YEALINK)
    async with (
        UserAgent(generic, connector=connector) as one,
        UserAgent(yealink, connector=connector) as two,
        recorded(one) as first,
        recorded(two) as second,
    ):
        await asyncio.gather(one.register(within=20), two.register(within=20))
        assert pbx.connected() == {Connection.OWN: 2, Connection.SHARED: 1}[connection]
        for user, method, expected in (
            ("1000", "OPTIONS", (200, "OK")),
            ("1000", "NOTIFY", (200, "OK")),
            ("1000", "WINK", (501, "Not Implemented")),
            ("1001", "OPTIONS", (200, "OK")),
            ("1001", "NOTIFY", (200, "OK")),
        ):
            assert await asyncio.to_thread(pbx.send, user, method, headers={"Event": "check-sync"}) == expected
    assert of(RequestAnswered, first) == [
        RequestAnswered("OPTIONS", 200),
        RequestAnswered("NOTIFY", 200),
        RequestAnswered("WINK", 501),
    ]
    assert of(RequestAnswered, second) == [RequestAnswered("OPTIONS", 200), RequestAnswered("NOTIFY", 200)]


@pytest.mark.asyncio
@pytest.mark.parametrize("connection", Connection)
async def test_restart_of_kamailio_opens_the_lock_until_the_account_has_come_back(
    kamailio: StartKamailio, account: Account, connection: Connection
) -> None:
    pbx = kamailio()
    # Kamailio gets its users back a moment after it listens; the Yealink does not give up where it is refused until then.
    config = account(pbx, connection=connection, persona=YEALINK, backoff=Backoff(0.05, 0.1))
    async with UserAgent(config) as ua, recorded(ua) as events:
        await ua.register(within=20)
        (before,) = pbx.bindings("1000")
        await asyncio.to_thread(pbx.stop)
        await until(lambda: of(FlowClosed, events))
        assert of(LockChanged, events)[-1].lock.state is LockState.OPEN
        assert ua.binding is None
        await until(lambda: len(of(RegistrationFailed, events)) > 2)
        await asyncio.to_thread(pbx.start)
        await until(lambda: len(of(Registered, events)) == 2)
        assert ua.lock.locked
        (after,) = pbx.bindings("1000")
        assert after.received == f"sip:127.0.0.1:{pbx.flows()[0].peer_port};transport=tls"
        assert after.received != before.received
        assert (after.call_id, after.cseq > before.cseq) == (before.call_id, True)
        assert of(Registered, events)[1].refreshed is False
        failures = of(RegistrationFailed, events)
        assert {type(failure.error) for failure in failures} <= {FlowLost, Unreachable, HandshakeFailed, Refused}
        assert all(0 < failure.retry_in <= 0.1 for failure in failures)
        locks = [change.lock.state for change in of(LockChanged, events)]
        assert locks[:3] == [LockState.NEGOTIATING, LockState.LOCKED, LockState.OPEN]
        assert locks[-2:] == [LockState.NEGOTIATING, LockState.LOCKED]
        assert locks.count(LockState.LOCKED) == 2
    assert pbx.bindings() == []


@pytest.mark.asyncio
async def test_block_is_left_at_once_where_kamailio_is_gone(kamailio: StartKamailio, account: Account) -> None:
    pbx = kamailio()
    tasks = asyncio.all_tasks()
    async with asyncio.timeout(20), UserAgent(account(pbx)) as ua:
        await ua.register(within=20)
        await asyncio.to_thread(pbx.stop)
    assert ua.lock.state is LockState.OPEN
    assert asyncio.all_tasks() == tasks


@pytest.mark.asyncio
async def test_pings_of_the_location_table_are_answered_interval_by_interval(
    kamailio: StartKamailio, account: Account
) -> None:
    users = ("1000", "1001", "1002", "1003")
    pbx = kamailio(users=dict.fromkeys(users, "secret"), ping_interval=1)
    connector = Connector()
    configs = (
        account(pbx, "1000"),
        account(pbx, "1001", persona=YEALINK),
        account(pbx, "1002", connection=Connection.SHARED),
        account(pbx, "1003", connection=Connection.SHARED),
    )
    async with AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(UserAgent(config, connector=connector)) for config in configs]
        records = [await stack.enter_async_context(recorded(phone)) for phone in phones]
        await asyncio.gather(*(phone.register(within=20) for phone in phones))
        await until(lambda: all(len(of(RequestAnswered, events)) >= 3 for events in records))
        for events in records:
            assert set(of(RequestAnswered, events)) == {RequestAnswered("OPTIONS", 200)}
        await until(lambda: all(binding.ping_roundtrip_us for binding in pbx.bindings()))
        assert sorted(binding.user for binding in pbx.bindings()) == list(users)
    assert pbx.bindings() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("connection", Connection)
async def test_a_hundred_accounts_register_are_reached_and_leave(
    kamailio: StartKamailio, account: Account, connection: Connection
) -> None:
    users = [str(2000 + number) for number in range(100)]
    pbx = kamailio(users=dict.fromkeys(users, "secret"))
    connector = Connector()
    tasks = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        phones = [
            await stack.enter_async_context(UserAgent(account(pbx, user, connection=connection), connector=connector))
            for user in users
        ]
        await asyncio.gather(*(phone.register(within=30) for phone in phones))
        assert all(phone.lock.locked and phone.lock.verified for phone in phones)
        flows = {Connection.OWN: 100, Connection.SHARED: 1}[connection]
        assert (pbx.registered(), pbx.connected()) == (100, flows)
        bindings = pbx.bindings()
        assert sorted(binding.user for binding in bindings) == users
        assert len({binding.received for binding in bindings}) == flows
        assert len({binding.call_id for binding in bindings}) == 100
        for user in (users[0], users[50], users[99]):
            assert await asyncio.to_thread(pbx.send, user) == (200, "OK")
        await asyncio.gather(*(phone.unregister() for phone in phones[:50]))
        assert sorted(binding.user for binding in pbx.bindings()) == users[50:]
    assert pbx.registered() == 0
    await until(lambda: pbx.connected() == 0)
    assert asyncio.all_tasks() == tasks
    assert "ERROR" not in pbx.log()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "connection",
    [
        Connection.OWN,
        Connection.SHARED,
    ],
)
async def test_wish_that_is_taken_back_and_made_again_in_mid_handshake_is_granted(
    kamailio: StartKamailio, account: Account, connection: Connection
) -> None:
    pbx = kamailio()
    async with UserAgent(account(pbx, connection=connection)) as ua:
        first = asyncio.create_task(ua.register(within=20))
        async for event in ua.events():
            if isinstance(event, LockChanged) and event.lock.state is LockState.NEGOTIATING:
                break
        first.cancel()
        await asyncio.wait([first])
        await ua.register(within=20)
        assert ua.lock.locked
        assert len(pbx.bindings("1000")) == len(pbx.flows()) == 1
    assert pbx.bindings() == []


@pytest.mark.asyncio
async def test_phones_that_change_their_mind_at_any_moment_leave_nothing_behind(
    kamailio: StartKamailio, account: Account
) -> None:
    users = [str(2000 + number) for number in range(100)]
    pbx = kamailio(users=dict.fromkeys(users, "secret"))
    connector = Connector()
    tasks = asyncio.all_tasks()
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, fault: faults.append(fault))

    async def waver(user: str, moment: float) -> None:
        async with UserAgent(account(pbx, user), connector=connector) as ua:
            try:
                async with asyncio.timeout(moment):
                    await ua.register()
            except TimeoutError:
                pass

    await asyncio.gather(*(waver(user, 0.004 * number) for number, user in enumerate(users)))
    assert faults == []
    assert pbx.registered() == 0
    await until(lambda: pbx.connected() == 0)
    assert asyncio.all_tasks() == tasks
