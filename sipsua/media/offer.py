"""Offer and answer for the one audio stream of a phone: RFC 3264, with SDES keys (RFC 4568), telephone-event (RFC 4733) and packet times.

A `Session` is our side of a call: it makes offers, answers theirs, and says what was `Agreed`. What we do not take, such as video, a second
stream or a protocol that is not ours, is refused in its place with port 0, so that both sides count the same sections. What leaves no
common ground at all is `Rejected`, with what to put on the wire and what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_address

from sipsua.errors import BadConfiguration, Misuse, SipsuaError
from sipsua.media.sdes import SUITES, SrtpKey, parse_crypto
from sipsua.media.sdp import Attribute, Connection, Description, Media, Origin


class Srtp(StrEnum):
    """Whether the voice is encrypted: the phone's `account.X.srtp_encryption`."""

    OFF = "off"
    """0: never."""
    OPTIONAL = "optional"
    """1: where the other side is able to; offered as RTP/AVP with crypto lines, which those that know nothing of it pass over."""
    REQUIRED = "required"
    """2: or there is no call; offered as RTP/SAVP."""


class Direction(StrEnum):
    """Which way the voice goes, as seen from here (RFC 3264 section 5.1)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether we send."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether we take what comes."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def reversed(self) -> Direction:
        """The same as seen from the other side."""
        return _direction(sends=self.receives, receives=self.sends)

    def within(self, other: Direction) -> Direction:
        """What both allow."""
        return _direction(sends=self.sends and other.sends, receives=self.receives and other.receives)


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec under its payload type."""

    name: str
    """`PCMU`, `PCMA` or `G722`."""
    payload_type: int
    clock_rate: int = 8000
    """Of the RTP timestamps: 8000 for G.722 as well, by an old mistake that stayed (RFC 3551 section 4.5.2)."""


CODECS: Mapping[str, Codec] = {"PCMU": Codec("PCMU", 0), "PCMA": Codec("PCMA", 8), "G722": Codec("G722", 9)}
"""What we speak, under the static payload types of RFC 3551 section 6."""

PTIMES = (10, 20, 30, 40, 50, 60)
"""Packet times that we speak, in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaConfig:
    """The voice of an account."""

    codecs: tuple[str, ...] = ("PCMU", "PCMA", "G722")
    """In the order of our wish."""
    srtp: Srtp = Srtp.OPTIONAL
    suites: tuple[str, ...] = tuple(SUITES)[:2]
    """SRTP suites in the order of our wish."""
    ptime: int = 20
    """Milliseconds of voice in a packet."""
    dtmf_payload: int | None = 101
    """Payload type of telephone-event in our offers; None: keys are not told in the stream."""

    def __post_init__(self) -> None:
        for names, known, what in ((self.codecs, CODECS, "codec"), (self.suites, SUITES, "SRTP suite")):
            unknown = [name for name in names if name not in known]
            if unknown or len(set(names)) != len(names) or not names:
                raise BadConfiguration(
                    f"{what}s {', '.join(names) or 'none'}", fix=f"choose from {', '.join(known)}, each once"
                )
        if self.ptime not in PTIMES:
            raise BadConfiguration(
                f"a packet time of {self.ptime} ms", fix=f"choose from {', '.join(map(str, PTIMES))}"
            )
        if self.dtmf_payload is not None and not 96 <= self.dtmf_payload <= 127:
            raise BadConfiguration(f"payload type {self.dtmf_payload} for keys", fix="choose from 96 to 127")


@dataclass(frozen=True, slots=True)
class Address:
    """Where packets go."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What both sides have agreed on, as seen from here."""

    local: Address
    remote: Address
    remote_rtcp: Address
    rtcp_mux: bool
    """RTCP comes and goes on the port of RTP (RFC 5761)."""
    codec: Codec
    """What we send, under the payload type that they gave it."""
    receive: tuple[Codec, ...]
    """What may come, under the payload types that we gave it."""
    dtmf_send: int | None
    """Payload type of the keys that we send; None: they do not take them."""
    dtmf_receive: int | None
    ptime: int
    """Milliseconds of voice in the packets that we send."""
    direction: Direction
    srtp_send: SrtpKey | None = field(repr=False)
    srtp_receive: SrtpKey | None = field(repr=False)

    @property
    def encrypted(self) -> bool:
        """The voice goes as SRTP, both ways."""
        return self.srtp_send is not None and self.srtp_receive is not None


class Rejected(SipsuaError):
    """The two sides have no common ground for the voice."""

    status: int = 488

    def __init__(self, what: str, *, warning: int, fix: str, status: int = 488) -> None:
        super().__init__(what, fix=fix, kind="media")
        self.status = status
        self.warning = warning
        """Warn-code of RFC 3261 section 20.43."""


class Session:
    """Our side of the voice of one call. A copy is a session of its own: forks answer one offer each for itself."""

    def __init__(self, config: MediaConfig, local: Address, dice: Callable[[int], int]) -> None:
        """`local` is where we take packets; `dice` make the keys and the number of the session."""
        self._config = config
        self._local = local
        self._dice = dice
        self._sent: Description | None = None
        """Our last description."""
        self._offered: Description | None = None
        """Our offer that waits for its answer."""
        self._index = 0
        """Which section is the voice."""
        self._their_direction = Direction.SENDRECV
        self._number = dice(31)
        self._wish: Direction = Direction.SENDRECV
        self._keys = tuple(SrtpKey.fresh(suite, dice, tag) for tag, suite in enumerate(config.suites, 1))
        self.agreed: Agreed | None = None
        """What holds now."""

    @property
    def held_by_remote(self) -> bool:
        """The other side does not listen (RFC 3264 section 8.4)."""
        return self.agreed is not None and not self._their_direction.receives

    def offer(self, direction: Direction = Direction.SENDRECV) -> Description:
        """Our next offer."""
        config, agreed, sent = self._config, self.agreed, self._sent
        secure = agreed.encrypted if agreed is not None else config.srtp is not Srtp.OFF
        if agreed is not None and secure:
            assert agreed.srtp_send is not None
            keys: tuple[SrtpKey, ...] = (agreed.srtp_send,)
        else:
            keys = self._keys if secure else ()
        if agreed is not None and sent is not None:
            proto = sent.media[self._index].proto
        else:
            proto = "RTP/SAVP" if config.srtp is Srtp.REQUIRED else "RTP/AVP"
        dtmf = agreed.dtmf_receive if agreed is not None else config.dtmf_payload
        codecs = agreed.receive if agreed is not None else tuple(CODECS[name] for name in config.codecs)
        audio = self._audio(
            codecs, dtmf, proto, keys, config.ptime, direction, mux=agreed is not None and agreed.rtcp_mux
        )
        description = self._describe([audio] if sent is None else _in_place(sent, self._index, audio))
        self._offered = description
        self._wish = direction
        return description

    def answer(self, offer: Description, direction: Direction = Direction.SENDRECV) -> tuple[Description, Agreed]:
        """Our answer to their offer, and what is agreed with it. Raises Rejected; then what held before holds."""
        refusals: list[Rejected] = []
        for index, media in enumerate(offer.media):
            if media.kind != "audio" or media.port == 0:
                continue
            try:
                audio, agreed, theirs = self._answer_section(offer, media, direction)
            except Rejected as refusal:
                refusals.append(refusal)
                continue
            sections = [_refused(section) for section in offer.media]
            sections[index] = audio
            self._index = index
            self._their_direction = theirs
            self.agreed = agreed
            return self._describe(sections), agreed
        if refusals:
            raise refusals[0]
        raise Rejected("their SDP offers no audio", warning=304, fix="have the other side offer audio")

    def accept(self, answer: Description) -> Agreed:
        """The answer to our offer. Raises Rejected where it is none, and Misuse where there is no offer."""
        offered = self._offered
        if offered is None:
            raise Misuse("there is no offer to be answered", fix="call offer first")
        if len(answer.media) != len(offered.media):
            raise _no_answer(f"their SDP has {len(answer.media)} media where {len(offered.media)} were offered")
        media, ours = answer.media[self._index], offered.media[self._index]
        if media.kind != "audio":
            raise _no_answer(f"their SDP has {media.kind} where audio was offered")
        if media.port == 0:
            raise Rejected(
                "they refuse the audio", warning=305, fix="compare the codecs and the encryption of both sides"
            )
        codecs, dtmf = _codecs(media)
        known = {codec.name: codec for codec in _codecs(ours)[0]}
        common = [codec for codec in codecs if codec.name in known]
        if not common:
            raise _no_codec(media)
        send, receive = self._accept_keys(media, ours)
        their_direction, address = self._place(answer, media)
        agreed = Agreed(
            local=self._local,
            remote=address,
            remote_rtcp=_rtcp(media, address),
            rtcp_mux=media.has("rtcp-mux") and ours.has("rtcp-mux"),
            codec=common[0],
            receive=tuple(known.values()),
            dtmf_send=dtmf,
            dtmf_receive=_codecs(ours)[1] if dtmf is not None else None,
            ptime=_ptime(media, self._config.ptime),
            direction=self._wish.within(their_direction.reversed),
            srtp_send=send,
            srtp_receive=receive,
        )
        self._offered = None
        self._their_direction = their_direction
        self.agreed = agreed
        return agreed

    def abandon(self) -> None:
        """Our offer was refused: what held before holds."""
        self._offered = None

    # The sections

    def _answer_section(
        self, offer: Description, media: Media, direction: Direction
    ) -> tuple[Media, Agreed, Direction]:
        config = self._config
        codecs, dtmf = _codecs(media)
        common = tuple(codec for codec in codecs if codec.name in config.codecs)
        if not common:
            raise _no_codec(media)
        if config.dtmf_payload is None:
            dtmf = None
        send, receive = self._answer_keys(media)
        their_direction, address = self._place(offer, media)
        ours = direction.within(their_direction.reversed)
        mux = media.has("rtcp-mux")
        ptime = _ptime(media, config.ptime)
        audio = self._audio(common, dtmf, media.proto, (send,) if send is not None else (), ptime, ours, mux=mux)
        agreed = Agreed(
            local=self._local,
            remote=address,
            remote_rtcp=address if mux else _rtcp(media, address),
            rtcp_mux=mux,
            codec=common[0],
            receive=common,
            dtmf_send=dtmf,
            dtmf_receive=dtmf,
            ptime=ptime,
            direction=ours,
            srtp_send=send,
            srtp_receive=receive,
        )
        return audio, agreed, their_direction

    def _answer_keys(self, media: Media) -> tuple[SrtpKey | None, SrtpKey | None]:
        """Our key and theirs, by what the section wants and what we are able to."""
        config = self._config
        if media.proto not in _PROTOS:
            raise Rejected(
                f"their audio comes by {media.proto}",
                warning=302,
                fix="have the other side offer RTP/AVP or RTP/SAVP with crypto lines (SDES): DTLS-SRTP is not spoken here",
            )
        wants = media.proto in _SECURE
        theirs = None
        if config.srtp is not Srtp.OFF:
            theirs = next((key for key in parse_crypto(media.values("crypto")) if key.suite in config.suites), None)
        if theirs is None:
            if wants:
                how = "encryption is off here" if config.srtp is Srtp.OFF else "none of its crypto lines can be used"
                raise Rejected(f"their audio is to be encrypted, and {how}", warning=399, fix=_SRTP_FIX)
            if config.srtp is Srtp.REQUIRED:
                raise Rejected("their audio is not encrypted", warning=399, fix=_SRTP_FIX)
            return None, None
        known = self.agreed.srtp_send if self.agreed is not None else None
        if known is not None and known.suite == theirs.suite:
            # Who does not change the key need not begin the count of packets anew (RFC 4568 section 7.1.4).
            return replace(known, tag=theirs.tag), theirs
        return SrtpKey.fresh(theirs.suite, self._dice, theirs.tag), theirs

    def _accept_keys(self, media: Media, ours: Media) -> tuple[SrtpKey | None, SrtpKey | None]:
        """Our key and theirs, by the crypto line that they have chosen (RFC 4568 section 7.1.3)."""
        offered = {key.tag: key for key in parse_crypto(ours.values("crypto"))}
        answered = parse_crypto(media.values("crypto"))
        if not answered or not offered:
            if self._config.srtp is Srtp.REQUIRED or (media.proto in _SECURE and offered):
                raise Rejected("their answer has no key for the encryption", warning=399, fix=_SRTP_FIX)
            return None, None
        theirs = answered[0]
        chosen = offered.get(theirs.tag)
        if len(answered) > 1 or chosen is None or chosen.suite != theirs.suite:
            raise _no_answer("their crypto line is none of ours")
        return chosen, theirs

    def _place(self, description: Description, media: Media) -> tuple[Direction, Address]:
        """Which way they want the voice to go, and where to."""
        direction = next(
            (Direction(name) for name, _ in (*media.attributes, *description.attributes) if name in _DIRECTIONS),
            Direction.SENDRECV,
        )
        host = description.address(media)
        if host is None:
            raise _no_answer("their SDP has no c=")
        try:
            address = ip_address(host)
        except ValueError:
            raise Rejected(
                f"their voice is at {host[:60]!r}, which is no address",
                warning=300,
                fix="have the other side write an IP address into its SDP",
            ) from None
        if address.is_multicast:
            raise Rejected("their voice is at a multicast address", warning=330, fix="have it write a unicast address")
        if address.is_unspecified:
            # How phones held a call before RFC 3264 (its section 8.4).
            direction = direction.within(Direction.SENDONLY)
        return direction, Address(host, media.port)

    def _audio(
        self,
        codecs: tuple[Codec, ...],
        dtmf: int | None,
        proto: str,
        keys: tuple[SrtpKey, ...],
        ptime: int,
        direction: Direction,
        *,
        mux: bool,
    ) -> Media:
        attributes: list[Attribute] = [
            ("rtpmap", f"{codec.payload_type} {codec.name}/{codec.clock_rate}") for codec in codecs
        ]
        formats = [str(codec.payload_type) for codec in codecs]
        if dtmf is not None:
            formats.append(str(dtmf))
            attributes += [("rtpmap", f"{dtmf} telephone-event/8000"), ("fmtp", f"{dtmf} 0-15")]
        attributes += [("crypto", str(key)) for key in keys]
        attributes += [("ptime", str(ptime)), (direction.value, None)]
        if mux:
            attributes.append(("rtcp-mux", None))
        return Media(
            kind="audio", port=self._local.port, proto=proto, formats=tuple(formats), attributes=tuple(attributes)
        )

    def _describe(self, sections: list[Media]) -> Description:
        """Our description with these sections: with the next version where it says something new (RFC 3264 section 8)."""
        sent = self._sent
        media = tuple(sections)
        if sent is not None and sent.media == media:
            return sent
        if sent is not None:
            self._sent = sent.next_version(media=media)
        else:
            origin = Origin(self._number, 1, self._local.host)
            self._sent = Description(
                origin=origin, name="sipsua", connection=Connection.to(self._local.host), media=media
            )
        return self._sent


def _direction(*, sends: bool, receives: bool) -> Direction:
    if sends:
        return Direction.SENDRECV if receives else Direction.SENDONLY
    return Direction.RECVONLY if receives else Direction.INACTIVE


def _codecs(media: Media) -> tuple[list[Codec], int | None]:
    """The codecs of a section that we know, in its order and under its payload types; and the payload type of its keys."""
    maps = {}
    for value in media.values("rtpmap"):
        payload, _, encoding = value.partition(" ")
        name, _, rate = encoding.strip().partition("/")
        maps[payload] = (name.upper(), rate.partition("/")[0], rate.partition("/")[2] in ("", "1"))
    codecs: list[Codec] = []
    dtmf = None
    for payload in media.formats:
        if not payload.isascii() or not payload.isdigit() or int(payload) > 127:
            continue
        name, rate, mono = maps.get(payload) or (_STATIC.get(int(payload), ""), "8000", True)
        if rate != "8000" or not mono:
            continue
        if name == "TELEPHONE-EVENT":
            dtmf = int(payload) if dtmf is None else dtmf
        elif name in CODECS and all(codec.name != name for codec in codecs):
            codecs.append(Codec(name, int(payload)))
    return codecs, dtmf


def _ptime(media: Media, own: int) -> int:
    """The packet time that they ask for, where we speak it; else our own, and never more than their most (RFC 8866 section 6.4)."""
    asked, most = (media.first(name) for name in ("ptime", "maxptime"))
    ptime = int(asked) if asked is not None and asked.isascii() and asked.isdigit() and len(asked) < 4 else own
    if ptime not in PTIMES:
        ptime = own
    if most is not None and most.isascii() and most.isdigit() and len(most) < 4 and int(most) < ptime:
        ptime = max((known for known in PTIMES if known <= int(most)), default=PTIMES[0])
    return ptime


def _rtcp(media: Media, address: Address) -> Address:
    """Where their RTCP goes: by `a=rtcp` (RFC 3605), or the next port (RFC 3550 section 11)."""
    value = media.first("rtcp")
    if value is None:
        return Address(address.host, min(address.port + 1, 65_535))
    parts = value.split()
    port = parts[0] if parts else ""
    if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65_535:
        return Address(address.host, min(address.port + 1, 65_535))
    host = address.host
    if len(parts) == 4:
        try:
            host = str(ip_address(parts[3]))
        except ValueError:
            pass
    return Address(host, int(port))


def _refused(section: Media) -> Media:
    """The answer to a section that we do not take (RFC 3264 section 6)."""
    return Media(kind=section.kind, port=0, proto=section.proto, formats=section.formats[:1] or ("0",))


def _in_place(sent: Description, index: int, audio: Media) -> list[Media]:
    """Our sections with the voice in its place: none may go away (RFC 3264 section 8)."""
    return [audio if place == index else section for place, section in enumerate(sent.media)]


def _no_answer(what: str) -> Rejected:
    return Rejected(
        what, warning=399, fix="look at the SDP of the other side: it is no answer to ours (RFC 3264 section 6)"
    )


def _no_codec(media: Media) -> Rejected:
    names = [value.partition(" ")[2].partition("/")[0] for value in media.values("rtpmap")]
    names += [
        _STATIC[int(form)] for form in media.formats if form.isascii() and form.isdigit() and int(form) in _STATIC
    ]
    shown = ", ".join(dict.fromkeys(name for name in names if name.isascii() and name.isprintable()))
    return Rejected(
        f"their codecs are none of ours: {shown[:120] or 'none that is known'}",
        warning=305,
        fix=f"have the other side offer {', '.join(CODECS)}",
    )


_PROTOS = frozenset({"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"})
_SECURE = frozenset({"RTP/SAVP", "RTP/SAVPF"})
_DIRECTIONS = frozenset(direction.value for direction in Direction)
_STATIC = {codec.payload_type: name for name, codec in CODECS.items()}
_SRTP_FIX = "compare the encryption of both sides: --srtp here, SRTP with SDES keys there"
