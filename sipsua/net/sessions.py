"""Sessions that can be resumed: kept from one flow to the next of the same server, name, port and policy.

A resumed handshake costs a third and shows no certificate, so a session never crosses from one policy to another: an account that
trusts less, or shows another certificate, must not ride on what somebody else has verified. Each session is used once (RFC 8446
appendix C.4): the flow that resumes it brings a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

from sipsua.account.config import Target
from sipsua.net.tls import Session
from sipsua.trust.policy import Policy, Revocation

MAX_SESSIONS = 20_000
"""Sessions that are kept; each has 1 to 3 KB. With more the oldest key's are forgotten first."""

PER_KEY = 10_000
"""Sessions of one server and policy: as many as phones that share them."""


class Sessions:
    """The sessions of one connector."""

    __slots__ = ("_by_key", "_count")

    def __init__(self) -> None:
        self._by_key: OrderedDict[tuple[Target, Policy], list[Session]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, target: Target, policy: Policy, session: Session) -> None:
        """Keep a session; but none of a policy that is hard on revocation, which wants an answer of now: a resumed handshake has none."""
        if policy.revocation is Revocation.HARD and (policy.staple or policy.crls is not None):
            return
        kept = self._by_key.setdefault((target, policy), [])
        self._by_key.move_to_end((target, policy))
        if len(kept) == PER_KEY:
            kept.pop(0)
            self._count -= 1
        kept.append(session)
        self._count += 1
        while self._count > MAX_SESSIONS:
            self._count -= len(self._by_key.popitem(last=False)[1])

    def take(self, target: Target, policy: Policy, at: datetime) -> Session | None:
        """The newest session, which is gone from here then; None where there is none.

        A certificate that was valid when it was verified may have expired since, and nobody would look at it again: sessions whose path
        was verified and is not valid at `at` (aware) are forgotten.
        """
        kept = self._by_key.pop((target, policy), [])
        while kept:
            session = kept.pop()
            self._count -= 1
            verdict = session.verdict
            if not verdict.verified or all(one.not_before <= at <= one.not_after for one in verdict.path):
                if kept:  # a key without sessions does not stay: it holds a policy, and that a private key
                    self._by_key[target, policy] = kept
                return session
        return None
