"""The rows that benches return, and how they are printed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    what: str
    value: float
    unit: str
    reference: str = ""
    """What `ratio` is against."""
    ratio: float | None = None
    budget: str = ""
    """DESIGN's, as text."""


def show(rows: list[Row]) -> None:
    """Print a Markdown table."""
    print("| what | figure | ratio | against | budget |")
    print("|---|---|---|---|---|")
    for row in rows:
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        print(f"| {row.what} | {row.value:,.1f} {row.unit} | {ratio} | {row.reference} | {row.budget} |")
    print()
