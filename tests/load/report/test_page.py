"""The page as text: what it says, and that nothing in it is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from sipsua.load.plan import Plan
from sipsua.load.report.page import COUNT_TITLES, html_page
from sipsua.load.results import Results
from sipsua.load.sample import Count, Health, Sample, Step
from tests.load.report.runs import empty_run, failed_run, made_run, run_that_says, threshold

PLAN = Plan.model_validate(
    {
        "name": "small & quick",
        "server": "pbx.example.com",
        "phones": [{"users": "1-10"}],
        "phases": [
            {"do": "register", "arrivals": {"rate": 10}},
            {"do": "storm", "name": "power cut"},
            {"do": "unregister"},
        ],
        "fail_if": ["register.p99 > 500ms", "unregister.p99 > 1s", "storm.100 > 1min", "rate < 1/s", "errors > 50%"],
    }
)

VOID = {"meta", "line", "path", "rect", "circle"}


class Page(HTMLParser):
    """The elements of a page, and its text as a reader sees it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._words: list[str] = []
        self.inline: dict[str, list[str]] = {"style": [], "script": []}
        self.feed(text)
        self.close()
        assert self._open == [], "each element that was opened is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in self.inline:
            self.inline[inside].append(data)
        else:
            self._words.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._words))

    def attributes(self, name: str) -> Iterator[str]:
        return (value or "" for _, attributes in self.elements for key, value in attributes.items() if key == name)


def page(run: dict[str, Any]) -> Page:
    return Page(html_page(run))


def test_run_that_passed_says_so_and_why() -> None:
    words = page(made_run(60)).words
    assert "Passed All 2 thresholds held, the generator was never the limit, no worker was lost." in words
    assert "evening rush" in words
    assert "pbx.example.com:5061" in words
    assert "2026-11-26 16:24:00 UTC" in words


@pytest.mark.parametrize(
    ("thresholds", "saturation", "told"),
    [
        (0, [], "The plan sets no thresholds, the generator was never the limit, no worker was lost."),
        (
            1,
            [{"first": 1, "last": 4, "worker": 0, "why": "CPU"}],
            "The one threshold held, the generator was the limit at times, no worker was lost.",
        ),
    ],
)
def test_run_that_passed_hides_nothing(thresholds: int, saturation: list[Any], told: str) -> None:
    run = made_run(60)
    run |= {"thresholds": run["thresholds"][:thresholds], "saturation": saturation}
    assert told in page(run).words


def test_run_that_failed_tells_each_reason() -> None:
    run = failed_run(60)
    words = page(run).words
    assert "Passed" not in words
    for reason in run["run"]["reasons"]:
        assert f"{reason[0].upper()}{reason[1:]}." in words


def test_run_that_was_interrupted_says_when() -> None:
    run = made_run(60)
    run["run"]["interrupted"] = True
    assert "Passed, as far as it went The run was interrupted after 1 min." in page(run).words


def test_key_figures_are_at_the_top() -> None:
    words = page(made_run(60)).words
    for told in (
        "Phones 5,000 on 2 workers",
        "Locked at the peak 5,000 100 % of the phones",
        "Registrations 10,000",
        "Errors 37 of 2 classes",
        "Register, median 31 ms half were faster",
        "Register, 95 % 74.4 ms",
        "Register, 99 % 214 ms",
        "Took 1 min 4 phases",
    ):
        assert told in words


def test_threshold_that_was_missed_is_told_apart_from_one_that_held_and_one_not_measured() -> None:
    words = page(failed_run(60)).words
    assert "register.p99 > 500ms 812 ms 500 ms missed" in words
    assert "errors > 1% 0.37 % 1 % held" in words
    assert "recover.p99 > 30s – 30 s not measured" in words
    assert "storm.100 > 2min never 2 min missed" in words


def test_threshold_without_a_unit_is_a_number() -> None:
    run = made_run(60)
    run["thresholds"] = [threshold("lost > 3", 1.0, 3.0, ""), threshold("rate < 100/s", 120.0, 100.0, "/s")]
    words = page(run).words
    assert "lost > 3 1 3 held" in words
    assert "rate < 100/s 120/s 100/s held" in words


def test_errors_are_told_by_class_with_an_example_the_most_frequent_first() -> None:
    words = page(made_run(60)).words
    assert "time-out: handshake 31 sips:1042@pbx.example.com: no TLS handshake within 10 s" in words
    assert words.index("time-out: handshake") < words.index("status 503")


def test_phases_storm_lost_workers_and_saturation_are_told() -> None:
    words = page(failed_run(60)).words
    assert "1 everybody comes register 0:00 18 s 10,000 3,333 37 0 5,000 0 214 ms" in words
    assert "3 power cut storm 5,000 lost their flow, 4,870 are back" in words
    assert "Worker 0 2,500 killed by signal 9" in words
    assert "0:20 to 0:35 1 CPU at 99 % of a core" in words
    assert "Hatched" in words


def test_steps_are_told_for_the_run_and_for_each_phase() -> None:
    told = page(made_run(60))
    labels = list(told.attributes("aria-label"))
    assert [label for label in labels if label.startswith("Steps")] == [
        "Steps of the whole run",
        *(f"Steps of phase {number}" for number in (1, 2, 3, 4)),
    ]
    assert (
        "Registration the whole, from the intended start 10,000 12.4 ms 40.3 ms 31 ms 55.8 ms 74.4 ms 214 ms 434 ms 961 ms"
        in told.words
    )


def test_each_count_that_is_not_zero_is_told() -> None:
    run = made_run(60)
    run["totals"]["counts"] = {count: 1000 + number for number, count in enumerate(Count)}
    words = page(run).words
    for number, count in enumerate(Count):
        assert f"{COUNT_TITLES[count]} {1000 + number:,}" in words
    assert COUNT_TITLES[Count.DROPPED] not in page(made_run(60)).words


def test_run_that_reached_no_phase_is_a_whole_page() -> None:
    told = page(empty_run())
    assert "Failed The run was interrupted before anything was measured. Threshold missed:" in told.words
    assert "ended before its first second was over" in told.words
    assert told.words.count("not reached") == 4
    assert "figure" not in {tag for tag, _ in told.elements}


def test_whatever_the_plan_and_the_server_say_is_only_text() -> None:
    told = page(run_that_says("</script></style></title><img src=x onerror=alert(1)>'\"&{{7*7}}\x00\u202e"))
    harmless = page(run_that_says("quiet"))
    # Which labels a plot has room for depends on how long they are.
    kinds, expected = ([tag for tag, _ in one.elements if tag != "text"] for one in (told, harmless))
    assert kinds == expected
    assert not [name for _, attributes in told.elements for name in attributes if name.startswith("on")]
    assert "alert(1)>'\"&{{7*7}}" in told.words


def test_real_results_become_a_page() -> None:
    results = Results(PLAN, 10, workers=1)
    html_page(results.as_json())
    for second, phase in enumerate((0, 0, 1, 1)):
        sample = Sample(
            second, 1_790_000_000.0 + second, phase, 1.0, phones=10, locked=10 - phase, registered=10 - phase
        )
        sample.health.append(Health(0, 0.99, 5.0, 9.0, 80_000))
        if phase == 0:
            sample.counts[Count.REGISTERED] = 5
            for milliseconds in (20, 30, 40, 50, 60):
                sample.record(Step.REGISTER, milliseconds / 1000)
        else:
            sample.counts[Count.LOST] = 1
            sample.fail("lost: reset", "sip:1@pbx.example.com: <the> flow was reset")
        results.add(sample)
    results.finish(interrupted=True)
    told = page(results.as_json())
    assert "small & quick" in told.words
    assert "Failed The run was interrupted after 4 s. " in told.words
    assert "Threshold missed: unregister.p99 > 1s: it was never measured." in told.words
    assert "register.p99 > 500ms 60 ms 500 ms held" in told.words
    assert "rate < 1/s 5/s 1/s held" in told.words
    assert "storm.100 > 1min never 1 min missed" in told.words
    assert "0:00 to 0:04 0 " in told.words, "saturated throughout"
    assert "lost: reset 2 sip:1@pbx.example.com: <the> flow was reset" in told.words
    assert "2 power cut storm 2 lost their flow, 0 are back" in told.words
    assert "3 unregister not reached" in told.words
    assert (
        json.loads(told.inline["script"][0])["step-register"]["told"][0] == ["40\N{NO-BREAK SPACE}ms"] * 2 + ["–"] * 2
    )


def test_page_asks_the_network_for_nothing() -> None:
    told = page(failed_run(60))
    assert not {tag for tag, _ in told.elements} & {"link", "img", "iframe", "object", "embed", "base", "form", "image"}
    assert not [*told.attributes("src"), *told.attributes("href"), *told.attributes("style")]
    (style,) = told.inline["style"]
    assert "url(" not in style
    assert "@import" not in style


def test_policy_lets_in_the_one_style_sheet_and_the_one_script_and_nothing_else() -> None:
    told = page(made_run(60))
    (policy,) = (value for value in told.attributes("content") if value.startswith("default-src"))
    (style,) = told.inline["style"]
    readings, script = told.inline["script"]

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy == (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; base-uri 'none'; form-action 'none'"
    )
    assert set(json.loads(readings)) == set(told.attributes("data-key"))


def test_ids_are_there_once_and_what_points_to_one_finds_it() -> None:
    told = page(failed_run(60))
    ids = list(told.attributes("id"))
    assert len(set(ids)) == len(ids)
    assert {name for value in told.attributes("aria-labelledby") for name in value.split()} <= set(ids)


def test_page_of_an_hour_is_small_enough_for_a_mail() -> None:
    text = html_page(made_run(3600, phones=10_000))
    assert len(text.encode()) < 1_500_000
    Page(text)
