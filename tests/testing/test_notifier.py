"""Lamps: subscriptions to voice mail and to calls, by phones that are driven by hand."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from sipsua.sip.digest import Challenge, DigestClient
from sipsua.sip.message import Header, Request
from sipsua.testing.notifier import Mailbox
from tests.testing.by_hand import PBX, Office, Phone, call

NAMESPACE = {"d": "urn:ietf:params:xml:ns:dialog-info"}


def subscribe(phone: Phone, user: str, event: str, *headers: Header, **options: object) -> Request:
    """Subscribe, and take the first NOTIFY."""
    phone.request("SUBSCRIBE", f"sip:{user}@{PBX}", headers=[("Event", event), *headers], **options)  # type: ignore[arg-type]
    phone.told(200)
    notify = phone.asked("NOTIFY")
    phone.answer(notify, 200)
    return notify


def dialogs(notify: Request) -> list[tuple[str, str]]:
    """Direction and state of the dialogs."""
    root = ElementTree.fromstring(notify.body)
    assert root.tag == "{urn:ietf:params:xml:ns:dialog-info}dialog-info"
    return [
        (dialog.attrib["direction"], dialog.findtext("d:state", "", NAMESPACE))
        for dialog in root.findall("d:dialog", NAMESPACE)
    ]


def lamp(phone: Phone) -> list[tuple[str, str]]:
    notify = phone.asked("NOTIFY")
    phone.answer(notify, 200)
    return dialogs(notify)


def test_voice_mail_is_told_at_once_and_at_each_change() -> None:
    office = Office()
    phone = office.phone("1000")
    phone.request("SUBSCRIBE", f"sip:1000@{PBX}", headers=[("Event", "message-summary;id=7"), ("Expires", "600")])
    answer = phone.told(200)
    assert (answer.expires, answer.contacts[0].uri.user) == (600, "1000")
    notify = phone.asked("NOTIFY")
    phone.answer(notify, 200)
    assert notify.uri_text == phone.contact
    assert (notify.from_.tag, notify.to.tag) == (answer.to.tag, phone.tag)
    assert notify.first("event") == "message-summary;id=7"
    assert notify.first("subscription-state") == "active;expires=600"
    assert notify.first("content-type") == "application/simple-message-summary"
    assert notify.body.startswith(b"Messages-Waiting: no\r\n")
    office.now = 100.0
    office.exchange.set_mailbox("1000", Mailbox(2, 1), office.now)
    again = phone.asked("NOTIFY")
    assert b"Messages-Waiting: yes\r\n" in again.body
    assert b"Voice-Message: 2/1 (0/0)\r\n" in again.body
    assert again.cseq.number == notify.cseq.number + 1
    assert again.first("subscription-state") == "active;expires=500"


def test_a_subscription_that_is_refreshed_goes_on_and_one_that_is_not_ends() -> None:
    office = Office()
    phone = office.phone("1000")
    first = subscribe(phone, "1000", "message-summary", ("Expires", "60"))
    office.wait(50.0)
    to = first.required("from")
    subscribe(phone, "1000", "message-summary", ("Expires", "60"), to=to)
    office.wait(50.0)
    assert phone.received == []
    office.wait(11.0)
    last = phone.asked("NOTIFY")
    assert last.first("subscription-state") == "terminated;reason=timeout"
    assert len(office.exchange.notifier) == 0
    phone.request("SUBSCRIBE", f"sip:1000@{PBX}", headers=[("Event", "message-summary")], to=to)
    phone.told(481)


def test_expires_0_asks_once_or_ends_a_subscription() -> None:
    office = Office()
    phone = office.phone("1000")
    notify = subscribe(phone, "1000", "message-summary", ("Expires", "0"))
    assert notify.first("subscription-state") == "terminated;reason=timeout"
    standing = subscribe(phone, "1000", "message-summary")
    assert len(office.exchange.notifier) == 1
    ended = subscribe(phone, "1000", "message-summary", ("Expires", "0"), to=standing.required("from"))
    assert ended.first("subscription-state") == "terminated;reason=timeout"
    assert len(office.exchange.notifier) == 0


def test_a_lamp_shows_a_call_from_its_first_ring_to_its_end() -> None:
    office = Office()
    watcher, caller, callee = (office.phone(user) for user in ("1002", "1000", "1001"))
    subscribe(watcher, "1001", "dialog")
    _, answer = call(caller, callee)
    assert [lamp(watcher) for _ in range(3)] == [
        [("recipient", "trying")],
        [("recipient", "early")],
        [("recipient", "confirmed")],
    ]
    caller.in_dialog("BYE", answer)
    assert lamp(watcher) == [("recipient", "terminated")]
    assert watcher.received == []


def test_a_lamp_shows_who_calls_and_versions_rise() -> None:
    office = Office()
    watcher, caller, callee = (office.phone(user) for user in ("1002", "1000", "1001"))
    assert b'version="0"' in subscribe(watcher, "1000", "dialog").body
    caller.invite("1001", call_id='a"<b>&')
    callee.answer(callee.asked("INVITE"), 180)
    notify, ringing = watcher.asked("NOTIFY"), watcher.asked("NOTIFY")
    assert [re.findall(rb'version="([1-9])"', one.body) for one in (notify, ringing)] == [[b"1"], [b"2"]]
    dialog = ElementTree.fromstring(ringing.body)[0]
    assert (dialog.attrib["call-id"], dialog.attrib["direction"]) == ('a"<b>&', "initiator")
    assert (dialog.attrib["local-tag"], dialog.attrib["remote-tag"]) == (caller.tag, callee.tag)
    assert dialog.findtext("d:remote/d:identity", "", NAMESPACE) == f"sip:1001@{PBX}"


@pytest.mark.parametrize("how", ["refused", "cancelled", "lost"])
def test_a_lamp_goes_out_where_no_call_comes_about(how: str) -> None:
    office = Office()
    watcher, caller, callee = (office.phone(user) for user in ("1002", "1000", "1001"))
    subscribe(watcher, "1001", "dialog")
    invite = caller.invite("1001")
    got = callee.asked("INVITE")
    callee.answer(got, 180)
    watcher.received.clear()
    if how == "refused":
        callee.answer(got, 486)
    elif how == "cancelled":
        caller.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch)
        callee.answer(got, 487)
    else:
        callee.hang_up_flow()
    assert lamp(watcher) == [("recipient", "terminated")]
    assert watcher.received == []


def test_a_lamp_that_is_lit_later_shows_what_is_under_way() -> None:
    office = Office()
    watcher, caller, callee = (office.phone(user) for user in ("1002", "1000", "1001"))
    call(caller, callee)
    call(office.phone("1003"), callee, call_id="second")
    assert dialogs(subscribe(watcher, "1001", "dialog")) == [("recipient", "confirmed")] * 2


def test_a_lamp_shows_a_call_to_a_number() -> None:
    office = Office()
    watcher, caller = office.phone("1002"), office.phone("1000")
    subscribe(watcher, "1000", "dialog")
    caller.invite("silent")
    assert [lamp(watcher) for _ in range(2)] == [[("initiator", "trying")], [("initiator", "early")]]


def test_a_phone_that_does_not_know_the_subscription_has_ended_it() -> None:
    office = Office()
    phone = office.phone("1000")
    subscribe(phone, "1000", "message-summary")
    office.exchange.set_mailbox("1000", Mailbox(1, 0), office.now)
    phone.answer(phone.asked("NOTIFY"), 481)
    office.exchange.set_mailbox("1000", Mailbox(2, 0), office.now)
    assert phone.received == []
    assert len(office.exchange.notifier) == 0


def test_a_phone_that_leaves_a_notify_unanswered_for_64_t1_has_ended_it() -> None:
    office = Office()
    phone = office.phone("1000")
    phone.request("SUBSCRIBE", f"sip:1000@{PBX}", headers=[("Event", "message-summary")])
    office.wait(31.0)
    assert len(office.exchange.notifier) == 1
    office.wait(2.0)
    assert len(office.exchange.notifier) == 0


def test_a_subscription_ends_with_its_flow() -> None:
    office = Office()
    phone = office.phone("1000")
    subscribe(phone, "1000", "message-summary")
    phone.hang_up_flow()
    assert len(office.exchange.notifier) == 0
    office.exchange.set_mailbox("1000", Mailbox(1, 0), office.now)
    assert phone.received == []


def test_a_subscription_is_challenged_by_a_user_agent_server() -> None:
    office = Office(authenticate_calls=True)
    phone = office.phone("1000")
    phone.digest = DigestClient("1000", "secret")
    uri = f"sip:1000@{PBX}"
    phone.request("SUBSCRIBE", uri, headers=[("Event", "message-summary")])
    phone.digest.answer(Challenge.parse(phone.told(401).required("www-authenticate")))
    credentials = phone.digest.authorize("SUBSCRIBE", uri, b"", "cnonce")
    subscribe(phone, "1000", "message-summary", ("Authorization", credentials))


def test_what_cannot_be_subscribed_to_is_refused() -> None:
    phone = Office().phone("1000")
    event = ("Event", "dialog")
    phone.request("SUBSCRIBE", f"sip:1999@{PBX}", headers=[event])
    phone.told(404)
    phone.request("SUBSCRIBE", f"sip:1000@{PBX}", headers=[event, ("Accept", "text/plain")])
    assert phone.told(406).first("accept") == "application/dialog-info+xml"
    request = phone.request("SUBSCRIBE", f"sip:1000@{PBX}", headers=[event])
    phone.received.clear()
    fields = [header for header in request.headers if header[0] not in ("Contact", "Via")]
    fields.insert(0, ("Via", f"SIP/2.0/TLS 127.0.0.1:{phone.source[1]};branch=z9hG4bKnew"))
    phone.say(bytes(Request("SUBSCRIBE", request.uri_text, fields)))
    phone.told(400)
