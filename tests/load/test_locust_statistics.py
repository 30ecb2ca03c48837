"""The numbers of a report, reckoned on paper, and what Locust's own code makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from array import array

import msgpack  # type: ignore[import-untyped]
import pytest

from sipsua.load.locust.statistics import ROWS, Entry, Statistics
from sipsua.load.sample import Count, Sample, Step


def sample(at: float, **latencies: list[int]) -> Sample:
    """A sample with latencies in milliseconds."""
    one = Sample(second=0, at=at, phase=0, length=1.0)
    one.latencies = {Step(step): array("Q", [value * 1000 for value in values]) for step, values in latencies.items()}
    return one


def two_reports() -> tuple[Statistics, dict[str, object], dict[str, object]]:
    statistics = Statistics(990.0)
    first = sample(1000.4, tls=[10, 20, 147], register=[80, 3432])
    first.fail("certificate refused: expired", "sips:1000@pbx: ...")
    first.fail("certificate refused: expired", "sips:1001@pbx: ...")
    statistics.add(first)
    statistics.add(sample(1001.6, tls=[5], register=[58760]))
    one = statistics.report()
    statistics.close()
    second = sample(1003.0, unregister=[7])
    second.counts[Count.UNANSWERED] = 2
    second.fail("refused: status 503", "sips:1002@pbx: ...")
    statistics.add(second)
    two = statistics.report()
    statistics.close()
    return statistics, one, two


def test_row_of_a_report_is_as_on_paper() -> None:
    _, report, _ = two_reports()
    rows = report["stats"]
    assert isinstance(rows, list)
    tls = next(row for row in rows if row["name"] == "TLS handshake")
    assert tls == {
        "name": "TLS handshake",
        "method": "step",
        "last_request_timestamp": 1001.6,
        "start_time": 990.0,
        "num_requests": 6,
        "num_none_requests": 2,
        "num_failures": 2,
        "total_response_time": 182.0,
        "max_response_time": 147.0,
        "min_response_time": 5.0,
        "total_content_length": 0,
        "response_times": {10: 1, 20: 1, 150: 1, 5: 1},
        "num_reqs_per_sec": {1000: 5, 1001: 1},
        "num_fail_per_sec": {1000: 2},
    }


def test_aggregated_row_is_whole_operations_and_all_failures() -> None:
    _, one, two = two_reports()
    assert isinstance(one["stats_total"], dict)
    assert isinstance(two["stats_total"], dict)
    assert (one["stats_total"]["num_requests"], one["stats_total"]["num_failures"]) == (3 + 2, 2)
    assert one["stats_total"]["response_times"] == {80: 1, 3400: 1, 59000: 1}
    assert (two["stats_total"]["num_requests"], two["stats_total"]["num_failures"]) == (1 + 3, 3)
    assert (one["stats_total"]["name"], one["stats_total"]["method"]) == ("Aggregated", "")


def test_totals_are_the_sum_of_the_reports() -> None:
    statistics, _, _ = two_reports()
    assert statistics.told.as_json() == [
        {
            "type": "SIPS",
            "name": "REGISTER",
            "requests": 4,
            "failures": 1,
            "min_ms": 80.0,
            "mean_ms": pytest.approx((80 + 3432 + 58760) / 3),
            "max_ms": 58760.0,
            "errors": {"refused: status 503": 1},
        },
        {
            "type": "step",
            "name": "TLS handshake",
            "requests": 6,
            "failures": 2,
            "min_ms": 5.0,
            "mean_ms": 45.5,
            "max_ms": 147.0,
            "errors": {"certificate refused: expired": 2},
        },
        {
            "type": "SIPS",
            "name": "unREGISTER",
            "requests": 3,
            "failures": 2,
            "min_ms": 7.0,
            "mean_ms": 7.0,
            "max_ms": 7.0,
            "errors": {"the registrar did not say yes": 2},
        },
    ]
    assert statistics.open.as_json() == []


def test_row_with_failures_only_has_no_times() -> None:
    statistics = Statistics(0.0)
    one = sample(5.0)
    one.fail("unreachable: Connection refused", "sips:1000@pbx: ...")
    statistics.add(one)
    (row,) = statistics.open.as_json()
    assert (row["requests"], row["failures"], row["min_ms"], row["mean_ms"], row["max_ms"]) == (1, 1, None, None, None)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("certificate refused: name_mismatch", ("step", "TLS handshake")),
        ("our certificate refused: alert unknown_ca", ("step", "TLS handshake")),
        ("handshake failed: time-out", ("step", "TLS handshake")),
        ("unreachable: TCP time-out", ("step", "TCP connect")),
        ("unreachable: Connection refused", ("step", "TCP connect")),
        ("unreachable: NXDOMAIN", ("step", "DNS")),
        ("unreachable: DNS time-out", ("step", "DNS")),
        ("flow lost: closed", ("SIPS", "flow")),
        ("no answer: to REGISTER", ("SIPS", "REGISTER")),
        ("credentials refused: status 401", ("SIPS", "REGISTER")),
        ("Defect", ("SIPS", "REGISTER")),
    ],
)
def test_error_is_a_failure_of_the_row_where_it_came_up(kind: str, row: tuple[str, str]) -> None:
    statistics = Statistics(0.0)
    one = sample(1.0)
    one.fail(kind, "example")
    statistics.add(one)
    assert list(statistics.open.rows) == [row]
    assert statistics.report()["errors"] == {
        f"{row[0]} {row[1]}: {kind}": {
            "method": row[0],
            "name": row[1],
            "error": kind,
            "occurrences": 1,
            "first_seen": 1.0,
            "last_seen": 1.0,
        }
    }


@pytest.mark.parametrize(
    ("milliseconds", "key"),
    [(0.4, 0), (1.6, 2), (99.4, 99), (99.6, 100), (147, 150), (996, 1000), (3432, 3400), (58_760, 59_000)],
)
def test_response_time_is_kept_to_two_digits(milliseconds: float, key: int) -> None:
    entry = Entry()
    entry.succeed([round(milliseconds * 1000)], 0.0)
    assert list(entry.times) == [key]


def test_each_step_has_a_row_of_its_own() -> None:
    assert set(ROWS) == set(Step)
    assert len(set(ROWS.values())) == len(Step)


READ_BY_LOCUST = """
import json, sys
import msgpack
from locust.env import Environment
from locust.stats import RequestStats, setup_distributed_stats_event_listeners, sort_stats

environment = Environment()
stats = RequestStats()
setup_distributed_stats_event_listeners(environment.events, stats)
for report in msgpack.unpackb(sys.stdin.buffer.read(), strict_map_key=False):
    environment.events.worker_report.fire(client_id="one", data=report)
rows = [*sort_stats(stats.entries), stats.total]
print(json.dumps({
    "rows": [[row.method, row.name, row.num_requests, row.num_failures, row.min_response_time, row.avg_response_time,
              row.max_response_time, row.get_response_time_percentile(1.0)] for row in rows],
    "errors": sorted([error.method, error.name, error.error, error.occurrences] for error in stats.errors.values()),
    "rate": stats.total.total_rps,
}))
"""
"""Locust in a process of its own: to import it changes how sockets and threads of the whole process work."""


def test_locust_reads_the_reports_as_they_were_meant() -> None:
    _, one, two = two_reports()
    done = subprocess.run(
        [sys.executable, "-c", READ_BY_LOCUST],
        input=msgpack.packb([one, one, two]),  # as from two workers
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    whole = (80 + 3432 + 58760) * 2
    assert seen["rows"] == [
        ["SIPS", "REGISTER", 7, 1, 80.0, pytest.approx(whole / 6), 58760.0, 59000],
        ["step", "TLS handshake", 12, 4, 5.0, 45.5, 147.0, 150],
        ["SIPS", "unREGISTER", 3, 2, 7.0, 7.0, 7.0, 7],
        ["", "Aggregated", 14, 7, 7.0, pytest.approx((whole + 7) / 7), 58760.0, 59000],
    ]
    assert seen["errors"] == [
        ["SIPS", "REGISTER", "refused: status 503", 1],
        ["SIPS", "unREGISTER", "the registrar did not say yes", 2],
        ["step", "TLS handshake", "certificate refused: expired", 4],
    ]
    assert seen["rate"] == pytest.approx(14 / 13)
