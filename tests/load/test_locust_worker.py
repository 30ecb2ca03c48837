"""A worker under a master of a few lines: what it does with its phones, what it says, and what it makes of a master that goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sipsua.account.config import AccountConfig
from sipsua.errors import BadConfiguration, NoAnswer
from sipsua.load.locust.crew import Crew
from sipsua.load.locust.worker import LocustWorker
from sipsua.load.plan import Plan
from sipsua.load.sample import Health
from sipsua.testing.misbehaviour import Step as Misstep
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.pki import CertificateAuthority
from tests.load.locust_stage import PACE, Alike, Master, plan_of

USERS = {str(1000 + index): "secret" for index in range(12)}


class Stage:
    """A PBX, and a worker that runs."""

    def __init__(self, pbx: PocketPbx) -> None:
        self.pbx = pbx
        self.lines: list[str] = []
        """What a person at the worker reads."""
        self.told = asyncio.Event()
        """Whether that is anything."""

    def tell(self, line: str) -> None:
        self.lines.append(line)
        self.told.set()

    def begin(self, worker: LocustWorker) -> None:
        self.worker = worker
        self.running = asyncio.create_task(worker.run())

    def bound(self, *users: int) -> bool:
        """Whether just these have registered."""
        return sorted(self.pbx.bindings) == [str(user) for user in users]

    async def end(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return await self.running


@asynccontextmanager
async def stage(
    master: Master, *, phones: int = 12, plan: Plan | None = None, ca_pem: bytes = b"", name: str = "one"
) -> AsyncIterator[Stage]:
    async with PocketPbx(USERS) as pbx:
        one = Stage(pbx)
        worker = LocustWorker(
            plan or plan_of(),
            Alike(pbx.port, ca_pem or pbx.ca_pem, phones),
            "127.0.0.1",
            master.port,
            name=name,
            tell=one.tell,
            pace=PACE,
        )
        one.begin(worker)
        try:
            yield one
        finally:
            worker.stop()
            await asyncio.wait([one.running], timeout=10)
            assert one.running.done()
        await pbx.until(lambda: not pbx.flows)


@pytest.mark.asyncio
async def test_spawn_registers_as_many_phones_as_are_wanted_and_reports_them() -> None:
    async with Master() as master, stage(master) as one:
        assert await master.hear("client_ready") == -1
        await master.spawn(3)
        assert await master.hear("spawning_complete") == {"user_classes_count": {"SipPhone": 3}, "user_count": 3}
        await one.pbx.until(lambda: one.bound(1000, 1001, 1002))
        await master.until(lambda: master.told("REGISTER") == 3)
        assert master.kinds() == ["client_ready", "spawning", "spawning_complete"]
        assert master.said("stats")[-1]["user_classes_count"] == {"SipPhone": 3}
        await master.until(lambda: master.beats and master.beats[-1]["state"] == "running")
        assert master.beats[-1]["current_memory_usage"] > 10_000_000
        assert master.beats[-1]["current_cpu_usage"] >= 0
        assert master.told("TLS handshake") == master.told("REGISTER challenge") == 3
        assert one.lines == [f"worker 0 of the Locust master at 127.0.0.1:{master.port}"]


@pytest.mark.asyncio
async def test_two_workers_have_no_phone_in_common() -> None:
    async with Master() as master, stage(master, name="one") as one:
        await master.hear("client_ready")
        async with stage(master, name="two") as two:
            await master.hear("client_ready", 2)
            for name in ("one", "two"):
                await master.spawn(3, name, parsed_options={"expect_workers": 2})
            await one.pbx.until(lambda: one.bound(1000, 1002, 1004))
            await two.pbx.until(lambda: two.bound(1001, 1003, 1005))


@pytest.mark.asyncio
async def test_worker_with_the_name_of_another_is_told_why_no_master_takes_it() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        async with stage(master) as other:
            async with asyncio.timeout(10):
                await other.told.wait()
            assert "is no other worker called the same?" in other.lines[0]
        await master.spawn(1)
        await one.pbx.until(lambda: one.bound(1000))


@pytest.mark.asyncio
async def test_surplus_phones_unregister_and_come_again() -> None:
    async with Master() as master, stage(master, phones=5) as one:
        await master.hear("client_ready")
        for users in ((1000, 1001, 1002, 1003, 1004), (1000, 1001), (1000, 1001, 1003, 1004)):
            await master.spawn(len(users))
            await one.pbx.until(partial(one.bound, *users))
        await master.hear("spawning_complete", 3)
        await master.until(lambda: master.told("unREGISTER") == 3)
        assert master.told("REGISTER") == 7
        assert [data["user_count"] for data in master.said("spawning_complete")] == [5, 2, 4]


@pytest.mark.asyncio
async def test_stop_unregisters_all_reports_it_and_only_then_is_ready_again() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(4)
        await one.pbx.until(lambda: len(one.pbx.bindings) == 4)
        await master.say("stop", None)
        await master.hear("client_ready", 2)
        assert not one.pbx.bindings
        kinds = [kind for kind, _ in master.heard]
        assert kinds[-3:] == ["stats", "client_stopped", "client_ready"]
        assert (master.told("REGISTER"), master.told("unREGISTER")) == (4, 4)
        assert master.said("stats")[-1]["user_count"] == 0
        await master.until(lambda: master.beats and master.beats[-1]["state"] == "ready")

        reports = len(master.said("stats"))
        await master.spawn(2)
        await one.pbx.until(lambda: len(one.pbx.bindings) == 2)
        await master.until(lambda: master.told("REGISTER") == 6)
        assert len(master.said("stats")) > reports
        await master.until(lambda: one.worker.totals()["rows"])
        assert {row["name"]: row["requests"] for row in one.worker.totals()["rows"]}["REGISTER"] == 2


@pytest.mark.asyncio
async def test_phone_whose_removal_is_not_answered_holds_a_stop_up_for_the_stop_timeout_only() -> None:
    async with Master() as master, stage(master, plan=plan_of(grace=600)) as one:
        await master.hear("client_ready")
        await master.spawn(2, stop_timeout=0.2)
        await one.pbx.until(lambda: len(one.pbx.bindings) == 2)
        one.pbx.script("1000", [Misstep(delay=30)] * 4)
        await master.say("stop", None)
        await master.hear("client_stopped")
        assert master.told("unREGISTER") == 2
        assert master.told("unREGISTER", "num_failures") == 1


@pytest.mark.asyncio
async def test_quit_unregisters_reports_and_ends() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(3)
        await one.pbx.until(lambda: len(one.pbx.bindings) == 3)
        await master.say("quit", None)
        totals = await one.end()
        assert not one.pbx.bindings
        assert (totals["worker"], totals["number"], totals["users"], totals["untold"]) == ("one", 0, 0, [])
        await master.until(lambda: master.told("unREGISTER") == 3)
        for row in totals["rows"]:
            assert (row["name"], row["requests"]) == (row["name"], master.told(row["name"]))


@pytest.mark.asyncio
async def test_what_comes_after_the_masters_end_is_done_and_counted_as_untold() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(2)
        await one.pbx.until(lambda: len(one.pbx.bindings) == 2)
        one.pbx.script("1001", [Misstep(delay=1)] * 4)
        await master.say("quit", None)
        totals = await one.end()
        assert not one.pbx.bindings
        assert [(row["name"], row["requests"], row["failures"]) for row in totals["untold"]] == [("unREGISTER", 1, 0)]
        assert master.told("unREGISTER") == 1


@pytest.mark.asyncio
async def test_worker_that_is_stopped_unregisters_and_says_goodbye() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(3)
        await one.pbx.until(lambda: len(one.pbx.bindings) == 3)
        one.worker.stop()
        await one.end()
        assert not one.pbx.bindings
        await master.hear("quit")
        assert [kind for kind, _ in master.heard][-2:] == ["stats", "quit"]
        assert master.told("unREGISTER") == 3


@pytest.mark.asyncio
async def test_worker_that_is_stopped_before_a_master_came_ends(unused_tcp_port: int) -> None:
    async with stage(Master(unused_tcp_port)) as one:
        one.worker.stop()
        assert (await one.end())["number"] is None


@pytest.mark.asyncio
async def test_spawn_that_a_newer_one_overtook_is_left_out() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(3)
        await master.spawn(5, timestamp=1.0)
        await master.spawn(2)
        await master.hear("spawning_complete", 2)
        assert [data["user_count"] for data in master.said("spawning_complete")] == [3, 2]
        await one.pbx.until(lambda: one.bound(1000, 1001))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("data", "where"),
    [
        (None, "all of it"),
        ({"timestamp": "soon", "user_classes_count": {}}, "timestamp"),
        ({"timestamp": 1.0, "user_classes_count": {"SipPhone": -1}}, "user_classes_count.SipPhone"),
        ({"timestamp": 1.0, "user_classes_count": {}, "parsed_options": {"expect_workers": 0}}, "expect_workers"),
    ],
)
async def test_spawn_that_is_none_is_told_and_ignored(data: object, where: str) -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.say("spawn", data)
        told = await master.hear("exception")
        assert where in told["msg"]
        assert told["msg"] in one.lines
        await master.spawn(1)
        await master.hear("spawning_complete")


@pytest.mark.asyncio
async def test_users_of_another_class_are_told_and_not_made_up_for() -> None:
    async with Master() as master, stage(master):
        await master.hear("client_ready")
        await master.spawn(0, user_classes_count={"WebUser": 5, "SipPhone": 2, "Idle": 0})
        assert (await master.hear("spawning_complete"))["user_count"] == 2
        assert "wants users of WebUser: a worker of sipsua has SipPhone only" in (await master.hear("exception"))["msg"]


@pytest.mark.asyncio
async def test_worker_that_the_master_does_not_expect_leaves_and_says_how_to_expect_it() -> None:
    async with Master(ack={"index": 2}) as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(1, parsed_options={"expect_workers": 2})
        with pytest.raises(BadConfiguration, match="start the master with --expect-workers 3"):
            await one.end()
        await master.hear("quit")
        assert one.pbx.registrar.requests.total() == 0


class Spoilt(Alike):
    """Phones of which the third has a certificate that cannot be read."""

    def config(self, index: int) -> AccountConfig:
        if index == 2:
            raise BadConfiguration("phone.pem is empty", fix="make it again")
        return super().config(index)


@pytest.mark.asyncio
async def test_phone_whose_files_have_gone_bad_ends_the_worker_in_order() -> None:
    async with Master() as master, PocketPbx(USERS) as pbx:
        phones = Spoilt(pbx.port, pbx.ca_pem, 5)
        worker = LocustWorker(plan_of(), phones, "127.0.0.1", master.port, pace=PACE)
        running = asyncio.create_task(worker.run())
        await master.hear("client_ready")
        await master.spawn(2)
        await pbx.until(lambda: len(pbx.bindings) == 2)
        await master.spawn(3)
        with pytest.raises(BadConfiguration, match=r"phone\.pem is empty"):
            await running
        assert not pbx.bindings
        await master.hear("quit")
        assert master.told("unREGISTER") == 2


@pytest.mark.asyncio
async def test_master_that_does_not_number_its_workers_is_refused() -> None:
    async with Master(ack={"version": "2.8.0"}) as master, stage(master) as one:
        with pytest.raises(BadConfiguration, match=r"use Locust 2\.10\.2 or newer"):
            await one.end()


@pytest.mark.asyncio
async def test_share_without_enough_phones_gives_what_it_has_and_says_so() -> None:
    async with Master() as master, stage(master, phones=5) as one:
        await master.hear("client_ready")
        await master.spawn(4, parsed_options={"expect_workers": 2})
        assert (await master.hear("spawning_complete"))["user_count"] == 3
        complaint = (await master.hear("exception"))["msg"]
        assert complaint.startswith("worker 0 shall have 4 phones, and its share of the plan's 5 is 3")
        assert complaint in one.lines


@pytest.mark.asyncio
async def test_refused_certificate_is_a_failure_of_the_handshake_with_one_example() -> None:
    async with Master() as master, stage(master, ca_pem=CertificateAuthority("another").pem) as one:
        await master.hear("client_ready")
        await master.spawn(3)
        await master.until(lambda: master.told("TLS handshake", "num_failures") == 3)
        errors = [error for report in master.said("stats") for error in report["errors"].values()]
        assert {(error["name"], error["error"]) for error in errors} == {
            ("TLS handshake", "certificate refused: unknown_issuer")
        }
        assert sum(error["occurrences"] for error in errors) == 3
        (example,) = master.said("exception")
        assert example["msg"].startswith("sips:100")
        assert example["traceback"] == "certificate refused: unknown_issuer"
        assert [line for line in one.lines if line.startswith("sips:")] == [example["msg"]]


@pytest.mark.asyncio
async def test_master_that_starts_later_finds_its_worker(unused_tcp_port: int) -> None:
    master = Master(unused_tcp_port)
    async with stage(master) as one:
        async with asyncio.timeout(10):
            await one.told.wait()
        assert one.lines[0].startswith(f"no Locust master answers at 127.0.0.1:{unused_tcp_port} (is it running")
        assert one.lines[0].endswith("; next attempt within 0.1 s")
        async with master:
            await master.hear("client_ready")
            await master.spawn(1)
            await one.pbx.until(lambda: one.bound(1000))


@pytest.mark.asyncio
async def test_master_that_never_answers_is_given_up() -> None:
    async with Master(answers=False) as master, PocketPbx(USERS) as pbx:
        phones = Alike(pbx.port, pbx.ca_pem, 1)
        pace = replace(PACE, first_answer=0.3)
        worker = LocustWorker(plan_of(), phones, "127.0.0.1", master.port, pace=pace)
        with pytest.raises(NoAnswer, match="does not take this worker"):
            await worker.run()


@pytest.mark.asyncio
async def test_master_that_was_started_anew_gets_a_worker_without_phones() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(2)
        await one.pbx.until(lambda: one.bound(1000, 1001))
        await master.__aexit__(None, None, None)
        async with Master(master.port, answers=False) as other:
            await other.until(lambda: other.beats)
            assert one.bound(1000, 1001)
            other.answers = True
            await other.hear("client_ready")
            assert not one.pbx.bindings
            await other.until(lambda: other.names)
            await other.spawn(1)
            await one.pbx.until(lambda: one.bound(1000))
            await other.until(lambda: other.told("REGISTER") == 1)
            assert other.told("unREGISTER") == 0
        assert any("hung up: the phones stay for 1.5 s" in line for line in one.lines)
        assert any("is lost, or another one: the phones unregister" in line for line in one.lines)
        await master.__aenter__()


@pytest.mark.asyncio
async def test_master_that_knows_its_worker_after_a_break_keeps_the_phones() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(2)
        await one.pbx.until(lambda: one.bound(1000, 1001))
        await master.__aexit__(None, None, None)
        async with Master(master.port, knows_all=True) as same:
            await same.until(lambda: len(same.beats) > 2 * PACE.answer / PACE.heartbeat)
            assert one.bound(1000, 1001)
            assert same.said("client_ready") == []
        await master.__aenter__()


@pytest.mark.asyncio
async def test_master_that_falls_silent_is_lost_and_asked_again() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(2)
        await one.pbx.until(lambda: one.bound(1000, 1001))
        master.answers = False
        await master.hear("client_ready", 2)
        assert not one.pbx.bindings


@pytest.mark.asyncio
async def test_worker_that_shall_reconnect_goes_on_with_its_phones() -> None:
    async with Master() as master, stage(master) as one:
        await master.hear("client_ready")
        await master.spawn(1)
        await one.pbx.until(lambda: one.bound(1000))
        await master.say("reconnect", None)
        beats = len(master.beats)
        await master.until(lambda: len(master.beats) > beats + 5)
        await master.spawn(2)
        await one.pbx.until(lambda: one.bound(1000, 1001))
        assert master.said("client_ready") == [-1]


@pytest.mark.asyncio
@pytest.mark.parametrize("then", ["fail", "tell"])
async def test_worker_that_was_itself_the_limit_says_so_once(then: str) -> None:
    lines: list[str] = []
    alarms: list[tuple[str, str]] = []
    plan = plan_of(saturation={"cpu": 0.9, "lag_ms": 50, "seconds": 2, "then": then})
    crew = Crew(
        plan,
        Alike(5061, CertificateAuthority().pem, 1),
        number=0,
        shares=1,
        tell=lines.append,
        alarm=lambda what, kind: alarms.append((what, kind)),
    )
    busy, late, idle = (Health(0, cpu, lag, lag, 1) for cpu, lag in ((0.95, 1.0), (0.1, 60.0), (0.1, 1.0)))
    for health in (busy, idle, late, idle, late):
        crew.watch(health)
    assert lines == []
    for health in (busy, busy, idle, late, late):
        crew.watch(health)
    (line,) = lines
    assert "was the limit, and not the server: it used 95% of a core" in line
    assert alarms == ([(line, "saturated")] if then == "fail" else [])
    await crew.leave(0.0)
