"""A call as a program holds it: dialled or taken, awaited, held, transferred, heard, and left.

    call = await ua.call("1001", record=True)
    await call.answered()
    await call.press("42#")
    await call.hang_up()
    print(call.quality.mos, call.lock.media)

What the other side does is awaited (`answered`, `ended`, `until`) or read (`state`, `keys`, `held_by_them`). A call that comes to nothing
raises why, as the account knows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sipsua.errors import Lost, Misuse, NoAnswer, SipsuaError
from sipsua.events import (
    CallAnswered,
    CallChangeRefused,
    CallDialled,
    CallDigits,
    CallEnded,
    CallEvent,
    CallHeard,
    CallHoldChanged,
    CallMedia,
    CallOffered,
    CallProgressed,
    CallTransferProgressed,
    EndedBy,
    Lock,
)
from sipsua.media.audio import Prepared, Recorder, Sink, Source
from sipsua.media.quality import Quality
from sipsua.net.line import Line

CHANGE_LIMIT = 40.0
"""Seconds that a change may take: a transaction's 32, and a wait after both sides have asked at once."""


class CallState(StrEnum):
    """Where a call stands, as a person would say it."""

    DIALLING = "dialling"
    RINGING = "ringing"
    """There, or here."""
    ANSWERED = "answered"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CallLock:
    """The two padlocks of a call."""

    signalling: Lock
    """That of the account, from here to its server."""
    media: bool
    """The voice is SRTP, both ways."""

    def as_json(self) -> dict[str, Any]:
        """`signalling` as `Lock.as_json`, and `media`."""
        return {"signalling": self.signalling.as_json(), "media": self.media}


class Call:
    """One call. Made by `UserAgent.call` and `UserAgent.incoming`."""

    def __init__(self, line: Line, event: CallDialled | CallOffered, recorder: Recorder | None = None) -> None:
        """Made of the event that began it."""
        self.number = event.call
        """In its account."""
        self.is_incoming = isinstance(event, CallOffered)
        self.uri = event.caller if isinstance(event, CallOffered) else event.uri
        """Of the other side."""
        self.offer = event if isinstance(event, CallOffered) else None
        """What a call that came in has said of itself."""
        self.state = CallState.RINGING if self.is_incoming else CallState.DIALLING
        self.status = 0
        """The last status that was told: 180 ringing, 200 answered, 486 busy ..."""
        self.recorder = recorder
        """What was heard, where it is recorded."""
        self.keys = ""
        """Keys that the other side has pressed, so far."""
        self.held_by_us = False
        self.held_by_them = False
        self.is_encrypted = False
        """The voice is SRTP, as agreed last."""
        self.heard = False
        """A packet of their voice has come."""
        self.end: CallEnded | None = None
        """How it ended; None while it has not."""
        self.successor: Call | None = None
        """The call that took this one's place: a transfer that we followed, or a call with Replaces."""
        self._line = line
        self._quality: Quality | None = None
        self._transfer: CallTransferProgressed | None = None
        self._refused: SipsuaError | None = None
        self._wakers: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<Call {self.number} {'from' if self.is_incoming else 'to'} {self.uri}: {self.state}>"

    @property
    def lock(self) -> CallLock:
        """The padlocks now."""
        return CallLock(self._line.account.lock, self.is_encrypted)

    @property
    def quality(self) -> Quality | None:
        """How it is heard, so far or in all; None before the voice began."""
        voice = self._line.desk.voice(self.number)
        return voice.quality if voice is not None else self._quality

    # What one does

    async def answer(
        self,
        *,
        source: Source | Prepared | None = None,
        sink: Sink | None = None,
        record: bool = False,
        silent: bool = False,
    ) -> None:
        """Answer, and wait until the caller has acknowledged it.

        `source` is played (silence where None); `sink` hears, or with `record` the `recorder`; `silent` sends and hears no packet.
        Raises Misuse where the call does not ring, and what ended it where it ends instead.
        """
        if record:
            self.recorder = Recorder()
        self._line.desk.answer(self.number, source=source, sink=sink or self.recorder, silent=silent)
        await self.answered()

    def ring(self, *, early: bool = False, source: Source | Prepared | None = None) -> None:
        """Tell the caller that it rings (180); `early`: with the voice (183). Raises Misuse where the call does not ring here."""
        self._line.desk.ring(self.number, early=early, source=source, sink=self.recorder)

    def reject(self, status: int = 486, *, contact: str | None = None) -> None:
        """Refuse the call: 486 busy, 480 not now, 603 declined, 302 with a `contact`. Raises Misuse where it does not ring here."""
        self._line.desk.reject(self.number, status, contact=contact)

    async def answered(self, within: float | None = None) -> None:
        """Wait until it is answered. Raises NoAnswer after `within` seconds, and what ended the call where it ended before."""
        await self._until(lambda: self.state is CallState.ANSWERED, within, "answered")

    async def ended(self, within: float | None = None) -> CallEnded:
        """Wait until it is over. Raises NoAnswer after `within` seconds."""
        await self._until(lambda: self.end is not None, within, "ended", over=True)
        assert self.end is not None
        return self.end

    async def until(self, condition: Callable[[Call], object], within: float | None = None) -> None:
        """Wait until something holds of the call: it is looked at after each of its events.

        Raises NoAnswer after `within` seconds, and what ended the call where it ended before.
        """
        await self._until(lambda: bool(condition(self)), within, "come so far")

    async def hang_up(self) -> CallEnded:
        """End it, wherever it stands, and wait for the other side's word; how it ended."""
        if self.end is None:
            self._line.desk.hang_up(self.number)
        return await self.ended()

    async def hold(self) -> None:
        """Hold it: the other side is to be silent. Raises what it was refused with."""
        await self._change(held=True)

    async def resume(self) -> None:
        """End the hold. Raises what it was refused with."""
        await self._change(held=False)

    def mute(self, *, muted: bool = True) -> None:
        """Send silence in place of the voice; the other side is told nothing."""
        voice = self._line.desk.voice(self.number)
        if voice is not None and voice.endpoint.stream is not None:
            voice.endpoint.stream.muted = muted

    async def press(self, keys: str, within: float = 30.0) -> None:
        """Press keys, and wait until they have gone. Raises BadConfiguration for what is none, Misuse where the call does not stand."""
        self._line.desk.press(self.number, keys)
        voice = self._line.desk.voice(self.number)
        stream = voice.endpoint.stream if voice is not None else None
        async with asyncio.timeout(within):
            while stream is not None and stream.is_pressing and self.end is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def transfer(self, to: str | Call, within: float | None = 180.0) -> None:
        """Have the other side call `to`; or join it with the other side of our call `to`, which ends then, too.

        Waits until the new call stands. Raises Lost with what was told where it does not come about, and NoAnswer after `within` seconds.
        """
        self._transfer = None
        if isinstance(to, Call):
            self._line.desk.transfer(self.number, to=to.number)
        else:
            self._line.desk.transfer(self.number, to)
        await self._until(lambda: self._told_of_transfer is not None, within, "transferred", over=True)
        told = self._told_of_transfer
        if told is None:
            raise Lost(
                "the call ended before the transfer was told of", fix="see whether the other side follows a REFER"
            )
        if told.status >= 300:
            raise Lost(
                f"the transfer failed: {told.status} {told.reason}", fix="see why the other side could not call there"
            )

    # What happens

    def take(self, event: CallEvent) -> None:
        """An event of this call; the user agent gives them."""
        match event:
            case CallProgressed():
                self.status = event.status
                if event.status > 100 and self.state is CallState.DIALLING:
                    self.state = CallState.RINGING
            case CallAnswered():
                self.status = 200
                self.state = CallState.ANSWERED
            case CallMedia():
                self.is_encrypted = event.agreed.encrypted
            case CallHeard():
                self.heard = True
            case CallDigits():
                self.keys += event.digits
            case CallHoldChanged():
                self.held_by_us, self.held_by_them = event.by_us, event.by_them
            case CallChangeRefused():
                self._refused = event.error
            case CallTransferProgressed():
                self._transfer = event
            case CallEnded():
                self.state = CallState.ENDED
                self.status = event.status
                self._quality = self.quality
                self.end = event
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)

    @property
    def _told_of_transfer(self) -> CallTransferProgressed | None:
        """The last word on the transfer that we have asked for."""
        return self._transfer if self._transfer is not None and self._transfer.final else None

    async def _change(self, *, held: bool) -> None:
        self._refused = None
        self._line.desk.hold(self.number, held=held)
        await self._until(
            lambda: self.held_by_us is held or self._refused is not None, CHANGE_LIMIT, "held" if held else "resumed"
        )
        if self._refused is not None:
            raise self._refused

    async def _until(
        self, condition: Callable[[], bool], within: float | None, what: str, *, over: bool = False
    ) -> None:
        """Wait for a condition; `over`: the end of the call ends the wait as well, and is no error."""
        try:
            async with asyncio.timeout(within):
                while not condition():
                    if self.end is not None:
                        if over:
                            return
                        raise self._why()
                    waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._wakers.add(waker)
                    try:
                        await waker
                    finally:
                        self._wakers.discard(waker)
        except TimeoutError:
            raise NoAnswer(
                f"the call with {self.uri} is not {what} within {within:g} s", fix="see its events for how far it came"
            ) from None

    def _why(self) -> SipsuaError:
        """What ended the call, as an error."""
        end = self.end
        assert end is not None
        if end.error is not None:
            return end.error
        if end.by is EndedBy.US:
            return Misuse("the call was ended here", fix="await what is wanted before hanging up")
        return Lost(f"{self.uri} has ended the call: {end.reason}", fix="ask there why")
