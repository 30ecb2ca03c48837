"""The voice of one call on the wire: an endpoint, what it plays, what hears it, and what is told of it to the account's sink.

The account agrees, this carries it out. A call may go without a voice, for load that is about signalling alone: then it says where it would
be, and nothing is sent or heard there.
"""

from __future__ import annotations

from collections.abc import Callable

from sipsua.events import CallDigits, CallHeard, Event
from sipsua.media.audio import Nothing, Prepared, Silence, Sink, Source
from sipsua.media.offer import Address, Agreed
from sipsua.media.quality import Quality
from sipsua.net.media import Endpoint


class Voice:
    """One call's voice. Itself the stream's listener."""

    def __init__(
        self,
        endpoint: Endpoint,
        tell: Callable[[Event], None],
        *,
        source: Source | Prepared | None = None,
        sink: Sink | None = None,
        mute: bool = False,
    ) -> None:
        """`source` is played (silence where None), `sink` hears; `mute`: no packet at all is sent or read."""
        self.endpoint = endpoint
        self.call = 0
        """Number of the call."""
        self.source: Source | Prepared = source or Silence()
        self.sink: Sink = sink or Nothing()
        self.last: Quality | None = None
        """The numbers, once it is over."""
        self._tell = tell
        self._mute = mute

    @property
    def is_mute(self) -> bool:
        """No packet is sent or read."""
        return self._mute

    @property
    def address(self) -> Address:
        """Where it is."""
        return self.endpoint.address

    @property
    def quality(self) -> Quality | None:
        """The numbers so far; None before anything was agreed."""
        return self.last or self.endpoint.quality()

    def take(self, agreed: Agreed) -> None:
        """What was agreed begins, or changes."""
        if self._mute:
            return
        if self.endpoint.stream is None:
            self.endpoint.start(agreed, self.source, self.sink, self)
        else:
            self.endpoint.update(agreed)

    def give_away(self) -> tuple[Source | Prepared, Sink]:
        """Hand source and sink to the call that takes this one's place."""
        given = self.source, self.sink
        self.source, self.sink = Silence(), Nothing()
        if self.endpoint.stream is not None:
            self.endpoint.stream.source, self.endpoint.stream.sink = self.source, self.sink
        return given

    def close(self) -> None:
        """The call is over."""
        self.last = self.endpoint.quality()
        self.endpoint.close()

    # The stream's listener

    def key_heard(self, key: str) -> None:
        self._tell(CallDigits(self.call, key, by_info=False))

    def voice_heard(self) -> None:
        self._tell(CallHeard(self.call))
