"""The muster: phones are looked at before the first of them goes out, so that a run does not end at the row that is wrong.

Of a pattern's phones the first and the last stand for all, because the others differ from them in digits only; of a CSV every row is
looked at, and so is every file of a certificate.
"""

from __future__ import annotations

from sipsua.account.config import Target
from sipsua.errors import BadConfiguration
from sipsua.load.group import Group
from sipsua.load.mistakes import Mistakes, sentence
from sipsua.load.pool import check_family, check_ours, network
from sipsua.load.rows import Row
from sipsua.trust.manufacturer import normal_mac


def muster(group: Group, own: range, worker: int, workers: int, mistakes: Mistakes) -> None:
    """Look at the phones `own` of a group, by their index, and at every `workers`-th row of its CSV from `worker` on."""
    if group.rows is None:
        for index in {0, group.size - 1}:
            try:
                group.account(index, group.values(index), group.policy)
            except BadConfiguration as error:
                mistakes.add(f"{group.where}.{_field(error)}", sentence(error))
    else:
        for number in range(worker, len(group.rows), workers):
            _look_at(group, number, group.rows.rows[number], mistakes)
    mistakes.attempt(f"{group.where}.source", group.pool.check, group.size)
    if len(mistakes):
        return
    seen = set()
    for index in own:
        file = group.certificate_file(group.values(index))
        if file and file not in seen:
            seen.add(file)
            mistakes.attempt(_place_of_file(group, index), group.files.identity, file)


def make_certificates(group: Group, own: range, mistakes: Mistakes) -> None:
    """Have the manufacturer make what it has not made for these phones yet."""
    if group.factory is not None:
        macs = (values["mac"] for values in map(group.values, own) if not values.get("certificate"))
        mistakes.attempt(f"{group.certificate_place}.manufacturer", group.factory.ahead, macs, group.key)


def _look_at(group: Group, number: int, row: Row, mistakes: Mistakes) -> None:
    """See that a row makes an account."""
    assert group.rows is not None
    given = dict(zip(group.rows.columns, row.cells, strict=True))
    place = f"{group.rows.path}:{row.line}"
    before = len(mistakes)
    mac, server, source = given.get("mac"), given.get("server"), given.get("source")
    if mac:
        mistakes.attempt(f"{place}: mac", normal_mac, mac)
    if server:
        mistakes.attempt(f"{place}: server", Target.parse, server)
    elif not group.server:
        mistakes.add(f"{place}: server", "is empty, and neither the group nor the plan has one: write HOST:PORT")
    if source:
        mistakes.attempt(f"{place}: source", _check_source, source, server or group.server)
    if len(mistakes) == before:
        try:
            group.account(number, group.values_of(number, row), group.policy)
        except BadConfiguration as error:
            field = _field(error)
            if field == "uri" and not given.get("uri"):
                field = "user" if group.rows.order is None else "field0"
            mistakes.add(f"{place}: {field}", sentence(error))


def _check_source(text: str, server: str) -> None:
    if network(text).num_addresses > 1:
        raise BadConfiguration(f"{text} is a network", fix="give one address for each phone here")
    if server:
        check_family(text, Target.parse(server))
    check_ours(text.strip())


def _place_of_file(group: Group, index: int) -> str:
    if group.rows is not None and "certificate" in group.rows.columns:
        return f"{group.rows.path}:{group.row(index).line}: certificate"
    return f"{group.certificate_place}.file"


def _field(error: BadConfiguration) -> str:
    """Which field an account's refusal is about: it names those that are no part of the address."""
    first = error.what.split()[0]
    return first if first in ("display_name", "user_agent", "auth_user", "password") else "uri"
