"""The calls of one line on the wire: each with its voice, made and taken by a user, and what the other side may ask of both.

A line is what is registered; its desk is where somebody sits and calls. What the account tells of a call passes here first, so that the
voice begins, changes and ends with it, before the line's sink is told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sipsua.account.account import Account
from sipsua.account.call_config import DigitsBy
from sipsua.errors import Misuse, SipsuaError
from sipsua.events import CallEnded, CallEvent, CallMedia, CallOffered, CallTransferAsked, Event, MessageDropped
from sipsua.media.audio import Prepared, Sink, Source
from sipsua.media.dtmf import INFO, info_body
from sipsua.net.connect import Connector
from sipsua.net.voice import Voice


class Desk:
    """The calls of one line."""

    __slots__ = ("_account", "_connector", "_pump", "_tell", "_voices")

    def __init__(
        self, account: Account, connector: Connector, tell: Callable[[Event], None], pump: Callable[[], None]
    ) -> None:
        self._account = account
        self._connector = connector
        self._tell = tell
        self._pump = pump
        self._voices: dict[int, Voice] = {}

    def take_calls(self) -> None:
        """From now on calls ring, and `answer` or `reject` is wanted; before, they are refused."""
        self._account.calls.taken = True

    def dial(
        self,
        uri: str,
        *,
        source: Source | Prepared | None = None,
        sink: Sink | None = None,
        silent: bool = False,
    ) -> int:
        """Call somebody; the number of the call. `source` is played, `sink` hears; `silent`: no packet goes either way.

        Raises Misuse without a flow or for one call too many, BadConfiguration for what cannot be called, Unreachable without ports.
        """
        voice = self._voice(source, sink, silent)
        try:
            call = self._account.calls.dial(uri, voice.address, self._connector.now())
        except BaseException:
            voice.close()
            raise
        self._keep(call.number, voice)
        self._pump()
        return call.number

    def ring(
        self,
        number: int,
        *,
        early: bool = False,
        source: Source | Prepared | None = None,
        sink: Sink | None = None,
    ) -> None:
        """Tell the caller that it rings; `early`: and let it hear `source` already. Raises Misuse where it does not ring."""
        call = self._account.calls[number]
        address = None
        if early:
            address = self._voice_of(number, source, sink, silent=False).address
        call.ring(self._connector.now(), address)
        self._pump()

    def answer(
        self,
        number: int,
        *,
        source: Source | Prepared | None = None,
        sink: Sink | None = None,
        silent: bool = False,
    ) -> None:
        """Answer a call that rings. Raises Misuse where it does not, Rejected where there is no common ground for the voice."""
        call = self._account.calls[number]
        if not call.rings:
            raise Misuse(f"call {number} does not ring: it is {call.state}", fix="answer a call once, while it rings")
        voice = self._voice_of(number, source, sink, silent=silent)
        try:
            call.answer(voice.address, self._connector.now())
        finally:
            self._pump()

    def reject(self, number: int, status: int = 486, *, contact: str | None = None) -> None:
        """Refuse a call that rings; `contact` is where a 3xx sends it. Raises Misuse where it does not ring."""
        extra = [("Contact", f"<{contact}>")] if contact is not None else []
        self._account.calls[number].reject(status, self._connector.now(), extra=extra)
        self._pump()

    def hang_up(self, number: int) -> None:
        """End a call, wherever it stands. Raises Misuse where it is over."""
        self._account.calls[number].hang_up(self._connector.now())
        self._pump()

    def hang_up_all(self) -> None:
        """End all calls."""
        if self._account.has_calls:
            for call in self._account.calls:
                call.hang_up(self._connector.now())
            self._pump()

    def hold(self, number: int, *, held: bool = True) -> None:
        """Hold a call, or resume it. Raises Misuse where it does not stand."""
        changes = self._account.calls[number].changes
        (changes.hold if held else changes.resume)(self._connector.now())
        self._pump()

    def transfer(self, number: int, uri: str = "", *, to: int | None = None) -> None:
        """Ask the other side of a call to call `uri`, or to join the other side of our call `to`. Raises Misuse where that cannot be."""
        other = self._account.calls[to] if to is not None else None
        self._account.calls[number].transfers.transfer(uri, self._connector.now(), other)
        self._pump()

    def press(self, number: int, keys: str) -> None:
        """Press keys: as events in the stream where that was agreed, else by SIP INFO. Raises Misuse where the call does not stand."""
        call = self._account.calls[number]
        voice = self._voices.get(number)
        stream = voice.endpoint.stream if voice is not None else None
        if call.config.digits is DigitsBy.RTP and stream is not None and stream.sends_keys:
            stream.press(keys)
            return
        for key in keys:
            call.send_info(info_body(key), INFO, self._connector.now())
        self._pump()

    def voice(self, number: int) -> Voice | None:
        """The voice of a call; None where it has none, or is over."""
        return self._voices.get(number)

    def _voice(self, source: Source | Prepared | None, sink: Sink | None, silent: bool) -> Voice:
        endpoint = self._connector.media.open(self._account.host)
        return Voice(endpoint, self._tell, source=source, sink=sink, mute=silent)

    def _voice_of(self, number: int, source: Source | Prepared | None, sink: Sink | None, *, silent: bool) -> Voice:
        """The voice of a call that came in: the one that is heard early already, or a new one."""
        voice = self._voices.get(number)
        if voice is None:
            voice = self._voice(source, sink, silent)
            self._keep(number, voice)
        return voice

    def _keep(self, number: int, voice: Voice) -> None:
        voice.call = number
        self._voices[number] = voice

    def take(self, event: CallEvent) -> None:
        """An event of a call: the voice first, then the sink."""
        self._heed(event)
        self._tell(event)
        if isinstance(event, CallEnded) and (voice := self._voices.pop(event.call, None)) is not None:
            voice.close()

    def _heed(self, event: CallEvent) -> None:
        if isinstance(event, CallMedia):
            voice = self._voices.get(event.call)
            if voice is not None:
                voice.take(event.agreed)
        elif isinstance(event, CallOffered) and event.replaces is not None:
            before = self._voices.get(event.replaces)
            source, sink = before.give_away() if before is not None else (None, None)
            self._take_over(partial(self.answer, event.call, source=source, sink=sink))
        elif isinstance(event, CallTransferAsked):
            self._take_over(partial(self._follow, event.call))

    def _take_over(self, act: Callable[[], None]) -> None:
        """Do what the other side asks of us; where it cannot be done the call goes on as it was."""
        try:
            act()
        except SipsuaError as error:
            self._tell(MessageDropped(f"what the other side asked for cannot be done: {error}"))

    def _follow(self, number: int) -> None:
        """Call whom the other side of a call wants us to call, with the voice of that call."""
        call = self._account.calls[number]
        before = self._voices.get(number)
        voice = self._voice(None, None, silent=before is not None and before.is_mute)
        now = self._connector.now()
        try:
            followed = self._account.calls.follow(call, voice.address, now)
        except BaseException:
            voice.close()
            call.transfers.decline(now)
            raise
        if before is not None:
            voice.source, voice.sink = before.give_away()
        self._keep(followed.number, voice)
