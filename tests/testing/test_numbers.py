"""The special numbers, called by phones that are driven by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sipsua.errors import BadConfiguration
from sipsua.sip.message import Response
from sipsua.testing.numbers import NUMBERS, Number, NumberCall
from tests.testing.by_hand import PBX, Office, Phone

OFFER = {"headers": [("Content-Type", "application/sdp")], "body": b"offer"}


class Desk:
    """A desk that answers when it is told to."""

    def __init__(self) -> None:
        self.offers: list[bytes] = []
        self.answers: list[bytes] = []
        self.left = 0
        self.reply: Callable[[bytes | int], None] | None = None
        self.at_once: bytes | int | None = b"answer"

    def take(self, call: NumberCall, offer: bytes, reply: Callable[[bytes | int], None]) -> None:
        self.offers.append(offer)
        self.reply = reply
        if self.at_once is not None:
            reply(self.at_once)

    def accept(self, call: NumberCall, answer: bytes) -> None:
        self.answers.append(answer)

    def leave(self, call: NumberCall) -> None:
        self.left += 1


def office(**numbers: Number) -> tuple[Office, Phone, Desk]:
    made = Office(numbers={**NUMBERS, **numbers})
    desk = made.exchange.attendant.desk = Desk()
    made.exchange.attendant.address = PBX
    return made, made.phone("1000"), desk


def statuses(phone: Phone) -> list[int]:
    return [one.status for one in phone.received if isinstance(one, Response)]


@pytest.mark.parametrize(("name", "status"), [("busy", 486), ("declined", 603), ("gone", 410)])
def test_a_number_refuses_as_it_is_called(name: str, status: int) -> None:
    made, phone, _ = office()
    phone.invite(name, **OFFER)
    assert statuses(phone) == [100, status]
    assert made.exchange.attendant.calls == []


def test_moved_leads_to_the_echo_or_where_it_is_told_to() -> None:
    _, phone, _ = office()
    phone.invite("moved")
    phone.told(100)
    assert phone.told(302).contacts[0].uri_text == f"sip:echo@{PBX};transport=tls"
    _, phone, _ = office(moved=Number(status=301, contact="sip:1001@elsewhere"))
    phone.invite("moved")
    phone.told(100)
    assert phone.told(301).contacts[0].uri_text == "sip:1001@elsewhere"


def test_echo_answers_the_offer_and_the_caller_hangs_up() -> None:
    made, phone, desk = office()
    phone.invite("echo", **OFFER)
    phone.told(100)
    answer = phone.told(200)
    assert (answer.body, answer.first("content-type"), desk.offers) == (b"answer", "application/sdp", [b"offer"])
    phone.in_dialog("ACK", answer, cseq=answer.cseq.number)
    phone.in_dialog("BYE", answer)
    phone.told(200)
    assert desk.left == 1
    assert made.exchange.attendant.calls == []
    assert len(made.exchange.calls) == 0


def test_echo_answers_later_where_the_desk_takes_its_time() -> None:
    _, phone, desk = office()
    desk.at_once = None
    phone.invite("echo", **OFFER)
    phone.told(100)
    assert phone.received == []
    assert desk.reply is not None
    desk.reply(b"answer")
    phone.told(200)


def test_a_call_that_is_cancelled_while_the_desk_is_at_work_is_over() -> None:
    made, phone, desk = office()
    desk.at_once = None
    invite = phone.invite("late", **OFFER)
    made.wait(3.0)
    phone.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch)
    assert statuses(phone) == [100, 180, 200, 487]
    assert desk.reply is not None
    desk.reply(b"answer")
    assert statuses(phone) == [100, 180, 200, 487]
    assert desk.left == 1


def test_what_the_desk_refuses_is_refused_and_over() -> None:
    made, phone, desk = office()
    desk.at_once = 488
    phone.invite("echo", **OFFER)
    assert statuses(phone) == [100, 488]
    assert made.exchange.attendant.calls == []


def test_without_media_the_echo_is_not_acceptable() -> None:
    phone = Office().phone("1000")
    phone.invite("echo", **OFFER)
    assert statuses(phone) == [100, 488]


def test_an_invite_without_an_offer_gets_one_and_the_ack_brings_the_answer() -> None:
    _, phone, desk = office()
    phone.invite("echo")
    phone.told(100)
    answer = phone.told(200)
    assert desk.offers == [b""]
    phone.in_dialog("ACK", answer, cseq=answer.cseq.number, body=b"theirs")
    assert desk.answers == [b"theirs"]


def test_silent_rings_until_it_is_cancelled() -> None:
    made, phone, _ = office()
    invite = phone.invite("silent", **OFFER)
    made.wait(150.0)
    assert statuses(phone) == [100, 180]
    phone.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch)
    assert statuses(phone) == [100, 180, 200, 487]
    assert made.exchange.attendant.calls == []


def test_late_rings_and_then_answers() -> None:
    made, phone, _ = office(late=Number(rings=3.0))
    phone.invite("late", **OFFER)
    made.wait(2.9)
    assert statuses(phone) == [100, 180]
    made.wait(0.2)
    assert statuses(phone) == [100, 180, 200]
    ringing, answer = phone.received[1:]
    assert ringing.to.tag == answer.to.tag


def test_a_number_that_talks_hangs_up_after_its_time() -> None:
    made, phone, desk = office(clock=Number(talks=5.0))
    phone.invite("clock", **OFFER)
    phone.told(100)
    answer = phone.told(200)
    phone.in_dialog("ACK", answer, cseq=answer.cseq.number)
    made.wait(4.9)
    assert phone.received == []
    made.wait(0.2)
    bye = phone.asked("BYE")
    assert (bye.uri_text, bye.from_.tag, bye.to.tag) == (phone.contact, answer.to.tag, phone.tag)
    assert bye.values("route") == []
    phone.answer(bye, 200)
    assert desk.left == 1
    assert len(made.exchange.calls) == 0


def test_an_answer_that_is_never_acknowledged_ends_in_a_bye() -> None:
    made, phone, desk = office()
    phone.invite("echo", **OFFER)
    made.wait(33.0)
    phone.told(100)
    phone.told(200)
    phone.asked("BYE")
    assert desk.left == 1


def test_a_new_offer_inside_the_call_is_answered() -> None:
    _, phone, desk = office()
    phone.invite("echo", **OFFER)
    phone.told(100)
    answer = phone.told(200)
    phone.in_dialog("ACK", answer, cseq=answer.cseq.number)
    for method in ("INVITE", "UPDATE"):
        desk.at_once = method.encode()
        sent = phone.in_dialog(method, answer, headers=[("Content-Type", "application/sdp")], body=b"new")
        if method == "INVITE":
            phone.told(100)
        assert phone.told(200).body == method.encode()
        if method == "INVITE":
            phone.in_dialog("ACK", answer, cseq=sent.cseq.number)
    assert desk.offers == [b"offer", b"new", b"new"]
    phone.in_dialog("UPDATE", answer)
    assert phone.told(200).body == b""
    phone.in_dialog("INFO", answer)
    phone.told(200)


def test_a_second_offer_that_crosses_the_first_is_told_to_come_again() -> None:
    _, phone, desk = office()
    phone.invite("echo", **OFFER)
    phone.told(100)
    answer = phone.told(200)
    phone.in_dialog("ACK", answer, cseq=answer.cseq.number)
    desk.at_once = None
    phone.in_dialog("UPDATE", answer, body=b"one")
    phone.in_dialog("UPDATE", answer, body=b"two")
    assert phone.told(500).retry_after is not None


def test_a_number_takes_no_extension_no_foreign_body_and_no_strange_method() -> None:
    _, phone, _ = office()
    phone.invite("echo", headers=[("Require", "100rel")], body=b"")
    phone.told(100)
    assert phone.told(420).first("unsupported") == "100rel"
    phone.invite("echo", headers=[("Content-Type", "text/plain")], body=b"x")
    phone.told(100)
    phone.told(415)
    phone.request("MESSAGE", f"sip:echo@{PBX}")
    phone.told(405)
    phone.request("OPTIONS", f"sip:echo@{PBX}")
    phone.told(200)
    phone.request("BYE", f"sip:echo@{PBX}", to=f"<sip:echo@{PBX}>;tag=none")
    phone.told(481)


def test_a_caller_that_loses_its_flow_is_let_go() -> None:
    made, phone, desk = office()
    phone.invite("echo", **OFFER)
    phone.hang_up_flow()
    assert desk.left == 1
    assert made.exchange.attendant.calls == []
    assert len(made.exchange.calls) == 0
    ringing = made.phone("1001")
    ringing.invite("silent")
    ringing.hang_up_flow()
    assert made.exchange.attendant.calls == []


def test_a_number_is_settable_and_one_that_is_taken_away_is_not_found() -> None:
    made, phone, _ = office()
    made.exchange.attendant.numbers["busy"] = Number(status=600)
    del made.exchange.attendant.numbers["gone"]
    phone.invite("busy")
    assert statuses(phone) == [100, 600]
    phone.invite("gone", call_id="other")
    assert statuses(phone) == [100, 600, 404]


def test_the_end_of_the_pbx_closes_all_calls() -> None:
    made, phone, desk = office()
    phone.invite("echo", **OFFER)
    made.exchange.attendant.close()
    assert desk.left == 1


@pytest.mark.parametrize("options", [{"status": 180}, {"status": 202}, {"status": 700}, {"rings": -1.0}])
def test_what_no_number_can_do_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadConfiguration):
        Number(**options)  # type: ignore[arg-type]
