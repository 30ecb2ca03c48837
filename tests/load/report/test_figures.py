"""Which plots a run is shown in."""

from __future__ import annotations

from xml.etree import ElementTree

from sipsua.load.report.figures import STEP_TITLES, Figure, Figures
from sipsua.load.sample import Step
from tests.load.report.runs import empty_run, failed_run, made_run


def names(figure: Figure) -> list[str]:
    return [entry.name for entry in figure.legend]


def classes(figure: Figure) -> list[str]:
    return [one.get("class", "") for one in ElementTree.fromstring(figure.svg).iter()]


def test_each_step_has_a_name() -> None:
    assert set(STEP_TITLES) == set(Step)


def test_phones_and_rates_tell_the_columns_of_the_timeline() -> None:
    run = made_run(50)
    figures = Figures(run)
    phones, rates, failures = figures.phones(), figures.rates(), figures.failures()
    assert names(phones) == ["locked", "registered", "wanted", "being opened"]
    assert phones.legend[0].peak == "5,000"
    assert phones.readings["told"][0][20] == f"{run['timeline'][20]['locked']:,}"
    assert phones.readings["when"][20] == "0:21", "a row tells how it is at the end of its second"
    assert names(rates) == ["registered", "refreshed"]
    assert names(failures) == ["failed attempts", "lost flows", "errors of all classes"]


def test_whole_registration_and_refresh_are_large_and_come_first() -> None:
    figures = Figures(made_run(50)).latencies()
    assert [figure.key for figure in figures if figure.size == "large"] == ["step-register", "step-refresh"]
    assert [figure.key for figure in figures][:3] == ["step-register", "step-refresh", "step-queue"]
    assert {figure.key for figure in figures} == {f"step-{step}" for step in Step}


def test_step_that_was_never_measured_has_no_plot() -> None:
    run = made_run(50)
    for row in run["timeline"]:
        row["percentiles"].pop(Step.DNS)
    assert "step-dns" not in {figure.key for figure in Figures(run).latencies()}


def test_generator_is_hatched_where_it_was_saturated_and_only_its_own_limits_are() -> None:
    hatched = {figure.key for figure in Figures(failed_run(60)).health() if "hatch" in classes(figure)}
    assert hatched == {"cpu", "lag"}
    assert not any("hatch" in classes(figure) for figure in Figures(made_run(60)).health())


def test_row_stands_where_it_ended_also_where_the_run_ended_within_a_second() -> None:
    run = made_run(50)
    run["timeline"][-1] |= {"at": run["timeline"][-2]["at"] + 0.25, "seconds": 0.25}
    run["phases"][-1]["seconds"] -= 0.75
    readings = Figures(run).phones().readings
    assert readings["at"][-1] == 1
    assert readings["at"][0] == round(1 / 49.25, 4)


def test_hundredth_of_a_second_is_no_second_of_its_own() -> None:
    run = made_run(50)
    short = run["timeline"][15] | {"phase": 1, "seconds": 0.01, "registered_rate": 3000.0}
    run["timeline"][15]["seconds"] = 0.99
    run["timeline"].insert(16, short)
    (peak, _) = Figures(run).rates().legend
    assert float(peak.peak.removesuffix("/s").replace(",", "")) < 1000


def test_storm_is_the_share_of_those_who_are_back() -> None:
    run = made_run(100)
    (storm,) = Figures(run).storms()
    assert storm.title == "3 power cut"
    assert "5,000 of 5,000 phones" in storm.note.replace("\N{NO-BREAK SPACE}", " ")
    assert storm.readings["told"][0][0] == "0 %".replace(" ", "\N{NO-BREAK SPACE}")
    assert storm.readings["told"][0][-1].startswith("100")
    told = [one.text or "" for one in ElementTree.fromstring(storm.svg).iter() if "mark" in one.get("class", "")]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in told if text] == [
        "95 % after 14.2 s",
        "100 % after 15 s",
    ]


def test_clock_of_an_awaited_storm_runs_from_the_first_lost_flow() -> None:
    run = made_run(100)
    rows = [row for row in run["timeline"] if row["phase"] == 2]
    for number, row in enumerate(rows):
        row["registered"] = row["phones"] if number < 4 else min(5000, 1000 * (number - 4))
    (storm,) = Figures(run).storms()
    told = [text.replace("\N{NO-BREAK SPACE}", " ") for text in storm.readings["told"][0]]
    assert told[:5] == ["0 %", "0 %", "20 %", "40 %", "60 %"]
    assert storm.readings["when"][1] == "0:01"


def test_storm_that_hit_nobody_has_no_plot() -> None:
    run = made_run(100)
    run["phases"][2]["storm"] = {"affected": 0, "recovered": 0, "seconds_to_95": None, "seconds_to_100": None}
    assert Figures(run).storms() == []


def test_run_without_a_second_has_plots_that_say_so() -> None:
    figures = Figures(empty_run())
    assert figures.latencies() == []
    assert figures.storms() == []
    assert all("nothing was measured" in figure.svg for figure in [figures.phones(), *figures.health()])


def test_each_plot_of_a_page_has_its_own_key() -> None:
    figures = Figures(failed_run(60))
    keys = [figures.phones().key, figures.rates().key, figures.failures().key]
    keys += [figure.key for group in (figures.latencies(), figures.health(), figures.storms()) for figure in group]
    assert len(set(keys)) == len(keys)
