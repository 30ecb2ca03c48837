"""From the name of a server to addresses, in the order in which to try them; and why there are none.

Asked are, in this order: the name itself where it is an address, the loopback for `localhost` (RFC 6761 section 6.3), the hosts
file, and then DNS for A and AAAA at the same time. The loop's own `getaddrinfo` would do that in a thread each, tell "no such
host" and "no answer" apart in no portable way, and ask DNS anew for each of ten thousand phones.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from itertools import chain, zip_longest
from typing import Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from sipsua.errors import Unreachable
from sipsua.trust.names import parse_reference

RESOLUTION_DELAY = 0.05
"""Seconds. How long to wait for the other family once one has answered (RFC 8305 section 3)."""

_T = TypeVar("_T")


class ReadAgain(Generic[_T]):
    """A value that is read from a file, and read again when the file has changed."""

    __slots__ = ("_path", "_read", "_stamp", "_value")

    def __init__(self, path: str | os.PathLike[str], read: Callable[[str], _T]) -> None:
        self._path = os.fspath(path)
        self._read = read
        self._stamp: tuple[int, int, int] | None = None
        self._value: _T | None = None

    def value(self) -> _T:
        """The value. Raises what `read` raises, which is called with a path that may not exist."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            stamp = (0, 0, 0)
        if self._value is None or stamp != self._stamp:
            self._value = self._read(self._path)
            self._stamp = stamp
        return self._value


def read_hosts(path: str) -> dict[str, list[str]]:
    """The addresses of each name in a hosts file, names in lower case; none where the file cannot be read."""
    hosts: dict[str, list[str]] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return hosts
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ip_address(address)
        except ValueError:
            continue
        for name in names:
            hosts.setdefault(name.lower().removesuffix("."), []).append(address)
    return hosts


def read_resolver(path: str) -> dns.asyncresolver.Resolver:
    """A resolver for the DNS servers of a resolv.conf file, with a cache that keeps to the time to live."""
    resolver = dns.asyncresolver.Resolver(filename=path)
    resolver.cache = dns.resolver.LRUCache()
    return resolver


HOSTS = ReadAgain("/etc/hosts", read_hosts)
RESOLVER = ReadAgain("/etc/resolv.conf", read_resolver)


async def resolve(
    host: str,
    *,
    timeout: float,  # noqa: ASYNC109 - the contract; dnspython shares it out among the servers
    resolver: dns.asyncresolver.Resolver | None = None,
    hosts: ReadAgain[dict[str, list[str]]] = HOSTS,
) -> list[str]:
    """The addresses of a host, at least one, the one to try first at the front; IPv6 without brackets.

    `timeout` in seconds is for DNS as a whole. Raises Unreachable, which says whether the name does not exist, has no address,
    or could not be asked for, and what to do.
    """
    try:
        return [str(ip_address(host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host))]
    except ValueError:
        pass
    name = parse_reference(host).dns
    # No domain ends in a number, so this was meant for an address: `127.0.0.1.`, `10.0.0.256` (RFC 3696 section 2).
    if name is None or ("." in name and name.rpartition(".")[2].isdigit()):
        raise Unreachable(
            f"{host!r} is neither a host name nor an IP address",
            fix="correct its dots and letters" if host.isascii() else "write an internationalized name as xn--…",
            kind="no host name",
        )
    if name == "localhost" or name.endswith(".localhost"):
        # What is under test on one's own machine seldom listens on ::1.
        return ["127.0.0.1", "::1"]
    if found := hosts.value().get(name):
        return eyeballs(found)
    try:
        resolver = resolver or RESOLVER.value()
    except dns.resolver.NoResolverConfiguration:
        pass
    if resolver is None or not resolver.nameservers:
        raise Unreachable(
            f"cannot look up {host}: no DNS server is configured",
            fix="name one in /etc/resolv.conf, or give the server by its address",
            kind="no DNS server",
        )
    return eyeballs(await _lookup(name, resolver, timeout))


def eyeballs(addresses: list[str], usable: Callable[[IPv6Address], bool] | None = None) -> list[str]:
    """Order addresses for trying: the families in turn, IPv6 first (RFC 8305 section 4).

    IPv6 addresses that this machine has no route to come last (RFC 6724 section 6, rule 1); `usable` tells them.
    """
    usable = usable or _has_route
    v4: list[str] = []
    v6: list[str] = []
    last: list[str] = []
    for address in dict.fromkeys(addresses):
        parsed = ip_address(address)
        if not isinstance(parsed, IPv6Address):
            v4.append(address)
        elif usable(parsed):
            v6.append(address)
        else:
            last.append(address)
    return [address for address in chain.from_iterable(zip_longest(v6, v4)) if address is not None] + last


def _has_route(address: IPv6Address) -> bool:
    """Connecting a datagram socket sends nothing, but fails where there is no route."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 5061))
    except OSError:
        return False
    return True


async def _lookup(name: str, resolver: dns.asyncresolver.Resolver, lifetime: float) -> list[str]:
    """Ask for A and AAAA at once; when one has addresses, the other gets the resolution delay."""
    question = dns.name.from_text(name, None if "." not in name else dns.name.root)
    queries = {
        asyncio.ensure_future(
            # A name of a single label is completed by the search list, as everywhere.
            resolver.resolve(question, kind, lifetime=lifetime, search="." not in name)
        )
        for kind in (dns.rdatatype.AAAA, dns.rdatatype.A)
    }
    addresses: list[str] = []
    failures: list[BaseException] = []
    pending = queries
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending,
                timeout=RESOLUTION_DELAY if addresses else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                break
            for query in done:
                if (error := query.exception()) is not None:
                    failures.append(error)
                else:
                    addresses += [record.address for record in query.result()]
    finally:
        for query in pending:
            query.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    if addresses:
        return addresses
    # The family that could not be asked for may have addresses: so its failure is the one that counts.
    raise max((_failure(name, error, lifetime) for error in failures), key=lambda ranked: ranked[0])[1] from None


def _failure(name: str, error: BaseException, lifetime: float) -> tuple[int, Exception]:
    """A failure of DNS in words, with its rank."""
    match error:
        case dns.resolver.NoAnswer():
            return 0, Unreachable(
                f"{name} exists in DNS but has no address (neither A nor AAAA)",
                fix="give the server's host name, or its address as outbound proxy",
                kind="no address in DNS",
            )
        case dns.resolver.NXDOMAIN():
            return 1, Unreachable(
                f"DNS knows no host {name} (NXDOMAIN)",
                fix="check the spelling, or add the name to DNS or /etc/hosts",
                kind="NXDOMAIN",
            )
        case dns.resolver.NoNameservers():
            why = str(error).rpartition(": ")[2] or "no server to ask"
            return 3, Unreachable(
                f"DNS cannot answer for {name}: {why}",
                fix="look at the DNS server, or give the server by its address",
                kind="DNS failure",
            )
        case dns.exception.Timeout():
            return 4, Unreachable(
                f"no DNS server answered for {name} within {lifetime:g} s",
                fix="check the DNS servers in /etc/resolv.conf and the way to them",
                kind="DNS time-out",
            )
        case dns.exception.DNSException() | OSError():
            return 2, Unreachable(f"DNS failed for {name}: {error}", fix="look at the DNS server", kind="DNS failure")
        case _:
            return 5, error if isinstance(error, Exception) else RuntimeError(str(error))
