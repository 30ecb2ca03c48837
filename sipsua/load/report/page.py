"""The report as one HTML file: it opens from a mail, a CI artefact or a stick, with no network, and says first whether the run passed.

The plots are SVG in the page; its one script only tells the values under the pointer or the arrow keys, and the page is whole without it.
The policy in the page's head lets a browser run that script and style sheet, known by their hashes, and load nothing at all: should a
text of the plan or of the server ever get through the escaping, it is still only text.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sipsua.load.report.figures import STEP_TITLES, Figures
from sipsua.load.report.scale import NBSP, Unit, clock, duration, number, spoken
from sipsua.load.report.seconds import whole_seconds
from sipsua.load.sample import Count, Step

COUNT_TITLES = {
    Count.STARTED: "Phones that began to register",
    Count.REGISTERED: "Registrations, with those on a new flow",
    Count.REFRESHED: "Refreshes",
    Count.FAILED: "Failed attempts to register",
    Count.REFUSED: "Phones that gave up",
    Count.LOST: "Flows lost, other than by our own cut",
    Count.CUT: "Flows cut by the plan",
    Count.UNREGISTERED: "Unregistrations",
    Count.UNANSWERED: "Left without the registrar's yes",
    Count.HANDSHAKES: "TLS handshakes",
    Count.RESUMED: "of them resumed",
    Count.TLS1_3: "of them TLS 1.3",
    Count.TLS1_2: "of them TLS 1.2",
    Count.OLD_TLS: "of them TLS 1.1 or older",
    Count.UNVERIFIED: "of them with a certificate accepted unseen",
    Count.ANSWERED: "Requests of the server answered",
    Count.DROPPED: "Messages of the server that cannot be answered",
}
STEP_COLUMNS = {
    "Count": "count",
    "Lowest": "min_ms",
    "Mean": "mean_ms",
    "Median": "p50_ms",
    "90 %": "p90_ms",
    "95 %": "p95_ms",
    "99 %": "p99_ms",
    "99.9 %": "p99_9_ms",
    "Highest": "max_ms",
}


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One of the figures at the top."""

    name: str
    value: str
    note: str = ""
    bad: bool = False
    """Whether it is shown as something to look at."""


def html_page(results: dict[str, Any]) -> str:
    """The page of a run, from `Results.as_json()`."""
    figures = Figures(results)
    style, script = _part("page.css"), _part("page.js")
    sections = {
        "Phones": [figures.phones(), figures.rates(), figures.failures()],
        "Recovery": figures.storms(),
        "Latency": figures.latencies(),
        "Generator": figures.health(),
    }
    return (
        _environment()
        .from_string(_part("page.html"))
        .render(
            **results,
            policy=f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)};"
            " base-uri 'none'; form-action 'none'",
            style=Markup(style),
            script=Markup(script),
            begin=_begin(results["run"]["begin"]),
            praise=_praise(results),
            key_figures=_key_figures(results),
            sections=sections if results["timeline"] else {},
            readings={figure.key: figure.readings for group in sections.values() for figure in group},
            step_titles=STEP_TITLES,
            step_columns=STEP_COLUMNS,
            count_titles=COUNT_TITLES,
        )
    )


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    environment.filters |= {
        "number": lambda value: spoken(value, Unit.COUNT),
        "ms": lambda value: spoken(value, Unit.MS),
        "clock": clock,
        "duration": duration,
        "plural": _plural,
        "quantity": _quantity,
        "sentence": _sentence,
    }
    return environment


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """How a policy names an inline text: only this one is let in."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _begin(told: str | None) -> str:
    return "" if told is None else f"{datetime.fromisoformat(told).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _praise(results: dict[str, Any]) -> str:
    """Why a run that passed did pass; what of it was not asked for is said as well."""
    thresholds = len(results["thresholds"])
    held = {0: "The plan sets no thresholds", 1: "The one threshold held"}.get(
        thresholds, f"All {thresholds} thresholds held"
    )
    saturated = "the generator was the limit at times" if results["saturation"] else "the generator was never the limit"
    lost = len(results["lost_workers"])
    workers = f"{_plural(lost, 'worker')} were lost" if lost else "no worker was lost"
    return f"{held}, {saturated}, {workers}."


def _key_figures(results: dict[str, Any]) -> list[KeyFigure]:
    run, totals = results["run"], results["totals"]
    locked = totals["peak"]["locked"]
    errors = sum(error["count"] for error in totals["errors"].values())
    fastest = max((row["registered_rate"] for row in whole_seconds(results["timeline"])), default=0)
    register = totals["steps"].get(Step.REGISTER)
    slowness = [
        KeyFigure(f"Register, {words}", spoken(register[key], Unit.MS), f"{share} were faster")
        if register
        else KeyFigure(f"Register, {words}", "–", "not measured")
        for words, key, share in (
            ("median", "p50_ms", "half"),
            ("95 %", "p95_ms", "95 of 100"),
            ("99 %", "p99_ms", "99 of 100"),
        )
    ]
    return [
        KeyFigure("Phones", number(run["phones"]), f"on {_plural(run['workers'], 'worker')}"),
        KeyFigure(
            "Locked at the peak",
            number(locked),
            f"{spoken(locked / run['phones'], Unit.SHARE)} of the phones" if run["phones"] else "",
        ),
        KeyFigure(
            "Registrations",
            number(totals["counts"].get(Count.REGISTERED, 0)),
            f"{spoken(fastest, Unit.RATE)} in the fastest second",
        ),
        KeyFigure(
            "Errors",
            number(errors),
            f"of {_plural(len(totals['errors']), 'class', 'classes')}" if errors else "",
            bad=errors > 0,
        ),
        *slowness,
        KeyFigure("Took", duration(run["seconds"]), _plural(len(results["phases"]), "phase")),
    ]


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{number(count)}{NBSP}{one if count == 1 else many or one + 's'}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _quantity(value: float, unit: str) -> str:
    """A value of a threshold in the unit that the plan names."""
    space = NBSP if unit and not unit.startswith("/") else ""
    return f"{number(value)}{space}{unit}"
