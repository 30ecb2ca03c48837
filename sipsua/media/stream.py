"""The voice of one call: packets out by the clock, packets in as they come; RTP, SRTP, RTCP, keys, whole, without a socket.

Packets go out on a schedule that was fixed when the stream began, so that a sender that was held up says so (`late_ticks`) and does not
drift. What comes is unprotected, counted, put in order and heard once each packet time. The door gives `receive` what it reads off the
sockets, calls `handle_timer` at `deadline`, and sends what `send` is given.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from sipsua.media import dtmf, rtcp, rtp
from sipsua.media.audio import Nothing, Prepared, Sink, Source
from sipsua.media.codecs import Coder, coder
from sipsua.media.jitter import JitterBuffer
from sipsua.media.offer import Agreed
from sipsua.media.quality import Quality
from sipsua.media.srtp import Discard, Protection

CLOCK = 8000
"""Units of the timestamps a second, of all codecs that we speak."""
MAX_BURST = 5
"""Packets that are sent at once after a hold-up, at the most: the rest of the time is left out."""
RTCP_INTERVAL = 5.0
"""Seconds between two reports, on average (RFC 3550 section 6.2)."""
MAX_MOVES = 8
"""How often the other side's address is learnt anew: it moves when a NAT forgets, not with each packet."""

Place = tuple[str, int]
"""Host and port as sockets have them."""


class Port(Enum):
    """Which of the two ports a packet goes out by."""

    RTP = "rtp"
    RTCP = "rtcp"


class Listener(Protocol):
    """Who is told what comes."""

    def key_heard(self, key: str) -> None:
        """A key was pressed on the other side."""

    def voice_heard(self) -> None:
        """The first packet came."""


class Stream:
    """The voice of one call."""

    __slots__ = (
        "_buffer",
        "_cname",
        "_decoder",
        "_dice",
        "_dtmf_in",
        "_dtmf_out",
        "_encoder",
        "_jitter_of_before",
        "_late_ticks",
        "_listener",
        "_lost_before",
        "_marker",
        "_moves",
        "_octets_in",
        "_octets_out",
        "_packets_in",
        "_packets_out",
        "_payloads",
        "_place",
        "_played",
        "_protection",
        "_ptime",
        "_reception",
        "_remote_lost",
        "_replayed",
        "_round_trip",
        "_rtcp_at",
        "_send",
        "_sequence",
        "_sr_at",
        "_sr_middle",
        "_ssrc",
        "_step",
        "_strange",
        "_time_of_day",
        "_timestamp",
        "_types",
        "_unauthentic",
        "agreed",
        "deadline",
        "muted",
        "sink",
        "source",
    )

    def __init__(
        self,
        agreed: Agreed,
        source: Source | Prepared,
        sink: Sink,
        send: Callable[[Port, bytes, Place], None],
        listener: Listener,
        dice: Callable[[int], int],
        now: float,
        time_of_day: float,
    ) -> None:
        """`send` takes packets with where they go to. `time_of_day` is that of `now`, in seconds since 1970, for RTCP."""
        self.source = source
        """What is sent; may be changed at any time."""
        self.sink = sink
        """What hears; may be changed at any time."""
        self.muted = False
        """Silence is sent in place of the source."""
        self._send = send
        self._listener = listener
        self._dice = dice
        self._time_of_day = time_of_day - now
        self._ssrc = dice(32)
        self._cname = f"{dice(64):016x}@{agreed.local.host}"
        self._sequence = dice(15)
        self._timestamp = dice(32)
        self._marker = True
        self._packets_out = self._octets_out = 0
        self._packets_in = self._octets_in = 0
        self._lost_before = self._late_ticks = 0
        self._jitter_of_before = 0.0
        self._unauthentic = self._replayed = self._strange = 0
        self._reception: rtp.Reception | None = None
        self._buffer = JitterBuffer()
        self._dtmf_in = dtmf.Receiver()
        self._dtmf_out = dtmf.Sender()
        self._played = 0
        self._round_trip: float | None = None
        self._remote_lost: int | None = None
        self._sr_middle = 0
        self._sr_at = 0.0
        self._moves = 0
        self._protection: Protection | None = None
        self.agreed = agreed
        """What holds."""
        self._take_up(agreed, None)
        self._rtcp_at = now + self._rtcp_wait()
        self.deadline: float = now
        """When to call `handle_timer`."""

    def update(self, agreed: Agreed, now: float) -> None:
        """Something else was agreed: another address, other keys, another codec, hold or its end."""
        before, self.agreed = self.agreed, agreed
        if agreed.direction.sends and not before.direction.sends:
            self._marker = True
            self.deadline = min(self.deadline, now)
        self._take_up(agreed, before)

    def press(self, keys: str) -> None:
        """Send keys as events. Raises BadConfiguration for what is none."""
        self._dtmf_out.press(keys)

    @property
    def is_pressing(self) -> bool:
        """Keys wait, or sound."""
        return self._dtmf_out.is_busy

    @property
    def sends_keys(self) -> bool:
        """The other side takes keys as events."""
        return self.agreed.dtmf_send is not None

    # The clock

    def handle_timer(self, now: float) -> None:
        """Send what is due, hear what is due, and report."""
        ptime, due = self._ptime, 0
        while self.deadline <= now:
            self.deadline += ptime
            due += 1
        if due > 1:
            self._late_ticks += due - 1
        for skipped in range(due):
            if skipped >= MAX_BURST:
                self._timestamp += self._step
                continue
            self._tick()
        if now >= self._rtcp_at:
            self._rtcp_at = now + self._rtcp_wait()
            self._report(now)

    def _tick(self) -> None:
        if self.agreed.direction.sends:
            self._speak()
        self._timestamp += self._step
        if not isinstance(self.sink, Nothing):
            payload = self._buffer.take()
            if payload is not None:
                self.sink.write(self._decoder.decode(payload), self._decoder.rate)
                self._played += 1
            elif self._played:
                # A gap is heard as silence, and time goes on.
                rate = self._decoder.rate
                self.sink.write(array("h", bytes(2 * (rate * self._step // CLOCK))), rate)

    def _speak(self) -> None:
        agreed = self.agreed
        if self._dtmf_out.is_busy and agreed.dtmf_send is not None:
            events = self._dtmf_out.packets(self._timestamp, self._step)
            if events is not None:
                for timestamp, marker, payload in events:
                    self._transmit(agreed.dtmf_send, marker, timestamp, payload)
                return
        payloads = self._payloads
        if payloads is not None and not self.muted:
            payload = payloads[self._packets_out % len(payloads)]
        else:
            count = self._encoder.rate * self._step // CLOCK
            samples: array[int] | None = array("h", bytes(2 * count))
            if not self.muted and not isinstance(self.source, Prepared):
                samples = self.source.read(count, self._encoder.rate)
            if samples is None:
                self._marker = True
                return
            payload = self._encoder.encode(samples)
        self._transmit(agreed.codec.payload_type, self._marker, self._timestamp, payload)
        self._marker = False

    def _transmit(self, payload_type: int, marker: bool, timestamp: int, payload: bytes) -> None:
        self._sequence += 1
        packet = rtp.build(payload_type, marker, self._sequence, timestamp, self._ssrc, payload)
        if self._protection is not None:
            packet = self._protection.protect(packet)
        self._packets_out += 1
        self._octets_out += len(payload)
        self._send(Port.RTP, packet, self._place)

    # What comes

    def receive(self, data: bytes, place: Place, now: float) -> None:
        """A datagram on the port of RTP."""
        if self.agreed.rtcp_mux and len(data) > 1 and 192 <= data[1] <= 223:
            self.receive_rtcp(data, now)
            return
        if self._protection is not None:
            clear = self._protection.unprotect(data)
            if isinstance(clear, Discard):
                self._discard(clear)
                return
            data = clear
        packet = rtp.parse(data)
        if packet is None:
            self._strange += 1
            return
        if place != self._place and not self._follow(place):
            self._strange += 1
            return
        reception = self._reception
        if reception is None or reception.ssrc != packet.ssrc:
            reception = self._begin(packet)
        order = reception.receive(packet.sequence, packet.timestamp, int(now * CLOCK))
        if order is rtp.Order.DUPLICATE:
            return
        self._packets_in += 1
        self._octets_in += len(packet.payload)
        if packet.payload_type == self.agreed.dtmf_receive:
            key = self._dtmf_in.receive(packet.timestamp, packet.payload)
            if key is not None:
                self._listener.key_heard(key)
            return
        decoder = self._types.get(packet.payload_type)
        if decoder is None:
            self._strange += 1
            return
        if not self.agreed.direction.receives or isinstance(self.sink, Nothing):
            return
        if order is rtp.Order.RESTART:
            self._buffer.clear()
        self._decoder = decoder
        ahead = (packet.sequence - reception.highest) & 0xFFFF
        if ahead >= 0x8000:
            ahead -= 0x10000
        self._buffer.put(reception.highest + ahead, packet.payload)

    def receive_rtcp(self, data: bytes, now: float) -> None:
        """A datagram on the port of RTCP."""
        if self._protection is not None:
            clear = self._protection.unprotect_rtcp(data)
            if isinstance(clear, Discard):
                self._discard(clear)
                return
            data = clear
        report = rtcp.parse(data)
        if report is None:
            self._strange += 1
            return
        if report.ntp is not None:
            self._sr_middle, self._sr_at = report.ntp, now
        for block in report.blocks:
            if block.ssrc == self._ssrc:
                self._remote_lost = max(0, block.lost)
                time = rtcp.round_trip(block, now + self._time_of_day)
                self._round_trip = self._round_trip if time is None else time

    def quality(self) -> Quality:
        """The numbers so far."""
        reception = self._reception
        return Quality(
            codec=self.agreed.codec.name,
            encrypted=self.agreed.encrypted,
            packets_sent=self._packets_out,
            octets_sent=self._octets_out,
            packets_received=self._packets_in,
            octets_received=self._octets_in,
            lost=self._lost_before + (reception.lost if reception is not None else 0),
            late=(reception.late if reception is not None else 0) + self._buffer.late,
            duplicates=reception.duplicates if reception is not None else 0,
            unauthentic=self._unauthentic,
            replayed=self._replayed,
            strange=self._strange,
            late_ticks=self._late_ticks,
            jitter_ms=(reception.jitter if reception is not None else self._jitter_of_before) / (CLOCK / 1000),
            round_trip_ms=None if self._round_trip is None else self._round_trip * 1000,
            remote_lost=self._remote_lost,
        )

    def close(self, now: float) -> None:
        """Say goodbye (RFC 3550 section 6.6)."""
        self._report(now, goodbye=True)

    # The parts

    def _take_up(self, agreed: Agreed, before: Agreed | None) -> None:
        self._ptime = agreed.ptime / 1000
        self._step = agreed.ptime * CLOCK // 1000
        if before is None or before.codec.name != agreed.codec.name:
            self._encoder = coder(agreed.codec.name)
        self._payloads = (
            self.source.payloads(agreed.codec.name, agreed.ptime) if isinstance(self.source, Prepared) else None
        )
        if before is None or before.receive != agreed.receive:
            self._types: dict[int, Coder] = {codec.payload_type: coder(codec.name) for codec in agreed.receive}
            self._decoder = next(iter(self._types.values()))
        if before is None or before.remote != agreed.remote:
            self._place: Place = (agreed.remote.host, agreed.remote.port)
            self._moves = 0
        keys = (agreed.srtp_send, agreed.srtp_receive)
        if before is None or (before.srtp_send, before.srtp_receive) != keys:
            send, receive = keys
            self._protection = Protection(send, receive) if send is not None and receive is not None else None

    def _begin(self, packet: rtp.Packet) -> rtp.Reception:
        """A source that was not heard before."""
        if self._reception is not None:
            self._lost_before += self._reception.lost
            self._buffer.clear()
        else:
            self._listener.voice_heard()
        self._reception = rtp.Reception(packet.ssrc, packet.sequence)
        return self._reception

    def _follow(self, place: Place) -> bool:
        """Whether a packet from elsewhere is taken, and what we send goes there from now on (RFC 4961).

        Who knows the key may come from anywhere; without one only the host that was agreed on, or anybody while nothing has come from
        there.
        """
        same = place[0] == self._place[0]
        if self._protection is None and not same and self._reception is not None:
            return False
        if self._moves >= MAX_MOVES:
            return self._protection is not None or same
        self._moves += 1
        self._place = place
        return True

    def _discard(self, why: Discard) -> None:
        if why is Discard.REPLAY:
            self._replayed += 1
        else:
            self._unauthentic += 1

    def _rtcp_wait(self) -> float:
        return RTCP_INTERVAL * (0.5 + self._dice(16) / 65_536)

    def _report(self, now: float, *, goodbye: bool = False) -> None:
        reception, agreed = self._reception, self.agreed
        block = None
        if reception is not None:
            block = rtcp.Block(
                reception.ssrc,
                reception.fraction_lost(),
                reception.expected - reception.received,
                reception.highest,
                int(reception.jitter),
                self._sr_middle,
                int((now - self._sr_at) * 65_536) if self._sr_middle else 0,
            )
        data = rtcp.build(
            self._ssrc,
            self._cname,
            at=now + self._time_of_day,
            timestamp=self._timestamp,
            packets=self._packets_out,
            octets=self._octets_out,
            block=block,
            goodbye=goodbye,
        )
        if self._protection is not None:
            data = self._protection.protect_rtcp(data)
        if agreed.rtcp_mux:
            self._send(Port.RTP, data, self._place)
        else:
            self._send(Port.RTCP, data, (agreed.remote_rtcp.host, agreed.remote_rtcp.port))
