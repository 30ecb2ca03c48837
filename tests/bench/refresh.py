"""A refresh on an open flow: REGISTER, 401, REGISTER, 200; and the one round trip that a reused nonce allows. Client CPU.

The whole is measured on real flows to a PBX in another process. Its SIP part is the same account fed with the same answers from
memory, its TLS part the same bytes through a pair of TLS pipes; what is left is the loop and the kernel.
"""

from __future__ import annotations

import time
from functools import partial

from sipsua.events import Registered
from sipsua.net.tls import TlsPipe, client_context, server_context
from sipsua.testing.pbx_process import PbxProcess
from sipsua.testing.pki import CertificateAuthority
from tests.bench.codec import refresh_cost
from tests.bench.phones import Phones, cpu, policy, run, users
from tests.bench.table import Row

PHONES = 1000
ROUNDS = 3


async def _whole(port: int, ca_pem: bytes) -> float:
    phones = Phones(PHONES, port, policy(ca_pem))
    for line in phones.lines:
        line.register()
    await phones.until(Registered, PHONES)
    best = float("inf")
    for turn in range(ROUNDS):
        before = cpu()
        for line in phones.lines:
            # The refresh timer of the account, fired now.
            registration = line.account.registration
            registration.deadline = 0.0
            line.account.handle_timer(phones.connector.loop.time())
            line.pump()
        await phones.until(Registered, PHONES * (turn + 2))
        best = min(best, (cpu() - before) / PHONES * 1e6)
    await phones.close()
    return best


def _tls(sizes: tuple[tuple[int, int], ...]) -> float:
    """Microseconds of the client's half for so many bytes sent and received."""
    authority = CertificateAuthority()
    issued = authority.issue("127.0.0.1")
    trust = policy(authority.pem)
    client = TlsPipe.client(trust, "127.0.0.1", context=client_context(trust))
    server = TlsPipe.server(server_context(issued.chain_pem, issued.key_pem))
    client.start()
    while not (client.established and server.established):
        server.receive(client.outgoing())
        client.receive(server.outgoing())
    client.receive(server.outgoing())
    spent = 0.0
    turns = 3000
    for _ in range(turns):
        for sent, received in sizes:
            server_data = b"x" * received
            begin = time.process_time()
            client.send(b"x" * sent)
            out = client.outgoing()
            spent += time.process_time() - begin
            server.receive(out)
            server.send(server_data)
            data = server.outgoing()
            begin = time.process_time()
            client.receive(data)
            spent += time.process_time() - begin
    return spent / turns * 1e6


def bench() -> list[Row]:
    """Both kinds of refresh, each with its parts."""
    rows = []
    for challenged, what, sizes in (
        (True, "refresh with challenge (4 messages)", ((520, 470), (760, 480))),
        (False, "refresh with a reused nonce (2 messages)", ((760, 480),)),
    ):
        with PbxProcess(users(PHONES), reuse_nonces=not challenged) as pbx:
            whole = partial(_whole, pbx.port, pbx.ca_pem)
            loop, fast = run(whole, fast=False), run(whole, fast=True)
        sip = refresh_cost(challenged)
        tls = _tls(sizes)
        rows += [
            Row(f"{what}, asyncio's loop", loop, "µs", budget="≤ 110 µs"),
            Row(f"{what}, uvloop", fast, "µs", "asyncio's loop", fast / loop, "≤ 110 µs"),
            Row("… of it SIP", sip, "µs", "asyncio's loop", sip / loop, "≤ 45 µs"),
            Row("… of it TLS", tls, "µs", "asyncio's loop", tls / loop),
            Row(
                "… of it loop, kernel and the rest", loop - sip - tls, "µs", "asyncio's loop", (loop - sip - tls) / loop
            ),
        ]
    return rows
