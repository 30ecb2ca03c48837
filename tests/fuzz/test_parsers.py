"""Hostile bytes: whatever a peer sends, only MalformedMessage leaves the parsers, nothing leaves an account, and nothing takes for ever.

Seeds are the torture messages and what servers really send; mutations are drawn from a seeded generator, so that a failure comes again.
A few thousand run each time; the `heavy` ones are the same tests with more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product
from operator import attrgetter
from pathlib import Path

import pytest

from sipsua.account.config import AccountConfig
from sipsua.account.persona import GENERIC, YEALINK
from sipsua.errors import MalformedMessage
from sipsua.events import MessageDropped, RequestAnswered
from sipsua.sip.digest import AuthenticationInfo, Challenge, Credentials
from sipsua.sip.framing import MAX_HEAD, Framer, KeepAlive
from sipsua.sip.headers import (
    CSeq,
    NameAddr,
    Via,
    Warning,
    parse_date,
    parse_params,
    parse_retry_after,
    parse_seconds,
    split_list,
)
from sipsua.sip.message import Message, Request, Response, parse_head, parse_message, respond
from sipsua.sip.uri import Uri
from sipsua.testing.pair import AccountPair
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

FOLDER = Path(__file__).parent.parent / "data" / "rfc4475"

TYPICAL = [
    text.replace("\n", "\r\n").encode()
    for text in (
        """\
SIP/2.0 401 Unauthorized
Via: SIP/2.0/TLS 192.0.2.1:40000;branch=z9hG4bK1;rport=40000;received=192.0.2.1
From: "1000" <sips:1000@pbx.example.com>;tag=1
To: <sips:1000@pbx.example.com>;tag=2
Call-ID: 0_3405691582@192.0.2.1
CSeq: 1 REGISTER
WWW-Authenticate: Digest realm="pbx", nonce="b3a", algorithm=SHA-256, qop="auth,auth-int", opaque="", stale=FALSE
WWW-Authenticate: Digest realm="pbx", nonce="b3a", algorithm=MD5, qop="auth"
Proxy-Authenticate: Basic realm="x"
Server: kamailio (5.7.4 (x86_64/linux))
Content-Length: 0

""",
        """\
SIP/2.0 200 OK
v: SIP/2.0/TLS [2001:db8::1]:40000;branch=z9hG4bK1;rport=40000
f: <sips:1000@pbx.example.com>;tag=1
t: <sips:1000@pbx.example.com>;tag=2
i: a@b
CSeq: 2 REGISTER
m: <sip:1000@192.0.2.1:40000;transport=tls>;expires=60;received="sip:192.0.2.1:40000;transport=TLS", <sip:a@b>;q=0.5
Expires: 60
Path: <sip:p1;lr>, <sip:p2;lr;ob>
Service-Route: <sip:s;lr>
Authentication-Info: nextnonce="n2", qop=auth, rspauth="0123", cnonce="c", nc=00000001
Date: Sat, 13 Nov 2027 23:29:00 GMT
Warning: 399 pbx "one", 301 pbx "two \\"quoted\\""
l: 0

""",
        """\
SIP/2.0 503 Service Unavailable
Via: SIP/2.0/TLS 192.0.2.1:40000;branch=z9hG4bK1
From: <sips:1000@pbx.example.com>;tag=1
To: <sips:1000@pbx.example.com>;tag=2
Call-ID: a
CSeq: 3 REGISTER
Retry-After: 120 (maintenance);duration=600
Min-Expires: 90
Contact: <sips:other.example.com>
Content-Length: 0

""",
        """\
INVITE sips:1000@192.0.2.1:40000 SIP/2.0
Via: SIP/2.0/TLS pbx.example.com;branch=z9hG4bKx, SIP/2.0/TLS next;branch=z9hG4bKy
Record-Route: <sip:pbx.example.com;transport=tls;lr>
Route: <sips:1000@192.0.2.1:40000>
Max-Forwards: 69
From: Alice Liddell <sip:alice@example.com>;tag=9
To: <sips:1000@pbx.example.com>
Call-ID: c
CSeq: 101 INVITE
Contact: <sip:alice@192.0.2.9:5060>
Accept: application/sdp
Require: 100rel
Content-Type: application/sdp
Content-Length: 11

v=0
s=-
t=""",
        """\
NOTIFY sips:1000@192.0.2.1:40000 SIP/2.0
Via: SIP/2.0/TLS pbx.example.com;branch=z9hG4bKn
From: <sip:pbx@pbx.example.com>;tag=9
To: <sips:1000@pbx.example.com>;tag=3
Call-ID: n
CSeq: 1 NOTIFY
Event: check-sync
Subscription-State: terminated
Authorization: Digest username="a", realm="pbx", nonce="b", uri="sip:x", response="0", qop=auth, nc=00000001, cnonce="c"
Content-Length: 0

""",
    )
]
SEEDS = [path.read_bytes() for path in sorted(FOLDER.glob("*.dat"))] + TYPICAL

PIECES = [
    *[b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b" ", b"\t", b"\0", b"\x7f", b"\xff", b"\xc3\xa4"],
    *[b'"', b"\\", b'\\"', b"<", b">", b";", b",", b":", b"=", b"@", b"?", b"%", b"[", b"]", b"(", b")", b"*"],
    *["\u00b2".encode(), "\u0663".encode(), "\u017f".encode(), "\u2028".encode(), b"\xed\xb2\x80"],
    *[b"SIP/2.0", b"SIP/", b"sip:", b"sips:", b"tel:", b";tag=", b";branch=", b"z9hG4bK", b";lr", b"Digest "],
    *[b"0", b"-1", b"4294967296", b"99999999999999999999", b"9" * 400, b"65536", b"\r\nVia: ", b"\r\nContent-Length: "],
    *[b"\r\nl: 0\r\n\r\n", b"\r\nContact: *", b"\r\nRequire: x", b"ACK", b"CANCEL", b"REGISTER", b"qop=", b"nonce="],
]
"""What mutations put in: separators, odd characters, numbers at the bounds."""


def mutated(dice: random.Random) -> bytes:
    """A seed with one to six wounds."""
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0:
                data[at : at + dice.randint(1, 20)] = b""
            case 1:
                data[at:at] = dice.choice(PIECES)
            case 2:
                piece = dice.choice(PIECES)
                data[at : at + len(piece)] = piece
            case 3:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 4:
                data[at:at] = data[at : at + dice.randint(1, 60)] * dice.randint(1, 3)
            case _:
                other = dice.choice(SEEDS)
                begin = dice.randrange(len(other))
                data[at : at + dice.randint(0, 40)] = other[begin : begin + dice.randint(1, 80)]
    return bytes(data)


def cut(data: bytes, dice: random.Random) -> list[bytes]:
    """The bytes in pieces, now and then each alone."""
    if dice.randrange(10) == 0:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randint(0, 5)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


READERS: list[Callable[[Message], object]] = [
    *map(
        attrgetter,
        "via vias from_ from_.uri to to.uri call_id cseq expires min_expires retry_after date warnings authentication_info "
        "content_length index".split(),
    ),
    lambda message: [contact.uri.decoded_user for contact in message.contacts],
    *[
        lambda message, name=name: [address.uri for address in message.addresses(name)]
        for name in ("route", "record-route", "path", "service-route")
    ],
    lambda message: message.challenges("www-authenticate"),
    lambda message: message.challenges("proxy-authenticate"),
    lambda message: message.tokens("require"),
    lambda message: [Credentials.parse(value) for value in message.values("authorization")],
    lambda message: message.uri.params if isinstance(message, Request) else None,
    lambda message: message.check() if isinstance(message, Request | Response) else None,
    bytes,
    lambda message: bytes(respond(message, 200, "OK", to_tag="t")) if isinstance(message, Request) else None,
]
"""All that can be asked of a message."""


def interrogate(message: Message) -> None:
    """Ask all; an answer or MalformedMessage is right."""
    for reader in READERS:
        with suppress(MalformedMessage):
            reader(message)


def stream(parts: Iterable[bytes], *, pings: bool) -> tuple[list[bytes | KeepAlive], bool, bool]:
    """What a framer hands out, whether it failed, and whether it still waits."""
    framer = Framer(pings=pings)
    found: list[bytes | KeepAlive] = []
    for part in parts:
        framer.receive(part)
        try:
            while (frame := framer.next_frame()) is not None:
                found.append(frame if isinstance(frame, KeepAlive) else bytes(frame))
                if not isinstance(frame, KeepAlive):
                    interrogate(frame)
        except MalformedMessage as error:
            if framer.broken is not None:
                interrogate(framer.broken)
            return found, error.fatal, True
    return found, False, framer.incomplete


def counts(few: int, many: int) -> list[object]:
    """Two runs of a test: a few rounds each time, many under `heavy`."""
    return [few, pytest.param(many, marks=[pytest.mark.heavy, pytest.mark.timeout(600)])]


# The parsers


@pytest.mark.parametrize("data", SEEDS)
def test_seed_as_a_datagram_and_on_a_stream_whole_and_byte_by_byte(data: bytes) -> None:
    with suppress(MalformedMessage):
        interrogate(parse_message(data))
    assert stream([data], pings=True) == stream([data[at : at + 1] for at in range(len(data))], pings=True)


@pytest.mark.parametrize("rounds", counts(2000, 100_000))
def test_mutated_datagram(rounds: int) -> None:
    dice = random.Random(3261)
    for _ in range(rounds):
        with suppress(MalformedMessage):
            interrogate(parse_message(mutated(dice)))


@pytest.mark.parametrize("rounds", counts(700, 50_000))
def test_mutated_stream_is_the_same_however_it_is_cut(rounds: int) -> None:
    dice = random.Random(18)
    for _ in range(rounds):
        data = b"".join(mutated(dice) for _ in range(dice.randint(1, 3)))
        assert stream(cut(data, dice), pings=True) == stream([data], pings=True)


@pytest.mark.parametrize("rounds", counts(2000, 100_000))
def test_noise(rounds: int) -> None:
    dice = random.Random(7)
    for _ in range(rounds):
        data = b"".join(dice.choice(PIECES) for _ in range(dice.randint(0, 40)))
        with suppress(MalformedMessage):
            interrogate(parse_message(data))
        stream(cut(data, dice), pings=False)


def test_a_framer_that_failed_fails_again_and_does_not_go_on() -> None:
    for data in (b"GET / HTTP/1.1\r\n", b"INVITE sip:a SIP/2.0\r\n\r\nSIP/2.0 200 OK\r\nl: 0\r\n\r\n", b"\rX"):
        framer = Framer()
        framer.receive(data)
        for _ in range(3):
            with pytest.raises(MalformedMessage):
                framer.next_frame()


# A whole account


def make_pair(dice: random.Random) -> AccountPair:
    config = AccountConfig(
        uri=dice.choice(["sips:1000@pbx.example.com", "sip:1000@pbx.example.com;transport=tls"]),
        policy=Policy(anchors=TrustList.empty()),
        password="secret",
        persona=dice.choice([GENERIC, YEALINK]),
        keep_alive=None,
    )
    return AccountPair(config, dice=dice.getrandbits)


@pytest.mark.parametrize("rounds", counts(600, 50_000))
def test_an_account_answers_or_drops_mutated_bytes(rounds: int) -> None:
    dice = random.Random(4475)
    for _ in range(rounds):
        pair = make_pair(dice)
        pair.register()
        for _ in range(dice.randint(1, 3)):
            for piece in cut(mutated(dice), dice):
                pair.account.receive_data(piece, pair.clock.now)
                pair.pump()
        for event in pair.events:
            assert not isinstance(event, RequestAnswered) or 200 <= event.status <= 699
            assert not isinstance(event, MessageDropped) or event.reason
        assert b"secret" not in bytes(pair.wire)
        assert "secret" not in repr(pair.events)


CHALLENGES = [
    'Digest realm="r", nonce="n", qop="auth"',
    'Digest realm="r", nonce="n2", stale=true, algorithm=SHA-256, qop="auth-int"',
    'Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth,auth-int", opaque="o"',
    'Digest realm="r", nonce="n", algorithm=SHA-512-256, userhash=true',
    'Digest realm="\\"r%s\\"", nonce="%(nonce)s", qop=""',
    'Digest realm="r", nonce="n", algorithm=NONE',
    'Digest realm="r", nonce="n", qop="new"',
    'Digest nonce="n"',
    "Digest",
    'Basic realm="r"',
    'Basic realm="r", Digest realm="r", nonce=""',
    ",",
    "",
    '"',
]
CONTACTS = [
    *["*", "", ",", "<>", "<sips:other.example.com>", "<sip:other.example.com;transport=tls>;q=0.1, <sips:x:99999>"],
    *["<sips:pbx.example.com>", "<sips:a?Route=%3Csip:b%3E>", "<tel:1>", "<sips:[::1]:5061>", "sip:a;expires=0", "<x"],
    *["<sips:1000@192.0.2.1:40000>;expires=0", "<sips:1000@192.0.2.1:40000>;expires=99999999999", "<sips:%s%(uri)s@h>"],
]
NUMBERS = ["0", "1", "59", "3600", "7200", "4294967295", "4294967296", "-1", "soon", "", "60 (x);y", "\u0663"]
STATUSES = [
    100,
    180,
    200,
    200,
    202,
    299,
    300,
    302,
    305,
    380,
    400,
    401,
    401,
    403,
    404,
    407,
    407,
    408,
    416,
    420,
    423,
    430,
]
STATUSES += [480, 481, 486, 494, 500, 501, 503, 504, 513, 600, 603, 699]


def broken_answer(pair: AccountPair, dice: random.Random) -> bytes:
    """An answer to one of the last requests, with header fields drawn at random and now and then a wound."""
    request = dice.choice(pair.requests[-2:])
    mine = request.values("contact")[0]
    fields = {
        "Contact": [*CONTACTS, mine, f"{mine};expires=60", f"{mine};expires=soon, {mine};expires=1"],
        "WWW-Authenticate": CHALLENGES,
        "Proxy-Authenticate": CHALLENGES,
        "Authentication-Info": ['nextnonce="m"', 'nextnonce="', "qop=auth", "", ",", 'nextnonce="%s"'],
        "Proxy-Authentication-Info": ['nextnonce="m"', "x"],
        "Expires": NUMBERS,
        "Min-Expires": NUMBERS,
        "Retry-After": NUMBERS,
        "Warning": ['399 a "b"', "399", "\udcff", 'x "'],
        "Via": ["SIP/2.0/TLS other"],
    }
    chosen = [(name, dice.choice(fields[name])) for name in fields for _ in range(dice.choice([0, 0, 1, 1, 1, 2]))]
    headers = [field for field in chosen if field[0] != "Via" or dice.randrange(20) == 0]
    reason = dice.choice(["OK", "", "%s", "\u043d\u043e", "\udcff\x1b[2J"])
    data = bytes(respond(request, dice.choice(STATUSES), reason, headers, to_tag="t"))
    if dice.randrange(4) == 0:
        at = dice.randrange(len(data))
        data = data[:at] + dice.choice(PIECES) + data[at + dice.randint(0, 3) :]
    return data


@pytest.mark.parametrize("rounds", counts(400, 20_000))
def test_an_account_survives_any_sequence_of_answers_to_its_registers(rounds: int) -> None:
    dice = random.Random(10)
    for _ in range(rounds):
        pair = make_pair(dice)
        pair.register()
        for _ in range(dice.randint(1, 12)):
            if pair.account.wants_flow:
                if dice.randrange(4):
                    pair.open_flow()
                else:
                    pair.fail_flow()
            elif pair.account.has_flow and pair.requests and dice.randrange(5):
                pair.send(broken_answer(pair, dice))
            elif pair.account.get_timer() is not None:
                pair.wait_for_timer()
            if dice.randrange(12) == 0:
                pair.unregister()
        assert "secret" not in repr(pair.events)


# Nothing takes for ever

RUNS = [
    " ",
    "\t",
    "\n",
    "a",
    "1",
    '"',
    "\\",
    '\\"',
    '""',
    "<",
    ">",
    "<>",
    "<a",
    ";",
    ";a",
    ";a=",
    ";a=1",
    ";a ",
    ";a =",
    "; ",
]
RUNS += [
    ",",
    ", ",
    "a,",
    '"a",',
    "<a>,",
    "(",
    ")",
    "( ",
    ") ",
    ":",
    "a:",
    "@",
    "a@",
    "%",
    "%41",
    "=",
    "a=",
    "a=b,",
    "a=b ",
    "a b",
]
RUNS += ["\u00e4", "[", ".", "-", "/", "SIP/2.0/", " SIP/2.0", "\r\n ", "\r", "Digest ", 'x="', "&", "?", "sip:"]
BEFORE = ["", '"', "<", "<sip:a>", "SIP/2.0/TLS h", "sip:a", "sip:a@h", "1 ", "399 a ", "Digest a=", '"x" ']
AFTER = ["", "\x00", '"', ">", ")x", "x;"]

VALUE_READERS: list[Callable[[str], object]] = [
    *[Via.parse, NameAddr.parse, CSeq.parse, Warning.parse, Uri.parse, parse_params, split_list, parse_seconds],
    *[parse_retry_after, parse_date, Credentials.parse, AuthenticationInfo.parse],
    lambda text: Challenge.parse_all([text]),
]


@pytest.mark.parametrize(
    "size", [6_000, pytest.param(2 * MAX_HEAD, marks=[pytest.mark.heavy, pytest.mark.timeout(120)])]
)
@pytest.mark.parametrize("reader", VALUE_READERS)
def test_no_value_takes_more_than_linear_time(reader: Callable[[str], object], size: int) -> None:
    # Of the small size what takes cubic time does not come to an end, of the large one what takes quadratic time.
    for before, run, after in product(BEFORE, RUNS, AFTER):
        text = before + run * (size // len(run)) + after
        with suppress(MalformedMessage):
            reader(text)


@pytest.mark.parametrize("run", RUNS)
def test_no_header_section_takes_more_than_linear_time(run: str) -> None:
    for field in ("", "X", "X: ", "Via: ", "To: ", "Contact: ", "CSeq: ", "Warning: 399 ", "Retry-After: 1"):
        text = field + run * (MAX_HEAD // len(run))
        interrogate(parse_head(f"OPTIONS sip:a SIP/2.0\r\n{text[:MAX_HEAD]}\r\n"))


@pytest.mark.parametrize(
    "line", ["a:\r\n", "Via: SIP/2.0/TLS h\r\n", "l: 0\r\n", "m: <sip:a>\r\n", "x\r\n", "a:\r\n \r\n"]
)
def test_no_number_of_header_fields_takes_more_than_linear_time(line: str) -> None:
    interrogate(parse_head("OPTIONS sip:a SIP/2.0\r\n" + line * (MAX_HEAD // len(line))))


@pytest.mark.parametrize("run", RUNS)
def test_no_start_line_takes_more_than_linear_time(run: str) -> None:
    for before in ("", "OPTIONS ", "OPTIONS sip:", "SIP/2.0 ", "SIP/2.0 200 "):
        line = before + run * (MAX_HEAD // len(run))
        with suppress(MalformedMessage):
            interrogate(parse_head(line + "\r\n"))
        framer = Framer()
        with suppress(MalformedMessage):
            for at in range(0, len(line), 100):
                framer.receive(line[at : at + 100].encode())
                framer.next_frame()
