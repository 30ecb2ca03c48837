"""A load run while it goes on: a screen that is drawn anew each second on a terminal, and lines that can be searched elsewhere."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sipsua.cli.screen import Screen
from sipsua.errors import printable
from sipsua.load.phase_result import PhaseResult
from sipsua.load.plan import Churn, Hold, Storm
from sipsua.load.results import Results
from sipsua.load.sample import Count, Step

EVERY = 5
"""Seconds between two lines where there is no terminal."""
CLASSES = 6
"""Classes of errors that the screen has room for."""


class Display(Protocol):
    """What shows a run."""

    def update(self, results: Results) -> None:
        """Rows have been added."""

    def say(self, words: str) -> None:
        """Something that is told once."""

    def close(self) -> None:
        """The run is over."""


def display(*, quiet: bool) -> Display:
    """The one that fits where standard output leads."""
    if quiet:
        return Silence()
    return Dashboard() if sys.stdout.isatty() else Lines()


class Silence:
    """Shows nothing but what is told once."""

    def __init__(self) -> None:
        self._errors = Screen("stderr")

    def update(self, results: Results) -> None:
        """Nothing."""

    def say(self, words: str) -> None:
        self._errors.line(words)

    def close(self) -> None:
        """Nothing."""


class Lines(Silence):
    """A line each five seconds, and one where a phase begins."""

    def __init__(self) -> None:
        super().__init__()
        self._screen = Screen()
        self._shown = 0
        self._phase = -1
        self._due = 0.0

    def update(self, results: Results) -> None:
        for row in results.rows[self._shown :]:
            if row["phase"] != self._phase:
                self._phase = row["phase"]
                self._screen.line(
                    (f"phase {self._phase + 1}/{len(results.phases)}", "title"), results.phases[self._phase].name
                )
            elif row["second"] < self._due:
                continue
            self._due = row["second"] + EVERY
            self._screen.line(*_words(row), indent=2)
        self._shown = len(results.rows)


class Dashboard:
    """The screen of a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._live.start()
        self._shown = 0

    def update(self, results: Results) -> None:
        if len(results.rows) > self._shown:
            self._shown = len(results.rows)
            self._live.update(self.picture(results), refresh=True)

    def say(self, words: str) -> None:
        self._console.print(printable(words), style="bold red")

    def close(self) -> None:
        self._live.stop()

    def picture(self, results: Results) -> RenderableType:
        """The whole screen as of the last row."""
        row = results.rows[-1]
        phase = results.phases[row["phase"]]
        parts: list[RenderableType] = [
            _title(results, row),
            _progress(phase, results),
            _gauges(row, results),
            _steps(row),
        ]
        if results.errors:
            parts.append(_errors(results))
        return Group(*parts, _health(results))


def _words(row: dict[str, Any]) -> list[str]:
    """A row as words."""
    words = [
        f"{row['second'] + 1:>4} s",
        f"locked {row['locked']}/{row['phones']}",
        f"registered {row['registered_rate']:.0f}/s",
        f"refreshed {row['refreshed_rate']:.0f}/s",
        f"errors {row['errors']:.0f}/s",
    ]
    for step in (Step.REGISTER, Step.REFRESH):
        if step in row["percentiles"]:
            values = row["percentiles"][step]
            words.append(f"{step} p50 {values['p50_ms']:.1f} p99 {values['p99_ms']:.1f} ms")
    return [*words, f"CPU {row['cpu']:.0%}", f"lag {row['lag_p99_ms']:.0f} ms"]


def _title(results: Results, row: dict[str, Any]) -> Text:
    plan = results.plan
    text = Text(printable(plan.name), "bold")
    text.append(f"  {results.phones:,} phones", "")
    text.append(f" at {printable(plan.server)}" if plan.server else "", "")
    return text.append(f"  {_clock(row['second'] + 1)}", "cyan")


def _progress(phase: PhaseResult, results: Results) -> Table:
    done, total = progress(phase, results)
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        Text(f"phase {phase.index + 1}/{len(results.phases)} {printable(phase.name)}", "bold"),
        ProgressBar(total=max(total, 1e-9), completed=min(done, total), width=30),
        f"{done:,.0f} of {total:,.0f}" + (" s" if isinstance(phase.phase, Hold | Churn) else ""),
    )
    return grid


def progress(phase: PhaseResult, results: Results) -> tuple[float, float]:
    """How far a phase has come, and how far it will: in seconds where it is one of a fixed length, else in phones."""
    kind = phase.phase
    if isinstance(kind, Hold | Churn):
        return phase.seconds, kind.duration
    counts = phase.counts
    if isinstance(kind, Storm):
        return len(phase.recoveries), counts[Count.CUT] + counts[Count.LOST]
    done = {"register": (Count.REGISTERED, Count.REFUSED), "reregister": (Count.REFRESHED, Count.FAILED)}.get(
        kind.do, (Count.UNREGISTERED, Count.UNANSWERED)
    )
    return sum(counts[one] for one in done), results.phones


def _gauges(row: dict[str, Any], results: Results) -> Table:
    counts = results.counts
    grid = Table.grid(padding=(0, 2))
    for _ in range(4):
        grid.add_column(min_width=18)
    locked = "green" if row["locked"] == row["phones"] else "yellow"
    grid.add_row(
        Text(f"locked {row['locked']:,}/{row['phones']:,}", f"bold {locked}"),
        f"registered {row['registered']:,}",
        f"opening {row['opening']:,}",
        f"{row['sent'] / 1000:,.0f} kB/s out, {row['received'] / 1000:,.0f} kB/s in",
    )
    grid.add_row(
        f"registered {row['registered_rate']:,.0f}/s",
        f"refreshed {row['refreshed_rate']:,.0f}/s",
        Text(f"failed {counts[Count.FAILED]:,}", "bold red" if counts[Count.FAILED] else ""),
        Text(f"lost {counts[Count.LOST]:,}", "bold red" if counts[Count.LOST] else ""),
    )
    return grid


def _steps(row: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    table.add_column("this second", min_width=12)
    for name in ("count", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right", min_width=8)
    for step, values in row["percentiles"].items():
        times = [f"{values[key]:,.1f}" for key in ("p50_ms", "p95_ms", "p99_ms")]
        table.add_row(step, f"{values['count']:,}", *times)
    return table


def _errors(results: Results) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    table.add_column("errors so far", justify="right")
    table.add_column("class", style="red")
    errors = list(results.errors.items())
    for kind, error in errors[:CLASSES]:
        table.add_row(f"{error.count:,}", printable(kind))
    if len(errors) > CLASSES:
        table.add_row(
            f"{sum(error.count for _, error in errors[CLASSES:]):,}", f"of {len(errors) - CLASSES} more classes"
        )
    return table


def _health(results: Results) -> Text:
    text = Text("generator", "cyan")
    for worker, health in sorted(results.health.items()):
        text.append(
            f"  {worker}: CPU {health.cpu:.0%}, lag {health.lag_ms:.0f} ms, {health.rss_kib / 1024:,.0f} MiB", ""
        )
    if results.saturated:
        text.append("  SATURATED: the generator is the limit", "bold red")
    for lost in results.lost_workers:
        text.append(f"  worker {lost['worker']} LOST with {lost['phones']:,} phones", "bold red")
    return text


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
