"""Which plots a run is shown in: from the seconds of its results to the lines of each plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sipsua.load.report.plot import Band, LegendEntry, Mark, Plot, Series, draw, legend, readings
from sipsua.load.report.scale import Unit, number, spoken
from sipsua.load.report.seconds import whole_seconds
from sipsua.load.sample import Step

STEP_TITLES = {
    Step.QUEUE: ("Queue", "waiting for a turn in the generator"),
    Step.DNS: ("DNS", "looking the server up"),
    Step.TCP: ("TCP", "connecting"),
    Step.TLS: ("TLS", "the handshake"),
    Step.CHALLENGE: ("Challenge", "from the first REGISTER to it"),
    Step.FINAL: ("Answer", "from the last REGISTER to the 200"),
    Step.REGISTER: ("Registration", "the whole, from the intended start"),
    Step.REFRESH: ("Refresh", "from the instant when it was due"),
    Step.RECOVER: ("Recovery", "from the lost flow to the new binding"),
    Step.UNREGISTER: ("Unregistration", "from the intended instant to the answer"),
}
"""Each step by a name, and what it measures."""
LARGE_STEPS = (Step.REGISTER, Step.REFRESH)
"""Whose latency is shown large where it was measured; the parts are shown small."""
PERCENTILES = (("p50_ms", "median", 0), ("p95_ms", "95 %", 1), ("p99_ms", "99 %", 2))


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, ready for the page."""

    key: str
    title: str
    note: str
    """What the axis is, where that does not go without saying."""
    size: str
    svg: str
    legend: list[LegendEntry]
    readings: dict[str, Any]


class Figures:
    """The plots of one run."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._timeline: list[dict[str, Any]] = results["timeline"]
        self._rows = whole_seconds(self._timeline)
        self._phases: list[dict[str, Any]] = results["phases"]
        self._begin = self._timeline[0]["at"] - self._timeline[0]["seconds"] if self._timeline else 0.0
        # What a row tells is so at its end.
        self._instants = [self._instant(row) for row in self._rows]
        ends = [phase["begin"] + phase["seconds"] for phase in self._phases if phase["begin"] is not None]
        self._length = max([1.0, *ends, *self._instants])
        self._bands = [
            Band(phase["begin"], phase["begin"] + phase["seconds"], str(number), phase["name"])
            for number, phase in enumerate(self._phases, 1)
            if phase["begin"] is not None
        ]
        self._hatched = [(float(span["first"]), span["last"] + 1.0) for span in results["saturation"]]

    def phones(self) -> Figure:
        """Locked, registered and wanted phones."""
        return self._figure(
            "phones",
            "Locked phones",
            Unit.COUNT,
            [
                Series("locked", self._column("locked"), 0, filled=True),
                Series("registered", self._column("registered"), 1),
                Series("wanted", self._column("phones"), 3),
                Series("being opened", self._column("opening"), 2),
            ],
        )

    def rates(self) -> Figure:
        """Registrations and refreshes a second."""
        return self._figure(
            "rates",
            "Registrations per second",
            Unit.RATE,
            [
                Series("registered", self._column("registered_rate"), 0, filled=True),
                Series("refreshed", self._column("refreshed_rate"), 1),
            ],
        )

    def failures(self) -> Figure:
        """What went wrong a second."""
        return self._figure(
            "failures",
            "Errors per second",
            Unit.RATE,
            [
                Series("failed attempts", self._column("failed_rate"), 1),
                Series("lost flows", self._column("lost_rate"), 2),
                Series("errors of all classes", self._column("errors"), 3),
            ],
        )

    def latencies(self) -> list[Figure]:
        """Percentiles over time: the whole of a registration and of a refresh, then each step that was measured."""
        measured = {step for row in self._rows for step in row["percentiles"]}
        large = [step for step in LARGE_STEPS if step in measured]
        return [
            self._figure(
                f"step-{step}",
                STEP_TITLES[step][0],
                Unit.MS,
                [Series(words, self._percentile(step, key), style) for key, words, style in PERCENTILES],
                size="large" if step in large else "small",
                logarithmic=True,
                note=f"{STEP_TITLES[step][1]}; logarithmic",
            )
            for step in [*large, *(step for step in Step if step in measured and step not in large)]
        ]

    def health(self) -> list[Figure]:
        """How the generator fared. Where it was saturated, the plots are hatched."""
        mebibytes = [None if row["rss_kib"] is None else row["rss_kib"] / 1024 for row in self._rows]
        return [
            self._figure(
                "cpu",
                "CPU of the busiest worker",
                Unit.SHARE,
                [Series("share of a core", self._column("cpu"), 0, filled=True)],
                size="small",
                hatched=True,
            ),
            self._figure(
                "lag",
                "Lateness of the event loop",
                Unit.MS,
                [Series("99 %", self._column("lag_p99_ms"), 0), Series("worst", self._column("lag_max_ms"), 1)],
                size="small",
                hatched=True,
            ),
            self._figure(
                "memory",
                "Memory of all workers",
                Unit.MIB,
                [Series("resident", mebibytes, 0, filled=True)],
                size="small",
            ),
            self._figure(
                "traffic",
                "Traffic per second",
                Unit.BYTES,
                [Series("sent", self._column("sent"), 0), Series("received", self._column("received"), 1)],
                size="small",
            ),
        ]

    def storms(self) -> list[Figure]:
        """For each storm that hit somebody, the share of those that lost their flow and are registered again."""
        return [
            self._recovery(index, phase)
            for index, phase in enumerate(self._phases)
            if phase["storm"] and phase["storm"]["affected"]
        ]

    def _recovery(self, index: int, phase: dict[str, Any]) -> Figure:
        storm = phase["storm"]
        affected = storm["affected"]
        rows = [row for row in self._timeline if row["phase"] == index]
        back = [min(1.0, max(0.0, 1 - (row["phones"] - row["registered"]) / affected)) for row in rows]
        # The storm's clock runs from the first flow that is lost, which somebody else may have cut long after the phase began.
        calm = next((number for number, share in enumerate(back) if share < 1.0), 0)
        start = self._instant(rows[calm]) - rows[calm]["seconds"]
        instants = [round(self._instant(row) - start, 3) for row in rows[calm:]]
        told = [(storm["seconds_to_95"], "95 %"), (storm["seconds_to_100"], "100 %")]
        marks = [Mark(at, f"{words} after {spoken(at * 1000, Unit.MS)}") for at, words in told if at is not None]
        length = max([1.0, *instants, *(mark.at for mark in marks)])
        plot = Plot(
            key=f"storm-{index}",
            title=f"{index + 1} {phase['name']}",
            unit=Unit.SHARE,
            length=length,
            instants=[0.0, *instants],
            series=[Series("registered again", [0.0, *back[calm:]], 0, filled=True)],
            marks=marks,
        )
        back_now = (
            f"{number(storm['recovered'])} of {number(affected)} phones that lost their flow are registered again"
        )
        return _figure(plot, f"{back_now}; the clock runs from the first one")

    def _figure(
        self,
        key: str,
        title: str,
        unit: Unit,
        series: Sequence[Series],
        *,
        size: str = "large",
        logarithmic: bool = False,
        hatched: bool = False,
        note: str = "",
    ) -> Figure:
        plot = Plot(
            key=key,
            title=title,
            unit=unit,
            length=self._length,
            instants=self._instants,
            series=series,
            size=size,
            bands=self._bands,
            hatched=self._hatched if hatched else (),
            logarithmic=logarithmic,
        )
        return _figure(plot, note)

    def _instant(self, row: dict[str, Any]) -> float:
        """The end of a row, in seconds of the run."""
        return max(0.0, round(float(row["at"]) - self._begin, 3))

    def _column(self, name: str) -> list[float | None]:
        return [row[name] for row in self._rows]

    def _percentile(self, step: Step, key: str) -> list[float | None]:
        return [row["percentiles"].get(step, {}).get(key) for row in self._rows]


def _figure(plot: Plot, note: str) -> Figure:
    return Figure(plot.key, plot.title, note, plot.size, draw(plot), legend(plot), readings(plot))
