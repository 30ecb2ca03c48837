"""One bad server under a person's eyes: what it is, what a good phone makes of it, and what the phone that came made of it.

The server works in threads of its own and tells when a connection has ended or registered; here that is put into words, in the order in
which it happened.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sipsua.cli.screen import Screen, Tone
from sipsua.errors import BadConfiguration
from sipsua.testing.bad_case import Case, Must, Site
from sipsua.testing.bad_servers import CASES, BadServer, ClientFiles
from sipsua.testing.visit import Progress, Visit

Words = tuple[str, Tone]

WIDTH = max(map(len, CASES))
"""Letters of the longest name of a case."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A bad server that is to run."""

    case: Case
    site: Site
    host: str
    port: int
    password: str | None
    write: str | None
    """The directory for the files of the phone; None: one that is removed at the end."""

    async def run(self, screen: Screen) -> None:
        """Run it until cancelled. Raises BadConfiguration where it cannot listen or write."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        news: deque[tuple[Visit, bool]] = deque()

        def note(visit: Visit) -> None:
            news.append((visit, visit.over))
            loop.call_soon_threadsafe(changed.set)

        server = BadServer(self.case, site=self.site, host=self.host, port=self.port, password=self.password, told=note)
        try:
            with ExitStack() as stack:
                if self.write is None:
                    directory = Path(stack.enter_context(TemporaryDirectory(prefix="sipsua-bad-pbx-")))
                else:
                    directory = Path(self.write)
                files = _written(server, directory)
                stack.enter_context(server)
                self._introduce(screen, server, files)
                while True:
                    await changed.wait()
                    changed.clear()
                    while news:
                        _tell(screen, self.case.must, *news.popleft())
        except asyncio.CancelledError:
            while news:  # the connections that the end has ended
                _tell(screen, self.case.must, *news.popleft())
            raise

    def _introduce(self, screen: Screen, server: BadServer, files: ClientFiles) -> None:
        kept = "" if self.write is not None else " (removed at the end)"
        screen.line(
            (f"bad PBX {self.case.name}", "title"),
            f"on {server.host} port {server.port}, until Ctrl-C: {self.case.what}",
        )
        screen.line(("name", "dim"), f"       {server.setup.reference}: what the phone has to ask for", indent=2)
        screen.line(("good phone", "dim"), f" {expectation(self.case.must)}", indent=2)
        screen.line(("CA", "dim"), f"         {files.ca}{kept}", indent=2)
        if files.crl is not None:
            screen.line(("CRL", "dim"), f"        {files.crl}{kept}", indent=2)
        if files.certificate is not None:
            screen.line(("to show", "dim"), f"    {files.certificate}, key {files.key}{kept}", indent=2)
        if self.case.wishes:
            settings = ", ".join(f"{field} {str(value).lower()}" for field, value in self.case.wishes.items())
            screen.line(("settings", "dim"), f"   {settings}", indent=2)
        screen.line(
            ("to try it", "dim"), f"  {command(server, files, needs_password=self.password is not None)}", indent=2
        )


def command(server: BadServer, files: ClientFiles, *, needs_password: bool) -> str:
    """The `sipsua register` that tries a server."""
    words = ["sipsua", "register", server.uri(), "--ca", str(files.ca)]
    if files.crl is not None:
        words += ["--crl", str(files.crl)]
    if files.certificate is not None:
        words += ["--cert", str(files.certificate), "--key", str(files.key)]
    for field, value in server.case.wishes.items():
        # The options have the names of the policy's fields.
        words += [f"--{field.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words) + (" --password PASSWORD" if needs_password else "")


def list_cases(screen: Screen) -> None:
    """All cases: name, what is wrong, what a good phone does."""
    kind = None
    for case in CASES.values():
        if case.kind is not kind:
            kind = case.kind
            screen.line((str(kind), "title"))
        screen.line((f"{case.name:{WIDTH}}", "dim"), case.what, indent=2)
        screen.line("a good phone", expectation(case.must), indent=WIDTH + 3)
    screen.line((f"{len(CASES)} cases", "title"))


def expectation(must: Must) -> str:
    """What a good phone does, after "a good phone"."""
    codes = " or ".join(map(str, must.exit_codes))
    alert = f", and sends the alert {must.alert}" if must.alert not in (None, "close_notify") else ""
    if must.registers:
        words = "registers"
        if must.warnings:
            words += f", and warns of {', '.join(sorted(must.warnings))}"
    elif must.problems:
        words = f"refuses the certificate ({', '.join(sorted(must.problems))}){alert}"
    elif must.locks:
        words = f"gives the connection up after the handshake{alert}"
    else:
        words = f"fails in the handshake{alert}"
    return f"{words} (sipsua ends with {codes})"


def judgement(must: Must, progress: Progress) -> Words:
    """Whether a phone that came so far made of a server what it should."""
    if must.registers:
        return ("right", "good") if progress is Progress.REGISTERED else ("WRONG: it should register", "bad")
    if progress is Progress.REGISTERED:
        return "WRONG: it should refuse", "bad"
    if progress is Progress.HANDSHAKE and not must.locks:
        return "LATE: it should refuse in the handshake", "weak"
    return "right", "good"


def _tell(screen: Screen, must: Must, visit: Visit, over: bool) -> None:
    """One line for a connection that has registered or ended."""
    came = _CAME[visit.progress]
    if not over:
        screen.line(_whence(visit), "registered,", judgement(must, Progress.REGISTERED), at=_clock())
        return
    if visit.progress is Progress.HELLO and visit.alert is None and visit.fault:
        came = f"was refused by this side ({visit.fault})"
    left = {"open": "stayed until the end", "closed": "closed the connection", "reset": "reset the connection"}[
        visit.ended
    ]
    alert = f", sent the alert {visit.alert}" if visit.alert is not None else ""
    screen.line(_whence(visit), f"{came}{alert}, {left}:", judgement(must, visit.progress), at=_clock())


def _whence(visit: Visit) -> str:
    host, port = visit.source
    return f"from {host} port {port}:"


def _written(server: BadServer, directory: Path) -> ClientFiles:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return server.write(directory)
    except (OSError, ValueError) as error:
        raise BadConfiguration(
            f"cannot write to {directory}: {getattr(error, 'strerror', None) or 'not a usable path'}",
            fix="choose with --write a directory that can be written to",
        ) from None


def _clock() -> str:
    return f"{datetime.now(UTC).astimezone():%H:%M:%S}"


_CAME = {
    Progress.CONNECTED: "sent no TLS",
    Progress.HELLO: "did not finish the handshake",
    Progress.HANDSHAKE: "finished the handshake and did not register",
    Progress.REGISTERED: "registered and left",
}
