"""The figures of a run that goes on, for Prometheus to scrape.

The page is made on the loop's thread when there is something new, and the server's thread hands out the last one: nobody reads results that
are being changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, ThreadingWSGIServer
from prometheus_client.registry import Collector

from sipsua.errors import BadConfiguration
from sipsua.load.results import Results

GAUGES = {
    "phones": "Phones that are wanted registered.",
    "locked": "Phones whose padlock is closed.",
    "registered": "Phones with a binding.",
    "opening": "Flows being opened, with those that wait for their turn.",
}


class Metrics:
    """The figures of `results` at `http://127.0.0.1:PORT/metrics`."""

    def __init__(self, results: Results) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(results))
        self._results = results
        self._state = (-1, 0)
        self._page = b""
        self._server: WSGIServer | None = None

    def start(self, port: int) -> int:
        """Serve on this port, 0 for a free one; returns which. Raises BadConfiguration where it cannot be had."""
        self.update()
        try:
            # A thread for each who asks: one that connects and says nothing must hold up neither the others nor the run's end.
            self._server = make_server("127.0.0.1", port, self._answer, ThreadingWSGIServer, _Silent)
        except (OSError, OverflowError) as error:
            raise BadConfiguration(
                f"cannot serve metrics on port {port}: {getattr(error, 'strerror', None) or error}",
                fix="give another port, or 0 for a free one",
            ) from None
        Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="metrics").start()
        return int(self._server.server_port)

    def update(self) -> None:
        """Make the page anew where rows were added, or a worker was lost."""
        state = (len(self._results.rows), len(self._results.lost_workers))
        if state != self._state:
            self._state = state
            self._page = generate_latest(self._registry)

    def close(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in ("/", "/metrics"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"the metrics are at /metrics\n"]
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [self._page]


class _Silent(WSGIRequestHandler):
    """Writes no line for each scrape."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class _Collector(Collector):
    """Results in Prometheus' words."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def collect(self) -> Iterator[Metric]:
        results = self._results
        last = results.rows[-1] if results.rows else {}
        for name, words in GAUGES.items():
            yield GaugeMetricFamily(f"sipsua_load_{name}", words, value=last.get(name, 0))
        phase = GaugeMetricFamily("sipsua_load_phase", "The phase that goes on, from 1.", labels=["name"])
        if results.phase is not None:
            phase.add_metric([results.phase.name], results.phase.index + 1)
        yield phase
        events = CounterMetricFamily(
            "sipsua_load_events", "What is counted: registered, lost, TLSv1.3 ...", labels=["event"]
        )
        for count, value in results.counts.items():
            events.add_metric([count], value)
        yield events
        errors = CounterMetricFamily("sipsua_load_errors", "Errors by class.", labels=["class"])
        for kind, error in results.errors.items():
            errors.add_metric([kind], error.count)
        yield errors
        octets = CounterMetricFamily("sipsua_load_bytes", "Octets of TLS records.", labels=["direction"])
        octets.add_metric(["sent"], results.sent)
        octets.add_metric(["received"], results.received)
        yield octets
        yield from self._latencies()
        yield from self._health()

    def _latencies(self) -> Iterator[Metric]:
        steps = self._results.steps
        sums = SummaryMetricFamily("sipsua_load_step_seconds", "What steps took, all together.", labels=["step"])
        quantiles = GaugeMetricFamily(
            "sipsua_load_step_quantile_seconds", "Quantiles of the run so far.", labels=["step", "quantile"]
        )
        for step, latency in steps.items():
            sums.add_metric([step], latency.count, latency.total / 1e6)
            for quantile, value in zip(("0.5", "0.95", "0.99"), latency.percentiles((50, 95, 99)), strict=True):
                quantiles.add_metric([step, quantile], value / 1000)
        yield sums
        yield quantiles

    def _health(self) -> Iterator[Metric]:
        cpu = GaugeMetricFamily("sipsua_load_worker_cpu_ratio", "Share of a core.", labels=["worker"])
        lag = GaugeMetricFamily(
            "sipsua_load_worker_lag_seconds", "Lateness of the event loop, 99 %.", labels=["worker"]
        )
        memory = GaugeMetricFamily("sipsua_load_worker_resident_bytes", "Resident memory.", labels=["worker"])
        for worker, health in sorted(self._results.health.items()):
            cpu.add_metric([str(worker)], health.cpu)
            lag.add_metric([str(worker)], health.lag_ms / 1000)
            memory.add_metric([str(worker)], health.rss_kib * 1024)
        yield from (cpu, lag, memory)
        yield GaugeMetricFamily(
            "sipsua_load_saturated", "1 where the generator itself was the limit.", value=self._results.saturated
        )
        yield GaugeMetricFamily("sipsua_load_lost_workers", "Workers that died.", value=len(self._results.lost_workers))
