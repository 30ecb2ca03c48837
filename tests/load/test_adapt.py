"""A plan for this one time: what a command line changes, and a plan without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipsua.errors import BadConfiguration
from sipsua.load.adapt import adapted, quick
from sipsua.load.plan import Arrivals, CertificateSettings, Hold, Plan, Register, TrustSettings
from sipsua.load.population import Population

ANY = TrustSettings(dangerous_accept_any_certificate=True)


def plan(**settings: Any) -> Plan:
    return Plan.model_validate(
        {
            "server": "127.0.0.1",
            "phones": [{"users": "1000-1999"}],
            "phases": [
                {"do": "register", "arrivals": {"ramp": {"start": 1, "end": 5, "over": 10}}, "within": 7},
                {"do": "hold", "duration": 30, "name": "long"},
                {"do": "register", "arrivals": {"poisson": 3}},
                {"do": "hold", "duration": 10},
                {"do": "unregister"},
            ],
            **settings,
        }
    )


def counts(changed: Plan) -> list[int | None]:
    return [group.count for group in changed.phones]


def refusal(work: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(BadConfiguration) as refused:
        work(*arguments, **named)
    return str(refused.value)


def test_nothing_given_changes_nothing() -> None:
    assert adapted(plan()) == plan()


def test_phones_are_dealt_in_proportion_and_each_group_has_one() -> None:
    groups = [{"users": "1000-1989"}, {"users": "2000-2999", "count": 10}, {"users": "1,2,3"}]
    changed = adapted(plan(phones=groups), phones=100)
    assert counts(changed) == [98, 1, 1]
    assert counts(adapted(plan(phones=groups), phones=3)) == [1, 1, 1]
    assert counts(adapted(plan(phones=groups), phones=1003)) == [990, 10, 3]
    assert counts(adapted(plan(phones=[{"users": "1-9"}] * 3), phones=11)) == [4, 4, 3]
    assert sum(count or 0 for count in counts(adapted(plan(phones=groups), phones=501))) == 501
    assert changed.phases == plan().phases


def test_phones_of_a_csv_may_be_more_than_its_rows_unless_each_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("RANDOM\na\nb\n")
    made = plan(phones=[{"csv": "phones.csv"}], directory=tmp_path)
    assert counts(adapted(made, phones=7)) == [7]
    (tmp_path / "phones.csv").write_text("USER\na\nb\n")
    assert refusal(adapted, made, phones=3) == (
        f"phones[0]: 3 phones are wanted, {tmp_path}/phones.csv has 2 rows: "
        'add rows, or say order = "sequential" to use them again (ask for fewer phones, or change the plan)'
    )


def test_more_phones_than_a_pattern_has_are_refused() -> None:
    assert refusal(adapted, plan(phones=[{"users": "1000-1099"}, {"users": "a,b"}]), phones=204) == (
        "phones[0]: 200 phones are wanted, 1000-1099 has 100: write a longer pattern, such as 1000-1199, or take 100 at most\n"
        "phones[1]: 4 phones are wanted, a,b has 2: write a longer pattern, or take 2 at most "
        "(ask for fewer phones, or change the plan)"
    )


def test_fewer_phones_than_groups_are_refused() -> None:
    for phones in (1, 0, -5, 1_000_001):
        assert refusal(adapted, plan(phones=[{"users": "1"}, {"users": "2"}]), phones=phones) == (
            f"{phones} phones cannot be dealt over the plan's 2 groups (ask for 2 to 1000000)"
        )


def test_the_rate_is_that_of_all_register_phases() -> None:
    changed = adapted(plan(), rate=50)
    first, _, second, *_ = changed.phases
    assert isinstance(first, Register)
    assert isinstance(second, Register)
    assert (first.arrivals, first.within, second.arrivals) == (Arrivals(rate=50), 7, Arrivals(poisson=50))
    assert changed.phases[1::2] == plan().phases[1::2]
    assert refusal(adapted, plan(), rate=0) == "rate: 0 is too small: give more than 0 (give another value)"
    assert refusal(adapted, plan(phases=[{"do": "unregister"}]), rate=1) == (
        "the plan has no register phase whose rate could change (add one to the plan)"
    )


def test_the_duration_is_that_of_all_hold_phases_together() -> None:
    def held(changed: Plan) -> list[float]:
        return [phase.duration for phase in changed.phases if isinstance(phase, Hold)]

    changed = adapted(plan(), duration=100)
    assert held(changed) == [75, 25]
    assert changed.phases[1].name == "long"
    assert held(adapted(plan(), duration=0)) == [0, 0]
    nothing = plan(phases=[{"do": "hold", "duration": 0}, {"do": "hold", "duration": 0}])
    assert held(adapted(nothing, duration=10)) == [5, 5]
    assert refusal(adapted, plan(), duration=-4) == "duration: -4 is too small: give 0 or more (give another value)"
    assert refusal(adapted, plan(phases=[{"do": "unregister"}]), duration=1) == (
        "the plan has no hold phase whose duration could change (add one to the plan)"
    )


def test_workers_and_server_are_the_plans() -> None:
    changed = adapted(
        plan(phones=[{"users": "1"}, {"users": "2", "server": "own.example"}]), workers=3, server="[::1]:7"
    )
    assert (changed.workers, changed.server, changed.phones[1].server) == (3, "[::1]:7", "own.example")
    assert refusal(adapted, plan(), workers=-1) == "workers: -1 is too small: give 0 or more (give another value)"
    assert refusal(adapted, plan(), server="x y") == (
        "server: 'x y' is no server: write HOST or HOST:PORT, an IPv6 address in brackets (give another value)"
    )
    assert refusal(adapted, plan(phones=[{"users": "1", "server": "own.example"}]), server="other.example") == (
        "all groups of the plan name a server of their own (change them in the plan)"
    )


def test_a_changed_plan_keeps_its_directory(tmp_path: Path) -> None:
    assert adapted(plan(directory=tmp_path), workers=1).directory == tmp_path


def test_quick_registers_holds_and_unregisters() -> None:
    made = quick("sips:1000-1999@pbx.example.com", phones=5, rate=10, duration=3, password="{secret}}", trust=ANY)
    assert [phase.do for phase in made.phases] == ["register", "hold", "unregister"]
    register, hold, _ = made.phases
    assert isinstance(register, Register)
    assert isinstance(hold, Hold)
    assert (register.arrivals, hold.duration, made.name) == (Arrivals(rate=10), 3, "quick")
    population = Population(made)
    assert len(population) == 5
    config = population.config(4)
    assert (config.uri, config.server) == ("sips:1004@pbx.example.com", "pbx.example.com:5061")
    assert (config.password, config.expires, config.persona.name) == ("{secret}}", 3600, "generic")


@pytest.mark.parametrize(
    ("pattern", "server", "uri", "target"),
    [
        ("1000-1009", "127.0.0.1:5071", "sips:1000@127.0.0.1:5071", "127.0.0.1:5071"),
        ("sip:anna", "[::1]", "sip:anna@[::1]:5061;transport=tls", "[::1]:5061"),
        ("SIP:7@[::1]:5;transport=tls", None, "sip:7@[::1]:5;transport=tls", "[::1]:5"),
        ("sips:7@example.com;x={y}", "proxy.example", "sips:7@example.com;x={y}", "proxy.example:5061"),
    ],
)
def test_quick_takes_addresses_of_all_forms(pattern: str, server: str | None, uri: str, target: str) -> None:
    made = quick(pattern, server=server, rate=1, trust=ANY)
    config = Population(made).config(0)
    assert (config.uri, str(config.target)) == (uri, target)


def test_quick_passes_on_what_it_is_given(tmp_path: Path) -> None:
    certificate = CertificateSettings(manufacturer=tmp_path)
    made = quick(
        "1",
        server="h",
        rate=1,
        password_env="VARIABLE",
        certificate=certificate,
        expires=60,
        persona="yealink",
        workers=2,
        fail_if=("errors > 0",),
    )
    group = made.phones[0]
    assert (group.password_env, group.expires, group.persona) == ("VARIABLE", 60, "yealink")
    assert (made.certificate, made.workers, made.fail_if) == (certificate, 2, ("errors > 0",))
    assert (made.trust, made.phases[1], made.directory) == (TrustSettings(), Hold(do="hold", duration=60), Path("."))


@pytest.mark.parametrize(
    ("pattern", "settings", "what"),
    [
        ("1000-1001", {"rate": 1}, "'1000-1001' names no server (give the server, or write sips:1000-1999@HOST:PORT)"),
        (
            "sips:1000:hidden@host",
            {"rate": 1},
            "the address is none with a pattern of users (write sips:1000-1999@HOST, and give the password apart)",
        ),
        (
            "sips:a-b@host",
            {"rate": 1},
            "users: 'a-b' is no range of users: write a range like 1000-1099 or phone001-phone099, a name, "
            "or several with commas (give another value)",
        ),
        (
            "1000-1001@host",
            {"rate": 1, "phones": 7},
            "7 phones are wanted, 1000-1001 has 2 (write a longer pattern, such as 1000-1006, or take 2 at most)",
        ),
        ("1@host", {"rate": 1, "phones": 0}, "count: 0 is too small: give 1 or more (give another value)"),
        ("1@host", {"rate": -1}, "rate: -1 is too small: give more than 0 (give another value)"),
        ("1@host", {"rate": 1, "duration": -1}, "duration: -1 is too small: give 0 or more (give another value)"),
        (
            "1@host",
            {"rate": 1, "trust": {"lists": "builtin", "ca": ["x"]}},
            'with lists = "builtin" the certificates of ca would not count: say lists = "all" (give another value)',
        ),
        (
            "1@host",
            {"rate": 1, "trust": {"names": "none"}},
            "names: 'none' is not known: rfc2818, rfc5922, rfc6125, rfc9525 or off (give another value)",
        ),
        ("1@host:x", {"rate": 1}, "'host:x' is no server (write HOST or HOST:PORT, an IPv6 address in brackets)"),
        (
            "1@host",
            {"rate": 1, "password": "hidden", "password_env": "X"},
            "give either password or password_env (give another value)",
        ),
        (
            "1@host",
            {"rate": 1, "fail_if": ("errs > 0",)},
            "fail_if[0]: 'errs > 0': nothing is called errs: did you mean errors? (give another value)",
        ),
    ],
)
def test_quick_refuses_what_makes_no_plan(pattern: str, settings: dict[str, Any], what: str) -> None:
    assert refusal(quick, pattern, **settings) == what
