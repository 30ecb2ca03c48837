"""The pocket PBX's exchange: calls between the phones that are registered at it. Pure: flows, the clock and the dice come in as arguments.

A proxy by RFC 3261 section 16 that forks, stays on the route, and keeps the state of each transaction. A phone is reached on the flow that
it registered on and nowhere else, as RFC 5626 has it for edge proxies: nothing here opens a connection. A request's way is `_route`:

    validation (16.3) → Route (16.4) → who may (22.3) → targets (16.5) → one branch for each (16.6)

and a response's is `receive_response` (16.7). Where requests go the `Directory` knows. Special numbers answer by an `Attendant`, whom
requests reach like any phone; lamps are the `Notifier`'s.

What goes out is collected and sent at the end of each step, since some of the lines lead to numbers in this very process, which answer
at once. Every hop is TLS, so `sips` and `sip` are told apart in Record-Route only (RFC 5630). Only loose routing is spoken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from zlib import crc32

from sipsua.account.persona import Dice
from sipsua.account.uas import KNOWN_METHODS
from sipsua.errors import MalformedMessage
from sipsua.sip.digest import Challenge
from sipsua.sip.message import MAGIC_COOKIE, Request, Response
from sipsua.sip.timers import T1, T4
from sipsua.testing import proxy
from sipsua.testing.agenda import Agenda
from sipsua.testing.calls import Call, Calls
from sipsua.testing.challenger import PROXY, USER_AGENT, Server
from sipsua.testing.directory import Directory, Target, line_of
from sipsua.testing.notifier import Mailbox, Notice, Notifier, Subscription
from sipsua.testing.numbers import NUMBERS, Attendant, Number, NumberCall
from sipsua.testing.proxy import Action, Branch, Fork, Input, Key, Line, State
from sipsua.testing.registrar import REASONS, Binding, Registrar

MAX_FORKS = 20_000
"""Requests under way at a time, those among them that are answered and linger for 64*T1; the next one gets 503. At 300 calls a second there
are 10,000."""
MAX_KEPT = 16 * 1024
"""Octets of an answer that is kept for repeats of its request. Over TLS none come from sound phones; a longer answer is not repeated."""

RING_LIMIT = 185.0
"""Seconds: RFC 3261 section 16.6 wants more than three minutes. Tests set less."""


class Exchange:
    """The proxy of one PBX."""

    def __init__(
        self,
        registrar: Registrar,
        dice: Dice,
        *,
        authenticate_calls: bool = True,
        record_route: bool = True,
        ring_limit: float = RING_LIMIT,
        numbers: Mapping[str, Number] = NUMBERS,
    ) -> None:
        """`registrar` knows users and bindings, and says what the PBX itself answers; its counters count what is answered here, too."""
        self.registrar = registrar
        self.authenticate_calls = authenticate_calls
        """Whether what a user sends outside any dialog is challenged by 407 (not OPTIONS), as real PBXes do. May be changed at any time,
        like the next two."""
        self.record_route = record_route
        """Whether requests inside a dialog pass here because the phones are told so. Otherwise phones send them where the Contact of the
        other one says, which leads here as well where they use the flow of their registration for all (RFC 5626)."""
        self.ring_limit = ring_limit
        """Seconds that a phone may ring (Timer C): then it is cancelled, and the caller gets 408."""
        self.agenda = Agenda()
        """When `handle_timer` is to be called."""
        self.calls = Calls(self._call_changed)
        """The calls under way."""
        self.attendant = Attendant(self, numbers, dice)
        """Who answers for the special numbers."""
        self.directory = Directory(registrar, self.calls, self.attendant.numbers, self.attendant)
        """Where requests go."""
        self.notifier = Notifier(registrar, self.calls, self.agenda, dice, self._send)
        """Who lights lamps."""
        self.now = 0.0
        """When the step that is under way began."""
        self._dice = dice
        self._realm = f'realm="{Challenge.build(registrar.challenger.realm, "").realm}"'
        self._forks: dict[Key, Fork] = {}
        self._branches: dict[str, Branch] = {}
        self._calls_of: dict[Fork, Call] = {}
        self._on_line: dict[Line, dict[Fork | Branch, None]] = {}
        self._out: deque[tuple[Line, bytes]] = deque()
        self._sending = False

    # What comes in

    def receive_request(self, line: Line, request: Request, now: float) -> bytes:
        """A request that is no REGISTER came on a flow. Returns what answers it at once: what is for the PBX itself, and refusals."""
        self.now = now
        method = request.method
        try:
            request.check()
            if method in _OWN or (
                request.uri.user is None and request.uri.is_sip and (method == "OPTIONS" or request.to.tag is None)
            ):
                return self.registrar.answer(request, now, source=line.source, flow=line)
            self.registrar.count(method)
            if method == "ACK":
                answer = self._acknowledge(line, request)
            elif method == "CANCEL":
                answer = self._cancel(line, request)
            else:
                answer = self._route(line, request)
        except MalformedMessage as error:
            return b"" if method == "ACK" else self.registrar.reject(request, error, source=line.source)
        self._flush()
        return answer

    def receive_response(self, line: Line, response: Response, now: float) -> None:
        """A response came on a flow. Raises MalformedMessage for one that cannot be read; one that nobody waits for is dropped."""
        self.now = now
        if response.defect is not None:
            raise response.defect
        if "via" not in response.index:
            raise MalformedMessage("Via is missing")
        branch = self._branches.get(response.via.branch)
        if branch is None:
            self.notifier.receive_response(line, response)
            return
        if branch.line is not line:
            return
        fork = branch.fork
        if response.cseq.method != fork.request.method:
            return  # the answer to a CANCEL of ours
        status = response.status
        if status < 200:
            if not fork.is_invite:
                return
            given = Input.PROVISIONAL
        else:
            given = Input.SUCCESS if status < 300 else Input.FAILURE
        # Whatever cannot be read is found before anything changes.
        to = response.to
        if len(response.values("via")) < 2:
            raise MalformedMessage("the response has no Via but ours")
        action = branch.step(given)
        if action is Action.PASS:
            if status < 200:
                self.agenda.set(branch, now + self.ring_limit)
            self._pass(fork, branch, response, to.tag or "")
        elif action is Action.COLLECT:
            self._collect(fork, branch, response)
        elif action is Action.ACKNOWLEDGE:
            self._send(line, fork.hop_by_hop("ACK", branch, response.required("to")))
        elif action is Action.CANCEL:
            self._send_cancel(branch)
        self._flush()

    def close_flow(self, line: Line, now: float) -> None:
        """The flow is gone, and with it what waits for an answer on it or is to be answered on it."""
        self.now = now
        self.directory.forget(line)
        self.notifier.close_flow(line)
        for one in list(self._on_line.pop(line, ())):
            if isinstance(one, Branch):
                if one.step(Input.LOST) is Action.GIVE_UP:
                    # RFC 4320 section 4.2: never a 408 to another method; and for all of them the phone is not there.
                    self._give_up(one, 408 if one.fork.is_invite else 480)
            else:
                # Nobody is left to hear the answer, so the phones need not ring on.
                self._cancel_branches(one)
        for call in self.calls.on(line):
            # A phone may come back on another flow while the other one holds the call.
            other = call.callee_line if line is call.caller_line else call.caller_line
            if other is None or other.is_closing or other is self.attendant:
                self.calls.end(call)
                if other is self.attendant:
                    self.attendant.lose(call.call_id, call.caller_tag)
        self._flush()

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self.now = now
        for item in self.agenda.due(now):
            if isinstance(item, Branch):
                item.overdue = item.state is State.PROCEEDING
                action = item.step(Input.TIMER)
                if action is Action.CANCEL:
                    self._send_cancel(item)
                elif action is Action.GIVE_UP:
                    self._give_up(item, 487 if item.fork.cancelled else 408)
            elif isinstance(item, Fork):
                self._forget(item)
            elif isinstance(item, NumberCall):
                self.attendant.due(item)
            elif isinstance(item, (Subscription, Notice)):
                self.notifier.due(item, now)
        self._flush()

    def set_mailbox(self, user: str, mailbox: Mailbox, now: float) -> None:
        """The voice messages of a user have changed."""
        self.notifier.set_mailbox(user, mailbox, now)
        self._flush()

    def tell_mailbox(self, user: str, binding: Binding) -> None:
        """Tell a phone of the user's messages that has not subscribed."""
        self.notifier.unsolicited(user, binding.contact, line_of(binding))
        self._flush()

    def reached_at(self, request: Request) -> str:
        """Host and port of ours where the sender of a request that went to a number has reached us."""
        return self._branches[request.via.branch].fork.line.address

    # A request's way

    def _route(self, line: Line, request: Request) -> bytes:
        key = Key.of(line, request)
        known = self._forks.get(key)
        if known is not None:
            return known.last_sent
        routes = request.values("route")
        seal = f"{crc32('|'.join((request.uri_text, *routes)).encode('utf-8', 'surrogateescape')):08x}"
        refusal = self._objection(line, request, seal)
        lamp = self.notifier.serves(request)
        if refusal is None and request.to.tag is None:
            refusal = self._challenge(request, USER_AGENT if lamp else PROXY)
        if refusal is None and lamp:
            self.notifier.subscribe(line, request, self.now)
            return b""
        if refusal is None and len(self._forks) >= MAX_FORKS:
            refusal = 503, "Retry-After: 10\r\n"
        targets: Sequence[Target] = ()
        if refusal is None:
            found = self.directory.targets(line, request, self.now)
            if isinstance(found, int):
                refusal = found, ""
            else:
                targets = found
            if request.method == "BYE" and (call := self.calls.find(request)) is not None:
                self.calls.end(call)
        if refusal is not None:
            return self.registrar.response(request, line.source, *refusal)
        # The first Route led here, whatever it names.
        self._forward(key, request, routes[1:], targets, seal)
        return b""

    def _objection(self, line: Line, request: Request, seal: str) -> tuple[int, str] | None:
        """What forbids to send a request on: RFC 3261 section 16.3, with the check for loops of RFC 5393 section 4.2."""
        if request.method not in KNOWN_METHODS:
            # A proxy would let it pass; but what is new to a PBX is refused by all those that are on the market.
            return 501, ""
        if not request.uri.is_sip:
            return 416, ""
        if proxy.hops_left(request) == 0:
            return 483, ""
        ours = line.address
        for via in request.vias[1:]:
            if f"{via.host}:{via.port or 5061}" == ours and via.branch.rpartition(".")[2] == seal:
                return 482, ""
        if required := request.tokens("proxy-require"):
            return 420, f"Unsupported: {', '.join(required)}\r\n"
        return None

    def _challenge(self, request: Request, server: Server) -> tuple[int, str] | None:
        """What forbids this user to call: RFC 3261 section 22. Raises MalformedMessage."""
        if not self.authenticate_calls or request.method not in _CHALLENGED:
            return None
        user = request.from_.uri.decoded_user or ""
        challenger = self.registrar.challenger
        login = challenger.find(user)
        if login is None:
            return 403, 'Warning: 399 pocket.pbx "the sender is no user of this PBX"\r\n'
        credentials = challenger.credentials(request, server)
        if credentials is None:
            return challenger.challenge(self.now, server)
        return challenger.refusal(credentials, user, login, request, self.now, server)

    def _forward(self, key: Key, request: Request, routes: list[str], targets: Sequence[Target], seal: str) -> None:
        """Send a request to all its targets at the same time (section 16.6)."""
        line, now, method = key.line, self.now, request.method
        user = request.uri.decoded_user or ""
        begins = request.to.tag is None
        fork = Fork(key, request, routes, user)
        if fork.is_invite and begins:
            self._calls_of[fork] = self.calls.begin(request, line, user)
        self._forks[key] = fork
        self._attend(line, fork)
        if fork.is_invite:
            fork.last_sent = self.registrar.respond(request, 100, source=line.source)
            self._send(line, fork.last_sent)
        fields = proxy.fields_of(request, line.source, routes, self._realm)
        for target, other in targets:
            branch = Branch(fork, f"{MAGIC_COOKIE}{self._dice(64):016x}.{seal}", target, other)
            fork.branches.append(branch)
            self._branches[branch.id] = branch
            self._attend(other, branch)
            self.agenda.set(branch, now + 64 * T1)
            ours = ""
            if begins and self.record_route and method in _MAKE_DIALOGS:
                ours = self.directory.record_route(target, line, other)
            via = f"{other.address};branch={branch.id}"
            self._send(other, proxy.request_for(request, target, via, ours, fields))

    def _acknowledge(self, line: Line, request: Request) -> bytes:
        """An ACK: ours, where we answered the INVITE ourselves or sent its failure on; else it goes where the 2xx came from."""
        fork = self._forks.get(Key.of(line, request, "INVITE"))
        if fork is not None and not 200 <= fork.final < 300:
            if fork.final:
                self._forget(fork)  # Timer I is zero on a reliable transport (section 17.2.1)
            return b""
        tag = request.to.tag
        if tag is None or tag.startswith(self.registrar.tag_seal) or proxy.hops_left(request) == 0:
            return b""
        targets = self.directory.targets(line, request, self.now)
        if isinstance(targets, int):
            return b""
        routes = request.values("route")[1:]
        fields = proxy.fields_of(request, line.source, routes, self._realm)
        for target, other in targets:
            via = f"{other.address};branch={MAGIC_COOKIE}{self._dice(64):016x}"
            self._send(other, proxy.request_for(request, target, via, "", fields))
        return b""

    def _cancel(self, line: Line, request: Request) -> bytes:
        """The caller has changed its mind (section 16.10)."""
        fork = self._forks.get(Key.of(line, request, "INVITE"))
        if fork is None:
            return self.registrar.respond(request, 481, source=line.source)
        # Ahead of what the CANCEL brings about.
        self._send(line, self.registrar.respond(request, 200, source=line.source))
        if not fork.final:
            fork.cancelled = True
            fork.reason = ", ".join(request.index.get("reason", ()))
            self._cancel_branches(fork)
        return b""

    # A response's way

    def _pass(self, fork: Fork, branch: Branch, response: Response, tag: str) -> None:
        """A response that goes on at once: section 16.7, item 5."""
        status = response.status
        if status == 100 or (fork.final and not (fork.is_invite and status >= 200)):
            return
        call = self._calls_of.get(fork)
        if status < 200:
            if call is not None:
                self.calls.ring(call, tag)
        else:
            if call is not None:
                self.calls.answer(call, tag, branch.line)
            self._finish(fork, status)
            fork.reason = _ELSEWHERE
            self._cancel_branches(fork)
        self._answer(fork, status, proxy.response_for(response, status, response.reason))

    def _collect(self, fork: Fork, branch: Branch, response: Response) -> None:
        """A final response that waits for those of the other branches."""
        if fork.is_invite:
            self._send(branch.line, fork.hop_by_hop("ACK", branch, response.required("to")))
        status = response.status
        if branch.overdue and status == 487:
            # The caller has cancelled nothing: it hears why the phone does not ring any more.
            fork.finals.append((408, None))
        else:
            fork.finals.append((status, response))
        if status >= 600:
            self._cancel_branches(fork)
        self._conclude(fork)

    def _give_up(self, branch: Branch, status: int) -> None:
        """A branch has ended without a final response."""
        branch.fork.finals.append((status, None))
        self._conclude(branch.fork)

    def _conclude(self, fork: Fork) -> None:
        """Where all branches have ended and none of them with a 2xx, send the best response (section 16.7, item 6)."""
        if fork.final or fork.is_pending:
            return
        status, response = fork.best()
        self._finish(fork, status)
        if response is None:
            if fork.is_invite or status != 408:  # RFC 4320 section 4.2
                self._answer(fork, status, self.registrar.respond(fork.request, status, source=fork.line.source))
            return
        reason, extra = response.reason, []
        if status in (401, 407):
            extra = proxy.other_challenges(fork, response)
        elif status == 503:
            # Of one phone, not of this PBX: section 16.7, item 6.
            status, reason = 500, REASONS[500]
        self._answer(fork, status, proxy.response_for(response, status, reason, extra))

    def _finish(self, fork: Fork, status: int) -> None:
        """The fork has its final status; it stays for repeats: Timer H, RFC 6026's Timer L, and T4 for the other methods."""
        first = not fork.final
        fork.final = status
        if first:
            self.agenda.set(fork, self.now + (64 * T1 if fork.is_invite else T4))
        call = self._calls_of.pop(fork, None)
        if call is not None and status >= 300:
            self.calls.end(call)

    def _cancel_branches(self, fork: Fork) -> None:
        for branch in fork.branches:
            if fork.is_invite and branch.step(Input.CANCEL) is Action.CANCEL:
                self._send_cancel(branch)

    def _send_cancel(self, branch: Branch) -> None:
        self.agenda.set(branch, self.now + 64 * T1)
        self._send(branch.line, branch.fork.hop_by_hop("CANCEL", branch, branch.fork.request.required("to")))

    # What the PBX itself says

    def _answer(self, fork: Fork, status: int, data: bytes) -> None:
        fork.last_sent = data if len(data) <= MAX_KEPT else b""
        self._send(fork.line, data)

    def _call_changed(self, call: Call) -> None:
        self.notifier.call_changed(call, self.now)

    # Flows

    def _attend(self, line: Line, one: Fork | Branch) -> None:
        on_line = self._on_line.get(line)
        if on_line is None:
            on_line = self._on_line[line] = {}
        on_line[one] = None

    def _forget(self, fork: Fork) -> None:
        """Nothing more comes of this request."""
        fork.deadline = None
        self._forks.pop(fork.key, None)
        ended: list[Fork | Branch] = [fork, *fork.branches]
        for one in ended:
            one.deadline = None
            on_line = self._on_line.get(one.line)
            if on_line is not None:
                on_line.pop(one, None)
                if not on_line:
                    del self._on_line[one.line]
        for branch in fork.branches:
            del self._branches[branch.id]

    def _send(self, line: Line, data: bytes) -> None:
        if data:
            self._out.append((line, data))

    def _flush(self) -> None:
        """Send what is collected; what a number of ours answers meanwhile is sent in the same round."""
        if self._sending:
            return
        self._sending = True
        try:
            while self._out:
                line, data = self._out.popleft()
                line.send(data)
        finally:
            self._sending = False


_CHALLENGED = frozenset({"INVITE", "MESSAGE", "REFER", "SUBSCRIBE"})
_MAKE_DIALOGS = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})
_OWN = frozenset({"PUBLISH"})
"""What only the PBX could take, whoever it is addressed to: it keeps no event states of others (RFC 3903)."""
_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
