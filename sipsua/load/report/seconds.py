"""The timeline as a plot wants it: one row for each second, however many phases had a part in it.

Where a phase ends after the first hundredth of a second, that hundredth is a row of its own, and thirty registrations in it are three
thousand a second. True, but no second of the run had so many. So what is told a second is taken over the whole second.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

SPREAD = ("registered_rate", "refreshed_rate", "failed_rate", "lost_rate", "errors", "sent", "received", "cpu")
"""What is told a second, and the CPU's share of it."""
WORST = ("lag_p99_ms", "lag_max_ms")


def whole_seconds(timeline: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `timeline`, one for each second: what is told a second over the whole of it (of the run's last one, too, which the
    run did not fill), the worst lag, percentiles of the part that measured most, and all else as it was at the second's end."""
    return [_joined(list(rows)) for _, rows in groupby(timeline, key=lambda row: row["second"])]


def _joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = sum(row["seconds"] for row in rows)
    percentiles: dict[str, dict[str, Any]] = {}
    for row in rows:
        for step, measured in row["percentiles"].items():
            if step not in percentiles or measured["count"] > percentiles[step]["count"]:
                percentiles[step] = measured
    return (
        rows[-1]
        | {name: sum(row[name] * row["seconds"] for row in rows) / max(1.0, seconds) for name in SPREAD}
        | {name: max(row[name] for row in rows) for name in WORST}
        | {"seconds": seconds, "percentiles": percentiles}
    )
