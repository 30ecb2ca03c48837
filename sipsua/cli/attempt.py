"""One registration under a person's eyes: made, shown as it happens, held for a while, left.

Here a command's wishes meet the user agent. Each event goes to the report first and then to the screen, so what a person reads and what
`--json` says are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from sipsua.account.config import AccountConfig
from sipsua.cli.doorbell import Doorbell
from sipsua.cli.report import Report
from sipsua.cli.screen import Screen
from sipsua.errors import BadConfiguration, HandshakeFailed, NoAnswer, Unreachable
from sipsua.events import (
    Event,
    FlowClosed,
    FlowFailed,
    FlowOpened,
    HandshakeStepped,
    LockChanged,
    LockState,
    MessageDropped,
    Registered,
    RegistrationFailed,
    RequestAnswered,
    Unregistered,
)
from sipsua.net.connect import Connector
from sipsua.net.flow import Tap
from sipsua.net.listen import Listener
from sipsua.trust.policy import TlsVersion
from sipsua.trust.verdict import CertificateRefused
from sipsua.ua.user_agent import UserAgent


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is to be done with one account."""

    config: AccountConfig
    timeout: float
    """Seconds until the registration must stand."""
    keep: float = 0.0
    """Seconds to stay registered."""
    listen: int | None = None
    """Port where the phone takes connections, with the certificate of the account's policy; 0 takes a free one."""
    demand_certificate: bool = False
    """Whether clients must show a certificate that the account's trust list accepts."""
    tap: Tap | None = None
    keylog: Callable[[bytes], None] | None = None

    async def run(self, report: Report, screen: Screen) -> None:
        """Do it. Raises what went wrong, after leaving in good order; so does being cancelled."""
        task = asyncio.current_task()
        assert task is not None
        doorbell = Doorbell(screen, task)
        listener = self._listener(doorbell)
        connector = Connector(tap=self.tap, keylog=self.keylog)
        ua = UserAgent(self.config, connector=connector, listener=listener, steps=True)
        last: list[RegistrationFailed] = []
        hopeless = asyncio.Event()

        async def follow() -> None:
            async for event in ua.events():
                report.take(event)
                try:
                    self._show(event, report, screen)
                except BadConfiguration:
                    # Nobody can see what happens: leave, and then say so.
                    task.cancel()
                    raise
                if isinstance(event, RegistrationFailed):
                    last[:] = [event]
                    if event.retry_in is None:
                        hopeless.set()

        watcher: asyncio.Task[None] | None = None
        try:
            async with listener or nullcontext(), ua:
                # It is the first in the loop's queue, so it listens before anything happens.
                watcher = asyncio.create_task(follow())
                try:
                    if listener is not None:
                        screen.line(
                            ("listening", "title"),
                            f"on port {listener.port} as {listener.identity.subject}",
                            at=_clock(),
                        )
                    await self._register(ua, report)
                    if self.keep:
                        try:
                            async with asyncio.timeout(self.keep):
                                await hopeless.wait()
                        except TimeoutError:
                            pass
                        if ua.binding is None and last:
                            error, retry_in = last[0].error, last[0].retry_in
                            if retry_in is not None:
                                error.what += (
                                    f"; not registered again within --keep of {self.keep:g} s, "
                                    f"the next attempt was to come {retry_in:.0f} s after the last"
                                )
                            raise error
                finally:
                    report.leave(ua.lock)
        finally:
            if watcher is not None:
                await watcher
            doorbell.check()

    def _listener(self, doorbell: Doorbell) -> Listener | None:
        policy = self.config.policy
        if self.listen is None or policy.identity is None:
            return None
        anchors = policy.anchors if self.demand_certificate else None
        return Listener(
            policy.identity,
            port=self.listen,
            client_anchors=anchors,
            # However old the server is that the phone is to be tried against, callers get nothing below 1.2.
            minimum=max(policy.minimum, TlsVersion.TLS1_2),
            maximum=max(policy.maximum, TlsVersion.TLS1_2),
            sink=doorbell.ring,
            tap=self.tap,
        )

    async def _register(self, ua: UserAgent, report: Report) -> None:
        """Register. Which step hung when the time was over is told by the padlock."""
        try:
            await ua.register(self.timeout)
        except NoAnswer as error:
            target, within = self.config.target, f"within {self.timeout:g} s"
            if ua.lock.state in (LockState.NEGOTIATING, LockState.REFUSED):
                raise HandshakeFailed(
                    f"{target} did not finish the TLS handshake {within}",
                    fix="check that this is its TLS port; a server that is silent here waits for something else than TLS",
                ) from None
            if ua.lock.locked:
                raise NoAnswer(
                    f"{target} did not answer REGISTER {within}",
                    fix="see with --trace what was said, and whether the server handles requests at all on this port",
                ) from None
            if report.connected:
                raise error
            raise Unreachable(
                f"no TCP connection to {target} {within}",
                fix="check name, address and port, and whether a firewall drops the packets",
            ) from None

    def _show(self, event: Event, report: Report, screen: Screen) -> None:
        match event:
            case LockChanged(lock) if lock.state is LockState.NEGOTIATING:
                screen.line(("handshake", "title"), f"with {self.config.target}")
            case HandshakeStepped(step, at_ms):
                screen.line(f"{at_ms:7.1f} ms  {step}", indent=2)
            case FlowOpened(verdict):
                screen.chain(verdict)
                screen.verdict(verdict)
                screen.padlock(report.lock)
                screen.session(report.lock, verdict)
            case FlowFailed(error):
                if isinstance(error, CertificateRefused):
                    screen.chain(error.verdict)
                    screen.verdict(error.verdict)
                screen.padlock(report.lock)
            case Registered(refreshed=refreshed):
                screen.binding(event, at=_clock() if refreshed else "")
            case RegistrationFailed(error, retry_in) if retry_in is not None and report.binding is not None:
                screen.line(("not registered:", "bad"), f"{error.what}; next attempt in {retry_in:.0f} s", at=_clock())
            case FlowClosed(reason) if not report.leaving:
                screen.line("flow closed:", reason, at=_clock())
            case Unregistered(status) if status is not None or report.lock.locked:
                answer = f"the registrar answered {status}" if status is not None else "without an answer"
                screen.line(("unregistered", "title"), answer)
            case RequestAnswered(method, status, source):
                screen.line(source or "the server", "sent", method, f"and got {status}", at=_clock())
            case MessageDropped(reason):
                screen.line("dropped what the server sent:", reason, at=_clock())
            case _:
                pass


def _clock() -> str:
    return f"{datetime.now(UTC).astimezone():%H:%M:%S}"
