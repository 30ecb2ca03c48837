"""What the tests of this room read off a pair again and again."""

from __future__ import annotations

from sipsua.account.registration import State
from sipsua.events import Event, Registered, RegistrationFailed
from sipsua.sip.digest import Credentials, hash_a1, verify
from sipsua.sip.message import Request
from sipsua.testing.pair import AccountPair

PASSWORD = "hunter2-Grüße"
OTHER_SERVER = [("Contact", "<sips:other.example.com>")]
SAME_SERVER = [("Contact", "<sips:pbx.example.com>")]


def last(pair: AccountPair, kind: type[Event]) -> Event:
    return [event for event in pair.events if isinstance(event, kind)][-1]


def failure(pair: AccountPair) -> RegistrationFailed:
    event = last(pair, RegistrationFailed)
    assert isinstance(event, RegistrationFailed)
    return event


def bound(pair: AccountPair) -> Registered:
    event = last(pair, Registered)
    assert isinstance(event, Registered)
    return event


def credentials(request: Request, field: str = "authorization") -> Credentials:
    value = request.first(field)
    assert value is not None
    return Credentials.parse(value)


def proves(request: Request, field: str = "authorization", user: str = "alice", password: str = PASSWORD) -> bool:
    given = credentials(request, field)
    return given.username == user and verify(
        given, hash_a1(given.algorithm, user, given.realm, password), request.method, request.body
    )


def own(pair: AccountPair) -> str:
    """Our Contact value."""
    return pair.request.values("contact")[0]


def to_registered(pair: AccountPair) -> None:
    pair.register()
    pair.answer(200, expires=600)


def to_refreshing(pair: AccountPair) -> None:
    to_registered(pair)
    while standing(pair) is State.REGISTERED:
        pair.wait_for_timer()


def standing(pair: AccountPair) -> State:
    """Where the registration stands."""
    return pair.account.registration.state


def flow_wanted(pair: AccountPair) -> bool:
    return pair.account.wants_flow
