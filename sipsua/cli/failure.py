"""What went wrong, for a person and for a program: exit code, cause and remedy of whatever ends a command.

A script that runs a hundred registrations decides by the number, a person reads two lines. Both come from one table here, so that they
never disagree. The numbers and words are stable: they are only ever added to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from sipsua.errors import (
    BadConfiguration,
    CredentialsRefused,
    FlowLost,
    HandshakeFailed,
    Lost,
    MalformedMessage,
    Misuse,
    NoAnswer,
    Refused,
    SipsuaError,
    Unreachable,
    Untrusted,
    printable,
)
from sipsua.load.mistakes import BadLines
from sipsua.trust.verdict import CertificateRefused


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    USAGE = 2
    CERTIFICATE_REFUSED = 10
    NAME_REFUSED = 11
    """The chain is good, the name is another's."""
    HANDSHAKE_FAILED = 12
    """TLS was not negotiated, or the server refused our own certificate (in TLS 1.3 it says so after the handshake)."""
    UNREACHABLE = 13
    """DNS, TCP, or a time-out before TLS began."""
    CREDENTIALS_REFUSED = 14
    REFUSED = 15
    """The server answered with another final status."""
    NO_ANSWER = 16
    """The flow stands, but no answer came in time."""
    CONFIGURATION = 17
    """A local file, key or environment variable cannot be used."""
    FLOW_LOST = 18
    """The flow broke after TLS: closed, reset, or what came on it is not SIP."""
    RUN_FAILED = 20
    """A load run missed a threshold of its plan, or lost a worker."""
    SATURATED = 21
    """The load generator itself was the limit: the run proves nothing about the server."""
    DEFECT = 70
    """sipsua itself is wrong."""
    INTERRUPTED = 130


class UsageError(Misuse):
    """The command line asks for what cannot be."""


class RunFailed(SipsuaError):
    """A load run was done, and has not passed."""


class GeneratorSaturated(SipsuaError):
    """A load run was done, and says more about this machine than about the server."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command did not do what it was asked to."""

    code: ExitCode
    what: str
    """The cause, in one line of printable characters; several mistakes in files have a line each."""
    fix: str
    """The remedy, likewise."""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """What an error means to whoever started the command."""
        if isinstance(error, KeyboardInterrupt):
            return cls(ExitCode.INTERRUPTED, "interrupted", "start it again")
        if isinstance(error, SipsuaError):
            if isinstance(error, CertificateRefused) and error.verdict.name_only:
                code, fix = ExitCode.NAME_REFUSED, "reach the server by a name in its certificate"
            else:
                code, fix = next((code, fix) for kind, code, fix in _TABLE if isinstance(error, kind))
            if code is not ExitCode.DEFECT:
                what = printable(error.what, lines=isinstance(error, BadLines))
                return cls(code, what, printable(_as_option(error.fix or fix)))
        return cls(ExitCode.DEFECT, f"sipsua itself is wrong: {type(error).__name__}: {printable(str(error))}", _REPORT)

    def as_json(self) -> dict[str, Any]:
        """The `error` field of a report."""
        return {"code": self.code.name.lower(), "what": self.what, "fix": self.fix}

    def __str__(self) -> str:
        """Two lines: the cause, and what to do about it. Mistakes in files have lines of their own, which editors can jump to."""
        count = self.what.count("\n") + 1
        what = self.what if count == 1 else f"{count} mistakes\n{self.what}"
        return f"sipsua: {what}\n   fix: {self.fix}"


def _as_option(words: str) -> str:
    """The rooms below name the fields of a policy that weaken it; whoever types a command knows them as options."""
    return re.sub(r"(?<![\w-])dangerous_\w+", lambda field: f"--{field[0].replace('_', '-')}", words)


_REPORT = "please report it, with what `SIPSUA_DEBUG=1` makes it print"

_TABLE: tuple[tuple[type[SipsuaError], ExitCode, str], ...] = (
    (UsageError, ExitCode.USAGE, "see --help"),
    (BadConfiguration, ExitCode.CONFIGURATION, "check the path, and what the file holds"),
    (Misuse, ExitCode.DEFECT, _REPORT),
    (CredentialsRefused, ExitCode.CREDENTIALS_REFUSED, "check user name and password"),
    (Refused, ExitCode.REFUSED, "see the registrar's log"),
    (Untrusted, ExitCode.CERTIFICATE_REFUSED, "give the certificate of the CA that signed it with --ca"),
    (Unreachable, ExitCode.UNREACHABLE, "check address and port, and that the server listens there"),
    (HandshakeFailed, ExitCode.HANDSHAKE_FAILED, "check that this is its TLS port, and look at its log"),
    (NoAnswer, ExitCode.NO_ANSWER, "see whether the server handles requests at all on this port"),
    (FlowLost, ExitCode.FLOW_LOST, "look at the server's log; --trace shows what was said until then"),
    (Lost, ExitCode.FLOW_LOST, "look at the server's log; --trace shows what was said until then"),
    (MalformedMessage, ExitCode.FLOW_LOST, "see that the port is one that speaks SIP over TLS"),
    (RunFailed, ExitCode.RUN_FAILED, "see the report"),
    (GeneratorSaturated, ExitCode.SATURATED, "start more workers, or fewer phones a second"),
    (SipsuaError, ExitCode.DEFECT, _REPORT),
)
"""Exit code, and the remedy where the error brings none, by the first class that fits."""
