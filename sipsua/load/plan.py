"""What a load run is to do: which phones, how they come, and the phases they go through.

A plan is a value: from a TOML file by `sipsua.load.source.read_plan`, or made in Python with the same names. It is checked when it is
made, so nothing behind it need doubt it. What is drawn by lot (the instants of a Poisson stream, who leaves, whose flow is cut) comes
from `seed`, so a plan can be replayed: same seed, same schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from sipsua.account.config import MAX_SECONDS, Target
from sipsua.account.users import UserPattern
from sipsua.errors import BadConfiguration
from sipsua.load.pool import network
from sipsua.load.thresholds import Threshold
from sipsua.trust.crl import CrlList
from sipsua.trust.manufacturer import normal_mac
from sipsua.trust.policy import NameRule, Policy, Revocation, TlsVersion
from sipsua.trust.store import TrustList

Seconds = Annotated[float, Field(ge=0, le=10_000_000)]
"""A duration."""
PerSecond = Annotated[float, Field(gt=0, le=1_000_000)]
"""A rate."""


def _read_by(reader: Callable[[str], object]) -> AfterValidator:
    """Text that the given reader understands; kept as it is."""

    def check(text: str) -> str:
        try:
            reader(text)
        except BadConfiguration as error:
            raise ValueError(f"{error.what}: {error.fix}") from None
        return text

    return AfterValidator(check)


def _spread(times: tuple[float, float] | Literal[False]) -> tuple[float, float] | Literal[False]:
    if times is not False and not 0 < times[0] <= times[1] <= MAX_SECONDS:
        raise ValueError("give the shorter time first, and more than 0 s; false sends none")
    return times


Server = Annotated[str, _read_by(Target.parse)]
"""`HOST[:PORT]`, an IPv6 address in brackets."""


class Part(BaseModel):
    """Base of all parts of a plan: frozen, and with no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class TrustSettings(Part):
    """What the phones of a group trust."""

    lists: Literal["builtin", "custom", "all", "mozilla"] = "custom"
    """Which lists count: the phone's 76 roots, `ca`, both, or today's public roots with `ca`."""
    ca: tuple[Path, ...] = ()
    """Files of trusted certificates, PEM or DER; relative to the plan."""
    names: NameRule = NameRule.RFC2818
    """The rule for the name in the certificate."""
    minimum: Literal["1.0", "1.1", "1.2", "1.3"] = "1.2"
    """Lowest TLS version."""
    maximum: Literal["1.0", "1.1", "1.2", "1.3"] = "1.3"
    """Highest TLS version."""
    ciphers: str | None = None
    """An OpenSSL cipher string for TLS 1.2 and below."""
    crl: tuple[Path, ...] = ()
    """Files of revocation lists."""
    staple: bool = False
    """Ask for a stapled OCSP response."""
    revocation: Revocation = Revocation.SOFT
    """What it means that nobody says whether a certificate is revoked."""
    resume: bool = False
    """Resume TLS sessions."""
    legacy_path: bool = False
    """Follow the chain as it was sent, as OpenSSL 1.0 did."""
    dangerous_old_tls: bool = False
    """Take versions below 1.2."""
    dangerous_weak_ciphers: bool = False
    """Take weak suites, keys and signatures."""
    dangerous_accept_any_certificate: bool = False
    """Accept whatever the server shows."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.lists == "builtin" and self.ca:
            raise ValueError('with lists = "builtin" the certificates of ca would not count: say lists = "all"')
        try:
            self.policy(TrustList.empty())
        except BadConfiguration as error:
            raise ValueError(f"{error.what}: {error.fix}") from None
        return self

    def policy(self, anchors: TrustList, crls: CrlList | None = None) -> Policy:
        """What the settings mean with these lists, read from the files that they name."""
        return Policy(
            anchors=anchors,
            names=self.names,
            minimum=_VERSIONS[self.minimum],
            maximum=_VERSIONS[self.maximum],
            ciphers=self.ciphers,
            crls=crls,
            staple=self.staple,
            revocation=self.revocation,
            legacy_path=self.legacy_path,
            resume=self.resume,
            dangerous_old_tls=self.dangerous_old_tls,
            dangerous_weak_ciphers=self.dangerous_weak_ciphers,
            dangerous_accept_any_certificate=self.dangerous_accept_any_certificate,
        )


_VERSIONS = {"1.0": TlsVersion.TLS1_0, "1.1": TlsVersion.TLS1_1, "1.2": TlsVersion.TLS1_2, "1.3": TlsVersion.TLS1_3}


class CertificateSettings(Part):
    """The certificate that each phone shows when it is asked: the emulated manufacturer's, or from files."""

    manufacturer: Path | None = None
    """Directory of the emulated manufacturer (`sipsua device manufacturer-ca`): a unique certificate for each phone's MAC address,
    made where it is not there yet, and kept."""
    key: Literal["rsa", "ec"] = "ec"
    """Kind of key of what is made: RSA-2048 as real phones have, or P-256, thirty times faster to make."""
    file: str | None = None
    """A file with certificate and key (and intermediates); `{user}`, `{mac}`, `{index}` and the columns of the CSV are filled in."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.manufacturer is None) == (self.file is None):
            raise ValueError("give either manufacturer = DIRECTORY or file = FILE")
        return self


class BackoffSettings(Part):
    """The wait between attempts (RFC 5626 section 4.5), in place of the persona's."""

    base: Annotated[float, Field(gt=0, le=86_400)]
    maximum: Annotated[float, Field(gt=0, le=86_400)]
    spread: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.base > self.maximum:
            raise ValueError("base is above maximum: give the smaller one first")
        return self


class Order(StrEnum):
    """In which order the rows of a CSV become phones."""

    SEQUENTIAL = "sequential"
    """Row after row, and from the top again where there are more phones than rows."""
    RANDOM = "random"
    """A row drawn for each phone, by the plan's seed; a row may come twice."""
    USER = "user"
    """Phone N has row N; more phones than rows are refused."""


class PhoneGroup(Part):
    """Phones of one kind. Texts may hold `{user}`, `{index}` (from 0 in the group), `{mac}` and the columns of the CSV."""

    name: str = ""
    """What the group is called in reports."""
    users: Annotated[str, _read_by(UserPattern)] | None = None
    """A pattern: `1000-1999`, `phone0001-phone0500`, several with commas."""
    csv: Path | None = None
    """Phones from a file in place of `users`: ours, with a header line (user, password, auth_user, uri, server, mac, display_name,
    source, certificate, and whatever else is a column to be filled in), or SIPp's `-inf` form (`SEQUENTIAL`, `RANDOM` or `USER` in the
    first line, then rows with `;`, filled in as `{field0}`, `{field1}` ...)."""
    order: Order | None = None
    """Of the CSV's rows; None is what SIPp's first line says, else sequential."""
    count: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many phones; None is as many as the pattern or the CSV has."""
    uri: str = "sips:{user}@{server}"
    """Address of record. `{server}` is the server's `HOST:PORT`."""
    password: str = Field(default="", repr=False)
    """In clear; better `password_env`."""
    password_env: str | None = None
    """The environment variable that holds it."""
    auth_user: str | None = None
    display_name: str = ""
    server: Server | None = None
    """`HOST[:PORT]` of the outbound proxy; None is the plan's."""
    expires: Annotated[int, Field(ge=1, le=2**31 - 1)] = 3600
    """Seconds that are asked for."""
    persona: Literal["generic", "yealink"] = "generic"
    user_agent: str | None = None
    backoff: BackoffSettings | None = None
    connection: Literal["own", "shared"] = "own"
    """A flow for each phone, or one for all with the same server and trust."""
    keep_alive: Annotated[tuple[float, float] | Literal[False], AfterValidator(_spread)] = (95.0, 120.0)
    """A ping after so many seconds, drawn between the two; false sends none."""
    mac: Annotated[str, _read_by(normal_mac)] = "00:15:65:00:00:00"
    """MAC address of the first phone; each further one has the next."""
    source: tuple[Annotated[str, _read_by(network)], ...] = ()
    """Addresses to connect from, in turn: `127.0.1.0/24` or single ones. Each has 28,000 to 64,000 ports."""
    trust: TrustSettings | None = None
    """None is the plan's."""
    certificate: CertificateSettings | None = None
    """None is the plan's."""

    @model_validator(mode="after")
    def _whence(self) -> Self:
        if (self.users is None) == (self.csv is None):
            raise ValueError('give either users = "1000-1999" or csv = FILE')
        if self.order is not None and self.csv is None:
            raise ValueError("order is that of the rows of a csv: take it out")
        if self.password and self.password_env:
            raise ValueError("give either password or password_env")
        return self


class Ramp(Part):
    """A rate that changes evenly."""

    start: Annotated[float, Field(ge=0, le=1_000_000)]
    """Phones a second at the begin."""
    end: PerSecond
    """Phones a second at the end; stays so for whoever is left."""
    over: Annotated[float, Field(gt=0, le=10_000_000)]
    """Seconds."""


class RateStep(Part):
    """A rate for a while."""

    rate: Annotated[float, Field(ge=0, le=1_000_000)]
    """Phones a second."""
    seconds: Annotated[float, Field(gt=0, le=10_000_000)]


class Arrivals(Part):
    """How phones come: exactly one of the kinds."""

    rate: PerSecond | None = None
    """Evenly spaced, so many a second."""
    at_once: bool = False
    """All at the same instant."""
    ramp: Ramp | None = None
    steps: Annotated[tuple[RateStep, ...], Field(min_length=1)] | None = None
    """One rate after the other; the last one, which may not be 0, stays for whoever is left."""
    poisson: PerSecond | None = None
    """Independent of each other, so many a second on average."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [self.rate, self.ramp, self.steps, self.poisson, True if self.at_once else None]
        if sum(one is not None for one in given) != 1:
            raise ValueError("give exactly one of rate, at_once, ramp, steps, poisson")
        if self.steps is not None and self.steps[-1].rate == 0:
            raise ValueError("the last step has a rate of 0: whoever is left would never come")
        return self


class _Phase(Part):
    """What all phases have."""

    name: str = ""
    """What the phase is called in reports; the kind where empty."""


class Register(_Phase):
    """Phones come and register. Ends when each has its first outcome, `within` seconds after the last came at the latest."""

    do: Literal["register"]
    arrivals: Arrivals
    within: Seconds = 30.0


class Hold(_Phase):
    """Phones stay: they refresh and ping by themselves."""

    do: Literal["hold"]
    duration: Seconds


class Reregister(_Phase):
    """Phones refresh their bindings now, whatever their own timers say. Ends as `register` does."""

    do: Literal["reregister"]
    arrivals: Arrivals
    within: Seconds = 30.0


class Churn(_Phase):
    """Some leave, some come: phones drawn by lot unregister and close, and come back."""

    do: Literal["churn"]
    duration: Seconds
    rate: PerSecond
    """So many leave a second, evenly spaced."""
    away: Seconds = 10.0
    """Seconds until one that left comes back."""


class Cut(StrEnum):
    """How flows end in a storm."""

    RESET = "reset"
    """We drop TCP, as a network that fails does."""
    CLOSE = "close"
    """We say close_notify and close."""
    AWAIT = "await"
    """Somebody else will: the server dies, a cable is pulled. The clock runs from the first flow that is lost."""


class Storm(_Phase):
    """Flows are cut, and the time is measured until the phones are registered again, by their own back-off. Ends when all that lost their
    flow are back, or after `within`."""

    do: Literal["storm"]
    cut: Cut = Cut.RESET
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the phones, drawn by lot. `await` counts whoever is hit."""
    within: Seconds = 300.0


class Unregister(_Phase):
    """Phones remove their bindings and close their flows. Ends as `register` does."""

    do: Literal["unregister"]
    arrivals: Arrivals = Arrivals(at_once=True)
    within: Seconds = 30.0


Phase = Annotated[Register | Hold | Reregister | Churn | Storm | Unregister, Field(discriminator="do")]


class Saturation(Part):
    """When the generator itself was the limit, and the run proves nothing about the server."""

    cpu: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of a core that a worker's process uses."""
    lag_ms: Annotated[float, Field(gt=0)] = 100.0
    """How late the event loop is, 99th percentile of a second."""
    seconds: Annotated[int, Field(ge=1)] = 3
    """One of the two was reached in so many seconds in a row."""
    then: Literal["fail", "tell"] = "fail"
    """Whether the run has failed then, or it is only told."""


class Timeouts(Part):
    """Limits of the single waits, in seconds."""

    resolve: Annotated[float, Field(gt=0, le=3600)] = 5.0
    connect: Annotated[float, Field(gt=0, le=3600)] = 5.0
    handshake: Annotated[float, Field(gt=0, le=3600)] = 10.0
    close: Annotated[float, Field(gt=0, le=3600)] = 2.0


class Plan(Part):
    """A whole run."""

    name: str = "load"
    seed: int = 1
    """Of all that is drawn by lot in the schedule."""
    server: Server | None = None
    """`HOST[:PORT]` of all groups that name none."""
    trust: TrustSettings = TrustSettings()
    certificate: CertificateSettings | None = None
    phones: Annotated[tuple[PhoneGroup, ...], Field(min_length=1)]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes; 0 is as many as there are cores."""
    in_flight: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Handshakes under way at a time, in all workers together."""
    grace: Seconds = 10.0
    """After Ctrl-C: seconds for unregistering."""
    fail_if: tuple[Annotated[str, _read_by(Threshold.parse)], ...] = ()
    """Thresholds (see `sipsua.load.thresholds`), such as `register.p99 > 500ms` or `errors > 0.1%`: one that holds makes the run fail."""
    saturation: Saturation = Saturation()
    timeouts: Timeouts = Timeouts()
    directory: Path = Field(default=Path("."), exclude=True)
    """What relative paths are relative to: where the plan's file is."""

    @field_validator("fail_if")
    @classmethod
    def _of_phases(cls, lines: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        """A phase that a threshold names must be there; where the phases are wrong, that is told."""
        phases: tuple[Phase, ...] = others.data.get("phases", ())
        known = {phase.name or phase.do for phase in phases} | {phase.do for phase in phases}
        for line in lines:
            phase = Threshold.parse(line).phase
            if phases and phase is not None and phase not in known:
                raise ValueError(f"{line!r}: no phase is called {phase}: choose from {', '.join(sorted(known))}")
        return lines
