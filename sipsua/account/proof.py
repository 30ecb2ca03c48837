"""How an account proves itself to one that challenges: the credentials of one header field, from one request to the next.

A registrar and a proxy before it challenge apart (RFC 3261 section 22), so an account holds one of these for each of them.
"""

from __future__ import annotations

from sipsua.errors import MalformedMessage
from sipsua.sip.digest import Challenge, DigestClient
from sipsua.sip.message import Response


class Proof:
    """The credentials of one header field: what answers its challenges, and the last answer."""

    __slots__ = ("_info", "digest", "sent")

    def __init__(self, digest: DigestClient, info: str) -> None:
        """`info`: the header field in which the server may name the next nonce, by canonical name."""
        self.digest = digest
        self.sent: str | None = None
        """The value in the request that is under way."""
        self._info = info

    def accepted(self, response: Response) -> None:
        """The request was accepted: the server may name the nonce of the next one (RFC 7616 section 3.5)."""
        self.sent = None
        info = response.first(self._info)
        if info is not None:
            try:
                self.digest.next_nonce(info)
            except MalformedMessage:
                # A success stays one; the nonce that we have goes on.
                pass


def kind(challenge: Challenge) -> str:
    """What a challenge wants, in words."""
    qop = f" with qop {','.join(challenge.qop)}" if challenge.qop else ""
    return f"{challenge.algorithm or 'MD5'}{qop}"
