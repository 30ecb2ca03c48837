"""How an account proves itself to those that challenge: the credentials of each header field, from one request to the next.

A registrar and a proxy before it challenge apart (RFC 3261 section 22), so there is one proof for each header field in which credentials
go. What one server challenged for is no other's business: whoever asks another server begins with a new keyring.
"""

from __future__ import annotations

from collections.abc import Mapping

from sipsua.account.config import AccountConfig, Target
from sipsua.account.persona import Dice
from sipsua.errors import CredentialsRefused, MalformedMessage, Refused, printable
from sipsua.sip.digest import Challenge, DigestClient, strongest
from sipsua.sip.message import Response

_CHALLENGERS = {
    401: ("", "www-authenticate", "Authorization", "authentication-info"),
    407: ("the proxy", "proxy-authenticate", "Proxy-Authorization", "proxy-authentication-info"),
}
"""Which proxy challenges (none: the server itself), in which header field, where the answer goes, and where the next nonce may come
(RFC 3261 section 22)."""


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


class Keyring:
    """All credentials of an account on one way. Several requests may be under way with them at a time."""

    __slots__ = ("_config", "_proofs", "_who")

    def __init__(self, config: AccountConfig, who: str) -> None:
        """`who` challenges with 401, in words: the registrar, the other side."""
        self._config = config
        self._who = who
        self._proofs: dict[str, Proof] = {}

    def answer(self, response: Response, target: Target, sent: Mapping[str, str]) -> Refused | None:
        """Adopt the challenge of a 401 or 407, so that the next request answers it. `sent`: the credentials that the request had, by field.

        Returns why there is no use in that: the challenge cannot be answered, or the credentials were refused. Raises MalformedMessage.
        """
        config = self._config
        proxy, field, name, info = _CHALLENGERS[response.status]
        who = proxy or self._who
        reason = printable(response.reason)
        challenges = Challenge.parse_all(response.index.get(field, ()))
        challenge = strongest(challenges)
        if challenge is None:
            offered = ", ".join(sorted({kind(one) for one in challenges})) or "no Digest"
            return Refused(
                f"{who} at {target} answered {response.status} {reason}: it asks for {offered}",
                status=response.status,
                reason=reason,
                fix="have the server offer Digest with MD5, SHA-256 or SHA-512-256, without qop or with auth or auth-int",
            )
        proof = self._proofs.get(name)
        if proof is None:
            user = config.auth_user or config.aor.decoded_user or ""
            proof = Proof(DigestClient(user, config.password, order=config.persona.digest_order), info)
            self._proofs[name] = proof
        elif proof.digest.is_refusal(challenge, sent.get(name)):
            del self._proofs[name]
            return CredentialsRefused(
                f"{who} at {target} refused user name {proof.digest.username!r} or its password"
                f" with {response.status} (realm {challenge.realm!r})",
                status=response.status,
                reason=reason,
                fix="check the user name of the credentials and the password"
                if config.password
                else "give the account its password: it has none",
            )
        proof.digest.answer(challenge)
        return None

    def authorize(self, method: str, uri: str, body: bytes, dice: Dice) -> dict[str, str]:
        """The header fields with credentials for one request: none before the first challenge."""
        cnonce = self._config.persona.cnonce
        return {
            name: proof.digest.authorize(method, uri, body, cnonce.make(dice)) for name, proof in self._proofs.items()
        }

    def accepted(self, response: Response) -> None:
        """A request was accepted."""
        for proof in self._proofs.values():
            proof.accepted(response)

    def clear(self) -> None:
        """Forget all."""
        self._proofs.clear()


def kind(challenge: Challenge) -> str:
    """What a challenge wants, in words."""
    qop = f" with qop {','.join(challenge.qop)}" if challenge.qop else ""
    return f"{challenge.algorithm or 'MD5'}{qop}"
