"""Who may ask what: Digest as the pocket PBX's two servers demand it, its registrar by 401 and its exchange by 407.

Both ask for the same passwords in the same realm, so there is one place that makes challenges and looks at what comes back (RFC 7616 and
8760, RFC 3261 section 22). Nonces carry their own time and seal, so ten thousand challenges cost no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from sipsua.account.persona import Dice
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.digest import Challenge, Credentials, hash_a1, verify
from sipsua.sip.message import Request
from sipsua.sip.uri import Uri


class Login(NamedTuple):
    """Credentials of a user whose name for Digest is another than that of the address."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(username={self.username!r})"


Users = Mapping[str, str | Login] | Callable[[str], str | Login | None]
"""From the user part of an address to the password or login; a callable gives None for a user who is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """As which kind of server the PBX asks (RFC 3261 section 22)."""

    status: int
    challenge: str
    """The header field of the challenge."""
    credentials: str
    """The header field of what answers it, by its canonical name."""


USER_AGENT = Server(401, "WWW-Authenticate", "authorization")
"""Registrars and user agent servers."""
PROXY = Server(407, "Proxy-Authenticate", "proxy-authorization")


class Challenger:
    """The challenges of one realm, and what answers them."""

    def __init__(
        self,
        users: Users,
        dice: Dice,
        *,
        realm: str,
        algorithm: str | Sequence[str],
        qop: str | Sequence[str],
        nonce_lifetime: float,
        reuse_nonces: bool,
    ) -> None:
        """See `registrar.Settings`. Raises BadConfiguration or Misuse for what is not known here."""
        self.realm = realm
        self.find = users if callable(users) else users.get
        """From a user to the password or login; None where there is no such user."""
        self._nonce_lifetime = nonce_lifetime
        self._reuse_nonces = reuse_nonces
        algorithms = _several(algorithm)
        for one in algorithms:
            hash_a1(one, "", "", "")  # raises Misuse for an unknown one
        self._algorithms = frozenset(one.lower() for one in algorithms)
        qops = _several(qop)
        if not {"auth", "auth-int"}.issuperset(qops):
            raise BadConfiguration(f"qop {', '.join(qops)} is not known here", fix="use auth, auth-int, both or none")
        self._qops = frozenset(qops or ("",))
        self._challenges = {
            (server, stale): "".join(
                f"{server.challenge}: {Challenge.build(realm, _NONCE, algorithm=one, qop=qops, stale=stale)}\r\n"
                for one in algorithms
            )
            for server in (USER_AGENT, PROXY)
            for stale in (False, True)
        }
        self._secret = dice(256).to_bytes(32, "big")
        self._nonces_made = 0
        # A phone counts the uses of the nonce that each server gave it.
        self._last_uses: dict[Server, dict[str, tuple[str, int]]] = {server: {} for server in (USER_AGENT, PROXY)}

    def challenge(self, now: float, server: Server = USER_AGENT, *, stale: bool = False) -> tuple[int, str]:
        """Status and header lines with a fresh nonce."""
        self._nonces_made += 1
        text = f"{int(now * 1000):x}.{self._nonces_made:x}"
        return server.status, self._challenges[server, stale].replace(_NONCE, f"{text}.{self._seal(text)}")

    def credentials(self, request: Request, server: Server = USER_AGENT) -> Credentials | None:
        """What the request shows for this realm. Raises MalformedMessage for what cannot be read."""
        for value in request.index.get(server.credentials, ()):
            credentials = Credentials.parse(value)
            if credentials.realm == self.realm:
                return credentials
        return None

    def refusal(
        self,
        credentials: Credentials,
        user: str,
        login: str | Login,
        request: Request,
        now: float,
        server: Server = USER_AGENT,
    ) -> tuple[int, str] | None:
        """Status and header lines for credentials that do not prove that this user sent the request; None where they do.

        Raises MalformedMessage where they are for another Request-URI, or their count is none.
        """
        username, password = (user, login) if isinstance(login, str) else login
        if (
            credentials.username != username
            or (credentials.algorithm or "MD5").lower() not in self._algorithms
            or (credentials.qop or "") not in self._qops
            or not verify(
                credentials,
                hash_a1(credentials.algorithm, username, self.realm, password),
                request.method,
                request.body,
            )
        ):
            return self.challenge(now, server)
        if credentials.uri != request.uri_text and not Uri.parse(credentials.uri).equivalent(request.uri):
            raise MalformedMessage("the credentials are for another Request-URI")
        if not self._is_fresh(credentials, user, now, server):
            return self.challenge(now, server, stale=True)
        return None

    def _is_fresh(self, credentials: Credentials, user: str, now: float, server: Server) -> bool:
        """Whether the nonce is ours and young, and this use of it a new one (RFC 7616 sections 3.3 and 3.4)."""
        nonce, nc = credentials.nonce, credentials.nc
        if nc is not None and not _NONCE_COUNT.fullmatch(nc):
            raise MalformedMessage(f"nc is not eight hexadecimal digits: {nc[:20]!r}")
        text, _, seal = nonce.rpartition(".")
        if seal != self._seal(text) or now - int(text.partition(".")[0], 16) / 1000 > self._nonce_lifetime:
            return False
        count = int(nc, 16) if nc is not None and credentials.qop else 0
        last_uses = self._last_uses[server]
        last_nonce, last_count = last_uses.get(user, ("", 0))
        if not self._reuse_nonces and (count > 1 or nonce == last_nonce):
            return False
        if count and nonce == last_nonce and count <= last_count:
            return False
        last_uses[user] = nonce, count
        return True

    def _seal(self, text: str) -> str:
        return blake2b(text.encode("utf-8", "surrogateescape"), key=self._secret, digest_size=8).hexdigest()


_NONCE = "%nonce%"
_NONCE_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(value)
