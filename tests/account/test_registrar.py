"""What a registrar can answer, and what comes of it: times, redirects, refusals and the waits after them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sipsua.account.persona import Backoff
from sipsua.account.registration import MAX_ROUNDS, State
from sipsua.errors import NoAnswer, Refused
from sipsua.testing.pair import AccountPair
from tests.account.readings import (
    OTHER_SERVER,
    SAME_SERVER,
    bound,
    credentials,
    failure,
    flow_wanted,
    own,
    proves,
    standing,
    to_registered,
)

MakePair = Callable[..., AccountPair]


@pytest.mark.parametrize(
    ("answer", "granted"),
    [
        (lambda mine: [("Contact", f"{mine};expires=120")], 120),
        (lambda mine: [("Contact", f"{mine};expires=120"), ("Expires", "900")], 120),
        (lambda mine: [("Contact", mine), ("Expires", "900")], 900),
        (lambda mine: [("Contact", mine)], 3600),
        (lambda mine: [("Expires", "900")], 900),
        (lambda mine: [], 3600),
        (
            lambda mine: [
                ("Contact", f'<sips:alice@198.51.100.7:1>;expires=7, {mine};expires=240;q=0.5, "B" <sip:b@c>')
            ],
            240,
        ),
        (lambda mine: [("Contact", "<sips:alice@198.51.100.7:1>;expires=7"), ("Contact", f"{mine};expires=240")], 240),
        (lambda mine: [("m", f"{mine[:-1]};ob>;expires=240")], 240),
        (lambda mine: [("Contact", f"{mine.upper().replace('SIPS:ALICE', 'sips:alice')};expires=240")], 240),
        (lambda mine: [("Contact", "<sips:alice@198.51.100.7:1>;expires=180")], 180),
        (
            lambda mine: [
                ("Contact", "<sips:alice@198.51.100.7:1>;expires=7, <sips:alice@198.51.100.8:1>;expires=300")
            ],
            300,
        ),
        (lambda mine: [("Contact", "<sips:alice@198.51.100.7:1>;expires=7200")], 3600),
        (lambda mine: [("Contact", f"{mine};expires=7200")], 7200),
        (lambda mine: [("Contact", f'{mine};expires=240;received="sip:192.0.2.1:40000"')], 240),
        (lambda mine: [("Contact", f'{mine};expires=7;received="sip:192.0.2.1", {mine};expires=240')], 240),
        (lambda mine: [("Contact", f"{mine};expires=soon"), ("Expires", "900")], 900),
        (lambda mine: [("Contact", '<sips:alice@x>;expires=9, "open'), ("Expires", "900")], 900),
        (lambda mine: [("Contact", "<mailto:alice@example.com>;expires=90"), ("Contact", f"{mine};expires=240")], 240),
        (lambda mine: [("Contact", "<sips:%zz@x>;expires=90"), ("Expires", "900")], 90),
    ],
    ids=[
        *("contact-parameter", "contact-before-expires-field", "expires-field", "contact-without-time", "field-alone"),
        *("nothing", "ours-among-several", "ours-in-its-own-field", "ours-with-a-parameter-more", "ours-in-capitals"),
        *(
            "rewritten",
            "rewritten-among-several",
            "rewritten-and-longer-than-asked",
            "longer-than-asked",
            "received-behind-it",
            "received-behind-it-and-ours-again",
            "malformed-time",
        ),
        *("list-that-cannot-be-read", "other-scheme-beside-ours", "uri-that-cannot-be-read"),
    ],
)
def test_the_granted_time_is_read_from(
    make_pair: MakePair, answer: Callable[[str], list[tuple[str, str]]], granted: int
) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(200, headers=answer(own(pair)))
    event = bound(pair)
    assert event.expires == granted
    assert 0.8 * granted <= event.refresh_in < 0.9 * granted
    assert pair.account.registration.expires_at == pair.clock.now + granted


def test_a_refresh_goes_out_ahead_of_the_granted_expiry(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.answer(200, expires=100)
    assert not bound(pair).refreshed
    pair.wait(79.9)
    assert len(pair.requests) == 1
    pair.wait(10.2)
    assert len(pair.requests) == 2
    assert pair.request.expires == 3600
    pair.answer(200, expires=50)
    assert bound(pair).refreshed
    assert bound(pair).expires == 50
    pair.wait(45.1)
    assert len(pair.requests) == 3


def test_a_binding_of_one_second_is_refreshed_before_it_ends(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None, expires=1)
    pair.register()
    pair.answer(200, expires=1)
    assert 0.8 <= pair.wait_for_timer() < 0.9
    assert len(pair.requests) == 2


def test_a_200_that_grants_nothing_is_a_refusal(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(200, expires=0)
    error = failure(pair).error
    assert isinstance(error, Refused)
    assert error.what == "the registrar at pbx.example.com:5061 answered 200 OK, but granted no binding"
    assert error.fix
    assert standing(pair) is State.FAILED


def test_a_second_200_changes_nothing(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    response = pair.answer(200, expires=600)
    events = len(pair.events)
    pair.send(response)
    assert len(pair.events) == events


def test_a_provisional_answer_is_waited_through(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(100)
    assert standing(pair) is State.REGISTERING
    pair.answer(200, expires=600)
    assert standing(pair) is State.REGISTERED


def test_the_round_trips_are_measured(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.wait(0.25)
    pair.challenge()
    pair.wait(0.5)
    pair.answer(200, expires=600)
    assert bound(pair).challenge_ms == pytest.approx(250)
    assert bound(pair).register_ms == pytest.approx(500)


# 423


def test_423_raises_expires_to_min_and_keeps_it(make_pair: MakePair) -> None:
    pair = make_pair(expires=60, keep_alive=None)
    pair.register()
    pair.answer(423, headers=[("Min-Expires", "300")])
    assert pair.request.expires == 300
    pair.answer(200, expires=300)
    assert bound(pair).expires == 300
    pair.wait_for_request()
    assert pair.request.expires == 300


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ([], "60 s are too short and it does not say what is enough"),
        ([("Min-Expires", "soon")], "60 s are too short, and its Min-Expires 'soon' cannot be read"),
        ([("Min-Expires", "99999999999")], "60 s are too short, and its Min-Expires '99999999999' cannot be read"),
        ([("Min-Expires", "60")], "60 s are too short, it says, but 60 s were enough"),
        ([("Min-Expires", "30")], "60 s are too short, it says, but 30 s were enough"),
    ],
    ids=["without", "malformed", "too large", "equal", "lower"],
)
def test_423_whose_min_expires_is_no_help_is_a_refusal(
    make_pair: MakePair, headers: list[tuple[str, str]], what: str
) -> None:
    pair = make_pair(expires=60)
    pair.register()
    pair.answer(423, headers=headers)
    assert what in failure(pair).error.what
    assert "raise --expires" in failure(pair).error.fix
    assert len(pair.requests) == 1


def test_423_that_always_wants_more_ends_at_the_limit(make_pair: MakePair) -> None:
    pair = make_pair(expires=60)
    pair.register()
    for number in range(MAX_ROUNDS):
        pair.answer(423, headers=[("Min-Expires", str(100 + number))])
    assert len(pair.requests) == MAX_ROUNDS
    assert failure(pair).retry_in is None


def test_423_after_a_challenge_counts_the_nonce_on(make_pair: MakePair) -> None:
    pair = make_pair(expires=60)
    pair.register()
    pair.challenge()
    pair.answer(423, headers=[("Min-Expires", "300")])
    assert credentials(pair.request).nc == "00000002"
    assert proves(pair.request)


# 3xx


def test_a_redirect_on_the_same_server_changes_the_request_uri_only(make_pair: MakePair) -> None:
    pair = make_pair(server="edge.example.com:443")
    pair.register()
    pair.answer(302, headers=[("Contact", "<sips:edge.example.com:443>")])
    assert pair.request.uri_text == "sips:edge.example.com:443"
    assert pair.closings == []
    pair.answer(200, expires=600)
    assert standing(pair) is State.REGISTERED


def test_a_redirect_to_another_server_is_followed_on_a_new_flow(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(301, headers=[("Contact", "<sips:alice@other.example.com:5071;maddr=192.0.2.5?Route=x>")])
    assert str(pair.account.target) == "other.example.com:5071"
    assert pair.closings == ["the registrar lies elsewhere"]
    assert flow_wanted(pair)
    pair.open_flow()
    # RFC 3261 section 10.2: no user in the Request-URI of a REGISTER.
    assert pair.request.uri_text == "sips:other.example.com:5071"
    assert pair.request.to.uri_text == "sips:alice@pbx.example.com"
    pair.answer(200, expires=600)
    assert pair.account.lock.server_name == "other.example.com"
    pair.wait_for_request()
    assert pair.request.uri_text == "sips:other.example.com:5071"


def test_after_a_failure_elsewhere_the_next_attempt_begins_at_home(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(302, headers=OTHER_SERVER)
    pair.open_flow()
    pair.answer(503)
    assert str(pair.account.target) == "pbx.example.com:5061"
    while not flow_wanted(pair):
        pair.wait_for_timer()
    assert pair.closings[-1] == "the registrar lies elsewhere"
    pair.open_flow()
    assert pair.request.uri_text == "sips:pbx.example.com"


def test_after_leaving_a_server_elsewhere_the_next_wish_begins_at_home(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(302, headers=OTHER_SERVER)
    pair.open_flow()
    pair.answer(200, expires=600)
    pair.unregister()
    assert pair.request.uri_text == "sips:other.example.com"
    pair.answer(200)
    pair.register()
    assert pair.account.lock.server_name == "pbx.example.com"
    assert pair.request.uri_text == "sips:pbx.example.com"


def test_the_redirect_with_the_greatest_q_is_followed(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    contacts = "<sips:a.example.com>;q=0.5, <sips:b.example.com>;q=0.9, <sips:c.example.com>;q=nan;expires=1, <sip:d.example.com>"
    pair.answer(300, headers=[("Contact", contacts.replace(";q=nan", ";q=0.1"))])
    assert pair.account.target.host == "b.example.com"


@pytest.mark.parametrize(
    ("uri", "contact"),
    [
        ("sips:alice@pbx.example.com", "<sip:other.example.com>"),
        ("sips:alice@pbx.example.com", "<sip:other.example.com;transport=tls>"),
        ("sips:alice@pbx.example.com", "<sip:other.example.com;transport=tcp>"),
        ("sip:alice@pbx.example.com;transport=tls", "<sip:other.example.com>"),
        ("sip:alice@pbx.example.com;transport=tls", "<sip:other.example.com;transport=udp>"),
        ("sips:alice@pbx.example.com", "<tel:+4930123>"),
        ("sips:alice@pbx.example.com", "<sips:>"),
        ("sips:alice@pbx.example.com", "<sips:open"),
    ],
)
def test_a_redirect_away_from_tls_is_not_followed(make_pair: MakePair, uri: str, contact: str) -> None:
    pair = make_pair(uri=uri)
    pair.register()
    pair.answer(302, headers=[("Contact", contact)])
    assert "it names no Contact with sips:" in failure(pair).error.what
    assert failure(pair).error.fix == "have the server redirect to an address over TLS"
    assert not flow_wanted(pair)
    assert pair.account.target.host == "pbx.example.com"


@pytest.mark.parametrize("contact", ["<sips:other.example.com>", "<sip:other.example.com;transport=TLS>"])
def test_a_sip_account_follows_a_redirect_over_tls(make_pair: MakePair, contact: str) -> None:
    pair = make_pair(uri="sip:alice@pbx.example.com;transport=tls")
    pair.register()
    pair.answer(302, headers=[("Contact", contact)])
    pair.open_flow()
    assert pair.request.uri_text in ("sips:other.example.com", "sip:other.example.com;transport=tls")


def test_redirects_in_a_circle_end_at_the_limit(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    for number in range(MAX_ROUNDS):
        pair.answer(302, headers=[("Contact", f"<sips:server{number}.example.com>")])
        if flow_wanted(pair):
            pair.open_flow()
    assert len(pair.requests) == MAX_ROUNDS
    assert "it is not satisfied after 6 requests" in failure(pair).error.what


def test_redirects_to_the_same_server_end_at_the_limit(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    for _ in range(MAX_ROUNDS):
        pair.answer(302, headers=SAME_SERVER)
    assert len(pair.requests) == MAX_ROUNDS
    assert failure(pair).retry_in is None


# Refusals


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 416, 420, 439, 501, 600, 603])
def test_a_refusal_says_who_answered_what_and_what_to_do(make_pair: MakePair, status: int) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(status, "No Way", headers=[("Warning", '399 pbx "because"')])
    error = failure(pair).error
    assert isinstance(error, Refused)
    assert (error.status, error.reason) == (status, "No Way")
    assert error.what == (
        f'the registrar at pbx.example.com:5061 answered {status} No Way [Warning: 399 pbx "because"]'
    )
    assert error.fix


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 420, 494, 501, 505, 513, 600, 603])
def test_a_refusal_that_another_try_cannot_mend_ends_the_registration(make_pair: MakePair, status: int) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.answer(status)
    assert failure(pair).retry_in is None
    assert standing(pair) is State.FAILED
    assert pair.account.get_timer() is None


def test_501_and_405_name_a_server_that_is_no_registrar(make_pair: MakePair) -> None:
    for status in (405, 501):
        pair = make_pair()
        pair.register()
        pair.answer(status)
        assert failure(pair).error.fix == "this server is no registrar: check --server and the port"


@pytest.mark.parametrize("status", [408, 430, 480, 486, 491, 500, 502, 503, 504])
def test_a_refusal_that_time_may_mend_is_tried_again(make_pair: MakePair, status: int) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.answer(status)
    retry_in = failure(pair).retry_in
    assert retry_in is not None
    assert 30 <= retry_in <= 60
    pair.wait(retry_in)
    assert len(pair.requests) == 2
    assert standing(pair) is State.REGISTERING


@pytest.mark.parametrize(
    ("header", "least"),
    [
        ("3600", 3600),
        ("120 (in maintenance);duration=60", 120),
        ("0", 30),
        ("1", 30),
        ("soon", 30),
        ("86401", 86_400),
        ("4294967295", 86_400),
    ],
)
def test_retry_after_makes_the_wait_longer_and_never_shorter(make_pair: MakePair, header: str, least: int) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.answer(503, headers=[("Retry-After", header)])
    retry_in = failure(pair).retry_in
    assert ("[Retry-After: " in failure(pair).error.what) is header[0].isdigit()
    assert retry_in is not None
    assert least <= retry_in <= max(least, 60)
    pair.wait(least - 0.1)
    assert len(pair.requests) == 1


def test_a_refusal_says_when_the_server_may_be_asked_again(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.answer(503, headers=[("Retry-After", "120 (in maintenance)")])
    assert failure(pair).error.what == (
        "the registrar at pbx.example.com:5061 answered 503 Service Unavailable [Retry-After: 120 s]"
    )


def test_retry_after_holds_for_one_wait_only(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.answer(503, headers=[("Retry-After", "3600")])
    pair.wait(3600)
    pair.answer(503)
    retry_in = failure(pair).retry_in
    assert retry_in is not None
    assert retry_in <= 120


def test_an_answer_whose_reason_would_move_the_cursor_is_shown_without_it(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(403, "No\x1b[2J", headers=[("Warning", '399 x "\x07\u202e"')])
    assert failure(pair).error.what.isprintable()


def test_no_answer_drops_the_flow_and_tries_again(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.wait(31.9)
    assert standing(pair) is State.REGISTERING
    pair.wait(0.2)
    error = failure(pair).error
    assert isinstance(error, NoAnswer)
    assert error.what == "pbx.example.com:5061 gave no final answer to REGISTER within 32 s (Timer F)"
    assert error.fix
    assert pair.closings == [error.what]
    pair.wait(60)
    assert flow_wanted(pair)


def test_an_answer_that_comes_after_timer_f_is_ignored(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    late = pair.request
    pair.wait(32)
    pair.wait(60)
    pair.open_flow()
    events = len(pair.events)
    pair.answer(200, expires=600, to=late)
    assert len(pair.events) == events
    assert standing(pair) is State.REGISTERING


# Back-off


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(0, 15, 30), (1, 30, 60), (2, 60, 120), (3, 120, 240), (6, 900, 1800), (7, 900, 1800), (1000, 900, 1800)],
)
@pytest.mark.parametrize(("roll", "share"), [(0, 0.0), (2**31, 0.5), (2**32 - 1, 1.0)])
def test_the_wait_lies_in_the_bounds_of_rfc_5626(
    failures: int, least: float, most: float, roll: int, share: float
) -> None:
    delay = Backoff(30, 1800).delay(failures, lambda bits: roll)
    assert delay == pytest.approx(least + share * (most - least))
    assert least <= delay <= most


def test_each_failure_in_a_row_doubles_the_wait_and_a_success_ends_the_row(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    for bound_of_wait in (60, 120, 240, 480, 960, 1800, 1800):
        pair.answer(503)
        retry_in = failure(pair).retry_in
        assert retry_in is not None
        assert bound_of_wait / 2 <= retry_in <= bound_of_wait
        pair.wait(retry_in)
    pair.answer(200, expires=600)
    pair.wait_for_request()
    pair.answer(503)
    retry_in = failure(pair).retry_in
    assert retry_in is not None
    assert retry_in <= 60


def test_failed_flows_and_failed_requests_are_counted_in_one_row(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.wish()
    pair.fail_flow()
    pair.wait(60)
    pair.open_flow()
    pair.answer(500)
    retry_in = failure(pair).retry_in
    assert retry_in is not None
    assert 60 <= retry_in <= 120


def test_the_config_has_a_back_off_of_its_own(make_pair: MakePair) -> None:
    pair = make_pair(backoff=Backoff(2, 2, spread=1))
    pair.register()
    pair.answer(503)
    assert failure(pair).retry_in == 2


def test_a_flow_that_served_and_broke_is_no_failure_to_register(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    for _ in range(3):
        pair.lose_flow("reset")
        retry_in = failure(pair).retry_in
        assert retry_in is not None
        assert 15 <= retry_in <= 30
        pair.wait(retry_in)
        pair.open_flow()
        pair.answer(200, expires=600)
