"""A plan for this one time: other numbers than the file has, or no file at all.

What a command line says is put into the plan as if it stood there, so a run has one description, and a changed plan is checked as any is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from sipsua.account.config import Target
from sipsua.account.users import UserPattern
from sipsua.errors import BadConfiguration
from sipsua.load.complaint import complaints, field
from sipsua.load.files import Files
from sipsua.load.making import check_count
from sipsua.load.mistakes import Mistakes
from sipsua.load.plan import (
    Arrivals,
    CertificateSettings,
    Hold,
    Phase,
    PhoneGroup,
    Plan,
    Register,
    TrustSettings,
    Unregister,
)
from sipsua.load.rows import Rows
from sipsua.load.template import literal

FIX = "give another value"


def adapted(
    plan: Plan,
    *,
    phones: int | None = None,
    rate: float | None = None,
    duration: float | None = None,
    workers: int | None = None,
    server: str | None = None,
) -> Plan:
    """The plan with what is not None changed. Raises BadConfiguration, also where a value would change nothing.

    `phones`: so many in all, dealt over the groups in proportion to their sizes, at least one to each. `rate`: phones a second in every
    `register` phase, evenly spaced; Poisson where it was Poisson. `duration`: seconds of all `hold` phases together, each longer or
    shorter in proportion. `workers`: processes, 0 for one a core. `server`: the plan's `HOST[:PORT]`; groups and rows with one of
    their own keep that.
    """
    return _checked(lambda: _adapted(plan, phones, rate, duration, workers, server))


def quick(
    pattern: str,
    *,
    rate: float,
    server: str | None = None,
    phones: int | None = None,
    duration: float = 60.0,
    password: str = "",
    password_env: str | None = None,
    trust: TrustSettings | Mapping[str, object] | None = None,
    certificate: CertificateSettings | None = None,
    expires: int = 3600,
    persona: Literal["generic", "yealink"] = "generic",
    workers: int = 0,
    fail_if: tuple[str, ...] = (),
) -> Plan:
    """A plan without a file: phones register evenly at `rate` a second, stay for `duration` seconds, and unregister.

    `pattern` is an address with a pattern of users: `sips:1000-1999@pbx.example.com`, `sip:1000-1999@192.0.2.1;transport=tls`, or only
    `1000-1999` at the server. `server` is `HOST[:PORT]` of the outbound proxy; None is what the address names. `phones` are the first so
    many of the pattern; None is all. `password` is taken as it is, braces and all. `trust` may be given by its keys, which are checked
    then. Paths are relative to the current directory. Raises BadConfiguration.
    """

    def make() -> Plan:
        users, uri, where = _address(pattern, server)
        group = PhoneGroup(
            users=users,
            count=phones,
            uri=uri,
            password=literal(password),
            password_env=password_env,
            expires=expires,
            persona=persona,
        )
        check_count(group, phones or 1, UserPattern(users), None)
        return Plan(
            name="quick",
            server=where,
            trust=TrustSettings.model_validate(trust or {}),
            certificate=certificate,
            phones=(group,),
            phases=(
                Register(do="register", arrivals=Arrivals(rate=rate)),
                Hold(do="hold", duration=duration),
                Unregister(do="unregister"),
            ),
            workers=workers,
            fail_if=fail_if,
            directory=Path(),
        )

    return _checked(make)


def _checked(make: Callable[[], Plan]) -> Plan:
    try:
        return make()
    except ValidationError as error:
        mistakes = Mistakes()
        for path, what in complaints(error):
            mistakes.add(field(path), what)
        raise mistakes.error(FIX) from None


def _adapted(
    plan: Plan,
    phones: int | None,
    rate: float | None,
    duration: float | None,
    workers: int | None,
    server: str | None,
) -> Plan:
    changes: dict[str, Any] = {}
    phases = plan.phases
    if rate is not None:
        phases = _at_rate(phases, rate)
    if duration is not None:
        phases = _held(phases, duration)
    if phases is not plan.phases:
        changes["phases"] = phases
    if phones is not None:
        changes["phones"] = _dealt(plan, phones)
    if workers is not None:
        changes["workers"] = workers
    if server is not None:
        if all(group.server is not None for group in plan.phones):
            raise BadConfiguration("all groups of the plan name a server of their own", fix="change them in the plan")
        changes["server"] = server
    # Made anew, and so checked as a whole: a copy would take what it is given.
    return Plan(**{**{name: getattr(plan, name) for name in Plan.model_fields}, **changes})


def _at_rate(phases: tuple[Phase, ...], rate: float) -> tuple[Phase, ...]:
    if not any(isinstance(phase, Register) for phase in phases):
        raise BadConfiguration("the plan has no register phase whose rate could change", fix="add one to the plan")
    even, poisson = Arrivals(rate=rate), Arrivals(poisson=rate)
    return tuple(
        phase.model_copy(update={"arrivals": even if phase.arrivals.poisson is None else poisson})
        if isinstance(phase, Register)
        else phase
        for phase in phases
    )


def _held(phases: tuple[Phase, ...], duration: float) -> tuple[Phase, ...]:
    holds = [phase for phase in phases if isinstance(phase, Hold)]
    if not holds:
        raise BadConfiguration("the plan has no hold phase whose duration could change", fix="add one to the plan")
    whole = sum(phase.duration for phase in holds)
    asked = Hold(do="hold", duration=duration).duration  # so that a refusal tells this number, and not a share of it

    def held(phase: Phase) -> Phase:
        if not isinstance(phase, Hold):
            return phase
        share = phase.duration / whole if whole else 1 / len(holds)
        return Hold(do="hold", name=phase.name, duration=asked * share)

    return tuple(map(held, phases))


def _dealt(plan: Plan, phones: int) -> tuple[PhoneGroup, ...]:
    """The groups with counts that add up to `phones`."""
    files = Files(plan.directory)
    mistakes = Mistakes()
    there: list[UserPattern | Rows] = [
        files.rows(group.csv) if group.csv is not None else UserPattern(group.users or "") for group in plan.phones
    ]
    counts = _in_proportion(phones, [group.count or len(one) for group, one in zip(plan.phones, there, strict=True)])
    groups = []
    for number, (group, one, count) in enumerate(zip(plan.phones, there, counts, strict=True)):
        users, rows = (None, one) if isinstance(one, Rows) else (one, None)
        mistakes.attempt(f"phones[{number}]", check_count, group, count, users, rows)
        groups.append(group.model_copy(update={"count": count}))
    mistakes.check("ask for fewer phones, or change the plan")
    return tuple(groups)


def _in_proportion(whole: int, sizes: list[int]) -> list[int]:
    """Parts that add up to `whole`, each one at least, as near to the proportion of the sizes as whole numbers come."""
    if not len(sizes) <= whole <= MOST:
        raise BadConfiguration(
            f"{whole} phones cannot be dealt over the plan's {len(sizes)} groups",
            fix=f"ask for {len(sizes)} to {MOST}",
        )
    exact = [whole * size / sum(sizes) for size in sizes]
    parts = [max(1, int(part)) for part in exact]
    while difference := whole - sum(parts):
        step = 1 if difference > 0 else -1
        best = max(
            (place for place in range(len(parts)) if parts[place] + step > 0),
            key=lambda place: step * (exact[place] - parts[place]),
        )
        parts[best] += step
    return parts


MOST = 1_000_000
"""Phones of a group, and so of all."""


def _address(pattern: str, server: str | None) -> tuple[str, str, str]:
    """The users, the address with a place for one, and the server."""
    found = _ADDRESS.fullmatch(pattern)
    if found is None:
        # Which one is not told: it may hold a password.
        raise BadConfiguration(
            "the address is none with a pattern of users", fix="write sips:1000-1999@HOST, and give the password apart"
        )
    scheme, users, rest = (found["scheme"] or "sips").lower(), found["users"], found["rest"]
    if rest is None:
        if server is None:
            raise BadConfiguration(
                f"{pattern!r} names no server", fix="give the server, or write sips:1000-1999@HOST:PORT"
            )
        return users, f"{scheme}:{{user}}@{{server}}{';transport=tls' if scheme == 'sip' else ''}", server
    uri = f"{scheme}:{{user}}@{literal(rest)}"
    return users, uri, server if server is not None else str(Target.parse(rest.partition(";")[0]))


_ADDRESS = re.compile(r"(?:(?P<scheme>sips?):)?(?P<users>[^:@]+)(?:@(?P<rest>[^@]+))?", re.IGNORECASE)
