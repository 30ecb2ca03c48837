"""The phone's display for a terminal: padlock, certificates, verdict and binding as lines of text.

On a terminal the lines have colours and a real padlock; elsewhere they are the same lines without colour, one fact a line, none of them
wrapped, so that `grep` finds what a person saw. A terminal that cannot show a padlock gets one of ASCII.
"""

from __future__ import annotations

import codecs
import sys
from datetime import UTC, datetime
from typing import Literal

from rich.console import Console
from rich.text import Text

from sipsua.errors import printable
from sipsua.events import Lock, LockState, Registered
from sipsua.trust.verdict import Certificate, Problem, Verdict

Tone = Literal["good", "bad", "weak", "dim", "title", ""]
"""What a piece of text means; its colour follows from that."""


class Screen:
    """Lines for one output."""

    def __init__(self, stream: Literal["stdout", "stderr"] = "stdout") -> None:
        file = sys.stdout if stream == "stdout" else sys.stderr
        self._console = Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)
        try:
            self._unicode = codecs.lookup(file.encoding or "ascii").name.startswith("utf")
        except LookupError:
            self._unicode = False

    def line(self, *parts: str | tuple[str, Tone], indent: int = 0, at: str = "") -> None:
        """One line of pieces with a space between, after the time of day `at`; what cannot be printed in them is escaped."""
        text = Text(" " * indent)
        if at:
            text.append(f"{at} ", _STYLES["dim"])
        for number, part in enumerate(parts):
            words, tone = part if isinstance(part, tuple) else (part, "")
            text.append(" " if number else "").append(printable(words), _STYLES[tone])
        text.rstrip()
        self._console.print(text)

    def blank(self) -> None:
        """An empty line."""
        self._console.print()

    def padlock(self, lock: Lock, *after: str | tuple[str, Tone]) -> None:
        """The padlock with its words, and what is to stand beside it."""
        sign = (_SIGNS if self._unicode else _ASCII_SIGNS)[lock.state]
        tone: Tone = "bad" if lock.state is LockState.REFUSED else "weak"
        if lock.locked and lock.verified:
            tone = "good"
        words = f"{sign} {lock.state}"
        if lock.locked and not lock.verified:
            words += ", NOT VERIFIED: any certificate was accepted"
        self.line((words, tone), *after)

    def session(self, lock: Lock, verdict: Verdict, indent: int = 2) -> None:
        """What a closed padlock stands for."""
        how = f"  {lock.protocol}, {lock.cipher}, {lock.group or 'no group'}"
        if lock.resumed:
            how += ", session resumed: the verdict is that of the handshake before"
        self.line(("protocol", "dim"), how, indent=indent)
        self.line(("server", "dim"), f"    {lock.server_name} at {lock.peer}", indent=indent)
        anchor = f"{lock.anchor} ({lock.anchor_list} list)" if lock.anchor else "none"
        self.line(("anchor", "dim"), f"    {anchor}", indent=indent)
        if verdict.chain:
            until = f"    its certificate expires {verdict.chain[0].not_after:%Y-%m-%d %H:%M} UTC"
            self.line(("expiry", "dim"), until, indent=indent)

    def chain(self, verdict: Verdict) -> None:
        """The certificates, leaf first."""
        now = datetime.now(UTC)
        for index, certificate in enumerate(verdict.chain):
            self.certificate(certificate, now, (f"certificate {index}", "title"), certificate.subject)

    def certificate(self, certificate: Certificate, now: datetime, *title: str | tuple[str, Tone]) -> None:
        """A certificate under its title."""
        left = (certificate.not_after - now).days
        whose = "expired" if certificate.not_after < now else f"{left} days left"
        if certificate.not_before > now:
            whose = "not valid yet"
        self.line(*title)
        self.line(("issuer", "dim"), f"  {certificate.issuer}", indent=2)
        self.line(("names", "dim"), f"   {', '.join(certificate.names) or 'none'}", indent=2)
        valid = f"   {certificate.not_before:%Y-%m-%d %H:%M} to {certificate.not_after:%Y-%m-%d %H:%M} UTC, {whose}"
        self.line(("valid", "dim"), valid, indent=2)
        self.line(("key", "dim"), f"     {certificate.key}, {certificate.signature}", indent=2)
        self.line(("sha256", "dim"), f"  {certificate.fingerprint}", indent=2)

    def verdict(self, verdict: Verdict, indent: int = 0) -> None:
        """Accepted or refused, by which policy, and everything that is wrong, or worth a warning."""
        words: str = "accepted" if verdict.accepted else "refused"
        tone: Tone = "good" if verdict.accepted else "bad"
        if verdict.accepted and not verdict.verified:
            words, tone = "accepted without verification", "weak"
        self.line(("verdict", "title"), (words, tone), f"for {verdict.reference} ({verdict.policy})", indent=indent)
        marked: list[tuple[Problem, Tone, str]] = [(problem, tone, "") for problem in verdict.problems]
        marked += [(warning, "weak", ", a warning") for warning in verdict.warnings]
        for problem, tone, mark in marked:
            self.line((problem.code, tone), f"in certificate {problem.index}{mark}", indent=indent + 2)
            self.line(("seen", "dim"), f"  {problem.evidence}", indent=indent + 4)
            self.line(("rule", "dim"), f"  {problem.rule}", indent=indent + 4)
            self.line(("fix", "dim"), f"   {problem.fix}", indent=indent + 4)

    def binding(self, event: Registered, indent: int = 0, at: str = "") -> None:
        """What the registrar granted."""
        self.line(
            ("registered" if not event.refreshed else "refreshed", "good"),
            f"{event.status} {event.reason}: expires in {event.expires} s, refresh in {event.refresh_in:.0f} s",
            indent=indent,
            at=at,
        )


_STYLES: dict[Tone, str] = {
    "good": "bold green",
    "bad": "bold red",
    "weak": "bold yellow",
    "dim": "cyan",
    "title": "bold",
    "": "",
}

_SIGNS = {
    LockState.OPEN: "\N{OPEN LOCK}",
    LockState.NEGOTIATING: "\N{OPEN LOCK}",
    LockState.LOCKED: "\N{LOCK}",
    LockState.REFUSED: "\N{OPEN LOCK}",
}
_ASCII_SIGNS = {
    LockState.OPEN: "[ ]",
    LockState.NEGOTIATING: "[.]",
    LockState.LOCKED: "[#]",
    LockState.REFUSED: "[x]",
}
