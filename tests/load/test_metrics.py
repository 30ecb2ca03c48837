"""The metrics: fetched over HTTP as Prometheus does, and read by its parser."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sipsua.errors import BadConfiguration
from sipsua.load.metrics import Metrics
from sipsua.load.plan import Saturation
from sipsua.load.results import Results
from sipsua.load.sample import Count, Step
from tests.load.by_hand import HOLD, REGISTER, results, sample

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def served(made: Results) -> Iterator[tuple[Metrics, int]]:
    metrics = Metrics(made)
    try:
        yield metrics, metrics.start(0)
    finally:
        metrics.close()


def fetch(port: int, path: str = "/metrics") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def figures(port: int) -> Figures:
    status, text = fetch(port)
    assert status == 200
    return {
        (one.name.removeprefix("sipsua_load_"), tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_a_scrape_tells_what_the_results_hold() -> None:
    made = results(REGISTER, HOLD, workers=2, saturation=Saturation(cpu=0.5, seconds=1))
    latencies = {Step.TLS: [0.001, 0.002, 0.003]}
    counts = {Count.REGISTERED: 3, Count.TLS1_3: 4}
    made.add(sample(0, phones=5, locked=4, registered=3, cpu=0.75, lag_ms=20, counts=counts, latencies=latencies))
    made.add(sample(0, worker=1, phones=5, locked=5, registered=5, errors=[('refused "now"\n', "x")]))
    with served(made) as (_, port):
        told = figures(port)
    assert [told[name, ()] for name in ("phones", "locked", "registered", "opening")] == [10, 9, 8, 0]
    assert told["phase", (("name", "register"),)] == 1
    assert told["events_total", (("event", "registered"),)] == 3
    assert told["events_total", (("event", "TLSv1.3"),)] == 4
    assert told["errors_total", (("class", 'refused "now"\n'),)] == 1
    assert told["bytes_total", (("direction", "sent"),)] == 200
    assert told["bytes_total", (("direction", "received"),)] == 400
    assert told["step_seconds_count", (("step", "tls"),)] == 3
    assert told["step_seconds_sum", (("step", "tls"),)] == pytest.approx(0.006)
    median = told["step_quantile_seconds", (("quantile", "0.5"), ("step", "tls"))]
    assert median == pytest.approx(0.002, rel=1e-3)
    assert told["worker_cpu_ratio", (("worker", "0"),)] == 0.75
    assert told["worker_lag_seconds", (("worker", "0"),)] == 0.02
    assert told["worker_resident_bytes", (("worker", "1"),)] == 1_024_000
    assert (told["saturated", ()], told["lost_workers", ()]) == (1, 0)


def test_before_the_first_second_there_are_zeros() -> None:
    with served(results()) as (_, port):
        told = figures(port)
    assert (told["phones", ()], told["saturated", ()]) == (0, 0)


def test_a_scrape_tells_the_last_update() -> None:
    made = results()
    with served(made) as (metrics, port):
        made.add(sample(0, phones=3))
        before = figures(port)["phones", ()]
        metrics.update()
        assert (before, figures(port)["phones", ()]) == (0, 3)


def test_an_update_tells_of_a_worker_that_died_between_seconds() -> None:
    made = results(workers=2)
    made.add(sample(0, phones=3))
    with served(made) as (metrics, port):
        made.lose_worker(1, 3, "killed")
        metrics.update()
        assert figures(port)["lost_workers", ()] == 1


def test_other_paths_are_not_found() -> None:
    with served(results()) as (_, port):
        status, text = fetch(port, "/else")
    assert (status, text) == (404, "the metrics are at /metrics\n")


def test_a_port_in_use_is_told() -> None:
    with served(results()) as (_, port), pytest.raises(BadConfiguration) as refused:
        Metrics(results()).start(port)
    assert refused.value.what == f"cannot serve metrics on port {port}: Address already in use"
    assert refused.value.fix == "give another port, or 0 for a free one"


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_there_is_not_is_told(port: int) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Metrics(results()).start(port)
    assert refused.value.what.startswith(f"cannot serve metrics on port {port}: ")


@pytest.mark.timeout(20)
def test_who_connects_and_says_nothing_holds_up_neither_others_nor_the_end() -> None:
    with socket.socket() as silent, served(results()) as (_, port):
        silent.connect(("127.0.0.1", port))
        assert fetch(port)[0] == 200


def test_after_the_end_nobody_listens() -> None:
    with served(results()) as (_, port):
        pass
    with socket.socket() as late:
        assert late.connect_ex(("127.0.0.1", port)) != 0
