"""A stream cut into messages and keep-alives, however it comes (RFC 3261 section 18.3, RFC 5626 section 3.5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from sipsua.errors import MalformedMessage
from sipsua.sip.framing import MAX_BODY, MAX_HEAD, Framer, KeepAlive
from sipsua.sip.message import Request, Response

OK = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
MESSAGE = b"MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK2\r\nl: 9\r\n\r\nhi\r\n\r\nSIP"

Frame = Request | Response | KeepAlive


def frames(framer: Framer) -> list[Frame]:
    """All that is whole."""
    return list(iter(framer.next_frame, None))


def fed(pieces: Iterable[bytes], *, pings: bool = False) -> tuple[Framer, list[Frame]]:
    """A framer that was given `pieces` one after the other, and what it handed out."""
    framer = Framer(pings=pings)
    found = []
    for piece in pieces:
        framer.receive(piece)
        found += frames(framer)
    return framer, found


def bytewise(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def lines(found: Iterable[Frame]) -> list[str]:
    """What is easily compared: start lines and names of keep-alives."""
    return [frame.name if isinstance(frame, KeepAlive) else frame.start_line for frame in found]


def head_of(size: int) -> bytes:
    """A header section of that many bytes, without the four that end it."""
    start = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\nX: "
    return start + b"x" * (size - len(start))


def test_a_message_in_one_piece_is_handed_out_at_once() -> None:
    framer, (message,) = fed([OK])
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.body) == (200, "OK", b"")
    assert not framer.incomplete
    assert framer.next_frame() is None


def test_a_body_is_cut_by_content_length_whatever_it_holds() -> None:
    framer, (message, follower) = fed([MESSAGE + OK])
    assert isinstance(message, Request)
    assert message.body == b"hi\r\n\r\nSIP"
    assert lines([follower]) == ["SIP/2.0 200 OK"]
    assert not framer.incomplete


@pytest.mark.parametrize("data", [OK, MESSAGE, OK + MESSAGE, MESSAGE * 3 + OK])
def test_byte_by_byte_gives_the_same_messages_as_whole(data: bytes) -> None:
    framer, found = fed(bytewise(data))
    assert [bytes(frame) for frame in found if not isinstance(frame, KeepAlive)] == [
        bytes(frame) for frame in fed([data])[1] if not isinstance(frame, KeepAlive)
    ]
    assert not framer.incomplete


@pytest.mark.parametrize("cut", [1, 10, len(MESSAGE) - 9, len(MESSAGE) - 1])
def test_a_part_of_a_message_is_incomplete_until_the_rest_comes(cut: int) -> None:
    framer, found = fed([MESSAGE[:cut]])
    assert found == []
    assert framer.incomplete
    framer.receive(MESSAGE[cut:])
    assert (lines(frames(framer)), framer.incomplete) == (["MESSAGE sip:a@b SIP/2.0"], False)


def test_an_empty_piece_changes_nothing() -> None:
    framer, found = fed([b"", OK[:9], b"", OK[9:], b""])
    assert lines(found) == ["SIP/2.0 200 OK"]
    assert not framer.incomplete


# Keep-alives


@pytest.mark.parametrize("pings", [False, True])
def test_double_crlf_in_one_piece_is_a_ping(pings: bool) -> None:
    assert fed([b"\r\n\r\n"], pings=pings)[1] == [KeepAlive.PING]


def test_single_crlf_is_a_pong_at_once_where_no_pings_are_expected() -> None:
    framer, found = fed([b"\r\n"])
    assert found == [KeepAlive.PONG]
    assert not framer.incomplete


def test_single_crlf_may_be_half_a_ping_where_pings_are_expected() -> None:
    framer, found = fed([b"\r\n"], pings=True)
    assert found == []
    assert framer.incomplete
    framer.receive(b"\r")
    assert frames(framer) == []
    framer.receive(b"\n")
    assert frames(framer) == [KeepAlive.PING]
    assert not framer.incomplete


def test_single_crlf_is_a_pong_where_pings_are_expected_and_a_message_follows() -> None:
    assert lines(fed([b"\r\n" + OK], pings=True)[1]) == ["PONG", "SIP/2.0 200 OK"]
    assert lines(fed(bytewise(b"\r\n" + OK), pings=True)[1]) == ["PONG", "SIP/2.0 200 OK"]


def test_keep_alives_stand_between_messages_in_any_number() -> None:
    data = b"\r\n\r\n" + OK + b"\r\n\r\n\r\n\r\n" + MESSAGE + b"\r\n" + OK
    expected = ["PING", "SIP/2.0 200 OK", "PING", "PING", "MESSAGE sip:a@b SIP/2.0", "PONG", "SIP/2.0 200 OK"]
    for pings in (False, True):
        assert lines(fed([data], pings=pings)[1]) == expected
    assert lines(fed(bytewise(data), pings=True)[1]) == expected


def test_half_a_crlf_waits_for_the_other_half() -> None:
    framer, found = fed([b"\r"])
    assert found == []
    assert framer.incomplete
    framer.receive(b"\n")
    assert frames(framer) == [KeepAlive.PONG]


@pytest.mark.parametrize("data", [b"\rX", b"\r\n\rX", b"\r\r\n"])
@pytest.mark.parametrize("pings", [False, True])
def test_a_cr_without_its_lf_between_messages_is_fatal(data: bytes, pings: bool) -> None:
    for pieces in ([data], bytewise(data)):
        with pytest.raises(MalformedMessage, match="CR without its LF") as caught:
            fed(pieces, pings=pings)
        assert caught.value.fatal


# What is no SIP


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x00",
        b" OPTIONS sip:a SIP/2.0\r\n",
        b"\nOPTIONS sip:a SIP/2.0\r\n",
        b"INVITE\r\n",
        b"INVITE sip:a\r\n",
        b"INVITE sip:a\r\n SIP/2.0\r\n",
        b"INVITE sip:a\nb SIP/2.0\r\n",
        b"caf\xc3\xa9 sip:a SIP/2.0\r\n",
    ],
)
def test_bytes_that_are_not_sip_are_refused_before_an_empty_line_comes(data: bytes) -> None:
    for pieces in ([data], bytewise(data)):
        with pytest.raises(MalformedMessage, match="this is not SIP") as caught:
            fed(pieces)
        assert caught.value.fatal


@pytest.mark.parametrize(
    "line",
    [b"INVITE sip:a\r\n SIP/2.0", b"INVITE sip:a\nb SIP/2.0", b"INVITE sip:a HTTP/1.1", b"SIP/2.0", b"SIP/x 200 OK"],
)
def test_bytes_that_are_not_sip_are_refused_with_an_empty_line_too(line: bytes) -> None:
    for pieces in ([line + b"\r\nl: 0\r\n\r\n"], bytewise(line + b"\r\nl: 0\r\n\r\n")):
        with pytest.raises(MalformedMessage, match="this is not SIP") as caught:
            fed(pieces)
        assert caught.value.fatal


def test_what_is_not_sip_behind_a_message_does_not_hide_the_message() -> None:
    framer = Framer()
    framer.receive(OK + b"<?xml?>")
    assert lines([frame for frame in [framer.next_frame()] if frame]) == ["SIP/2.0 200 OK"]
    with pytest.raises(MalformedMessage):
        framer.next_frame()


# Content-Length and the caps


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"", "Content-Length is missing"),
        (b"Content-Length: -999\r\n", "Content-Length is no number"),
        (b"Content-Length: 1e3\r\n", "Content-Length is no number"),
        (b"Content-Length: \xc2\xb2\r\n", "Content-Length is no number"),
        (b"Content-Length:\r\n", "Content-Length is no number"),
        (b"Content-Length: 99999999999999999999\r\n", "Content-Length is no number"),
        (b"Content-Length: 13\r\nl: 5\r\n", "Content-Length differs from itself"),
    ],
)
def test_without_one_content_length_the_framing_is_lost_and_the_message_is_kept_to_be_answered(
    field: bytes, words: str
) -> None:
    data = b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/TLS h\r\n" + field + b"\r\nv=0\r\n"
    framer = Framer()
    framer.receive(data)
    with pytest.raises(MalformedMessage, match=words) as caught:
        framer.next_frame()
    assert (caught.value.status, caught.value.fatal) == (400, True)
    assert isinstance(framer.broken, Request)
    assert framer.broken.via.host == "h"


def test_the_same_content_length_twice_is_one() -> None:
    framer, found = fed([OK.replace(b"Content-Length: 0", b"Content-Length: 0\r\nl: 00")])
    assert len(found) == 1
    assert not framer.incomplete


def test_a_content_length_beyond_the_cap_is_refused_before_the_body_comes() -> None:
    framer = Framer()
    framer.receive(b"MESSAGE sip:a SIP/2.0\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1))
    with pytest.raises(MalformedMessage) as caught:
        framer.next_frame()
    assert (caught.value.status, caught.value.fatal) == (513, True)
    assert isinstance(framer.broken, Request)


def test_a_body_as_large_as_the_cap_is_taken() -> None:
    body = bytes(MAX_BODY)
    data = b"MESSAGE sip:a SIP/2.0\r\nContent-Length: %d\r\n\r\n" % MAX_BODY + body
    _, (message,) = fed(data[at : at + 16_384] for at in range(0, len(data), 16_384))
    assert isinstance(message, Request)
    assert message.body == body


@pytest.mark.parametrize("piece", [1, 1000, MAX_HEAD * 2])
def test_a_header_section_as_large_as_the_cap_is_taken_however_it_comes(piece: int) -> None:
    data = head_of(MAX_HEAD) + b"\r\n\r\n"
    assert lines(fed(data[at : at + piece] for at in range(0, len(data), piece))[1]) == ["OPTIONS sip:a SIP/2.0"]


@pytest.mark.parametrize("piece", [1, 1000, MAX_HEAD * 2])
def test_a_header_section_beyond_the_cap_is_refused_however_it_comes(piece: int) -> None:
    data = head_of(MAX_HEAD + 1) + b"\r\n\r\n"
    with pytest.raises(MalformedMessage, match="header section of") as caught:
        fed(data[at : at + piece] for at in range(0, len(data), piece))
    assert (caught.value.status, caught.value.fatal) == (513, True)


def test_a_header_section_without_end_is_refused_at_the_cap() -> None:
    framer = Framer()
    framer.receive(head_of(MAX_HEAD + 3))
    assert framer.next_frame() is None
    framer.receive(b"x")
    with pytest.raises(MalformedMessage, match="header section of more than"):
        framer.next_frame()


def test_a_long_stream_in_odd_pieces_keeps_no_more_than_what_is_not_handed_out() -> None:
    data = (MESSAGE + b"\r\n") * 3000
    framer = Framer()
    count = 0
    for at in range(0, len(data), 1021):
        framer.receive(data[at : at + 1021])
        count += len(frames(framer))
        assert len(framer._buffer) - framer._at <= len(MESSAGE) + 1
        assert len(framer._buffer) <= MAX_HEAD + 2 * 1021
    assert count == 6000
    assert not framer.incomplete
