"""Proof that Kamailio routes calls as the other interop tests take it to: hand-written SIP between phones of Python's own ssl."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.interop.test_kamailio_itself import Phone, StartKamailio, eventually

pytestmark = pytest.mark.interop

USERS = {"1000": "secret", "1001": "secret", "1002": "secret"}
TO = "To: <sip:1001@127.0.0.1>"
URI = "sip:1001@127.0.0.1"


def contact(phone: Phone) -> str:
    """A Contact where nothing listens: only the flow leads to this phone."""
    return f"Contact: <sip:{phone.user}@127.0.0.1:9;transport=tls>"


def invite(caller: Phone, *, uri: str = URI, branch: str = "z9hG4bKcall", lines: tuple[str, ...] = ()) -> None:
    """Call, with credentials for the challenge, as far as the 100."""
    challenge = caller.request("INVITE", uri, TO, *lines)
    assert challenge.startswith("SIP/2.0 407 ")
    credentials = caller.credentials(challenge, "INVITE", uri, "secret")
    caller.send("INVITE", uri, TO, f"Proxy-Authorization: {credentials}", *lines, branch=branch)
    assert caller.message().startswith("SIP/2.0 100 ")


def field(message: str, name: str) -> str:
    found = re.search(rf"\r\n{name}: (.*)\r\n", message)
    assert found is not None, message
    return found[1]


def asked(phone: Phone, method: str) -> str:
    message = phone.message()
    assert message.startswith(f"{method} "), message
    return message


def told(phone: Phone, status: int) -> str:
    message = phone.message()
    assert message.startswith(f"SIP/2.0 {status} "), message
    return message


def inside(message: str, phone: Phone) -> tuple[str, tuple[str, str]]:
    """Request-URI and header lines of a request inside the dialog of a 200 that the caller got, or an INVITE that the callee did."""
    contact, route = field(message, "Contact")[1:-1], field(message, "Record-Route")
    to = field(message, "To")
    return contact, (f"To: {to if ';tag=' in to else field(message, 'From')}", f"Route: {route}")


def test_a_call_is_rung_answered_changed_and_ended_by_the_callee(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio(users=USERS)
    with Phone(pbx, authority_file) as caller, Phone(pbx, authority_file, user="1001") as callee:
        caller.register()
        callee.register()
        invite(caller)
        got = asked(callee, "INVITE")
        assert got.startswith(f"INVITE sip:1001@127.0.0.1:{callee.local_port};transport=tls SIP/2.0\r\n")
        assert len(re.findall(r"\r\nVia: ", got)) == 2
        assert ";lr" in field(got, "Record-Route")
        callee.answer(got, "180 Ringing", contact(callee))
        told(caller, 180)
        callee.answer(got, "200 OK", contact(callee))
        answer = told(caller, 200)
        uri, lines = inside(answer, caller)
        caller.send("ACK", uri, *lines)
        asked(callee, "ACK")
        caller.send("INVITE", uri, *lines)
        told(caller, 100)
        again = asked(callee, "INVITE")
        callee.answer(again, "200 OK", contact(callee))
        told(caller, 200)
        caller.send("ACK", uri, *lines)
        asked(callee, "ACK")
        # From the other side: who was called turns From and To round.
        uri, lines = inside(got, callee)
        theirs = f"Call-ID: {field(got, 'Call-ID')}"
        bye = "\r\n".join(
            [
                f"BYE {uri} SIP/2.0",
                f"Via: SIP/2.0/TLS 127.0.0.1:{callee.local_port};branch=z9hG4bKbye;rport",
                f"From: {field(got, 'To')};tag=me",
                *lines,
                theirs,
                "CSeq: 1 BYE",
                "Max-Forwards: 70",
                "Content-Length: 0",
            ]
        )
        callee.tls.sendall(f"{bye}\r\n\r\n".encode())
        caller.answer(asked(caller, "BYE"), "200 OK")
        told(callee, 200)


def test_all_phones_of_a_user_ring_and_the_slower_one_is_cancelled(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    pbx = kamailio(users=USERS)
    with (
        Phone(pbx, authority_file) as caller,
        Phone(pbx, authority_file, user="1001") as first,
        Phone(pbx, authority_file, user="1001") as second,
    ):
        for phone in (caller, first, second):
            phone.register()
        assert len(pbx.bindings("1001")) == 2
        invite(caller)
        one, two = asked(first, "INVITE"), asked(second, "INVITE")
        first.answer(one, "180 Ringing", contact(first))
        told(caller, 180)
        second.answer(two, "200 OK", contact(second))
        told(caller, 200)
        first.answer(asked(first, "CANCEL"), "200 OK")
        first.answer(one, "487 Request Terminated")
        asked(first, "ACK")


def test_a_busy_phone_and_a_cancel(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio(users=USERS)
    with Phone(pbx, authority_file) as caller, Phone(pbx, authority_file, user="1001") as callee:
        caller.register()
        callee.register()
        invite(caller)
        callee.answer(asked(callee, "INVITE"), "486 Busy Here")
        asked(callee, "ACK")
        refusal = told(caller, 486)
        caller.send("ACK", URI, f"To: {field(refusal, 'To')}", branch="z9hG4bKcall")
        invite(caller, branch="z9hG4bKagain")
        got = asked(callee, "INVITE")
        callee.answer(got, "180 Ringing", contact(callee))
        told(caller, 180)
        caller.send("CANCEL", URI, TO, branch="z9hG4bKagain")
        told(caller, 200)
        callee.answer(asked(callee, "CANCEL"), "200 OK")
        callee.answer(got, "487 Request Terminated")
        asked(callee, "ACK")
        told(caller, 487)


def test_a_phone_that_rings_too_long_is_cancelled_and_the_caller_gets_408(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    pbx = kamailio(users=USERS, ring_limit=1)
    with Phone(pbx, authority_file) as caller, Phone(pbx, authority_file, user="1001") as callee:
        caller.register()
        callee.register()
        invite(caller)
        got = asked(callee, "INVITE")
        callee.answer(got, "180 Ringing", contact(callee))
        told(caller, 180)
        callee.answer(asked(callee, "CANCEL"), "200 OK")
        callee.answer(got, "487 Request Terminated")
        told(caller, 408)


def test_a_call_to_the_contact_of_a_phone_reaches_that_phone_alone(
    kamailio: StartKamailio, authority_file: Path
) -> None:
    pbx = kamailio(users=USERS)
    with (
        Phone(pbx, authority_file) as caller,
        Phone(pbx, authority_file, user="1001") as first,
        Phone(pbx, authority_file, user="1001") as second,
    ):
        for phone in (caller, first, second):
            phone.register()
        invite(caller)
        one, two = asked(first, "INVITE"), asked(second, "INVITE")
        second.answer(two, "486 Busy Here")
        asked(second, "ACK")
        first.answer(one, "200 OK", contact(first))
        target = field(told(caller, 200), "Contact")[1:-1]
        invite(caller, uri=target, branch="z9hG4bKreplaces", lines=("Replaces: x;to-tag=a;from-tag=b",))
        assert field(asked(first, "INVITE"), "Replaces") == "x;to-tag=a;from-tag=b"
        first.answer(one, "481 Call/Transaction Does Not Exist")
        second.tls.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.message()


def test_who_cannot_be_called_is_said_so(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio(users=USERS)
    with Phone(pbx, authority_file) as caller, Phone(pbx, authority_file, user="1001") as callee:
        caller.register()
        for uri, status in (("sip:1002@127.0.0.1", 480), ("sip:1999@127.0.0.1", 404)):
            challenge = caller.request("INVITE", uri)
            credentials = caller.credentials(challenge, "INVITE", uri, "secret")
            answer = caller.request("INVITE", uri, f"Proxy-Authorization: {credentials}")
            assert answer.startswith(f"SIP/2.0 {status} ")
        callee.register()
        callee.tls.close()
        assert eventually(lambda: pbx.connected() == 1)
        challenge = caller.request("INVITE", URI, TO)
        credentials = caller.credentials(challenge, "INVITE", URI, "secret")
        answer = caller.request("INVITE", URI, TO, f"Proxy-Authorization: {credentials}")
        assert answer.startswith("SIP/2.0 477 ")


def test_there_is_no_voice_mail(kamailio: StartKamailio, authority_file: Path) -> None:
    pbx = kamailio(users=USERS)
    with Phone(pbx, authority_file) as phone:
        phone.register()
        uri, event = "sip:1000@127.0.0.1", "Event: message-summary"
        credentials = phone.credentials(phone.request("SUBSCRIBE", uri, event), "SUBSCRIBE", uri, "secret")
        answer = phone.request("SUBSCRIBE", uri, event, f"Proxy-Authorization: {credentials}")
        assert answer.startswith("SIP/2.0 489 ")
