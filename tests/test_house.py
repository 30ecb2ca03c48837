"""The contracts that hold the house's arrows can fail.

A small house is built whose rooms are all there, empty but for the imports under test, and import-linter judges it by the contracts of
the real pyproject.toml. That the real house keeps them is what scripts/check says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import grimp
import pytest

from tests.arrows import ArrowsContract

TOP = Path(__file__).parent.parent

MODULES = [
    *[
        "cli",
        "web",
        "interop",
        "phone",
        "load",
        "ua",
        "net",
        "account",
        "events",
        "sip",
        "media",
        "trust",
        "errors",
        "testing",
    ],
    *[
        "account.config",
        "account.lock",
        "trust.verdict",
        "trust.policy",
        "trust.store",
        "net.tls",
        "net.flow",
        "media.srtp",
    ],
    *["sip.message", "testing.pki", "phone.factory"],
]

ALLOWED = [
    *[
        ("cli", room)
        for room in ("web", "interop", "phone", "load", "ua", "testing", "net", "trust.store", "asyncio", "sipsua")
    ],
    *[("web", "phone"), ("web", "load"), ("web", "events")],
    *[("interop", "ua"), ("interop", "account.config"), ("interop", "events")],
    *[("phone", "ua"), ("phone", "account.config"), ("phone", "trust.store"), ("phone", "events")],
    *[("load", "net.flow"), ("load", "account"), ("load", "events"), ("load", "asyncio"), ("load", "time")],
    *[("load", "trust.store"), ("load", "phone.factory"), ("load", "media")],
    *[("ua", "net"), ("ua", "account.lock"), ("ua", "events"), ("ua", "asyncio"), ("ua", "logging"), ("ua", "media")],
    *[("testing", "account"), ("testing", "sip.message"), ("testing", "trust.store"), ("testing", "net")],
    *[("testing.pki", "cryptography"), ("testing.pki", "OpenSSL"), ("testing", "random"), ("testing", "media")],
    *[("net", "account"), ("net", "trust.policy"), ("net", "media"), ("net", "events"), ("net.flow", "socket")],
    *[("net.tls", "OpenSSL"), ("net.tls", "cryptography"), ("net.flow", "net.tls"), ("net.flow", "errors")],
    *[("account", "sip.message"), ("account", "media"), ("account", "trust.verdict"), ("account", "trust.policy")],
    *[("account", "events"), ("account.lock", "account.config"), ("account", "hashlib")],
    *[
        ("events", "trust.verdict"),
        ("events", "media"),
        ("events", "errors"),
        ("sip", "errors"),
        ("media", "errors"),
        ("trust", "errors"),
    ],
    *[("trust.store", "cryptography"), ("trust.store", "OpenSSL"), ("media.srtp", "cryptography")],
]

REFUSED = {
    "Rooms import only what their arrow allows": [
        *[("errors", "events"), ("errors", "sip"), ("errors", "trust.verdict")],
        *[("sip", "media"), ("sip.message", "trust.verdict"), ("sip", "events"), ("sip.message", "account")],
        *[("media", "sip"), ("media", "trust"), ("media.srtp", "net.tls")],
        *[("trust", "sip.message"), ("trust.store", "media"), ("trust", "events"), ("trust", "net.tls")],
        *[("events", "trust.policy"), ("events", "sip"), ("events", "account.lock"), ("events", "trust")],
        *[("account", "trust"), ("account", "trust.store"), ("account.lock", "net.flow"), ("account", "ua")],
        *[("net", "sip"), ("net.flow", "sip.message"), ("net", "ua"), ("net", "load"), ("net.tls", "testing.pki")],
        *[("ua", "sip.message"), ("ua", "trust.policy"), ("ua", "load"), ("ua", "phone")],
        *[("load", "ua"), ("load", "sip"), ("load", "testing"), ("load", "phone")],
        *[("testing", "ua"), ("testing", "load"), ("testing", "cli")],
        *[
            ("phone", "net"),
            ("phone", "sip.message"),
            ("phone", "account"),
            ("phone", "account.lock"),
            ("phone", "interop"),
        ],
        *[("interop", "net.flow"), ("interop", "account.lock"), ("interop", "phone"), ("interop", "testing.pki")],
        *[("web", "ua"), ("web", "account"), ("web", "interop"), ("web", "testing"), ("web", "cli")],
        *[("ua", "testing"), ("ua", "cli"), ("account", "testing")],
        *[("account", "sipsua"), ("ua", "sipsua")],
    ],
    "The loop, sockets, clock, dice and logs stay out": [
        *[("sip", "asyncio"), ("sip.message", "time"), ("sip", "random"), ("sip", "logging"), ("trust", "socket")],
        *[("trust.store", "ssl"), ("media", "select"), ("media.srtp", "threading"), ("account", "asyncio")],
        *[("account.lock", "time"), ("events", "time"), ("errors", "logging")],
    ],
    "OpenSSL and cryptography stay in": [
        *[("net.flow", "OpenSSL"), ("net", "cryptography"), ("media", "cryptography"), ("account", "cryptography")],
        *[
            ("sip", "OpenSSL"),
            ("ua", "OpenSSL"),
            ("cli", "cryptography"),
            ("phone", "cryptography"),
            ("load", "OpenSSL"),
        ],
    ],
}


def full(module: str) -> str:
    """`module` with the house's name before it, where it is one of the house's."""
    return f"sipsua.{module}" if module in MODULES else module


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[tuple[str, str]]], tuple[int, str]]:
    """A function that plants (importer, imported) pairs in a new house and gives import-linter's exit code and words."""

    def run(plants: list[tuple[str, str]]) -> tuple[int, str]:
        place = tmp_path_factory.mktemp("house")
        for module in ["sipsua", *map(full, MODULES)]:
            file = place.joinpath(*module.split("."), "__init__.py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                "".join(f"import {full(imported)}\n" for importer, imported in plants if full(importer) == module)
            )
        (place / "pyproject.toml").write_bytes((TOP / "pyproject.toml").read_bytes())
        program = "from importlinter.cli import lint_imports_command as run; run()"
        done = subprocess.run(
            [sys.executable, "-c", program, "--no-cache", "--no-logo"],
            cwd=place,
            env={**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{TOP}", "COLUMNS": "1000"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def verdict_on_all_refused(
    judge: Callable[[list[tuple[str, str]]], tuple[int, str]],
) -> dict[str, set[tuple[str, str]]]:
    """By contract, the imports that import-linter reports in a house with all of REFUSED in it, and nothing else."""
    code, words = judge([plant for plants in REFUSED.values() for plant in plants])
    assert code == 1, words
    found: dict[str, set[tuple[str, str]]] = {contract: set() for contract in REFUSED}
    _, _, broken = words.partition("Broken contracts")
    current = ""
    for line in broken.splitlines():
        current = next((contract for contract in REFUSED if line.startswith(contract)), current)
        if line.startswith("- "):
            importer, _, imported = line.removeprefix("- ").partition(" (l.")[0].partition(" -> ")
            found[current].add((importer, imported))
    return found


@pytest.mark.parametrize(
    ("contract", "importer", "imported"),
    [(contract, *plant) for contract, plants in REFUSED.items() for plant in plants],
)
def test_an_import_against_the_arrows_breaks_its_contract(
    contract: str, importer: str, imported: str, verdict_on_all_refused: dict[str, set[tuple[str, str]]]
) -> None:
    assert (full(importer), full(imported)) in verdict_on_all_refused[contract]


def test_nothing_but_the_refused_imports_is_reported(verdict_on_all_refused: dict[str, set[tuple[str, str]]]) -> None:
    planted = {contract: {(full(a), full(b)) for a, b in plants} for contract, plants in REFUSED.items()}
    assert verdict_on_all_refused == planted


@pytest.mark.parametrize("contract", REFUSED)
def test_one_bad_import_is_enough(contract: str, judge: Callable[[list[tuple[str, str]]], tuple[int, str]]) -> None:
    code, words = judge([*ALLOWED, REFUSED[contract][-1]])
    assert code == 1
    assert "2 kept, 1 broken" in words


def test_all_imports_along_the_arrows_are_kept(judge: Callable[[list[tuple[str, str]]], tuple[int, str]]) -> None:
    code, words = judge(ALLOWED)
    assert code == 0, words


def arrows_breaches(arrows: list[str], *modules: str) -> list[str]:
    graph = grimp.ImportGraph()
    for module in ("sipsua", *modules):
        graph.add_module(module)
    return list(ArrowsContract("arrows", {"root_packages": ["sipsua"]}, {"arrows": arrows}).breaches(graph))


def test_a_room_without_an_arrow_is_refused() -> None:
    table = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert table["id"] == "arrows"
    assert arrows_breaches(table["arrows"], "sipsua.sip", "sipsua.misc") == ["sipsua.misc has no arrow"]


@pytest.mark.parametrize("line", ["sip -> media", "sip -> sip", "sip -> nowhere"])
def test_an_arrow_that_does_not_point_down_is_refused(line: str) -> None:
    assert arrows_breaches(["media ->", line], "sipsua.sip") == [f"the arrow {line} does not point down"]
