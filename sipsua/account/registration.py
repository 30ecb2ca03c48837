"""The whole life of a registration as a table: RFC 3261 section 10.2 with its answers (10.3, 21), RFC 5626's back-off.

What happens (an input) in which state gives the next state and an action. `receive` turns a response into an input, the account feeds
the rest: wishes, flows, timers. Nothing here knows a socket: to be connected is a wish (`Account.wants_flow`), and bytes go out through
the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from sipsua.account import registrar, request
from sipsua.account.config import AccountConfig, Target
from sipsua.account.persona import Dice, fraction
from sipsua.account.proof import Proof, kind
from sipsua.errors import CredentialsRefused, Defect, Lost, MalformedMessage, Refused, SipsuaError, printable
from sipsua.events import Event, Registered, RegistrationFailed, Unregistered
from sipsua.sip.digest import Challenge, DigestClient, strongest
from sipsua.sip.message import MAGIC_COOKIE, Response


class State(StrEnum):
    """Where a registration stands."""

    UNREGISTERED = "unregistered"
    CONNECTING = "connecting"
    """Waits for a flow."""
    REGISTERING = "registering"
    REGISTERED = "registered"
    REFRESHING = "refreshing"
    """The binding stands and is being renewed."""
    WAITING = "waiting"
    """The next attempt comes after the back-off."""
    LEAVING = "leaving"
    """Not wanted any more, but an answer is still to come: RFC 3261 section 10.2 allows one REGISTER at a time."""
    UNREGISTERING = "unregistering"
    FAILED = "failed"
    """Refused for good: only a new wish begins again."""


class Input(StrEnum):
    """What can happen to a registration."""

    WANTED = "wanted"
    UNWANTED = "unwanted"
    WITHDRAWN = "withdrawn"
    """Not wanted any more after a failure, while a binding of before may stand and there is a flow to take it away on."""
    FLOW_OPENED = "flow opened"
    FLOW_FAILED = "flow failed"
    FLOW_REFUSED = "flow refused"
    """The certificate was refused: another try cannot mend that."""
    FLOW_LOST = "flow lost"
    ACCEPTED = "accepted"
    """2xx."""
    AGAIN = "again"
    """An answer that a changed request may satisfy: a challenge, 423, a redirect on this flow."""
    ELSEWHERE = "elsewhere"
    """A redirect to another server."""
    REFUSED = "refused"
    """A final answer that another try cannot mend."""
    UNAVAILABLE = "unavailable"
    """A final answer that may be another one later."""
    NO_ANSWER = "no answer"
    """Timer F."""
    TIMER = "timer"
    """The refresh or the next attempt is due."""


class Action(StrEnum):
    """What an input makes the registration do."""

    CONNECT = "connect"
    SEND = "send"
    """REGISTER with our binding."""
    HOLD = "hold"
    """Report the binding, and set its refresh."""
    WAIT = "wait"
    """Report the failure, and set the next attempt."""
    RECOVER = "recover"
    """As `wait`, but a flow that served and broke is no failure to register (RFC 5626 section 4.5)."""
    DROP = "drop"
    """As `wait`, and the flow is of no use any more."""
    GIVE_UP = "give up"
    """Report the failure; no next attempt."""
    REMOVE = "remove"
    """REGISTER that takes our binding away."""
    DONE = "done"
    """Report that the binding is gone."""
    STOP = "stop"
    """Nobody can be asked: forget the wish."""
    NONE = "none"


TABLE: Mapping[tuple[State, Input], tuple[State, Action]] = {
    (State.UNREGISTERED, Input.WANTED): (State.CONNECTING, Action.CONNECT),
    (State.UNREGISTERED, Input.UNWANTED): (State.UNREGISTERED, Action.NONE),
    (State.UNREGISTERED, Input.FLOW_OPENED): (State.UNREGISTERED, Action.NONE),
    (State.UNREGISTERED, Input.FLOW_FAILED): (State.UNREGISTERED, Action.NONE),
    (State.UNREGISTERED, Input.FLOW_REFUSED): (State.UNREGISTERED, Action.NONE),
    (State.UNREGISTERED, Input.FLOW_LOST): (State.UNREGISTERED, Action.NONE),
    (State.CONNECTING, Input.WANTED): (State.CONNECTING, Action.NONE),
    (State.CONNECTING, Input.UNWANTED): (State.UNREGISTERED, Action.STOP),
    (State.CONNECTING, Input.FLOW_OPENED): (State.REGISTERING, Action.SEND),
    (State.CONNECTING, Input.FLOW_FAILED): (State.WAITING, Action.WAIT),
    (State.CONNECTING, Input.FLOW_REFUSED): (State.FAILED, Action.GIVE_UP),
    (State.CONNECTING, Input.FLOW_LOST): (State.CONNECTING, Action.NONE),
    (State.REGISTERING, Input.WANTED): (State.REGISTERING, Action.NONE),
    (State.REGISTERING, Input.UNWANTED): (State.LEAVING, Action.NONE),
    (State.REGISTERING, Input.FLOW_LOST): (State.WAITING, Action.WAIT),
    (State.REGISTERING, Input.ACCEPTED): (State.REGISTERED, Action.HOLD),
    (State.REGISTERING, Input.AGAIN): (State.REGISTERING, Action.SEND),
    (State.REGISTERING, Input.ELSEWHERE): (State.CONNECTING, Action.CONNECT),
    (State.REGISTERING, Input.REFUSED): (State.FAILED, Action.GIVE_UP),
    (State.REGISTERING, Input.UNAVAILABLE): (State.WAITING, Action.WAIT),
    (State.REGISTERING, Input.NO_ANSWER): (State.WAITING, Action.DROP),
    (State.REGISTERED, Input.WANTED): (State.REGISTERED, Action.NONE),
    (State.REGISTERED, Input.UNWANTED): (State.UNREGISTERING, Action.REMOVE),
    (State.REGISTERED, Input.FLOW_LOST): (State.WAITING, Action.RECOVER),
    (State.REGISTERED, Input.TIMER): (State.REFRESHING, Action.SEND),
    (State.REFRESHING, Input.WANTED): (State.REFRESHING, Action.NONE),
    (State.REFRESHING, Input.UNWANTED): (State.LEAVING, Action.NONE),
    (State.REFRESHING, Input.FLOW_LOST): (State.WAITING, Action.RECOVER),
    (State.REFRESHING, Input.ACCEPTED): (State.REGISTERED, Action.HOLD),
    (State.REFRESHING, Input.AGAIN): (State.REFRESHING, Action.SEND),
    (State.REFRESHING, Input.ELSEWHERE): (State.CONNECTING, Action.CONNECT),
    (State.REFRESHING, Input.REFUSED): (State.WAITING, Action.WAIT),
    (State.REFRESHING, Input.UNAVAILABLE): (State.WAITING, Action.WAIT),
    (State.REFRESHING, Input.NO_ANSWER): (State.WAITING, Action.DROP),
    (State.WAITING, Input.WANTED): (State.CONNECTING, Action.CONNECT),
    (State.WAITING, Input.UNWANTED): (State.UNREGISTERED, Action.STOP),
    (State.WAITING, Input.WITHDRAWN): (State.UNREGISTERING, Action.REMOVE),
    (State.WAITING, Input.FLOW_OPENED): (State.WAITING, Action.NONE),
    (State.WAITING, Input.FLOW_FAILED): (State.WAITING, Action.NONE),
    (State.WAITING, Input.FLOW_REFUSED): (State.WAITING, Action.NONE),
    (State.WAITING, Input.FLOW_LOST): (State.WAITING, Action.NONE),
    (State.WAITING, Input.TIMER): (State.CONNECTING, Action.CONNECT),
    (State.LEAVING, Input.WANTED): (State.REGISTERING, Action.NONE),
    (State.LEAVING, Input.UNWANTED): (State.LEAVING, Action.NONE),
    (State.LEAVING, Input.WITHDRAWN): (State.UNREGISTERING, Action.REMOVE),
    (State.LEAVING, Input.FLOW_LOST): (State.UNREGISTERED, Action.DONE),
    (State.LEAVING, Input.ACCEPTED): (State.UNREGISTERING, Action.REMOVE),
    (State.LEAVING, Input.AGAIN): (State.UNREGISTERING, Action.REMOVE),
    (State.LEAVING, Input.ELSEWHERE): (State.UNREGISTERED, Action.DONE),
    (State.LEAVING, Input.REFUSED): (State.UNREGISTERED, Action.DONE),
    (State.LEAVING, Input.UNAVAILABLE): (State.UNREGISTERED, Action.DONE),
    (State.LEAVING, Input.NO_ANSWER): (State.UNREGISTERED, Action.DONE),
    (State.UNREGISTERING, Input.UNWANTED): (State.UNREGISTERING, Action.NONE),
    (State.UNREGISTERING, Input.FLOW_LOST): (State.UNREGISTERED, Action.DONE),
    (State.UNREGISTERING, Input.ACCEPTED): (State.UNREGISTERED, Action.DONE),
    (State.UNREGISTERING, Input.AGAIN): (State.UNREGISTERING, Action.REMOVE),
    (State.UNREGISTERING, Input.ELSEWHERE): (State.UNREGISTERED, Action.DONE),
    (State.UNREGISTERING, Input.REFUSED): (State.UNREGISTERED, Action.DONE),
    (State.UNREGISTERING, Input.UNAVAILABLE): (State.UNREGISTERED, Action.DONE),
    (State.UNREGISTERING, Input.NO_ANSWER): (State.UNREGISTERED, Action.DONE),
    (State.FAILED, Input.WANTED): (State.CONNECTING, Action.CONNECT),
    (State.FAILED, Input.UNWANTED): (State.UNREGISTERED, Action.STOP),
    (State.FAILED, Input.FLOW_OPENED): (State.FAILED, Action.NONE),
    (State.FAILED, Input.FLOW_FAILED): (State.FAILED, Action.NONE),
    (State.FAILED, Input.FLOW_REFUSED): (State.FAILED, Action.NONE),
    (State.FAILED, Input.FLOW_LOST): (State.FAILED, Action.NONE),
}
"""Next state and action by state and input."""

MAX_ROUNDS = 6
"""Requests of one attempt: a challenge of registrar and proxy each, a stale nonce, a 423 and a redirect fit; a server that asks for
more is going round in circles."""

MAX_RETRY_AFTER = 86_400
"""The longest Retry-After that is waited for, in seconds: the field can say 136 years, and a phone that one wrong answer silences for
longer than a day looks broken to everyone; a server that means it says so again."""

_TEMPORARY = frozenset({408, 430, 480, 486, 491})
"""Answers below 500 that may be other ones later (430 is RFC 5626's Flow Failed)."""
_FOR_GOOD = frozenset({501, 505, 513})
"""Answers from 500 on that stay what they are: no registrar, another SIP, a limit on the length."""


_CHALLENGERS = {
    401: ("the registrar", "www-authenticate", "Authorization", "authentication-info"),
    407: ("the proxy", "proxy-authenticate", "Proxy-Authorization", "proxy-authentication-info"),
}
"""Who challenges, in which header field, where the answer goes, and where the next nonce may come (RFC 3261 section 22)."""


class Surroundings(Protocol):
    """What a registration needs of its account."""

    config: AccountConfig
    dice: Dice
    target: Target

    @property
    def flow_serves(self) -> bool:
        """True while a flow to `target` stands and is not about to be closed."""

    def emit(self, event: Event) -> None:
        """Tell the outside."""

    def connect(self, now: float) -> None:
        """Wish for a flow; `FLOW_OPENED` follows at once where one stands."""

    def drop_flow(self, reason: str, fix: str = "") -> None:
        """The flow is of no use any more."""

    def send_request(self, branch: str, method: str, data: bytes, now: float, owner: object) -> None:
        """Send a request and begin its transaction, whose answers are for `owner`."""


class Registration:
    """One binding of one account."""

    __slots__ = (
        "_account",
        "_aor",
        "_asked_expires",
        "_bound",
        "_challenge_ms",
        "_cseq",
        "_error",
        "_failures",
        "_granted",
        "_held",
        "_proofs",
        "_reason",
        "_request_uri",
        "_retry_after",
        "_rounds",
        "_sent_at",
        "_status",
        "_template",
        "call_id",
        "contact",
        "deadline",
        "expires_at",
        "from_tag",
        "service_route",
        "state",
    )

    def __init__(self, account: Surroundings) -> None:
        config = account.config
        self._account = account
        self.state = State.UNREGISTERED
        self.deadline: float | None = None
        """When to call `handle_timer`, or None."""
        self.service_route: tuple[str, ...] = ()
        """Route values that requests outside any dialog start with (RFC 3608)."""
        self.expires_at: float | None = None
        """When the binding ends unless it is renewed, or None where there is none."""
        self.call_id = ""
        """The Call-ID of all our REGISTERs; empty before the first flow."""
        self._aor = config.aor
        self._request_uri = request.registrar(config)
        self._asked_expires = config.expires
        self._cseq = 0
        self.from_tag = ""
        """The tag of their From; empty before the first flow."""
        self._template = ""
        # what this attempt has come to
        self._rounds = 0
        self._failures = 0
        self._sent_at = 0.0
        self._status = 0
        self._reason = ""
        self._challenge_ms: float | None = None
        self._granted = 0
        self._retry_after = 0
        self._error: SipsuaError | None = None
        self._proofs: dict[str, Proof] = {}
        # bindings
        self.contact = ""
        """Our Contact value; empty before the first flow."""
        self._bound: tuple[str, ...] = ()
        self._held = False

    def step(self, given: Input, now: float, error: SipsuaError | None = None) -> None:
        """Feed an input. `error` says why, where the input is a failure."""
        try:
            state, action = TABLE[self.state, given]
        except KeyError:
            expected = ", ".join(known for state, known in TABLE if state is self.state)
            raise Defect(f"{given} in registration state {self.state}: expected {expected}") from None
        if action is Action.GIVE_UP and (self._bound or not self._account.config.persona.gives_up):
            # Where a binding has stood, configuration and password were right: a server that restarts may know nobody for a while.
            state, action = State.WAITING, Action.WAIT
        self.state = state
        self._error = error
        _ACTIONS[action](self, now)

    def withdraw(self, now: float) -> None:
        """No binding is wanted any more."""
        waits = self.state is State.WAITING
        self.step(Input.WITHDRAWN if waits and self._removable(now) else Input.UNWANTED, now)

    def refresh(self, now: float) -> bool:
        """Renew the binding before its time, where one stands and nothing is under way; returns whether it does."""
        if self.state is not State.REGISTERED:
            return False
        self.step(Input.TIMER, now)
        return True

    def flow_ready(self, host: str, port: int) -> None:
        """A flow stands: our own address on it goes into Via and Contact."""
        config = self._account.config
        sent_by = request.sent_by(host, port)
        host = host.partition("%")[0]
        if not self.call_id:
            persona, dice = config.persona, self._account.dice
            token = persona.call_id_token.make(dice)
            self.call_id = persona.call_id % {"token": token, "line": config.line, "host": host}
            self.from_tag = persona.tag.make(dice)
        self.contact = request.contact(config, self._aor, sent_by)
        self._template = request.template(config, self._aor, sent_by, self.call_id, self.from_tag)

    def receive(self, response: Response, now: float) -> None:
        """A response to our REGISTER."""
        status = response.status
        if status < 200:
            return
        self._status, self._reason = status, printable(response.reason)
        try:
            given, error = self._accept(response) if status < 300 else self._judge(response, now)
        except MalformedMessage as malformed:
            given, error = Input.UNAVAILABLE, self._refusal(response, f"the answer cannot be read: {malformed.what}")
        if self.state is State.LEAVING and given in (Input.REFUSED, Input.UNAVAILABLE) and self._removable(now):
            # It was only the refresh that was refused.
            given = Input.WITHDRAWN
        self.step(given, now, error)

    def handle_timer(self, now: float) -> None:
        """The refresh or the next attempt is due."""
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
            self._begin()
            self.step(Input.TIMER, now)

    # What the answers mean

    def _accept(self, response: Response) -> tuple[Input, SipsuaError | None]:
        for proof in self._proofs.values():
            proof.accepted(response)
        if self.state is not State.UNREGISTERING:
            self._granted = registrar.granted(response, self.contact, self._asked_expires)
            if self._granted == 0:
                return Input.REFUSED, self._refusal(response, "granted no binding")
        if self.state is State.LEAVING:
            # What comes now is a request of its own, with a count of its own.
            self._begin()
        return Input.ACCEPTED, None

    def _judge(self, response: Response, now: float) -> tuple[Input, SipsuaError | None]:
        status = response.status
        if status in (401, 407):
            given, error = self._answer_challenge(response, now)
        elif status == 423:
            given, error = self._ask_longer(response)
        elif 300 <= status < 400:
            given, error = self._follow(response)
        else:
            self._retry_after = min(response.retry_after or 0, MAX_RETRY_AFTER)
            temporary = (500 <= status < 600 and status not in _FOR_GOOD) or status in _TEMPORARY
            return Input.UNAVAILABLE if temporary else Input.REFUSED, self._refusal(response)
        if error is None and self._rounds >= MAX_ROUNDS:
            detail = f"it is not satisfied after {self._rounds} requests"
            return Input.REFUSED, self._refusal(response, detail, fix="see the registrar's log for what it misses")
        return given, error

    def _answer_challenge(self, response: Response, now: float) -> tuple[Input, SipsuaError | None]:
        config = self._account.config
        who, field, name, info = _CHALLENGERS[response.status]
        challenges = Challenge.parse_all(response.index.get(field, ()))
        challenge = strongest(challenges)
        if challenge is None:
            offered = ", ".join(sorted({kind(one) for one in challenges})) or "no Digest"
            return Input.REFUSED, self._refusal(
                response,
                f"it asks for {offered}",
                fix="have the server offer Digest with MD5, SHA-256 or SHA-512-256, without qop or with auth or auth-int",
            )
        proof = self._proofs.get(name)
        if proof is None:
            user = config.auth_user or self._aor.decoded_user or ""
            proof = Proof(DigestClient(user, config.password, order=config.persona.digest_order), info)
            self._proofs[name] = proof
        elif proof.digest.is_refusal(challenge, proof.sent):
            del self._proofs[name]
            return Input.REFUSED, CredentialsRefused(
                f"{who} at {self._account.target} refused user name {proof.digest.username!r} or its password"
                f" with {response.status} (realm {challenge.realm!r})",
                status=response.status,
                reason=self._reason,
                fix="check the user name of the credentials and the password"
                if config.password
                else "give the account its password: it has none",
            )
        proof.digest.answer(challenge)
        if self._challenge_ms is None:
            self._challenge_ms = (now - self._sent_at) * 1000
        return Input.AGAIN, None

    def _ask_longer(self, response: Response) -> tuple[Input, SipsuaError | None]:
        least, asked = response.min_expires, self._asked_expires
        if least is not None and least > asked:
            self._asked_expires = least
            return Input.AGAIN, None
        if least is None:
            said = response.first("min-expires")
            detail, fix = f"{asked} s are too short and it does not say what is enough", "raise --expires"
            if said is not None:
                detail = f"{asked} s are too short, and its Min-Expires '{printable(said[:40])}' cannot be read"
        else:
            detail = f"{asked} s are too short, it says, but {least} s were enough"
            fix = "raise --expires; the server contradicts itself: see its settings"
        return Input.REFUSED, self._refusal(response, detail, fix=fix)

    def _follow(self, response: Response) -> tuple[Input, SipsuaError | None]:
        uri = registrar.redirect(response, self._aor.scheme)
        if uri is None:
            wanted = "sips:" if self._aor.scheme == "sips" else "sips: or transport=tls"
            return Input.REFUSED, self._refusal(
                response, f"it names no Contact with {wanted}", fix="have the server redirect to an address over TLS"
            )
        self._request_uri = request.domain(uri, uri.transport)
        target = Target.of(uri)
        if target == self._account.target:
            return Input.AGAIN, None
        self._account.target = target
        # What one server challenged for is no other's business.
        self._proofs.clear()
        return Input.ELSEWHERE, None

    def _refusal(self, response: Response, detail: str = "", *, fix: str = "") -> Refused:
        return registrar.refusal(response, self._account.target, detail, fix=fix)

    # What the actions do

    def _connect(self, now: float) -> None:
        self.deadline = None
        self._account.connect(now)

    def _send(self, now: float) -> None:
        contact = self.contact
        if self._bound and self._bound != (contact,) and self._standing(now):
            # A binding to a flow that broke: the registrar would send calls into nowhere until it ends.
            contact = ", ".join([contact, *(f"{stale};expires=0" for stale in self._bound if stale != contact)])
        self._transmit(contact, self._asked_expires, now)

    def _remove(self, now: float) -> None:
        bound = self._bound if self.contact in self._bound else (*self._bound, self.contact)
        self._transmit(", ".join(bound), 0, now)

    def _transmit(self, contact: str, expires: int, now: float) -> None:
        self.deadline = None
        self._rounds += 1
        self._cseq += 1
        account = self._account
        persona, dice = account.config.persona, account.dice
        branch = MAGIC_COOKIE + persona.branch.make(dice)
        authorization = ""
        for name, proof in self._proofs.items():
            proof.sent = proof.digest.authorize("REGISTER", self._request_uri, b"", persona.cnonce.make(dice))
            authorization += f"{name}: {proof.sent}\r\n"
        data = self._template % {
            "uri": self._request_uri,
            "branch": branch,
            "cseq": self._cseq,
            "contact": contact,
            "expires": expires,
            "authorization": authorization,
        }
        self._sent_at = now
        account.send_request(branch, "REGISTER", data.encode("utf-8", "surrogateescape"), now, self)

    def _hold(self, now: float) -> None:
        low, high = self._account.config.persona.refresh
        refresh_in = self._granted * (low + (high - low) * fraction(self._account.dice))
        self.deadline = now + refresh_in
        self.expires_at = now + self._granted
        refreshed = self._held and self._bound == (self.contact,)
        self._bound = (self.contact,)
        self._held = True
        self._failures = 0
        event = Registered(
            status=self._status,
            reason=self._reason,
            expires=self._granted,
            refresh_in=refresh_in,
            refreshed=refreshed,
            challenge_ms=self._challenge_ms,
            register_ms=(now - self._sent_at) * 1000,
        )
        self._begin()
        self._account.emit(event)

    def _wait(self, now: float) -> None:
        self._failures += 1
        self._recover(now)

    def _recover(self, now: float) -> None:
        config = self._account.config
        delay = (config.backoff or config.persona.backoff).delay(self._failures, self._account.dice)
        # RFC 5626 section 4.5: Retry-After may make the wait longer. It never makes it shorter, or a server that says 0 would be
        # asked without a pause.
        delay = max(delay, self._retry_after)
        self._fail(delay)
        self.deadline = now + delay

    def _drop(self, now: float) -> None:
        self._account.drop_flow(self._error.what if self._error is not None else "the registrar does not answer")
        self._wait(now)

    def _give_up(self, _now: float) -> None:
        self.deadline = None
        self._fail(None)

    def _fail(self, retry_in: float | None) -> None:
        error = self._error or Lost("the flow is gone", fix="look at the server's log")
        self._begin()
        self._held = False
        self._go_home()
        self._account.emit(RegistrationFailed(error=error, retry_in=retry_in))

    def _done(self, _now: float) -> None:
        asked = self._error is None or isinstance(self._error, Refused)
        self._forget()
        self._account.emit(Unregistered(self._status if asked else None))

    def _stop(self, _now: float) -> None:
        bound = bool(self._bound)
        self._forget()
        if bound:
            self._account.emit(Unregistered(None))

    def _none(self, _now: float) -> None:
        """The input changes nothing."""

    def _forget(self) -> None:
        """No binding, and none wanted."""
        self.deadline = None
        self.expires_at = None
        self._bound = ()
        self._held = False
        self._failures = 0
        self._begin()
        self._go_home()

    def _begin(self) -> None:
        """A new attempt."""
        self._rounds = 0
        self._challenge_ms = None
        self._retry_after = 0

    def _go_home(self) -> None:
        """The next attempt begins where the account's own configuration says, not where a redirect led."""
        config = self._account.config
        if self._account.target != config.target:
            self._account.target = config.target
            self._proofs.clear()
        self._request_uri = request.registrar(config)

    def _removable(self, now: float) -> bool:
        """True where a binding may stand and its registrar can be asked to remove it."""
        return self._account.flow_serves and self._standing(now)

    def _standing(self, now: float) -> bool:
        """True where a binding of ours may still stand at the registrar."""
        return bool(self._bound) and self.expires_at is not None and now < self.expires_at


_ACTIONS: Mapping[Action, Callable[[Registration, float], None]] = {
    Action.CONNECT: Registration._connect,
    Action.SEND: Registration._send,
    Action.HOLD: Registration._hold,
    Action.WAIT: Registration._wait,
    Action.RECOVER: Registration._recover,
    Action.DROP: Registration._drop,
    Action.GIVE_UP: Registration._give_up,
    Action.REMOVE: Registration._remove,
    Action.DONE: Registration._done,
    Action.STOP: Registration._stop,
    Action.NONE: Registration._none,
}
