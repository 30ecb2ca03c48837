"""`sipsua load`: whole runs as a person starts them, the reports that they leave, and every way to end one."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import junitparser
import pytest

from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority
from tests.cli.conftest import PASSWORD, Sipsua

PLAN = """
name = "evening"
server = "127.0.0.1:{port}"
workers = 2
grace = 5
fail_if = [{fail_if}]
[trust]
ca = ["{ca}"]
[saturation]
{saturation}
[[phones]]
users = "1000-1019"
password_env = "PBX_PASSWORD"
[[phases]]
do = "register"
arrivals = {{ rate = 200 }}
[[phases]]
do = "hold"
duration = {duration}
[[phases]]
do = "unregister"
"""

Write = Any


@pytest.fixture(scope="module")
def pbx(authority: CertificateAuthority) -> Iterator[PbxProcess]:
    issued = authority.issue("127.0.0.1")
    with PbxProcess(
        {str(1000 + i): PASSWORD for i in range(20)}, certificate=(issued.chain_pem, issued.key_pem)
    ) as pbx:
        yield pbx


@pytest.fixture
def plan(pbx: PbxProcess, ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A writer of plans."""
    monkeypatch.setenv("PBX_PASSWORD", PASSWORD)

    def write(*, fail_if: str = '"errors > 0"', duration: float = 0.5, saturation: str = 'then = "tell"') -> Path:
        file = tmp_path / "plan.toml"
        file.write_text(PLAN.format(port=pbx.port, ca=ca, fail_if=fail_if, duration=duration, saturation=saturation))
        return file

    return write


def test_a_run_is_shown_reported_and_passed(sipsua: Sipsua, plan: Write, pbx: PbxProcess, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"run.{kind}" for kind in ("json", "csv", "html", "junit")}
    options = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    result = sipsua("load", "run", plan(), *options)
    assert (result.code, result.err) == (0, "")
    assert "phase 1/3 register\n" in result.out
    assert "phase 3/3 unregister\n" in result.out
    assert re.search(r"register +\d\.\d s, 20 registered\n", result.out)
    assert "fails if errors > 0 (it is 0) kept\n" in result.out
    assert result.out.endswith("\npassed\n")
    told = json.loads(files["json"].read_text())
    assert told["run"]["passed"]
    assert told["totals"]["counts"]["registered"] == told["totals"]["counts"]["unregistered"] == 20
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert [row["locked"] for row in rows if row["phase"] == "hold"][-1] == "20"
    assert "evening" in files["html"].read_text()
    (suite,) = junitparser.JUnitXml.fromfile(str(files["junit"]))
    assert (suite.tests, suite.failures) == (6, 0)
    assert pbx.counts().bound == 0


def test_the_command_line_changes_the_plan(sipsua: Sipsua, plan: Write, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    changes = ["--phones", 5, "--rate", 50, "--duration", 0.1, "--workers", 1, "--json", report]
    assert sipsua("load", "run", plan(duration=3600), *changes).code == 0
    told = json.loads(report.read_text())["run"]
    assert (told["phones"], told["workers"]) == (5, 1)
    assert told["seconds"] < 60


def test_quiet_shows_the_summary_alone(sipsua: Sipsua, plan: Write) -> None:
    result = sipsua("load", "run", plan(), "--quiet")
    assert result.out.startswith("20 phones, 2 workers, ")


def test_a_missed_threshold_ends_with_20_and_says_what_was_measured(sipsua: Sipsua, plan: Write) -> None:
    result = sipsua("load", "run", plan(fail_if='"register.p99 > 1us", "recover.max > 1s"'))
    assert result.code == 20
    assert "NOT PASSED\n" in result.out
    what, fix = result.told
    assert re.match(
        r"threshold missed: register\.p99 > 1us: it is [\d.e+]+us; threshold missed: recover\.max > 1s: ", what
    )
    assert what.endswith("it was never measured")
    assert fix == "see the report"


def test_a_generator_that_was_the_limit_ends_with_21(sipsua: Sipsua, plan: Write) -> None:
    result = sipsua("load", "run", plan(duration=3, saturation="cpu = 0.0001\nseconds = 2"))
    assert result.code == 21
    what, fix = result.told
    assert what.startswith("the generator was the limit: worker ")
    assert fix == "start more workers, or fewer phones a second"


def test_quick_needs_no_plan(sipsua: Sipsua, pbx: PbxProcess, ca: Path, password_file: Path) -> None:
    quick = [
        "load",
        "quick",
        "1000-1019",
        "--server",
        f"127.0.0.1:{pbx.port}",
        "--ca",
        ca,
        "--password-file",
        password_file,
    ]
    result = sipsua(*quick, "--phones", 10, "--rate", 100, "--duration", 0.2, "--fail-if", "registered < 100%")
    assert (result.code, result.err) == (0, "")
    assert "10 phones, " in result.out
    assert "fails if registered < 100% (it is 100%) kept\n" in result.out


def test_phones_that_are_refused_are_told_by_class_with_an_example(
    sipsua: Sipsua, pbx: PbxProcess, tmp_path: Path, password_file: Path
) -> None:
    other = CertificateAuthority("another").write(tmp_path / "other.pem")
    quick = ["load", "quick", f"sips:1000-1009@127.0.0.1:{pbx.port}", "--ca", other, "--password-file", password_file]
    result = sipsua(*quick, "--rate", 100, "--duration", 0.2, "--fail-if", "errors > 0")
    assert result.code == 20
    assert "10 x certificate refused: unknown_issuer\n" in result.out
    assert re.search(r"such as sips:100\d@127\.0\.0\.1:\d+: ", result.out)


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["run", "none.toml"], 17, "there is no file none.toml"),
        (["run", "PLAN", "--json", "no/where.json"], 17, "no report can be written to no/where.json"),
        (["run", "PLAN", "--csv", "."], 17, "no report can be written to ."),
        (["run", "PLAN", "--phones", "21"], 17, "phones[0]"),
        (["run", "PLAN", "--rate", "0"], 17, "0"),
        (["quick", "1000-1009"], 17, "'1000-1009' names no server"),
        (["plan"], 2, "one of --example and --check FILE is wanted"),
        (["plan", "--check", "PLAN", "--output", "x"], 2, "--output with --check: nothing is written"),
        (["worker", "--locust", "a b", "--plan", "PLAN"], 17, "'a b' is no server"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_phone_goes_out(
    sipsua: Sipsua, plan: Write, arguments: list[str], code: int, what: str
) -> None:
    file = str(plan())
    result = sipsua("load", *(file if word == "PLAN" else word for word in arguments))
    assert result.code == code
    assert what in result.told[0]
    assert "phase" not in result.out


def test_mistakes_of_a_plan_stand_a_line_each(sipsua: Sipsua, plan: Write) -> None:
    file: Path = plan()
    file.write_text(file.read_text().replace("do = ", "does = ").replace("rate = 200", "rate = -1"))
    result = sipsua("load", "plan", "--check", file)
    assert result.code == 17
    lines = result.err.splitlines()
    assert re.fullmatch(r"sipsua: \d mistakes", lines[0])
    assert all(line.startswith(f"{file}:") for line in lines[1:-1])


def test_the_example_can_be_checked(sipsua: Sipsua, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: Path) -> None:
    monkeypatch.setenv("PBX_PASSWORD", PASSWORD)
    example = tmp_path / "example.toml"
    assert sipsua("load", "plan", "--example", "--output", example).code == 0
    assert sipsua("load", "plan", "--example").out == example.read_text()
    (tmp_path / "ca.pem").write_bytes(ca.read_bytes())
    result = sipsua("load", "plan", "--check", example)
    assert result.code == 0
    assert result.out.endswith("it can be run\n")


def test_the_locustfile_is_python_that_names_the_users(sipsua: Sipsua) -> None:
    text = sipsua("load", "locustfile").out
    compile(text, "locustfile.py", "exec")
    assert "class SipPhone" in text


class Run:
    """A run in a process of its own, as on a shell."""

    def __init__(self, *arguments: object) -> None:
        command = [
            sys.executable,
            "-c",
            "import sys; from sipsua.cli import main; sys.exit(main())",
            *map(str, arguments),
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.lines: list[str] = []

    def wait_for(self, words: str) -> str:
        """The first line of standard output that has these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError("".join(self.lines) + (self.process.stderr.read() if self.process.stderr else ""))

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        assert "Traceback" not in out + err
        assert PASSWORD not in "".join(self.lines) + out + err
        return self.process.returncode, "".join(self.lines) + out, err


@pytest.fixture
def run() -> Iterator[Any]:
    started: list[Run] = []

    def start(*arguments: object) -> Run:
        started.append(Run(*arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.communicate()


def workers_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unregisters_all_and_still_writes_the_report(
    run: Any, plan: Write, pbx: PbxProcess, tmp_path: Path, number: signal.Signals
) -> None:
    report = tmp_path / "run.json"
    running = run("load", "run", plan(duration=3600), "--json", report)
    running.wait_for("phase 2/3 hold")
    running.process.send_signal(number)
    code, out, err = running.end()
    assert code == 130
    assert "sipsua: interrupted\n" in err
    assert "leaving" in out
    told = json.loads(report.read_text())
    assert told["run"]["interrupted"]
    assert told["totals"]["counts"]["unregistered"] == 20
    assert pbx.counts().bound == 0


def test_a_second_signal_ends_without_waiting_and_still_writes_the_report(
    run: Any, plan: Write, tmp_path: Path
) -> None:
    report = tmp_path / "run.json"
    file: Path = plan(duration=3600)
    file.write_text(file.read_text().replace("grace = 5", "grace = 3600"))
    running = run("load", "run", file, "--json", report)
    running.wait_for("phase 2/3 hold")
    for worker in workers_of(running.process.pid):
        os.kill(worker, signal.SIGSTOP)  # so that nothing of what they are told is done
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    running.process.send_signal(signal.SIGINT)
    code, _, err = running.end()
    assert code == 130
    assert "ending now" in err
    assert json.loads(report.read_text())["totals"]["counts"]["registered"] == 20


def test_a_worker_that_is_killed_is_told_and_the_others_go_on(run: Any, plan: Write, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    running = run("load", "run", plan(duration=2, fail_if=""), "--json", report)
    running.wait_for("phase 2/3 hold")
    os.kill(workers_of(running.process.pid)[0], signal.SIGKILL)
    code, out, err = running.end()
    assert code == 20
    assert "worker lost" in out
    assert "SIGKILL" in err
    told = json.loads(report.read_text())
    assert [lost["phones"] for lost in told["lost_workers"]] == [10]
    assert told["totals"]["counts"]["unregistered"] == 10


def test_metrics_are_served_while_it_runs(run: Any, plan: Write) -> None:
    running = run("load", "run", plan(duration=3600), "--metrics-port", 0)
    assert running.process.stderr is not None
    address = running.process.stderr.readline().strip().removeprefix("metrics: ")
    running.wait_for("phase 2/3 hold")
    with urllib.request.urlopen(address, timeout=10) as answer:
        page = answer.read().decode()
    assert "\nsipsua_load_locked 20.0\n" in page
    assert '\nsipsua_load_events_total{event="registered"} 20.0\n' in page
    running.process.send_signal(signal.SIGINT)
    assert running.end()[0] == 130
