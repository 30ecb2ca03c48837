"""The accounts that can be called in one place, found by what a request says: on a trunk, or on the port where a phone listens."""

from __future__ import annotations

from sipsua.account.account import Account
from sipsua.errors import MalformedMessage
from sipsua.sip.message import Request


class Roster:
    """Accounts by the user of their address."""

    __slots__ = ("_by_user",)

    def __init__(self) -> None:
        self._by_user: dict[str, list[Account]] = {}

    def admit(self, account: Account) -> None:
        """Take on an account."""
        self._by_user.setdefault(account.config.aor.decoded_user or "", []).append(account)

    def dismiss(self, account: Account) -> None:
        """Let an account go; one that is not here is let go already."""
        user = account.config.aor.decoded_user or ""
        namesakes = [other for other in self._by_user.pop(user, ()) if other is not account]
        if namesakes:
            self._by_user[user] = namesakes

    def find(self, request: Request) -> Account | None:
        """Whom a request is for: the user of its Request-URI or, where that names none, of its To. None: nobody here."""
        try:
            to = request.to.uri
            accounts = self._by_user.get(request.uri.decoded_user or to.decoded_user or "", [])
        except MalformedMessage:
            return None
        if len(accounts) > 1:
            # Users of several domains who have the same name, and so the same Contact: To tells them apart.
            accounts = [account for account in accounts if account.config.aor.host.lower() == to.host.lower()]
        return accounts[0] if accounts else None
