"""CRLF keep-alive: when pings go out, which pongs are missed, and what half a message or no SIP at all does to a flow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sipsua.account.config import AccountConfig, Limits, Pongs
from sipsua.account.keepalive import KeepAlive, Pulse
from sipsua.events import FlowClosed, MessageDropped
from sipsua.sip.framing import KeepAlive as Crlf
from sipsua.testing.pair import AccountPair
from tests.account.readings import failure, last, standing, to_registered

MakeConfig = Callable[..., AccountConfig]
MakePair = Callable[..., AccountPair]

PING_EVERY = (100.0, 100.0)


def pings(pair: AccountPair) -> int:
    return pair.received.count(Crlf.PING)


@pytest.mark.parametrize(("roll", "due"), [(0, 95.0), (2**31, 107.5), (2**32 - 1, 120.0)])
def test_a_ping_is_due_between_95_and_120_s_by_the_dice(make_config: MakeConfig, roll: int, due: float) -> None:
    pulse = KeepAlive(make_config(), lambda bits: roll, now=1000.0)
    assert pulse.deadline == pytest.approx(1000 + due)
    assert pulse.handle_timer(1000 + due - 0.01) is Pulse.NOTHING
    assert pulse.handle_timer(1000 + due) is Pulse.PING


def test_each_interval_is_drawn_anew(make_config: MakeConfig) -> None:
    rolls = iter((0, 2**31))
    pulse = KeepAlive(make_config(), lambda bits: next(rolls), now=0.0)
    assert pulse.handle_timer(95) is Pulse.PING
    pulse.receive_pong(96)
    assert pulse.deadline == pytest.approx(96 + 107.5)


def test_pings_go_out_between_messages_as_double_crlf(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY)
    to_registered(pair)
    pair.wire.clear()
    pair.wait(100)
    assert bytes(pair.wire) == b"\r\n\r\n"


def test_no_pings_go_out_where_none_are_wanted(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.answer(200, expires=3600)
    pair.wait(2800)
    assert pings(pair) == 0


def test_a_server_that_never_answers_a_ping_need_not(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY)
    pair.register()
    pair.answer(200, expires=7200)
    pair.wait(1000)
    assert pings(pair) == 9
    assert pair.closings == []


def test_a_server_that_answered_once_is_expected_to_answer_always(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY)
    pair.register()
    pair.answer(200, expires=7200)
    pair.wait(100)
    pair.wait(3)
    pair.send(Crlf.PONG)
    pair.wait(100)
    assert pings(pair) == 2
    assert pair.closings == []
    pair.wait(9.9)
    assert pair.closings == []
    pair.wait(0.2)
    assert pair.closings == ["no pong came to our ping"]
    assert "the flow is dead" in failure(pair).error.fix
    assert not pair.account.lock.locked
    assert standing(pair) == "waiting"


def test_what_was_learned_ends_with_the_flow(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY)
    pair.register()
    pair.answer(200, expires=7200)
    pair.wait(100)
    pair.send(Crlf.PONG)
    pair.lose_flow()
    pair.wait(30)
    pair.open_flow()
    pair.answer(200, expires=7200)
    pair.wait(150)
    assert pair.closings == []


def test_a_required_pong_that_does_not_come_fails_the_flow_at_the_first_ping(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY, pongs=Pongs.REQUIRED, limits=Limits(pong=4))
    to_registered(pair)
    pair.wait(103.9)
    assert pair.closings == []
    pair.wait(0.2)
    assert pair.closings == ["no pong came to our ping"]


def test_a_required_pong_that_comes_keeps_the_flow(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY, pongs=Pongs.REQUIRED)
    pair.register()
    pair.answer(200, expires=7200)
    for _ in range(5):
        pair.wait(100)
        pair.send(Crlf.PONG)
    assert pings(pair) == 5
    assert pair.closings == []


def test_an_ignored_pong_is_never_missed(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY, pongs=Pongs.IGNORED)
    pair.register()
    pair.answer(200, expires=7200)
    pair.wait(100)
    pair.send(Crlf.PONG)
    pair.wait(500)
    assert pair.closings == []
    assert pings(pair) >= 5


def test_a_pong_that_nobody_asked_for_moves_no_ping(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=PING_EVERY)
    to_registered(pair)
    pair.wait(50)
    pair.send(Crlf.PONG)
    pair.wait(50)
    assert pings(pair) == 1


def test_the_server_s_ping_is_answered_at_once(make_pair: MakePair) -> None:
    pair = make_pair()
    to_registered(pair)
    pair.wire.clear()
    pair.send(Crlf.PING)
    assert bytes(pair.wire) == b"\r\n"


def test_keep_alives_between_messages_of_one_read_are_told_apart_from_them(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    response = pair.answer(100)
    final = bytes(response).replace(b"SIP/2.0 100 Trying", b"SIP/2.0 200 OK")
    pair.wire.clear()
    pair.send(b"\r\n\r\n" + final + b"\r\n")
    assert bytes(pair.wire) == b"\r\n"
    assert standing(pair) == "registered"


# Half a message


def test_a_message_in_pieces_is_one_message(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(200, expires=600, split=range(1, 200))
    assert standing(pair) == "registered"


def test_a_message_that_is_begun_and_not_finished_ends_the_flow(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    pair.send(b"OPTIONS sips:alice@192.0.2.1 SIP/2.0\r\nVia: ")
    pair.wait(31.9)
    assert pair.closings == []
    pair.wait(0.2)
    assert pair.closings == ["a message was begun and not finished"]
    assert isinstance(last(pair, FlowClosed), FlowClosed)


def test_a_body_that_does_not_come_ends_the_flow(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None, limits=Limits(message=5))
    to_registered(pair)
    pair.send(b"OPTIONS sips:alice@192.0.2.1 SIP/2.0\r\nContent-Length: 5\r\n\r\nabc")
    pair.wait(5)
    assert pair.closings == ["a message was begun and not finished"]


def test_pieces_do_not_make_the_limit_longer(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    for byte in b"OPTIONS sips:alice@192.0.2.1 SIP":
        pair.send(bytes([byte]))
        pair.wait(1)
    assert pair.closings == ["a message was begun and not finished"]


def test_a_steady_stream_whose_reads_never_end_with_a_message_goes_on(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    message = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"
    pair.send(message[:20])
    for _ in range(10):
        pair.wait(10)
        pair.send(message[20:] + message[:20])
    assert pair.closings == []


def test_a_finished_message_ends_the_wait(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    data = bytes(pair.answer(100))
    pair.send(data[:30])
    pair.wait(10)
    pair.send(data[30:])
    pair.answer(200, expires=600)
    pair.wait(100)
    assert pair.closings == []


# Framing lost


def test_bytes_that_are_no_sip_end_the_flow_and_are_named(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.wire.clear()
    pair.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert bytes(pair.wire) == b""
    assert len(pair.closings) == 1
    assert "this is not SIP" in pair.closings[0]
    assert failure(pair).error.fix == "see that the port is one that speaks SIP over TLS"
    dropped = last(pair, MessageDropped)
    assert isinstance(dropped, MessageDropped)
    assert "HTTP/1.1" in dropped.reason
    assert standing(pair) == "waiting"


def test_a_request_without_content_length_is_answered_400_and_the_flow_closed(make_pair: MakePair) -> None:
    pair = make_pair()
    to_registered(pair)
    pair.send(
        b"OPTIONS sips:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
    response = pair.responses[-1]
    assert response.status == 400
    assert "Content-Length is missing" in response.warnings[0].text
    assert response.first("call-id") == "x"
    assert response.to.tag
    assert len(pair.closings) == 1


def test_an_ack_that_breaks_the_framing_is_not_answered(make_pair: MakePair) -> None:
    pair = make_pair()
    to_registered(pair)
    pair.send(b"ACK sips:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bKx\r\n\r\n")
    assert pair.responses == []
    assert len(pair.closings) == 1


def test_a_message_ahead_of_lost_framing_still_counts(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    good = bytes(pair.answer(100)).replace(b"SIP/2.0 100 Trying", b"SIP/2.0 403 Forbidden")
    pair.send(good + b"rubbish \x00\x01\r\n\r\n")
    assert standing(pair) == "failed"
    assert len(pair.closings) == 1


def test_after_lost_framing_nothing_more_is_read(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    ok = bytes(pair.answer(100)).replace(b"SIP/2.0 100 Trying", b"SIP/2.0 200 OK")
    account = pair.account
    account.receive_data(b"\x16\x03\x01 rubbish\r\n\r\n", pair.clock.now)
    account.receive_data(ok, pair.clock.now)
    assert account.wants_close
    assert standing(pair) == "registering"
    assert account.data_to_send() == b""
