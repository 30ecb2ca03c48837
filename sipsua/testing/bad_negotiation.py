"""Servers with a good certificate that want what a client does not offer: old versions, strange suites, a certificate of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sipsua.testing.bad_case import GOOD, Case, Kind, Must, Setup, Site, cases_of, good, good_tls12, only
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.policy import TlsVersion


def make_client_certificate(certified: bool | None) -> Callable[[Site], Setup]:
    """A server that demands a certificate of its client's: it has none, or one by whom the server trusts or does not."""

    def make(site: Site) -> Setup:
        trusted = CertificateAuthority("client CA")
        by = trusted if certified else CertificateAuthority("another client CA")
        return replace(
            good(site),
            client_anchors=(trusted.certificate,),
            client=by.issue("phone") if certified is not None else None,
        )

    return make


def tls12(make: Callable[[Site], Setup]) -> Callable[[Site], Setup]:
    """The same, and nothing newer than TLS 1.2."""
    return lambda site: replace(make(site), maximum=TlsVersion.TLS1_2)


_negotiation = cases_of(Kind.NEGOTIATION)

NEGOTIATION_CASES: tuple[Case, ...] = (
    _negotiation(
        "tls-1.0-only",
        "It speaks TLS 1.0 only.",
        only(TlsVersion.TLS1_0),
        Must(exit_codes=(12,), alert=None),
    ),
    _negotiation(
        "tls-1.1-only",
        "It speaks TLS 1.1 only.",
        only(TlsVersion.TLS1_1),
        Must(exit_codes=(12,), alert=None),
    ),
    _negotiation(
        "no-common-cipher",
        "It speaks TLS 1.2 with suites that authenticate nobody.",
        lambda site: replace(good_tls12(site), ciphers="ADH-AES256-GCM-SHA384"),
        Must(exit_codes=(12,)),
    ),
    _negotiation(
        "no-common-group",
        "It speaks TLS 1.3 with no key exchange group but brainpoolP384r1.",
        lambda site: replace(only(TlsVersion.TLS1_3)(site), groups="brainpoolP384r1tls13"),
        Must(exit_codes=(12,)),
    ),
    _negotiation(
        "client-certificate",
        "It demands a certificate of the client, which has one that it trusts.",
        make_client_certificate(True),
        GOOD,
    ),
    _negotiation(
        "client-certificate-wanted",
        "It demands a certificate of the client, which has none.",
        make_client_certificate(None),
        Must(exit_codes=(12,), late=True),
    ),
    _negotiation(
        "client-certificate-wanted-tls-1.2",
        "The same in TLS 1.2, where the client is told before the handshake is done.",
        tls12(make_client_certificate(None)),
        Must(exit_codes=(12,)),
    ),
    _negotiation(
        "client-certificate-untrusted",
        "It demands a certificate of the client, which has one by a CA that it does not trust.",
        make_client_certificate(False),
        Must(exit_codes=(12,), late=True),
    ),
    _negotiation(
        "client-certificate-untrusted-tls-1.2",
        "The same in TLS 1.2.",
        tls12(make_client_certificate(False)),
        Must(exit_codes=(12,)),
    ),
)
