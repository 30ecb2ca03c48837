"""What a program reads: the one object that `--json` prints, and of the commands' objects the one of a registration.

The fields of each are documented in its `as_json` and only ever added to. All of them are there whatever happened; what was not reached
is null.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from sipsua.cli.failure import ExitCode, Failure
from sipsua.cli.output import print_json
from sipsua.errors import Refused
from sipsua.events import (
    Event,
    FlowFailed,
    FlowOpened,
    HandshakeStepped,
    Lock,
    LockChanged,
    Registered,
    RegistrationFailed,
)
from sipsua.trust.verdict import CertificateRefused, Verdict


class JsonReport(ABC):
    """What a command has to say as JSON."""

    failure: Failure | None = None
    """Why the command ends with another code than 0."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """The object; `error` and `exit_code` are among its fields."""

    def print(self) -> None:
        """Write the object to stdout, as one line."""
        print_json(self.as_json())

    def _end(self) -> dict[str, Any]:
        """The fields that all have: `error`, which is null where all went well, and `exit_code`."""
        failure = self.failure
        return {
            "error": failure.as_json() if failure is not None else None,
            "exit_code": int(failure.code if failure is not None else ExitCode.DONE),
        }


class Ending(JsonReport):
    """How a command ended that could say nothing else."""

    def as_json(self) -> dict[str, Any]:
        """The object:

        - `error`: `code` in words, `what` and `fix`.
        - `exit_code`: the number that the command ends with.
        """
        return self._end()


class Report(JsonReport):
    """What became of one account, from the first attempt to the end."""

    def __init__(self, account: str | None) -> None:
        self.account = account
        """The address as it was given, without a password; None where the command line could not be read."""
        self.lock = Lock()
        """The padlock, as it was before we left."""
        self.verdict: Verdict | None = None
        """Of the last handshake that came as far as a certificate."""
        self.binding: Registered | None = None
        """What the registrar granted last."""
        self._refusal: Refused | None = None
        self._handshake: list[HandshakeStepped] = []
        self._timings_ms: dict[str, float | None] = dict.fromkeys(("dns", "tcp", "tls", "challenge", "register"))
        self.leaving = False
        """Whether what happens is the end that we made."""

    @property
    def connected(self) -> bool:
        """Whether a handshake was ever finished."""
        return self._timings_ms["tls"] is not None

    def take(self, event: Event) -> None:
        """Gather one event. Steps and timings are those of the first attempt: with `--keep` there can be more."""
        if isinstance(event, LockChanged):
            if not (self.leaving and self.lock.locked):
                self.lock = event.lock
        elif isinstance(event, HandshakeStepped):
            if not self.connected:
                self._handshake.append(event)
        elif isinstance(event, FlowOpened):
            self.verdict = event.verdict
            if not self.connected:
                self._timings_ms.update(event.timings_ms)
        elif isinstance(event, FlowFailed):
            if isinstance(event.error, CertificateRefused):
                self.verdict = event.error.verdict
        elif isinstance(event, Registered):
            if self.binding is None:
                self._timings_ms.update(challenge=event.challenge_ms, register=event.register_ms)
            self.binding = event
        elif isinstance(event, RegistrationFailed):
            self._refusal = event.error if isinstance(event.error, Refused) else None

    def leave(self, lock: Lock) -> None:
        """We leave now: what a closed padlock does from here on is our own doing, and no news."""
        self.lock = lock
        self.leaving = True

    def as_json(self) -> dict[str, Any]:
        """The object:

        - `account`: the address as given; null where the command line could not be read.
        - `registration`: `state` (`registered`, `failed`, or `unregistered` where it did not come to an attempt), `status` and
          `reason` of the registrar's last answer, `expires` in seconds as granted.
        - `lock`: the padlock before we left, see `events.Lock`.
        - `verdict`: see `trust.verdict.Verdict`; null where no certificate was seen.
        - `handshake`: the messages, each with `step` and `at_ms` since its begin.
        - `timings_ms`: milliseconds of `dns` (name to addresses), `tcp` (SYN to connection), `tls` (ClientHello to Finished),
          `challenge` (first REGISTER to 401) and `register` (last REGISTER to 200), each on its own.
        - `error`: `code` in words, `what` and `fix`; null where all went well.
        - `exit_code`: the number that the command ends with.
        """
        failure = self.failure
        registration: dict[str, Any] = {"state": "unregistered", "status": None, "reason": None, "expires": None}
        if failure is not None and failure.code not in _NO_ATTEMPT:
            refusal = self._refusal
            registration["state"] = "failed"
            if refusal is not None:
                registration.update(status=refusal.status, reason=refusal.reason)
        elif failure is None and self.binding is not None:
            registration.update(
                state="registered",
                status=self.binding.status,
                reason=self.binding.reason,
                expires=self.binding.expires,
            )
        return {
            "account": self.account,
            "registration": registration,
            "lock": self.lock.as_json(),
            "verdict": self.verdict.as_json() if self.verdict is not None else None,
            "handshake": [{"step": one.step, "at_ms": round(one.at_ms, 3)} for one in self._handshake],
            "timings_ms": {
                name: round(value, 3) if value is not None else None for name, value in self._timings_ms.items()
            },
            **self._end(),
        }


_NO_ATTEMPT = frozenset({ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.DEFECT, ExitCode.INTERRUPTED})
