"""One group of phones, made ready: its texts cut, its files read, so that the account of phone N costs a few joins.

Nothing is kept for a phone but the row of a CSV that it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sipsua.account.config import AccountConfig, Connection, Limits, Target
from sipsua.account.persona import PERSONAS, Backoff
from sipsua.account.users import UserPattern
from sipsua.load.files import Files
from sipsua.load.plan import PhoneGroup
from sipsua.load.pool import AddressPool
from sipsua.load.rows import Row, Rows
from sipsua.load.template import Template
from sipsua.phone.factory import Factory
from sipsua.trust.manufacturer import KeyKind, normal_mac
from sipsua.trust.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Phones of one kind. Each is known by its index in the group."""

    where: str
    """Its place in the plan: `phones[0]`."""
    settings: PhoneGroup
    size: int
    """How many phones."""
    users: UserPattern | None
    rows: Rows | None
    """Where there is no pattern."""
    draws: Sequence[int] | None
    """The row of each phone, where rows are drawn by lot."""
    texts: Mapping[str, Template]
    """By field: what is filled in for each phone. `certificate` is the file."""
    server: str
    """`HOST:PORT`; empty where each row has its own."""
    first_mac: int
    pool: AddressPool
    policy: Policy
    """What all trust; and show, where all show the same certificate."""
    factory: Factory | None
    """Who makes a certificate for each phone."""
    key: KeyKind
    """The kind of key of what is made."""
    certificate_place: str
    """Where the plan says so: `certificate`, or `phones[0].certificate`."""
    files: Files
    limits: Limits
    backoff: Backoff | None

    @property
    def name(self) -> str:
        """What the group is called in reports: its own name, else its pattern or its file."""
        settings = self.settings
        return settings.name or settings.users or (settings.csv.name if settings.csv is not None else "")

    def config(self, index: int) -> AccountConfig:
        """The account of a phone, made anew. Raises BadConfiguration where the file of its certificate has gone bad."""
        values = self.values(index)
        policy = self.policy
        if self.factory is not None and not values.get("certificate"):
            policy = replace(policy, identity=self.factory.identity(values["mac"]))
        elif file := self.certificate_file(values):
            policy = replace(policy, identity=self.files.identity(file))
        return self.account(index, values, policy)

    def account(self, index: int, values: Mapping[str, str], policy: Policy) -> AccountConfig:
        """The account with these values. Raises BadConfiguration."""
        settings = self.settings
        return AccountConfig(
            uri=self.uri(values),
            policy=policy,
            password=self._text("password", values) or "",
            auth_user=self._text("auth_user", values),
            display_name=self._text("display_name", values) or "",
            server=values["server"],
            source=values.get("source") or (self.pool[index] if self.pool else None),
            expires=settings.expires,
            persona=PERSONAS[settings.persona],
            user_agent=self._text("user_agent", values),
            backoff=self.backoff,
            connection=Connection(settings.connection),
            keep_alive=settings.keep_alive or None,
            limits=self.limits,
        )

    def values(self, index: int) -> dict[str, str]:
        """What is known of a phone by name: the columns of its row, and what all phones have."""
        if self.users is not None:
            return self._completed(index, {"user": self.users[index]})
        return self.values_of(index, self.row(index))

    def row(self, index: int) -> Row:
        """The row of a phone, in a group that has rows."""
        assert self.rows is not None
        return self.rows.rows[self.draws[index] if self.draws is not None else index % len(self.rows)]

    def values_of(self, index: int, row: Row) -> dict[str, str]:
        """What would be known, had this phone that row. Raises BadConfiguration for a MAC address or a server that is none."""
        assert self.rows is not None
        values = dict(zip(self.rows.columns, row.cells, strict=True))
        if self.rows.order is not None:
            values["user"] = values["field0"]
        return self._completed(index, values)

    def uri(self, values: Mapping[str, str]) -> str:
        """The address of record."""
        return values.get("uri") or self.texts["uri"].fill(values)

    def certificate_file(self, values: Mapping[str, str]) -> str:
        """The file of the phone's own certificate; empty where it has none, or all show the same."""
        return self._text("certificate", values) or ""

    def _completed(self, index: int, values: dict[str, str]) -> dict[str, str]:
        values["index"] = str(index)
        mac, server = values.get("mac"), values.get("server")
        values["mac"] = normal_mac(mac) if mac else f"{self.first_mac + index:012x}"
        values["server"] = str(Target.parse(server)) if server else self.server
        return values

    def _text(self, field: str, values: Mapping[str, str]) -> str | None:
        """What the row says, else the group."""
        if given := values.get(field):
            return given
        template = self.texts.get(field)
        return template.fill(values) if template is not None else None
