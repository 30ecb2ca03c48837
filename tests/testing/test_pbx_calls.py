"""Calls through the pocket PBX on loopback, over TLS: phones made of Python's own TLS and our message codec."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sipsua.errors import Misuse
from sipsua.sip.digest import Challenge, DigestClient
from sipsua.sip.message import Header, Request, Response, respond
from sipsua.testing.misbehaviour import Step
from sipsua.testing.numbers import NUMBERS, Number
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.registrar import users_in
from tests.testing.test_pbx import Client

pytestmark = pytest.mark.asyncio


class Phone(Client):
    """A registered phone that can make and take calls."""

    def __init__(self, pbx: PocketPbx, user: str) -> None:
        super().__init__(pbx, user)
        self.calling = DigestClient(user, "secret")
        self.number = 0

    def ask(
        self, method: str, uri: str, call_id: str, *, to: str = "", routes: Sequence[str] = (), cseq: int = 0,
        branch: str = "", headers: Sequence[Header] = (), from_: str = "", body: bytes = b"",
    ) -> Request:  # fmt: skip
        self.number += 1
        port = self.local[1]
        request = Request(
            method,
            uri,
            [
                ("Via", f"SIP/2.0/TLS 127.0.0.1:{port};branch={branch or f'z9hG4bKc{self.number}'};rport"),
                ("Max-Forwards", "70"),
                *(("Route", route) for route in routes),
                ("From", from_ or f"<sips:{self.user}@127.0.0.1>;tag={self.user}"),
                ("To", to or f"<{uri}>"),
                ("Call-ID", call_id),
                ("CSeq", f"{cseq or self.number} {method}"),
                ("Contact", f"<sips:{self.user}@127.0.0.1:{port}>"),
                *headers,
                ("Content-Length", str(len(body))),
            ],
            body,
        )
        self.writer.write(bytes(request))
        return request

    async def call(self, user: str, call_id: str = "call", **options: Any) -> Request:
        """INVITE, with credentials where they are wanted."""
        uri = self.pbx.uri(user)
        while True:
            headers = list(options.get("headers", ()))
            if self.calling.challenge is not None:
                headers.append(("Proxy-Authorization", self.calling.authorize("INVITE", uri, b"", "cnonce")))
            invite = self.ask("INVITE", uri, call_id, headers=headers)
            response = await self.told()
            if response.status != 407:
                assert response.status == 100
                return invite
            self.calling.answer(Challenge.parse(response.required("proxy-authenticate")))
            self.ask("ACK", uri, call_id, to=response.required("to"), cseq=invite.cseq.number, branch=invite.via.branch)

    def cancel(self, invite: Request) -> None:
        self.ask("CANCEL", invite.uri_text, invite.call_id, cseq=invite.cseq.number, branch=invite.via.branch)

    async def told(self) -> Response:
        frame = await self.frame()
        assert isinstance(frame, Response), frame
        return frame.check()

    async def statuses(self, count: int) -> list[int]:
        return [(await self.told()).status for _ in range(count)]

    async def asked(self, method: str) -> Request:
        frame = await self.frame()
        assert isinstance(frame, Request), frame
        assert frame.check().method == method
        return frame

    def say(self, request: Request, status: int) -> None:
        headers: list[Header] = [("Record-Route", route) for route in request.values("record-route")]
        headers.append(("Contact", f"<sips:{self.user}@127.0.0.1:{self.local[1]}>"))
        self.writer.write(bytes(respond(request, status, "Said", headers, to_tag=f"{self.user}-{self.local[1]}")))

    def inside(self, method: str, other: Request | Response, **options: Any) -> Request:
        """A request inside the dialog of a 200 that came, or of an INVITE that we have answered."""
        to, from_, routes = other.required("to"), other.required("from"), other.values("record-route")
        if isinstance(other, Request):
            to, from_ = from_, f"{to};tag={self.user}-{self.local[1]}"
        else:
            routes = routes[::-1]
        uri = other.contacts[0].uri_text
        return self.ask(method, uri, other.call_id, to=to, from_=from_, routes=routes, **options)


@contextlib.asynccontextmanager
async def office(*users: str, **options: Any) -> AsyncIterator[tuple[PocketPbx, list[Phone]]]:
    """A PBX and a registered phone for each of the users."""
    async with PocketPbx(users_in("1000-1009", "secret"), **options) as pbx:
        phones = [Phone(pbx, user) for user in users]
        for phone in phones:
            await phone.connect()
            assert (await phone.bind()).status == 200
        try:
            yield pbx, phones
        finally:
            for phone in phones:
                await phone.close()


async def talk(caller: Phone, callee: Phone) -> tuple[Request, Response]:
    """A call that stands."""
    await caller.call(callee.user)
    invite = await callee.asked("INVITE")
    callee.say(invite, 180)
    callee.say(invite, 200)
    assert (await caller.told()).status == 180
    answer = await caller.told()
    assert answer.status == 200
    caller.inside("ACK", answer, cseq=answer.cseq.number)
    await callee.asked("ACK")
    return invite, answer


@pytest.mark.parametrize("record_route", [True, False])
async def test_a_call_is_challenged_answered_and_ended_from_either_side(record_route: bool) -> None:
    async with office("1000", "1001", record_route=record_route) as (pbx, (caller, callee)):
        _, answer = await talk(caller, callee)
        assert [call.stage for call in pbx.calls] == ["confirmed"]
        caller.inside("BYE", answer)
        callee.say(await callee.asked("BYE"), 200)
        assert await caller.statuses(1) == [200]
        invite, _ = await talk(caller, callee)
        callee.inside("BYE", invite)
        caller.say(await caller.asked("BYE"), 200)
        assert await callee.statuses(1) == [200]
        assert len(pbx.exchange.calls) == 0
        assert pbx.registrar.requests["INVITE"] == 3
        assert not pbx.failures


async def test_two_phones_of_a_user_ring_and_the_slower_one_is_cancelled() -> None:
    async with office("1000", "1001", "1001") as (_, (caller, first, second)):
        await caller.call("1001")
        one, two = await first.asked("INVITE"), await second.asked("INVITE")
        first.say(one, 180)
        assert await caller.statuses(1) == [180]
        second.say(two, 200)
        assert await caller.statuses(1) == [200]
        cancel = await first.asked("CANCEL")
        first.say(cancel, 200)
        first.say(one, 487)
        await first.asked("ACK")


async def test_a_cancel_reaches_the_phone_and_the_caller_gets_487() -> None:
    async with office("1000", "1001") as (_, (caller, callee)):
        invite = await caller.call("1001")
        got = await callee.asked("INVITE")
        callee.say(got, 180)
        assert await caller.statuses(1) == [180]
        caller.cancel(invite)
        callee.say(await callee.asked("CANCEL"), 200)
        callee.say(got, 487)
        await callee.asked("ACK")
        assert await caller.statuses(2) == [200, 487]


async def test_a_cancel_that_crosses_the_answer() -> None:
    async with office("1000", "1001") as (_, (caller, callee)):
        invite = await caller.call("1001")
        got = await callee.asked("INVITE")
        callee.say(got, 180)
        assert await caller.statuses(1) == [180]
        caller.cancel(invite)
        callee.say(got, 200)
        assert sorted(await caller.statuses(2)) == [200, 200]


async def test_a_busy_phone_and_one_that_moved() -> None:
    async with office("1000", "1001") as (_, (caller, callee)):
        for status in (486, 302):
            await caller.call("1001", call_id=str(status))
            callee.say(await callee.asked("INVITE"), status)
            assert await caller.statuses(1) == [status]
            await callee.asked("ACK")


async def test_a_phone_that_does_not_answer_is_cancelled_after_the_ring_limit() -> None:
    async with office("1000", "1001", ring_limit=0.05) as (_, (caller, callee)):
        await caller.call("1001")
        got = await callee.asked("INVITE")
        callee.say(got, 180)
        callee.say(await callee.asked("CANCEL"), 200)
        callee.say(got, 487)
        assert await caller.statuses(2) == [180, 408]


async def test_a_flow_that_is_lost_in_a_call_is_told_to_who_asks() -> None:
    async with office("1000", "1001") as (pbx, (caller, callee)):
        _, answer = await talk(caller, callee)
        await callee.close()
        await pbx.until(lambda: len(pbx.flows) == 1)
        caller.inside("BYE", answer)
        assert await caller.statuses(1) == [480]
        assert len(pbx.exchange.calls) == 0


async def test_a_flow_that_is_lost_while_it_rings_ends_the_call() -> None:
    async with office("1000", "1001") as (_, (caller, callee)):
        await caller.call("1001")
        callee.say(await callee.asked("INVITE"), 180)
        assert await caller.statuses(1) == [180]
        await callee.close()
        assert await caller.statuses(1) == [408]


async def test_a_status_is_chosen_by_a_script_and_its_ack_is_no_step_of_it() -> None:
    async with office("1000", "1001") as (pbx, (caller, callee)):
        pbx.script("1001", [Step(status=491), Step()])
        uri = pbx.uri("1001")
        invite = caller.ask("INVITE", uri, "scripted")
        refusal = await caller.told()
        assert refusal.status == 491
        caller.ask("ACK", uri, "scripted", to=refusal.required("to"), cseq=invite.cseq.number, branch=invite.via.branch)
        await caller.call("1001")
        await callee.asked("INVITE")


async def test_numbers_are_called_like_users() -> None:
    numbers = {**NUMBERS, "late": Number(rings=0.02, status=600)}
    async with office("1000", numbers=numbers) as (pbx, (caller,)):
        await caller.call("busy", call_id="busy")
        assert await caller.statuses(1) == [486]
        await caller.call("late", call_id="late")
        assert await caller.statuses(2) == [180, 600]
        pbx.numbers["late"] = Number(status=404)
        await caller.call("late", call_id="later")
        assert await caller.statuses(1) == [404]
        await caller.call("moved", call_id="moved")
        assert (await caller.told()).contacts[0].uri_text == f"sip:echo@127.0.0.1:{pbx.port};transport=tls"
        invite = await caller.call("silent", call_id="silent")
        assert await caller.statuses(1) == [180]
        caller.cancel(invite)
        assert await caller.statuses(2) == [200, 487]


async def test_lamps_of_voice_mail_and_calls() -> None:
    async with office("1000", "1001", "1002", authenticate_calls=False) as (pbx, (caller, callee, watcher)):
        watcher.ask("SUBSCRIBE", pbx.uri("1002"), "mail", headers=[("Event", "message-summary")])
        assert (await watcher.told()).status == 200
        watcher.say(await watcher.asked("NOTIFY"), 200)
        pbx.set_voicemail("1002", new=2, old=1)
        notify = await watcher.asked("NOTIFY")
        assert b"Voice-Message: 2/1 (0/0)" in notify.body
        watcher.say(notify, 200)
        watcher.ask("SUBSCRIBE", pbx.uri("1001"), "lamp", headers=[("Event", "dialog")])
        assert (await watcher.told()).status == 200
        watcher.say(await watcher.asked("NOTIFY"), 200)
        await talk(caller, callee)
        for state in (b"trying", b"early", b"confirmed"):
            notify = await watcher.asked("NOTIFY")
            assert b"<state>" + state in notify.body
            watcher.say(notify, 200)


async def test_a_phone_that_has_not_subscribed_is_told_of_its_messages() -> None:
    async with PocketPbx(users_in("1000-1001", "secret"), unsolicited_voicemail=True) as pbx:
        pbx.set_voicemail("1000", new=3)
        phone = await Phone(pbx, "1000").connect()
        assert (await phone.bind()).status == 200
        for new in (3, 0):
            frame = await phone.frame()
            assert isinstance(frame, Request)
            assert f"Voice-Message: {new}/0 (0/0)".encode() in frame.body
            pbx.set_voicemail("1000")
        await phone.close()


@pytest.mark.parametrize(
    ("reboot", "event"), [(None, "check-sync"), (True, "check-sync;reboot=true"), (False, "check-sync;reboot=false")]
)
async def test_a_phone_is_told_to_fetch_its_configuration(reboot: bool | None, event: str) -> None:
    async with office("1000") as (pbx, (phone,)):
        waiting = asyncio.ensure_future(pbx.check_sync("1000", reboot=reboot))
        notify = await phone.asked("NOTIFY")
        assert notify.first("event") == event
        phone.say(notify, 200)
        assert (await waiting).status == 200
        with pytest.raises(Misuse):
            await pbx.check_sync("1001")


async def test_on_all_addresses_the_route_names_the_address_that_was_called() -> None:
    async with office("1000", "1001", host="0.0.0.0") as (pbx, (caller, callee)):
        invite, answer = await talk(caller, callee)
        (route,) = invite.addresses("record-route")
        assert (route.uri.host, route.uri.port) == ("127.0.0.1", pbx.port)
        caller.inside("BYE", answer)
        await callee.asked("BYE")


async def test_a_response_that_is_malformed_is_noted_and_the_flow_lives_on() -> None:
    async with office("1000", "1001") as (pbx, (caller, callee)):
        await caller.call("1001")
        got = await callee.asked("INVITE")
        callee.writer.write(bytes(Response(180, "x", [h for h in got.headers if h[0] not in ("CSeq", "Max-Forwards")])))
        callee.say(got, 486)
        assert await caller.statuses(1) == [486]
        assert list(pbx.failures) == ["cseq is missing"]
