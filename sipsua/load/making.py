"""From a plan's group of phones to one that is ready: patterns and files read, texts cut, passwords fetched, and what does not fit told.

Each mistake bears the name of the field that it is in, `phones[1].trust.ca`, or of the plan's own where the group leaves it to that.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from random import Random

from sipsua.account.config import Limits, Target
from sipsua.account.persona import Backoff
from sipsua.account.users import UserPattern
from sipsua.errors import BadConfiguration
from sipsua.load.files import Files
from sipsua.load.group import Group
from sipsua.load.mistakes import Mistakes, meant
from sipsua.load.plan import Order, PhoneGroup, Plan
from sipsua.load.pool import AddressPool, check_family
from sipsua.load.rows import KNOWN, Rows
from sipsua.load.template import Template, literal
from sipsua.trust.manufacturer import macs_from
from sipsua.trust.policy import Policy


def make_group(plan: Plan, number: int, files: Files, limits: Limits, mistakes: Mistakes) -> Group | None:
    """The group of this number in the plan; None where there is something wrong with it, which is added to the mistakes."""
    where = f"phones[{number}]"
    settings = plan.phones[number]
    certificate, place = settings.certificate, f"{where}.certificate"
    if certificate is None:
        certificate, place = plan.certificate, "certificate"
    before = len(mistakes)
    users = UserPattern(settings.users) if settings.users is not None else None
    rows = mistakes.attempt(f"{where}.csv", files.rows, settings.csv) if settings.csv is not None else None
    server = settings.server or plan.server
    if server is None and not (rows is not None and "server" in rows.columns):
        mistakes.add(
            f"{where}.server", 'there is none: give server = "HOST:PORT" here, or at the top of the plan for all'
        )
    target = Target.parse(server) if server is not None else None
    for entry, text in enumerate(settings.source):
        if target is not None:
            mistakes.attempt(f"{where}.source[{entry}]", check_family, text, target)
    texts = _texts(settings, where, mistakes)
    policy = _policy(plan, settings, where, files, mistakes)
    factory = None
    if certificate is not None and certificate.file is not None:
        template = mistakes.attempt(f"{place}.file", Template, certificate.file)
        if template is not None:
            texts["certificate"] = template
    elif certificate is not None and certificate.manufacturer is not None:
        factory = mistakes.attempt(f"{place}.manufacturer", files.factory, certificate.manufacturer)
        if settings.connection == "shared":
            mistakes.add(
                f"{where}.connection",
                "a shared flow shows one certificate, the manufacturer makes one for each phone: say own, or give a file",
            )
    if users is None and rows is None:
        return None
    _check_names(texts, rows, where, place, mistakes)
    size = settings.count or len(users or rows or ())
    mistakes.attempt(f"{where}.count", check_count, settings, size, users, rows)
    mistakes.attempt(f"{where}.mac", macs_from, settings.mac, size)
    if policy is None or len(mistakes) > before:
        return None
    if "certificate" in texts and not texts["certificate"].names:
        # All show the same, so it may take its time: see `Files.identity`.
        file = texts.pop("certificate").fill({})
        identity = mistakes.attempt(f"{place}.file", files.identity, file, proven=False)
        if identity is None:
            return None
        policy = replace(policy, identity=identity)
    return Group(
        where=where,
        settings=settings,
        size=size,
        users=users,
        rows=rows,
        draws=_draws(plan.seed, number, size, settings, rows),
        texts=texts,
        server=str(target) if target is not None else "",
        first_mac=int(next(macs_from(settings.mac, size)), 16),
        pool=AddressPool(settings.source),
        policy=policy,
        factory=factory,
        key=certificate.key if certificate is not None else "ec",
        certificate_place=place,
        files=files,
        limits=limits,
        backoff=_backoff(settings),
    )


def check_count(settings: PhoneGroup, count: int, users: UserPattern | None, rows: Rows | None) -> None:
    """See that a group's pattern or CSV has enough for so many phones. Raises BadConfiguration."""
    if users is not None and count > len(users):
        longer = users.longer(count)
        such = f", such as {longer}" if longer else ""
        raise BadConfiguration(
            f"{count} phones are wanted, {users.pattern} has {len(users)}",
            fix=f"write a longer pattern{such}, or take {len(users)} at most",
        )
    if rows is not None and count > len(rows) and _order(settings, rows) is Order.USER:
        raise BadConfiguration(
            f"{count} phones are wanted, {rows.path} has {len(rows)} rows",
            fix='add rows, or say order = "sequential" to use them again',
        )


def _order(settings: PhoneGroup, rows: Rows) -> Order:
    return settings.order or rows.order or Order.SEQUENTIAL


def _draws(seed: int, number: int, size: int, settings: PhoneGroup, rows: Rows | None) -> Sequence[int] | None:
    """The row of each phone where they are drawn, the same in every process."""
    if rows is None or _order(settings, rows) is not Order.RANDOM:
        return None
    dice = Random(f"{seed}/phones/{number}")
    return array("I", (dice.randrange(len(rows)) for _ in range(size)))


def _backoff(settings: PhoneGroup) -> Backoff | None:
    given = settings.backoff
    return Backoff(given.base, given.maximum, given.spread) if given is not None else None


def _texts(settings: PhoneGroup, where: str, mistakes: Mistakes) -> dict[str, Template]:
    """What is filled in for each phone, by field."""
    texts: dict[str, Template] = {}
    for field, text in (
        ("uri", settings.uri),
        ("password", settings.password or None),
        ("auth_user", settings.auth_user),
        ("display_name", settings.display_name or None),
        ("user_agent", settings.user_agent),
    ):
        if text is not None:
            template = mistakes.attempt(f"{where}.{field}", Template, text)
            if template is not None:
                texts[field] = template
    if settings.password_env is not None:
        password = mistakes.attempt(f"{where}.password_env", _from_environment, settings.password_env)
        if password is not None:
            texts["password"] = Template(literal(password))
    return texts


def _from_environment(variable: str) -> str:
    password = os.environ.get(variable)
    if password is None:
        raise BadConfiguration(f"the environment variable {variable} is not set", fix="set it, and export it")
    if not password:
        raise BadConfiguration(f"the environment variable {variable} is empty", fix="write the password there")
    return password


def _policy(plan: Plan, settings: PhoneGroup, where: str, files: Files, mistakes: Mistakes) -> Policy | None:
    place = f"{where}.trust" if settings.trust is not None else "trust"
    trust = settings.trust or plan.trust
    if trust.lists == "custom" and not trust.ca and not trust.dangerous_accept_any_certificate:
        mistakes.add(
            f"{place}.ca",
            'nobody is trusted: give the certificate of the server\'s CA, ca = ["ca.pem"], or other lists',
        )
        return None
    return mistakes.attempt(place, files.policy, trust)


def _check_names(
    texts: Mapping[str, Template], rows: Rows | None, where: str, certificate: str, mistakes: Mistakes
) -> None:
    """See that each text asks for what there is."""
    columns = [column for column in rows.columns if column != "password"] if rows is not None else []
    known = ["user", "index", "mac", "server", *(each for each in columns if each not in ("user", "mac", "server"))]
    if rows is not None and rows.order is None and "user" not in columns:
        known.remove("user")
        texts = {field: template for field, template in texts.items() if field != "uri"}  # each row has its own
    braced = [f"{{{name}}}" for name in known]
    for field, template in texts.items():
        for name in sorted(template.names - set(known)):
            if field == "password":
                # Which it is is not told: it may be a part of the password.
                what = f"there is a name in braces that is not known: choose from {', '.join(braced)}; a brace itself is written twice"
            else:
                what = f"{{{name}}} {meant(f'{{{name}}}', braced)}"
            mistakes.add(f"{where}.{field}" if field != "certificate" else f"{certificate}.file", what)
    used = frozenset().union(*(template.names for template in texts.values()))
    for column in columns:
        near = get_close_matches(column, KNOWN, 1, 0.75)
        if (
            rows is not None
            and rows.order is None
            and column not in (*KNOWN, *used)
            and near
            and near[0] not in rows.columns
        ):
            mistakes.add(f"{rows.path}: column {column}", f"is used nowhere: did you mean {near[0]}?")
