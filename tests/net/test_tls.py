from __future__ import annotations

import gc
import weakref
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL.crypto import X509

from sipsua.errors import BadConfiguration, Defect, FlowLost, HandshakeFailed, IdentityRefused, Misuse, SipsuaError
from sipsua.net.tls import Steps, TlsPipe, client_context, server_context
from sipsua.testing.pki import CertificateAuthority, Issued, self_signed
from sipsua.testing.revocation import crl
from sipsua.trust.crl import CrlList
from sipsua.trust.identity import Identity
from sipsua.trust.policy import NameRule, Policy, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import ALERT_NAMES, CertificateRefused, ProblemCode, Verdict

TLS1_2, TLS1_3 = TlsVersion.TLS1_2, TlsVersion.TLS1_3
ROOT = CertificateAuthority("root")
ISSUER = ROOT.intermediate("issuer")
SERVER = ISSUER.issue("sip.example.com", "192.0.2.1", "2001:db8::1", common_name="sip.example.com")
PHONE = ISSUER.issue("phone.example.com")
STRANGER = CertificateAuthority("stranger")
TRUST = TrustList.from_pem(ROOT.pem)
NAME = "sip.example.com"

versions = pytest.mark.parametrize("version", [TLS1_2, TLS1_3], ids=str)


def policy(version: TlsVersion = TLS1_3, *, anchors: TrustList = TRUST, identity: Identity | None = None) -> Policy:
    return Policy(anchors=anchors, minimum=version, maximum=version, identity=identity)


def serve(shown: Issued = SERVER, *, clients: TrustList | None = None, steps: Steps | None = None) -> TlsPipe:
    return TlsPipe.server(server_context(shown.chain_pem, shown.key_pem, client_anchors=clients), steps=steps)


def identity_of(issued: Issued) -> Identity:
    return Identity.from_pem(issued.chain_pem, issued.key_pem)


class Pair:
    """A client and a server with a wire between them: what was received, and the error of each."""

    def __init__(self, client: TlsPipe, server: TlsPipe, *, octets: int = 1 << 20) -> None:
        self.client = client
        self.server = server
        self.received = {client: b"", server: b""}
        self.errors: dict[TlsPipe, SipsuaError] = {}
        client.start()
        self.settle(octets)

    def settle(self, octets: int = 1 << 20) -> None:
        """Carry bytes, in pieces of at most so many octets, until both are silent."""
        silent = 0
        ends = [(self.client, self.server), (self.server, self.client)]
        while silent < 2:
            data = ends[0][0].outgoing()
            silent = 0 if data else silent + 1
            for begin in range(0, len(data), octets):
                self.carry(data[begin : begin + octets], ends[0][1])
            ends.reverse()

    def carry(self, data: bytes, end: TlsPipe) -> None:
        try:
            self.received[end] += end.receive(data)
        except SipsuaError as error:
            self.errors[end] = error


def refusal(pair: Pair) -> CertificateRefused:
    error = pair.errors[pair.client]
    assert isinstance(error, CertificateRefused)
    return error


# The handshake and the plaintext


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        ((TLS1_2, TLS1_2), (TLS1_2, TLS1_2), "TLSv1.2"),
        ((TLS1_3, TLS1_3), (TLS1_3, TLS1_3), "TLSv1.3"),
        ((TLS1_2, TLS1_3), (TLS1_2, TLS1_3), "TLSv1.3"),
        ((TLS1_2, TLS1_3), (TLS1_2, TLS1_2), "TLSv1.2"),
        ((TLS1_2, TLS1_2), (TLS1_2, TLS1_3), "TLSv1.2"),
    ],
)
@pytest.mark.parametrize("octets", [1, 7, 1 << 20])
def test_handshake_settles_on_the_highest_common_version_whatever_the_pieces(
    client: tuple[TlsVersion, TlsVersion], server: tuple[TlsVersion, TlsVersion], agreed: str, octets: int
) -> None:
    context = server_context(SERVER.chain_pem, SERVER.key_pem, minimum=server[0], maximum=server[1])
    ours = Policy(anchors=TRUST, minimum=client[0], maximum=client[1])
    pair = Pair(TlsPipe.client(ours, NAME), TlsPipe.server(context), octets=octets)
    assert not pair.errors
    for end in (pair.client, pair.server):
        assert (end.established, end.protocol, end.group) == (True, agreed, "x25519")
        assert end.cipher
        assert (end.alert_sent, end.alert_received, end.closed_by_peer) == (None, None, False)
        assert end.end() is not None
    verdict = pair.client.verdict
    assert verdict is not None
    assert (verdict.accepted, verdict.verified, verdict.reference, verdict.problems) == (True, True, NAME, ())
    assert (verdict.anchor, verdict.anchor_list) == ("CN=root", "custom")
    assert [certificate.subject for certificate in verdict.chain] == ["CN=sip.example.com", "CN=issuer"]
    assert pair.server.verdict is None


def test_before_the_handshake_nothing_is_known() -> None:
    pipe = TlsPipe.client(policy(), NAME)
    assert (pipe.established, pipe.protocol, pipe.cipher, pipe.group, pipe.verdict) == (False, None, None, None, None)
    assert (pipe.outgoing(), pipe.client_certificate) == (b"", None)


@versions
@pytest.mark.parametrize("octets", [1, 1000, 1 << 20])
def test_plaintext_arrives_whole_both_ways(version: TlsVersion, octets: int) -> None:
    pair = Pair(TlsPipe.client(policy(version), NAME), serve())
    up, down = b"REGISTER " * 5000, bytes(range(256)) * 300
    pair.client.send(up[:10])
    pair.client.send(b"")
    pair.client.send(up[10:])
    pair.server.send(down)
    pair.settle(octets)
    assert (pair.received[pair.server], pair.received[pair.client]) == (up, down)


def test_two_records_in_one_piece_come_as_one_plaintext() -> None:
    pair = Pair(TlsPipe.client(policy(), NAME), serve())
    pair.server.send(b"one")
    pair.server.send(b"two")
    assert pair.client.receive(pair.server.outgoing()) == b"onetwo"
    assert pair.client.receive(b"") == b""


def test_what_goes_out_is_handed_out_once_and_whole() -> None:
    pair = Pair(TlsPipe.client(policy(), NAME), serve())
    message = b"x" * 300_000
    pair.client.send(message)
    ciphertext = pair.client.outgoing()
    assert len(ciphertext) > len(message)
    assert pair.client.outgoing() == b""
    assert pair.server.receive(ciphertext) == message


@versions
def test_client_hello_fits_one_segment(version: TlsVersion) -> None:
    client = TlsPipe.client(policy(version), NAME)
    client.start()
    hello = client.outgoing()
    assert 100 < len(hello) < 600
    assert b"\x11\xec" not in hello  # X25519MLKEM768


@versions
def test_server_without_the_first_group_gets_another(version: TlsVersion) -> None:
    context = server_context(SERVER.chain_pem, SERVER.key_pem)
    assert Binding.lib.SSL_CTX_set1_curves_list(context._context, b"P-384") == 1
    steps: list[str] = []
    pair = Pair(TlsPipe.client(policy(version), NAME, steps=steps.append), TlsPipe.server(context))
    assert pair.client.group == "secp384r1"
    if version == TLS1_3:  # HelloRetryRequest is a ServerHello on the wire, RFC 8446 section 4.1.4
        assert steps[:4] == ["ClientHello", "ServerHello", "ClientHello", "ServerHello"]


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("sip.example.com", b"sip.example.com"),
        ("SIP.Example.COM.", b"sip.example.com"),
        ("bücher.example", b"xn--bcher-kva.example"),
        ("192.0.2.1", None),
        ("2001:db8::1", None),
        ("[2001:db8::1]", None),
        ("no name at all", None),
    ],
)
def test_server_is_told_dns_names_only(reference: str, shown: bytes | None) -> None:
    seen: list[bytes | None] = []
    context = server_context(SERVER.chain_pem, SERVER.key_pem)
    context.set_tlsext_servername_callback(lambda connection: seen.append(connection.get_servername()))
    Pair(TlsPipe.client(policy(), reference), TlsPipe.server(context))
    assert seen == [shown]


# The end


@versions
def test_close_notify_goes_both_ways(version: TlsVersion) -> None:
    pair = Pair(TlsPipe.client(policy(version), NAME), serve())
    pair.client.send(b"last words")
    pair.client.close()
    pair.settle()
    assert pair.received[pair.server] == b"last words"
    assert (pair.server.closed_by_peer, pair.client.closed_by_peer) == (True, False)
    assert pair.server.end() is None
    pair.server.send(b"an answer")
    pair.server.close()
    pair.settle()
    assert pair.received[pair.client] == b"an answer"
    assert pair.client.closed_by_peer
    assert pair.client.end() is None
    assert pair.client.receive(b"") == b""
    assert not pair.errors
    assert pair.client.alert_sent is None


def test_send_out_of_time_is_misuse_and_closing_twice_is_not() -> None:
    pair = Pair(TlsPipe.client(policy(), NAME), serve())
    early = TlsPipe.client(policy(), NAME)
    early.close()
    with pytest.raises(Misuse, match="before the TLS handshake"):
        early.send(b"x")
    pair.client.close()
    pair.client.close()
    with pytest.raises(Misuse, match="closed"):
        pair.client.send(b"x")
    pair.settle()
    assert not pair.errors  # the failed call left nothing in OpenSSL's queue


def test_tcp_that_ends_without_close_notify_is_a_lost_flow() -> None:
    pair = Pair(TlsPipe.client(policy(), NAME), serve())
    error = pair.client.end()
    assert isinstance(error, FlowLost)
    assert "close_notify" in str(error)


def test_tcp_that_ends_instead_of_an_answer_names_the_port() -> None:
    client = TlsPipe.client(policy(), NAME)
    client.start()
    error = client.end()
    assert isinstance(error, HandshakeFailed)
    assert "5061" in error.fix
    assert NAME in str(error)


@versions
def test_tcp_that_ends_anywhere_in_the_handshake_fails_it(version: TlsVersion) -> None:
    server = serve()
    client = TlsPipe.client(policy(version), NAME)
    client.start()
    server.receive(client.outgoing())
    flight = server.outgoing()
    for octet in flight[:-1]:
        assert client.receive(bytes([octet])) == b""
        assert not client.established
        error = client.end()
        assert isinstance(error, HandshakeFailed)
        assert "in the middle" in str(error)


# Refused certificates, and what the server is told

NOW = datetime.now(UTC)
REFUSED: dict[str, tuple[Issued, str, ProblemCode, int]] = {
    "untrusted": (STRANGER.issue(NAME), NAME, ProblemCode.UNKNOWN_ISSUER, 48),
    "self_signed": (self_signed(NAME), NAME, ProblemCode.SELF_SIGNED, 48),
    "no_intermediate": (Issued(SERVER.certificate, SERVER.key), NAME, ProblemCode.UNKNOWN_ISSUER, 48),
    "expired": (
        ISSUER.issue(NAME, not_before=NOW - timedelta(9), not_after=NOW - timedelta(2)),
        NAME,
        ProblemCode.EXPIRED,
        45,
    ),
    "not_yet_valid": (
        ISSUER.issue(NAME, not_before=NOW + timedelta(2), not_after=NOW + timedelta(9)),
        NAME,
        ProblemCode.NOT_YET_VALID,
        42,
    ),
    "wrong_name": (SERVER, "pbx.example.com", ProblemCode.NAME_MISMATCH, 42),
    "wrong_address": (SERVER, "192.0.2.2", ProblemCode.NAME_MISMATCH, 42),
    "wrong_purpose": (ISSUER.issue(NAME, purposes=("client",)), NAME, ProblemCode.WRONG_PURPOSE, 43),
}


@versions
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("octets", [1, 1 << 20])
def test_refused_certificate_is_explained_here_and_the_right_alert_arrives_there(
    version: TlsVersion, case: str, octets: int
) -> None:
    shown, reference, code, alert = REFUSED[case]
    pair = Pair(TlsPipe.client(policy(version), reference), serve(shown), octets=octets)
    error = refusal(pair)
    assert error.verdict is pair.client.verdict
    assert code in {problem.code for problem in error.verdict.problems}
    assert (error.verdict.accepted, error.verdict.verified, error.verdict.reference) == (False, False, reference)
    assert len(error.verdict.chain) == len(shown.chain) + 1
    assert reference in str(error)
    assert (error.alert, pair.client.alert_sent, pair.server.alert_received) == (alert, alert, alert)
    assert not pair.client.established
    assert not pair.server.established
    told = pair.errors[pair.server]
    assert isinstance(told, HandshakeFailed)
    assert ALERT_NAMES[alert] in str(told)
    with pytest.raises(CertificateRefused) as again:
        pair.client.receive(b"")
    assert again.value is error
    assert pair.client.end() is error
    with pytest.raises(CertificateRefused):
        pair.client.send(b"REGISTER")
    assert pair.client.outgoing() == b""


def test_wrong_name_on_an_expired_certificate_names_both() -> None:
    expired = REFUSED["expired"][0]
    error = refusal(Pair(TlsPipe.client(policy(), "pbx.example.com"), serve(expired)))
    assert {ProblemCode.EXPIRED, ProblemCode.NAME_MISMATCH} <= {problem.code for problem in error.verdict.problems}
    assert error.alert == 45


@versions
@pytest.mark.parametrize("case", REFUSED)
def test_any_certificate_is_accepted_where_the_policy_says_so_and_the_problems_are_kept(
    version: TlsVersion, case: str
) -> None:
    shown, reference, code, _ = REFUSED[case]
    careless = Policy(anchors=TRUST, minimum=version, maximum=version, dangerous_accept_any_certificate=True)
    pair = Pair(TlsPipe.client(careless, reference), serve(shown))
    assert not pair.errors
    assert pair.client.established
    verdict = pair.client.verdict
    assert verdict is not None
    assert (verdict.accepted, verdict.verified) == (True, False)
    assert code in {problem.code for problem in verdict.problems}


@versions
@pytest.mark.parametrize("anchors", [TRUST, TrustList.empty()], ids=["accepted", "refused"])
@pytest.mark.parametrize("clients", [None, TRUST], ids=["open to all", "demands a certificate"])
def test_chain_as_sent_is_known_whatever_became_of_the_handshake(
    version: TlsVersion, anchors: TrustList, clients: TrustList | None
) -> None:
    pair = Pair(TlsPipe.client(policy(version, anchors=anchors), NAME), serve(clients=clients))
    assert pair.client.chain == tuple(
        one.public_bytes(Encoding.DER) for one in (SERVER.certificate, ISSUER.certificate)
    )


@versions
def test_name_is_not_compared_where_the_rule_is_off(version: TlsVersion) -> None:
    lax = Policy(anchors=TRUST, names=NameRule.OFF, maximum=version)
    pair = Pair(TlsPipe.client(lax, "another.example.com"), serve())
    assert not pair.errors
    assert pair.client.established
    assert REFUSED["untrusted"][3] == refusal(Pair(TlsPipe.client(lax, NAME), serve(REFUSED["untrusted"][0]))).alert


# One context, many connections


def test_connections_on_one_context_never_see_each_others_verification() -> None:
    good, bad, other = (TlsPipe.client(policy(), name) for name in (NAME, "pbx.example.com", "192.0.2.1"))
    servers = {pipe: serve() for pipe in (good, bad, other)}
    for pipe in servers:
        pipe.start()
        servers[pipe].receive(pipe.outgoing())
    flights = {pipe: servers[pipe].outgoing() for pipe in servers}
    outcomes: dict[TlsPipe, SipsuaError] = {}
    for index in range(max(map(len, flights.values()))):  # all three handshakes interleaved, octet by octet
        for pipe in (bad, good, other):
            if pipe not in outcomes:
                try:
                    pipe.receive(flights[pipe][index : index + 1])
                except SipsuaError as error:
                    outcomes[pipe] = error
    assert list(outcomes) == [bad]
    assert [pipe.established for pipe in (good, bad, other)] == [True, False, True]
    for pipe, name in ((good, NAME), (bad, "pbx.example.com"), (other, "192.0.2.1")):
        assert pipe.verdict is not None
        assert pipe.verdict.reference == name


class Faulty:
    """A verification that breaks, as the real one never should."""

    def __init__(self, policy: Policy, reference: str) -> None:
        pass

    def callback(self, connection: object, x509: X509, errno: int, depth: int, ok: int) -> bool:
        raise ZeroDivisionError("in the callback")


def test_verification_that_breaks_is_a_defect_of_its_own_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = TlsPipe.client(policy(), NAME)
    with monkeypatch.context() as patch:
        patch.setattr("sipsua.net.tls.pipe.Verification", Faulty)
        broken = TlsPipe.client(policy(), NAME)
    error = Pair(broken, serve()).errors[broken]
    assert isinstance(error, Defect)
    assert "in the callback" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert not Pair(healthy, serve()).errors


class Yielding:
    """A verification whose callback lets pass what its verdict does not."""

    def __init__(self, policy: Policy, reference: str) -> None:
        self.refused = Verdict(accepted=False, verified=False, policy=str(policy), reference=reference)

    def callback(self, connection: object, x509: X509, errno: int, depth: int, ok: int) -> bool:
        return True

    def verdict(self, sent: list[X509]) -> Verdict:
        return self.refused


@versions
def test_verdict_has_the_last_word_and_our_finished_does_not_leave(
    version: TlsVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipsua.net.tls.pipe.Verification", Yielding)
    pair = Pair(TlsPipe.client(policy(version), NAME), serve())
    assert isinstance(pair.errors[pair.client], CertificateRefused)
    assert not pair.client.established
    if version == TLS1_3:  # in TLS 1.2 the server's Finished comes after ours
        assert not pair.server.established


def test_policies_of_one_trust_list_share_a_context() -> None:
    context = client_context(policy())
    assert client_context(Policy(anchors=TRUST, minimum=TLS1_3, names=NameRule.RFC5922)) is context
    assert client_context(policy(TLS1_2)) is not context
    assert client_context(policy(anchors=TrustList.from_pem(ROOT.pem))) is not context


def test_phones_of_one_issuer_share_a_context() -> None:
    first, second = (identity_of(ISSUER.issue(f"{name}.example.com")) for name in ("first", "second"))
    context = client_context(policy(identity=first))
    assert client_context(policy(identity=second)) is context
    assert client_context(policy(identity=identity_of(ROOT.issue("third.example.com")))) is client_context(policy())
    assert context is not client_context(policy())


def test_context_goes_with_its_trust_list() -> None:
    anchors = TrustList.from_pem(ROOT.pem)
    context = weakref.ref(client_context(policy(anchors=anchors)))
    assert context() is not None
    del anchors
    gc.collect()
    assert context() is None


def test_context_goes_with_its_crls_though_the_trust_list_stays() -> None:
    crls = CrlList.from_pem(crl(ROOT))
    kept, context = client_context(policy()), weakref.ref(client_context(replace(policy(), crls=crls)))
    assert context() not in (None, kept)
    del crls
    gc.collect()
    assert context() is None
    assert client_context(policy()) is kept


def test_contexts_of_a_trust_list_are_bounded() -> None:
    anchors = TrustList.from_pem(ROOT.pem)
    contexts = [
        weakref.ref(client_context(Policy(anchors=anchors, ciphers="AES128-SHA" + ":AES256-SHA" * place)))
        for place in range(80)
    ]
    gc.collect()
    assert contexts[-1]() is not None
    assert 0 < sum(one() is not None for one in contexts) <= 64


def test_pipe_leaves_no_cycle_behind() -> None:
    gc.disable()
    try:
        pair = Pair(TlsPipe.client(policy(), NAME, steps=lambda step: None), serve())
        connection = weakref.ref(pair.client._connection)
        pair.received.clear()
        pair.client = pair.server
        assert connection() is None
    finally:
        gc.enable()


def test_key_log_is_kept_to_its_own_context() -> None:
    lines: list[bytes] = []
    context = client_context(policy(), keylog=lines.append)
    assert context is not client_context(policy())
    assert not Pair(TlsPipe.client(policy(), NAME), serve()).errors
    assert not lines
    assert not Pair(TlsPipe.client(policy(), NAME, context=context), serve()).errors
    assert {line.split()[0] for line in lines} >= {b"CLIENT_TRAFFIC_SECRET_0", b"SERVER_TRAFFIC_SECRET_0"}


def test_server_context_of_an_unfit_pair_is_bad_configuration() -> None:
    with pytest.raises(BadConfiguration):
        server_context(SERVER.chain_pem, PHONE.key_pem)


# Our own certificate


@versions
@pytest.mark.parametrize("shown", [PHONE, ROOT.issue("phone.example.com")], ids=["with_chain", "without_chain"])
def test_client_certificate_is_shown_where_it_is_demanded(version: TlsVersion, shown: Issued) -> None:
    pair = Pair(TlsPipe.client(policy(version, identity=identity_of(shown)), NAME), serve(clients=TRUST))
    assert not pair.errors
    assert pair.server.established
    assert pair.server.client_certificate == shown.certificate
    assert pair.client.client_certificate is None


@versions
def test_two_phones_on_one_context_show_each_its_own_certificate(version: TlsVersion) -> None:
    for name in ("first.example.com", "second.example.com"):
        ours = policy(version, identity=identity_of(ISSUER.issue(name)))
        pair = Pair(TlsPipe.client(ours, NAME), serve(clients=TRUST))
        certificate = pair.server.client_certificate
        assert certificate is not None
        assert certificate.subject.rfc4514_string() == f"CN={name}"
    nobody = Pair(TlsPipe.client(policy(version), NAME), serve())
    assert nobody.server.established
    assert nobody.server.client_certificate is None


@versions
def test_missing_client_certificate_is_named_with_what_to_do(version: TlsVersion) -> None:
    pair = Pair(TlsPipe.client(policy(version), NAME), serve(clients=TRUST))
    error = pair.errors[pair.client]
    # In TLS 1.3 the server looks at it when the client is done already, RFC 8446 section 4.4.2.4.
    assert type(error) is IdentityRefused
    assert pair.client.alert_received == (116 if version == TLS1_3 else 40)
    assert "demand" in str(error)
    assert "give the account a certificate" in error.fix
    assert "it showed no certificate" in str(pair.errors[pair.server])


@versions
@pytest.mark.parametrize(
    ("shown", "alert"),
    [
        (STRANGER.issue("phone.example.com"), 48),
        (ISSUER.issue("phone.example.com", not_before=NOW - timedelta(9), not_after=NOW - timedelta(2)), 45),
        (ISSUER.issue("phone.example.com", purposes=("server",)), 43),
    ],
    ids=["untrusted", "expired", "wrong_purpose"],
)
def test_refused_client_certificate_is_named_with_what_to_do(version: TlsVersion, shown: Issued, alert: int) -> None:
    pair = Pair(TlsPipe.client(policy(version, identity=identity_of(shown)), NAME), serve(clients=TRUST))
    error = pair.errors[pair.client]
    assert type(error) is IdentityRefused
    assert ALERT_NAMES[alert] in str(error)
    assert "it refused our certificate CN=phone.example.com" in str(error)
    assert (pair.client.alert_received, pair.server.alert_sent) == (alert, alert)
    assert pair.client.end() is error


# What goes wrong before there is TLS


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/TCP 192.0.2.9\r\n\r\n", "SIP"),
        (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", "HTTP"),
        (b"220 mail.example.com ESMTP\r\n", "something else"),
        (b"\x00\x01\x02\x03", "something else"),
        (b"S", "something else"),
    ],
)
def test_plain_text_answer_is_recognised(answer: bytes, kind: str) -> None:
    client = TlsPipe.client(policy(), NAME)
    client.start()
    client.outgoing()
    with pytest.raises(HandshakeFailed) as caught:
        client.receive(answer)
    assert f"does not speak TLS on this port but {kind}" in str(caught.value)
    assert "5060" in caught.value.fix
    assert "\r" not in str(caught.value)


@pytest.mark.parametrize("data", [b"REGISTER sip:example.com SIP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_plain_text_client_is_recognised(data: bytes) -> None:
    with pytest.raises(HandshakeFailed, match=r"the client does not speak TLS but (SIP|HTTP)"):
        serve().receive(data)


@pytest.mark.parametrize("alert", [number for number in ALERT_NAMES if number])
def test_alert_in_answer_to_the_client_hello_is_named(alert: int) -> None:
    client = TlsPipe.client(policy(), NAME)
    client.start()
    client.outgoing()
    with pytest.raises(HandshakeFailed) as caught:
        client.receive(bytes([21, 3, 3, 0, 2, 2, alert]))
    assert f"{NAME} ended the TLS handshake with the alert {ALERT_NAMES[alert]} ({alert})" in str(caught.value)
    assert caught.value.fix
    assert "{" not in str(caught.value)
    assert (client.alert_received, client.alert_sent, client.outgoing()) == (alert, None, b"")


def test_alert_that_no_rfc_defines_fails_the_handshake_all_the_same() -> None:
    client = TlsPipe.client(policy(), NAME)
    client.start()
    with pytest.raises(HandshakeFailed, match=r"TLS handshake with sip\.example\.com failed"):
        client.receive(bytes([21, 3, 3, 0, 2, 2, 200]))


def test_close_notify_in_the_handshake_fails_it() -> None:
    client = TlsPipe.client(policy(), NAME)
    client.start()
    with pytest.raises(HandshakeFailed, match="close_notify"):
        client.receive(bytes([21, 3, 3, 0, 2, 1, 0]))


@pytest.mark.parametrize(("ours", "theirs"), [(TLS1_2, TLS1_3), (TLS1_3, TLS1_2)], ids=str)
def test_no_common_version_names_the_versions(ours: TlsVersion, theirs: TlsVersion) -> None:
    context = server_context(SERVER.chain_pem, SERVER.key_pem, minimum=theirs, maximum=theirs)
    pair = Pair(TlsPipe.client(policy(ours), NAME), TlsPipe.server(context))
    error = pair.errors[pair.client]
    assert isinstance(error, HandshakeFailed)
    assert "protocol_version (70)" in str(error)
    assert f"we offer {ours}:" in error.fix
    assert (pair.client.alert_received, pair.server.alert_sent) == (70, 70)
    assert "another TLS version" in str(pair.errors[pair.server])


def test_server_that_answers_in_a_version_we_do_not_offer_is_refused() -> None:
    client = TlsPipe.client(policy(TLS1_3), NAME)
    client.start()
    # A ServerHello of TLS 1.1 with TLS_RSA_WITH_AES_128_CBC_SHA.
    hello = b"\x03\x02" + bytes(range(32)) + b"\x00" + b"\x00\x2f" + b"\x00"
    handshake = b"\x02" + len(hello).to_bytes(3, "big") + hello
    with pytest.raises(HandshakeFailed, match=r"another TLS version than TLSv1\.3 \(") as caught:
        client.receive(b"\x16\x03\x02" + len(handshake).to_bytes(2, "big") + handshake)
    assert (caught.value.alert, client.alert_sent) == (70, 70)
    assert client.outgoing().endswith(bytes([21, 3, 2, 0, 2, 2, 70])[-4:])


def test_no_common_cipher_suite_points_to_the_settings() -> None:
    context = server_context(SERVER.chain_pem, SERVER.key_pem, maximum=TLS1_2)
    context.set_cipher_list(b"AES256-SHA")  # RSA key exchange, for which this server has no key
    pair = Pair(TlsPipe.client(policy(TLS1_2), NAME), TlsPipe.server(context))
    assert "handshake_failure (40)" in str(pair.errors[pair.client])
    assert "cipher suite" in pair.errors[pair.client].fix
    assert "no cipher suite in common" in str(pair.errors[pair.server])


# Broken bytes


@versions
def test_octet_changed_anywhere_in_the_servers_flight_never_ends_in_trust(version: TlsVersion) -> None:
    for position in range(0, 800, 5):
        server = serve()
        client = TlsPipe.client(policy(version), NAME)
        client.start()
        server.receive(client.outgoing())
        flight = bytearray(server.outgoing())
        flight[position] ^= 0x55
        with suppress(HandshakeFailed, CertificateRefused):
            client.receive(bytes(flight))
            # A length that grew makes the client wait for more; in TLS 1.2 the change may show in Finished only.
            server.receive(client.outgoing())
            client.receive(server.outgoing())
        assert not client.established, position


@given(st.binary(min_size=1, max_size=200), st.sampled_from([20, 21, 22, 23]), st.booleans())
@settings(deadline=None, max_examples=200)
def test_garbage_in_the_handshake_raises_handshake_failed_or_nothing(data: bytes, kind: int, framed: bool) -> None:
    if framed:
        data = bytes([kind, 3, 3]) + len(data).to_bytes(2, "big") + data
    client = TlsPipe.client(policy(), NAME)
    client.start()
    for pipe in (client, serve()):
        with suppress(HandshakeFailed):
            assert pipe.receive(data) == b""
        assert not pipe.established


@versions
def test_garbage_on_an_established_flow_loses_it_and_the_peer_is_told(version: TlsVersion) -> None:
    pair = Pair(TlsPipe.client(policy(version), NAME), serve())
    with pytest.raises(FlowLost, match="no TLS record") as caught:
        pair.client.receive(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert caught.value.fix
    pair.settle()
    assert pair.server.alert_received == 20
    with pytest.raises(FlowLost) as again:
        pair.client.send(b"x")
    assert again.value is caught.value


def test_plaintext_before_a_fault_is_returned_and_the_fault_raised_after() -> None:
    pair = Pair(TlsPipe.client(policy(), NAME), serve())
    pair.server.send(b"good")
    good = pair.server.outgoing()
    assert pair.client.receive(good + b"\x17\x03\x03\x00\x20" + bytes(32)) == b"good"
    assert isinstance(pair.client.end(), FlowLost)
    with pytest.raises(FlowLost, match="no TLS record"):
        pair.client.receive(b"")


# The steps

TLS1_2_STEPS = [
    "Client Hello",
    "Server Hello",
    "Certificate",
    "Server Key Exchange",
    "Server Hello Done",
    "Client Key Exchange",
    "Change Cipher Spec (client)",
    "Finished (client)",
    "Change Cipher Spec (server)",
    "Finished (server)",
]
TLS1_3_STEPS = [
    "ClientHello",
    "ServerHello",
    "EncryptedExtensions",
    "Certificate",
    "CertificateVerify",
    "Finished (server)",
    "Finished (client)",
]


def with_client_certificate(steps: list[str], request: str, before: str, verify: str) -> list[str]:
    """The same handshake where the server demands a certificate and gets one."""
    steps = steps.copy()
    steps.insert(steps.index("Server Hello Done" if "Server Hello Done" in steps else "Certificate"), request)
    steps.insert(steps.index(before), "Certificate (client)")
    after = "Client Key Exchange" if "Client Key Exchange" in steps else "Certificate (client)"
    steps.insert(steps.index(after) + 1, verify)
    return steps


@pytest.mark.parametrize(
    ("version", "demanded", "expected"),
    [
        (TLS1_2, False, TLS1_2_STEPS),
        (TLS1_3, False, TLS1_3_STEPS),
        (
            TLS1_2,
            True,
            with_client_certificate(
                TLS1_2_STEPS, "Certificate Request", "Client Key Exchange", "Certificate Verify (client)"
            ),
        ),
        (
            TLS1_3,
            True,
            with_client_certificate(
                TLS1_3_STEPS, "CertificateRequest", "Finished (client)", "CertificateVerify (client)"
            ),
        ),
    ],
)
@pytest.mark.parametrize("octets", [1, 1 << 20])
def test_steps_are_told_in_order_at_both_ends(
    version: TlsVersion, demanded: bool, expected: list[str], octets: int
) -> None:
    here: list[str] = []
    there: list[str] = []
    ours = policy(version, identity=identity_of(PHONE) if demanded else None)
    server = serve(clients=TRUST if demanded else None, steps=there.append)
    pair = Pair(TlsPipe.client(ours, NAME, steps=here.append), server, octets=octets)
    assert not pair.errors
    assert here == expected
    assert there == expected


@versions
def test_steps_end_with_the_certificate_that_was_refused(version: TlsVersion) -> None:
    steps: list[str] = []
    pair = Pair(TlsPipe.client(policy(version), "pbx.example.com", steps=steps.append), serve())
    assert refusal(pair).alert == 42
    expected = TLS1_2_STEPS if version == TLS1_2 else TLS1_3_STEPS
    assert steps == expected[: expected.index("Certificate") + 1]


def test_client_hello_that_offers_tls_1_3_has_its_words_of_it_whatever_is_agreed() -> None:
    steps: list[str] = []
    context = server_context(SERVER.chain_pem, SERVER.key_pem, maximum=TLS1_2)
    Pair(TlsPipe.client(Policy(anchors=TRUST), NAME, steps=steps.append), TlsPipe.server(context))
    assert steps == ["ClientHello", *TLS1_2_STEPS[1:]]


def test_steps_do_not_go_on_after_the_handshake() -> None:
    steps: list[str] = []
    pair = Pair(TlsPipe.client(policy(), NAME, steps=steps.append), serve())
    pair.server.send(b"x")
    pair.client.close()
    pair.settle()
    assert steps == TLS1_3_STEPS


def test_renegotiation_is_not_taken_part_in() -> None:
    pair = Pair(TlsPipe.client(policy(TLS1_2), NAME), serve())
    with pytest.raises(SSL.Error):
        pair.client._connection.renegotiate()
