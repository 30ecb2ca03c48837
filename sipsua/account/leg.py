"""One dialog of a call, with its side of offer and answer: a call that forks has several for a while, and one in the end.

Who owes whom an answer is RFC 3264's business and the session's; when an offer or an answer may travel, and in which message, is told in
RFC 3261 section 13.2.1, RFC 3262 section 5 and RFC 3311 section 5. Here are those rules, so that the call need not know them.
"""

from __future__ import annotations

from copy import copy

from sipsua.errors import MalformedMessage, SipsuaError
from sipsua.media.offer import Agreed, Direction, Rejected, Session
from sipsua.media.sdp import Description
from sipsua.sip.dialog import Dialog
from sipsua.sip.message import Header, Message

SDP = "application/sdp"


class Leg:
    """One dialog of a call."""

    __slots__ = ("answered", "dialog", "offered", "reliable", "remote_rseq", "session", "wish")

    def __init__(self, dialog: Dialog, session: Session, *, offered: bool) -> None:
        """`session` is copied: another fork answers the same offer otherwise. `offered`: our offer is under way."""
        self.dialog = dialog
        self.session = copy(session)
        self.offered = offered
        """An offer of ours waits for its answer."""
        self.answered = False
        """An answer of theirs has come, provisional or not."""
        self.reliable = False
        """It came in a provisional response that was acknowledged: it is the answer (RFC 3262 section 5)."""
        self.wish = Direction.SENDRECV
        """What we want to do, whatever the other side lets us."""
        self.remote_rseq: int | None = None
        """RSeq of the last reliable provisional response that was taken (RFC 3262 section 4)."""

    def offer(self) -> bytes:
        """Our next offer."""
        self.offered = True
        return bytes(self.session.offer(self.wish))

    def take(self, message: Message) -> bytes | None:
        """A message of the other side: its body is the answer to our offer, or an offer, whose answer is returned; None where none is due.

        Raises `Rejected` and MalformedMessage.
        """
        body = description(message)
        if body is None:
            return None
        if self.offered:
            self.session.accept(Description.parse(body))
            self.offered = False
            self.answered = True
            return None
        answer, _ = self.session.answer(Description.parse(body), self.wish)
        return bytes(answer)

    def ask_again(self, session: Session) -> None:
        """The offer of `session` is to be answered once more: what came in a provisional response was a foretaste, and ought to be, but is
        not always, the same in the final one (RFC 3261 section 13.2.1)."""
        self.session = copy(session)
        self.offered = True

    def abandon(self) -> None:
        """Our offer was refused: what was agreed before holds."""
        if self.offered:
            self.session.abandon()
            self.offered = False

    @property
    def agreed(self) -> Agreed | None:
        """What holds."""
        return self.session.agreed


def description(message: Message) -> bytes | None:
    """The session description in a message; None where it has none. Raises MalformedMessage for another body that is said to be needed."""
    if not message.body:
        return None
    content = (message.first("content-type") or "").partition(";")[0].strip().lower()
    if content == SDP:
        return message.body
    if content.startswith("multipart/"):
        raise MalformedMessage("a body of several parts", status=415)
    return None


def warning(error: SipsuaError) -> list[Header]:
    """The Warning field that tells why (RFC 3261 section 20.43)."""
    code = error.warning if isinstance(error, Rejected) else 399
    text = "".join(mark if " " <= mark <= "~" and mark not in '"\\' else "?" for mark in error.what)
    return [("Warning", f'{code} sipsua "{text}"')]
