"""Contexts: what connections of the same trust list, versions and suites have in common, made once.

One OpenSSL context serves all policies that differ only in what goes onto the connection (the name that is asked for, the own certificate,
the verification), however many accounts hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate

from sipsua.errors import Defect
from sipsua.net.tls.watch import TAKE_STAPLE, VERIFY_CLIENT, VERIFY_SERVER
from sipsua.trust.ciphers import cipher_list
from sipsua.trust.crl import CrlList
from sipsua.trust.identity import Identity
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.store import TrustList, load

Context = SSL.Context
"""What connections with the same trust list and versions share."""


def client_context(policy: Policy, *, keylog: Callable[[bytes], None] | None = None) -> SSL.Context:
    """The context of a policy, shared by all policies that differ only in what goes onto the connection.

    `keylog` takes lines in the format of SSLKEYLOGFILE and must not raise; a context with one is made anew at each call.
    """
    # A connection takes a certificate but no chain, so the chain makes the context: one for all phones of an issuer.
    chain = _chain(policy.identity) if policy.identity is not None else ()
    shared = _contexts.setdefault(policy.anchors, WeakKeyDictionary()).setdefault(policy.crls or _NO_CRLS, {})
    level = _LEVEL if policy.minimum >= TlsVersion.TLS1_2 and not policy.dangerous_weak_ciphers else 0
    ciphers = cipher_list(policy.ciphers, weak=policy.dangerous_weak_ciphers, level=level)
    key = (policy.minimum, policy.maximum, chain, ciphers, policy.resume)
    if keylog is None and (known := shared.get(key)) is not None:
        return known
    context = _context(SSL.TLS_CLIENT_METHOD, policy.minimum, policy.maximum, ciphers)
    if not policy.resume:
        # Sessions are not resumed, because a resumed one skips the verification: TLS 1.2 servers need not make tickets.
        context.set_options(SSL.OP_NO_TICKET)
    _trust(context, policy.anchors, SSL.VERIFY_PEER, policy.crls)
    # It is asked on connections that have requested a staple, and on no others.
    _lib.SSL_CTX_set_tlsext_status_cb(context._context, TAKE_STAPLE)
    for der in chain:
        context.add_extra_chain_cert(load(der))
    if keylog is None:
        if len(shared) == _MOST_CONTEXTS:
            del shared[next(iter(shared))]
        shared[key] = context
    else:
        context.set_keylog_callback(lambda _connection, line: keylog(line))
    return context


def server_context(
    certificate: Identity | bytes,
    key_pem: bytes = b"",
    *,
    client_anchors: TrustList | None = None,
    minimum: TlsVersion = TlsVersion.TLS1_2,
    maximum: TlsVersion = TlsVersion.TLS1_3,
) -> SSL.Context:
    """A context for the server's end: the certificate with its intermediates, and the key, as an Identity or as PEM texts.

    With `client_anchors` a client must show a certificate that leads to one of them. Raises BadConfiguration where
    certificate and key cannot be used.
    """
    identity = certificate if isinstance(certificate, Identity) else Identity.from_pem(certificate, key_pem)
    level = _LEVEL if minimum >= TlsVersion.TLS1_2 else 0
    context = _context(SSL.TLS_SERVER_METHOD, minimum, maximum, cipher_list(None, weak=False, level=level))
    context.use_certificate(identity.x509.to_cryptography())
    context.use_privatekey(identity.pkey.to_cryptography_key())  # type: ignore[arg-type]
    for der in _chain(identity):
        context.add_extra_chain_cert(load(der))
    # Without it OpenSSL fails a client that brings a ticket where client certificates are demanded.
    context.set_session_id(b"sipsua")
    if client_anchors is not None:
        mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        _trust(context, client_anchors, mode)
        _lib.SSL_CTX_set_verify(context._context, mode, VERIFY_CLIENT)
        for anchor in client_anchors:
            # CertificateRequest names them, so that a client with several certificates can choose.
            context.add_client_ca(load(anchor.der))
    return context


def _context(method: int, minimum: TlsVersion, maximum: TlsVersion, ciphers: bytes) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(minimum)
    context.set_max_proto_version(maximum)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Idle connections give their record buffers back: 31 KiB each instead of 53. And OpenSSL must not complete our chain
    # from the trust list: it would do so at every handshake, and hide from the operator that the file lacks intermediates.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _MODE_NO_AUTO_CHAIN)
    # pyOpenSSL turns it on: a write of more than a record would stop after the first.
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_cipher_list(ciphers)
    # The suites of AES-128 come first, as browsers have it and as RFC 8446 section 9.1 makes mandatory: with SHA-384, which goes with
    # AES-256, the key schedule of TLS 1.3 takes longer than the record layer of a whole registration.
    context.set_tls13_ciphersuites(_SUITES)
    # OpenSSL's default begins with X25519MLKEM768: a third more CPU, and a ClientHello that does not fit one segment, which
    # many a PBX has never seen. pyOpenSSL has no method for the groups.
    if _lib.SSL_CTX_set1_curves_list(context._context, _GROUPS) != 1:
        raise Defect(f"OpenSSL did not take the groups {_GROUPS.decode()}")
    return context


def _trust(context: SSL.Context, anchors: TrustList, mode: int, crls: CrlList | None = None) -> None:
    store = context.get_cert_store()
    if store is None:
        raise Defect("OpenSSL made a context without a certificate store")
    anchors.load_into(store)
    if crls is not None:
        crls.load_into(store)
    _lib.SSL_CTX_set_verify(context._context, mode, VERIFY_SERVER)


def _chain(identity: Identity) -> tuple[bytes, ...]:
    """The intermediates of our own certificate, DER."""
    known = _chains.get(identity)
    if known is None:
        known = _chains[identity] = tuple(dump_certificate(FILETYPE_ASN1, one) for one in identity.extra_chain)
    return known


_lib: Final[Any] = Binding.lib

_Key = tuple[TlsVersion, TlsVersion, tuple[bytes, ...], bytes, bool]
# A context goes with its trust list and with its CRLs: who reads new ones every hour gets rid of the old.
_contexts: WeakKeyDictionary[TrustList, WeakKeyDictionary[CrlList, dict[_Key, SSL.Context]]] = WeakKeyDictionary()
_NO_CRLS: Final = CrlList(())
_chains: WeakKeyDictionary[Identity, tuple[bytes, ...]] = WeakKeyDictionary()

_MOST_CONTEXTS: Final = 64
"""Of one trust list: the versions, suites and chains of own certificates that phones share are few."""
_LEVEL: Final = 2
"""OpenSSL's security level by default: 112 bits."""
_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_GROUPS: Final = b"X25519:P-256:P-384"
_MODE_ENABLE_PARTIAL_WRITE: Final = 0x1  # SSL_MODE_ENABLE_PARTIAL_WRITE
_MODE_NO_AUTO_CHAIN: Final = 0x8  # SSL_MODE_NO_AUTO_CHAIN
