"""What a fleet tells of one second: gauges, counts, every latency, errors by class, and how the generator itself fared.

A sample holds single values, not percentiles, so samples of several workers merge without loss, and `results` fills its histograms off
the phones' loop. Counts are of the second alone; gauges are as of its end. A sample belongs to one phase: a phase's last one may be short.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Step(StrEnum):
    """What takes time. Each value is in microseconds."""

    QUEUE = "queue"
    """From the intended start to the turn under the limit of handshakes in flight: what the generator owes."""
    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    CHALLENGE = "challenge"
    """From the first REGISTER to the 401 or 407."""
    FINAL = "final"
    """From the last REGISTER to the 200."""
    REGISTER = "register"
    """The whole: from the *intended* start to the 200, with queue, handshake, challenge, and whatever attempts failed before."""
    REFRESH = "refresh"
    """From the instant when a refresh was due to its 200."""
    RECOVER = "recover"
    """From the cut to the 200 on a new flow."""
    UNREGISTER = "unregister"
    """From the intended instant to the answer."""


class Count(StrEnum):
    """What is counted."""

    STARTED = "started"
    """Phones that began to register."""
    REGISTERED = "registered"
    """Bindings that came about, new or again on a new flow."""
    REFRESHED = "refreshed"
    FAILED = "failed"
    """Attempts to register that failed; what for, `errors` says."""
    REFUSED = "refused"
    """Phones that gave up: of the failed ones those that will not try again."""
    LOST = "lost"
    """Phones whose flow stood and broke, other than by our own cut or leave."""
    CUT = "cut"
    """Phones whose flow the plan has cut."""
    UNREGISTERED = "unregistered"
    UNANSWERED = "unanswered"
    """Phones that left without the registrar's yes."""
    HANDSHAKES = "handshakes"
    RESUMED = "resumed"
    """Handshakes that resumed a session."""
    TLS1_2 = "TLSv1.2"
    TLS1_3 = "TLSv1.3"
    OLD_TLS = "TLSv1.1 or older"
    UNVERIFIED = "unverified"
    """Handshakes whose certificate was accepted unseen (`dangerous_accept_any_certificate`)."""
    ANSWERED = "answered"
    """Requests of the server that phones answered."""
    DROPPED = "dropped"
    """Messages of the server that cannot be answered."""


@dataclass(slots=True)
class ErrorCount:
    """A class of errors."""

    count: int
    example: str
    """One of them, whole: phone, what happened, what to do. Without secrets."""


@dataclass(slots=True)
class Health:
    """How a worker fared in a second: more than its plan's saturation allows, and the worker was the limit."""

    worker: int
    cpu: float
    """Share of a core: user and system time of the process."""
    lag_ms: float
    """How late the event loop was, 99th percentile of probes each 20 ms."""
    lag_max_ms: float
    rss_kib: int
    """Resident memory."""


@dataclass(slots=True)
class Sample:
    """One second of a worker, or of several once merged."""

    second: int
    """Of the run, from 0."""
    at: float
    """Unix time at its end."""
    phase: int
    """Index in the plan; one more than its last where phones leave after all its phases, or because the run is ended early."""
    length: float
    """Seconds that it covers; 1 but for the last of a phase."""
    phones: int = 0
    """Phones that are wanted registered."""
    locked: int = 0
    registered: int = 0
    opening: int = 0
    """Flows being opened, with those that wait for their turn."""
    counts: Counter[Count] = field(default_factory=Counter)
    latencies: dict[Step, array[int]] = field(default_factory=dict)
    """Microseconds, type code `Q`."""
    recovered: array[int] = field(default_factory=lambda: array("Q"))
    """For each value of `Step.RECOVER`, in its order, when that was: microseconds of CLOCK_MONOTONIC, which is one for a machine."""
    first_loss: int | None = None
    """When the first of the flows that were cut or lost in it broke, by the same clock; None where none was."""
    errors: dict[str, ErrorCount] = field(default_factory=dict)
    sent: int = 0
    """Octets to the network: TLS records."""
    received: int = 0
    health: list[Health] = field(default_factory=list)
    """One for each worker."""

    def record(self, step: Step, seconds: float) -> None:
        """Note a latency."""
        values = self.latencies.get(step)
        if values is None:
            values = self.latencies[step] = array("Q")
        values.append(max(0, round(seconds * 1_000_000)))

    def fail(self, kind: str, example: str) -> None:
        """Note an error."""
        known = self.errors.get(kind)
        if known is None:
            self.errors[kind] = ErrorCount(1, example)
        else:
            known.count += 1

    def lose(self, at: float) -> None:
        """Note a loss: `at` is CLOCK_MONOTONIC in seconds."""
        if self.first_loss is None:
            self.first_loss = round(at * 1_000_000)

    def merge(self, other: Sample) -> None:
        """Add what another worker tells of the same second and phase."""
        self.at = max(self.at, other.at)
        self.length = max(self.length, other.length)
        self.phones += other.phones
        self.locked += other.locked
        self.registered += other.registered
        self.opening += other.opening
        self.counts.update(other.counts)
        for step, values in other.latencies.items():
            if step in self.latencies:
                self.latencies[step].extend(values)
            else:
                self.latencies[step] = array("Q", values)
        self.recovered.extend(other.recovered)
        if other.first_loss is not None:
            self.first_loss = other.first_loss if self.first_loss is None else min(self.first_loss, other.first_loss)
        for kind, error in other.errors.items():
            known = self.errors.get(kind)
            if known is None:
                self.errors[kind] = ErrorCount(error.count, error.example)
            else:
                known.count += error.count
        self.sent += other.sent
        self.received += other.received
        self.health.extend(other.health)
