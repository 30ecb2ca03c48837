"""A plot as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from sipsua.load.report.plot import Band, Mark, Plot, Series, draw, legend, readings
from sipsua.load.report.scale import Unit


def plot(values: Sequence[float | None] = (0, 5, 10), **more: Any) -> Plot:
    given: dict[str, Any] = {
        "key": "k",
        "title": "T",
        "unit": Unit.COUNT,
        "length": float(len(values)),
        "instants": [index + 1.0 for index in range(len(values))],
        "series": [Series("locked", values, 0)],
    }
    return Plot(**(given | more))


def drawn(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(draw(plot))


def of_class(svg: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [one for one in svg.iter() if name in one.get("class", "").split()]


def line(svg: ElementTree.Element) -> str:
    (path,) = of_class(svg, "line")
    return path.get("d", "")


def test_line_runs_through_each_value_across_the_time_of_the_run() -> None:
    assert line(drawn(plot([0, 6, 12], series=[Series("a", [0, 6, 12], 0)]))) == "M333.3 1000 666.7 600 1000 200"


def test_area_closes_on_the_floor() -> None:
    (area,) = of_class(drawn(plot([5, 10], series=[Series("a", [5, 10], 2, filled=True)])), "area")
    assert area.get("d") == "M500 1000L500 500 1000 0 1000 1000Z"
    assert area.get("class") == "area s2"


def test_line_is_not_drawn_through_what_was_not_measured() -> None:
    assert line(drawn(plot([1, 1, None, None, None, None, 1, 1]))).count("M") == 2


def test_value_by_itself_is_a_dot() -> None:
    svg = drawn(plot([None, 1, None, None, None, 1, 1]))
    assert [path.get("d") for path in of_class(svg, "dot")] == ["M285.7 0h0"]
    assert line(svg).startswith("M857.1")


def test_first_series_lies_on_top() -> None:
    paths = of_class(drawn(plot([1, 2], series=[Series("a", [1, 2], 0), Series("b", [2, 1], 1)])), "line")
    assert [path.get("class") for path in paths] == ["line s1", "line s0"]


def test_long_run_is_drawn_with_few_points_and_shows_its_single_bad_second() -> None:
    values: list[float | None] = [10.0] * 3600
    values[1800] = 100.0
    svg = drawn(plot(values))
    assert len(line(svg)) < 5000
    (spread,) = of_class(svg, "range")
    assert " 0 " in spread.get("d", "")
    assert " 0" not in line(svg)


def test_short_run_has_no_range() -> None:
    assert of_class(drawn(plot()), "range") == []


def test_saturated_stretch_is_hatched_where_it_was() -> None:
    svg = drawn(plot([1] * 10, hatched=[(2, 5)]))
    (rectangle,) = [one for one in svg.iter() if one.tag == "rect"]
    assert (rectangle.get("x"), rectangle.get("width"), rectangle.get("fill")) == ("20%", "30%", "url(#k-hatch)")
    assert [one.get("id") for one in svg.iter() if one.tag == "pattern"] == ["k-hatch"]


def test_phase_is_named_where_there_is_room_numbered_where_there_is_less_and_else_not() -> None:
    bands = [
        Band(0, 50, "1", "come"),
        Band(50, 55, "2", "a long name"),
        Band(55, 56, "3", "short"),
        Band(56, 100, "4", "stay"),
    ]
    labels = {one.text: one.get("class") for one in of_class(drawn(plot([1] * 100, bands=bands)), "phase")}
    assert labels == {"1 come": "phase", "2": "phase wide", "4 stay": "phase"}


def test_name_of_a_phase_is_text_whatever_it_holds() -> None:
    hostile = "<script>alert(1)</script>\x00\ud800"
    text = draw(plot([1] * 100, bands=[Band(0, 100, "1", hostile)]))
    assert "<script" not in text
    assert "1 <script>alert(1)</script>\ufffd\ufffd" in [one.text for one in ElementTree.fromstring(text).iter()]


def test_instant_that_matters_has_a_line_and_words() -> None:
    svg = drawn(plot([1] * 10, marks=[Mark(4, "95 % after 4 s")]))
    mark, words = of_class(svg, "mark")
    assert mark.get("x1") == "40%"
    assert words.text == "95 % after 4 s"


@pytest.mark.parametrize("values", [[], [None, None]])
def test_plot_without_a_value_says_so(values: list[float | None]) -> None:
    svg = drawn(plot(values, length=5.0))
    assert [one.text for one in of_class(svg, "nothing")] == ["nothing was measured"]
    assert of_class(svg, "line") == []


def test_who_cannot_see_the_plot_hears_its_course() -> None:
    svg = drawn(plot([1, 9, 4], marks=[Mark(2, "turned")]))
    description = svg.findtext("desc")
    assert (
        description
        == "From 0:00 to 0:03 of the run. locked: lowest 1, highest 9 at 0:02, at the end 4. turned at 0:02."
    )
    assert svg.get("aria-labelledby") == "k-title k-desc"


def test_legend_has_each_line_with_its_highest_value() -> None:
    (entry, missing) = legend(plot([1, 70, 2], series=[Series("a", [1, 70, None], 0), Series("b", [None] * 3, 1)]))
    assert (entry.name, entry.style, entry.peak) == ("a", 0, "70")
    assert missing.peak == "–"


def test_reading_of_a_short_run_is_each_value() -> None:
    assert readings(plot([1, None, 3], length=4.0)) == {
        "at": [0.25, 0.5, 0.75],
        "when": ["0:01", "0:02", "0:03"],
        "told": [["1", "–", "3"]],
    }


def test_reading_of_a_long_run_is_from_the_lowest_to_the_highest_of_the_column() -> None:
    told = readings(plot([float(second) for second in range(3600)], size="small"))
    assert len(told["at"]) == 160
    assert told["told"][0][1] == "22 – 43"


def test_reading_tells_the_unit_once_where_it_is_the_same() -> None:
    values = [float(second % 22 + 1) * (100 if second > 1800 else 1) for second in range(3600)]
    (told,) = readings(plot(values, size="small", unit=Unit.MS))["told"]
    assert told[0].replace("\N{NO-BREAK SPACE}", " ") == "1 – 22 ms"
    assert told[-1].replace("\N{NO-BREAK SPACE}", " ") == "100 ms – 2.2 s"
