"""Who comes to the port where the phone listens, told on a screen: what `sipsua register --listen` adds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from sipsua.cli.screen import Screen
from sipsua.errors import BadConfiguration
from sipsua.events import Event, InboundClosed, InboundFailed, InboundOpened, InboundRefused
from sipsua.trust.verdict import ALERT_NAMES, CertificateRefused


class Doorbell:
    """The sink of a listener."""

    def __init__(self, screen: Screen, task: asyncio.Task[object]) -> None:
        """`task` is cancelled where the screen takes no more lines; `check` then says why."""
        self._screen = screen
        self._task = task
        self._error: BadConfiguration | None = None

    def ring(self, event: Event) -> None:
        """Show one event of the listener."""
        try:
            self._show(event)
        except BadConfiguration as error:
            # It is raised where nobody can catch it, in the midst of a client's connection.
            if self._error is None:
                self._task.cancel()
            self._error = error

    def check(self) -> None:
        """Raise what the screen had against a line."""
        if self._error is not None:
            raise self._error

    def _show(self, event: Event) -> None:
        line, at = self._screen.line, f"{datetime.now(UTC).astimezone():%H:%M:%S}"
        match event:
            case InboundOpened(peer, protocol, cipher, certificate):
                shown = f"it showed {certificate.subject}" if certificate is not None else "no certificate asked for"
                line(("client", "title"), f"{peer} connected: {protocol}, {cipher}, {shown}", at=at)
            case InboundFailed(peer, error):
                refused = isinstance(error, CertificateRefused)
                what = "its certificate was refused" if refused else error.what.replace(peer, "it", 1)
                if (alert := error.alert) is not None:
                    what += f"; it was sent the alert {ALERT_NAMES.get(alert, 'unknown')} ({alert})"
                line(("client", "bad"), f"{peer}: {what}", at=at)
                if isinstance(error, CertificateRefused):
                    self._screen.verdict(error.verdict, indent=2)
                elif error.fix:
                    line(("fix", "dim"), error.fix, indent=2)
            case InboundClosed(peer, reason):
                line(("client", "title"), f"{peer} is gone: {reason}", at=at)
            case InboundRefused(reason, fix):
                line(("clients turned away:", "bad"), reason, at=at)
                line(("fix", "dim"), fix, indent=2)
            case _:
                pass
