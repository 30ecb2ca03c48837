"""The exchange by RFC 3261 section 16, between phones that are driven by hand."""

from __future__ import annotations

import pytest

from sipsua.sip.digest import Challenge, DigestClient
from sipsua.sip.message import Request, Response
from tests.testing.by_hand import PBX, Office, Phone, call

SDP = b"v=0\r\n"


def pair(office: Office) -> tuple[Phone, Phone]:
    return office.phone("1000"), office.phone("1001")


def statuses(phone: Phone) -> list[int]:
    return [one.status for one in phone.received if isinstance(one, Response)]


def methods(phone: Phone) -> list[str]:
    return [one.method for one in phone.received if isinstance(one, Request)]


# A call


def test_an_invite_goes_to_the_contact_with_via_record_route_and_one_forward_less() -> None:
    caller, callee = pair(Office())
    sent = caller.invite("1001", headers=[("Content-Type", "application/sdp")], body=SDP)
    trying = caller.told(100)
    assert trying.to.tag is None
    got = callee.asked("INVITE")
    assert got.uri_text == callee.contact
    ours, theirs = got.vias
    assert f"{ours.host}:{ours.port}" == PBX
    assert ours.branch != theirs.branch == sent.via.branch
    assert (theirs.params["received"], theirs.params["rport"]) == ("127.0.0.1", str(caller.source[1]))
    assert got.first("max-forwards") == "69"
    (route,) = got.addresses("record-route")
    assert "lr" in route.uri.params
    assert f"{route.uri.host}:{route.uri.port}" == PBX
    assert (got.body, got.first("content-type")) == (SDP, "application/sdp")
    assert got.first("from") == sent.first("from")


def test_a_sips_contact_gets_a_sips_record_route() -> None:
    office = Office()
    caller, callee = office.phone("1000"), office.phone("1001", bound=False)
    callee.contact = f"sips:1001@127.0.0.1:{callee.source[1]}"
    callee.register()
    caller.invite("1001")
    (route,) = callee.asked("INVITE").addresses("record-route")
    assert (route.uri.scheme, route.uri.params) == ("sips", {"lr": None})


def test_a_call_is_rung_answered_acknowledged_and_ended_by_the_caller() -> None:
    office = Office()
    caller, callee = pair(office)
    _, answer = call(caller, callee)
    caller.in_dialog("BYE", answer)
    bye = callee.asked("BYE")
    assert bye.uri_text == callee.contact
    assert bye.values("route") == []
    assert bye.values("record-route") == []
    callee.answer(bye, 200)
    caller.told(200)
    assert caller.received == callee.received == []
    assert len(office.exchange.calls) == 0


def test_a_call_is_ended_by_the_callee() -> None:
    caller, callee = pair(Office())
    invite, _ = call(caller, callee)
    callee.in_dialog("BYE", invite)
    bye = caller.asked("BYE")
    assert bye.uri_text == caller.contact
    caller.answer(bye, 200)
    callee.told(200)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "PRACK", "INFO", "REFER", "NOTIFY", "MESSAGE"])
def test_what_is_asked_inside_a_call_reaches_the_other_phone_and_comes_back(method: str) -> None:
    caller, callee = pair(Office())
    invite, answer = call(caller, callee)
    caller.in_dialog(method, answer)
    callee.answer(callee.asked(method), 200)
    if method == "INVITE":
        caller.told(100)
    caller.told(200)
    callee.in_dialog(method, invite)
    caller.answer(caller.asked(method), 200)
    if method == "INVITE":
        callee.told(100)
    callee.told(200)


def test_requests_in_a_call_find_their_way_whatever_the_contact_says() -> None:
    """Phones behind an address translator write a Contact that nobody can reach, and not the one that they registered."""
    caller, callee = pair(Office())
    callee.contact = "sip:phone@10.0.0.7:9"
    _, answer = call(caller, callee)
    caller.in_dialog("BYE", answer)
    assert callee.asked("BYE").uri_text == "sip:phone@10.0.0.7:9"


def test_without_record_route_requests_in_a_call_go_by_the_bound_contact() -> None:
    caller, callee = pair(Office(record_route=False))
    invite, answer = call(caller, callee)
    assert invite.values("record-route") == []
    caller.in_dialog("BYE", answer)
    callee.answer(callee.asked("BYE"), 200)
    caller.told(200)


def test_a_phone_that_calls_its_own_user_rings_itself() -> None:
    phone = Office().phone("1000")
    phone.invite("1000")
    phone.told(100)
    phone.answer(phone.asked("INVITE"), 486)
    phone.asked("ACK")
    phone.told(486)


def test_an_invite_for_the_contact_of_a_phone_goes_to_that_phone_only() -> None:
    """As after a REFER with Replaces, whose target is one phone and not its user."""
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.request("INVITE", first.contact, headers=[("Replaces", "other;to-tag=a;from-tag=b")])
    assert first.asked("INVITE").first("replaces") == "other;to-tag=a;from-tag=b"
    assert second.received == []


def test_a_contact_with_a_user_of_its_own_is_found() -> None:
    office = Office()
    caller, callee = office.phone("1000"), office.phone("1001", bound=False)
    callee.contact = f"sip:x0f-1001@127.0.0.1:{callee.source[1]};transport=tls"
    callee.register()
    caller.request("INVITE", f"sip:x0f-1001@127.0.0.1:{callee.source[1]}")
    assert callee.asked("INVITE").uri_text == f"sip:x0f-1001@127.0.0.1:{callee.source[1]}"


# Refusals


def test_an_unknown_user_is_not_found_and_one_without_a_phone_is_unavailable() -> None:
    caller = Office().phone("1000")
    caller.invite("1999")
    caller.told(404)
    caller.invite("1005")
    caller.told(480)


def test_the_ack_for_a_refusal_is_swallowed() -> None:
    caller, callee = pair(Office())
    invite = caller.request("INVITE", callee.contact, forwards="0")
    refusal = caller.told(483)
    caller.request("ACK", callee.contact, to=refusal.required("to"), cseq=invite.cseq.number, branch=invite.via.branch)
    assert callee.received == caller.received == []


def test_max_forwards_that_is_missing_becomes_70() -> None:
    caller, callee = pair(Office())
    caller.invite("1001", forwards=None)
    assert callee.asked("INVITE").first("max-forwards") == "70"


def test_a_proxy_extension_is_unsupported() -> None:
    caller, callee = pair(Office())
    caller.invite("1001", headers=[("Proxy-Require", "foo, bar")])
    assert caller.told(420).first("unsupported") == "foo, bar"
    assert callee.received == []


def test_a_foreign_scheme_is_unsupported() -> None:
    caller = Office().phone("1000")
    caller.request("INVITE", "tel:+1234")
    caller.told(416)


def test_an_unknown_method_is_not_implemented() -> None:
    caller = Office().phone("1000")
    caller.request("DANCE", f"sip:1001@{PBX}")
    caller.told(501)


def test_a_request_that_comes_back_is_a_loop_and_one_for_another_target_is_not() -> None:
    office = Office()
    caller, proxy, third = office.phone("1000"), office.phone("1001"), office.phone("1002")
    caller.invite("1001")
    got = proxy.asked("INVITE")
    via = ("Via", f"SIP/2.0/TLS 127.0.0.1:{proxy.source[1]};branch=z9hG4bKp1")
    proxy.say(bytes(Request("INVITE", f"sip:1001@{PBX};transport=tls", [via, *got.headers])))
    assert statuses(proxy) == [482]
    proxy.say(bytes(Request("INVITE", f"sip:1002@{PBX};transport=tls", [via, *got.headers])))
    third.asked("INVITE")


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq"])
def test_a_request_that_lacks_a_field_is_a_bad_request(name: str) -> None:
    caller, callee = pair(Office())
    request = caller.invite("1001")
    caller.received.clear()
    callee.received.clear()
    fields = [header for header in request.headers if header[0] != name]
    caller.say(bytes(Request("INVITE", request.uri_text, fields)))
    message = caller.taken()
    assert isinstance(message, Response)
    assert message.status == 400
    assert callee.received == []


# Who may call


def test_a_call_is_challenged_by_the_proxy_and_the_credentials_go_no_further() -> None:
    office = Office(authenticate_calls=True)
    caller, callee = pair(office)
    caller.digest = DigestClient("1000", "secret")
    invite = caller.invite("1001")
    refusal = caller.told(407)
    uri = invite.uri_text
    caller.request("ACK", uri, to=refusal.required("to"), cseq=invite.cseq.number, branch=invite.via.branch)
    caller.digest.answer(Challenge.parse(refusal.required("proxy-authenticate")))
    credentials = caller.digest.authorize("INVITE", uri, b"", "cnonce")
    caller.invite("1001", headers=[("Proxy-Authorization", credentials)])
    caller.told(100)
    got = callee.asked("INVITE")
    assert "proxy-authorization" not in got.index
    assert len(office.exchange.calls) == 1


def test_credentials_of_another_realm_are_left_for_their_server() -> None:
    caller, callee = pair(Office())
    value = 'Digest username="a", realm="elsewhere", nonce="n", uri="sip:x", response="0"'
    caller.invite("1001", headers=[("Proxy-Authorization", value)])
    assert callee.asked("INVITE").first("proxy-authorization") == value


def test_a_wrong_password_and_a_user_that_is_none_may_not_call() -> None:
    office = Office(authenticate_calls=True)
    caller, _ = pair(office)
    caller.digest = DigestClient("1000", "wrong")
    uri = caller.invite("1001").uri_text
    caller.digest.answer(Challenge.parse(caller.told(407).required("proxy-authenticate")))
    credentials = caller.digest.authorize("INVITE", uri, b"", "cnonce")
    caller.invite("1001", headers=[("Proxy-Authorization", credentials)])
    caller.told(407)
    caller.invite("1001", from_=f"<sip:1999@{PBX}>;tag=x")
    caller.told(403)


def test_what_is_inside_a_call_is_not_challenged() -> None:
    office = Office()
    caller, callee = pair(office)
    _, answer = call(caller, callee)
    office.exchange.authenticate_calls = True
    caller.in_dialog("INVITE", answer)
    callee.asked("INVITE")


@pytest.mark.parametrize("method", ["MESSAGE", "REFER", "SUBSCRIBE", "OPTIONS", "NOTIFY"])
def test_what_is_asked_outside_any_dialog_is_routed_like_a_call(method: str) -> None:
    office = Office()
    caller, callee = pair(office)
    uri = f"sip:1001@{PBX}"
    caller.request(method, uri, headers=[("Event", "presence")])
    got = callee.asked(method)
    assert bool(got.values("record-route")) == (method in ("REFER", "SUBSCRIBE", "NOTIFY"))
    callee.answer(got, 202)
    caller.told(202)


# Forking


def test_all_phones_of_a_user_ring_and_those_that_are_slower_are_cancelled() -> None:
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.invite("1001")
    caller.told(100)
    one, two = first.asked("INVITE"), second.asked("INVITE")
    assert one.via.branch != two.via.branch
    first.answer(one, 180)
    second.answer(two, 180)
    assert [caller.told(180).to.tag for _ in range(2)] == [first.tag, second.tag]
    second.answer(two, 200)
    assert caller.told(200).to.tag == second.tag
    cancel = first.asked("CANCEL")
    assert (cancel.via, cancel.uri_text, cancel.cseq.number) == (one.via, one.uri_text, one.cseq.number)
    assert cancel.first("reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    first.answer(cancel, 200)
    first.answer(one, 487)
    assert first.asked("ACK").via == one.via
    assert caller.received == []


def test_a_second_200_is_sent_on_too() -> None:
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.invite("1001")
    caller.told(100)
    one, two = first.asked("INVITE"), second.asked("INVITE")
    first.answer(one, 180)
    second.answer(two, 200)
    first.answer(one, 200)
    assert [caller.told(180).to.tag, *(caller.told(200).to.tag for _ in range(2))] == [first.tag, second.tag, first.tag]
    first.asked("CANCEL")
    # Each dialog has its own way.
    answers = [second, first]
    for phone, got in zip(answers, (two, one), strict=True):
        phone.in_dialog("BYE", got)
        assert caller.asked("BYE").from_.tag == phone.tag


@pytest.mark.parametrize(
    ("finals", "best"),
    [
        ((486, 480), 486),
        ((404, 302), 302),
        ((486, 407), 407),
        ((500, 486), 486),
        ((503, 500), 500),
        ((503, 503), 500),
        ((486, 600), 600),
        ((603, 486), 603),
    ],
)
def test_the_best_of_several_refusals_is_sent_on(finals: tuple[int, int], best: int) -> None:
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.invite("1001")
    caller.told(100)
    for phone, status in zip((first, second), finals, strict=True):
        assert caller.received == []
        got = phone.asked("INVITE")
        phone.answer(got, status)
        phone.asked("ACK")
    caller.told(best)
    assert caller.received == []


def test_a_6xx_cancels_the_other_phones_and_waits_for_them() -> None:
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.invite("1001")
    caller.told(100)
    one, two = first.asked("INVITE"), second.asked("INVITE")
    second.answer(two, 180)
    caller.told(180)
    first.answer(one, 603)
    assert caller.received == []
    second.answer(second.asked("CANCEL"), 200)
    second.answer(two, 487)
    caller.told(603)


def test_the_challenges_of_all_phones_are_sent_on_together() -> None:
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.invite("1001")
    caller.told(100)
    first.answer(first.asked("INVITE"), 401, ("WWW-Authenticate", 'Digest realm="a", nonce="1"'))
    second.answer(second.asked("INVITE"), 407, ("Proxy-Authenticate", 'Digest realm="b", nonce="2"'))
    answer = caller.told(401)
    assert [one.realm for one in answer.challenges("www-authenticate")] == ["a"]
    assert [one.realm for one in answer.challenges("proxy-authenticate")] == ["b"]


def test_of_several_flows_of_one_phone_only_the_newest_is_called() -> None:
    office = Office()
    caller = office.phone("1000")
    old = office.phone("1001", params=';+sip.instance="<urn:uuid:1>";reg-id=1')
    new = office.phone("1001", params=';+sip.instance="<urn:uuid:1>";reg-id=2')
    other = office.phone("1001", params=';+sip.instance="<urn:uuid:2>";reg-id=1')
    caller.invite("1001")
    assert (methods(old), methods(new), methods(other)) == ([], ["INVITE"], ["INVITE"])
    new.hang_up_flow()
    caller.invite("1001", call_id="again")
    assert methods(old) == ["INVITE"]


def test_a_message_to_several_phones_gets_one_answer() -> None:
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.request("MESSAGE", f"sip:1001@{PBX}")
    first.answer(first.asked("MESSAGE"), 200)
    second.answer(second.asked("MESSAGE"), 200)
    assert statuses(caller) == [200]


# CANCEL


def test_a_cancel_is_answered_sent_on_and_ends_in_487() -> None:
    caller, callee = pair(Office())
    invite = caller.invite("1001")
    caller.told(100)
    got = callee.asked("INVITE")
    callee.answer(got, 180)
    caller.told(180)
    reason = ("Reason", "SIP;cause=600")
    caller.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch, headers=[reason])
    assert caller.told(200).cseq.method == "CANCEL"
    cancel = callee.asked("CANCEL")
    assert cancel.first("reason") == "SIP;cause=600"
    callee.answer(cancel, 200)
    callee.answer(got, 487)
    assert callee.asked("ACK").to.tag == callee.tag
    assert caller.told(487).cseq.method == "INVITE"
    assert caller.received == []


def test_a_cancel_waits_for_the_first_provisional_response() -> None:
    caller, callee = pair(Office())
    invite = caller.invite("1001")
    got = callee.asked("INVITE")
    caller.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch)
    assert callee.received == []
    callee.answer(got, 100)
    callee.asked("CANCEL")
    assert statuses(caller) == [100, 200]


def test_a_cancel_that_crosses_the_answer_leaves_the_call_standing() -> None:
    caller, callee = pair(Office())
    invite = caller.invite("1001")
    caller.told(100)
    got = callee.asked("INVITE")
    callee.answer(got, 180)
    caller.told(180)
    caller.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch)
    caller.told(200)
    callee.answer(got, 200)
    answer = caller.told(200)
    callee.answer(callee.asked("CANCEL"), 481)
    caller.in_dialog("ACK", answer, cseq=invite.cseq.number)
    callee.asked("ACK")
    caller.in_dialog("BYE", answer)
    callee.asked("BYE")


def test_a_cancel_after_the_answer_is_answered_and_does_nothing() -> None:
    caller, callee = pair(Office())
    invite = caller.invite("1001")
    got = callee.asked("INVITE")
    callee.answer(got, 200)
    caller.received.clear()
    caller.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch)
    caller.told(200)
    assert callee.received == []


def test_a_cancel_for_nothing_and_one_of_a_stranger_get_481() -> None:
    office = Office()
    caller, callee = pair(office)
    invite = caller.invite("1001")
    callee.answer(callee.asked("INVITE"), 180)
    caller.request("CANCEL", invite.uri_text, cseq=9, branch="z9hG4bKother")
    assert [one.status for one in caller.received if isinstance(one, Response)] == [100, 180, 481]
    stranger = office.phone("1002")
    stranger.request(
        "CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch, from_=invite.first("from")
    )
    stranger.told(481)
    assert callee.received == []


def test_a_phone_that_does_not_answer_the_cancel_is_given_up_after_64_t1() -> None:
    office = Office()
    caller, callee = pair(office)
    invite = caller.invite("1001")
    callee.answer(callee.asked("INVITE"), 180)
    caller.request("CANCEL", invite.uri_text, cseq=invite.cseq.number, branch=invite.via.branch)
    assert statuses(caller) == [100, 180, 200]
    office.wait(31.9)
    assert statuses(caller) == [100, 180, 200]
    office.wait(0.2)
    assert statuses(caller) == [100, 180, 200, 487]


# Timers and lost flows


def test_a_phone_that_says_nothing_is_given_up_after_timer_b() -> None:
    office = Office()
    caller, callee = pair(office)
    caller.invite("1001")
    caller.told(100)
    office.wait(31.9)
    assert caller.received == []
    office.wait(0.2)
    caller.told(408)
    assert methods(callee) == ["INVITE"]


def test_a_phone_that_rings_too_long_is_cancelled_and_the_caller_gets_408() -> None:
    office = Office(ring_limit=60.0)
    caller, callee = pair(office)
    caller.invite("1001")
    got = callee.asked("INVITE")
    callee.answer(got, 180)
    office.wait(50.0)
    callee.answer(got, 180)  # which sets Timer C anew
    office.wait(59.0)
    assert callee.received == []
    office.wait(2.0)
    callee.answer(callee.asked("CANCEL"), 200)
    callee.answer(got, 487)
    assert statuses(caller) == [100, 180, 180, 408]


def test_another_method_that_is_not_answered_gets_no_408() -> None:
    office = Office()
    caller, callee = pair(office)
    caller.request("MESSAGE", f"sip:1001@{PBX}")
    office.wait(100.0)
    assert caller.received == []
    assert methods(callee) == ["MESSAGE"]


def test_a_phone_whose_flow_is_lost_while_it_rings_is_given_up() -> None:
    office = Office()
    caller, callee = pair(office)
    caller.invite("1001")
    callee.answer(callee.asked("INVITE"), 180)
    callee.hang_up_flow()
    assert statuses(caller) == [100, 180, 408]
    caller.invite("1001", call_id="again")
    assert statuses(caller) == [100, 180, 408, 480]


def test_the_other_phone_rings_on_where_one_loses_its_flow() -> None:
    office = Office()
    caller, first, second = office.phone("1000"), office.phone("1001"), office.phone("1001")
    caller.invite("1001")
    caller.told(100)
    first.hang_up_flow()
    assert caller.received == []
    second.answer(second.asked("INVITE"), 200)
    caller.told(200)


def test_phones_stop_ringing_where_the_caller_loses_its_flow() -> None:
    office = Office()
    caller, callee = pair(office)
    caller.invite("1001")
    callee.answer(callee.asked("INVITE"), 180)
    caller.hang_up_flow()
    callee.asked("CANCEL")
    assert len(office.exchange.calls) == 0


def test_a_bye_for_a_phone_whose_flow_is_lost_says_so_at_once() -> None:
    office = Office()
    caller, callee = pair(office)
    _, answer = call(caller, callee)
    callee.hang_up_flow()
    caller.in_dialog("BYE", answer)
    caller.told(480)
    assert len(office.exchange.calls) == 0


def test_a_phone_that_has_registered_again_is_reached_in_its_call() -> None:
    office = Office()
    caller, callee = pair(office)
    invite, answer = call(caller, callee)
    callee.hang_up_flow()
    again = office.phone("1001")
    again.tag = callee.tag
    caller.in_dialog("INFO", answer)
    again.answer(again.asked("INFO"), 200)
    caller.told(200)
    # And from its side, with the old route.
    again.in_dialog("BYE", invite)
    caller.asked("BYE")


def test_a_request_in_a_dialog_that_is_none_gets_481() -> None:
    caller, callee = pair(Office())
    caller.request("BYE", f"sip:1001@{PBX}", to=f"<sip:1001@{PBX}>;tag=none")
    caller.told(481)
    assert callee.received == []


def test_nothing_is_kept_of_what_is_over() -> None:
    office = Office()
    caller, callee = pair(office)
    _, answer = call(caller, callee)
    caller.in_dialog("BYE", answer)
    callee.answer(callee.asked("BYE"), 200)
    caller.invite("1001", call_id="busy")
    callee.answer(callee.asked("INVITE"), 486)
    office.wait(200.0)
    exchange = office.exchange
    assert (len(exchange._forks), len(exchange._branches), len(exchange.agenda)) == (0, 0, 0)
    assert exchange._on_line == {}
    caller.hang_up_flow()
    callee.hang_up_flow()
    assert len(exchange.directory) == 0


# Repeats and strays


def test_a_request_that_comes_again_is_not_sent_on_again() -> None:
    caller, callee = pair(Office())
    invite = caller.invite("1001")
    caller.say(bytes(invite))
    assert statuses(caller) == [100, 100]
    callee.answer(callee.asked("INVITE"), 200)
    caller.say(bytes(invite))
    assert statuses(caller) == [100, 100, 200, 200]
    assert callee.received == []


def test_a_repeated_200_is_sent_on_and_a_repeated_refusal_acknowledged() -> None:
    office = Office()
    caller, callee = pair(office)
    caller.invite("1001")
    got = callee.asked("INVITE")
    callee.answer(got, 200)
    callee.answer(got, 200)
    assert statuses(caller) == [100, 200, 200]
    caller.invite("1001", call_id="busy")
    got = callee.asked("INVITE")
    callee.answer(got, 486)
    callee.answer(got, 486)
    assert methods(callee) == ["ACK", "ACK"]
    assert statuses(caller) == [100, 200, 200, 100, 486]


def test_a_response_of_another_phone_or_to_nothing_is_dropped() -> None:
    office = Office()
    caller, callee = pair(office)
    stranger = office.phone("1002")
    caller.invite("1001")
    got = callee.asked("INVITE")
    stranger.answer(got, 200)
    office.wait(300.0)
    callee.answer(got, 200)
    assert statuses(caller) == [100, 408]


def test_a_response_may_carry_all_vias_in_one_field() -> None:
    caller, callee = pair(Office())
    caller.invite("1001")
    caller.told(100)
    got = callee.asked("INVITE")
    vias = ", ".join(got.values("via"))
    fields = [("Via", vias), *(header for header in got.headers if header[0] != "Via")]
    callee.answer(Request("INVITE", got.uri_text, fields), 180)
    assert len(caller.told(180).vias) == 1


def test_an_ack_is_never_answered() -> None:
    caller = Office().phone("1000")
    caller.request("ACK", f"sip:1001@{PBX}", to=f"<sip:1001@{PBX}>;tag=x")
    caller.request("ACK", f"sip:{PBX}")
    caller.request("ACK", "tel:1")
    assert caller.received == []
