"""What went wrong with TLS, in the words of the one who must mend it.

OpenSSL says `tlsv13 alert certificate required` or `wrong version number`. A person wants to know who ended what, what that
usually means between a phone and a PBX, and which setting of which side to look at. Here are only words: the TLS pipe hands
in what OpenSSL said, and gets the error to raise.
"""

from __future__ import annotations

from typing import Final

from sipsua.errors import FlowLost, HandshakeFailed, IdentityRefused
from sipsua.trust.policy import Policy
from sipsua.trust.verdict import ALERT_NAMES

# In all of these `peer` is the name that was asked for, or `the client` where we are the server; then there is no policy.


def alert_in(reason: str) -> int | None:
    """The alert that the peer sent, if that is what OpenSSL's reason reports, such as `tlsv1 alert unknown ca`."""
    protocol, _, name = reason.partition(" ")
    return _ALERTS.get(name.removeprefix("alert ").replace(" ", "_")) if protocol.startswith(("tls", "ssl")) else None


def handshake_fault(peer: str, policy: Policy | None, reason: str, *, shown: bool) -> HandshakeFailed:
    """What ended a handshake. `shown` tells whether the server's certificate had come by then."""
    versions = policy.versions if policy is not None else "ours"
    alert = alert_in(reason)
    if alert is None:
        what, fix = _REASONS.get(reason, ("failed: {reason}", _ITS_LOG))
        return HandshakeFailed(
            f"TLS handshake with {peer} {what.format(versions=versions, reason=reason)}", fix=fix, kind=reason
        )
    kind = f"alert {ALERT_NAMES[alert]}"
    what = f"{peer} ended the TLS handshake with the alert {ALERT_NAMES[alert]} ({alert})"
    if policy is None:
        return HandshakeFailed(
            what, fix="look at the client's log: it says what it does not like in this server", kind=kind
        )
    if alert == 40 and shown and policy.identity is None:
        # In TLS 1.2 handshake_failure is the answer to a client without a certificate (RFC 5246 section 7.4.6).
        return IdentityRefused(
            f"{what} after showing its certificate: it seems to demand one of ours", fix=_SHOW_ONE, kind=kind
        )
    if alert in _ABOUT_OUR_CERTIFICATE:
        return _identity_refused(what, policy, kind)
    return HandshakeFailed(what, fix=_ALERT_FIXES.get(alert, _ITS_LOG).format(versions=versions, peer=peer), kind=kind)


def flow_fault(peer: str, policy: Policy | None, reason: str) -> FlowLost:
    """What broke an established connection; in TLS 1.3 also the refusal of our certificate."""
    alert = alert_in(reason)
    if alert is None:
        return FlowLost(
            f"what {peer} sent is no TLS record of this connection: {reason}",
            fix="something on the way changes the bytes, or the peer's TLS is broken; connect again",
            kind=reason,
        )
    kind = f"alert {ALERT_NAMES[alert]}"
    what = f"{peer} broke the TLS connection with the alert {ALERT_NAMES[alert]} ({alert})"
    if policy is not None and alert in _ABOUT_OUR_CERTIFICATE:
        return _identity_refused(what, policy, kind)
    return FlowLost(what, fix=f"{_ITS_LOG}; connect again", kind=kind)


def not_tls(peer: str, policy: Policy | None, data: bytes) -> HandshakeFailed:
    """The first octet that the peer sent is no content type of TLS (RFC 8446 section 5.1)."""
    spoken = "SIP" if b"SIP/2.0" in data else "HTTP" if b"HTTP/" in data else "something else"
    kind = f"not TLS but {spoken}"
    seen = data[:40].partition(b"\r\n")[0].decode("ascii", "backslashreplace")
    if policy is None:
        return HandshakeFailed(
            f"{peer} does not speak TLS but {spoken}: {seen!r}", fix="set its transport to TLS", kind=kind
        )
    return HandshakeFailed(
        f"{peer} does not speak TLS on this port but {spoken}: {seen!r}",
        fix="is it the plain-text SIP port 5060? SIP over TLS has 5061",
        kind=kind,
    )


def cut_off(peer: str, *, heard: bool, established: bool) -> HandshakeFailed | FlowLost:
    """TCP ended without an alert and without close_notify; `heard` tells whether anything had come."""
    if established:
        return FlowLost(
            f"{peer} closed the connection without a word in TLS (no close_notify)",
            fix="connect again; where it happens often, look at its log and its limits",
            kind="closed without close_notify",
        )
    if heard:
        return HandshakeFailed(
            f"{peer} closed the connection in the middle of the TLS handshake, without an alert",
            fix="look at its log: some servers refuse a certificate or a version without saying so",
            kind="closed in the middle",
        )
    return HandshakeFailed(
        f"{peer} closed the connection instead of beginning a TLS handshake",
        fix="check that this is its TLS port (5061 for SIP), and that it is not out of connections",
        kind="closed at once",
    )


def _identity_refused(what: str, policy: Policy, kind: str) -> IdentityRefused:
    """The server's refusal of our certificate, or of our having none, with what to do about it."""
    if policy.identity is None:
        return IdentityRefused(f"{what}: it demands a certificate of ours", fix=_SHOW_ONE, kind=kind)
    return IdentityRefused(
        f"{what}: it refused our certificate {policy.identity.subject}",
        fix="have the server trust its issuer, and look at its validity, its purpose and the intermediates in our file",
        kind=kind,
    )


NO_CERTIFICATE: Final = "peer did not return a certificate"
"""OpenSSL's reason where we are the server and demand one."""

_ALERTS: Final = {name: number for number, name in ALERT_NAMES.items() if number} | {"user_cancelled": 90}
"""As OpenSSL spells them in its reasons, after `tlsv1 alert` and the like."""

_ABOUT_OUR_CERTIFICATE: Final = frozenset({42, 43, 44, 45, 46, 48, 49, 116})
"""Alerts that a server sends because of a client's certificate."""

_ITS_LOG: Final = "look at its log"
_SHOW_ONE: Final = "give the account a certificate and its key that this server trusts"

_ALERT_FIXES: Final = {
    40: "it shares no cipher suite, group or signature algorithm with us: look at its TLS settings and its log",
    70: "we offer {versions}: allow one of them there, or the server's versions in the account's policy",
    71: "it wants stronger cipher suites or keys than ours: look at its TLS settings",
    80: "look at its log: it has a fault of its own, or reports so what it does not like",
    112: "it knows no host {peer}: give the account the name that the server is configured for",
}
"""What to do about the alerts of a server."""

_REASONS: Final = {
    "close_notify": ("failed: it closed the connection (close_notify)", _ITS_LOG),
    "unsupported protocol": (
        "failed: the peer wants another TLS version than {versions}",
        "allow a version on both sides",
    ),
    "no shared cipher": ("failed: no cipher suite in common", "look at the cipher settings of both sides"),
    NO_CERTIFICATE: ("failed: it showed no certificate", "give the client a certificate"),
    "certificate verify failed": (
        "failed: its certificate leads to no trust anchor, or cannot be used",
        "trust the issuer of the client's certificate, and look at its validity and purpose",
    ),
    "dh key too small": ("failed: its Diffie-Hellman parameters are too short", "configure 2048 bits there, or ECDHE"),
    "ee key too small": ("failed: the key of its certificate is too short", "reissue it with 2048 bits RSA or P-256"),
    "ca md too weak": ("failed: a certificate of its chain is signed with a weak hash", "reissue it with SHA-256"),
    "unsafe legacy renegotiation disabled": (
        "failed: it lacks RFC 5746, secure renegotiation",
        "update its TLS library",
    ),
}
"""OpenSSL's reasons in the words of the one who must mend it, with what to do."""
