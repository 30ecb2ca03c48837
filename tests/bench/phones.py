"""Phones for benches: lines on one connector, counted by one sink."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from sipsua.account.config import AccountConfig, Limits
from sipsua.account.persona import GENERIC, Persona
from sipsua.events import Event
from sipsua.net.connect import Connector
from sipsua.net.line import Line
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.store import TrustList

PASSWORD = "bench"
LIMITS = Limits(connect=30, handshake=30, close=10)


def cpu(who: int = resource.RUSAGE_SELF) -> float:
    """Seconds of user and system time."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def users(count: int) -> dict[str, str]:
    """User names and passwords."""
    return {str(100000 + index): PASSWORD for index in range(count)}


def policy(ca_pem: bytes, version: TlsVersion | None = None) -> Policy:
    """Strict; one version, or all."""
    anchors = TrustList.from_pem(ca_pem)
    return Policy(anchors=anchors, minimum=version, maximum=version) if version else Policy(anchors=anchors)


class Phones:
    """So many phones, each on its own flow."""

    def __init__(
        self,
        count: int,
        port: int,
        trust: Policy,
        *,
        in_flight: int = 32,
        persona: Persona = GENERIC,
        expires: int = 3600,
    ) -> None:
        self.count = count
        self.seen: Counter[type[Event]] = Counter()
        self.failures: Counter[str] = Counter()
        self.connector = Connector(in_flight=in_flight)
        self._awaited: tuple[type[Event], int, asyncio.Future[None]] | None = None
        self.lines = [
            Line(
                AccountConfig(
                    uri=f"sips:{user}@127.0.0.1:{port}",
                    password=password,
                    policy=trust,
                    limits=LIMITS,
                    persona=persona,
                    expires=expires,
                ),
                self.connector,
                self._take,
            )
            for user, password in users(count).items()
        ]

    def _take(self, event: Event) -> None:
        kind = type(event)
        self.seen[kind] += 1
        error = getattr(event, "error", None)
        if error is not None:
            self.failures[str(error)] += 1
        awaited = self._awaited
        if awaited is not None and awaited[0] is kind and self.seen[kind] >= awaited[1] and not awaited[2].done():
            awaited[2].set_result(None)

    async def until(self, kind: type[Event], count: int, within: float = 120.0) -> None:
        """Wait until so many events of a kind have come."""
        if self.seen[kind] < count:
            self._awaited = (kind, count, self.connector.loop.create_future())
            async with asyncio.timeout(within):
                await self._awaited[2]

    async def close(self) -> None:
        """All leave."""
        await asyncio.gather(*(line.close() for line in self.lines))


def run(main: Callable[[], Coroutine[Any, Any, Any]], *, fast: bool) -> Any:
    """Run on uvloop (`fast`, the extra `sipsua[speed]`) or on asyncio's own loop."""
    if fast:
        import uvloop

        return uvloop.run(main())
    return asyncio.run(main())
