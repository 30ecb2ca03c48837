"""The CSV: the same columns whatever was measured, read back by a CSV reader."""

from __future__ import annotations

import csv
import io

from sipsua.load.plan import Hold
from sipsua.load.report.rows import COLUMNS, csv_text
from sipsua.load.sample import Count, Step
from tests.load.by_hand import HOLD, REGISTER, results, sample


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_row_a_second_with_what_the_timeline_tells() -> None:
    made = results(REGISTER, HOLD)
    made.add(sample(0, phones=10, locked=4, registered=3, counts={Count.REGISTERED: 3}, latencies={Step.TLS: [0.004]}))
    made.add(sample(1, phase=1, length=0.5, cpu=0.5))
    made.finish()
    first, second = read(csv_text(made.as_json()))
    assert first["time"] == "2023-11-14T22:13:21.000+00:00"
    assert [first[name] for name in ("second", "phase", "phones", "locked", "registered")] == ["0", "register", "10", "4", "3"]  # fmt: skip
    assert [first[name] for name in ("registered_rate", "tls_count", "tls_p50_ms", "tls_p99_ms")] == ["3.0", "1", "4.0", "4.0"]  # fmt: skip
    assert (first["tcp_count"], second["tls_count"]) == ("", "")
    assert [second[name] for name in ("second", "phase", "seconds", "cpu", "sent")] == ["1", "hold", "0.5", "0.5", "200"]  # fmt: skip


def test_columns_are_the_same_where_nothing_was_measured() -> None:
    assert csv_text(results().as_json()) == ",".join(COLUMNS) + "\r\n"
    assert len(COLUMNS) == len(set(COLUMNS)) == 19 + 4 * len(Step)


def test_a_phases_name_is_no_formula_and_breaks_no_row() -> None:
    made = results(Hold(do="hold", name='=1+1,"two"\nlines', duration=1))
    made.add(sample(0))
    made.finish()
    (row,) = read(csv_text(made.as_json()))
    assert row["phase"] == '\'=1+1,"two"\nlines'
    assert None not in row
