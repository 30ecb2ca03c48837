"""Every row of the registration's table, each reached by what really happens to an account, and what the outside sees of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sipsua.account.persona import Backoff
from sipsua.account.registration import MAX_ROUNDS, TABLE, Input, Registration, State
from sipsua.errors import Defect, FlowLost, SipsuaError
from sipsua.events import FlowFailed, Registered, RegistrationFailed, Unregistered
from sipsua.testing.pair import AccountPair, refused
from tests.account.readings import (
    bound,
    failure,
    flow_wanted,
    last,
    own,
    proves,
    standing,
    to_refreshing,
    to_registered,
)

MakePair = Callable[..., AccountPair]
PASSWORD = "hunter2-Grüße"
OTHER_SERVER = [("Contact", "<sips:other.example.com>")]
SAME_SERVER = [("Contact", "<sips:pbx.example.com>")]


class Watched(Registration):
    """A registration that keeps what was fed to it in which state, and what it came to."""

    def __init__(self, pair: AccountPair) -> None:
        super().__init__(pair.account)
        self.steps: list[tuple[State, Input, State]] = []

    def step(self, given: Input, now: float, error: SipsuaError | None = None) -> None:
        before = self.state
        self.steps.append((before, given, before))
        place = len(self.steps) - 1
        super().step(given, now, error)
        self.steps[place] = (before, given, self.state)


# How an account comes into each state: with a flow where the state can have one.


def to_unregistered(pair: AccountPair) -> None:
    to_unregistering(pair)
    pair.answer(200)


def to_connecting(pair: AccountPair) -> None:
    pair.wish()


def to_registering(pair: AccountPair) -> None:
    pair.register()


def to_waiting(pair: AccountPair) -> None:
    pair.register()
    pair.answer(503)


def to_leaving(pair: AccountPair) -> None:
    pair.register()
    pair.unregister()


def to_unregistering(pair: AccountPair) -> None:
    to_registered(pair)
    pair.unregister()


def to_failed(pair: AccountPair) -> None:
    pair.register()
    pair.answer(404)


REACH: dict[State, Callable[[AccountPair], None]] = {
    State.UNREGISTERED: to_unregistered,
    State.CONNECTING: to_connecting,
    State.REGISTERING: to_registering,
    State.REGISTERED: to_registered,
    State.REFRESHING: to_refreshing,
    State.WAITING: to_waiting,
    State.LEAVING: to_leaving,
    State.UNREGISTERING: to_unregistering,
    State.FAILED: to_failed,
}


# Other ways, for the inputs that need a flow to be missing, or a binding to stand.


def waiting_without_flow(pair: AccountPair) -> None:
    pair.register()
    pair.lose_flow()


def waiting_while_bound(pair: AccountPair) -> None:
    to_refreshing(pair)
    pair.answer(503)


def failed_without_flow(pair: AccountPair) -> None:
    pair.wish()
    pair.begin_flow()
    pair.fail_flow(refused("pbx.example.com"))


def leaving_while_bound(pair: AccountPair) -> None:
    to_refreshing(pair)
    pair.unregister()


def given_up_before_the_flow(pair: AccountPair) -> None:
    pair.wish()
    pair.begin_flow()
    pair.unregister()


def beginning_after(reach: Callable[[AccountPair], None]) -> Callable[[AccountPair], None]:
    """Come there, and begin a flow."""

    def begin(pair: AccountPair) -> None:
        reach(pair)
        pair.begin_flow()

    return begin


REACH_OTHERWISE: dict[tuple[State, Input], Callable[[AccountPair], None]] = {
    (State.UNREGISTERED, Input.FLOW_OPENED): given_up_before_the_flow,
    (State.UNREGISTERED, Input.FLOW_FAILED): given_up_before_the_flow,
    (State.UNREGISTERED, Input.FLOW_REFUSED): given_up_before_the_flow,
    (State.UNREGISTERED, Input.WANTED): lambda pair: None,
    (State.CONNECTING, Input.FLOW_OPENED): beginning_after(AccountPair.wish),
    (State.CONNECTING, Input.FLOW_REFUSED): beginning_after(AccountPair.wish),
    # The account drops its flow itself, to go to another server.
    (State.CONNECTING, Input.FLOW_LOST): to_registering,
    (State.WAITING, Input.WANTED): waiting_without_flow,
    (State.WAITING, Input.TIMER): waiting_without_flow,
    (State.WAITING, Input.WITHDRAWN): waiting_while_bound,
    # Flows of other accounts' wishes, on a shared one.
    (State.WAITING, Input.FLOW_OPENED): beginning_after(waiting_without_flow),
    (State.WAITING, Input.FLOW_FAILED): beginning_after(waiting_without_flow),
    (State.WAITING, Input.FLOW_REFUSED): beginning_after(waiting_without_flow),
    (State.FAILED, Input.WANTED): failed_without_flow,
    # The refresh is refused, but the binding that it was to renew still stands.
    (State.LEAVING, Input.WITHDRAWN): leaving_while_bound,
    (State.FAILED, Input.FLOW_OPENED): beginning_after(failed_without_flow),
    (State.FAILED, Input.FLOW_FAILED): beginning_after(failed_without_flow),
    (State.FAILED, Input.FLOW_REFUSED): beginning_after(failed_without_flow),
}

CAUSE: dict[Input, Callable[[AccountPair], object]] = {
    Input.WANTED: AccountPair.wish,
    Input.UNWANTED: AccountPair.unregister,
    Input.WITHDRAWN: AccountPair.unregister,
    Input.FLOW_OPENED: AccountPair.finish_flow,
    Input.FLOW_FAILED: AccountPair.fail_flow,
    Input.FLOW_REFUSED: lambda pair: pair.fail_flow(refused("pbx.example.com")),
    Input.FLOW_LOST: AccountPair.lose_flow,
    Input.ACCEPTED: lambda pair: pair.answer(200, expires=600),
    Input.AGAIN: AccountPair.challenge,
    Input.ELSEWHERE: lambda pair: pair.answer(302, headers=OTHER_SERVER),
    Input.REFUSED: lambda pair: pair.answer(404),
    Input.UNAVAILABLE: lambda pair: pair.answer(503),
    Input.NO_ANSWER: lambda pair: pair.wait(32),
    Input.TIMER: AccountPair.wait_for_timer,
}

CAUSE_OTHERWISE: dict[tuple[State, Input], Callable[[AccountPair], object]] = {
    (State.CONNECTING, Input.FLOW_LOST): lambda pair: pair.answer(302, headers=OTHER_SERVER),
    (State.LEAVING, Input.WITHDRAWN): lambda pair: pair.answer(503),
}


def seen(pair: AccountPair, events: int, requests: int, closings: int) -> str:
    """What the outside has seen since so many events, requests and closings, in words."""
    words = [
        f"REGISTER {'with' if request.first('authorization') else 'without'} credentials for {request.expires}"
        for request in pair.requests[requests:]
    ]
    for event in pair.events[events:]:
        if isinstance(event, Registered):
            words.append("refreshed" if event.refreshed else "registered")
        elif isinstance(event, RegistrationFailed):
            words.append("failed for good" if event.retry_in is None else "failed for now")
        elif isinstance(event, Unregistered):
            words.append(f"unregistered with {event.status}")
    words += ["flow dropped"] * len(pair.closings[closings:])
    if flow_wanted(pair):
        words.append("flow wanted")
    return ", ".join(words) or "nothing"


ROWS: list[tuple[State, Input, State, str]] = [
    (State.UNREGISTERED, Input.WANTED, State.CONNECTING, "flow wanted"),
    (State.UNREGISTERED, Input.UNWANTED, State.UNREGISTERED, "nothing"),
    (State.UNREGISTERED, Input.FLOW_OPENED, State.UNREGISTERED, "nothing"),
    (State.UNREGISTERED, Input.FLOW_FAILED, State.UNREGISTERED, "nothing"),
    (State.UNREGISTERED, Input.FLOW_REFUSED, State.UNREGISTERED, "nothing"),
    (State.UNREGISTERED, Input.FLOW_LOST, State.UNREGISTERED, "nothing"),
    (State.CONNECTING, Input.WANTED, State.CONNECTING, "flow wanted"),
    (State.CONNECTING, Input.UNWANTED, State.UNREGISTERED, "nothing"),
    (State.CONNECTING, Input.FLOW_OPENED, State.REGISTERING, "REGISTER without credentials for 3600"),
    (State.CONNECTING, Input.FLOW_FAILED, State.WAITING, "failed for now"),
    (State.CONNECTING, Input.FLOW_REFUSED, State.FAILED, "failed for good"),
    (State.CONNECTING, Input.FLOW_LOST, State.CONNECTING, "flow dropped, flow wanted"),
    (State.REGISTERING, Input.WANTED, State.REGISTERING, "nothing"),
    (State.REGISTERING, Input.UNWANTED, State.LEAVING, "nothing"),
    (State.REGISTERING, Input.FLOW_LOST, State.WAITING, "failed for now"),
    (State.REGISTERING, Input.ACCEPTED, State.REGISTERED, "registered"),
    (State.REGISTERING, Input.AGAIN, State.REGISTERING, "REGISTER with credentials for 3600"),
    (State.REGISTERING, Input.ELSEWHERE, State.CONNECTING, "flow dropped, flow wanted"),
    (State.REGISTERING, Input.REFUSED, State.FAILED, "failed for good"),
    (State.REGISTERING, Input.UNAVAILABLE, State.WAITING, "failed for now"),
    (State.REGISTERING, Input.NO_ANSWER, State.WAITING, "failed for now, flow dropped"),
    (State.REGISTERED, Input.WANTED, State.REGISTERED, "nothing"),
    (State.REGISTERED, Input.UNWANTED, State.UNREGISTERING, "REGISTER without credentials for 0"),
    (State.REGISTERED, Input.FLOW_LOST, State.WAITING, "failed for now"),
    (State.REGISTERED, Input.TIMER, State.REFRESHING, "REGISTER without credentials for 3600"),
    (State.REFRESHING, Input.WANTED, State.REFRESHING, "nothing"),
    (State.REFRESHING, Input.UNWANTED, State.LEAVING, "nothing"),
    (State.REFRESHING, Input.FLOW_LOST, State.WAITING, "failed for now"),
    (State.REFRESHING, Input.ACCEPTED, State.REGISTERED, "refreshed"),
    (State.REFRESHING, Input.AGAIN, State.REFRESHING, "REGISTER with credentials for 3600"),
    (State.REFRESHING, Input.ELSEWHERE, State.CONNECTING, "flow dropped, flow wanted"),
    (State.REFRESHING, Input.REFUSED, State.WAITING, "failed for now"),
    (State.REFRESHING, Input.UNAVAILABLE, State.WAITING, "failed for now"),
    (State.REFRESHING, Input.NO_ANSWER, State.WAITING, "failed for now, flow dropped"),
    (State.WAITING, Input.WANTED, State.CONNECTING, "flow wanted"),
    (State.WAITING, Input.UNWANTED, State.UNREGISTERED, "nothing"),
    (State.WAITING, Input.WITHDRAWN, State.UNREGISTERING, "REGISTER without credentials for 0"),
    (State.WAITING, Input.FLOW_OPENED, State.WAITING, "nothing"),
    (State.WAITING, Input.FLOW_FAILED, State.WAITING, "nothing"),
    (State.WAITING, Input.FLOW_REFUSED, State.WAITING, "nothing"),
    (State.WAITING, Input.FLOW_LOST, State.WAITING, "nothing"),
    (State.WAITING, Input.TIMER, State.CONNECTING, "flow wanted"),
    (State.LEAVING, Input.WANTED, State.REGISTERING, "nothing"),
    (State.LEAVING, Input.UNWANTED, State.LEAVING, "nothing"),
    (State.LEAVING, Input.WITHDRAWN, State.UNREGISTERING, "REGISTER without credentials for 0"),
    (State.LEAVING, Input.FLOW_LOST, State.UNREGISTERED, "unregistered with None"),
    (State.LEAVING, Input.ACCEPTED, State.UNREGISTERING, "REGISTER without credentials for 0"),
    (State.LEAVING, Input.AGAIN, State.UNREGISTERING, "REGISTER with credentials for 0"),
    (State.LEAVING, Input.ELSEWHERE, State.UNREGISTERED, "unregistered with 302"),
    (State.LEAVING, Input.REFUSED, State.UNREGISTERED, "unregistered with 404"),
    (State.LEAVING, Input.UNAVAILABLE, State.UNREGISTERED, "unregistered with 503"),
    (State.LEAVING, Input.NO_ANSWER, State.UNREGISTERED, "unregistered with None"),
    (State.UNREGISTERING, Input.UNWANTED, State.UNREGISTERING, "nothing"),
    (State.UNREGISTERING, Input.FLOW_LOST, State.UNREGISTERED, "unregistered with None"),
    (State.UNREGISTERING, Input.ACCEPTED, State.UNREGISTERED, "unregistered with 200"),
    (State.UNREGISTERING, Input.AGAIN, State.UNREGISTERING, "REGISTER with credentials for 0"),
    (State.UNREGISTERING, Input.ELSEWHERE, State.UNREGISTERED, "unregistered with 302"),
    (State.UNREGISTERING, Input.REFUSED, State.UNREGISTERED, "unregistered with 404"),
    (State.UNREGISTERING, Input.UNAVAILABLE, State.UNREGISTERED, "unregistered with 503"),
    (State.UNREGISTERING, Input.NO_ANSWER, State.UNREGISTERED, "unregistered with None"),
    (State.FAILED, Input.WANTED, State.CONNECTING, "flow wanted"),
    (State.FAILED, Input.UNWANTED, State.UNREGISTERED, "nothing"),
    (State.FAILED, Input.FLOW_OPENED, State.FAILED, "nothing"),
    (State.FAILED, Input.FLOW_FAILED, State.FAILED, "nothing"),
    (State.FAILED, Input.FLOW_REFUSED, State.FAILED, "nothing"),
    (State.FAILED, Input.FLOW_LOST, State.FAILED, "nothing"),
]


def test_the_rows_below_are_all_rows_of_the_table() -> None:
    assert {(state, given) for state, given, _, _ in ROWS} == set(TABLE)


@pytest.mark.parametrize(
    ("state", "given", "next_state", "outcome"), ROWS, ids=[f"{row[0]}-{row[1]}".replace(" ", "_") for row in ROWS]
)
def test_each_row_is_reached_by_what_happens(
    make_pair: MakePair, state: State, given: Input, next_state: State, outcome: str
) -> None:
    pair = make_pair(keep_alive=None)
    watched = Watched(pair)
    pair.account.registration = watched
    REACH_OTHERWISE.get((state, given), REACH[state])(pair)
    before = len(watched.steps), len(pair.events), len(pair.requests), len(pair.closings)
    timer = pair.account.get_timer()
    CAUSE_OTHERWISE.get((state, given), CAUSE[given])(pair)
    assert (state, given, next_state) in watched.steps[before[0] :]
    assert seen(pair, *before[1:]) == outcome
    if next_state is state and outcome in ("nothing", "flow wanted"):
        assert pair.account.get_timer() == timer


@pytest.mark.parametrize("state", State)
def test_an_input_that_the_state_does_not_know_is_a_defect_that_says_what_was_expected(
    make_pair: MakePair, state: State
) -> None:
    pair = make_pair(keep_alive=None)
    REACH[state](pair)
    unknown = next(given for given in Input if (state, given) not in TABLE)
    with pytest.raises(Defect, match=rf"{unknown} in registration state {state}: expected .*unwanted"):
        pair.account.registration.step(unknown, pair.clock.now)
    assert standing(pair) is state


# Leaving


def test_unregister_takes_our_binding_away_and_says_what_was_answered(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    mine = own(pair)
    pair.unregister()
    assert (pair.request.first("contact"), pair.request.expires) == (mine, 0)
    pair.answer(200)
    assert last(pair, Unregistered) == Unregistered(200)
    assert pair.account.registration.expires_at is None
    assert pair.account.get_timer() is None


def test_unregister_before_the_first_answer_takes_away_what_that_answer_bound(make_pair: MakePair) -> None:
    pair = make_pair()
    to_leaving(pair)
    assert len(pair.requests) == 1
    pair.answer(200, expires=600)
    assert pair.request.expires == 0
    pair.answer(200)
    assert last(pair, Unregistered) == Unregistered(200)
    assert not [event for event in pair.events if isinstance(event, Registered)]


def test_a_removal_has_rounds_of_its_own(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    for number in range(MAX_ROUNDS - 1):
        pair.challenge(nonce=f"a{number}", stale=True)
    pair.unregister()
    pair.answer(200, expires=600)
    for number in range(MAX_ROUNDS - 1):
        pair.challenge(nonce=f"b{number}", stale=True)
    pair.answer(200)
    assert last(pair, Unregistered) == Unregistered(200)


def test_unregister_while_a_refresh_failed_and_the_flow_stands_takes_the_binding_away(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    waiting_while_bound(pair)
    mine = own(pair)
    pair.unregister()
    assert (pair.request.first("contact"), pair.request.expires) == (mine, 0)
    pair.answer(200)
    assert last(pair, Unregistered) == Unregistered(200)


def test_unregister_after_the_binding_ended_by_itself_asks_nobody(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None, backoff=Backoff(1000, 1000, spread=1))
    waiting_while_bound(pair)
    pair.wait(200)
    requests = len(pair.requests)
    pair.unregister()
    assert len(pair.requests) == requests
    assert standing(pair) is State.UNREGISTERED


def test_unregister_without_a_flow_says_that_nobody_was_asked(make_pair: MakePair) -> None:
    pair = make_pair()
    to_registered(pair)
    pair.lose_flow()
    pair.unregister()
    assert last(pair, Unregistered) == Unregistered(None)
    assert pair.account.get_timer() is None


def test_unregister_where_nothing_was_bound_says_nothing(make_pair: MakePair) -> None:
    pair = make_pair()
    waiting_without_flow(pair)
    pair.unregister()
    assert not [event for event in pair.events if isinstance(event, Unregistered)]


def retry_bound(pair: AccountPair) -> float:
    retry_in = failure(pair).retry_in
    assert retry_in is not None
    return retry_in


@pytest.mark.parametrize("state", [State.CONNECTING, State.WAITING, State.FAILED])
def test_a_wish_that_was_taken_back_begins_a_new_row_of_failures(make_pair: MakePair, state: State) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    for _ in range(3):
        pair.answer(503)
        if state is State.CONNECTING:
            pair.lose_flow()
        pair.wait(retry_bound(pair))
        if state is State.CONNECTING:
            pair.open_flow()
    if state is State.CONNECTING:
        pair.lose_flow()
        pair.wait(retry_bound(pair))
    else:
        pair.answer(503 if state is State.WAITING else 404)
    assert standing(pair) is state
    pair.unregister()
    pair.register()
    pair.answer(503)
    assert 30 <= retry_bound(pair) <= 60


def test_a_wish_while_leaving_takes_the_answer_that_is_still_to_come(make_pair: MakePair) -> None:
    pair = make_pair()
    to_leaving(pair)
    pair.wish()
    pair.answer(200, expires=600)
    assert standing(pair) is State.REGISTERED
    assert len(pair.requests) == 1


def test_after_unregister_the_same_flow_serves_the_next_wish(make_pair: MakePair) -> None:
    pair = make_pair()
    to_unregistered(pair)
    pair.wish()
    assert standing(pair) is State.REGISTERING
    assert pair.request.cseq.number == 3
    pair.answer(200, expires=600)
    assert not bound(pair).refreshed


# Flows


def test_a_new_flow_takes_the_stale_binding_of_the_old_one_away(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    old = own(pair)
    pair.lose_flow()
    pair.wait(30)
    pair.open_flow()
    new, stale = pair.request.values("contact")
    assert new != old
    assert stale == f"{old};expires=0"
    assert pair.request.call_id == pair.requests[0].call_id
    assert pair.request.cseq.number == 2
    pair.answer(200, expires=600)
    assert not bound(pair).refreshed
    pair.wait_for_request()
    assert pair.request.values("contact") == [new]


def test_a_stale_binding_that_ended_by_itself_is_not_taken_away(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None, backoff=Backoff(1000, 1000, spread=1))
    to_registered(pair)
    pair.lose_flow()
    pair.wait(1000)
    pair.open_flow()
    assert len(pair.request.values("contact")) == 1


def test_leaving_on_a_new_flow_takes_both_bindings_away(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    old = own(pair)
    pair.lose_flow()
    pair.wait(30)
    pair.open_flow()
    new = own(pair)
    pair.unregister()
    pair.challenge()
    assert pair.request.values("contact") == [old, new]
    assert pair.request.expires == 0
    assert proves(pair.request)


def test_the_same_port_on_a_new_flow_names_one_binding(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    pair.lose_flow()
    pair.local = ("192.0.2.1", 40000)
    pair.wait(30)
    pair.open_flow()
    assert len(pair.request.values("contact")) == 1


def test_a_lost_flow_is_the_reason_of_the_failure(make_pair: MakePair) -> None:
    pair = make_pair()
    to_registered(pair)
    pair.lose_flow("reset by peer")
    error = failure(pair).error
    assert isinstance(error, FlowLost)
    assert error.what == "reset by peer"


def test_a_wish_taken_back_and_made_again_during_a_handshake_needs_no_second_flow(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.wish()
    pair.begin_flow()
    pair.unregister()
    pair.wish()
    assert flow_wanted(pair)
    pair.finish_flow()
    assert not flow_wanted(pair)
    assert standing(pair) is State.REGISTERING


def test_a_wish_taken_back_and_made_again_fails_with_the_handshake_under_way(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.wish()
    pair.begin_flow()
    pair.unregister()
    pair.wish()
    pair.fail_flow()
    assert not flow_wanted(pair)
    assert standing(pair) is State.WAITING
    assert isinstance(last(pair, FlowFailed), FlowFailed)
