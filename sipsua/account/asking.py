"""One request of ours that is no REGISTER, up to its last answer: challenged, it is asked again with credentials.

Calls, subscriptions and messages all ask this way. What goes wrong below is told in SIP's own words, as RFC 3261 section 8.1.3.1 has it:
no answer is a 408 that nobody sent, a broken flow a 503.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sipsua.account.config import AccountConfig, Target
from sipsua.account.persona import Dice
from sipsua.account.proof import Keyring
from sipsua.errors import FlowLost, MalformedMessage, NoAnswer, Refused, SipsuaError, printable
from sipsua.sip.message import MAGIC_COOKIE, Header, Request, Response
from sipsua.sip.timers import T1

MAX_ROUNDS = 6
"""Requests of one asking: a challenge of proxy and server each and a stale nonce fit; who asks for more is going round in circles."""


class Answer(NamedTuple):
    """What came of a request."""

    status: int
    """Of the response; 408 where none came, 503 where the flow broke."""
    response: Response | None
    """None where nobody sent it."""
    error: SipsuaError | None
    """What to tell a person; None for a provisional or successful response."""


class Surroundings(Protocol):
    """What a request needs of its account."""

    config: AccountConfig
    dice: Dice
    target: Target
    sent_by: str

    @property
    def keyring(self) -> Keyring:
        """Its credentials."""

    def send_request(self, branch: str, method: str, data: bytes, now: float, owner: object) -> None:
        """Send a request and begin its transaction."""


class Asking:
    """One request, asked until it is answered."""

    __slots__ = ("_account", "_credentials", "_make", "_rounds", "_take", "branch", "request")

    def __init__(
        self,
        account: Surroundings,
        make: Callable[[str], Request],
        take: Callable[[Answer, float], None],
        now: float,
    ) -> None:
        """`make` gives the request for a Via value, a new CSeq each time; `take` hears each answer but those that were dealt with here."""
        self._account = account
        self._make = make
        self._take = take
        self._rounds = 0
        self._credentials: dict[str, str] = {}
        self.branch = ""
        """Of the transaction that is under way."""
        self.request: Request
        """As it was sent last."""
        self._send(now)

    def receive(self, response: Response, now: float) -> None:
        """A response came."""
        status = response.status
        error: SipsuaError | None = None
        if status in (401, 407):
            try:
                error = self._account.keyring.answer(response, self._account.target, self._credentials)
            except MalformedMessage as malformed:
                error = refusal(self.request, response, f"its challenge cannot be read: {malformed.what}")
            if error is None and self._rounds < MAX_ROUNDS:
                self._send(now)
                return
            error = error or refusal(self.request, response, f"it is not satisfied after {self._rounds} requests")
        elif status >= 300:
            error = refusal(self.request, response)
        elif status >= 200:
            self._account.keyring.accepted(response)
        self._take(Answer(status, response, error), now)

    def time_out(self, now: float) -> None:
        """No final answer came (Timer B or F)."""
        error = NoAnswer(
            f"{self._account.target} gave no final answer to {self.request.method} within {64 * T1:g} s",
            fix="see whether the server handles such requests at all, and look at its log",
            kind=f"to {self.request.method}",
        )
        self._take(Answer(408, None, error), now)

    def lose_flow(self, error: FlowLost, now: float) -> None:
        """The flow is gone, and no answer can come any more."""
        self._take(Answer(503, None, error), now)

    def _send(self, now: float) -> None:
        account = self._account
        persona = account.config.persona
        self._rounds += 1
        self.branch = MAGIC_COOKIE + persona.branch.make(account.dice)
        request = self._make(
            f"SIP/2.0/TLS {account.sent_by};branch={self.branch}" + (";rport" if persona.rport else "")
        )
        self._credentials = account.keyring.authorize(request.method, request.uri_text, request.body, account.dice)
        request.headers[-1:-1] = self._credentials.items()
        self.request = request
        account.send_request(self.branch, request.method, bytes(request), now, self)


def refusal(request: Request, response: Response, detail: str = "") -> Refused:
    """A final response that is no success as an error, with what the server says about it."""
    status, reason = response.status, printable(response.reason)
    what = f"{request.method} of {printable(request.uri_text)} was answered {status} {reason}"
    if detail:
        what += f", but {detail}" if status < 300 else f": {detail}"
    for name in ("retry-after", "warning", "reason"):
        value = response.first(name)
        if value:
            what += f" [{name.title()}: {printable(value[:200])}]"
    return Refused(what, status=status, reason=reason, fix=_FIXES.get(status) or _FAMILY_FIXES[min(status // 100, 6)])


def content_headers(content_type: str | None, body: bytes) -> list[Header]:
    """The fields that tell of a body: always the last ones of a message of ours."""
    headers = [("Content-Type", content_type)] if content_type is not None else []
    return [*headers, ("Content-Length", str(len(body)))]


_FIXES = {
    400: "the other side finds fault with our request: see its log for what it misses",
    403: "it is forbidden: check what this user may dial",
    404: "nobody has this address: check it, and the dial plan",
    408: "the other side does not answer: see whether it is reachable",
    410: "the address is gone: check it",
    415: "the other side does not take this kind of content",
    420: "the other side does not know an extension that was required",
    480: "the phone that was called is not registered, or takes no calls now",
    481: "the other side knows nothing of this call (any more)",
    486: "the phone that was called is busy",
    488: "the two have no codec or no encryption in common: compare the codecs, and --srtp",
    489: "the other side does not know this event package",
    491: "both sides asked at once: try again",
    500: "the server failed inside: see its log",
    502: "the server's own next hop failed: see its log",
    503: "the server is overloaded or in maintenance: try later",
    504: "a server behind this one does not answer in time: see its log",
    600: "the one who was called is busy everywhere",
    603: "the one who was called declined",
    606: "the two have no codec or no encryption in common: compare the codecs, and --srtp",
}

_FAMILY_FIXES = {
    2: "see the log of the other side",
    3: "call the address that it names",
    4: "see the log of the other side for its reason",
    5: "the server failed: see its log",
    6: "the one who was called cannot be reached anywhere",
}
