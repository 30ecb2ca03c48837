"""What a server does in TLS, found out over a few connections: how an operator's own question to the server looks.

One handshake tells one answer. Whoever mends a server wants more: which versions it takes, whether it resumes and staples, whether it
asks for a certificate, and the chain, also where that is refused. So the server is asked once as an account would ask it, whose
Verdict counts; once for each version alone, whatever certificate it shows; and once with a session that it gave. No credentials are
sent, and the first address that answers is asked all of it, so that a name with several servers behind it gives one picture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sipsua.account.config import Limits, Target
from sipsua.errors import FlowLost, HandshakeFailed, IdentityRefused, SipsuaError, Unreachable
from sipsua.events import HandshakeStepped, Negotiated
from sipsua.net.connect import Connector
from sipsua.net.flow import Flow
from sipsua.net.resolve import resolve
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.verdict import Verdict

SETTLE = 0.1
"""Seconds at least that a TLS 1.3 server gets after the handshake: only then come its tickets, and its refusal of our certificate
(RFC 8446 sections 4.4.2.4 and 4.6.1). A server that is far away gets three times what the handshake took, but not more than one second."""

_LONGEST_SETTLE = 1.0
_CLOSE = 0.5  # seconds at most for the answer to our close_notify


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What became of one connection."""

    taken: bool | None
    """Whether the server took one of the versions that were offered; None where it did not say."""
    reason: str
    """Why that is known, in words: what was negotiated, or what went wrong."""
    established: bool = False
    """Whether the handshake was finished and the certificate, by the policy of this connection, accepted."""
    protocol: str | None = None
    """`TLSv1` to `TLSv1.3`, where established."""
    cipher: str | None = None
    """OpenSSL's name of the suite, where established."""
    group: str | None = None
    """Key exchange group, where established and there was one."""
    chain: tuple[bytes, ...] = ()
    """The certificates as the server sent them, DER, leaf first; also after a refusal."""
    verdict: Verdict | None = None
    """What the verification found, where it came to an end."""
    staple: bytes | None = None
    """The OCSP response that was stapled, b"" where there was none, None where the handshake did not come so far."""
    asked_for_certificate: bool = False
    """Whether the server asked for a certificate of ours."""
    resumed: bool = False
    """Whether an earlier session was resumed."""
    steps: tuple[HandshakeStepped, ...] = ()
    """The messages of the handshake."""
    timings_ms: Mapping[str, float]
    """Milliseconds of `dns`, `tcp` and `tls`, as far as it came."""
    alert_sent: int | None = None
    """The fatal alert that the server was told (RFC 8446 section 6)."""
    alert_received: int | None = None
    """The fatal alert that the server sent."""
    error: SipsuaError | None = None
    """What ended it, None where all went well."""


class ClientCertificate(StrEnum):
    """What the server does about certificates of clients."""

    NOT_ASKED = "not_asked"
    OPTIONAL = "optional"
    """It asks, and goes on without one."""
    DEMANDED = "demanded"
    """It asks, and does not go on without one."""
    ACCEPTED = "accepted"
    """It asked, and went on with ours."""
    REFUSED = "refused"
    """It asked, and does not go on with ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a server was found to do."""

    target: Target
    """Host and port as they were asked for."""
    reference: str
    """The name that the certificate was to bear, and that the server was told."""
    address: str | None
    """Address and port that answered; None where none did."""
    handshake: Handshake
    """The connection with the policy that was given: its Verdict and its error are the answer to "would it register?"."""
    versions: Mapping[TlsVersion, Handshake]
    """A connection with each version alone, any certificate accepted; weak suites too below TLS 1.2."""
    client_certificate: ClientCertificate | None
    """None where no handshake came so far."""
    resumption: Handshake | None
    """A second connection with the session of one of `versions`; None where there was no session to come back with."""

    @property
    def best(self) -> Handshake:
        """The connection that tells most: the one with the policy that was given, or else the highest version that was established,
        or that showed a chain at least."""
        tried = [self.handshake, *(self.versions[version] for version in sorted(self.versions, reverse=True))]
        shown = next((one for one in tried if one.chain), self.handshake)
        return next((one for one in tried if one.established), shown)

    def as_json(self) -> dict[str, Any]:
        """A JSON object: `host`, `port`, `name` (the reference), `address`, `versions` (`TLSv1` to `TLSv1.3`, each with `taken` and
        `reason`), `protocol`, `cipher`, `group`, `client_certificate`, `resumes` and `resumes_reason`, `handshake` (each message with
        `step` and `at_ms`), `timings_ms` (`dns`, `tcp`, `tls`), `alert_sent` and `alert_received` by number. What is not known is null."""
        best, handshake, resumption = self.best, self.handshake, self.resumption
        return {
            "host": self.target.host,
            "port": self.target.port,
            "name": self.reference,
            "address": self.address,
            "versions": {
                str(version): {"taken": one.taken, "reason": one.reason} for version, one in self.versions.items()
            },
            "protocol": best.protocol,
            "cipher": best.cipher,
            "group": best.group,
            "client_certificate": str(self.client_certificate) if self.client_certificate is not None else None,
            "resumes": resumption.resumed if resumption is not None and resumption.established else None,
            "resumes_reason": resumption.reason if resumption is not None else NO_SESSION,
            "handshake": [{"step": one.step, "at_ms": round(one.at_ms, 3)} for one in handshake.steps],
            "timings_ms": {
                step: round(handshake.timings_ms[step], 3) if step in handshake.timings_ms else None
                for step in ("dns", "tcp", "tls")
            },
            "alert_sent": handshake.alert_sent,
            "alert_received": handshake.alert_received,
        }


NO_SESSION = "not tried: no connection stood"
"""Why resumption is not known."""


async def probe(target: Target, policy: Policy, *, reference: str | None = None, seconds: float = 15.0) -> Probe:
    """Ask a server, within `seconds`; half of them are for the first connection.

    `reference` is the name to verify and to tell the server, where it is another than the target's host. The policy is used with
    `staple`. Its certificate is shown to whoever asks, also where the server's own is refused. Whatever the server does is in the
    answer: nothing is raised for it.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    policy = replace(policy, staple=True)
    named = Target(reference or target.host, target.port)
    connector = Connector()
    began = loop.time()
    try:
        addresses = await resolve(target.host, timeout=0.45 * seconds)
    except Unreachable as error:
        return _unreachable(target, named.host, _failed(error, {"dns": (loop.time() - began) * 1000}))
    dns = {"dns": (loop.time() - began) * 1000}
    rider = _Rider(connector, named, addresses)
    handshake = await rider.shake_hands(policy, began + seconds / 2 - loop.time())
    handshake = replace(handshake, timings_ms={**handshake.timings_ms, **dns})
    if rider.peer is None:
        return _unreachable(target, named.host, handshake)
    addresses = [one for one in addresses if str(Target(one, target.port)) == rider.peer] or addresses
    alone = {version: _alone(policy, version) for version in TlsVersion}
    left = (end - loop.time()) * 0.7
    done = await asyncio.gather(*(_Rider(connector, named, addresses).shake_hands(one, left) for one in alone.values()))
    versions = dict(zip(alone, done, strict=True))
    resumption = None
    if established := [version for version, one in versions.items() if one.error is None]:
        resumption = await _Rider(connector, named, addresses).shake_hands(alone[max(established)], end - loop.time())
        words = "the second connection resumed the session of the first"
        if not resumption.resumed:
            words = "the second connection had to begin anew" if resumption.established else resumption.reason
        resumption = replace(resumption, reason=words)
    return Probe(
        target=target,
        reference=named.host,
        address=rider.peer,
        handshake=handshake,
        versions=versions,
        client_certificate=_client_certificate([handshake, *reversed(done)], policy),
        resumption=resumption,
    )


def _alone(policy: Policy, version: TlsVersion) -> Policy:
    """A policy that offers one version and wants to see what there is, not to trust it."""
    old = version < TlsVersion.TLS1_2
    return Policy(
        anchors=policy.anchors,
        names=policy.names,
        identity=policy.identity,
        minimum=version,
        maximum=version,
        staple=True,
        resume=True,
        dangerous_old_tls=old,
        dangerous_weak_ciphers=old,
        dangerous_accept_any_certificate=True,
    )


def _unreachable(target: Target, reference: str, handshake: Handshake) -> Probe:
    return Probe(
        target=target,
        reference=reference,
        address=None,
        handshake=handshake,
        versions={version: replace(handshake, timings_ms={}) for version in TlsVersion},
        client_certificate=None,
        resumption=None,
    )


def _failed(error: SipsuaError, timings_ms: Mapping[str, float]) -> Handshake:
    return Handshake(taken=None, reason=error.what, timings_ms=timings_ms, error=error)


def _client_certificate(tried: list[Handshake], policy: Policy) -> ClientCertificate | None:
    """From the connection that came farthest of those that are asked first."""
    own = policy.identity is not None
    if any(isinstance(one.error, IdentityRefused) for one in tried):
        return ClientCertificate.REFUSED if own else ClientCertificate.DEMANDED
    established = next((one for one in tried if one.established), None)
    if established is None:
        return None
    if not established.asked_for_certificate:
        return ClientCertificate.NOT_ASKED
    return ClientCertificate.ACCEPTED if own else ClientCertificate.OPTIONAL


class _Rider:
    """Rides on one flow until it is known what there is to know, and lets it go."""

    def __init__(self, connector: Connector, target: Target, addresses: list[str]) -> None:
        self._connector = connector
        self._target = target
        self._addresses = addresses
        self._began = 0.0
        self._steps: list[HandshakeStepped] = []
        self._flow: Flow | None = None
        self._error: SipsuaError | None = None
        self._lost = asyncio.Event()
        self.peer: str | None = None

    async def shake_hands(self, policy: Policy, seconds: float) -> Handshake:
        # One limit for all of it: TCP and handshake have theirs later.
        limits = Limits(connect=2 * seconds, handshake=2 * seconds, close=min(_CLOSE, seconds / 10))
        late = False
        try:
            async with asyncio.timeout(seconds):
                flow = await self._connector.open(
                    self, self._target, policy, limits, self._stepped, addresses=self._addresses
                )
                # In TLS 1.2 all has been said by now.
                if self._error is None and flow.pipe.protocol == str(TlsVersion.TLS1_3):
                    settle = max(SETTLE, min(_LONGEST_SETTLE, 0.003 * flow.timings_ms["tls"]))
                    async with asyncio.timeout(settle):
                        await self._lost.wait()
        except TimeoutError:
            within = f"within {round(seconds, 2):g} s"
            if self._flow is None:
                self._error = Unreachable(
                    f"no TCP connection to {self._target} {within}",
                    fix="check name, address and port, and whether a firewall drops the packets",
                )
            elif not self._flow.pipe.established and self._error is None:
                late = True
                self._error = HandshakeFailed(
                    f"{self._target} did not finish the TLS handshake {within}",
                    fix="check that this is its TLS port; a server that is silent here waits for something else than TLS",
                )
        except SipsuaError as error:
            self._error = error
        except asyncio.CancelledError:
            if self._flow is not None:
                self._flow.abort()
            raise
        if self._flow is None:
            return _failed(self._error or Unreachable(f"no TCP connection to {self._target}"), {})
        self._flow.close()
        await self._flow.wait_closed()
        return self._told(self._flow, self._error, late)

    def _told(self, flow: Flow, error: SipsuaError | None, late: bool) -> Handshake:
        pipe = flow.pipe
        taken = pipe.established or any(one.step in _SERVER_HELLO for one in self._steps)
        reason = ", ".join(filter(None, (pipe.protocol, pipe.cipher, pipe.group)))
        if error is not None:
            reason = f"{reason}, then: {error.what}" if reason else error.what
        return Handshake(
            taken=taken or (None if late else False),
            reason=reason,
            established=pipe.established,
            protocol=pipe.protocol,
            cipher=pipe.cipher,
            group=pipe.group,
            chain=pipe.chain,
            verdict=pipe.verdict,
            staple=pipe.staple,
            asked_for_certificate=pipe.asked_for_certificate,
            resumed=pipe.resumed,
            steps=tuple(self._steps),
            timings_ms=dict(flow.timings_ms),
            alert_sent=pipe.alert_sent,
            alert_received=pipe.alert_received,
            error=error,
        )

    def _stepped(self, step: str) -> None:
        self._steps.append(HandshakeStepped(step, (self._connector.loop.time() - self._began) * 1000))

    # The rider of a flow

    def flow_negotiating(self, flow: Flow) -> None:
        self._flow = flow
        self._began = self._connector.loop.time()
        self.peer = flow.peer

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        pass

    def flow_data(self, data: bytes) -> None:
        pass

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        self._error = error

    def flow_lost(self, error: FlowLost) -> None:
        # A server that hangs up on who says nothing is within its rights; one that refuses our certificate does it now.
        if isinstance(error, IdentityRefused):
            self._error = error
        self._lost.set()


_SERVER_HELLO = frozenset({"ServerHello", "Server Hello"})
