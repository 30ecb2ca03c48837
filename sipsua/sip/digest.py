"""Digest authentication: a challenge read, a password proven without being sent, and the same from the server's side.

Each phone answers a challenge at least once an hour and, where the server lets it, uses the nonce again for many
requests. So what stays the same for one server (the hash of the password, the text of the header field around the
changing values, the hash of method and URI) is made once, and one more request costs one hash and one string. Servers
differ most in how they say no: some mark an old nonce as stale, some do not, and only the request that was challenged
tells an old nonce from a wrong password.

RFC 7616 gives the arithmetic, RFC 3261 section 22.4 and RFC 8760 what differs in SIP. Text is hashed and sent as UTF-8.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sipsua.errors import BadConfiguration, MalformedMessage, Misuse

AUTHORIZATION_ORDER = (
    "username", "realm", "nonce", "uri", "response", "algorithm", "cnonce", "opaque", "qop", "nc", "userhash",
)  # fmt: skip
"""Parameters of an Authorization value in the order in which common phones, Yealink's among them, write them."""


class Challenge(NamedTuple):
    """One Digest challenge of a WWW-Authenticate or Proxy-Authenticate header field (RFC 7616 section 3.3).

    `realm`, `nonce` and `opaque` are what stood between the quotes, backslashes kept, because they are sent back
    unchanged. `str` gives the value of the header field.
    """

    realm: str
    """The protection space, escapes kept."""
    nonce: str
    """The server's nonce, escapes kept."""
    algorithm: str | None = None
    """As the server wrote it; None, which means MD5, where it wrote none."""
    qop: tuple[str, ...] = ()
    """The offered qualities of protection in lower case; empty for a server of RFC 2069."""
    opaque: str | None = None
    """To be echoed, escapes kept."""
    stale: bool = False
    """True where the server says that only the nonce was too old."""
    domain: str | None = None
    """Blank-separated URIs, which SIP does not use."""
    userhash: bool = False
    """True where the server wants the user name hashed (RFC 7616 section 3.4.4)."""

    @classmethod
    def parse(cls, value: str) -> Challenge:
        """The first Digest challenge in `value`. Unknown parameters are ignored; tokens need no quotes.

        Raises MalformedMessage where there is none, or none with realm and nonce.
        """
        challenges = cls.parse_all((value,))
        if not challenges:
            raise MalformedMessage("challenge: it holds no Digest challenge", fix="enable Digest on the server")
        return challenges[0]

    @classmethod
    def parse_all(cls, values: Iterable[str]) -> list[Challenge]:
        """All Digest challenges in the header field values, topmost first. Other schemes are skipped.

        Raises MalformedMessage for a value that cannot be read, or a Digest challenge without realm or nonce.
        """
        found = []
        for value in values:
            for scheme, fields in _read(value, "challenge"):
                if scheme == "digest":
                    take = fields.get
                    if (realm := take("realm")) is None or (nonce := take("nonce")) is None:
                        raise MalformedMessage("challenge: realm or nonce is missing")
                    qop = tuple(take("qop", "").lower().replace(",", " ").split())
                    stale, userhash = take("stale", "").lower() == "true", take("userhash", "").lower() == "true"
                    algorithm, opaque, domain = take("algorithm"), take("opaque"), take("domain")
                    found.append(cls(realm, nonce, algorithm, qop, opaque, stale, domain, userhash))
        return found

    @classmethod
    def build(
        cls,
        realm: str,
        nonce: str,
        *,
        algorithm: str | None = None,
        qop: tuple[str, ...] = ("auth",),
        opaque: str | None = None,
        stale: bool = False,
        userhash: bool = False,
    ) -> Challenge:
        """A challenge for a server to send, from plain values, which are escaped here."""
        opaque = None if opaque is None else _escape(opaque)
        return cls(_escape(realm), _escape(nonce), algorithm, qop, opaque, stale, None, userhash)

    @property
    def is_known(self) -> bool:
        """Whether a `DigestClient` can answer: the algorithm is known here, and one of the offered qops, if any."""
        return _algorithm(self.algorithm) is not None and (not self.qop or "auth" in self.qop or "auth-int" in self.qop)

    def __str__(self) -> str:
        text = f'Digest realm="{self.realm}", nonce="{self.nonce}"'
        if self.domain is not None:
            text += f', domain="{self.domain}"'
        if self.opaque is not None:
            text += f', opaque="{self.opaque}"'
        if self.algorithm is not None:
            text += f", algorithm={self.algorithm}"
        if self.qop:
            text += f', qop="{",".join(self.qop)}"'
        return text + (", stale=true" if self.stale else "") + (", userhash=true" if self.userhash else "")


def strongest(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge with the strongest algorithm that is known here, the topmost of equals; None where none is known.

    SHA-512-256 goes before SHA-256 before MD5. RFC 8760 section 2.4 would take the topmost known one, which is the
    server's preference, "unless a local policy dictates otherwise": this is that policy, for a server may list MD5
    first by mistake.
    """
    known = [challenge for challenge in challenges if challenge.is_known]
    if len(known) < 2:
        return known[0] if known else None
    return max(known, key=lambda challenge: _known(challenge.algorithm).strength)


class Credentials(NamedTuple):
    """The value of an Authorization or Proxy-Authorization header field, all values without quotes and escapes."""

    username: str
    """The user name, or its hash where `userhash` is True."""
    realm: str
    """The realm that the client answers for. The server must compare it with its own."""
    nonce: str
    """The nonce that the client answers. The server must know whether it gave this nonce out."""
    uri: str
    """The Request-URI as the client sent it; proxies may have changed the one in the request (RFC 8760 section 2.6)."""
    response: str
    """The proof, hexadecimal."""
    algorithm: str | None
    """As the client wrote it; None means MD5."""
    cnonce: str | None
    """The client's nonce."""
    opaque: str | None
    """The server's opaque, sent back."""
    qop: str | None
    """In lower case; None for a client of RFC 2069."""
    nc: str | None
    """The count of uses of the nonce as it was written: eight hexadecimal digits, from careless clients more."""
    userhash: bool
    """True where `username` is a hash."""

    @classmethod
    def parse(cls, value: str) -> Credentials:
        """The Digest credentials in `value`.

        Raises MalformedMessage where it is no Digest, a parameter is missing, or `qop` comes without `nc` and `cnonce`.
        """
        scheme, fields = _read(value, "credentials")[0]
        if scheme != "digest":
            raise MalformedMessage("credentials: the scheme is not Digest")
        if "\\" in value:
            fields = {name: _unescape(text) for name, text in fields.items()}
        take = fields.get
        qop, nc, cnonce = take("qop"), take("nc"), take("cnonce")
        if qop is not None and (nc is None or cnonce is None):
            raise MalformedMessage("credentials: qop comes without nc or cnonce")
        try:
            return cls(
                fields["username"],
                fields["realm"],
                fields["nonce"],
                fields["uri"],
                fields["response"],
                take("algorithm"),
                cnonce,
                take("opaque"),
                qop.lower() if qop else None,
                nc,
                take("userhash", "").lower() == "true",
            )
        except KeyError as missing:
            raise MalformedMessage(f"credentials: {missing.args[0]} is missing") from None


class AuthenticationInfo(NamedTuple):
    """The value of an Authentication-Info header field (RFC 7616 section 3.5), escapes kept, None for what is missing."""

    nextnonce: str | None
    """The nonce to use from now on."""
    rspauth: str | None
    """The server's proof that it knows the password too, hexadecimal."""
    qop: str | None
    """As the server wrote it."""
    cnonce: str | None
    """The client's nonce of the request, echoed."""
    nc: str | None
    """The client's count of the request, echoed."""

    @classmethod
    def parse(cls, value: str) -> AuthenticationInfo:
        """The fields in `value`, unknown ones ignored. Raises MalformedMessage where it cannot be read."""
        take = _read(value, "Authentication-Info")[0][1].get
        return cls(take("nextnonce"), take("rspauth"), take("qop"), take("cnonce"), take("nc"))


class DigestClient:
    """The side that knows a password: one for each user name and realm. It adopts challenges and answers them.

    Not to be shared between accounts: it counts the uses of the nonce. Neither `repr` nor any error holds the password.
    """

    __slots__ = (
        "_a1",
        "_a1_hashes",
        "_a2",
        "_a2_hash",
        "_aged_nonce",
        "_algorithm",
        "_challenge",
        "_count",
        "_order",
        "_password",
        "_prefix",
        "_qop",
        "_sent",
        "_session_cnonce",
        "_template",
        "username",
    )

    def __init__(self, username: str, password: str, *, order: Sequence[str] = AUTHORIZATION_ORDER) -> None:
        """`order` names the parameters as this kind of phone writes them; one without `userhash` never hashes its name.

        Raises BadConfiguration for a user name with control characters, text that has no UTF-8 form, and an order with
        other parameters.
        """
        if any(character < " " or character == "\x7f" for character in username):
            raise BadConfiguration(
                "the user name holds a control character", fix="correct the user name of the account"
            )
        try:
            _encode(username + password)
        except UnicodeEncodeError:
            raise BadConfiguration(
                "the user name or the password holds half a surrogate pair, which has no UTF-8 form",
                fix="enter the user name and the password of the account again",
            ) from None
        if wrong := {*AUTHORIZATION_ORDER} ^ {*order, "userhash"}:
            raise BadConfiguration(
                f"the order of Authorization parameters lacks or should not hold {', '.join(sorted(wrong))}",
                fix=f"name each of {', '.join(AUTHORIZATION_ORDER)} once",
            )
        self.username = username
        self._password = password
        self._order = tuple(order)
        self._a1_hashes: dict[tuple[str, str], str] = {}
        self._challenge: Challenge | None = None
        self._algorithm = _ALGORITHMS["md5"]
        self._qop = ""
        self._count = 0
        self._aged_nonce: str | None = None
        self._session_cnonce: str | None = None
        self._a1 = ""
        self._a2 = self._a2_hash = ""
        self._prefix = ""
        self._template = ""
        self._sent: str | None = None

    def __repr__(self) -> str:
        return f"DigestClient(username={self.username!r})"

    @property
    def challenge(self) -> Challenge | None:
        """What is being answered, or None before the first challenge: then requests go out without credentials."""
        return self._challenge

    def answer(self, challenge: Challenge) -> None:
        """Adopt `challenge`: the next `authorize` answers it, with nc=00000001.

        Raises Misuse for a challenge that is not `is_known`.
        """
        known = self._challenge
        if (
            known is None
            or self._session_cnonce is not None
            or challenge.realm != known.realm
            or challenge.algorithm != known.algorithm
            or challenge.qop != known.qop
            or challenge.userhash != known.userhash
            or (challenge.opaque is None) != (known.opaque is None)
        ):
            self._prepare(challenge)
        self._adopt(challenge)

    def authorize(self, method: str, uri: str, body: bytes, cnonce: str) -> str:
        """The Authorization (or Proxy-Authorization) value for one request; each call counts as one use of the nonce.

        `uri` is the Request-URI as it is sent, `cnonce` a fresh random token of the caller's. A session algorithm goes
        on with the first cnonce of its session, which serves servers that keep the session's key and those that compute
        it anew.

        Raises Misuse before the first `answer`.
        """
        if self._challenge is None:
            raise Misuse("there is no challenge to answer yet", fix="call answer() with the server's challenge first")
        challenge, hash_of = self._challenge, self._algorithm.hash
        self._count += 1
        if self._count > 1:
            self._aged_nonce = challenge.nonce
        if self._algorithm.is_session:
            if self._session_cnonce is None:
                self._session_cnonce = cnonce
                self._a1 = hash_of(_encode(f"{self._prefix}{cnonce}"))
                self._prefix = f"{self._a1}:{_unescape(challenge.nonce)}:"
            cnonce = self._session_cnonce
        a2 = f"{method}:{uri}:{hash_of(body)}" if self._qop == "auth-int" else f"{method}:{uri}"
        if a2 != self._a2:
            self._a2, self._a2_hash = a2, hash_of(_encode(a2))
        nc = f"{self._count:08x}"
        middle = f"{nc}:{cnonce}:{self._qop}:" if self._qop else ""
        response = hash_of(_encode(f"{self._prefix}{middle}{self._a2_hash}"))
        self._sent = self._template % {
            "nonce": challenge.nonce,
            "opaque": challenge.opaque,
            "uri": uri,
            "response": response,
            "cnonce": cnonce,
            "nc": nc,
        }
        return self._sent

    def next_nonce(self, authentication_info: str) -> bool:
        """Adopt the `nextnonce` of an Authentication-Info value (RFC 7616 section 3.5); False where it holds none.

        Raises MalformedMessage, and Misuse before the first `answer`.
        """
        if self._challenge is None:
            raise Misuse("Authentication-Info came without a challenge before it")
        nonce = AuthenticationInfo.parse(authentication_info).nextnonce
        if nonce is None:
            return False
        self._adopt(self._challenge._replace(nonce=nonce))
        self._aged_nonce = nonce  # it may be long out of date when the next request goes out
        return True

    def is_refusal(self, challenge: Challenge, sent: str | None) -> bool:
        """Whether `challenge` says that user name or password is wrong. Ask before `answer`.

        `sent` is the Authorization value of the request that was challenged, None where it had none. With requests
        under way at the same time only that value tells which nonce the server saw.

        No refusal are: a first challenge; a challenge for another realm; `stale=true`; and a new nonce where the
        request used its nonce again (nc above 1, or a `nextnonce`), since many servers, Kamailio among them, then leave
        out `stale`. Refused are: a fresh nonce that was answered at once, and the same nonce again. A caller that
        answers whatever is no refusal still needs a limit of its own, against a server that calls every nonce stale.

        Raises MalformedMessage where `sent` is no Authorization value.
        """
        if sent is None or challenge.stale:
            return False
        aged = None if self._aged_nonce is None else _unescape(self._aged_nonce)
        if sent == self._sent and self._challenge is not None:
            # What `authorize` gave last, and nothing was adopted since: what it answers need not be read back.
            realm, nonce, again = _unescape(self._challenge.realm), _unescape(self._challenge.nonce), self._count > 1
        else:
            answered = Credentials.parse(sent)
            realm, nonce, again = answered.realm, answered.nonce, answered.nc not in (None, "00000001")
        if realm != _unescape(challenge.realm):
            return False
        return nonce == _unescape(challenge.nonce) or not (again or nonce == aged)

    def verify_rspauth(self, authentication_info: str, sent: str, body: bytes) -> bool:
        """Whether the server proves in Authentication-Info that it knows the password too (RFC 7616 section 3.5).

        `sent` is the Authorization value of the request, `body` that of the response. False too where `rspauth` is
        missing.

        Raises MalformedMessage where either value cannot be read.
        """
        info = AuthenticationInfo.parse(authentication_info)
        answered = Credentials.parse(sent)
        algorithm = _algorithm(answered.algorithm)
        if algorithm is None or any(
            theirs is not None and _unescape(theirs) != ours
            for theirs, ours in ((info.cnonce, answered.cnonce), (info.nc, answered.nc))
        ):
            return False
        if algorithm.is_session and answered.cnonce == self._session_cnonce:
            a1 = self._a1
        else:
            a1 = _session(algorithm, self._hash_a1(algorithm, answered.realm), answered)
        return _same(_response(algorithm, a1, answered, "", body), info.rspauth or "")

    def _hash_a1(self, algorithm: _Algorithm, realm: str) -> str:
        key = (realm, algorithm.name)
        if key not in self._a1_hashes:
            self._a1_hashes[key] = algorithm.hash(_encode(f"{self.username}:{realm}:{self._password}"))
        return self._a1_hashes[key]

    def _adopt(self, challenge: Challenge) -> None:
        """Take `challenge`, which differs in its nonce from what was prepared for, as the one to answer."""
        self._challenge = challenge
        self._count = 0
        self._sent = None
        self._prefix = f"{self._a1}:{_unescape(challenge.nonce)}:"

    def _prepare(self, challenge: Challenge) -> None:
        """Make all that stays the same as long as a server's challenges differ in nonce and opaque only."""
        algorithm = _algorithm(challenge.algorithm)
        if algorithm is None or not challenge.is_known:
            raise Misuse(f"no answer to algorithm {challenge.algorithm!r} and qop {challenge.qop!r} is known here")
        self._algorithm = algorithm
        # A session algorithm needs the cnonce and so the qop (RFC 3261 section 22.4), whose default is auth (RFC 8760).
        offered = challenge.qop or (("auth",) if algorithm.is_session else ())
        self._qop = "auth" if "auth" in offered else "auth-int" if offered else ""
        self._session_cnonce = None
        realm = _unescape(challenge.realm)
        self._a1 = self._hash_a1(algorithm, realm)
        self._a2 = ""
        userhash = challenge.userhash and "userhash" in self._order
        username = algorithm.hash(_encode(f"{self.username}:{realm}")) if userhash else _escape(self.username)
        written = {
            "username": f'"{username}"',
            "realm": f'"{challenge.realm}"',
            "algorithm": challenge.algorithm,
            "qop": self._qop or None,
            "userhash": "true" if userhash else None,
        }
        quoted = {"nonce", "uri", "response", *(("opaque",) if challenge.opaque is not None else ())}
        pieces = []
        for name in self._order:
            if name in quoted or (name == "cnonce" and self._qop):
                pieces.append(f'{name}="%({name})s"')
            elif name == "nc" and self._qop:
                pieces.append("nc=%(nc)s")
            elif (text := written.get(name)) is not None:
                pieces.append(f"{name}={text.replace('%', '%%')}")
        self._template = "Digest " + ", ".join(pieces)


def hash_a1(algorithm: str | None, username: str, realm: str, password: str) -> str:
    """H(username:realm:password) in hexadecimal, which a server may keep instead of the password. None means MD5.

    It is the same for an algorithm and its `-sess` form. Raises Misuse for an unknown algorithm.
    """
    return _known(algorithm).hash(_encode(f"{username}:{realm}:{password}"))


def hash_username(algorithm: str | None, username: str, realm: str) -> str:
    """The user name as it is sent with `userhash=true` (RFC 7616 section 3.4.4). Raises Misuse as `hash_a1` does."""
    return _known(algorithm).hash(_encode(f"{username}:{realm}"))


def expected_response(credentials: Credentials, a1: str, method: str, body: bytes) -> str:
    """The response that `credentials` should hold, `a1` being from `hash_a1`; with an empty `method` the `rspauth`.

    For a session algorithm the nonce of `credentials` has to be the one that began the session. Raises Misuse as
    `hash_a1` does.
    """
    algorithm = _known(credentials.algorithm)
    return _response(algorithm, _session(algorithm, a1, credentials), credentials, method, body)


def verify(credentials: Credentials, a1: str, method: str, body: bytes) -> bool:
    """Whether `credentials` prove knowledge of the password behind `a1` (see `hash_a1`), compared in constant time.

    Realm, nonce, nc, uri and opaque are for the caller to check. An unknown algorithm or qop proves nothing.
    """
    if _algorithm(credentials.algorithm) is None or credentials.qop not in (None, "auth", "auth-int"):
        return False
    return _same(expected_response(credentials, a1, method, body), credentials.response)


class _Algorithm(NamedTuple):
    name: str
    strength: int
    hash: Callable[[bytes], str]
    is_session: bool


_MD5 = hashlib.md5(usedforsecurity=False)


def _md5(data: bytes) -> str:
    started = _MD5.copy()  # OpenSSL looks an algorithm up by its name for each new one, which takes longer than to hash
    started.update(data)
    return started.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


_ALGORITHMS = {
    (name + suffix).lower(): _Algorithm(name, strength, function, bool(suffix))
    for strength, (name, function) in enumerate((("MD5", _md5), ("SHA-256", _sha256), ("SHA-512-256", _sha512_256)))
    if name != "SHA-512-256" or "sha512_256" in hashlib.algorithms_available  # it comes with OpenSSL, not with Python
    for suffix in ("", "-sess")
}

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]++"
_item = re.compile(
    rf"[\s,]*+(?:({_TOKEN})[ \t]++(?=[^\s=,]))?"  # a scheme, where a new challenge begins
    rf'(?:({_TOKEN})\s*+=\s*+(?:"((?:[^"\\\r\n\0]++|\\[^\r\n\0])*+)"|([^\s",]*+))|([^\s",]++))\s*+(?:,|$)'
).match
_plain_items = re.compile(rf'(?:^Digest |, ?+)({_TOKEN})=(?:"([^"\\\r\n\0]*+)"|([^\s",\\]++))|.++', re.DOTALL).findall
_escape_pair = re.compile(r"\\(.)", re.DOTALL).sub


def _read(value: str, what: str) -> list[tuple[str, dict[str, str]]]:
    """The parameters of each scheme in `value`, schemes and names in lower case; an empty scheme where there is none.

    Values are in the form in which they stand between quotes, whether they were quoted or not.
    """
    items = _plain_items(value)
    if items and items[-1][0] and value.startswith("Digest "):
        # What nearly every peer writes, one Digest with nothing odd: the last match would take all that is anything else.
        plain = {name.lower(): quoted or bare for name, quoted, bare in items}
        if len(plain) == len(items):
            return [("digest", plain)]
    groups: list[tuple[str, dict[str, str]]] = []
    fields: dict[str, str] = {}
    value = value.rstrip(" \t\r\n,")
    position = 0
    while position < len(value):
        found = _item(value, position)
        if not found:
            raise MalformedMessage(f"{what}: it cannot be read from character {position} on")
        position = found.end()
        scheme, name, quoted, bare, lone = found.groups()
        if scheme or lone or not groups:
            # What stands alone is the name of a scheme without parameters, or, behind a scheme, an opaque token of it.
            fields = {}
            groups.append(((scheme or lone or "").lower(), fields))
        if name:
            name = name.lower()
            if name in fields:
                raise MalformedMessage(f"{what}: {name} is there twice")
            fields[name] = quoted if quoted is not None else bare.replace("\\", "\\\\")
    if not groups:
        raise MalformedMessage(f"{what}: it is empty")
    return groups


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _unescape(text: str) -> str:
    return _escape_pair(r"\1", text) if "\\" in text else text


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _algorithm(name: str | None) -> _Algorithm | None:
    return _ALGORITHMS.get("md5" if name is None else name.lower())


def _known(name: str | None) -> _Algorithm:
    algorithm = _algorithm(name)
    if algorithm is None:
        raise Misuse(f"the Digest algorithm {name!r} is not known here", fix="use MD5, SHA-256 or SHA-512-256")
    return algorithm


def _session(algorithm: _Algorithm, a1: str, credentials: Credentials) -> str:
    """H(A1) of RFC 7616 section 3.4.2: for a session algorithm bound to its nonces, else `a1` itself."""
    if not algorithm.is_session:
        return a1
    return algorithm.hash(_encode(f"{a1}:{credentials.nonce}:{credentials.cnonce or ''}"))


def _response(algorithm: _Algorithm, a1: str, credentials: Credentials, method: str, body: bytes) -> str:
    _, _, nonce, uri, _, _, cnonce, _, qop, nc, _ = credentials
    a2 = f"{method}:{uri}:{algorithm.hash(body)}" if qop == "auth-int" else f"{method}:{uri}"
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return algorithm.hash(_encode(f"{a1}:{middle}:{algorithm.hash(_encode(a2))}"))


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), _encode(given.lower()))
