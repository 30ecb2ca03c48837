"""An hour of a plan, on a clock that a hand turns: a hundred phones, their refreshes, keep-alives and back-off each at its instant.

The accounts are real, and so is the plan's schedule; the server is a few lines that answer at once, or are dead.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from sipsua.errors import Unreachable
from sipsua.events import RegistrationFailed
from sipsua.load.plan import Arrivals, BackoffSettings, Hold, PhoneGroup, Plan, Register, TrustSettings, Unregister
from sipsua.load.population import Population
from sipsua.load.schedule import Verb, schedule
from sipsua.sip.framing import KeepAlive
from sipsua.sip.message import Request
from sipsua.testing.clock import Clock
from sipsua.testing.pair import AccountPair
from sipsua.testing.pki import CertificateAuthority

PHONES = 100
EXPIRES = 600
DEATH, REBIRTH = 1800.0, 1980.0
"""When the server dies, and when it is there again."""


class Phone:
    """An account, its server's answers, and the instants of all that it did."""

    def __init__(self, hour: Hour, index: int) -> None:
        self.hour = hour
        self.pair = AccountPair(hour.population.config(index), clock=hour.clock, dice=random.Random(index).getrandbits)
        self.tries: list[float] = []
        """Flows that it wished for."""
        self.bound: list[float] = []
        """Bindings and refreshes that were granted."""
        self.pings: list[float] = []
        self._read = 0

    def settle(self) -> None:
        """Open flows and answer until nothing is left to do at this instant."""
        pair, now = self.pair, self.hour.clock.now
        while pair.account.wants_flow or self._read < len(pair.received):
            if pair.account.wants_flow:
                self.tries.append(now)
                if self.hour.alive:
                    pair.open_flow()
                else:
                    pair.fail_flow(Unreachable("no TCP connection", fix="wait", kind="Connection refused"))
            for frame in pair.received[self._read :]:
                self._read += 1
                if isinstance(frame, KeepAlive):
                    self.pings.append(now)
                    pair.send(KeepAlive.PONG)
                elif isinstance(frame, Request) and not frame.values("authorization"):
                    pair.challenge()
                elif isinstance(frame, Request):
                    leaves = frame.values("expires")[0] == "0"
                    pair.answer(200, expires=0 if leaves else EXPIRES, to=frame)
                    self.bound.append(now)

    @property
    def failures(self) -> list[RegistrationFailed]:
        return [event for event in self.pair.events if isinstance(event, RegistrationFailed)]


class Hour:
    """The plan, taken through an hour."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.population = Population(plan)
        self.clock = Clock()
        self.phones = [Phone(self, index) for index in range(len(self.population))]
        self.began: list[float] = []
        """When each phase began."""
        self.came: dict[int, float] = {}
        """When each phone was told to register."""

    @property
    def alive(self) -> bool:
        return not DEATH <= self.clock.now < REBIRTH

    def run(self) -> None:
        for index, phase in enumerate(self.plan.phases):
            begin = self.clock.now
            self.began.append(begin)
            for action in schedule(phase, len(self.phones), seed=self.plan.seed, index=index):
                self.turn(begin + action.at)
                phone = self.phones[action.phone]
                if action.verb is Verb.REGISTER:
                    self.came[action.phone] = self.clock.now
                    phone.pair.wish()
                else:
                    phone.pair.unregister()
                phone.settle()
            if isinstance(phase, Hold):
                self.turn(begin + phase.duration)

    def turn(self, until: float) -> None:
        """Turn the clock from one timer to the next."""
        while True:
            due = [(phone.pair.account.get_timer() or float("inf"), index) for index, phone in enumerate(self.phones)]
            instant, index = min(due)
            if self.clock.now < DEATH <= min(instant, until):
                self.clock.advance(DEATH - self.clock.now)
                for phone in self.phones:
                    phone.pair.lose_flow()
                    phone.settle()
                continue
            if instant > until:
                self.clock.advance(until - self.clock.now)
                return
            self.clock.advance(max(0.0, instant - self.clock.now))
            self.clock.fire(self.phones[index].pair.account)
            self.phones[index].pair.pump()
            self.phones[index].settle()


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Hour:
    ca: Path = tmp_path_factory.mktemp("hour") / "ca.pem"
    CertificateAuthority().write(ca)
    plan = Plan(
        server="pbx.example.test",
        trust=TrustSettings(ca=(ca,)),
        phones=(
            PhoneGroup(
                users="1000-1099",
                password="secret",
                expires=EXPIRES,
                keep_alive=(95.0, 120.0),
                backoff=BackoffSettings(base=10, maximum=60),
            ),
        ),
        phases=(
            Register(do="register", arrivals=Arrivals(rate=2)),
            Hold(do="hold", duration=3550),
            Unregister(do="unregister", arrivals=Arrivals(rate=10)),
        ),
    )
    hour = Hour(plan)
    hour.run()
    return hour


def gaps(instants: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(instants)]


def test_the_hour_has_the_phases_of_the_plan(hour: Hour) -> None:
    assert hour.began == [0.0, 49.5, 3599.5]
    assert hour.clock.now == pytest.approx(3599.5 + 9.9)


def test_each_phone_comes_at_its_instant(hour: Hour) -> None:
    assert hour.came == {index: index / 2 for index in range(PHONES)}
    assert [phone.bound[0] for phone in hour.phones] == list(hour.came.values())


def test_bindings_are_refreshed_between_eight_and_nine_tenths_of_their_life(hour: Hour) -> None:
    refreshes = 0
    for phone in hour.phones:
        for part in (
            [at for at in phone.bound if at < DEATH],
            [at for at in phone.bound if REBIRTH <= at < hour.began[2]],
        ):
            assert len(part) >= 3
            refreshes += len(part) - 1
            assert all(0.8 * EXPIRES <= gap <= 0.9 * EXPIRES for gap in gaps(part))
    assert refreshes > 5 * PHONES
    first = [gaps(phone.bound)[0] for phone in hour.phones]
    assert len(set(first)) == PHONES  # drawn, so that they do not come all at once
    assert max(first) - min(first) > 0.08 * EXPIRES


def test_flows_are_kept_alive_every_95_to_120_seconds(hour: Hour) -> None:
    for phone in hour.phones:
        for begin, end, pings in (
            (phone.bound[0], DEATH, [at for at in phone.pings if at < DEATH]),
            (
                next(at for at in phone.bound if at >= REBIRTH),
                hour.began[2],
                [at for at in phone.pings if REBIRTH <= at < hour.began[2]],
            ),
        ):
            whole = [begin, *pings]
            assert all(95 <= gap <= 120 for gap in gaps(whole))
            assert end - whole[-1] <= 120
    assert not [at for phone in hour.phones for at in phone.pings if DEATH <= at < REBIRTH]


def test_after_a_loss_the_back_off_doubles_up_to_its_maximum_and_is_kept_to_the_instant(hour: Hour) -> None:
    for phone in hour.phones:
        bounds = [10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0]
        waits = [failure.retry_in for failure in phone.failures]
        assert len(waits) >= 4
        for wait, bound in zip(waits, bounds, strict=False):
            assert wait is not None
            assert bound / 2 <= wait <= bound
        tries = [at for at in phone.tries if at > DEATH]
        expected, at = [], DEATH
        for wait in waits:
            at += wait or 0.0
            expected.append(at)
        assert tries == pytest.approx(expected)
        assert tries[-2] < REBIRTH <= tries[-1]


def test_all_are_back_and_locked_after_the_death_and_unregister_in_the_end(hour: Hour) -> None:
    for index, phone in enumerate(hour.phones):
        assert phone.tries[-1] < REBIRTH + 60
        assert phone.bound[-1] == pytest.approx(3599.5 + index / 10)
        assert phone.pair.account.lock.locked
        assert phone.pair.requests[-1].values("expires")[0] == "0"
