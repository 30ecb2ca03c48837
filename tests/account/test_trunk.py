"""The trunk, without a flow: each message to its account, and answers to what is for nobody."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sipsua.account.account import Account
from sipsua.account.config import AccountConfig, Connection
from sipsua.account.persona import YEALINK, Dice
from sipsua.account.trunk import Trunk
from sipsua.events import RequestAnswered
from sipsua.sip.framing import Framer
from sipsua.sip.message import Message, Response, respond
from sipsua.testing.pair import AccountPair


@dataclass
class Shared:
    """Accounts on one trunk."""

    trunk: Trunk = field(default_factory=Trunk)
    pairs: list[AccountPair] = field(default_factory=list)

    def add(self, config: AccountConfig, dice: Dice | None = None) -> Account:
        pair = AccountPair(config, dice=dice) if dice is not None else AccountPair(config)
        pair.register()
        self.trunk.admit(pair.account, 0.0)
        self.pairs.append(pair)
        return pair.account

    def receive(self, data: bytes) -> list[Account]:
        return self.trunk.receive_data(data, 0.0)

    def said(self) -> list[Response]:
        """What the trunk itself answered."""
        framer = Framer()
        framer.receive(self.trunk.data_to_send())
        answers = []
        while isinstance(message := framer.next_frame(), Message):
            assert isinstance(message, Response)
            answers.append(message.check())
        return answers


def options(uri: str, to: str, branch: str = "z9hG4bKtrunk", cseq: str = "1 OPTIONS") -> bytes:
    return (
        f"OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/TLS pbx.example.com;branch={branch}\r\nFrom: <sip:pbx@pbx.example.com>;tag=1\r\n"
        f"To: <{to}>\r\nCall-ID: c@pbx\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def answered(pair: AccountPair) -> list[int]:
    while (event := pair.account.next_event()) is not None:
        pair.events.append(event)
    return [event.status for event in pair.events if isinstance(event, RequestAnswered)]


def test_request_goes_to_the_user_that_its_request_uri_names(make_config: Callable[..., AccountConfig]) -> None:
    shared = Shared()
    accounts = [
        shared.add(make_config(uri=f"sips:{user}@pbx.example.com", connection=Connection.SHARED)) for user in ("a", "b")
    ]
    assert shared.receive(options("sips:b@192.0.2.1:5061", "sips:b@pbx.example.com")) == [accounts[1]]
    assert [answered(pair) for pair in shared.pairs] == [[], [200]]
    assert shared.said() == []


def test_users_of_two_domains_with_one_name_are_told_apart_by_to(make_config: Callable[..., AccountConfig]) -> None:
    shared = Shared()
    accounts: list[Account] = [
        shared.add(make_config(uri=f"sips:100@{domain}", server="pbx.example.com", connection=Connection.SHARED))
        for domain in ("a.example", "b.example")
    ]
    for account, domain in zip(accounts, ("A.example", "b.example"), strict=True):
        assert shared.receive(options("sips:100@192.0.2.1:5061", f"sips:100@{domain}", f"z9hG4bK{domain}")) == [account]


def test_request_for_nobody_is_404_with_a_to_tag_of_ours(make_config: Callable[..., AccountConfig]) -> None:
    shared = Shared()
    shared.add(make_config(connection=Connection.SHARED))
    assert shared.receive(options("sips:nobody@192.0.2.1", "sips:nobody@pbx.example.com")) == []
    (answer,) = shared.said()
    assert answer.status == 404
    assert answer.to.tag


def test_broken_request_for_nobody_is_400(make_config: Callable[..., AccountConfig]) -> None:
    shared = Shared()
    shared.add(make_config(connection=Connection.SHARED))
    shared.receive(options("sips:nobody@192.0.2.1", "sips:nobody@pbx.example.com", cseq="1 INVITE"))
    assert [answer.status for answer in shared.said()] == [400]


def test_request_that_breaks_the_framing_is_answered_before_the_flow_is_given_up(
    make_config: Callable[..., AccountConfig],
) -> None:
    shared = Shared()
    shared.add(make_config(connection=Connection.SHARED))
    broken = options("sips:a@192.0.2.1", "sips:a@pbx.example.com").replace(b"Content-Length: 0", b"Content-Length: -9")
    shared.receive(broken)
    assert [answer.status for answer in shared.said()] == [400]
    assert shared.trunk.wants_close is not None


def test_dismissed_account_is_reached_no_more(make_config: Callable[..., Any]) -> None:
    shared = Shared()
    account = shared.add(make_config(uri="sips:a@pbx.example.com", connection=Connection.SHARED))
    shared.trunk.dismiss(account)
    assert shared.receive(options("sips:a@192.0.2.1", "sips:a@pbx.example.com")) == []
    assert [answer.status for answer in shared.said()] == [404]


def test_response_reaches_its_own_account_where_two_have_drawn_the_same_call_id(
    make_config: Callable[..., AccountConfig],
) -> None:
    def unlucky(seed: int) -> Dice:
        """The first number, that of the Call-ID, is 7."""
        rest = random.Random(seed)
        numbers = iter([7])
        return lambda bits: next(numbers, None) or rest.getrandbits(bits)

    shared = Shared()
    accounts = [
        shared.add(
            make_config(uri=f"sips:{user}@pbx.example.com", persona=YEALINK, connection=Connection.SHARED),
            unlucky(seed),
        )
        for seed, user in enumerate(("a", "b"))
    ]
    assert accounts[0].registration.call_id == accounts[1].registration.call_id
    for account, pair in zip(accounts, shared.pairs, strict=True):
        answer = respond(pair.request, 200, "OK", [("Contact", f"{pair.request.first('contact')};expires=60")])
        assert shared.receive(bytes(answer)) == [account]
