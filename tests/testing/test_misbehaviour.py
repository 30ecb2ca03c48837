"""The edits that scripts are made of."""

from __future__ import annotations

import pytest

from sipsua.errors import MalformedMessage
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.message import Response
from sipsua.testing import misbehaviour
from sipsua.testing.misbehaviour import Edit, Step, Then

ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nContact: <sip:a@b>;expires=60\r\n"
    b"contact: <sip:c@d>\r\nContent-Length: 0\r\n\r\n"
)


def frames(data: bytes) -> list[object]:
    framer = Framer()
    framer.receive(data)
    return list(iter(framer.next_frame, None))


def test_a_plain_step_does_nothing_wrong() -> None:
    step = Step()
    assert step.edit(ANSWER) == ANSWER
    assert (step.status, step.stale, step.delay, step.ask, step.then) == (None, False, 0.0, "", Then.GO_ON)


def test_silence_leaves_nothing() -> None:
    assert misbehaviour.silence(ANSWER) == b""


def test_twice_makes_two_whole_messages() -> None:
    assert len(frames(misbehaviour.twice(ANSWER))) == 2


def test_half_makes_no_whole_message() -> None:
    assert frames(misbehaviour.half(ANSWER)) == []
    assert ANSWER.startswith(misbehaviour.half(ANSWER))


@pytest.mark.parametrize("edit", [misbehaviour.garbage, misbehaviour.without_content_length])
def test_garbage_and_a_missing_length_break_the_framing(edit: Edit) -> None:
    with pytest.raises(MalformedMessage) as caught:
        frames(edit(ANSWER))
    assert caught.value.fatal


def test_a_ping_stands_before_the_answer() -> None:
    first, second = frames(misbehaviour.ping_first(ANSWER))
    assert first is KeepAlive.PING
    assert isinstance(second, Response)


def test_contacts_take_the_place_of_all_that_were_there() -> None:
    (message,) = frames(misbehaviour.contacts("<sip:x@y>;expires=1", "<sip:z@y>")(ANSWER))
    assert isinstance(message, Response)
    assert message.values("contact") == ["<sip:x@y>;expires=1", "<sip:z@y>"]
    (message,) = frames(misbehaviour.contacts()(ANSWER))
    assert isinstance(message, Response)
    assert "contact" not in message.index
