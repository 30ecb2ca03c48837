"""A real Locust master with two of our workers, each a process: its tables hold what our workers have counted."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Self

import pytest

from sipsua.load.locust.locustfile import locustfile
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.registrar import users_in

TOP = Path(__file__).parent.parent.parent
PHONES = "1000-1079"
USERS = users_in(PHONES, "secret") | {"1003": "not what the phone says"}

Table = dict[str, tuple[int, int]]
"""Requests and failures by the name of a row."""

pytestmark = [pytest.mark.interop]

WEB = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], Any], what: str, within: float = 20.0) -> None:
    """Wait for something in another process."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


class Worker:
    """One of our workers."""

    def __init__(self, place: Path, pbx: PbxProcess, master: int, name: str) -> None:
        self.name = name
        self._output = place / f"{name}.out"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from tests.load.locust_stage import main; main()"),
                    *(str(pbx.port), str(place / "ca.pem"), PHONES, str(master), name),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(TOP)},
            )

    def totals(self) -> dict[str, Any]:
        """The last that it said it had told the master."""
        lines = [json.loads(line) for line in self._output.read_text().splitlines()]
        totals: dict[str, Any] = [line["totals"] for line in lines if "totals" in line][-1]
        return totals


class Stage:
    """A master, a PBX with one phone whose password is wrong, and workers. All processes are ended in the end."""

    def __init__(self, place: Path, pbx: PbxProcess) -> None:
        self.place = place
        self.pbx = pbx
        self.port = free_port()
        self.web = free_port()
        self.workers: list[Worker] = []
        self.master: subprocess.Popen[bytes] | None = None
        (place / "ca.pem").write_bytes(pbx.ca_pem)
        (place / "locustfile.py").write_text(locustfile())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.master, *(worker.process for worker in self.workers)):
            if process is not None:
                process.kill()
                process.wait()

    def start_master(self, *options: str) -> subprocess.Popen[bytes]:
        with (self.place / "master.log").open("w") as log:
            self.master = subprocess.Popen(
                [
                    *(sys.executable, "-m", "locust", "-f", "locustfile.py", "--master", "--expect-workers", "2"),
                    *("--master-bind-host", "127.0.0.1", "--master-bind-port", str(self.port), "--csv", "out"),
                    *options,
                ],
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self.master

    def start_worker(self, name: str) -> Worker:
        worker = Worker(self.place, self.pbx, self.port, name)
        self.workers.append(worker)
        return worker

    def log(self) -> str:
        return (self.place / "master.log").read_text()

    def ask(self, path: str, **form: object) -> bytes:
        """What the master's web page answers; a form is posted."""
        data = urllib.parse.urlencode(form).encode() if form else None
        with WEB.open(f"http://127.0.0.1:{self.web}{path}", data=data, timeout=20) as answer:
            body: bytes = answer.read()
            return body

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.ask("/stats/requests"))
        return report

    def swarm(self, users: int) -> None:
        """Have the master spawn, and wait until it says that it has."""
        answer = json.loads(self.ask("/swarm", user_count=users, spawn_rate=20))
        assert answer["success"], answer
        until(lambda: (now := self.report())["state"] == "running" and now["user_count"] == users, "spawned")

    def requests(self, name: str) -> int:
        """How many the master counts in a row."""
        return sum(row["num_requests"] for row in self.report()["stats"] if row["name"] == name)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with PbxProcess(USERS) as pbx, Stage(tmp_path, pbx) as one:
        yield one


def table_of(text: str) -> Table:
    """Locust's CSV."""
    return {
        row["Name"]: (int(row["Request Count"]), int(row["Failure Count"])) for row in csv.DictReader(StringIO(text))
    }


def sum_of(workers: list[Worker]) -> Table:
    """What our workers say, added up; with the row that Locust adds."""
    requests: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for worker in workers:
        for row in worker.totals()["rows"]:
            for name in (row["name"], *(["Aggregated"] if row["type"] == "SIPS" or row["failures"] else [])):
                whole = name != "Aggregated" or row["type"] == "SIPS"
                requests[name] += row["requests"] if whole else row["failures"]
                failures[name] += row["failures"]
    return {name: (requests[name], failures[name]) for name in requests}


def test_run_without_the_web_page_ends_with_our_numbers(stage: Stage) -> None:
    options = ("--headless", "--users", "40", "--spawn-rate", "20", "--run-time", "5s", "--json-file", "end")
    master = stage.start_master(*options)
    workers = [stage.start_worker("one"), stage.start_worker("two")]
    for worker in workers:
        assert worker.process.wait(30) == 0
    assert master.wait(10) == 1, stage.log()  # Locust's way to say that there were failures
    ours = sum_of(workers)
    assert ours["REGISTER"] == (40, 1)
    assert ours["TLS handshake"] == (40, 0)
    assert sorted(worker.totals()["number"] for worker in workers) == [0, 1]
    # The master hears its workers for half a second after its end: on a busy machine not all that leave are told in time.
    report = json.loads((stage.place / "end.json").read_text())
    end = {row["name"]: (row["num_requests"], row["num_failures"]) for row in report}
    last = {"unREGISTER", "Aggregated"}
    assert {name: row for name, row in end.items() if name not in last} == {
        name: row for name, row in ours.items() if name not in last
    }
    untold = sum(row["requests"] for worker in workers for row in worker.totals()["untold"])
    assert ours.get("unREGISTER", (0, 0))[0] + untold == 39
    # Its CSV may be a second older than its end.
    table = table_of((stage.place / "out_stats.csv").read_text())
    assert table["REGISTER"] == ours["REGISTER"]
    assert table["TLS handshake"] == ours["TLS handshake"]
    failures = list(csv.DictReader(StringIO((stage.place / "out_failures.csv").read_text())))
    assert [(row["Method"], row["Name"], row["Error"], row["Occurrences"]) for row in failures] == [
        ("SIPS", "REGISTER", "credentials refused: status 401", "1")
    ]
    examples = (stage.place / "out_exceptions.csv").read_text()
    assert "sips:1003@127.0.0.1" in examples
    assert "secret" not in examples + stage.log()
    counts = stage.pbx.counts()
    assert (counts.bound, counts.flows) == (0, 0)


def test_web_page_spawns_stops_and_spawns_again_and_a_worker_that_is_killed_is_replaced_by_the_other(
    stage: Stage,
) -> None:
    web = ("--web-host", "127.0.0.1", "--web-port", str(stage.web), "--enable-rebalancing")
    master = stage.start_master(*web)
    one, two = stage.start_worker("one"), stage.start_worker("two")
    until(lambda: stage.log().count("reported as ready") == 2, "two workers")

    stage.swarm(40)
    until(lambda: stage.requests("REGISTER") == 40, "registered")
    assert stage.pbx.counts().bound == 39
    workers = stage.report()["workers"]
    seen = {worker["id"]: (worker["state"], worker["user_count"]) for worker in workers}
    assert seen == dict.fromkeys(("one", "two"), ("running", 20))
    assert all(worker["memory_usage"] > 10_000_000 for worker in workers)

    stage.ask("/stop", all="all")
    assert stage.pbx.counts().bound == 0
    until(lambda: stage.report()["state"] == "stopped", "stopped")
    first = table_of(stage.ask("/stats/requests/csv").decode())
    assert (first["REGISTER"], first["unREGISTER"], first["Aggregated"]) == ((40, 1), (39, 0), (79, 1))
    until(lambda: sum_of([one, two]) == first, "our numbers")

    stage.swarm(20)
    until(lambda: stage.requests("REGISTER") == 20, "registered again, counted from nothing")
    until(lambda: sum_of([one, two])["REGISTER"] == (20, 1), "our numbers")
    survivor, victim = sorted((one, two), key=lambda worker: int(worker.totals()["number"]))
    victim.process.kill()  # whose one phone has failed
    until(lambda: f"{victim.name} failed to send heartbeat, setting state to missing" in stage.log(), "missing")
    until(lambda: stage.requests("REGISTER") == 30, "the other has taken over its users")
    assert stage.report()["user_count"] == 20
    assert survivor.totals()["users"] == 20
    assert stage.pbx.counts().flows == 20

    stage.ask("/stop", all="all")
    assert stage.pbx.counts().bound == 0
    second = table_of(stage.ask("/stats/requests/csv").decode())
    assert (second["REGISTER"], second["unREGISTER"]) == ((30, 1), (20, 0))
    until(lambda: sum_of([one, two]) == second, "our numbers")

    time.sleep(1.5)  # in which its CSV is written
    master.send_signal(signal.SIGINT)
    assert survivor.process.wait(10) == 0
    master.wait(10)
    assert table_of((stage.place / "out_stats.csv").read_text()) == second
    assert "Traceback" not in stage.log()


def test_worker_that_is_interrupted_is_gone_for_the_master_at_once(stage: Stage) -> None:
    stage.start_master("--headless", "--users", "10", "--spawn-rate", "10", "--enable-rebalancing")
    one, two = stage.start_worker("one"), stage.start_worker("two")
    until(lambda: stage.pbx.counts().bound in (9, 10), "registered")
    until(lambda: "All users spawned" in stage.log(), "spawned")
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(10) == 0
    until(lambda: "Worker 'one' (index" in stage.log(), "goodbye")
    assert one.totals()["users"] == 0
    two.process.send_signal(signal.SIGINT)
    assert two.process.wait(10) == 0
    until(lambda: "The last worker quit, stopping test." in stage.log(), "the end")
    assert "missing" not in stage.log()
    assert stage.pbx.counts().bound == 0


def test_locustfile_without_a_master_says_where_phones_register(tmp_path: Path) -> None:
    (tmp_path / "locustfile.py").write_text(locustfile())
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "locustfile.py", "--headless", "--users", "2", "--only-summary"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "phones register in `sipsua load worker --locust HOST --plan FILE`" in done.stderr
    assert "Traceback" not in done.stderr
