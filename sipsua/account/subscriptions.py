"""The subscriptions of one account, and what a server tells without having been asked: voice mail, and that the phone shall look for a
new configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sipsua.account.dialling import call_target, fresh_call_id
from sipsua.account.reception import Pending
from sipsua.account.subscription import PACKAGES, Subscription, voicemail
from sipsua.errors import BadConfiguration, Misuse
from sipsua.events import CheckSyncAsked
from sipsua.sip.fields import Event
from sipsua.sip.message import Request

if TYPE_CHECKING:
    from sipsua.account.call import Surroundings

MAX_SUBSCRIPTIONS = 256
"""Of one account: a phone with all its expansion modules has fewer lamps."""


class Subscriptions:
    """All subscriptions of one account."""

    __slots__ = ("_account", "_by_dialog", "_by_wish")

    def __init__(self, account: Surroundings) -> None:
        self._account = account
        self._by_wish: dict[tuple[str, str], Subscription] = {}
        self._by_dialog: dict[tuple[str, str], Subscription] = {}

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._by_wish.values()))

    def subscribe(self, package: str, target: str, now: float) -> Subscription:
        """Watch the `package` of somebody: `message-summary` or `dialog`; one that is watched already stays so.

        Raises Misuse without a flow and for one too many, BadConfiguration for another package or what is no address.
        """
        account = self._account
        if package not in PACKAGES:
            raise BadConfiguration(f"{package!r} cannot be watched", fix=f"choose from {', '.join(PACKAGES)}")
        uri = call_target(account.config, target)
        known = self._by_wish.get((package, uri))
        if known is not None:
            return known
        if not account.has_flow:
            raise Misuse("there is no flow to subscribe on", fix="register first")
        if len(self._by_wish) >= MAX_SUBSCRIPTIONS:
            raise Misuse(f"there are {MAX_SUBSCRIPTIONS} subscriptions already", fix="end one")
        call_id = fresh_call_id(account.config, account.dice, account.host)
        return Subscription(account, package, uri, call_id, now)

    def unsubscribe(self, package: str, target: str, now: float) -> None:
        """Watch it no more."""
        known = self._by_wish.get((package, call_target(self._account.config, target)))
        if known is not None:
            known.unsubscribe(now)

    def find(self, request: Request) -> Subscription | None:
        """The subscription in whose dialog a request is."""
        tag = request.to.tag
        return self._by_dialog.get((request.call_id, tag)) if tag is not None else None

    def receive_unasked(self, pending: Pending, to_tag: str, now: float) -> bool:
        """A NOTIFY outside any dialog; whether it was one that phones take. Raises MalformedMessage."""
        request = pending.request
        event = Event.parse(request.required("event"))
        if event.package == "check-sync":
            # `check-sync;reboot=true` is what phones of several makes look for.
            pending.answer(200, "OK", (), now, to_tag=to_tag)
            reboot = "reboot=true" in request.required("event").replace(" ", "").lower()
            self._account.emit(CheckSyncAsked(reboot))
            return True
        if event.package == "message-summary" and request.body:
            told = voicemail(request.body)
            pending.answer(200, "OK", (), now, to_tag=to_tag)
            self._account.emit(told)
            return True
        return False

    def lose_flow(self, now: float) -> None:
        """The account's flow is gone."""
        for subscription in self:
            subscription.lose_flow(now)

    def flow_opened(self, now: float) -> None:
        """The account has a flow again."""
        for subscription in self:
            subscription.flow_opened(now)

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer`, or None."""
        return min((one.deadline for one in self._by_wish.values() if one.deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for subscription in self:
            subscription.handle_timer(now)

    def keep(self, subscription: Subscription) -> None:
        """A subscription has begun, or begins anew."""
        self.forget(subscription)
        self._by_wish[subscription.package, subscription.uri] = subscription
        self._by_dialog[subscription.call_id, subscription.local_tag] = subscription

    def forget(self, subscription: Subscription) -> None:
        """A subscription is over. Its last NOTIFY is answered 481, which is what the server is to hear."""
        self._by_wish.pop((subscription.package, subscription.uri), None)
        for key in [key for key, one in self._by_dialog.items() if one is subscription]:
            del self._by_dialog[key]
