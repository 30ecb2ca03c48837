"""The page in a real browser: chromium, headless, as Debian has it."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipsua.load.report.page import html_page
from tests.load.report.browser import Browser
from tests.load.report.runs import empty_run, failed_run, made_run, run_that_says

pytestmark = pytest.mark.interop

PAGES = {
    "passed": made_run(),
    "failed": failed_run(),
    "empty": empty_run(),
    "hour": made_run(3600, phones=10_000),
    "endless words": run_that_says("x" * 400),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for name, run in PAGES.items():
        (folder / f"{name}.html").write_text(html_page(run), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with Browser(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def rows(png: bytes) -> list[bytes]:
    """The lines of an 8-bit PNG that is not interlaced, as they are filtered: enough to tell one colour from many."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, _, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    assert (depth, interlaced) == (8, 0)
    place, data = 8, b""
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        if png[place + 4 : place + 8] == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += length + 12
    pixels = zlib.decompress(data)
    step = 1 + width * {2: 3, 6: 4}[colour]
    return [pixels[start : start + step] for start in range(0, len(pixels), step)]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_shown_whole_and_never_wider_than_its_window(
    browser: Browser, folder: Path, name: str, width: int, dark: bool
) -> None:
    path = folder / f"{name}.html"
    browser.open(path, width=width, dark=dark)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    # SVG that flows over its box does not widen the page, so it is asked for by itself.
    out = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter((one) => { const box = one.getBoundingClientRect();"
        " return box.width > 1 && (box.left < -0.5 || box.right > innerWidth + 0.5); }).map((one) => one.outerHTML)"
    )
    assert out == []
    assert browser.requests == [path.as_uri()]
    assert browser.complaints == []
    lines = rows(browser.screenshot())
    assert len(lines) > 900
    assert len(set(lines)) > 200, "the picture is not blank"


def test_page_is_dark_where_the_reader_wants_it(browser: Browser, folder: Path) -> None:
    def brightness(colour: str) -> int:
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    def colours(dark: bool) -> tuple[int, int]:
        browser.open(folder / "passed.html", width=1280, dark=dark)
        style = "getComputedStyle(document.body)"
        return brightness(browser.evaluate(f"{style}.color")), brightness(browser.evaluate(f"{style}.backgroundColor"))

    ink, paper = colours(dark=False)
    assert ink < 150
    assert paper > 700
    ink, paper = colours(dark=True)
    assert ink > 600
    assert paper < 150


LEGEND = (
    "[...document.querySelectorAll('#phones figure')[0].querySelectorAll('.when, b')].map((one) => one.textContent)"
)


def test_pointer_reads_the_plot_and_leaves_it_as_it_was(browser: Browser, folder: Path) -> None:
    browser.open(folder / "passed.html", width=1280)
    before = browser.evaluate(LEGEND)
    assert before == ["highest", "5,000", "5,000", "5,000", "64"]
    browser.evaluate("document.querySelector('.frame').scrollIntoView({block: 'center'})")
    box = browser.evaluate(
        "(({left, top, width}) => ({left, top, width}))(document.querySelector('.plot').getBoundingClientRect())"
    )
    browser.point(box["left"] + box["width"] / 2, box["top"] + 50)
    assert browser.evaluate(LEGEND) == ["at 2:30", "5,000", "5,000", "5,000", "0"]
    browser.point(2, 2)
    assert browser.evaluate(LEGEND) == before


def test_keys_reach_the_plot_and_read_it(browser: Browser, folder: Path) -> None:
    browser.open(folder / "passed.html", width=390)
    before = browser.evaluate(LEGEND)
    browser.press("Tab")
    assert (
        browser.evaluate("document.activeElement.getAttribute('aria-label')")
        == "Locked phones: the arrow keys tell values"
    )
    browser.press("ArrowRight")
    assert browser.evaluate(LEGEND)[0] == "at 0:01"
    browser.press("End")
    browser.press("ArrowLeft")
    assert browser.evaluate(LEGEND)[0] == "at 4:59"
    browser.press("Escape")
    assert browser.evaluate(LEGEND) == before


@pytest.mark.parametrize("width", [390, 1280])
def test_longest_reading_of_a_long_run_has_room(browser: Browser, folder: Path, width: int) -> None:
    browser.open(folder / "hour.html", width=width)
    cramped = browser.evaluate(
        "[...document.querySelectorAll('figure')].flatMap((figure) => {"
        " const { told } = readings[figure.dataset.key];"
        " return [...figure.querySelectorAll('.legend b')].filter((place, series) => {"
        "  place.textContent = told[series].reduce((one, other) => other.length > one.length ? other : one);"
        "  return place.scrollWidth > place.clientWidth; }).map((place) => place.textContent); })"
    )
    assert cramped == []


def test_page_is_whole_without_its_script(browser: Browser, folder: Path) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(folder / "passed.html", width=390)
        # Only the DevTools may still run a script.
        assert browser.evaluate("document.querySelectorAll('.frame[tabindex]').length") == 0
        assert browser.evaluate("document.querySelectorAll('figure .line').length") > 40
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_page_prints_with_the_steps_of_each_phase(browser: Browser, folder: Path) -> None:
    browser.open(folder / "failed.html", width=1280, dark=True)
    assert browser.printed().startswith(b"%PDF-")
    browser.ask("Emulation.setEmulatedMedia", media="print")
    heights = "[...document.querySelectorAll('details table')].map((one) => one.checkVisibility({contentVisibilityAuto: true}))"
    assert browser.evaluate(heights)
    assert all(browser.evaluate(heights))
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
