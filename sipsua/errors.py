"""One tree of errors: who was wrong, and what to answer.

Every error that leaves sipsua is a `SipsuaError`. Its class says whose fault it was, its text says what happened and where, and
`fix` says what to do about it. Where the wire wants an answer too, the error carries it: `status` is the SIP status code to send,
`alert` the TLS alert.

    SipsuaError
    ├── Misuse               the calling program asked for what cannot be
    │   └── BadConfiguration a value, file or key given to sipsua is unusable
    ├── Defect               sipsua itself is wrong
    ├── MalformedMessage     the peer sent bytes that are not SIP
    ├── Refused              the server said no
    │   └── CredentialsRefused
    ├── Untrusted            the peer's certificate was refused (see trust.verdict.CertificateRefused)
    └── Lost                 there is no flow, or no longer one
        ├── Unreachable      DNS, TCP, or a time-out before TLS began
        ├── HandshakeFailed  TLS could not be negotiated
        ├── FlowLost         an established flow broke
        ├── IdentityRefused  the server did not take our certificate (a HandshakeFailed and a FlowLost: see there)
        └── NoAnswer         the flow stands, the answer does not come

In the rooms without sockets what goes wrong outside is an event, not an exception; `net` translates foreign exceptions into these,
once.
"""

from __future__ import annotations

import unicodedata


class SipsuaError(Exception):
    """Base of all errors that sipsua raises on purpose."""

    status: int | None = None
    """SIP status code that answers this error on the wire, if any."""
    alert: int | None = None
    """TLS alert number (RFC 8446 section 6) that answers this error on the wire, if any."""

    def __init__(self, what: str, *, fix: str = "", kind: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.kind = kind
        """What it was in a few words, without the names and numbers of the case: errors that are alike have the same."""

    def __str__(self) -> str:
        return f"{self.what} ({self.fix})" if self.fix else self.what


class Misuse(SipsuaError):
    """The calling program asked for something that cannot be done. Never caused by what a peer sends."""


class BadConfiguration(Misuse):
    """A value, a file or a key given to sipsua cannot be used."""


class Defect(SipsuaError):
    """sipsua reached a state that it should not: please report it."""

    status: int | None = 500
    alert: int | None = 80


class MalformedMessage(SipsuaError):
    """The peer sent bytes that are no SIP message, or one that RFC 3261 forbids."""

    status: int = 400

    def __init__(self, what: str, *, status: int = 400, fatal: bool = False, fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.status = status
        self.fatal = fatal
        """True where the framing of the stream is lost, so that the flow must be closed."""


class Refused(SipsuaError):
    """The server answered with a final status that is no success."""

    def __init__(self, what: str, *, status: int, reason: str = "", fix: str = "") -> None:
        super().__init__(what, fix=fix, kind=f"status {status}")
        self.status = status
        self.reason = reason


class CredentialsRefused(Refused):
    """The server challenged again, with a fresh nonce, what was answered rightly: user name or password is wrong."""


class Untrusted(SipsuaError):
    """The peer's certificate was refused. `trust.verdict.CertificateRefused` is the one raised, with the Verdict."""

    alert: int | None = 46


class Lost(SipsuaError):
    """There is no flow to the server, or no longer one."""


class Unreachable(Lost):
    """The server's name did not resolve, or no TCP connection came about."""


class HandshakeFailed(Lost):
    """TCP stood, but TLS could not be negotiated."""

    def __init__(self, what: str, *, alert: int | None = None, fix: str = "", kind: str = "") -> None:
        super().__init__(what, fix=fix, kind=kind)
        self.alert = alert


class FlowLost(Lost):
    """An established flow broke: closed, reset, or unusable."""


class IdentityRefused(HandshakeFailed, FlowLost):
    """The server wants a certificate of ours, or did not take the one that it got.

    In TLS 1.3 it says so when our half of the handshake is done already (RFC 8446 section 4.4.2.4), on what looks like an
    established flow: so this is a failed handshake, whenever it comes, and may be a lost flow.
    """


class NoAnswer(Lost):
    """Nothing came back in time."""


def printable(text: str, *, lines: bool = False) -> str:
    """A stranger's text made fit to print: control, format and unpaired characters as escapes.

    Names in certificates, reason phrases and whole messages come from whoever answered; as they are, they could move the cursor,
    recolour the screen, or break a line of a log in two. With `lines`, line feeds stay and CR LF counts as one.
    """
    if text.isprintable():
        return text
    if lines:
        text = text.replace("\r\n", "\n")
    return "".join(
        character
        if (character == "\n" and lines) or unicodedata.category(character) not in _HARMFUL
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of what is no visible character: escape sequences and bidirectional overrides are of these."""
