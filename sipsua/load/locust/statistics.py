"""What a Locust master is told: counts and response times in Locust's own form, which it adds up over its workers into its tables.

A row has a type and a name. Whole operations have the type `SIPS`: `REGISTER` (from the intended start to the 200), `REGISTER refresh`,
`REGISTER after loss`, `unREGISTER`. What they consist of has the type `step`: `queue` (the wait in this generator), `DNS`, `TCP connect`,
`TLS handshake`, `REGISTER challenge`, `REGISTER final`. An error is one failure of one row, the one where it came up; like Locust's
own failures it is a request too, one without a response time. The row `Aggregated` holds the whole operations and all failures, and
not the steps, which would count the same work several times: its rate is operations a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sipsua.load.sample import Count, Sample, Step

Row = tuple[str, str]
"""Type and name of a row."""

REGISTER: Row = ("SIPS", "REGISTER")
UNREGISTER: Row = ("SIPS", "unREGISTER")
FLOW: Row = ("SIPS", "flow")
"""Flows that stood and broke: has failures only."""

ROWS: dict[Step, Row] = {
    Step.QUEUE: ("step", "queue"),
    Step.DNS: ("step", "DNS"),
    Step.TCP: ("step", "TCP connect"),
    Step.TLS: ("step", "TLS handshake"),
    Step.CHALLENGE: ("step", "REGISTER challenge"),
    Step.FINAL: ("step", "REGISTER final"),
    Step.REGISTER: REGISTER,
    Step.REFRESH: ("SIPS", "REGISTER refresh"),
    Step.RECOVER: ("SIPS", "REGISTER after loss"),
    Step.UNREGISTER: UNREGISTER,
}

NOT_REMOVED = "the registrar did not say yes"
"""The error of an `unREGISTER` that was refused, or not answered in time."""


@dataclass(slots=True)
class Entry:
    """A row since the last report, or over several of them."""

    requests: int = 0
    timeless: int = 0
    """Of the requests those without a response time: the failed ones."""
    failures: int = 0
    milliseconds: float = 0.0
    """Sum of the response times."""
    shortest: float | None = None
    longest: float = 0.0
    last: float | None = None
    """Unix time of the last request."""
    times: Counter[int] = field(default_factory=Counter)
    """Requests by response time in milliseconds, to two digits: 0 to 100, 110 ... 990, 1000, 1100 ..."""
    by_second: Counter[int] = field(default_factory=Counter)
    failures_by_second: Counter[int] = field(default_factory=Counter)

    def succeed(self, microseconds: Iterable[int], at: float) -> None:
        """Count requests that ended well."""
        values = [value / 1000 for value in microseconds]
        if not values:
            return
        self.requests += len(values)
        self.milliseconds += sum(values)
        shortest = min(values)
        self.shortest = shortest if self.shortest is None else min(self.shortest, shortest)
        self.longest = max(self.longest, *values)
        self.times.update(map(_rounded, values))
        self.by_second[int(at)] += len(values)
        self.last = at

    def fail(self, count: int, at: float) -> None:
        """Count requests that failed."""
        self.requests += count
        self.timeless += count
        self.failures += count
        self.by_second[int(at)] += count
        self.failures_by_second[int(at)] += count
        self.last = at

    def merge(self, other: Entry) -> None:
        """Add what came later."""
        self.requests += other.requests
        self.timeless += other.timeless
        self.failures += other.failures
        self.milliseconds += other.milliseconds
        if other.shortest is not None:
            self.shortest = other.shortest if self.shortest is None else min(self.shortest, other.shortest)
        self.longest = max(self.longest, other.longest)
        self.last = self.last if other.last is None else other.last
        self.times.update(other.times)
        self.by_second.update(other.by_second)
        self.failures_by_second.update(other.failures_by_second)

    def as_locust(self, row: Row, begin: float) -> dict[str, Any]:
        """Under the names that Locust gives it. `begin` is Unix time: rates over the whole run count from there."""
        return {
            "name": row[1],
            "method": row[0],
            "last_request_timestamp": self.last,
            "start_time": begin,
            "num_requests": self.requests,
            "num_none_requests": self.timeless,
            "num_failures": self.failures,
            "total_response_time": self.milliseconds,
            "max_response_time": self.longest,
            "min_response_time": self.shortest,
            "total_content_length": 0,
            "response_times": dict(self.times),
            "num_reqs_per_sec": dict(self.by_second),
            "num_fail_per_sec": dict(self.failures_by_second),
        }


@dataclass(slots=True)
class Tally:
    """Rows, failures by class, and the row of all."""

    rows: dict[Row, Entry] = field(default_factory=dict)
    total: Entry = field(default_factory=Entry)
    errors: Counter[tuple[Row, str]] = field(default_factory=Counter)

    def add(self, sample: Sample) -> None:
        """Count what a sample tells."""
        for step, values in sample.latencies.items():
            row = ROWS[step]
            self._row(row).succeed(values, sample.at)
            if row[0] == "SIPS":
                self.total.succeed(values, sample.at)
        for kind, error in sample.errors.items():
            self._fail(_row_of(kind), kind, error.count, sample.at)
        if sample.counts[Count.UNANSWERED]:
            self._fail(UNREGISTER, NOT_REMOVED, sample.counts[Count.UNANSWERED], sample.at)

    def merge(self, other: Tally) -> None:
        """Add what came later."""
        for row, entry in other.rows.items():
            self._row(row).merge(entry)
        self.total.merge(other.total)
        self.errors.update(other.errors)

    def as_json(self) -> list[dict[str, Any]]:
        """The rows as a person or a program reads them, by name; times in milliseconds, None where nothing was measured."""
        return [
            {
                "type": row[0],
                "name": row[1],
                "requests": entry.requests,
                "failures": entry.failures,
                "min_ms": entry.shortest,
                "mean_ms": entry.milliseconds / count if (count := entry.requests - entry.timeless) else None,
                "max_ms": entry.longest if count else None,
                "errors": {kind: count for (where, kind), count in sorted(self.errors.items()) if where == row},
            }
            for row, entry in sorted(self.rows.items(), key=lambda item: item[0][::-1])
        ]

    def _row(self, row: Row) -> Entry:
        return self.rows.setdefault(row, Entry())

    def _fail(self, row: Row, kind: str, count: int, at: float) -> None:
        self._row(row).fail(count, at)
        self.total.fail(count, at)
        self.errors[row, kind] += count


class Statistics:
    """What is still to be told, and what has been told, of one run."""

    def __init__(self, begin: float) -> None:
        """`begin` is Unix time."""
        self._begin = begin
        self.open = Tally()
        """What the master has not been told yet."""
        self.told = Tally()
        """What it has been told: its tables hold that."""

    def add(self, sample: Sample) -> None:
        """Count what a sample tells."""
        self.open.add(sample)

    def report(self) -> dict[str, Any]:
        """What is open, in the form of Locust's `stats` message."""
        return {
            "stats": [entry.as_locust(row, self._begin) for row, entry in self.open.rows.items()],
            "stats_total": self.open.total.as_locust(("", "Aggregated"), self._begin),
            "errors": {
                f"{row[0]} {row[1]}: {kind}": {
                    "method": row[0],
                    "name": row[1],
                    "error": kind,
                    "occurrences": count,
                    "first_seen": self.open.rows[row].last,
                    "last_seen": self.open.rows[row].last,
                }
                for (row, kind), count in self.open.errors.items()
            },
        }

    def close(self) -> None:
        """What was open has been told."""
        self.told.merge(self.open)
        self.open = Tally()


def _rounded(milliseconds: float) -> int:
    """To two digits, so that the table of a long run stays short on the wire."""
    if milliseconds < 100:
        return round(milliseconds)
    if milliseconds < 1000:
        return int(round(milliseconds, -1))
    if milliseconds < 10_000:
        return int(round(milliseconds, -2))
    return int(round(milliseconds, -3))


_WHERE: tuple[tuple[str, Row], ...] = (
    ("certificate refused", ROWS[Step.TLS]),
    ("our certificate refused", ROWS[Step.TLS]),
    ("handshake failed", ROWS[Step.TLS]),
    ("flow lost", FLOW),
    ("unreachable: DNS", ROWS[Step.DNS]),
    ("unreachable: NXDOMAIN", ROWS[Step.DNS]),
    ("unreachable: no DNS server", ROWS[Step.DNS]),
    ("unreachable: no address in DNS", ROWS[Step.DNS]),
    ("unreachable: no host name", ROWS[Step.DNS]),
    ("unreachable", ROWS[Step.TCP]),
)
"""Where the errors of a class come up, by how its name begins; any other is the registrar's answer, or that there was none."""


def _row_of(kind: str) -> Row:
    return next((row for words, row in _WHERE if kind.startswith(words)), REGISTER)
