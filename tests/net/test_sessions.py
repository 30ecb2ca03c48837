"""Sessions are resumed between the same server, name and policy only, and carry the Verdict of the handshake that they are from."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sipsua.account.config import AccountConfig, Target
from sipsua.account.persona import Backoff
from sipsua.events import Lock, LockChanged, Registered
from sipsua.net.connect import Connector
from sipsua.net.sessions import MAX_SESSIONS, Sessions
from sipsua.net.tls import Session, TlsPipe, server_context
from sipsua.testing.pbx import PocketPbx
from sipsua.testing.pki import CertificateAuthority
from sipsua.testing.revocation import crl, ocsp_response
from sipsua.trust.crl import CrlList
from sipsua.trust.identity import Identity
from sipsua.trust.policy import NameRule, Policy, Revocation, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import CertificateRefused
from sipsua.ua.user_agent import UserAgent
from tests.net.test_tls import Pair

ROOT = CertificateAuthority("root")
SERVER = ROOT.issue("sip.example.com", "127.0.0.1")
TRUST = TrustList.from_pem(ROOT.pem)
NAME = "sip.example.com"
NOW = datetime.now(UTC)

versions = pytest.mark.parametrize("version", [TlsVersion.TLS1_2, TlsVersion.TLS1_3], ids=str)


def resuming(version: TlsVersion = TlsVersion.TLS1_3) -> Policy:
    return Policy(anchors=TRUST, minimum=version, maximum=version, resume=True)


CONTEXT = server_context(SERVER.chain_pem, SERVER.key_pem)


def shake(policy: Policy, session: Session | None = None, *, name: str = NAME) -> TlsPipe:
    pair = Pair(TlsPipe.client(policy, name, session=session), TlsPipe.server(CONTEXT))
    pair.server.send(b"hello")  # what brings TLS 1.3's tickets along
    pair.settle()
    assert not pair.errors
    return pair.client


# The pipe


@versions
def test_a_session_is_resumed_with_its_verdict_again_and_again(version: TlsVersion) -> None:
    first = shake(resuming(version))
    assert (first.resumed, first.verdict is not None and first.verdict.verified) == (False, True)
    session = first.session
    for _ in range(3):
        pipe = shake(resuming(version), session)
        assert pipe.resumed
        assert pipe.verdict is first.verdict
        assert (pipe.protocol, pipe.established) == (str(version), True)
        session = pipe.session


@versions
def test_a_policy_that_does_not_resume_neither_gives_nor_takes_a_session(version: TlsVersion) -> None:
    session = shake(resuming(version)).session
    assert session is not None
    strict = Policy(anchors=TRUST, minimum=version, maximum=version)
    pipe = shake(strict, session)
    assert not pipe.resumed
    assert pipe.session is None


@versions
def test_a_server_that_knows_the_session_no_more_is_verified_as_ever(version: TlsVersion) -> None:
    session = shake(resuming(version)).session
    elsewhere = server_context(SERVER.chain_pem, SERVER.key_pem)
    pair = Pair(TlsPipe.client(resuming(version), NAME, session=session), TlsPipe.server(elsewhere))
    assert not pair.client.resumed
    assert pair.client.established
    assert pair.client.verdict is not None
    assert pair.client.verdict.verified


@versions
def test_an_impostor_that_does_not_know_the_session_is_refused(version: TlsVersion) -> None:
    session = shake(resuming(version)).session
    impostor = CertificateAuthority("impostor").issue(NAME)
    context = server_context(impostor.chain_pem, impostor.key_pem)
    pair = Pair(TlsPipe.client(resuming(version), NAME, session=session), TlsPipe.server(context))
    assert isinstance(pair.errors[pair.client], CertificateRefused)
    assert not pair.client.established


@pytest.mark.parametrize("state", [b"", b"\x30\x00", b"no session"])
def test_a_session_that_cannot_be_read_is_no_reason_to_fail(state: bytes) -> None:
    session = shake(resuming()).session
    assert session is not None
    pipe = shake(resuming(), replace(session, state=state))
    assert pipe.established
    assert not pipe.resumed


def test_a_session_shows_no_keys() -> None:
    session = shake(resuming()).session
    assert session is not None
    assert "state" not in repr(session)


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        (replace(resuming(), dangerous_accept_any_certificate=True), NAME),
        (replace(resuming(), names=NameRule.OFF), NAME),
        (resuming(), "127.0.0.1"),
    ],
    ids=["any certificate", "name rule", "name"],
)
def test_a_session_of_another_policy_or_name_is_not_offered(policy: Policy, name: str) -> None:
    pipe = shake(resuming(), shake(policy, name=name).session)
    assert not pipe.resumed
    assert pipe.verdict is not None
    assert pipe.verdict.verified


@versions
def test_a_server_that_staples_is_resumed_without_a_staple(version: TlsVersion) -> None:
    context = server_context(SERVER.chain_pem, SERVER.key_pem)
    context.set_ocsp_server_callback(lambda _connection, _data: ocsp_response(ROOT, SERVER.certificate))
    policy, session = replace(resuming(version), staple=True), None
    for resumed in (False, True, True):
        pair = Pair(TlsPipe.client(policy, NAME, session=session), TlsPipe.server(context))
        assert not pair.errors
        pair.server.send(b"hello")
        pair.settle()
        assert pair.client.resumed is resumed
        assert pair.client.verdict is not None
        assert pair.client.verdict.verified
        session = pair.client.session


# The cache


def session_of() -> Session:
    pipe = shake(resuming())
    assert pipe.session is not None
    return pipe.session


def test_a_session_is_used_once() -> None:
    sessions, session = Sessions(), session_of()
    target, policy = Target(NAME, 5061), resuming()
    sessions.put(target, policy, session)
    assert sessions.take(target, policy, NOW) is session
    assert sessions.take(target, policy, NOW) is None
    assert len(sessions) == 0


IDENTITY = Identity.from_pem(SERVER.chain_pem, SERVER.key_pem)


@pytest.mark.parametrize(
    ("target", "policy"),
    [
        (Target("sip.example.org", 5061), resuming()),
        (Target(NAME, 5062), resuming()),
        (Target(NAME, 5061), replace(resuming(), anchors=TrustList.from_pem(ROOT.pem))),
        (Target(NAME, 5061), replace(resuming(), names=NameRule.OFF)),
        (Target(NAME, 5061), replace(resuming(), identity=IDENTITY)),
        (Target(NAME, 5061), replace(resuming(), dangerous_accept_any_certificate=True)),
        (Target(NAME, 5061), replace(resuming(), staple=True)),
    ],
    ids=["name", "port", "trust list", "name rule", "identity", "any certificate", "staple"],
)
def test_a_session_never_crosses_to_another(target: Target, policy: Policy) -> None:
    sessions = Sessions()
    sessions.put(Target(NAME, 5061), resuming(), session_of())
    assert sessions.take(target, policy, NOW) is None
    assert len(sessions) == 1


def test_a_session_whose_certificate_has_expired_since_is_forgotten() -> None:
    sessions = Sessions()
    sessions.put(Target(NAME, 5061), resuming(), session_of())
    assert sessions.take(Target(NAME, 5061), resuming(), NOW + timedelta(days=10_000)) is None
    assert len(sessions) == 0


def test_a_session_whose_trust_anchor_has_expired_since_is_forgotten() -> None:
    root = CertificateAuthority("short", not_after=NOW + timedelta(days=2))
    policy = replace(resuming(), anchors=TrustList.from_pem(root.pem))
    server = root.issue(NAME)
    pair = Pair(TlsPipe.client(policy, NAME), TlsPipe.server(server_context(server.chain_pem, server.key_pem)))
    pair.server.send(b"hello")
    pair.settle()
    session, sessions = pair.client.session, Sessions()
    assert session is not None
    assert len(session.verdict.chain) == 1
    sessions.put(Target(NAME, 5061), policy, session)
    assert sessions.take(Target(NAME, 5061), policy, NOW + timedelta(days=3)) is None


def test_a_session_whose_certificate_was_not_verified_has_no_dates_to_look_at() -> None:
    policy = replace(resuming(), dangerous_accept_any_certificate=True)
    sessions, session = Sessions(), shake(policy).session
    assert session is not None
    sessions.put(Target(NAME, 5061), policy, session)
    assert sessions.take(Target(NAME, 5061), policy, NOW + timedelta(days=10_000)) is session


@pytest.mark.parametrize("what", [{"staple": True}, {"crls": CrlList.from_pem(crl(ROOT))}], ids=["staple", "CRL"])
def test_a_policy_that_wants_to_know_of_revocation_now_resumes_nothing(what: dict[str, Any]) -> None:
    sessions, target = Sessions(), Target(NAME, 5061)
    for revocation, kept in ((Revocation.HARD, 0), (Revocation.SOFT, 1)):
        sessions.put(target, replace(resuming(), revocation=revocation, **what), session_of())
        assert len(sessions) == kept


def test_what_is_taken_leaves_no_policy_behind() -> None:
    sessions, target = Sessions(), Target(NAME, 5061)
    anchors = TrustList.from_pem(ROOT.pem)
    policy, gone = replace(resuming(), anchors=anchors), weakref.ref(anchors)
    sessions.put(target, policy, session_of())
    assert sessions.take(target, policy, NOW) is not None
    del policy, anchors
    gc.collect()
    assert gone() is None


def test_the_oldest_are_forgotten_where_there_are_too_many() -> None:
    sessions, session, policy = Sessions(), session_of(), resuming()
    for port in range(MAX_SESSIONS + 1):
        sessions.put(Target(NAME, port), policy, session)
    assert len(sessions) == MAX_SESSIONS
    assert sessions.take(Target(NAME, 0), policy, NOW) is None
    assert sessions.take(Target(NAME, MAX_SESSIONS), policy, NOW) is session


# The whole phone


async def register(pbx: PocketPbx, policy: Policy, connector: Connector) -> Lock:
    config = AccountConfig(uri=pbx.uri("1000"), password="secret", policy=policy)
    async with UserAgent(config, connector=connector) as ua:
        await ua.register(10)
        return ua.lock


@pytest.mark.asyncio
@versions
async def test_a_phone_that_comes_back_resumes_and_its_lock_says_so(version: TlsVersion) -> None:
    async with PocketPbx({"1000": "secret"}, certificate=SERVER) as pbx:
        connector = Connector()
        locks = [await register(pbx, resuming(version), connector) for _ in range(3)]
        assert [lock.resumed for lock in locks] == [False, True, True]
        assert all(lock.locked and lock.verified and lock.anchor == "CN=root" for lock in locks)
        other = await register(pbx, replace(resuming(version), names=NameRule.OFF), connector)
        assert not other.resumed


@pytest.mark.asyncio
async def test_by_default_nothing_is_resumed() -> None:
    async with PocketPbx({"1000": "secret"}, certificate=SERVER) as pbx:
        connector = Connector()
        policy = Policy(anchors=TRUST)
        locks = [await register(pbx, policy, connector) for _ in range(2)]
        assert [lock.resumed for lock in locks] == [False, False]


@pytest.mark.asyncio
@versions
async def test_a_phone_whose_flow_was_lost_comes_back_on_a_resumed_session(version: TlsVersion) -> None:
    async with PocketPbx({"1000": "secret"}, certificate=SERVER) as pbx:
        config = AccountConfig(
            uri=pbx.uri("1000"), password="secret", policy=resuming(version), backoff=Backoff(0.01, 0.01)
        )
        async with UserAgent(config) as ua:
            events = ua.events()
            await ua.register(10)
            for flow in list(pbx.flows):
                flow.end()
            locks = []
            async for event in events:
                if isinstance(event, LockChanged) and event.lock.locked:
                    locks.append(event.lock.resumed)
                if isinstance(event, Registered) and len(locks) == 2:
                    break
    assert locks == [False, True]
