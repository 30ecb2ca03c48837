"""The addresses that phones connect from, in turn: more phones than one address has ports need several.

A connection from one address to one server takes a port of some 28,000 (Linux's default range) to 64,000. On loopback every address of
127.0.0.0/8 is this machine's.
"""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from itertools import accumulate

from sipsua.account.config import Target
from sipsua.errors import BadConfiguration

Network = IPv4Network | IPv6Network


class AddressPool:
    """Addresses by number, from the first again when all have been used. Nothing is kept for each."""

    __slots__ = ("_ends", "_networks")

    def __init__(self, texts: Sequence[str]) -> None:
        """Networks such as `127.0.1.0/24` and single addresses. Raises BadConfiguration."""
        self._networks = [network(text) for text in texts]
        self._ends = list(accumulate(_usable(each) for each in self._networks))

    def __len__(self) -> int:
        # More than enough for everybody, and no number that `len` cannot give.
        return min(self._ends[-1], 1 << 62) if self._ends else 0

    def __getitem__(self, index: int) -> str:
        index %= self._ends[-1]
        place = bisect_right(self._ends, index)
        one = self._networks[place]
        offset = index - (self._ends[place] - _usable(one))
        return str(one[offset + (one.num_addresses > _usable(one))])

    def check(self, count: int) -> None:
        """See that this machine has the first `count` of them. Raises BadConfiguration for one that it has not."""
        begin = 0
        for one, end in zip(self._networks, self._ends, strict=True):
            if not (one.version == 4 and one.is_loopback):
                for index in range(begin, min(end, count)):
                    check_ours(self[index])
            begin = end


def network(text: str) -> Network:
    """The network, or the single address as a network of one. Raises BadConfiguration."""
    try:
        interface = ip_interface(text.strip())
    except ValueError:
        raise BadConfiguration(
            f"{text[:60]!r} is no IP address and no network", fix="write 127.0.1.0/24, 192.0.2.1 or 2001:db8::1"
        ) from None
    whole: Network = interface.network
    if interface.ip != whole.network_address:
        raise BadConfiguration(
            f"{text.strip()!r} is an address within the network {whole}",
            fix=f"write {whole} for all of the network, {interface.ip} for that one address",
        )
    if interface.ip.is_multicast or interface.ip.is_unspecified or text.strip() == "255.255.255.255":
        raise BadConfiguration(
            f"nobody can connect from {text.strip()}", fix="give addresses that this machine has, or leave source out"
        )
    return whole


@lru_cache(maxsize=4096)
def check_ours(address: str) -> None:
    """See that this machine has an address. Raises BadConfiguration."""
    if address.startswith("127."):
        return  # all of them are
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise BadConfiguration(
            f"nothing can connect from {address} here: {error.strerror or error}",
            fix="give addresses that this machine has: `ip address` shows them",
        ) from None


def check_family(address: str, target: Target) -> None:
    """See that an address, or a network, can reach a server that is given by address. Raises BadConfiguration."""
    try:
        server = ip_address(target.host)
    except ValueError:
        return  # a name, which may have both kinds
    if (":" in address) != (server.version == 6):
        raise BadConfiguration(
            f"nothing can connect from {address} to {target}", fix=f"give addresses of IPv{server.version}"
        )


def _usable(one: Network) -> int:
    """How many addresses a host can have: not the network's own and not the broadcast address of IPv4, not the routers' of IPv6."""
    if one.prefixlen >= one.max_prefixlen - 1:
        return one.num_addresses
    return one.num_addresses - (2 if one.version == 4 else 1)
