"""Thresholds: lines that are understood, lines that are refused with what would be right, and what becomes of them."""

from __future__ import annotations

from math import inf

import pytest

from sipsua.errors import BadConfiguration
from sipsua.load.sample import Step
from sipsua.load.thresholds import Figure, Judged, Threshold, judge


class Fixed:
    """Has measured this, whatever is asked."""

    def __init__(self, value: float | None) -> None:
        self._value = value

    def figure(self, threshold: Threshold) -> float | None:
        return self._value


@pytest.mark.parametrize(
    ("text", "figure", "statistic", "compare", "limit", "unit"),
    [
        ("register.p99 > 500ms", Step.REGISTER, "p99", ">", 0.5, "ms"),
        ("tls.max >= 2s", Step.TLS, "max", ">=", 2.0, "s"),
        ("refresh.mean>10 ms", Step.REFRESH, "mean", ">", 0.01, "ms"),
        ("dns.p99.9 > 250us", Step.DNS, "p99.9", ">", 0.00025, "us"),
        ("recover.p100 > 1.5min", Step.RECOVER, "p100", ">", 90.0, "min"),
        ("errors > 0.1%", Figure.ERRORS, "", ">", 0.001, "%"),
        ("errors > 10", Figure.ERRORS, "", ">", 10, ""),
        ("lost > 0", Figure.LOST, "", ">", 0, ""),
        ("locked < 99%", Figure.LOCKED, "", "<", 0.99, "%"),
        ("  registered <= 9  ", Figure.REGISTERED, "", "<=", 9, ""),
        ("storm.95 > 10s", Figure.STORM_95, "", ">", 10, "s"),
        ("storm.100 > 30s", Figure.STORM_100, "", ">", 30, "s"),
        ("rate < 200/s", Figure.RATE, "", "<", 200, "/s"),
    ],
)
def test_a_line_is_read(
    text: str, figure: Step | Figure, statistic: str, compare: str, limit: float, unit: str
) -> None:
    read = Threshold.parse(text)
    assert (read.figure, read.statistic, read.compare, read.unit) == (figure, statistic, compare, unit)
    assert read.limit == pytest.approx(limit)
    assert (read.text, read.phase) == (text, None)


def test_a_phase_stands_before_it_in_brackets() -> None:
    read = Threshold.parse("[evening peak] refresh.p95 > 1s")
    assert (read.phase, read.figure) == ("evening peak", Step.REFRESH)


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("", "'' is no threshold", "write it as register.p99 > 500ms, or errors > 0.1%"),
        ("errors == 0", "'errors == 0' is no threshold", "write it as register.p99 > 500ms"),
        ("errors > -1", "'errors > -1' is no threshold", "write it as"),
        ("errors > 1 > 0", "'errors > 1 > 0' is no threshold", "write it as"),
        ("[x errors > 1", "'[x errors > 1' is no threshold", "write it as"),
        ("errors\x1b > 1", r"'errors\\x1b > 1' is no threshold", "write it as"),
        ("registr.p99 > 1s", "'registr.p99 > 1s': nothing is called registr.p99", "did you mean register?"),
        ("lokced < 9", "'lokced < 9': nothing is called lokced", "did you mean locked?"),
        ("storm.50 > 9s", "'storm.50 > 9s': nothing is called storm.50", "did you mean storm.95?"),
        ("xyz > 9", "'xyz > 9': nothing is called xyz", "the steps are queue, dns, tcp"),
        ("tls > 9s", "'tls > 9s': tls has no value of its own", "write tls.p99 (or another per cent), tls.min"),
        ("tls.p101 > 9s", "'tls.p101 > 9s': tls has no p101", "write tls.p99"),
        ("tls.median > 9s", "'tls.median > 9s': tls has no median", "write tls.p99"),
        ("tls.p99 > 500", "'tls.p99 > 500': tls.p99 has another unit", "write one of 500us, 500µs, 500ms, 500s, 500min"),
        ("errors > 5ms", "'errors > 5ms': errors has another unit", "write one of 5, 5%"),
        ("dropped > 5%", "'dropped > 5%': dropped has another unit", "write one of 5"),
        ("rate < 5", "'rate < 5': rate has another unit", "write one of 5/s"),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_refused_with_what_would_be_right(text: str, what: str, fix: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Threshold.parse(text)
    assert refused.value.what == what
    assert refused.value.fix.startswith(fix)


@pytest.mark.parametrize(
    ("compare", "missed"),
    [(">", (False, False, True)), (">=", (False, True, True)), ("<", (True, False, False)), ("<=", (True, True, False))],
)  # fmt: skip
def test_each_comparison_below_at_and_above_its_limit(compare: str, missed: tuple[bool, ...]) -> None:
    line = f"errors {compare} 10"
    assert tuple(judge([line], Fixed(value))[0].missed for value in (9, 10, 11)) == missed


def test_what_was_never_measured_is_missed_and_says_so() -> None:
    (judged,) = judge(["tls.p99 > 1s"], Fixed(None))
    assert str(judged) == "tls.p99 > 1s: it was never measured"
    expected = {
        "text": "tls.p99 > 1s",
        "value": None,
        "limit": 1.0,
        "unit": "s",
        "missed": True,
        "measured": False,
        "outcome": "it was never measured",
    }
    assert judged.as_json() == expected


def test_a_storm_that_was_never_over_is_missed_and_has_no_number() -> None:
    (judged,) = judge(["storm.100 > 30s"], Fixed(inf))
    assert str(judged) == "storm.100 > 30s: it never came so far"
    assert (judged.missed, judged.as_json()["value"], judged.as_json()["measured"]) == (True, None, True)


@pytest.mark.parametrize(
    ("line", "value", "words"),
    [
        ("register.p99 > 500ms", 0.61234, "it is 612.34ms"),
        ("errors > 0.1%", 0.0025, "it is 0.25%"),
        ("locked < 100%", 0.999999, "it is 99.9999%"),
        ("errors > 10", 1234567, "it is 1234567"),
        ("rate < 200/s", 150.0, "it is 150/s"),
    ],
)
def test_the_figure_is_told_in_the_unit_of_its_line(line: str, value: float, words: str) -> None:
    assert str(Judged(Threshold.parse(line), value)) == f"{line}: {words}"
