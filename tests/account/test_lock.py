"""The padlock: each row of its table as something that happens to an account, and no way to `locked` but the one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsua.account import lock as locks
from sipsua.account.lock import TABLE, Turn
from sipsua.errors import Defect, Unreachable
from sipsua.events import Lock, LockChanged, LockState, Negotiated
from sipsua.testing.clock import EPOCH
from sipsua.testing.pair import AccountPair, accepted, refused

MakePair = Callable[..., AccountPair]
AT = datetime(2026, 5, 1, tzinfo=UTC)
NEGOTIATED = Negotiated("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "pbx", "192.0.2.9:5061", ("192.0.2.1", 1), AT)


def unreachable(pair: AccountPair) -> None:
    pair.fail_flow(Unreachable("nobody listens"))


def negotiating(pair: AccountPair) -> None:
    pair.wish()
    pair.begin_flow()


def turned_away(pair: AccountPair) -> None:
    negotiating(pair)
    pair.fail_flow()
    # The next attempt is due.
    pair.wait(60)


REACH: dict[LockState, Callable[[AccountPair], None]] = {
    LockState.OPEN: AccountPair.wish,
    LockState.NEGOTIATING: negotiating,
    LockState.LOCKED: AccountPair.register,
    LockState.REFUSED: turned_away,
}

ROWS: list[tuple[LockState, Turn, Callable[[AccountPair], None], LockState]] = [
    (LockState.OPEN, Turn.NEGOTIATE, AccountPair.begin_flow, LockState.NEGOTIATING),
    (LockState.OPEN, Turn.LOSE, unreachable, LockState.OPEN),
    (LockState.NEGOTIATING, Turn.AGREE, AccountPair.finish_flow, LockState.LOCKED),
    (LockState.NEGOTIATING, Turn.REFUSE, AccountPair.fail_flow, LockState.REFUSED),
    # The door gives a handshake up because the program leaves.
    (LockState.NEGOTIATING, Turn.LOSE, AccountPair.lose_flow, LockState.OPEN),
    (LockState.LOCKED, Turn.LOSE, AccountPair.lose_flow, LockState.OPEN),
    (LockState.REFUSED, Turn.NEGOTIATE, AccountPair.begin_flow, LockState.NEGOTIATING),
    (LockState.REFUSED, Turn.LOSE, unreachable, LockState.REFUSED),
]


def standing(pair: AccountPair) -> LockState:
    return pair.account.lock.state


def test_the_rows_below_are_all_rows_of_the_table() -> None:
    assert {(state, turn) for state, turn, _, _ in ROWS} == set(TABLE)


@pytest.mark.parametrize(("state", "turn", "cause", "next_state"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_each_row_is_reached_by_what_happens(
    make_pair: MakePair,
    monkeypatch: pytest.MonkeyPatch,
    state: LockState,
    turn: Turn,
    cause: Callable[[AccountPair], None],
    next_state: LockState,
) -> None:
    pair = make_pair()
    REACH[state](pair)
    assert standing(pair) is state
    seen: list[tuple[LockState, Turn]] = []

    class Watched(dict[tuple[LockState, Turn], LockState]):
        def __getitem__(self, key: tuple[LockState, Turn]) -> LockState:
            seen.append(key)
            return super().__getitem__(key)

    monkeypatch.setattr(locks, "TABLE", Watched(TABLE))
    events = len(pair.events)
    cause(pair)
    assert (state, turn) in seen
    assert standing(pair) is next_state
    changes = [event.lock.state for event in pair.events[events:] if isinstance(event, LockChanged)]
    assert changes == ([next_state] if next_state is not state else [])


@pytest.mark.parametrize(
    ("state", "turn"),
    [(state, turn) for state in LockState for turn in Turn if (state, turn) not in TABLE and turn is not Turn.AGREE],
)
def test_a_turn_that_the_state_does_not_know_is_a_defect_that_says_what_was_expected(
    state: LockState, turn: Turn
) -> None:
    with pytest.raises(Defect, match=f"{turn} of a lock that is {state}: expected .*lose"):
        locks.turn(Lock(state=state), turn, AT)


@pytest.mark.parametrize("state", [state for state in LockState if state is not LockState.NEGOTIATING])
def test_a_lock_closes_from_negotiating_only(state: LockState) -> None:
    with pytest.raises(Defect):
        locks.close(Lock(state=state), accepted("pbx"), NEGOTIATED)


def test_a_lock_does_not_close_on_a_refused_certificate(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.wish()
    pair.begin_flow()
    with pytest.raises(Defect, match="a lock cannot close on a refused certificate"):
        pair.finish_flow(refused("pbx.example.com").verdict)
    assert standing(pair) is LockState.NEGOTIATING
    assert not pair.account.has_flow


def test_a_closed_lock_says_since_when_with_whom_and_by_which_trust(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.wish()
    pair.begin_flow()
    pair.wait(0.25)
    pair.finish_flow()
    lock = pair.account.lock
    assert lock.locked
    assert lock == Lock(
        state=LockState.LOCKED,
        since=EPOCH.replace(microsecond=250000),
        verified=True,
        protocol="TLSv1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        group="X25519",
        server_name="pbx.example.com",
        peer="192.0.2.99:5061",
        anchor="CN=Test CA",
        anchor_list="custom",
    )


def test_a_lock_on_a_certificate_that_nobody_verified_says_so() -> None:
    verdict = replace(accepted("pbx"), verified=False, anchor=None, anchor_list=None)
    lock = locks.close(Lock(state=LockState.NEGOTIATING), verdict, NEGOTIATED)
    assert lock.locked
    assert not lock.verified


def test_the_lock_leaves_locked_in_the_call_that_tells_of_the_lost_flow(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(200, expires=600)
    pair.wait(10)
    pair.account.unregister(pair.clock.now)
    assert standing(pair) is LockState.LOCKED
    pair.lose_flow()
    lock = pair.account.lock
    assert (lock.state, lock.since, lock.verified, lock.protocol, lock.anchor) == (
        LockState.OPEN,
        pair.clock.at,
        False,
        None,
        None,
    )
    # Before anything else that follows from it.
    kinds = [type(event).__name__ for event in pair.events]
    assert kinds.index("LockChanged", kinds.index("Registered")) < kinds.index("FlowClosed")


def test_a_server_that_cannot_be_reached_leaves_the_reason_of_the_last_refusal(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.wish()
    pair.begin_flow()
    pair.fail_flow(refused("pbx.example.com"))
    verdict = pair.account.verdict
    pair.wish()
    unreachable(pair)
    assert standing(pair) is LockState.REFUSED
    assert pair.account.verdict is verdict


@given(
    moves=st.lists(
        st.sampled_from(["wish", "leave", "begin", "finish", "fail", "refuse", "lose", "answer", "wait"]), max_size=30
    )
)
def test_locked_never_stands_without_a_flow_that_was_negotiated_and_accepted(
    make_pair: MakePair, moves: list[str]
) -> None:
    pair = make_pair()
    account = pair.account
    negotiating = False
    for move in moves:
        if move == "wish" and account.registration.state != "unregistering":
            pair.wish()
        elif move == "leave":
            pair.unregister()
        elif move == "begin" and account.wants_flow and not negotiating and not account.has_flow:
            pair.begin_flow()
            negotiating = True
        elif move == "finish" and negotiating:
            pair.finish_flow()
            negotiating = False
        elif move in ("fail", "refuse") and negotiating:
            pair.fail_flow(refused("pbx.example.com") if move == "refuse" else None)
            negotiating = False
        elif move == "lose" and account.has_flow:
            pair.lose_flow()
        elif move == "answer" and account.has_flow and pair.requests:
            pair.answer(200, expires=600)
        elif move == "wait":
            pair.wait(40)
        assert account.lock.locked == account.has_flow
        assert (account.lock.state is LockState.NEGOTIATING) == negotiating
        if account.lock.locked:
            assert account.verdict is not None
            assert account.verdict.accepted
