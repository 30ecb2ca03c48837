"""SIP, SIPS and tel URIs: parsed once, kept as they came, compared as the RFCs say.

A URI names who is called and where a request goes, and it comes from a peer more often than from us. So a parsed `Uri`
keeps the text that it was parsed from and gives it back unchanged, its parts stay escaped until somebody asks for the
decoded user, and two URIs are compared by rule (RFC 3261 section 19.1.4, RFC 3966 section 4) and not by their text. One
regular expression takes the plain URIs that make up nearly all traffic; what it does not know goes to the strict way,
which also says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote

from sipsua.errors import BadConfiguration, MalformedMessage


class Uri(NamedTuple):
    """One URI, its parts as on the wire, escapes and all: made by `parse` from text, by `build` from plain parts.

    Equality and hash are those of the text, as for dictionary keys; what SIP calls equal is `equivalent`.
    """

    text: str
    """The whole URI as it was parsed, which is what `str` gives. It holds the password, where there is one."""
    scheme: str
    """In lower case: `sip`, `sips`, `tel`, or whatever the peer wrote."""
    user: str | None
    """The user part, still escaped; of a tel URI the number. None where there is none."""
    password: str | None
    """The password part, still escaped. None where there is none."""
    host: str
    """Host name, IPv4 address, or IPv6 address in brackets, in the case it came in. Empty for other schemes."""
    port: int | None
    """0 to 65535, or None where the URI names no port."""
    params: dict[str, str | None]
    """URI parameters, names in lower case, values still escaped, None for one without `=`. Not to be changed."""
    headers: str
    """What follows `?`, raw; empty where there is nothing."""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """The URI in `text`, which is the URI alone: no angle brackets, no blanks around it.

        A well-formed URI of an unknown scheme is taken as it is (`is_sip` is False), so that it can be answered with
        416. Empty parameters (`;;`) are skipped, and of a parameter given twice the first counts.

        Raises MalformedMessage (status 400) for anything else.
        """
        if plain := _plain_uri(text):
            scheme, user, host, digits, name, value, tail = plain.groups()
            port = int(digits) if digits else None
            if port is None or port < 65536:
                params = {name: value} if name else {}
                if tail:
                    _parse_params(tail, params)
                return tuple.__new__(cls, (text, scheme, user, None, host, port, params, ""))
        return _parse_strictly(text)

    @classmethod
    def build(
        cls,
        host: str,
        *,
        user: str | None = None,
        password: str | None = None,
        port: int | None = None,
        scheme: str = "sip",
        params: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Uri:
        """A SIP or SIPS URI from plain parts, each escaped as its place demands. IPv6 hosts may come without brackets.

        Raises BadConfiguration where no URI can hold these parts.
        """
        text = scheme + ":"
        if user is not None:
            text += _escape(user, "&=+$,;?/")
            if password is not None:
                text += ":" + _escape(password, "&=+$,")
            text += "@"
        text += f"[{host}]" if ":" in host and not host.startswith("[") else host
        if port is not None:
            text += f":{port}"
        for name, value in (params or {}).items():
            text += ";" + _escape(name, "[]/:&+$")
            if value is not None:
                text += "=" + _escape(value, "[]/:&+$")
        if headers:
            text += "?" + "&".join(_escape(n, "[]/?:+$") + "=" + _escape(v, "[]/?:+$") for n, v in headers.items())
        try:
            uri = cls.parse(text)
        except MalformedMessage as error:
            raise BadConfiguration(
                f"no URI can be built for host {host!r}: {error.what}", fix="correct the address"
            ) from None
        if not uri.is_sip or uri.host not in (host, f"[{host}]"):
            raise BadConfiguration(
                f"no URI can be built for host {host!r} and scheme {scheme!r}", fix="correct the address"
            )
        return uri

    @property
    def is_sip(self) -> bool:
        """True for `sip:` and `sips:`, the schemes that a SIP request can be sent to."""
        return self.scheme == "sip" or self.scheme == "sips"

    @property
    def decoded_user(self) -> str | None:
        """The user with its escapes decoded, once: `%2541` is `%41`, `%00` a NUL. Non-UTF-8 bytes become surrogates."""
        return None if self.user is None else unquote(self.user, errors="surrogateescape")

    @property
    def transport(self) -> str | None:
        """The transport parameter in lower case, or None."""
        value = self.params.get("transport")
        return value.lower() if value else None

    def equivalent(self, other: Uri) -> bool:
        """Whether both name the same resource: RFC 3261 section 19.1.4 for SIP and SIPS, RFC 3966 section 4 for tel.

        Unknown schemes are equivalent where their texts are equal behind the scheme. The relation is not transitive.
        """
        if self.text == other.text:
            return True
        if self.scheme != other.scheme:
            return False
        if self.scheme == "tel":
            return _tel_key(self) == _tel_key(other)
        if not self.is_sip:
            return self.text[len(self.scheme) :] == other.text[len(self.scheme) :]
        if (
            self.port != other.port
            or _normal(self.user) != _normal(other.user)
            or _normal(self.password) != _normal(other.password)
            or _host_key(self.host) != _host_key(other.host)
            or _header_keys(self.headers) != _header_keys(other.headers)
        ):
            return False
        mine, theirs = _param_keys(self.params), _param_keys(other.params)
        return all(
            mine[name] == theirs[name] if name in mine and name in theirs else name not in _NEVER_IGNORED
            for name in mine.keys() | theirs.keys()
        )

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        text = self.text
        return f"Uri({text.replace(':' + self.password + '@', ':***@', 1) if self.password else text!r})"

    def __hash__(self) -> int:
        return hash(self.text)


_MARKS = "-_.!~*'()"
"""RFC 3261 section 25.1 `mark`: with letters and digits the characters that need no escape anywhere."""

_RESERVED = ";/?:@&=+$,%"
"""RFC 2396 section 2.2, and the % itself: escaped, these mean something else than plain."""

_NEVER_IGNORED = frozenset({"user", "ttl", "method", "maddr", "transport"})
"""Parameters that make two URIs differ when only one of them has it."""

_plain_uri = re.compile(
    r"(sips?):(?:([A-Za-z0-9_.+*-]++)@)?([A-Za-z0-9._-]++)(?::([0-9]{1,5}))?"
    r"(?:;([a-z]++)=([A-Za-z0-9._-]++))?(;[A-Za-z0-9._~=;:/&+$*-]++)?"  # the first parameter, the others
).fullmatch
_scheme = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*+):").match
_host_port = re.compile(r"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._-]++)(?::([0-9]{1,9}))?").fullmatch
_number = re.compile(r"\+(?=[().-]*+[0-9])[0-9().-]++|(?=[().-]*+[0-9A-Fa-f*#])[0-9A-Fa-f*#().-]++").fullmatch
_forbidden = re.compile(r'[\s\x00-\x1f\x7f<>"]').search
_half_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_escape_or_foreign = re.compile(r"%([0-9A-Fa-f]{2})|[^\x00-\x7f]")
_drop_separators = str.maketrans("", "", "-.()")


def _escape(part: str, allowed: str) -> str:
    """`part` with all but letters, digits, marks and the characters that this place allows escaped."""
    try:
        return quote(part, _MARKS + allowed, errors="surrogateescape")
    except UnicodeEncodeError:
        raise BadConfiguration("part of a URI holds half a surrogate pair, which has no UTF-8 form") from None


def _parse_params(text: str, params: dict[str, str | None]) -> dict[str, str | None]:
    for piece in text.split(";"):
        if piece:
            name, equals, value = piece.partition("=")
            params.setdefault(name.lower(), value if equals else None)
    return params


def _parse_strictly(text: str) -> Uri:
    # No message quotes the URI: it may hold a password.
    if not (found := _scheme(text)):
        raise MalformedMessage("URI: it does not start with a scheme and a colon")
    scheme, rest = found[1].lower(), text[found.end() :]
    if bad := _forbidden(rest):
        raise MalformedMessage(f"URI: it holds {bad[0]!r}, which must be escaped")
    if not rest:
        raise MalformedMessage(f"URI: nothing follows {scheme!r}")
    if scheme not in ("sip", "sips", "tel"):
        return Uri(text, scheme, None, None, "", None, {}, "")
    if _half_escape(rest):
        raise MalformedMessage("URI: a % is not followed by two hexadecimal digits")
    if scheme == "tel":
        number, _, tail = rest.partition(";")
        if not _number(number):
            raise MalformedMessage("URI: what follows 'tel' is no telephone number")
        return Uri(text, scheme, number, None, "", None, _parse_params(tail, {}), "")

    # The user may hold ; and ? but nothing behind it may hold @: the first @ ends it (RFC 3261 section 25.1).
    user: str | None = None
    password: str | None = None
    if "@" in rest:
        userinfo, _, rest = rest.partition("@")
        user, colon, secret = userinfo.partition(":")
        if not user:
            raise MalformedMessage("URI: the user before @ is empty")
        password = secret if colon else None
    rest, _, headers = rest.partition("?")
    host_port, _, tail = rest.partition(";")
    if not (place := _host_port(host_port)):
        raise MalformedMessage("URI: the host is empty, or host and port are not well formed")
    host, digits = place.groups()
    if host[0] == "[":
        try:
            IPv6Address(host[1:-1])
        except AddressValueError:
            raise MalformedMessage("URI: what stands in brackets is no IPv6 address") from None
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        raise MalformedMessage("URI: the port is above 65535")
    return Uri(text, scheme, user, password, host, port, _parse_params(tail, {}), headers)


def _normal(part: str | None) -> str | None:
    """`part` in its one normal form: escaped reserved and all foreign characters as %XX in capitals, others plain."""
    return part and _escape_or_foreign.sub(_normal_escape, part)


def _normal_escape(found: re.Match[str]) -> str:
    if found[1] is None:
        return quote(found[0], errors="surrogateescape")
    character = chr(int(found[1], 16))
    return character if "!" <= character <= "~" and character not in _RESERVED else found[0].upper()


def _param_keys(params: Mapping[str, str | None]) -> dict[str, str | None]:
    keys: dict[str, str | None] = {}
    for raw_name, raw_value in params.items():
        name, value = (_normal(raw_name) or "").lower(), _normal(raw_value)
        keys[name] = value if name == "method" or value is None else value.lower()  # methods are case-sensitive
    return keys


def _header_keys(headers: str) -> list[str]:
    return sorted((_normal(header) or "").lower() for header in headers.split("&")) if headers else []


def _host_key(host: str) -> str | IPv6Address:
    """IPv6 addresses are compared as numbers, not as text (RFC 5954 section 4.2)."""
    return IPv6Address(host[1:-1]) if host.startswith("[") else host.lower()


def _tel_key(uri: Uri) -> tuple[str, dict[str, str | None]]:
    params = _param_keys(uri.params)
    for name in ("phone-context", "ext"):
        value = params.get(name)
        if value and (name == "ext" or value.startswith("+")):  # a domain name keeps its dots
            params[name] = value.translate(_drop_separators)
    return (uri.user or "").translate(_drop_separators).lower(), params
