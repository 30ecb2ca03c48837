"""The whole life of a registration as a table: RFC 3261 section 10.2 with its answers (10.3, 21), RFC 5626's back-off.

What happens (an input) in which state gives the next state and an action. `receive` turns a response into an input, the account feeds
the rest: wishes, flows, timers. Nothing here knows a socket: to be connected is a wish (`Account.wants_flow`), and bytes go out through
the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from sipsua.account.config import AccountConfig, Target
from sipsua.account.persona import Dice, fraction
from sipsua.errors import CredentialsRefused, Defect, Lost, MalformedMessage, NoAnswer, Refused, SipsuaError
from sipsua.events import Event, Registered, RegistrationFailed, Unregistered
from sipsua.sip.digest import Challenge, DigestClient, strongest
from sipsua.sip.headers import NameAddr, parse_seconds, quote
from sipsua.sip.message import MAGIC_COOKIE, Response
from sipsua.sip.uri import Uri


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
    DROP = "drop"
    """As `wait`, and the flow is of no use any more."""
    GIVE_UP = "give up"
    """Report the failure; no next attempt."""
    REMOVE = "remove"
    """REGISTER that takes our binding away."""
    DONE = "done"
    """Report that the binding is gone."""
    STOP = "stop"
    """Nothing was bound: forget the wish."""
    NONE = "none"


TABLE: Mapping[tuple[State, Input], tuple[State, Action]] = {
    (State.UNREGISTERED, Input.WANTED): (State.CONNECTING, Action.CONNECT),
    (State.UNREGISTERED, Input.UNWANTED): (State.UNREGISTERED, Action.STOP),
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
    (State.REGISTERED, Input.FLOW_LOST): (State.WAITING, Action.WAIT),
    (State.REGISTERED, Input.TIMER): (State.REFRESHING, Action.SEND),
    (State.REFRESHING, Input.WANTED): (State.REFRESHING, Action.NONE),
    (State.REFRESHING, Input.UNWANTED): (State.LEAVING, Action.NONE),
    (State.REFRESHING, Input.FLOW_LOST): (State.WAITING, Action.WAIT),
    (State.REFRESHING, Input.ACCEPTED): (State.REGISTERED, Action.HOLD),
    (State.REFRESHING, Input.AGAIN): (State.REFRESHING, Action.SEND),
    (State.REFRESHING, Input.ELSEWHERE): (State.CONNECTING, Action.CONNECT),
    (State.REFRESHING, Input.REFUSED): (State.FAILED, Action.GIVE_UP),
    (State.REFRESHING, Input.UNAVAILABLE): (State.WAITING, Action.WAIT),
    (State.REFRESHING, Input.NO_ANSWER): (State.WAITING, Action.DROP),
    (State.WAITING, Input.WANTED): (State.CONNECTING, Action.CONNECT),
    (State.WAITING, Input.UNWANTED): (State.UNREGISTERED, Action.STOP),
    (State.WAITING, Input.FLOW_OPENED): (State.WAITING, Action.NONE),
    (State.WAITING, Input.FLOW_LOST): (State.WAITING, Action.NONE),
    (State.WAITING, Input.TIMER): (State.CONNECTING, Action.CONNECT),
    (State.LEAVING, Input.WANTED): (State.REGISTERING, Action.NONE),
    (State.LEAVING, Input.UNWANTED): (State.LEAVING, Action.NONE),
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
    (State.FAILED, Input.FLOW_LOST): (State.FAILED, Action.NONE),
}
"""Next state and action by state and input."""

MAX_ROUNDS = 6
"""Requests of one attempt: a challenge of registrar and proxy each, a stale nonce, a 423 and a redirect fit; a server that asks for
more is going round in circles."""

_TEMPORARY = frozenset({408, 430, 480, 486, 491, 494})
"""Answers below 500 that may be other ones later (430 is RFC 5626's Flow Failed)."""


class Surroundings(Protocol):
    """What a registration needs of its account."""

    config: AccountConfig
    dice: Dice
    target: Target

    def emit(self, event: Event) -> None:
        """Tell the outside."""

    def connect(self, now: float) -> None:
        """Wish for a flow; `FLOW_OPENED` follows at once where one stands."""

    def drop_flow(self, reason: str) -> None:
        """The flow is of no use any more."""

    def send_request(self, branch: str, method: str, data: bytes, now: float) -> None:
        """Send a request and begin its transaction."""


class Registration:
    """One binding of one account."""

    __slots__ = (
        "_account",
        "_answer",
        "_asked_expires",
        "_bound",
        "_call_id",
        "_challenge_ms",
        "_contact",
        "_cseq",
        "_digests",
        "_error",
        "_failures",
        "_from_tag",
        "_granted",
        "_held",
        "_request_uri",
        "_retry_after",
        "_rounds",
        "_sent_at",
        "_sent_credentials",
        "_template",
        "_uri",
        "deadline",
        "expires_at",
        "state",
    )

    def __init__(self, account: Surroundings) -> None:
        config = account.config
        self._account = account
        self.state = State.UNREGISTERED
        self.deadline: float | None = None
        """When to call `handle_timer`, or None."""
        self.expires_at: float | None = None
        """When the binding ends unless it is renewed, or None where there is none."""
        self._uri = config.aor
        self._request_uri = _registrar(config)
        self._asked_expires = config.expires
        self._cseq = 0
        self._call_id = ""
        self._from_tag = ""
        self._template = ""
        # what this attempt has come to
        self._rounds = 0
        self._failures = 0
        self._sent_at = 0.0
        self._answer = (0, "")
        self._challenge_ms: float | None = None
        self._granted = 0
        self._retry_after: int | None = None
        self._error: SipsuaError | None = None
        self._digests: dict[str, DigestClient] = {}
        self._sent_credentials: dict[str, str] = {}
        # bindings
        self._contact = ""
        self._bound: list[str] = []
        self._held = False

    @property
    def call_id(self) -> str:
        """The Call-ID of all our REGISTERs (RFC 3261 section 10.2); empty before the first flow."""
        return self._call_id

    def step(self, given: Input, now: float, error: SipsuaError | None = None) -> None:
        """Feed an input. `error` says why, where the input is a failure."""
        try:
            state, action = TABLE[self.state, given]
        except KeyError:
            expected = ", ".join(known for state, known in TABLE if state is self.state)
            raise Defect(f"{given} in registration state {self.state}: expected {expected}") from None
        if not self._account.config.persona.gives_up and action is Action.GIVE_UP:
            state, action = State.WAITING, Action.WAIT
        self.state = state
        self._error = error
        _ACTIONS[action](self, now)

    def flow_ready(self, host: str, port: int) -> None:
        """A flow stands: our own address on it goes into Via and Contact."""
        config = self._account.config
        persona = config.persona
        sent_by = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        user = self._uri.user
        if self._uri.scheme == "sips":
            self._contact = f"<sips:{user}@{sent_by}>"
        else:
            self._contact = f"<sip:{user}@{sent_by};transport={persona.contact_transport}>"
        dice = self._account.dice
        if not self._call_id:
            token = persona.call_id_token.make(dice)
            self._call_id = persona.call_id % {"token": token, "line": config.line, "host": host}
            self._from_tag = persona.tag.make(dice)
        self._template = self._render(sent_by)

    def receive(self, response: Response, now: float) -> None:
        """A response to our REGISTER."""
        status = response.status
        if status < 200:
            return
        self._answer = (status, response.reason)
        try:
            given, error = self._accept(response) if status < 300 else self._judge(response, now)
        except MalformedMessage as malformed:
            given, error = Input.UNAVAILABLE, self._refusal(response, f"the answer cannot be read: {malformed.what}")
        self.step(given, now, error)

    def handle_timer(self, now: float) -> None:
        """The refresh or the next attempt is due."""
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
            self._begin()
            self.step(Input.TIMER, now)

    # What the answers mean

    def _accept(self, response: Response) -> tuple[Input, SipsuaError | None]:
        self._read_next_nonce(response)
        if self.state is not State.UNREGISTERING:
            self._granted = self._read_grant(response)
            if self._granted == 0:
                return Input.REFUSED, self._refusal(response, "granted no binding")
        return Input.ACCEPTED, None

    def _judge(self, response: Response, now: float) -> tuple[Input, SipsuaError | None]:
        status = response.status
        again: tuple[Input, SipsuaError | None] | None = None
        if status in (401, 407):
            again = self._answer_challenge(response, now)
        elif status == 423:
            again = self._ask_longer(response)
        elif 300 <= status < 400:
            again = self._follow(response)
        if again is not None:
            if again[0] in (Input.AGAIN, Input.ELSEWHERE) and self._rounds >= MAX_ROUNDS:
                return Input.REFUSED, self._refusal(response, f"still not satisfied after {self._rounds} requests")
            return again
        if 500 <= status < 600 or status in _TEMPORARY:
            self._retry_after = response.retry_after
            return Input.UNAVAILABLE, self._refusal(response)
        return Input.REFUSED, self._refusal(response)

    def _answer_challenge(self, response: Response, now: float) -> tuple[Input, SipsuaError | None]:
        config = self._account.config
        field, credentials = (
            ("www-authenticate", "Authorization")
            if response.status == 401
            else ("proxy-authenticate", "Proxy-Authorization")
        )
        challenges = Challenge.parse_all(response.index.get(field, []))
        challenge = strongest(challenges)
        if challenge is None:
            offered = ", ".join(sorted({one.algorithm or "MD5" for one in challenges})) or "no digest"
            return Input.REFUSED, self._refusal(
                response, f"it asks for {offered}", fix="have the server offer MD5, SHA-256 or SHA-512-256"
            )
        digest = self._digests.get(credentials)
        if digest is None:
            digest = DigestClient(
                config.auth_user or self._uri.decoded_user or "",
                config.password,
                order=config.persona.digest_order,
            )
            self._digests[credentials] = digest
        elif digest.is_refusal(challenge, self._sent_credentials.get(credentials)):
            del self._digests[credentials]
            return Input.REFUSED, CredentialsRefused(
                f"{response.status} {response.reason}: user name {digest.username!r} or its password was refused"
                f" (realm {challenge.realm!r})",
                status=response.status,
                reason=response.reason,
                fix="check the user name of the credentials and the password",
            )
        digest.answer(challenge)
        if self._challenge_ms is None:
            self._challenge_ms = (now - self._sent_at) * 1000
        return Input.AGAIN, None

    def _ask_longer(self, response: Response) -> tuple[Input, SipsuaError | None] | None:
        least = response.min_expires
        if least is None or least <= self._asked_expires:
            return None
        self._asked_expires = least
        return Input.AGAIN, None

    def _follow(self, response: Response) -> tuple[Input, SipsuaError | None]:
        for contact in response.contacts:
            uri = contact.uri
            if uri.scheme == "sips" or (uri.scheme == "sip" and uri.transport == "tls" and self._uri.scheme == "sip"):
                self._request_uri = contact.uri_text
                target = Target.of(uri)
                if target == self._account.target:
                    return Input.AGAIN, None
                self._account.target = target
                return Input.ELSEWHERE, None
        return Input.REFUSED, self._refusal(
            response, "it names no Contact over TLS", fix="have the server redirect to a sips: address"
        )

    def _refusal(self, response: Response, detail: str = "", *, fix: str = "") -> Refused:
        what = f"the registrar answered {response.status} {response.reason}".rstrip()
        if detail:
            what += f", but {detail}" if response.status < 300 else f": {detail}"
        warnings = "; ".join(value for value in response.index.get("warning", ()))
        if warnings:
            what += f" [Warning: {warnings[:200]}]"
        return Refused(
            what,
            status=response.status,
            reason=response.reason,
            fix=fix or _FIXES.get(response.status, "see the registrar's log"),
        )

    def _read_grant(self, response: Response) -> int:
        """Seconds granted to our binding: its Contact's own parameter, else the Expires field, else what was asked
        (RFC 3261 section 10.2.4)."""
        mine = NameAddr.parse(self._contact).uri_text
        contacts = response.contacts
        ours = [contact for contact in contacts if contact.uri_text == mine]
        if not ours:
            uri = Uri.parse(mine)
            ours = [contact for contact in contacts if contact.uri.equivalent(uri)]
        if not ours and len(contacts) == 1:
            # A registrar behind a NAT helper shows our address as it sees it.
            ours = contacts
        for granted in (
            *(parse_seconds(contact.params.get("expires")) for contact in ours),
            response.expires,
            self._asked_expires,
        ):
            if granted is not None:
                return granted
        return 0

    def _read_next_nonce(self, response: Response) -> None:
        for field, credentials in (
            ("authentication-info", "Authorization"),
            ("proxy-authentication-info", "Proxy-Authorization"),
        ):
            value = response.first(field)
            if value is not None and credentials in self._digests:
                self._digests[credentials].next_nonce(value)

    # What the actions do

    def _connect(self, now: float) -> None:
        self.deadline = None
        self._account.connect(now)

    def _send(self, now: float) -> None:
        stale = [contact for contact in self._bound if contact != self._contact]
        contact = ", ".join([self._contact, *(f"{contact};expires=0" for contact in stale)])
        self._transmit(contact, self._asked_expires, now)

    def _remove(self, now: float) -> None:
        bound = self._bound if self._contact in self._bound else [*self._bound, self._contact]
        self._transmit(", ".join(bound), 0, now)

    def _transmit(self, contact: str, expires: int, now: float) -> None:
        self.deadline = None
        self._rounds += 1
        self._cseq += 1
        account = self._account
        branch = MAGIC_COOKIE + account.config.persona.branch.make(account.dice)
        authorization = ""
        for name, digest in self._digests.items():
            cnonce = f"{account.dice(64):016x}"
            value = digest.authorize("REGISTER", self._request_uri, b"", cnonce)
            self._sent_credentials[name] = value
            authorization += f"{name}: {value}\r\n"
        data = self._template % {
            "uri": self._request_uri,
            "branch": branch,
            "cseq": self._cseq,
            "contact": contact,
            "expires": expires,
            "authorization": authorization,
        }
        self._sent_at = now
        account.send_request(branch, "REGISTER", data.encode("utf-8", "surrogateescape"), now)

    def _hold(self, now: float) -> None:
        low, high = self._account.config.persona.refresh
        refresh_in = self._granted * (low + (high - low) * fraction(self._account.dice))
        self.deadline = now + refresh_in
        self.expires_at = now + self._granted
        refreshed = self._held and self._bound == [self._contact]
        self._bound = [self._contact]
        self._held = True
        event = Registered(
            status=self._answer[0],
            reason=self._answer[1],
            expires=self._granted,
            refresh_in=refresh_in,
            refreshed=refreshed,
            challenge_ms=self._challenge_ms,
            register_ms=(now - self._sent_at) * 1000,
        )
        self._failures = 0
        self._begin()
        self._account.emit(event)

    def _wait(self, now: float) -> None:
        self._failures += 1
        config = self._account.config
        delay = (config.backoff or config.persona.backoff).delay(self._failures, self._account.dice)
        if self._retry_after is not None:
            delay = float(self._retry_after)
        self._fail(delay)
        self.deadline = now + delay

    def _drop(self, now: float) -> None:
        self._error = self._error or NoAnswer("the registrar did not answer")
        self._account.drop_flow(self._error.what)
        self._wait(now)

    def _give_up(self, _now: float) -> None:
        self.deadline = None
        self._fail(None)

    def _fail(self, retry_in: float | None) -> None:
        error = self._error or Lost("the flow is gone")
        self._begin()
        self._held = False
        # The next attempt begins where the account's own configuration says, not where a redirect led.
        self._request_uri = _registrar(self._account.config)
        self._account.target = self._account.config.target
        self._account.emit(RegistrationFailed(error=error, retry_in=retry_in))

    def _done(self, _now: float) -> None:
        asked = self._error is None or isinstance(self._error, Refused)
        self._stop(_now)
        self._account.emit(Unregistered(self._answer[0] if asked else None))

    def _stop(self, _now: float) -> None:
        self.deadline = None
        self.expires_at = None
        self._bound = []
        self._held = False
        self._failures = 0
        self._begin()

    def _none(self, _now: float) -> None:
        """The input changes nothing."""

    def _begin(self) -> None:
        """A new attempt."""
        self._rounds = 0
        self._challenge_ms = None
        self._retry_after = None

    # The request

    def _render(self, sent_by: str) -> str:
        """The REGISTER as a template, once for a flow: what does not change from one request to the next is text already."""
        config = self._account.config
        persona = config.persona
        aor = f"{self._uri.scheme}:{self._uri.user}@{self._uri.host}"
        if persona.port_in_aor and self._uri.port is not None:
            aor += f":{self._uri.port}"
        display = config.display_name or (self._uri.decoded_user or "" if persona.user_as_display_name else "")
        address = f"{quote(display)} <{aor}>" if display else f"<{aor}>"
        constant = {
            "From": f"{address};tag={self._from_tag}",
            "To": address,
            "Call-ID": self._call_id,
            "Max-Forwards": "70",
            "Allow": ", ".join(persona.allow),
            "Allow-Events": persona.list_separator.join(persona.allow_events),
            "User-Agent": config.user_agent or persona.user_agent,
            "Content-Length": "0",
        }
        changing = {
            "Via": f"SIP/2.0/TLS {sent_by};branch=%(branch)s" + (";rport" if persona.rport else ""),
            "CSeq": "%(cseq)d REGISTER",
            "Contact": "%(contact)s",
            "Expires": "%(expires)d",
        }
        lines = ["REGISTER %(uri)s SIP/2.0\r\n"]
        for name in persona.register_fields:
            if name == "Authorization":
                lines.append("%(authorization)s")
            elif name in changing:
                lines.append(f"{name}: {changing[name]}\r\n")
            else:
                lines.append(f"{name}: {constant[name]}\r\n".replace("%", "%%"))
        return "".join(lines) + "\r\n"


def _registrar(config: AccountConfig) -> str:
    """The Request-URI of a REGISTER: the domain of the account (RFC 3261 section 10.2)."""
    uri = config.aor
    text = f"{uri.scheme}:{uri.host}"
    if uri.port is not None:
        text += f":{uri.port}"
    if uri.transport is not None and config.persona.transport_in_request_uri:
        text += f";transport={uri.transport}"
    return text


_FIXES = {
    403: "the server knows the account but forbids it: see its access list and its log",
    404: "the server does not know this user: check the address, or create the account there",
    405: "this server is no registrar: check --server and the port",
    408: "the server's own next hop does not answer: see its log",
    423: "the server wants a longer time and does not say which: raise --expires",
    420: "the server wants an extension that sipsua does not offer here",
    501: "this server is no registrar: check --server and the port",
    503: "the server is overloaded or in maintenance: try later",
    505: "the server does not speak SIP/2.0",
}

_ACTIONS: Mapping[Action, Callable[[Registration, float], None]] = {
    Action.CONNECT: Registration._connect,
    Action.SEND: Registration._send,
    Action.HOLD: Registration._hold,
    Action.WAIT: Registration._wait,
    Action.DROP: Registration._drop,
    Action.GIVE_UP: Registration._give_up,
    Action.REMOVE: Registration._remove,
    Action.DONE: Registration._done,
    Action.STOP: Registration._stop,
    Action.NONE: Registration._none,
}
