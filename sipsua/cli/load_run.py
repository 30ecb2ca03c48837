"""A load run from the command line: engine, results, screen and metrics together, then the reports and the verdict.

However it ends, by itself, by Ctrl-C or because a worker died, what was measured is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sipsua.account.config import Target
from sipsua.cli.dashboard import Display, display
from sipsua.cli.failure import GeneratorSaturated, RunFailed
from sipsua.cli.interrupt import heard, run
from sipsua.cli.output import print_json, write_file
from sipsua.cli.screen import Screen
from sipsua.errors import BadConfiguration
from sipsua.load.engine import Engine
from sipsua.load.metrics import Metrics
from sipsua.load.plan import Plan
from sipsua.load.population import Population
from sipsua.load.report.junit import junit_xml
from sipsua.load.report.page import html_page
from sipsua.load.report.rows import csv_text
from sipsua.load.report.summary import summary
from sipsua.load.results import Results

WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "json": lambda results: json.dumps(results, indent=1, allow_nan=False) + "\n",
    "csv": csv_text,
    "html": html_page,
    "junit": junit_xml,
}
"""What makes the text of each report from `Results.as_json()`."""


class LoadRun:
    """One run."""

    def __init__(self, plan: Plan, files: dict[str, str], metrics_port: int | None, quiet: bool) -> None:
        """`files` are paths by the kinds of `WRITERS`. Raises BadConfiguration where one could not be written, or the plan not be run."""
        for path in files.values():
            _check_place(path)
        self._plan = plan
        self._files = files
        self._metrics_port = metrics_port
        self._quiet = quiet
        self._stopped = False
        self._engine = Engine(plan, tell=self._tell)
        self._results = Results(plan, self._engine.phones, workers=self._engine.count)
        self._display: Display | None = None

    def perform(self) -> None:
        """The run, its reports, its summary. Raises RunFailed, GeneratorSaturated, KeyboardInterrupt where it was stopped."""
        results = self._results
        try:
            run(self._run())
        finally:
            results.finish(interrupted=self._stopped)
            if results.rows:
                self._report()
        if self._stopped:
            raise KeyboardInterrupt
        if results.saturated and self._plan.saturation.then == "fail":
            raise GeneratorSaturated(results.reasons[-1])
        if not results.passed:
            raise RunFailed("; ".join(results.reasons))

    async def _run(self) -> None:
        metrics = Metrics(self._results)
        shown = self._display = display(quiet=self._quiet)
        try:
            if self._metrics_port is not None:
                port = metrics.start(self._metrics_port)
                shown.say(f"metrics: http://127.0.0.1:{port}/metrics")
            with heard(self._stop):
                async for sample in self._engine.run():
                    self._results.add(sample)
                    self._note_losses()
                    shown.update(self._results)
                    metrics.update()
            self._note_losses()
        finally:
            shown.close()
            metrics.close()

    def _stop(self) -> None:
        if self._display is not None:
            again = (
                "ending now"
                if self._stopped
                else f"unregistering, for {self._plan.grace:g} s at most; Ctrl-C again ends at once"
            )
            self._display.say(again)
        self._stopped = True
        self._engine.stop()

    def _note_losses(self) -> None:
        for lost in self._engine.lost[len(self._results.lost_workers) :]:
            self._results.lose_worker(lost.worker, lost.phones, lost.reason)

    def _tell(self, worker: int, line: str) -> None:
        if self._display is not None:
            self._display.say(f"worker {worker}: {line}")

    def _report(self) -> None:
        """Each file by itself: one that cannot be written does not cost the others. Raises BadConfiguration in the end."""
        told = self._results.as_json()
        failures = []
        for kind, path in self._files.items():
            try:
                # What the server sent may be no text at all: half a pair of surrogates is written as its number.
                write_file(path, WRITERS[kind](told).encode(errors="backslashreplace"))
            except BadConfiguration as error:
                failures.append(error)
        screen = Screen()
        for indent, parts in summary(told):
            screen.line(*parts, indent=indent)
        if failures:
            raise failures[0]


def run_locust_worker(plan: Plan, master: str, name: str | None) -> None:
    """Be a worker of a Locust master until it says quit, or Ctrl-C. Raises KeyboardInterrupt after that, and what `LocustWorker` does."""
    from sipsua.load.locust.wire import PORT
    from sipsua.load.locust.worker import LocustWorker

    screen = Screen()
    stopped = []

    async def work() -> None:
        where = Target.parse(master, PORT)
        worker = LocustWorker(plan, Population(plan), where.host, where.port, name=name, tell=screen.line)

        def stop() -> None:
            stopped.append(True)
            worker.stop()

        with heard(stop):
            totals = await worker.run()
        print_json(totals)

    run(work())
    if stopped:
        raise KeyboardInterrupt


def _check_place(path: str) -> None:
    """Whether a report can be written there: better known before the run than after it. Raises BadConfiguration."""
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        return  # a terminal or a pipe
    place = target.resolve().parent
    if target.is_dir() or not place.is_dir() or not os.access(place, os.W_OK):
        raise BadConfiguration(
            f"no report can be written to {path}",
            fix="name a file in a directory that exists and that you may write to",
        )
