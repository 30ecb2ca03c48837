"""The echo on loopback: real packets, in the clear and as SRTP, of a caller that shares nothing with it but the session description."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pylibsrtp
import pytest

from sipsua.media.offer import Address, Agreed, Direction, MediaConfig, Session, Srtp
from sipsua.media.sdp import Description
from sipsua.sip.message import Header, Response
from sipsua.testing.echo import PROFILES, Echo, EchoDesk
from sipsua.testing.pbx import PocketPbx
from tests.testing.test_pbx_calls import Phone, office

pytestmark = pytest.mark.asyncio

OPUS = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n"
)
SDP: list[Header] = [("Content-Type", "application/sdp")]


class Voice:
    """A caller's end of the voice."""

    def __init__(self, config: MediaConfig | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        local = Address("127.0.0.1", self.socket.getsockname()[1])
        self.session = Session(config or MediaConfig(srtp=Srtp.OFF), local, random.Random(1).getrandbits)
        self.agreed: Agreed | None = None
        self.sending: pylibsrtp.Session | None = None
        self.receiving: pylibsrtp.Session | None = None

    def agree(self, agreed: Agreed) -> None:
        self.agreed = agreed
        if agreed.srtp_send is not None and agreed.srtp_receive is not None:
            self.sending = session(agreed.srtp_send.suite, agreed.srtp_send.key, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
            self.receiving = session(
                agreed.srtp_receive.suite, agreed.srtp_receive.key, pylibsrtp.Policy.SSRC_ANY_INBOUND
            )

    def say(self, number: int, payload: bytes, *, kind: int = 0, ssrc: int = 7) -> bytes:
        """Send a packet; returns it as it was before encryption."""
        assert self.agreed is not None
        packet = bytes([0x80, kind]) + number.to_bytes(2, "big") + (160 * number).to_bytes(4, "big")
        packet += ssrc.to_bytes(4, "big") + payload
        wire = packet if self.sending is None else self.sending.protect(packet)
        self.socket.sendto(wire, (self.agreed.remote.host, self.agreed.remote.port))
        return packet

    async def hear(self) -> bytes:
        packet = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 2048), 5)
        return packet if self.receiving is None else self.receiving.unprotect(packet)


def session(suite: str, key: bytes, kind: int) -> pylibsrtp.Session:
    return pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=kind, srtp_profile=PROFILES[suite]))


@contextlib.asynccontextmanager
async def calling(voice: Voice, **options: str) -> AsyncIterator[tuple[PocketPbx, Phone, Response, Echo]]:
    """A call to the echo that stands."""
    async with office("1000", authenticate_calls=False, **options) as (pbx, (phone,)):
        answer = await ask(phone, voice)
        assert answer.status == 200
        voice.agree(voice.session.accept(Description.parse(answer.body)))
        phone.inside("ACK", answer, cseq=answer.cseq.number)
        desk = pbx.exchange.attendant.desk
        assert isinstance(desk, EchoDesk)
        (echo,) = desk.echoes.values()
        try:
            yield pbx, phone, answer, echo
        finally:
            voice.socket.close()


async def ask(phone: Phone, voice: Voice) -> Response:
    """Call the echo with an offer: the final answer."""
    phone.ask("INVITE", phone.pbx.uri("echo"), "echo", headers=SDP, body=bytes(voice.session.offer()))
    assert await phone.statuses(1) == [100]
    return await phone.told()


@pytest.mark.parametrize("suite", ["", *PROFILES])
async def test_what_is_said_comes_back_packet_for_packet(suite: str) -> None:
    config = MediaConfig(srtp=Srtp.REQUIRED, suites=(suite,)) if suite else MediaConfig(srtp=Srtp.OFF)
    voice = Voice(config)
    async with calling(voice) as (_, _, _, echo):
        assert voice.agreed is not None
        assert voice.agreed.encrypted == bool(suite)
        for number in range(1, 6):
            said = voice.say(number, random.Random(number).randbytes(160))
            heard = await voice.hear()
            assert (heard[:8], heard[12:]) == (said[:8], said[12:])
            assert heard[8:12] != said[8:12]
        assert (echo.packets, echo.dropped) == (5, 0)


async def test_keys_come_back_as_keys() -> None:
    voice = Voice()
    async with calling(voice):
        said = voice.say(1, b"\x05\x8a\x03\x20", kind=0x80 | 101)
        heard = await voice.hear()
        assert (heard[1], heard[12:]) == (0x80 | 101, said[12:])


async def test_what_is_no_rtp_or_has_another_key_is_dropped() -> None:
    voice = Voice(MediaConfig(srtp=Srtp.REQUIRED))
    async with calling(voice) as (_, _, _, echo):
        assert voice.agreed is not None
        place = (voice.agreed.remote.host, voice.agreed.remote.port)
        junk = [b"", b"\x80", bytes(12), b"\x80\xc8" + bytes(30), b"\x80\x00" + bytes(30), b"\x80\x00" + bytes(1990)]
        for packet in junk:
            voice.socket.sendto(packet, place)
        said = voice.say(1, b"x" * 160)
        assert (await voice.hear())[12:] == said[12:]
        voice.socket.sendto(b"", place)
        assert (echo.packets, echo.dropped) == (1, len(junk))


async def test_a_stranger_does_not_take_the_voice_away() -> None:
    voice = Voice()
    async with calling(voice) as (_, _, _, echo):
        voice.say(1, b"x" * 160)
        await voice.hear()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            assert voice.agreed is not None
            stranger.sendto(b"\x80\x00" + bytes(170), (voice.agreed.remote.host, voice.agreed.remote.port))
            voice.say(2, b"y" * 160)
            assert (await voice.hear())[12:] == b"y" * 160
        assert (echo.packets, echo.dropped) == (2, 1)


async def test_on_hold_nothing_comes_back_and_after_it_all_does() -> None:
    voice = Voice()
    async with calling(voice) as (_, phone, answer, echo):
        for direction, packets in ((Direction.SENDONLY, 0), (Direction.SENDRECV, 1)):
            offer = bytes(voice.session.offer(direction))
            invite = phone.inside("INVITE", answer, headers=SDP, body=offer)
            assert await phone.statuses(1) == [100]
            again = await phone.told()
            voice.agree(voice.session.accept(Description.parse(again.body)))
            phone.inside("ACK", answer, cseq=invite.cseq.number)
            voice.say(10 + packets, b"x" * 160)
            if packets:
                assert (await voice.hear())[2:4] == b"\x00\x0b"
            # What was said has been looked at when the answer to what was asked after it is here.
            phone.ask("OPTIONS", "sip:127.0.0.1", "order")
            assert await phone.statuses(1) == [200]
            assert echo.packets == packets


async def test_an_invite_without_an_offer_is_answered_with_one() -> None:
    voice = Voice()
    async with office("1000", authenticate_calls=False) as (pbx, (phone,)):
        phone.ask("INVITE", pbx.uri("echo"), "echo")
        assert await phone.statuses(1) == [100]
        answer = await phone.told()
        ours, agreed = voice.session.answer(Description.parse(answer.body))
        voice.agree(agreed)
        phone.inside("ACK", answer, cseq=answer.cseq.number, headers=SDP, body=bytes(ours))
        await pbx.until(lambda: pbx.exchange.attendant.calls[0].state == "confirmed")
        voice.say(1, b"x" * 160)
        await voice.hear()
        voice.socket.close()


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        (b"v=0\r\nnonsense", 400),
        (b"", 200),
        (OPUS, 488),
    ],
)
async def test_an_offer_without_common_ground_is_refused(offer: bytes, status: int) -> None:
    async with office("1000", authenticate_calls=False) as (pbx, (phone,)):
        phone.ask("INVITE", pbx.uri("echo"), "echo", headers=SDP if offer else [], body=offer)
        assert await phone.statuses(2) == [100, status]
        assert len(pbx.exchange.attendant.calls) == (status == 200)


@pytest.mark.parametrize("how", ["bye", "flow", "end"])
async def test_the_ports_are_let_go_when_the_call_is_over(how: str) -> None:
    async with calling(Voice()) as (pbx, phone, answer, echo):
        ports = [one.getsockname()[1] for one in (echo._rtp, echo._rtcp)]
        assert ports == [ports[0], ports[0] + 1]
        if how == "bye":
            phone.inside("BYE", answer)
            assert await phone.statuses(1) == [200]
        elif how == "flow":
            await phone.close()
            await pbx.until(lambda: not pbx.flows)
        else:
            await pbx.close()
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
                free.bind(("127.0.0.1", port))


async def test_where_the_pbx_listens_on_all_addresses_the_voice_is_at_the_one_that_was_called() -> None:
    voice = Voice()
    async with calling(voice, host="0.0.0.0") as (_, _, _, echo):
        assert voice.agreed is not None
        assert voice.agreed.remote.host == "127.0.0.1"
        voice.say(1, b"x")
        await voice.hear()
        assert echo.packets == 1
