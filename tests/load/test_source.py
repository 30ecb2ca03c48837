"""Plans from TOML: the example that is shipped, and every mistake with its line, its field and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from sipsua.errors import BadConfiguration
from sipsua.load.plan import Plan, Register
from sipsua.load.population import Population
from sipsua.load.source import parse_plan, read_plan
from sipsua.testing.pki import CertificateAuthority

EXAMPLE = (files("sipsua.load") / "example.toml").read_text()

PHASE = '[[phases]]\ndo = "hold"\nduration = 1\n'
PHONES = '[[phones]]\nusers = "1"\n'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """With all files that the example names."""
    (tmp_path / "ca.pem").write_bytes(CertificateAuthority("test CA").pem)
    for name in ("ca.crl", "phones.csv", "phone.pem"):
        (tmp_path / name).touch()
    (tmp_path / "manufacturer").mkdir()
    return tmp_path


def refusal(text: str, directory: Path = Path("/")) -> list[str]:
    with pytest.raises(BadConfiguration) as refused:
        parse_plan(text, "plan.toml", directory)
    assert refused.value.fix == "correct the plan; `sipsua load plan --example` shows all its parts"
    return refused.value.what.splitlines()


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for argument in get_args(annotation):
        yield from models(argument)


def test_the_example_is_a_plan_whose_phones_are_those_of_the_pocket_pbx(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PBX_PASSWORD", "secret")
    population = Population(parse_plan(EXAMPLE, directory=directory))
    labels = {population.label(phone) for phone in range(len(population))}
    assert labels == {f"sips:{user}@127.0.0.1:5061" for user in range(1000, 1100)}
    assert population.config(99).persona.name == "yealink"


def test_the_example_shows_every_key_of_every_part() -> None:
    shown = {
        key
        for line in EXAMPLE.splitlines()
        if line.startswith(("#", "[")) or line[:1].islower()
        for key in re.findall(r"(\w+) =|^#?\[+(\w+)\]", line)
        for key in key
    }
    keys = {key for model in models(Plan) for key in model.model_fields} - {"directory"}
    assert len(keys) > 60
    assert keys - shown == set()


def test_every_commented_out_part_of_the_example_can_be_used(directory: Path) -> None:
    lines = EXAMPLE.splitlines()
    used = 0
    for number, line in enumerate(lines):
        if not re.match(r"#\w+ = ", line):
            continue
        key = line[1:].split(" = ")[0]
        others = {"csv": "users", "password": "password_env"}.get(key, key)
        changed = [*lines]
        changed[number] = line[1:]
        if lines[number - 1].startswith("#["):
            changed[number - 1] = lines[number - 1][1:]
        elif key == "key":
            changed[number - 2 : number] = [lines[number - 2][1:], lines[number - 1][1:]]
        elif key == "order":
            changed = [text for text in changed if not text.startswith(('users = "1000', "count = 90"))]
            changed.insert(changed.index(line[1:]), 'csv = "phones.csv"')
        # What it stands in place of is in the same section.
        begin = max(place for place in range(number) if lines[place].startswith(("[", "#[")) or not place)
        for place in range(begin, len(lines)):
            if place > number and lines[place].startswith("["):
                break
            if place != number and lines[place].startswith(f"{others} = "):
                changed[changed.index(lines[place])] = ""
        parse_plan("\n".join(changed), f"line {number + 1}", directory)
        used += 1
    assert used == 20


def test_a_plan_in_a_file_has_paths_relative_to_it(directory: Path) -> None:
    (directory / "plan.toml").write_bytes(b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    plan = read_plan(directory / "plan.toml")
    assert plan.directory == directory
    assert read_plan(str(directory / "plan.toml")) == plan
    assert plan.phones[0].display_name == "Desk {user}"
    assert isinstance(plan.phases[0], Register)


def test_files_that_hold_no_plan_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'seed = 1\nname = "k\xf6ln"\npassword = "hidden"')
    (tmp_path / "huge.toml").write_bytes(b"#" * 5_000_001)
    for name, what in (
        ("none.toml", f"there is no file {tmp_path}/none.toml (check the path)"),
        ("", f"cannot read {tmp_path}: Is a directory (check the path and the rights of the file)"),
        ("latin.toml", f"{tmp_path}/latin.toml:2: this is no UTF-8 text (save the file as UTF-8)"),
        (
            "huge.toml",
            f"{tmp_path}/huge.toml is larger than 5 MB (a plan has some kilobytes: see whether this is the right file)",
        ),
    ):
        with pytest.raises(BadConfiguration) as refused:
            read_plan(tmp_path / name)
        assert str(refused.value) == what
        assert refused.value.__cause__ is None or "hidden" not in str(refused.value.__cause__)


KINDS = "register, hold, reregister, churn, storm or unregister"
NO_WHOLE = "is no whole number: write it without quotes and point"
BOUNDLESS = "is no finite number: leave the key out where it has a default"
NO_TABLE = "is no table: write { key = value }, or a section in brackets"
NO_LIST = "is no list: write [ ] around it, or [[ ]] around a section's name"
KEYS = (
    "name, seed, server, trust, certificate, phones, phases, workers, in_flight, grace, fail_if, saturation or timeouts"
)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        # Keys
        ("worker = 2\n" + PHONES + PHASE, ["1: worker: is not known: did you mean workers?"]),
        ("zzz = 2\n" + PHONES + PHASE, [f"1: zzz: is not known: {KEYS}"]),
        ('directory = "/"\n' + PHONES + PHASE, [f"1: directory: is not known: {KEYS}"]),
        (PHONES + 'persona_ = "x"\n' + PHASE, ["3: phones[0].persona_: is not known: did you mean persona?"]),
        (PHONES + PHASE + "durration = 3\n", ["6: phases[0].durration: is not known: did you mean duration?"]),
        (PHONES + PHASE + "[phases.trust]\n", ["6: phases[0].trust: is not known: name, do or duration"]),
        (
            PHONES + '[[phases]]\ndo = "register"\narrivals = { ramp = { begin = 1, end = 2, over = 3 } }',
            [
                "5: phases[0].arrivals.ramp.start: is missing: give a number",
                "5: phases[0].arrivals.ramp.begin: is not known: start, end or over",
            ],
        ),
        # What is missing
        (
            "",
            [
                '1: phones: is missing: give at least one section [[phones]], with users = "1000-1999" or csv = FILE',
                '1: phases: is missing: give at least one section [[phases]], with do = "register" and arrivals = { rate = 100 }',
            ],
        ),
        ("phones = []\n" + PHASE, ["1: phones: is empty: give at least one"]),
        (
            PHONES + '\n[[phases]]\ndo = "register"\n',
            ["4: phases[0].arrivals: is missing: say how phones come, such as { rate = 100 } or { at_once = true }"],
        ),
        (PHONES + '\n\n[[phases]]\nname = "x"\n', [f"5: phases[0].do: is missing: {KINDS}"]),
        ("[[phones]]\n" + PHASE, ['1: phones[0]: give either users = "1000-1999" or csv = FILE']),
        # Values
        (
            PHONES + 'persona = "grandstream"\n' + PHASE,
            ["3: phones[0].persona: 'grandstream' is not known: generic or yealink"],
        ),
        (PHONES + "persona = 5\n" + PHASE, ["3: phones[0].persona: 5 is not known: generic or yealink"]),
        (PHONES + '[[phases]]\n\ndo = "wait"\n', [f"5: phases[0].do: 'wait' is not known: {KINDS}"]),
        (
            'trust.names = "none"\n' + PHONES + PHASE,
            ["1: trust.names: 'none' is not known: rfc2818, rfc5922, rfc6125, rfc9525 or off"],
        ),
        (
            '[trust]\nminimum = "1.3"\nmaximum = "1.2"\n' + PHONES + PHASE,
            ["1: trust: TLS versions from TLSv1.3 to TLSv1.2 hold none: give the lower version first"],
        ),
        (
            '[trust]\nminimum = "1.0"\n' + PHONES + PHASE,
            [
                "1: trust: TLSv1 is not safe any more (RFC 8996): "
                "begin with TLSv1.2; for a test of an old phone or server say dangerous_old_tls"
            ],
        ),
        (
            '[trust]\nlists = "builtin"\nca = ["x"]\n' + PHONES + PHASE,
            ['1: trust: with lists = "builtin" the certificates of ca would not count: say lists = "all"'],
        ),
        (
            PHONES + 'server = "a b"\n' + PHASE,
            ["3: phones[0].server: 'a b' is no server: write HOST or HOST:PORT, an IPv6 address in brackets"],
        ),
        (
            '[[phones]]\nusers = "1000-"\n' + PHASE,
            [
                "2: phones[0].users: '1000-' is no range of users: "
                "write a range like 1000-1099 or phone001-phone099, a name, or several with commas"
            ],
        ),
        (
            PHONES + 'mac = "x"\n' + PHASE,
            [
                "3: phones[0].mac: 'x' is no MAC address: give twelve hexadecimal digits, such as 001565aabbcc or 00:15:65:aa:bb:cc"
            ],
        ),
        (
            PHONES + 'source = [\n  "127.0.0.1", # ours\n  "127.0.1.5/24",\n  "224.0.0.1",\n  "x" ]\n' + PHASE,
            [
                "5: phones[0].source[1]: '127.0.1.5/24' is an address within the network 127.0.1.0/24: "
                "write 127.0.1.0/24 for all of the network, 127.0.1.5 for that one address",
                "6: phones[0].source[2]: nobody can connect from 224.0.0.1: give addresses that this machine has, or leave source out",
                "7: phones[0].source[3]: 'x' is no IP address and no network: write 127.0.1.0/24, 192.0.2.1 or 2001:db8::1",
            ],
        ),
        (
            PHONES + "keep_alive = [5, 2]\n" + PHASE,
            ["3: phones[0].keep_alive: give the shorter time first, and more than 0 s; false sends none"],
        ),
        (
            PHONES + "keep_alive = [5]\n" + PHASE,
            ["3: phones[0].keep_alive: give two numbers of seconds, the shorter first, such as [95, 120], or false"],
        ),
        (
            PHONES + "keep_alive = true\n" + PHASE,
            ["3: phones[0].keep_alive: give two numbers of seconds, the shorter first, such as [95, 120], or false"],
        ),
        (
            PHONES + 'password = "a"\npassword_env = "B"\n' + PHASE,
            ["1: phones[0]: give either password or password_env"],
        ),
        (PHONES + 'order = "user"\n' + PHASE, ["1: phones[0]: order is that of the rows of a csv: take it out"]),
        (
            PHONES + "[phones.backoff]\nbase = 9\nmaximum = 3\n" + PHASE,
            ["3: phones[0].backoff: base is above maximum: give the smaller one first"],
        ),
        ("[certificate]\n" + PHONES + PHASE, ["1: certificate: give either manufacturer = DIRECTORY or file = FILE"]),
        (
            PHONES + '[[phases]]\ndo = "register"\n[phases.arrivals]\nrate = 1\nat_once = true',
            ["5: phases[0].arrivals: give exactly one of rate, at_once, ramp, steps, poisson"],
        ),
        (
            PHONES
            + '[[phases]]\ndo = "register"\n[[phases.arrivals.steps]]\nrate = 1\nseconds = 1\n[[phases.arrivals.steps]]\nrate = -1\n',
            [
                "8: phases[0].arrivals.steps[1].seconds: is missing: give a number",
                "9: phases[0].arrivals.steps[1].rate: -1 is too small: give 0 or more",
            ],
        ),
        # Ranges
        (
            "in_flight = 0\nworkers = 2000\n" + PHONES + PHASE,
            ["1: in_flight: 0 is too small: give 1 or more", "2: workers: 2000 is too large: give 1024 at most"],
        ),
        (
            PHONES + "expires = 4294967296\n" + PHASE,
            ["3: phones[0].expires: 4294967296 is too large: give 2147483647 at most"],
        ),
        (PHONES + '[[phases]]\ndo = "storm"\nshare = 1.5', ["5: phases[0].share: 1.5 is too large: give 1 at most"]),
        (
            PHONES + '[[phases]]\ndo = "churn"\nduration = 1\nrate = 0.0',
            ["6: phases[0].rate: 0.0 is too small: give more than 0"],
        ),
        ("saturation.lag_ms = inf\n" + PHONES + PHASE, [f"1: saturation.lag_ms: inf {BOUNDLESS}"]),
        ("grace = nan\n" + PHONES + PHASE, [f"1: grace: nan {BOUNDLESS}"]),
        # Types
        (PHONES + 'count = "5"\n' + PHASE, [f"3: phones[0].count: '5' {NO_WHOLE}"]),
        ("seed = 1.5\n" + PHONES + PHASE, [f"1: seed: 1.5 {NO_WHOLE}"]),
        ("seed = true\n" + PHONES + PHASE, [f"1: seed: true {NO_WHOLE}"]),
        ('grace = "5"\n' + PHONES + PHASE, ["1: grace: '5' is no number: write it without quotes"]),
        ("[[phones]]\nusers = 1000\n" + PHASE, ["2: phones[0].users: 1000 is no text: write it in quotes"]),
        (PHONES + "password = 12345\n" + PHASE, ["3: phones[0].password: is no text: write it in quotes"]),
        ("trust.staple = 1\n" + PHONES + PHASE, ["1: trust.staple: 1 is neither true nor false"]),
        ('[[phones]]\ncsv = ["x"]\n' + PHASE, ["2: phones[0].csv: a list is no text: write it in quotes"]),
        ('fail_if = "errors > 0"\n' + PHONES + PHASE, [f"1: fail_if: 'errors > 0' {NO_LIST}"]),
        ("[phones]\nusers = '1'\n" + PHASE, [f"1: phones: a table {NO_LIST}"]),
        ("trust = 5\n" + PHONES + PHASE, [f"1: trust: 5 {NO_TABLE}"]),
        ("phones = [1]\nphases = [2]", [f"1: phones[0]: 1 {NO_TABLE}", f"2: phases[0]: 2 {NO_TABLE}"]),
        (
            'name = "' + "x" * 99 + "'\"\nseed = '" + "y" * 99 + "'\n" + PHONES + PHASE,
            [f"2: seed: '{'y' * 56}... {NO_WHOLE}"],
        ),
        # Thresholds
        (
            'fail_if = [\n"register.p99 > 1s",\n"register.p99 > 1%",\n"regster.p50 > 1s" ]\n' + PHONES + PHASE,
            [
                "3: fail_if[1]: 'register.p99 > 1%': register.p99 has another unit: write one of 1us, 1µs, 1ms, 1s, 1min",
                "4: fail_if[2]: 'regster.p50 > 1s': nothing is called regster.p50: did you mean register?",
            ],
        ),
        (
            'fail_if = ["[peak] errors > 0", "[hold] errors > 0"]\n' + PHONES + PHASE + 'name = "night"\n',
            ["1: fail_if: '[peak] errors > 0': no phase is called peak: choose from hold, night"],
        ),
        # Files
        (
            'trust.ca = [\n"a.pem",\n"b.pem"]\n[certificate]\nmanufacturer = "m"\n[[phones]]\ncsv = "p.csv"\n'
            + 'certificate = { file = "c.pem" }\n[phones.trust]\ncrl = ["d.crl"]\n'
            + PHASE,
            [
                "2: trust.ca[0]: there is no file /a.pem: check the path, which is relative to the plan",
                "3: trust.ca[1]: there is no file /b.pem: check the path, which is relative to the plan",
                "5: certificate.manufacturer: there is no directory /m: `sipsua device manufacturer-ca` makes a manufacturer, "
                "in ~/.local/share/sipsua/manufacturer",
                "7: phones[0].csv: there is no file /p.csv: check the path, which is relative to the plan",
                "8: phones[0].certificate.file: there is no file /c.pem: check the path, which is relative to the plan",
                "10: phones[0].trust.crl[0]: there is no file /d.crl: check the path, which is relative to the plan",
            ],
        ),
        # No TOML
        (
            "seed = 1\nname = x\n",
            [
                "2: this is no TOML, at column 8: Invalid value: texts stand in quotes, true and false are in small letters"
            ],
        ),
        (
            "seed 1",
            ["1: this is no TOML, at column 6: Expected '=' after a key in a key/value pair: write key = value"],
        ),
        ("seed = 1\n\n[phones", ["3: this is no TOML: Expected ']' at the end of a table declaration"]),
        (
            "seed = 1\nseed = 2\n",
            ["2: this is no TOML, at column 9: Cannot overwrite a value: the key or the section is there twice"],
        ),
        (
            "[trust]\n[trust]\n",
            [
                "2: this is no TOML, at column 7: Cannot declare ('trust',) twice: "
                "the section is there twice: one that may be repeated has [[ ]]"
            ],
        ),
        (
            'name = "a\\d"',
            ["1: this is no TOML, at column 12: Unescaped '\\' in a string: write \\\\, or the text in '...'"],
        ),
        ("name = 'a\x1b'", ["1: this is no TOML, at column 10: Found invalid character '\\x1b'"]),
    ],
)
def test_mistakes_are_told_with_line_field_and_what_would_be_right(text: str, mistakes: list[str]) -> None:
    assert refusal(text) == [f"plan.toml:{mistake}" for mistake in mistakes]


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = 0x" + "f" * 5000, "a = " + "[" * 50_000])
def test_what_is_out_of_all_bounds_is_refused(text: str) -> None:
    assert refusal(text) == ["plan.toml: a number or a list in it is out of all bounds"]


def test_what_is_nested_too_deep_is_refused() -> None:
    assert refusal("seed = 1\na = " + "[" * 250 + "]" * 250 + "\n" + PHONES + PHASE) == [
        "plan.toml:1: it is nested too deep, or holds half a surrogate pair"
    ]


def test_a_hundred_mistakes_are_not_all_told() -> None:
    lines = refusal(PHASE + "[[phones]]\n" * 100)
    assert (len(lines), lines[-1]) == (20, "and 81 more")


@given(st.data())
def test_a_changed_example_is_a_plan_or_refused_and_nothing_else(data: st.DataObject) -> None:
    text = EXAMPLE.replace('ca = ["ca.pem"]', "ca = []")
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text) - 1))
        end = begin + data.draw(st.integers(0, 12))
        put = data.draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)))
        text = text[:begin] + put + text[end:]
    try:
        plan = parse_plan(text, "plan.toml", Path("/"))
    except BadConfiguration:
        return
    assert plan.phones
    assert plan.phases


PIECES = (
    *("", "\n", "#", '"', "'", "[", "]", "[[phones]]\n", "{", "}", "=", ",", ".", "-", "\\", "0", "9" * 30, "1e999"),
    *("nan", "-inf", "true", "[]", "{}", "1979-05-27", "07:32:00", '"""', "\ud800", "\x00", "\ufeff", "users = 5\n"),
    *('"sips:{x@"', '"{}"', '"127.0.0.1/33"', '"::/0"', "0x7fffffffffffffffffff", "a.b.c.d = 1\n"),
)
