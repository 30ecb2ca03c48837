"""The load engine: fresh registrations for each second of CPU, refreshes on one shared flow, phones in a GiB, and storms.

Of registrations the reference is `openssl s_time -new` on the same server, which sends no SIP. Of refreshes it is SIPp, which is known to
need some 72 µs of CPU for the same four messages; storms are compared over the limit of handshakes in flight.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from sipsua.account.config import Connection
from sipsua.events import Registered
from sipsua.load.plan import Arrivals, Cut, Hold, RateStep, Register, Storm, Unregister
from sipsua.load.results import Results
from sipsua.load.sample import Count, Sample, Step
from sipsua.net.line import Line
from sipsua.testing.pbx_process import PbxProcess
from sipsua.trust.policy import TlsVersion
from tests.bench.fresh import run_openssl
from tests.bench.phones import Phones, cpu, policy
from tests.bench.phones import run as run_on
from tests.bench.phones import users as bench_users
from tests.bench.table import Row
from tests.load.whole import group, plan_of, run, users

PHONES = 2000
SIPP = 72.0
"""Microseconds of CPU for a refresh of four messages."""
REGISTER = Register(do="register", arrivals=Arrivals(at_once=True), within=120)
UNREGISTER = Unregister(do="unregister", within=120)


class Spent:
    """CPU seconds of all workers in the first phase, and their memory."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.begin_kib: dict[int, int] = {}
        self.held_kib: dict[int, int] = {}

    def __call__(self, sample: Sample) -> None:
        for health in sample.health:
            if sample.phase == 0:
                self.cpu += health.cpu * sample.length
            self.begin_kib.setdefault(health.worker, health.rss_kib)
            if sample.phase == 1:
                self.held_kib[health.worker] = health.rss_kib


def _registrations(port: int, ca: Path, workers: int) -> tuple[float, float]:
    """For each CPU second of the workers, and for each second."""
    spent = Spent()
    results = run(plan_of(port, ca, group(PHONES), phases=(REGISTER, UNREGISTER), workers=workers), spent)
    assert results.counts[Count.REGISTERED] == PHONES
    return PHONES / spent.cpu, PHONES / results.phases[0].seconds


def _fresh() -> list[Row]:
    with PbxProcess(users(PHONES)) as pbx, tempfile.TemporaryDirectory() as directory:
        ca = Path(directory) / "ca.pem"
        ca.write_bytes(pbx.ca_pem)
        reference = 1e6 / run_openssl(pbx.port, ca, TlsVersion.TLS1_3)
        rows = [Row("openssl s_time, TLS 1.3: connections for a CPU second", reference, "/s")]
        for workers in (1, 2):
            each, whole = _registrations(pbx.port, ca, workers)
            name = f"registrations for a CPU second, {workers} worker{'s' * (workers > 1)}"
            rows.append(Row(name, each, "/s", "openssl s_time -new", each / reference, "≥ 1.0"))
            rows.append(Row("… a second of the clock, all at once, the PBX on the same cores", whole, "/s"))
    return rows


async def _shared(port: int, ca_pem: bytes) -> float:
    """Microseconds of CPU for a refresh of accounts that share a flow."""
    phones = Phones(PHONES, port, policy(ca_pem))
    phones.lines = [
        Line(replace(line.account.config, connection=Connection.SHARED), phones.connector, phones._take)
        for line in phones.lines
    ]
    for line in phones.lines:
        line.register()
    await phones.until(Registered, PHONES)
    best = float("inf")
    for turn in range(4):
        before = cpu()
        for line in phones.lines:
            line.refresh()
        await phones.until(Registered, PHONES * (turn + 2))
        best = min(best, (cpu() - before) / PHONES * 1e6)
    await phones.close()
    return best


def _refreshes() -> list[Row]:
    rows = []
    for challenged, what in ((True, "4 messages"), (False, "nonce reused: 2 messages")):
        with PbxProcess(bench_users(PHONES), reuse_nonces=not challenged) as pbx:
            for fast, loop in ((False, "asyncio's loop"), (True, "uvloop")):
                figure = run_on(partial(_shared, pbx.port, pbx.ca_pem), fast=fast)
                reference = "SIPp" if challenged else "half of SIPp"
                ratio = figure / (SIPP if challenged else SIPP / 2)
                rows.append(Row(f"refresh on a shared flow, {what}, {loop}", figure, "µs", reference, ratio))
    return rows


def _memory() -> list[Row]:
    """Each phone on its own flow, TLS 1.3, registered and idle; what a worker's process needs without phones is not counted."""
    with PbxProcess(users(PHONES)) as pbx, tempfile.TemporaryDirectory() as directory:
        ca = Path(directory) / "ca.pem"
        ca.write_bytes(pbx.ca_pem)
        spent = Spent()
        register = Register(
            do="register",
            arrivals=Arrivals(steps=(RateStep(rate=1, seconds=2), RateStep(rate=500, seconds=1))),
            within=60,
        )
        phases = (register, Hold(do="hold", duration=3), UNREGISTER)
        run(plan_of(pbx.port, ca, group(PHONES), phases=phases, workers=1), spent)
    kib = (spent.held_kib[0] - spent.begin_kib[0]) / PHONES
    return [
        Row("memory of a phone that is held", kib, "KiB", budget="≤ 48 KiB"),
        Row("phones held in a GiB", 1024 * 1024 / kib, "", "the budget", (1024 * 1024 / kib) / (1024 * 1024 / 48)),
    ]


def _storm(in_flight: int) -> Results:
    with PbxProcess(users(PHONES)) as pbx, tempfile.TemporaryDirectory() as directory:
        ca = Path(directory) / "ca.pem"
        ca.write_bytes(pbx.ca_pem)
        phases = (REGISTER, Storm(do="storm", cut=Cut.RESET, within=120), UNREGISTER)
        return run(plan_of(pbx.port, ca, group(PHONES), phases=phases, workers=2, in_flight=in_flight))


def _storms() -> list[Row]:
    rows: list[Row] = []
    first = 0.0
    for in_flight in (4, 16, 64, 256):
        results = _storm(in_flight)
        storm = results.phases[1].storm()
        assert storm is not None
        first = first or storm["seconds_to_95"]
        slowest = results.phases[1].steps[Step.TLS].percentile(95)
        name = f"{PHONES:,} flows cut: 95 % registered again, {in_flight} handshakes in flight"
        rows.append(Row(name, storm["seconds_to_95"], "s", "4 in flight", storm["seconds_to_95"] / first))
        rows.append(Row("… of it a TLS handshake, 95 %", slowest, "ms"))
    return rows


def bench() -> list[Row]:
    """All four; back-off from 0.25 s to 0.5 s after a lost flow."""
    return [*_fresh(), *_refreshes(), *_memory(), *_storms()]
