"""The addresses that phones connect from, in turn."""

from __future__ import annotations

import pytest

from sipsua.account.config import Target
from sipsua.errors import BadConfiguration
from sipsua.load.pool import AddressPool, check_family, network


def test_addresses_are_used_in_turn_and_again() -> None:
    pool = AddressPool(["127.0.0.0/30", "127.0.5.5", "192.0.2.4/31"])
    assert len(pool) == 5
    assert [pool[index] for index in range(6)] == [
        *("127.0.0.1", "127.0.0.2", "127.0.5.5", "192.0.2.4", "192.0.2.5", "127.0.0.1")
    ]


def test_networks_of_ipv6_have_more_addresses_than_anybody_needs() -> None:
    pool = AddressPool(["2001:db8::/32", "::1"])
    assert pool[0] == "2001:db8::1"
    assert pool[2**40] == "2001:db8::100:0:1"
    assert len(pool) == 1 << 62


def test_an_empty_pool_is_false() -> None:
    assert not AddressPool([])
    AddressPool([]).check(10)


def test_only_the_addresses_that_are_used_must_be_ours() -> None:
    pool = AddressPool(["127.0.0.0/8", "::1", "192.0.2.0/24"])
    loopback = 2**24 - 2
    pool.check(loopback + 1)
    with pytest.raises(BadConfiguration, match=r"nothing can connect from 192\.0\.2\.1 here"):
        pool.check(loopback + 2)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("localhost", "'localhost' is no IP address and no network"),
        ("127.0.0.1/33", "'127.0.0.1/33' is no IP address and no network"),
        ("127.0.1.5/24", "'127.0.1.5/24' is an address within the network 127.0.1.0/24"),
        ("0.0.0.0", "nobody can connect from 0.0.0.0"),
        ("::/0", "nobody can connect from ::/0"),
        ("ff02::1", "nobody can connect from ff02::1"),
        ("255.255.255.255", "nobody can connect from 255.255.255.255"),
    ],
)
def test_what_nobody_can_connect_from_is_refused(text: str, what: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        network(text)
    assert refused.value.what == what
    assert refused.value.fix


def test_addresses_are_of_the_servers_family_unless_it_has_a_name() -> None:
    for address, host in (("127.0.0.1", "192.0.2.1"), ("::1", "::1"), ("127.0.0.1", "a.example"), ("::1", "a.example")):
        check_family(address, Target(host, 5061))
    for address, host, family in (("::/64", "127.0.0.1", "IPv4"), ("127.0.0.1", "::1", "IPv6")):
        with pytest.raises(BadConfiguration) as refused:
            check_family(address, Target(host, 5061))
        assert refused.value.fix == f"give addresses of {family}"
