"""A phone that registers and listens: both TLS roles at once."""

from __future__ import annotations

import asyncio

import pytest

from sipsua.account.config import Connection
from sipsua.account.inbound import InboundLimits
from sipsua.account.persona import GENERIC, YEALINK, Persona
from sipsua.errors import Misuse
from sipsua.events import FlowClosed, InboundFailed, InboundRefused, Registered, RequestAnswered
from sipsua.net.connect import Connector
from sipsua.net.listen import Listener
from sipsua.testing.pbx import PocketPbx
from sipsua.ua import UserAgent
from tests.net.callers import HELLO_BEGUN, IDENTITY, calling, listening
from tests.ua.test_user_agent import account, recorded


@pytest.mark.asyncio
@pytest.mark.parametrize("persona", [GENERIC, YEALINK], ids=lambda persona: persona.name)
async def test_phone_is_tls_client_to_its_registrar_and_tls_server_to_who_calls_its_contact(persona: Persona) -> None:
    """The guide: "The IP phone can serve as a TLS client or a TLS server"."""
    async with PocketPbx({"1000": "secret"}) as pbx, listening() as listener:
        async with UserAgent(account(pbx, persona=persona), listener=listener) as ua, recorded(ua) as recorder:
            await ua.register(within=5)
            assert ua.lock.locked
            (binding,) = pbx.bindings["1000"]
            assert f"1000@127.0.0.1:{listener.port}" in binding.contact
            # Its own flow is used as ever.
            assert (await pbx.request("1000", "OPTIONS")).status == 200
            async with calling(listener) as caller:
                assert await caller.ask("1000") == 200
                host, port = caller.writer.get_extra_info("sockname")
            await recorder.until(lambda seen: sum(isinstance(event, RequestAnswered) for event in seen) == 2)
            answered = [event for event in recorder.events if isinstance(event, RequestAnswered)]
            assert answered == [RequestAnswered("OPTIONS", 200), RequestAnswered("OPTIONS", 200, f"{host}:{port}")]
        async with calling(listener) as late:
            assert await late.ask("1000") == 404
        assert pbx.bindings == {}
        assert not pbx.failures


@pytest.mark.asyncio
@pytest.mark.parametrize("connection", Connection)
async def test_phones_that_share_a_listener_are_each_called_there(connection: Connection) -> None:
    users = {str(1000 + number): "secret" for number in range(3)}
    connector = Connector()
    async with PocketPbx(users) as pbx, listening() as listener, asyncio.TaskGroup() as group:
        agents = [
            UserAgent(account(pbx, user, connection=connection), listener=listener, connector=connector)
            for user in users
        ]

        async def live(ua: UserAgent, ready: asyncio.Barrier, done: asyncio.Event) -> None:
            async with ua:
                await ua.register(within=5)
                await ready.wait()
                await done.wait()

        ready, done = asyncio.Barrier(4), asyncio.Event()
        for ua in agents:
            group.create_task(live(ua, ready, done))
        await ready.wait()
        async with calling(listener) as caller:
            assert [await caller.ask(user) for user in users] == [200, 200, 200]
            assert await caller.ask("1003") == 404
        assert {binding.contact.partition("@")[2] for (binding,) in pbx.bindings.values()} == {
            f"127.0.0.1:{listener.port}"
        }
        done.set()


@pytest.mark.asyncio
async def test_hostile_clients_do_not_touch_the_registered_flow() -> None:
    limits = InboundLimits(per_source=4, handshake=0.2, first=0.2, message=0.2, close=0.2)
    async with PocketPbx({"1000": "secret"}) as pbx, listening(limits=limits) as listener:
        config = account(pbx, expires=2)
        async with UserAgent(config, listener=listener) as ua, recorded(ua) as recorder:
            await ua.register(within=5)

            async def attack(number: int) -> None:
                async with calling(listener, source="127.0.0.9", plain=True) as bad:
                    bad.writer.write((b"\x16" * 999, HELLO_BEGUN, b"BYE\r\n\r\n", b"")[number % 4])
                    try:
                        await bad.ended()
                    except ConnectionResetError:
                        pass

            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(attack(number))
            assert listener.of(InboundFailed)
            assert len(listener.of(InboundRefused)) >= 1
            await recorder.until(lambda seen: any(isinstance(one, Registered) and one.refreshed for one in seen))
            assert (await pbx.request("1000", "OPTIONS")).status == 200
            assert ua.lock.locked
            assert not any(isinstance(event, FlowClosed) for event in recorder.events)


@pytest.mark.asyncio
async def test_listener_that_does_not_listen_yet_is_misuse() -> None:
    async with PocketPbx({"1000": "secret"}) as pbx:
        with pytest.raises(Misuse, match="enter it first"):
            async with UserAgent(account(pbx), listener=Listener(IDENTITY, host="127.0.0.1", port=0)):
                pass
