"""What verifying costs: the client's half of a full handshake in memory, bare, with OpenSSL's own verification, and with our verdict.

The budget is against a client that lets OpenSSL verify the chain and asks no more, since the two signatures of that are the same for
everybody. The server's half runs in the same process and is not counted. Chains of two certificates, as PBXes show them: the leaf and its
intermediate, P-256, the root in a trust list of 76.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from sipsua.net.tls import TlsPipe, client_context, server_context
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.store import TrustList
from tests.bench.table import Row

HANDSHAKES = 2000
NAME = "sip.example.com"


class _Bare:
    """pyOpenSSL's connection with the verbs of a pipe and no verdict."""

    def __init__(self, context: SSL.Context) -> None:
        self._connection = SSL.Connection(context)
        self._connection.set_connect_state()
        self._connection.set_tlsext_host_name(NAME.encode())

    def start(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass

    def receive(self, data: bytes) -> bytes:
        """Ends with a read, as anybody's does: the tickets come with the server's last flight or after it."""
        self._connection.bio_write(data)
        try:
            self._connection.do_handshake()
            return self._connection.recv(16384)
        except SSL.WantReadError:
            return b""

    def outgoing(self) -> bytes:
        try:
            return self._connection.bio_read(65536)
        except SSL.WantReadError:
            return b""


def _bare(policy: Policy, mode: int) -> SSL.Context:
    """A context like ours, with OpenSSL's verification alone. With VERIFY_NONE a client verifies all the same and goes on; an empty store
    ends that at once."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(policy.minimum)
    context.set_max_proto_version(policy.maximum)
    context.set_cipher_list(b"ECDHE+AESGCM+AES128")
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    # OpenSSL's default group, with ML-KEM, would make the reference dearer than it is.
    Binding.lib.SSL_CTX_set1_curves_list(context._context, b"X25519:P-256:P-384")
    store = context.get_cert_store()
    assert store is not None
    if mode != SSL.VERIFY_NONE:
        policy.anchors.load_into(store)
    context.set_verify(mode)
    return context


def _client_half(make: Callable[[], TlsPipe | _Bare], server: SSL.Context) -> float:
    """Microseconds that the client needs for one handshake."""
    other = TlsPipe.server(server)
    begin = time.perf_counter_ns()
    client = make()
    client.start()
    data = client.outgoing()
    spent = time.perf_counter_ns() - begin
    while data:
        other.receive(data)
        data = other.outgoing()
        if not data:
            break
        begin = time.perf_counter_ns()
        client.receive(data)
        data = client.outgoing()
        spent += time.perf_counter_ns() - begin
    if not other.established:
        raise RuntimeError("a handshake of the bench failed")
    return spent / 1000


def bench() -> list[Row]:
    """Medians of handshakes that take turns, so that a machine that is slow for a while is slow for all."""
    root = CertificateAuthority("bench root")
    shown = root.intermediate("bench intermediate").issue(NAME)
    server = server_context(shown.chain_pem, shown.key_pem)
    others = b"".join(CertificateAuthority(f"other {number}").pem for number in range(75))
    anchors = TrustList.from_pem(root.pem + others)
    rows = []
    for version in (TlsVersion.TLS1_3, TlsVersion.TLS1_2):
        policy = Policy(anchors=anchors, minimum=version, maximum=version)
        blind, openssl, ours = _bare(policy, SSL.VERIFY_NONE), _bare(policy, SSL.VERIFY_PEER), client_context(policy)
        makers: dict[str, Callable[[], TlsPipe | _Bare]] = {
            "nothing verified": lambda blind=blind: _Bare(blind),  # type: ignore[misc]
            "chain verified by OpenSSL, no name, no verdict": lambda openssl=openssl: _Bare(openssl),  # type: ignore[misc]
            "chain, name and verdict": lambda policy=policy, ours=ours: TlsPipe.client(policy, NAME, context=ours),  # type: ignore[misc]
        }
        figures: dict[str, list[float]] = {what: [] for what in makers}
        for _ in range(HANDSHAKES):
            for what, make in makers.items():
                figures[what].append(_client_half(make, server))
        middle = {what: sorted(values)[HANDSHAKES // 2] for what, values in figures.items()}
        reference = middle["chain verified by OpenSSL, no name, no verdict"]
        for what, value in middle.items():
            budget = "≤ 1.15" if what == "chain, name and verdict" else ""
            rows.append(
                Row(f"{version} client half, {what}", value, "µs", "OpenSSL's verification", value / reference, budget)
            )
    return rows
