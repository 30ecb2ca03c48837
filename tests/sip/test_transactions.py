"""The non-INVITE transactions: every row of both tables, every timer by a hand-cranked clock, and the matching (RFC 3261 section 17)."""

from __future__ import annotations

from itertools import product

import pytest

from sipsua.errors import Defect, MalformedMessage
from sipsua.sip.message import Request, Response, respond
from sipsua.sip.timers import T1, T2, T4
from sipsua.sip.transactions import (
    CLIENT,
    SERVER,
    ClientTransaction,
    Input,
    Key,
    Outcome,
    ServerTransaction,
    State,
    Transactions,
)

# The tables, row by row. What is written here is figure 6 and figure 8 of RFC 3261, and what its text says of repeats.

TRYING, PROCEEDING, COMPLETED, TERMINATED = State

CLIENT_ROWS = [
    (TRYING, Input.TIMER_E, TRYING, Outcome.RETRANSMIT),
    (TRYING, Input.PROVISIONAL, PROCEEDING, Outcome.DELIVER),
    (TRYING, Input.FINAL, COMPLETED, Outcome.DELIVER),
    (TRYING, Input.TIMER_F, TERMINATED, Outcome.TIMEOUT),
    (TRYING, Input.TRANSPORT_ERROR, TERMINATED, Outcome.FAILED),
    (PROCEEDING, Input.TIMER_E, PROCEEDING, Outcome.RETRANSMIT),
    (PROCEEDING, Input.PROVISIONAL, PROCEEDING, Outcome.DELIVER),
    (PROCEEDING, Input.FINAL, COMPLETED, Outcome.DELIVER),
    (PROCEEDING, Input.TIMER_F, TERMINATED, Outcome.TIMEOUT),
    (PROCEEDING, Input.TRANSPORT_ERROR, TERMINATED, Outcome.FAILED),
    (COMPLETED, Input.PROVISIONAL, COMPLETED, Outcome.NOTHING),
    (COMPLETED, Input.FINAL, COMPLETED, Outcome.NOTHING),
    (COMPLETED, Input.TIMER_K, TERMINATED, Outcome.NOTHING),
    (COMPLETED, Input.TRANSPORT_ERROR, TERMINATED, Outcome.NOTHING),
]
SERVER_ROWS = [
    (TRYING, Input.REQUEST, TRYING, Outcome.NOTHING),
    (TRYING, Input.PROVISIONAL, PROCEEDING, Outcome.SEND),
    (TRYING, Input.FINAL, COMPLETED, Outcome.SEND),
    (TRYING, Input.TRANSPORT_ERROR, TERMINATED, Outcome.FAILED),
    (PROCEEDING, Input.REQUEST, PROCEEDING, Outcome.RETRANSMIT),
    (PROCEEDING, Input.PROVISIONAL, PROCEEDING, Outcome.SEND),
    (PROCEEDING, Input.FINAL, COMPLETED, Outcome.SEND),
    (PROCEEDING, Input.TRANSPORT_ERROR, TERMINATED, Outcome.FAILED),
    (COMPLETED, Input.REQUEST, COMPLETED, Outcome.RETRANSMIT),
    (COMPLETED, Input.FINAL, COMPLETED, Outcome.NOTHING),
    (COMPLETED, Input.TIMER_J, TERMINATED, Outcome.NOTHING),
    (COMPLETED, Input.TRANSPORT_ERROR, TERMINATED, Outcome.FAILED),
]


def client(*, reliable: bool = False) -> ClientTransaction:
    return ClientTransaction("z9hG4bK1", "REGISTER", b"request", 100.0, reliable=reliable)


def client_in(state: State) -> ClientTransaction:
    """A client transaction over UDP that came to `state` by what its tests show."""
    transaction = client()
    if state is PROCEEDING:
        transaction.receive(100, 100.0)
    elif state is COMPLETED:
        transaction.receive(200, 100.0)
    elif state is TERMINATED:
        transaction.lose_transport()
    assert transaction.state is state
    return transaction


def server_in(state: State, *, reliable: bool = False) -> ServerTransaction:
    transaction = ServerTransaction(Key("z9hG4bK1", "h:5061", "OPTIONS"), reliable=reliable)
    if state in (PROCEEDING, TERMINATED):
        transaction.respond(100, b"100", 100.0)
    if state is COMPLETED:
        transaction.respond(200, b"200", 100.0)
    elif state is TERMINATED:
        transaction.lose_transport()
    assert transaction.state is state
    return transaction


def test_the_tables_hold_these_rows_and_no_others() -> None:
    assert {(state, given): (then, outcome) for state, given, then, outcome in CLIENT_ROWS} == CLIENT
    assert {(state, given): (then, outcome) for state, given, then, outcome in SERVER_ROWS} == SERVER


@pytest.mark.parametrize(("state", "given", "then", "outcome"), CLIENT_ROWS)
def test_client_row(state: State, given: Input, then: State, outcome: Outcome) -> None:
    transaction = client_in(state)
    assert transaction._step(given) is outcome
    assert transaction.state is then


@pytest.mark.parametrize(("state", "given", "then", "outcome"), SERVER_ROWS)
def test_server_row(state: State, given: Input, then: State, outcome: Outcome) -> None:
    transaction = server_in(state)
    assert transaction._step(given) is outcome
    assert transaction.state is then


@pytest.mark.parametrize(("state", "given"), [pair for pair in product(State, Input) if pair not in CLIENT])
def test_client_pair_that_is_no_row_is_a_defect_that_says_what_was_expected(state: State, given: Input) -> None:
    transaction = client_in(state)
    expected = "nothing" if state is TERMINATED else "200-699"
    with pytest.raises(Defect, match=f"^{given} in state {state} of a transaction: expected .*{expected}"):
        transaction._step(given)
    assert transaction.state is state


@pytest.mark.parametrize(("state", "given"), [pair for pair in product(State, Input) if pair not in SERVER])
def test_server_pair_that_is_no_row_is_a_defect_that_says_what_was_expected(state: State, given: Input) -> None:
    transaction = server_in(state)
    expected = "nothing" if state is TERMINATED else "request"
    with pytest.raises(Defect, match=f"^{given} in state {state} of a transaction: expected .*{expected}"):
        transaction._step(given)
    assert transaction.state is state


# Timers of the client


def crank(transaction: ClientTransaction | ServerTransaction, until: float = 1000.0) -> list[tuple[float, Outcome]]:
    """What happens, and when, if nothing but time comes."""
    happened = []
    while (now := transaction.deadline) is not None and now <= until:
        happened.append((now, transaction.handle_timer(now)))
    return happened


def test_over_udp_timer_e_doubles_up_to_t2_until_timer_f_gives_up() -> None:
    transaction = client()
    again = [100.5, 101.5, 103.5, *[103.5 + T2 * n for n in range(1, 8)]]
    assert crank(transaction) == [*[(at, Outcome.RETRANSMIT) for at in again], (132.0, Outcome.TIMEOUT)]
    assert transaction.state is TERMINATED
    assert transaction.last_sent == b"request"


def test_over_udp_timer_e_waits_t2_once_a_provisional_answer_came() -> None:
    transaction = client()
    assert transaction.receive(100, 100.1) is Outcome.DELIVER
    again = [100.5, *[100.5 + T2 * n for n in range(1, 8)]]
    assert crank(transaction) == [*[(at, Outcome.RETRANSMIT) for at in again], (132.0, Outcome.TIMEOUT)]


def test_over_udp_timer_k_absorbs_repeats_of_the_final_answer_for_t4() -> None:
    transaction = client()
    assert transaction.receive(200, 100.2) is Outcome.DELIVER
    assert transaction.receive(200, 100.7) is Outcome.NOTHING
    assert transaction.receive(100, 100.8) is Outcome.NOTHING
    assert crank(transaction) == [(100.2 + T4, Outcome.NOTHING)]
    assert transaction.state is TERMINATED


def test_over_tls_nothing_is_repeated_and_timer_f_gives_up_at_64_t1() -> None:
    transaction = client(reliable=True)
    assert transaction.deadline == 100.0 + 64 * T1
    assert crank(transaction) == [(132.0, Outcome.TIMEOUT)]


def test_over_tls_the_final_answer_ends_the_transaction_at_once() -> None:
    transaction = client(reliable=True)
    assert transaction.receive(100, 100.1) is Outcome.DELIVER
    assert transaction.receive(401, 100.2) is Outcome.DELIVER
    assert transaction.state is TERMINATED
    assert transaction.deadline is None


def test_a_timer_that_is_not_due_does_nothing() -> None:
    transaction = client()
    assert transaction.handle_timer(100.49) is Outcome.NOTHING
    assert transaction.deadline == 100.5


def test_a_clock_that_jumps_beyond_timer_f_gives_up_without_a_retransmission() -> None:
    transaction = client()
    assert transaction.handle_timer(500.0) is Outcome.TIMEOUT
    assert transaction.deadline is None


def test_another_t1_scales_timers_e_and_f() -> None:
    transaction = ClientTransaction("z9hG4bK1", "REGISTER", b"", 0.0, reliable=False, t1=1.0)
    assert crank(transaction)[:3] == [(1.0, Outcome.RETRANSMIT), (3.0, Outcome.RETRANSMIT), (7.0, Outcome.RETRANSMIT)]
    assert ClientTransaction("z9hG4bK1", "REGISTER", b"", 0.0, t1=1.0).deadline == 64.0


@pytest.mark.parametrize(("state", "outcome"), [(TRYING, Outcome.FAILED), (PROCEEDING, Outcome.FAILED)])
def test_a_lost_transport_fails_a_client_that_waits(state: State, outcome: Outcome) -> None:
    transaction = client_in(state)
    assert transaction.lose_transport() is outcome
    assert transaction.lose_transport() is Outcome.NOTHING
    assert transaction.deadline is None


# Timers of the server


def test_over_udp_timer_j_answers_repeats_for_64_t1() -> None:
    transaction = server_in(TRYING)
    assert transaction.receive() is Outcome.NOTHING
    assert transaction.respond(100, b"100", 100.0) is Outcome.SEND
    assert (transaction.receive(), transaction.last_sent) == (Outcome.RETRANSMIT, b"100")
    assert transaction.respond(200, b"200", 101.0) is Outcome.SEND
    assert (transaction.receive(), transaction.last_sent) == (Outcome.RETRANSMIT, b"200")
    assert crank(transaction) == [(101.0 + 64 * T1, Outcome.NOTHING)]
    assert transaction.state is TERMINATED


def test_over_tls_timer_j_is_zero() -> None:
    transaction = server_in(COMPLETED, reliable=True)
    assert crank(transaction) == [(100.0, Outcome.NOTHING)]
    assert transaction.state is TERMINATED


def test_a_second_final_answer_is_not_sent_and_does_not_replace_the_first() -> None:
    transaction = server_in(COMPLETED)
    assert transaction.respond(486, b"486", 101.0) is Outcome.NOTHING
    assert transaction.last_sent == b"200"


def test_a_provisional_answer_after_the_final_one_is_a_defect() -> None:
    with pytest.raises(Defect):
        server_in(COMPLETED).respond(180, b"180", 101.0)


# Matching of responses


def request(method: str = "OPTIONS", *, via: str = "SIP/2.0/TLS pbx;branch=z9hG4bK1", cseq: str = "1") -> Request:
    fields = [
        ("Via", via),
        ("From", "<sip:b@x>;tag=f"),
        ("To", "<sip:a@x>"),
        ("Call-ID", "c"),
        ("CSeq", f"{cseq} {method}"),
    ]
    return Request(method, "sip:a@x", fields)


def answer(
    status: int, *, branch: str = "z9hG4bKmine", method: str = "REGISTER", via: str = "", version: str = "SIP/2.0"
) -> Response:
    fields = [("Via", f"SIP/2.0/TLS me;branch={branch}{via}"), ("CSeq", f"1 {method}")]
    return Response(status, "", fields, version=version)


def test_a_response_finds_its_request_by_branch_and_method() -> None:
    transactions = Transactions()
    mine = transactions.open_client("z9hG4bKmine", "REGISTER", b"x", 0.0)
    other = transactions.open_client("z9hG4bKother", "REGISTER", b"y", 0.0)
    assert transactions.match_response(answer(200, branch="z9hG4bKnone"), 1.0) is None
    assert transactions.match_response(answer(200, branch="z9hG4bKMINE"), 1.0) is None
    assert transactions.match_response(answer(200, method="OPTIONS"), 1.0) is None
    assert transactions.match_response(answer(100), 1.0) is mine
    assert transactions.match_response(answer(200), 2.0) is mine
    assert transactions.match_response(answer(200), 3.0) is None
    assert transactions.match_response(answer(200, branch="z9hG4bKother"), 3.0) is other


@pytest.mark.parametrize(
    ("via", "cseq"),
    [
        ("SIP/2.0/TLS me;branch=z9hG4bKmine;rport=5;received=192.0.2.1", "1 REGISTER"),
        ("SIP/2.0/TLS me;rport=5;received=192.0.2.1;branch=z9hG4bKmine", "1 REGISTER"),
        ("SIP / 2.0 / TLS me:5061 ; Branch = z9hG4bKmine", "1 \t REGISTER"),
        ('SIP/2.0/TLS me;branch=z9hG4bKmine;note="a, b;branch=z9hG4bKother"', "0000000000001 REGISTER"),
        ('SIP/2.0/TLS me;note=";branch=z9hG4bKother";branch=z9hG4bKmine', "1 REGISTER"),
    ],
)
def test_a_response_is_matched_however_its_server_writes_via_and_cseq(via: str, cseq: str) -> None:
    transactions = Transactions()
    mine = transactions.open_client("z9hG4bKmine", "REGISTER", b"x", 0.0)
    assert transactions.match_response(Response(200, "OK", [("Via", via), ("CSeq", cseq)]), 1.0) is mine


@pytest.mark.parametrize(
    "response",
    [
        answer(200, via=", SIP/2.0/TLS other"),
        answer(200, version="SIP/3.0"),
        Response(200, "OK", [("CSeq", "1 REGISTER")]),
        Response(200, "OK", [("Via", "SIP/2.0/TLS me;branch=z9hG4bKmine")]),
        Response(200, "OK", [("Via", "SIP/2.0/TLS me;branch=z9hG4bKmine"), ("CSeq", "x REGISTER")]),
        Response(200, "OK", [("Via", "TLS me;branch=z9hG4bKmine"), ("CSeq", "1 REGISTER")]),
        Response(200, "OK", [("Via", "SIP/2.0/TLS me;branch=z9hG4bKmine"), ("CSeq", "1REGISTER REGISTER")]),
        Response(200, "OK", [("Via", "SIP/2.0/TLS me;branch=z9hG4bKmine"), ("Via", "x"), ("CSeq", "1 REGISTER")]),
    ],
)
def test_a_response_that_is_not_for_us_or_cannot_be_matched_is_refused_and_the_transaction_goes_on(
    response: Response,
) -> None:
    transactions = Transactions()
    transactions.open_client("z9hG4bKmine", "REGISTER", b"x", 0.0)
    with pytest.raises(MalformedMessage):
        transactions.match_response(response, 1.0)
    assert transactions.match_response(answer(200), 1.0) is not None


def test_a_response_with_a_defect_is_refused() -> None:
    response = answer(200)
    response.defect = MalformedMessage("x")
    with pytest.raises(MalformedMessage, match="x"):
        Transactions().match_response(response, 1.0)


def test_timer_f_reports_each_request_that_no_answer_came_to_once() -> None:
    transactions = Transactions()
    transactions.open_client("z9hG4bKa", "REGISTER", b"", 0.0)
    transactions.open_client("z9hG4bKb", "REGISTER", b"", 5.0)
    assert transactions.deadline == 32.0
    assert transactions.handle_timer(31.9) == []
    assert [transaction.branch for transaction in transactions.handle_timer(32.0)] == ["z9hG4bKa"]
    assert transactions.deadline == 37.0
    assert transactions.match_response(answer(200, branch="z9hG4bKa"), 33.0) is None
    assert [transaction.branch for transaction in transactions.handle_timer(99.0)] == ["z9hG4bKb"]
    assert transactions.deadline is None


# Matching of requests


def test_a_request_is_new_once_then_repeated_bytes() -> None:
    transactions = Transactions()
    transaction = transactions.match_request(request(), 0.0)
    assert isinstance(transaction, ServerTransaction)
    assert transactions.match_request(request(), 0.1) is None
    trying = transactions.respond(transaction, respond(request(), 100, "Trying"), 0.2)
    assert trying.startswith(b"SIP/2.0 100 ")
    assert transactions.match_request(request(), 0.3) == trying
    final = transactions.respond(transaction, respond(request(), 200, "OK"), 0.4)
    assert final.startswith(b"SIP/2.0 200 ")
    assert transactions.match_request(request(), 0.5) == final
    assert transactions.match_request(request(), 500.0) == final
    assert transactions.deadline is None


def test_a_request_that_was_answered_is_not_answered_otherwise() -> None:
    transactions = Transactions()
    transaction = transactions.match_request(request(), 0.0)
    assert isinstance(transaction, ServerTransaction)
    final = transactions.respond(transaction, respond(request(), 200, "OK"), 0.4)
    assert transactions.respond(transaction, respond(request(), 486, "Busy Here"), 0.5) == b""
    assert transactions.match_request(request(), 0.6) == final


def test_the_last_8_answers_are_kept_and_no_more() -> None:
    transactions = Transactions()
    for number in range(9):
        one = request(via=f"SIP/2.0/TLS pbx;branch=z9hG4bK{number}")
        transaction = transactions.match_request(one, 0.0)
        assert isinstance(transaction, ServerTransaction)
        transactions.respond(transaction, respond(one, 200, "OK"), 0.0)
    again = [
        transactions.match_request(request(via=f"SIP/2.0/TLS pbx;branch=z9hG4bK{number}"), 1.0) for number in range(9)
    ]
    assert isinstance(again[0], ServerTransaction)
    assert all(
        isinstance(one, bytes) and b"branch=z9hG4bK%d\r\n" % number in one for number, one in enumerate(again) if number
    )


@pytest.mark.parametrize(
    "other",
    [
        request(via="SIP/2.0/TLS pbx;branch=z9hG4bK2"),
        request(via="SIP/2.0/TLS other;branch=z9hG4bK1"),
        request(via="SIP/2.0/TLS pbx:5062;branch=z9hG4bK1"),
        request("MESSAGE"),
    ],
)
def test_another_branch_sender_or_method_is_another_request(other: Request) -> None:
    transactions = Transactions()
    transactions.match_request(request(), 0.0)
    assert isinstance(transactions.match_request(other, 0.0), ServerTransaction)


@pytest.mark.parametrize(
    "via",
    [
        "SIP/2.0/TLS PBX;branch=z9hG4bK1",
        "SIP/2.0/TLS pbx:5061;branch=z9hG4bK1",
        "SIP/2.0/TCP pbx;branch=z9hG4bK1;rport",
    ],
)
def test_the_sender_is_compared_without_case_and_with_its_default_port(via: str) -> None:
    transactions = Transactions()
    transactions.match_request(request(), 0.0)
    assert transactions.match_request(request(via=via), 0.0) is None


@pytest.mark.parametrize("via", ["SIP/2.0/TLS pbx", "SIP/2.0/TLS pbx;branch=1", "SIP/2.0/TLS pbx;branch=z9hG4bK"])
def test_an_rfc_2543_peer_is_matched_by_the_whole_of_what_makes_its_request(via: str) -> None:
    transactions = Transactions()
    transaction = transactions.match_request(request(via=via), 0.0)
    assert isinstance(transaction, ServerTransaction)
    assert transactions.match_request(request(via=via), 0.0) is None
    assert isinstance(transactions.match_request(request(via=via, cseq="2"), 0.0), ServerTransaction)
    final = transactions.respond(transaction, respond(request(via=via), 200, "OK"), 0.0)
    assert transactions.match_request(request(via=via), 0.0) == final


@pytest.mark.parametrize(
    ("faulty", "status"),
    [
        (Request("OPTIONS", "sip:a"), 400),
        (request(via="SIP/2.0/TLS"), 400),
        (Request("OPTIONS", "sip:a", [("Via", "SIP/2.0/TLS pbx")]), 400),
        (Request("OPTIONS", "sip:a", [("Via", "SIP/7.0/TLS pbx")], version="SIP/7.0"), 505),
    ],
)
def test_a_request_that_cannot_be_matched_is_refused_with_the_status_that_answers_it(
    faulty: Request, status: int
) -> None:
    with pytest.raises(MalformedMessage) as caught:
        Transactions().match_request(faulty, 0.0)
    assert caught.value.status == status


def test_a_lost_transport_ends_all() -> None:
    transactions = Transactions()
    transactions.open_client("z9hG4bKmine", "REGISTER", b"x", 0.0)
    waiting = transactions.match_request(request(), 0.0)
    answered = transactions.match_request(request("MESSAGE"), 0.0)
    assert isinstance(answered, ServerTransaction)
    transactions.respond(answered, respond(request("MESSAGE"), 200, "OK"), 0.0)
    transactions.lose_transport()
    assert transactions.deadline is None
    assert transactions.match_response(answer(200), 1.0) is None
    assert isinstance(waiting, ServerTransaction)
    assert waiting.state is TERMINATED
    assert isinstance(transactions.match_request(request(), 1.0), ServerTransaction)
    assert isinstance(transactions.match_request(request("MESSAGE"), 1.0), ServerTransaction)
