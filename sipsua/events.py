"""What an account, and the port where a phone listens, tell the outside: frozen values, in the past tense.

The account appends them, the one sink of the account takes them: `ua` turns them into futures, `load` into counters, `cli` into lines
on a screen. The Lock is here because it is such a value: `account.lock` is the machine that turns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sipsua.errors import SipsuaError
from sipsua.media.offer import Agreed
from sipsua.trust.verdict import Certificate
from sipsua.trust.verdict import Verdict as Verdict  # a word of this vocabulary too: who hears events needs no more


class LockState(StrEnum):
    """The padlock of an account."""

    OPEN = "open"
    """No TLS flow."""
    NEGOTIATING = "negotiating"
    """A handshake is under way."""
    LOCKED = "locked"
    """The handshake is finished and its Verdict accepted."""
    REFUSED = "refused"
    """The last handshake failed, or the certificate was refused."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The padlock: whether the account's signalling is encrypted now, since when, with whom, and by which trust."""

    state: LockState = LockState.OPEN
    since: datetime | None = None
    """When this state was entered, UTC; None before the first change."""
    verified: bool = False
    """True where the server's certificate was checked and found good; False where the policy accepts any."""
    protocol: str | None = None
    """`TLSv1.2` or `TLSv1.3`."""
    cipher: str | None = None
    """OpenSSL's name of the suite."""
    group: str | None = None
    """Key exchange group, for example `X25519`."""
    server_name: str | None = None
    """The name that was verified."""
    peer: str | None = None
    """Address and port of the server."""
    anchor: str | None = None
    """Subject of the trust anchor."""
    anchor_list: str | None = None
    """`built-in`, `custom` or `mozilla`."""
    resumed: bool = False
    """True where the session of an earlier handshake was resumed, and its Verdict with it."""

    @property
    def locked(self) -> bool:
        """True in the one state in which the padlock is closed."""
        return self.state is LockState.LOCKED

    def as_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {
            "state": str(self.state),
            "since": self.since.isoformat() if self.since else None,
            "verified": self.verified,
            "protocol": self.protocol,
            "cipher": self.cipher,
            "group": self.group,
            "server_name": self.server_name,
            "peer": self.peer,
            "anchor": self.anchor,
            "anchor_list": self.anchor_list,
            "resumed": self.resumed,
        }


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What a finished handshake agreed on: the door's report to the account."""

    protocol: str
    cipher: str
    group: str | None
    server_name: str
    peer: str
    local: tuple[str, int]
    """Our own address and port on this flow: what Via and Contact say."""
    at: datetime
    """When the handshake was finished, UTC."""
    resumed: bool = False
    """Whether an earlier session was resumed."""


class Event:
    """Base of all events."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LockChanged(Event):
    """The padlock turned."""

    lock: Lock


@dataclass(frozen=True, slots=True)
class HandshakeStepped(Event):
    """One message of the handshake was sent or received (only where the steps are asked for)."""

    step: str
    """The message, in RFC 8446's words for TLS 1.3 and the phone guide's for TLS 1.2."""
    at_ms: float
    """Milliseconds since the handshake began."""


@dataclass(frozen=True, slots=True)
class FlowOpened(Event):
    """A flow to the server stands, its certificate judged."""

    verdict: Verdict
    timings_ms: dict[str, float]
    """`dns`, `tcp`, `tls`: what each step took."""


@dataclass(frozen=True, slots=True)
class FlowFailed(Event):
    """A flow did not come about: name, TCP, TLS or certificate."""

    error: SipsuaError


@dataclass(frozen=True, slots=True)
class FlowClosed(Event):
    """The flow is gone."""

    reason: str
    """In words."""


@dataclass(frozen=True, slots=True)
class Registered(Event):
    """The registrar has our binding."""

    status: int
    reason: str
    expires: int
    """Seconds that the registrar granted."""
    refresh_in: float
    """Seconds until the binding is refreshed."""
    refreshed: bool
    """True where this renews a binding that stood on the same flow."""
    challenge_ms: float | None
    """What the challenge round trip took; None where the nonce was known."""
    register_ms: float
    """What the final round trip took."""


@dataclass(frozen=True, slots=True)
class RegistrationFailed(Event):
    """An attempt to register ended without a binding."""

    error: SipsuaError
    retry_in: float | None
    """Seconds until the next attempt; None where there will be none."""


@dataclass(frozen=True, slots=True)
class Unregistered(Event):
    """Our binding is gone because we removed it."""

    status: int | None
    """What the registrar answered; None where it was not asked (no flow) or did not answer."""


@dataclass(frozen=True, slots=True)
class RequestAnswered(Event):
    """The peer sent a request and got an answer."""

    method: str
    status: int
    source: str | None = None
    """Address and port of who sent it, where it came on a connection to the phone's listening port; None: on the account's flow."""


@dataclass(frozen=True, slots=True)
class MessageDropped(Event):
    """The peer sent what cannot be answered; it was discarded."""

    reason: str


@dataclass(frozen=True, slots=True)
class InboundOpened(Event):
    """A client has connected to the phone's listening port, and the handshake is finished."""

    peer: str
    """Its address and port."""
    protocol: str
    """`TLSv1.2` or `TLSv1.3`."""
    cipher: str
    """OpenSSL's name of the suite."""
    certificate: Certificate | None
    """What the client showed; None where it was not asked for one."""


@dataclass(frozen=True, slots=True)
class InboundFailed(Event):
    """A client has connected to the listening port, and no handshake came about."""

    peer: str
    error: SipsuaError
    """A `CertificateRefused` where the client's certificate was refused; its Verdict says why."""


@dataclass(frozen=True, slots=True)
class InboundClosed(Event):
    """A connection to the listening port that stood is gone."""

    peer: str
    reason: str
    """In words."""


@dataclass(frozen=True, slots=True)
class InboundRefused(Event):
    """Connections to the listening port are turned away, or cannot be taken. Told once, until the reason is gone."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class CallEvent(Event):
    """Base of what happens to a call."""

    call: int
    """Number of the call in its account."""


class EndedBy(StrEnum):
    """Who ended a call."""

    US = "us"
    THEM = "them"
    NOBODY = "nobody"
    """The flow broke, an answer did not come, the session ran out."""


@dataclass(frozen=True, slots=True)
class CallDialled(CallEvent):
    """We call somebody."""

    uri: str
    """Whom."""
    referred: int | None = None
    """The call of ours whose other side has asked for this one (RFC 3515)."""


@dataclass(frozen=True, slots=True)
class CallOffered(CallEvent):
    """Somebody calls: `answer` or `reject` it; it rings until then."""

    caller: str
    """The URI of who calls."""
    display: str
    """The name that is shown with it; empty where there is none."""
    called: str
    """The URI that was called."""
    replaces: int | None = None
    """The call of ours that this one takes the place of (RFC 3891): it is to be answered at once."""
    auto_answer: bool = False
    """The other side asks that it be answered without a hand (Call-Info or Alert-Info)."""
    secure: bool = False
    """Signalling is TLS up to the caller: the Request-URI and the Contact are sips."""


@dataclass(frozen=True, slots=True)
class CallAnswerAsked(CallEvent):
    """The PBX presses the key that answers (NOTIFY with Event: talk)."""


@dataclass(frozen=True, slots=True)
class CallProgressed(CallEvent):
    """The other side told of progress: 100 Trying, 180 Ringing, 183 Session Progress ..."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class CallMedia(CallEvent):
    """What was agreed about the voice: it begins, or changes."""

    agreed: Agreed
    early: bool
    """True before the call is answered."""


@dataclass(frozen=True, slots=True)
class CallAnswered(CallEvent):
    """The call stands: answered and acknowledged."""

    peer: str
    """The URI of who answered, or called."""


@dataclass(frozen=True, slots=True)
class CallHoldChanged(CallEvent):
    """Who holds the call now."""

    by_us: bool
    by_them: bool


@dataclass(frozen=True, slots=True)
class CallChangeRefused(CallEvent):
    """The other side did not take a change (hold, resume, refresh): the call goes on as it was."""

    error: SipsuaError


@dataclass(frozen=True, slots=True)
class CallHeard(CallEvent):
    """The first packet of their voice came."""


@dataclass(frozen=True, slots=True)
class CallDigits(CallEvent):
    """Keys were pressed on the other side."""

    digits: str
    by_info: bool
    """By SIP INFO, and not in the stream."""


@dataclass(frozen=True, slots=True)
class CallTransferAsked(CallEvent):
    """The other side asks us to call somebody else in its place (RFC 3515)."""

    target: str
    """The URI to call."""
    replaces: bool
    """An attended transfer: the new call takes the place of one that stands."""
    referred_by: str


@dataclass(frozen=True, slots=True)
class CallTransferProgressed(CallEvent):
    """How the transfer goes that we asked for."""

    status: int
    """Of the new call, as the other side tells it; of our REFER where it was refused."""
    reason: str
    final: bool
    """Nothing more will be told."""


@dataclass(frozen=True, slots=True)
class CallSuspended(CallEvent):
    """The account has lost its flow: the call stands, and waits for a new one."""


@dataclass(frozen=True, slots=True)
class CallResumed(CallEvent):
    """The account has a flow again, and the other side knows the way."""


@dataclass(frozen=True, slots=True)
class CallEnded(CallEvent):
    """The call is over, or never came about."""

    by: EndedBy
    status: int
    """Final status of the INVITE: 200 where the call was answered."""
    reason: str
    """In words: the reason phrase, or that of the Reason field."""
    error: SipsuaError | None
    """What to tell a person; None for an orderly end."""


@dataclass(frozen=True, slots=True)
class MessageReceived(Event):
    """A text came (RFC 3428)."""

    sender: str
    """The URI of who sent it."""
    text: str


@dataclass(frozen=True, slots=True)
class VoicemailChanged(Event):
    """What the mailbox holds (RFC 3842)."""

    waiting: bool
    """The lamp is lit."""
    new: int | None
    """Voice messages; None where the server tells no numbers."""
    old: int | None
    mailbox: str | None
    """The URI to dial for them."""


@dataclass(frozen=True, slots=True)
class LampChanged(Event):
    """Somebody whom we watch has begun, answered or ended a call (RFC 4235)."""

    uri: str
    """Of whom we watch."""
    state: str
    """`terminated` (no call), `trying`, `proceeding`, `early` (it rings) or `confirmed` (it talks)."""
    remote: str | None
    """URI of the one that the call is with."""
    direction: str | None
    """`initiator` or `recipient`."""


@dataclass(frozen=True, slots=True)
class SubscriptionEnded(Event):
    """A subscription was refused, ended or lost."""

    package: str
    uri: str
    error: SipsuaError | None
    retry_in: float | None
    """Seconds until it is begun anew; None where it is not."""


@dataclass(frozen=True, slots=True)
class CheckSyncAsked(Event):
    """The server wants the phone to look for a new configuration (NOTIFY with Event: check-sync)."""

    reboot: bool
