"""The timeline as CSV: a row for each second, for a spreadsheet or a script.

Columns are only ever added, at the end. A second in which a phase ends has a row for each phase that had a part in it; `seconds` says how
long each is.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

from sipsua.load.sample import Step

PLAIN = (
    "second",
    "seconds",
    "phones",
    "locked",
    "registered",
    "opening",
    "registered_rate",
    "refreshed_rate",
    "failed_rate",
    "lost_rate",
    "errors",
    "sent",
    "received",
    "cpu",
    "lag_p99_ms",
    "lag_max_ms",
    "rss_kib",
)
"""Columns that are as in the timeline: rates, errors and octets a second, the CPU of the busiest worker, the memory of all."""
PERCENTILES = ("count", "p50_ms", "p95_ms", "p99_ms")
COLUMNS = ("time", "phase", *PLAIN, *(f"{step}_{name}" for step in Step for name in PERCENTILES))
"""`time` is ISO 8601, UTC, of the row's end; `phase` its name. Of each step the count and percentiles, empty where it was not measured."""


def csv_text(results: dict[str, Any]) -> str:
    """The rows of `Results.as_json()`, with a line of names before them and CRLF after each (RFC 4180)."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in results["timeline"]:
        time = datetime.fromtimestamp(row["at"], UTC).isoformat(timespec="milliseconds")
        measured = [row["percentiles"].get(step, {}).get(name, "") for step in Step for name in PERCENTILES]
        writer.writerow(
            [time, _cell(results["phases"][row["phase"]]["name"]), *(row[name] for name in PLAIN), *measured]
        )
    return text.getvalue()


def _cell(text: str) -> str:
    """A name of the plan, so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
