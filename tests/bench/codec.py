"""What SIP itself costs, without TLS, sockets and loop: one message parsed and typed, and one whole refresh.

The reference of the same run is the least that Python can do: a parser that only splits lines into a dict, and a refresh that only
fills in templates, hashes, and parses so. It checks nothing, keeps no order, knows no list, no quotes, no folding and no second message
on the stream; how many times its cost ours is, is what these benches watch. Both run in turns, and the best of many rounds counts, so
that a busy machine does not matter much. A Python that was built with profile-guided optimisation takes about a quarter less.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sipsua.account.account import Account
from sipsua.account.config import AccountConfig
from sipsua.events import Negotiated
from sipsua.sip.framing import Framer
from sipsua.sip.message import Request, parse_message, respond
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Verdict
from tests.bench.table import Row

OK = """\
SIP/2.0 200 OK
Via: SIP/2.0/TLS 10.0.0.1:40212;branch=z9hG4bK7d3f0c1e2a9b4455;rport=40212;received=10.0.0.1
From: <sips:1000@pbx.example.com>;tag=8a1c3e5f7b9d2046
To: <sips:1000@pbx.example.com>;tag=as58f4201b
Call-ID: 3c26b1f2a8e0947d5b6c1f2e@10.0.0.1
CSeq: 2 REGISTER
Server: kamailio (5.7.4 (x86_64/linux))
Contact: <sips:1000@10.0.0.1:40212>;expires=3600
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE
Supported: replaces, timer
Date: Sat, 13 Nov 2027 23:29:00 GMT
Content-Length: 0

""".replace("\n", "\r\n").encode()
"""As a Kamailio answers a REGISTER."""

CYCLES = 200
"""Refreshes in one round."""


def bench() -> list[Row]:
    """All figures of this module."""
    return [*parse_typed(), *refresh_sip()]


def parse_typed() -> list[Row]:
    """A 200 off the stream, with Via, From, To, CSeq and Contact typed."""
    framer = Framer()

    def ours() -> None:
        for _ in range(500):
            framer.receive(OK)
            message = framer.next_frame()
            assert message is not None
            _ = (message.via, message.from_, message.to, message.cseq, message.contacts)  # type: ignore[union-attr]

    def reference() -> None:
        for _ in range(500):
            fields = bare_parse(OK)
            _ = [bare_value(fields[name]) for name in ("Via", "From", "To", "Contact")]
            fields["CSeq"].split()

    took, least = (seconds / 500 for seconds in best_of(ours, reference))
    return [
        Row("parse and type a 200", took * 1e6, "µs", "bare split and partition", took / least, "≤ 16 µs"),
        Row("the same", 1 / took, "messages/s", budget="≥ 60,000/s"),
    ]


def refresh_sip() -> list[Row]:
    """Both kinds of refresh on an open flow: builds, parses, the digest, all machines and the event."""
    rows = []
    for challenged, what in (
        (True, "SIP of a refresh with challenge"),
        (False, "SIP of a refresh with a reused nonce"),
    ):
        took, least = _refresh(challenged)
        rows.append(Row(what, took, "µs", "bare templates, splits and hashes", took / least, "≤ 45 µs"))
    return rows


def refresh_cost(challenged: bool) -> float:
    """Microseconds of CPU of a refresh: REGISTER, 401, REGISTER, 200; or REGISTER and 200, where the nonce is used again."""
    return _refresh(challenged)[0]


def _refresh(challenged: bool) -> tuple[float, float]:
    """Microseconds of a refresh of ours and of the reference."""
    config = AccountConfig(
        uri="sips:1000@pbx.example.com",
        policy=Policy(anchors=TrustList.empty()),
        password="a password",
        keep_alive=None,
    )
    answers = recorded_answers(config, challenged)

    def ours() -> None:
        again = iter(answers)
        play(config, lambda _request: next(again))

    def reference() -> None:
        for number, answer in enumerate(answers):
            bare_request(number)
            fields = bare_parse(answer)
            _ = [bare_value(fields[name]) for name in ("Via", "Contact") if name in fields]
            if "WWW-Authenticate" not in fields:
                bare_digest(fields["Call-ID"])

    took, least = best_of(ours, reference)
    return took / CYCLES * 1e6, least / CYCLES * 1e6


def best_of(first: Callable[[], None], second: Callable[[], None], rounds: int = 40) -> tuple[float, float]:
    """CPU seconds of the fastest round of each, the two in turns."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for index, run in enumerate((first, second)):
            begun = time.process_time()
            run()
            best[index] = min(best[index], time.process_time() - begun)
    return best[0], best[1]


def play(config: AccountConfig, answer: Callable[[bytes], bytes]) -> None:
    """Register, and refresh until there were `CYCLES` bindings. `answer` gives the server's bytes for a request."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    account = Account(config, random.Random(45).getrandbits)
    account.register(0.0)
    account.flow_negotiating(at)
    verdict = Verdict(accepted=True, verified=True, policy="rfc2818", reference="pbx.example.com")
    negotiated = Negotiated("TLSv1.3", "x", "X25519", "pbx.example.com", "192.0.2.9:5061", ("192.0.2.1", 40000), at)
    now = 0.0
    account.flow_opened(verdict, negotiated, {}, now)
    for cycle in range(CYCLES):
        if cycle:
            now = account.get_timer() or now
            account.handle_timer(now)
        while data := account.data_to_send():
            account.receive_data(answer(data), now)
        while account.next_event():
            pass


def recorded_answers(config: AccountConfig, challenged: bool) -> list[bytes]:
    """What a server answers, one that challenges in each cycle or in the first one only; the same dice make the same requests,
    so it can be played again."""
    answers: list[bytes] = []

    def answer(data: bytes) -> bytes:
        request = parse_message(data)
        assert isinstance(request, Request)
        cseq = request.cseq.number
        if cseq == 1 or (challenged and cseq % 2):
            extra = (
                "WWW-Authenticate",
                f'Digest realm="pbx.example.com", nonce="{cseq:032x}", qop="auth", stale=true',
            )
            response = respond(request, 401, "Unauthorized", [extra, ("Server", "kamailio")], to_tag="b27e")
        else:
            extra = ("Contact", f"{request.first('contact')};expires=3600")
            response = respond(request, 200, "OK", [extra, ("Server", "kamailio")], to_tag="b27e")
        answers.append(bytes(response))
        return answers[-1]

    play(config, answer)
    return answers


# The reference


def bare_parse(data: bytes) -> dict[str, str]:
    """Start line and fields of one message."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {"": lines[0]}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    if len(body) != int(fields["Content-Length"]):
        raise ValueError("body")
    return fields


def bare_value(value: str) -> tuple[str, dict[str, str]]:
    """What stands before the first semicolon behind an address, and the parameters behind it."""
    address, _, rest = value.partition(">;") if value[0] == "<" else value.partition(";")
    params = {}
    for piece in rest.split(";"):
        name, _, given = piece.partition("=")
        params[name] = given
    return address, params


def bare_request(number: int) -> bytes:
    """A REGISTER, filled in."""
    return (
        "REGISTER sips:pbx.example.com SIP/2.0\r\n"
        f"Via: SIP/2.0/TLS 192.0.2.1:40000;branch=z9hG4bK{random.getrandbits(64):016x};rport\r\n"
        "Max-Forwards: 70\r\nFrom: <sips:1000@pbx.example.com>;tag=1\r\nTo: <sips:1000@pbx.example.com>\r\n"
        f"Call-ID: 1@192.0.2.1\r\nCSeq: {number} REGISTER\r\nContact: <sips:1000@192.0.2.1:40000>\r\nExpires: 3600\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def bare_digest(nonce: str) -> str:
    """The two hashes of a response; the third is made once."""
    a2 = hashlib.md5(b"REGISTER:sips:pbx.example.com", usedforsecurity=False).hexdigest()
    return hashlib.md5(f"{'0' * 32}:{nonce}:00000001:0:auth:{a2}".encode(), usedforsecurity=False).hexdigest()
