from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from sipsua.errors import Unreachable
from sipsua.net import resolve as module
from sipsua.net.resolve import ReadAgain, eyeballs, read_hosts, read_resolver, resolve

Answer = list[str] | dns.rcode.Rcode | None
"""Records of the zone, an error, or None for silence."""

NO_HOSTS = ReadAgain("/nonexistent/hosts", read_hosts)


class DnsServer(asyncio.DatagramProtocol):
    """A DNS server that knows a few names: A, AAAA and CNAME records, errors, and names about which it keeps silent."""

    def __init__(self, zone: dict[tuple[str, str], Answer]) -> None:
        self.zone = zone
        self.asked: list[tuple[str, str]] = []
        self.asked_twice = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), question.rdtype.name
        self.asked.append((name, kind))
        if len(self.asked) == 2:
            self.asked_twice.set()
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        answer = self.zone.get((name, kind), [])
        if alias := self.zone.get((name, "CNAME")):
            assert isinstance(alias, list)
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "CNAME", *alias))
            name = alias[0].removesuffix(".")
            answer = self.zone.get((name, kind), [])
        if answer is None:
            return
        if isinstance(answer, dns.rcode.Rcode):
            response.set_rcode(answer)
        elif answer:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, *answer))
        self.transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def dns_server(
    zone: dict[tuple[str, str], Answer],
) -> AsyncIterator[tuple[DnsServer, dns.asyncresolver.Resolver]]:
    """A DNS server on the loopback, and a resolver that asks it and nobody else."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: DnsServer(zone), local_addr=("127.0.0.1", 0))
    try:
        yield server, resolver_at(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


def resolver_at(port: int) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = port
    return resolver


# What needs no DNS


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:0DB8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
async def test_address_is_its_own_answer(host: str, address: str) -> None:
    assert await resolve(host, timeout=1) == [address]


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "pbx.localhost"])
async def test_localhost_is_the_loopback(host: str) -> None:
    assert await resolve(host, timeout=1) == ["127.0.0.1", "::1"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "host", ["", "two words", "a..b", "[192.0.2", "x" * 64 + ".example", "a@b", "127.0.0.1.", "10.0.0.256"]
)
async def test_what_is_no_name_is_unreachable(host: str) -> None:
    with pytest.raises(Unreachable, match=r"neither a host name nor an IP address \(correct its dots and letters\)"):
        await resolve(host, timeout=1)


@pytest.mark.asyncio
async def test_what_is_no_internationalized_name_is_to_be_written_in_ascii() -> None:
    with pytest.raises(Unreachable, match="write an internationalized name as xn--"):
        await resolve("straße..example", timeout=1)


# The hosts file


@pytest.mark.asyncio
async def test_hosts_file_goes_before_dns_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# ours\n127.0.0.2 pbx PBX.Example.com. # a test\n\nnonsense here\n127.0.0.3 pbx.example.com\n")
    hosts = ReadAgain(path, read_hosts)
    async with dns_server({("pbx.example.com", "A"): ["127.0.0.9"]}) as (server, resolver):
        for host in ("pbx.example.com", "PBX.example.COM."):
            assert await resolve(host, timeout=5, resolver=resolver, hosts=hosts) == ["127.0.0.2", "127.0.0.3"]
        assert await resolve("pbx", timeout=5, resolver=resolver, hosts=hosts) == ["127.0.0.2"]
        assert not server.asked
        path.write_text("127.0.0.4 pbx.example.com\n")
        assert await resolve("pbx.example.com", timeout=5, resolver=resolver, hosts=hosts) == ["127.0.0.4"]
        path.unlink()
        assert await resolve("pbx.example.com", timeout=5, resolver=resolver, hosts=hosts) == ["127.0.0.9"]


def test_file_is_read_once_as_long_as_it_does_not_change(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("one")
    os.utime(path, ns=(1, 1))
    read: list[str] = []

    def reader(name: str) -> list[str]:
        read.append(Path(name).read_text())
        return read

    again = ReadAgain(path, reader)
    again.value()
    again.value()
    assert read == ["one"]
    os.utime(path, ns=(2, 2))
    again.value()
    assert read == ["one", "one"]


# DNS


@pytest.mark.asyncio
async def test_dns_is_asked_for_both_families() -> None:
    zone: dict[tuple[str, str], Answer] = {
        ("pbx.example.com", "A"): ["127.0.0.2", "127.0.0.3"],
        ("pbx.example.com", "AAAA"): ["::1"],
    }
    async with dns_server(zone) as (server, resolver):
        addresses = await resolve("PBX.example.com.", timeout=5, resolver=resolver, hosts=NO_HOSTS)
    assert sorted(addresses) == ["127.0.0.2", "127.0.0.3", "::1"]
    assert sorted(server.asked) == [("pbx.example.com", "A"), ("pbx.example.com", "AAAA")]


@pytest.mark.asyncio
async def test_alias_is_followed() -> None:
    zone: dict[tuple[str, str], Answer] = {
        ("sip.example.com", "CNAME"): ["pbx.example.com."],
        ("pbx.example.com", "A"): ["127.0.0.2"],
    }
    async with dns_server(zone) as (_, resolver):
        assert await resolve("sip.example.com", timeout=5, resolver=resolver, hosts=NO_HOSTS) == ["127.0.0.2"]


@pytest.mark.asyncio
async def test_internationalized_name_is_asked_for_in_ascii() -> None:
    async with dns_server({("xn--bcher-kva.example", "A"): ["127.0.0.2"]}) as (_, resolver):
        assert await resolve("bücher.example", timeout=5, resolver=resolver, hosts=NO_HOSTS) == ["127.0.0.2"]


@pytest.mark.asyncio
async def test_single_label_is_completed_by_the_search_list() -> None:
    async with dns_server({("pbx.office.example", "A"): ["127.0.0.2"]}) as (_, resolver):
        resolver.search = [dns.name.from_text("office.example.")]
        assert await resolve("pbx", timeout=5, resolver=resolver, hosts=NO_HOSTS) == ["127.0.0.2"]


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [None, dns.rcode.SERVFAIL], ids=["silence", "servfail"])
async def test_one_family_is_enough_where_the_other_has_no_answer(fault: Answer) -> None:
    zone: dict[tuple[str, str], Answer] = {("pbx.example.com", "A"): ["127.0.0.2"], ("pbx.example.com", "AAAA"): fault}
    async with dns_server(zone) as (_, resolver):
        # The test's own time-out would strike first if the silent family were waited for.
        assert await resolve("pbx.example.com", timeout=600, resolver=resolver, hosts=NO_HOSTS) == ["127.0.0.2"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("zone", "words", "advice"),
    [
        ({}, "DNS knows no host pbx.example.com (NXDOMAIN)", "spelling"),
        ({("pbx.example.com", "MX"): ["x"]}, "exists in DNS but has no address", "host name"),
        (
            {("pbx.example.com", kind): dns.rcode.SERVFAIL for kind in ("A", "AAAA")},
            "DNS cannot answer for pbx.example.com",
            "DNS server",
        ),
        (
            {("pbx.example.com", kind): None for kind in ("A", "AAAA")},
            "no DNS server answered for pbx.example.com within 0.2 s",
            "/etc/resolv.conf",
        ),
        # The silent family may have addresses: so the silence is what to mend.
        ({("pbx.example.com", "A"): None}, "no DNS server answered", "/etc/resolv.conf"),
    ],
    ids=["nxdomain", "no_address", "servfail", "silence", "half_silence"],
)
async def test_failure_of_dns_says_what_happened_and_what_to_do(
    zone: dict[tuple[str, str], Answer], words: str, advice: str
) -> None:
    async with dns_server(zone) as (_, resolver):
        with pytest.raises(Unreachable) as caught:
            await resolve("pbx.example.com", timeout=0.2, resolver=resolver, hosts=NO_HOSTS)
    assert words in caught.value.what
    assert advice in caught.value.fix


@pytest.mark.asyncio
async def test_no_dns_server_configured_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVER", ReadAgain(tmp_path / "resolv.conf", read_resolver))
    with pytest.raises(Unreachable, match="no DNS server is configured") as caught:
        await resolve("pbx.example.com", timeout=1, hosts=NO_HOSTS)
    assert "/etc/resolv.conf" in caught.value.fix


@pytest.mark.asyncio
async def test_resolver_without_servers_is_told_apart() -> None:
    resolver = dns.asyncresolver.Resolver(configure=False)
    with pytest.raises(Unreachable, match="no DNS server is configured"):
        await resolve("pbx.example.com", timeout=1, resolver=resolver, hosts=NO_HOSTS)


@pytest.mark.asyncio
async def test_resolver_of_the_system_remembers_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\n")
    ours = ReadAgain(path, read_resolver)
    monkeypatch.setattr(module, "RESOLVER", ours)
    async with dns_server({("pbx.example.com", "A"): ["127.0.0.2"]}) as (server, resolver):
        ours.value().port = resolver.port
        for _ in range(3):
            assert await resolve("pbx.example.com", timeout=5, hosts=NO_HOSTS) == ["127.0.0.2"]
        assert server.asked.count(("pbx.example.com", "A")) == 1


@pytest.mark.asyncio
async def test_cancelled_lookup_leaves_no_query_behind() -> None:
    zone: dict[tuple[str, str], Answer] = {("pbx.example.com", kind): None for kind in ("A", "AAAA")}
    async with dns_server(zone) as (server, resolver):
        lookup = asyncio.ensure_future(resolve("pbx.example.com", timeout=600, resolver=resolver, hosts=NO_HOSTS))
        await server.asked_twice.wait()
        lookup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lookup
        assert asyncio.all_tasks() == {asyncio.current_task()}


# The order


@pytest.mark.parametrize(
    ("addresses", "ordered"),
    [
        (["192.0.2.1"], ["192.0.2.1"]),
        (["192.0.2.1", "192.0.2.2", "2001:db8::1"], ["2001:db8::1", "192.0.2.1", "192.0.2.2"]),
        (
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"],
            ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"],
        ),
        (["192.0.2.1", "192.0.2.1"], ["192.0.2.1"]),
    ],
)
def test_families_take_turns_and_ipv6_begins(addresses: list[str], ordered: list[str]) -> None:
    assert eyeballs(addresses, usable=lambda address: True) == ordered


def test_ipv6_without_a_route_comes_last() -> None:
    usable: Callable[[object], bool] = lambda address: str(address) != "2001:db8::1"  # noqa: E731
    assert eyeballs(["2001:db8::1", "192.0.2.1", "2001:db8::2"], usable) == ["2001:db8::2", "192.0.2.1", "2001:db8::1"]


def test_order_of_this_machine_keeps_every_address() -> None:
    addresses = ["2001:db8::1", "192.0.2.1", "::1"]
    assert sorted(eyeballs(addresses)) == sorted(addresses)
