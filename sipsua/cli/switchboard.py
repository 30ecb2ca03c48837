"""A pocket PBX that tells who comes and goes: what `sipsua pbx` runs.

It tells what an operator looks for while a phone is being set up: a registration and its TLS, a refusal and its status, a handshake that
failed and why. Challenges are the rule and not told.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from sipsua.cli.screen import Screen
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.message import Request
from sipsua.testing.pbx import PbxFlow, PocketPbx
from sipsua.testing.registrar import Users

_GRANTED = re.compile(rb"\r\nContact:[^\r\n]*;expires=([0-9]+)")


class Switchboard(PocketPbx):
    """The PBX, with a screen for what happens."""

    def __init__(self, users: Users, screen: Screen | None, **options: Any) -> None:
        """Tells nothing without a screen. `options` are those of PocketPbx."""
        super().__init__(users, **options)
        self._screen = screen
        self._end: asyncio.Future[None] | None = None
        self._bound: dict[PbxFlow, set[str]] = {}

    async def serve(self) -> None:
        """Serve until cancelled; the PBX must have been started. Raises BadConfiguration where the screen takes no more lines."""
        self._end = asyncio.get_running_loop().create_future()
        await self._end

    def answer(self, flow: PbxFlow, request: Request) -> bytes:
        answer = super().answer(flow, request)
        if self._screen is not None and answer and (status := int(answer[8:11])) != 401:
            try:
                user = request.to.uri.decoded_user or "?"
            except MalformedMessage:
                user = "?"
            host, port = flow.source
            where = f"from {host} port {port}, {flow.protocol}, {flow.cipher}"
            if request.method != "REGISTER" or status != 200:
                self._tell(user, request.method, f"answered {status},", where)
            elif granted := _GRANTED.search(answer):
                self._bound.setdefault(flow, set()).add(user)
                self._tell(user, ("registered", "good"), f"for {int(granted[1])} s,", where)
            else:
                self._bound.get(flow, set()).discard(user)
                self._tell(user, ("unregistered", "title"), where)
        return answer

    def forget(self, flow: PbxFlow) -> None:
        super().forget(flow)
        for user in sorted(self._bound.pop(flow, ())):
            self._tell(user, ("lost its flow", "weak"), "and with it the binding")
        while self.failures:
            self._tell(("failed", "bad"), self.failures.popleft())

    def _tell(self, *parts: Any) -> None:
        if self._screen is not None:
            try:
                self._screen.line(*parts, at=f"{datetime.now(UTC).astimezone():%H:%M:%S}")
            except BadConfiguration as error:
                if self._end is not None and not self._end.done():
                    self._end.set_exception(error)
