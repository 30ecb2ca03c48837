"""The voice encrypted: SRTP and SRTCP (RFC 3711, RFC 7714) by libsrtp, with the keys that the session descriptions brought.

What does not fit the key is a number, not an error: anybody can send octets to a port.
"""

from __future__ import annotations

from enum import StrEnum

from pylibsrtp import Error, Policy, Session

from sipsua.media.sdes import SrtpKey

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}

REPLAY_WINDOW = 1024
"""Packets behind the highest that are still taken: 20 s of voice, which is later than anybody plays."""


class Discard(StrEnum):
    """Why a packet was discarded."""

    AUTHENTICATION = "authentication"
    """Another key, or changed on its way."""
    REPLAY = "replay"
    """It was here before, or is older than the window."""
    MALFORMED = "malformed"


class Protection:
    """The encryption of one stream, both ways. Its `repr` holds no key."""

    __slots__ = ("_inbound", "_outbound")

    def __init__(self, send: SrtpKey, receive: SrtpKey) -> None:
        self._outbound = _session(send, Policy.SSRC_ANY_OUTBOUND)
        self._inbound = _session(receive, Policy.SSRC_ANY_INBOUND)

    def protect(self, packet: bytes) -> bytes:
        """An RTP packet of ours as it goes to the wire."""
        return self._outbound.protect(packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """An RTCP packet of ours as it goes to the wire."""
        return self._outbound.protect_rtcp(packet)

    def unprotect(self, packet: bytes) -> bytes | Discard:
        """What was in an RTP packet of theirs, or why it is discarded."""
        try:
            return self._inbound.unprotect(packet)
        except (Error, ValueError) as error:
            return _discard(error)

    def unprotect_rtcp(self, packet: bytes) -> bytes | Discard:
        """What was in an RTCP packet of theirs, or why it is discarded."""
        try:
            return self._inbound.unprotect_rtcp(packet)
        except (Error, ValueError) as error:
            return _discard(error)


def _session(key: SrtpKey, direction: int) -> Session:
    policy = Policy(key=key.key, ssrc_type=direction, srtp_profile=_PROFILES[key.suite])
    if direction == Policy.SSRC_ANY_INBOUND:
        policy.window_size = REPLAY_WINDOW
    return Session(policy)


def _discard(error: Exception) -> Discard:
    words = str(error)
    if "authentication" in words or "cipher" in words:
        return Discard.AUTHENTICATION
    return Discard.REPLAY if "index" in words else Discard.MALFORMED
