"""The TLS pipe: ciphertext in, plaintext out, and the trust room asked at each certificate. No sockets here.

pyOpenSSL on memory BIOs, because the verify callback per connection, the chain after a refusal and the alert that really
went out are what a phone that explains its refusals needs (and because it is cheaper than asyncio's own TLS).

One OpenSSL context serves all policies of the same trust list and versions, however many accounts hold them. What differs
per account goes onto the connection: the name that is asked for, the own certificate, the verification. The one verify
callback of all contexts, `_judge`, finds the verification in its connection's app data: so nothing leaks from one
connection to another, and no callback is made per connection.

What OpenSSL does and this file counts on, each seen by running it (OpenSSL 4.0.3) and held by a test:
- A refusal by the verify callback ends the handshake with the alert that belongs to the refused error: unknown_ca (48),
  certificate_expired (45). Where there is no error, as for a name that our own matcher refuses in a good chain, it is
  internal_error (80), which misleads whoever reads the server's log. So `_judge` makes that error X509_V_ERR_HOSTNAME_MISMATCH,
  which goes out as bad_certificate (42, RFC 8446 section 6.2).
- An info callback that is set in the middle of a handshake is called for the alert. So the alert that is sent is known
  without a callback for every step of every handshake.
- In TLS 1.3 the client is done before the server has looked at the client's certificate (RFC 8446 section 4.4.2.4): its
  refusal arrives on an established pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509, dump_certificate

from sipsua.errors import Defect, FlowLost, HandshakeFailed, Misuse, SipsuaError
from sipsua.net.faults import NO_CERTIFICATE, alert_in, cut_off, flow_fault, handshake_fault, not_tls
from sipsua.trust.certificate import describe
from sipsua.trust.ciphers import cipher_list
from sipsua.trust.crl import CrlList
from sipsua.trust.identity import Identity
from sipsua.trust.names import parse_reference
from sipsua.trust.openssl import client_refusal
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.store import TrustList, load
from sipsua.trust.verdict import Certificate, CertificateRefused, Verdict
from sipsua.trust.verifier import Verification

Context = SSL.Context
"""What connections with the same trust list and versions share."""

Steps = Callable[[str], None]
"""Takes the messages of a handshake, one by one, as they are sent or received. Must not raise."""


def client_context(policy: Policy, *, keylog: Callable[[bytes], None] | None = None) -> SSL.Context:
    """The context of a policy, shared by all policies that differ only in what goes onto the connection.

    `keylog` takes lines in the format of SSLKEYLOGFILE and must not raise; a context with one is made anew at each call.
    """
    # A connection takes a certificate but no chain, so the chain makes the context: one for all phones of an issuer.
    chain = _chain(policy.identity) if policy.identity is not None else ()
    shared = _contexts.setdefault(policy.anchors, {})
    level = _LEVEL if policy.minimum >= TlsVersion.TLS1_2 and not policy.dangerous_weak_ciphers else 0
    ciphers = cipher_list(policy.ciphers, weak=policy.dangerous_weak_ciphers, level=level)
    key = (policy.minimum, policy.maximum, chain, ciphers, policy.crls, policy.resume)
    if keylog is None and (known := shared.get(key)) is not None:
        return known
    context = _context(SSL.TLS_CLIENT_METHOD, policy.minimum, policy.maximum, ciphers)
    if not policy.resume:
        # Sessions are not resumed, because a resumed one skips the verification: TLS 1.2 servers need not make tickets.
        context.set_options(SSL.OP_NO_TICKET)
    _trust(context, policy.anchors, SSL.VERIFY_PEER, policy.crls)
    # It is asked on connections that have requested a staple, and on no others.
    _lib.SSL_CTX_set_tlsext_status_cb(context._context, _staple_callback)
    for der in chain:
        context.add_extra_chain_cert(load(der))
    if keylog is None:
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
        _lib.SSL_CTX_set_verify(context._context, mode, _client_verify_callback)
        for anchor in client_anchors:
            # CertificateRequest names them, so that a client with several certificates can choose.
            context.add_client_ca(load(anchor.der))
    return context


@dataclass(frozen=True, slots=True)
class Session:
    """A TLS session that can be resumed, and what its handshake found: a resumed one sees no certificate."""

    state: bytes = field(repr=False)
    """OpenSSL's SSL_SESSION in DER. It holds keys."""
    verdict: Verdict
    """Of the handshake that the session is from; always an accepted one."""


class TlsPipe:
    """One end of one TLS connection.

    The owner moves the bytes: what arrives goes through `receive`, and after each of `start`, `receive`, `send` and `close`
    (also where one raised) what `outgoing` yields is to be written. After an error the pipe is dead: `outgoing` yields the
    alert, and every further `receive` raises the same error.
    """

    __slots__ = (
        "_connection",
        "_farewell",
        "_heard",
        "_policy",
        "_reference",
        "_session",
        "_watch",
        "alert_received",
        "closed_by_peer",
        "established",
        "failure",
        "resumed",
        "verdict",
    )

    def __init__(self, context: SSL.Context, policy: Policy | None, reference: str, steps: Steps | None) -> None:
        """Use `TlsPipe.client` or `TlsPipe.server`."""
        verification = Verification(policy, reference) if policy is not None else None
        self._connection = connection = SSL.Connection(context)
        self._watch = _Watch(verification, steps, policy is not None)
        self._policy = policy
        self._reference = reference
        self._session: Session | None = None
        self.failure: SipsuaError | None = None
        """What broke the pipe, for good."""
        self._farewell = b""
        self._heard = False
        self.established = False
        """Whether the handshake is done and, at a client, the server's certificate accepted."""
        self.closed_by_peer = False
        """Whether the peer's close_notify has come: what was received until then is complete (RFC 8446 section 6.1)."""
        self.resumed = False
        """At a client: whether the session that was given is resumed."""
        self.verdict: Verdict | None = None
        """At a client: what the verification found, from the moment when the certificate is accepted or refused."""
        self.alert_received: int | None = None
        """The fatal alert that the peer sent."""
        connection.set_app_data(self._watch)
        if steps is not None:
            connection.set_info_callback(_note)

    @classmethod
    def client(
        cls,
        policy: Policy,
        reference: str,
        *,
        context: SSL.Context | None = None,
        steps: Steps | None = None,
        session: Session | None = None,
    ) -> TlsPipe:
        """The client's end of a connection to the server of this name: a DNS name or an IP address.

        The name is what is verified, and what the server is told, unless it is an IP address (RFC 6066 section 3). `context`
        is one of `client_context`, needed only where it has a key log. `steps` makes the handshake dearer by a sixth. `session` is one
        of a pipe with the same server, name and policy, which must have `resume`; a server that does not know it any more shows its
        certificate as ever.
        """
        pipe = cls(context or client_context(policy), policy, reference, steps)
        connection = pipe._connection
        connection.set_connect_state()
        if (name := parse_reference(reference).dns) is not None:
            connection.set_tlsext_host_name(name.encode("ascii"))
        if (own := policy.identity) is not None:
            # pyOpenSSL's methods for this take objects of `cryptography` and convert them: 250 µs a connection, here 18.
            ssl = connection._ssl
            if _lib.SSL_use_certificate(ssl, own.x509._x509) != 1 or _lib.SSL_use_PrivateKey(ssl, own.pkey._pkey) != 1:
                raise Defect(f"OpenSSL did not take the certificate {own.subject}")
        if policy.staple:
            connection.request_ocsp()
        if session is not None and policy.resume:
            pipe._offer(session)
        return pipe

    @classmethod
    def server(cls, context: SSL.Context, *, steps: Steps | None = None) -> TlsPipe:
        """The server's end of a connection, with a context of `server_context`."""
        pipe = cls(context, None, "the client", steps)
        pipe._connection.set_accept_state()
        return pipe

    def start(self) -> None:
        """Begin the handshake: a client makes its ClientHello; a server has nothing to say before that came."""
        self._shake_hands()

    def receive(self, ciphertext: bytes) -> bytes:
        """Take what arrived, in pieces of any size, and return the plaintext that is complete by now, b"" if none is.

        Raises CertificateRefused or HandshakeFailed before the handshake is done, FlowLost after it. Plaintext that came
        before the fault is returned first, and the error raised by the next call, for which `receive(b"")` will do.
        """
        if self.failure is not None:
            raise self.failure
        if ciphertext:
            if not self._heard:
                self._heard = True
                if not 20 <= ciphertext[0] <= 23:
                    raise self._fail(not_tls(self._reference, self._policy, ciphertext))
            _lib.BIO_write(self._connection._into_ssl, ciphertext, len(ciphertext))
        if not self.established:
            self._shake_hands()
            if not self.established:
                return b""
        ssl = self._connection._ssl
        record = _allocate(_OCTETS, _RECORD)
        plaintext = b""
        while (count := _lib.SSL_read(ssl, record, _RECORD)) > 0:
            plaintext += _ffi.unpack(record, count)
        result = _lib.SSL_get_error(ssl, count)
        if result == _lib.SSL_ERROR_ZERO_RETURN:
            self.closed_by_peer = True
        elif result != _lib.SSL_ERROR_WANT_READ:
            failure = self._fail(self._flow_error(self._error(count)))
            if not plaintext:
                raise failure
        return plaintext

    def send(self, plaintext: bytes) -> None:
        """Encrypt for the peer. Raises Misuse before the handshake is done and after `close`; on a dead pipe its error."""
        if self.failure is not None:
            raise self.failure
        if not self.established:
            raise Misuse(
                "nothing can be sent before the TLS handshake is done", fix="wait until the pipe is established"
            )
        if plaintext and _lib.SSL_write(self._connection._ssl, plaintext, len(plaintext)) <= 0:
            _lib.ERR_clear_error()
            raise Misuse("nothing can be sent after the TLS pipe was closed", fix="open another connection")

    def outgoing(self) -> bytes:
        """The ciphertext to write now, b"" if there is none. It is handed out once."""
        if self.failure is not None:
            ciphertext, self._farewell = self._farewell, b""
            return ciphertext
        bio = self._connection._from_ssl
        flight = _allocate(_OCTETS, _FLIGHT)
        ciphertext = b""
        while (count := _lib.BIO_read(bio, flight, _FLIGHT)) > 0:
            ciphertext += _ffi.unpack(flight, count)
            if count < _FLIGHT:
                break
        return ciphertext

    def close(self) -> None:
        """Say close_notify: nothing more will be sent. What the peer still sends can be received. Twice is harmless."""
        if self.established and self.failure is None:
            with suppress(SSL.Error):
                self._connection.shutdown()

    def end(self) -> SipsuaError | None:
        """What it means that TCP ended at this point: an error, or None after the peer's close_notify."""
        if self.failure is not None or self.closed_by_peer:
            return self.failure
        return cut_off(self._reference, heard=self._heard, established=self.established)

    @property
    def protocol(self) -> str | None:
        """`TLSv1.2` or `TLSv1.3`, as soon as the handshake is done."""
        return self._connection.get_protocol_version_name() if self.established else None

    @property
    def cipher(self) -> str | None:
        """OpenSSL's name of the cipher suite, as soon as the handshake is done."""
        return self._connection.get_cipher_name() if self.established else None

    @property
    def group(self) -> str | None:
        """The key exchange group by its IANA name, as soon as the handshake is done; None where there was none."""
        return self._connection.get_group_name() if self.established else None

    @property
    def session(self) -> Session | None:
        """At a client with a policy that resumes: the session as it is now, for a pipe to come. In TLS 1.3 the server gives it after
        the handshake, together with or before the first application data (RFC 8446 section 4.6.1)."""
        if not self.established or self._policy is None or not self._policy.resume or self.verdict is None:
            return None
        session = _lib.SSL_get_session(self._connection._ssl)
        size = _lib.i2d_SSL_SESSION(session, _ffi.NULL)
        if size <= 0:
            return None
        state = _ffi.new("unsigned char[]", size)
        _lib.i2d_SSL_SESSION(session, _ffi.new("unsigned char **", state))
        return Session(bytes(_ffi.buffer(state, size)), self.verdict)

    @property
    def staple(self) -> bytes | None:
        """At a client: the OCSP response that the server stapled, b"" where it stapled none, None where none was asked for."""
        return self._watch.staple

    @property
    def asked_for_certificate(self) -> bool:
        """At a client, with steps: whether the server asked for a certificate of ours."""
        return self._watch.asked

    @property
    def alert_sent(self) -> int | None:
        """The fatal alert that the peer was told; known for refused certificates, if not encrypted, and with steps."""
        return self._watch.alert_sent

    @property
    def chain(self) -> tuple[bytes, ...]:
        """At a client: the certificates as the server sent them, DER, leaf first; also after a refusal."""
        return tuple(dump_certificate(FILETYPE_ASN1, one) for one in self._sent())

    @property
    def shown(self) -> Certificate | None:
        """At a server: the certificate that the client showed, taken apart."""
        x509 = self._connection.get_peer_certificate() if self.established and self._policy is None else None
        return describe(dump_certificate(FILETYPE_ASN1, x509)) if x509 is not None else None

    @property
    def client_certificate(self) -> x509.Certificate | None:
        """At a server: the certificate that the client showed. Raises ValueError where `cryptography` cannot read it."""
        if not self.established or self._policy is not None:
            return None
        return self._connection.get_peer_certificate(as_cryptography=True)

    def _shake_hands(self) -> None:
        ssl = self._connection._ssl
        count = _lib.SSL_do_handshake(ssl)
        if count != 1:
            if _lib.SSL_get_error(ssl, count) == _lib.SSL_ERROR_WANT_READ:
                return
            raise self._fail(self._handshake_error(self._error(count))) from self._watch.defect
        if self._session is not None and _lib.SSL_session_reused(ssl) == 1:
            # The server has proved that it holds the keys of a handshake whose Verdict we know.
            self.resumed = True
            self.verdict = self._session.verdict
            self._watch.verification = None
        elif (verification := self._watch.verification) is not None:
            self.verdict = verification.verdict(self._sent())
            if not self.verdict.accepted:
                # The callback let pass what the verdict does not. Our Finished, not yet handed out, must not leave.
                failure = self._fail(CertificateRefused(self.verdict))
                self._farewell = b""
                raise failure
            self._watch.verification = None
        self.established = True

    def _offer(self, session: Session) -> None:
        """Offer the server to resume a session; one that OpenSSL cannot read any more is no reason to fail."""
        begin = _ffi.new("const unsigned char **", _ffi.from_buffer("unsigned char[]", session.state))
        known = _lib.d2i_SSL_SESSION(_ffi.NULL, begin, len(session.state))
        if (
            known != _ffi.NULL
            and _lib.SSL_set_session(self._connection._ssl, _ffi.gc(known, _lib.SSL_SESSION_free)) == 1
        ):
            self._session = session
        else:
            _lib.ERR_clear_error()

    def _error(self, result: int) -> SSL.Error:
        """What pyOpenSSL makes of a call that failed; it empties OpenSSL's queue of errors."""
        try:
            self._connection._raise_ssl_error(self._connection._ssl, result)
        except SSL.Error as error:
            return error
        return SSL.Error([])

    def _sent(self) -> list[X509]:
        """The certificates as the peer sent them, leaf first; also after a refusal."""
        return self._connection.get_peer_cert_chain() or []

    def _fail(self, error: SipsuaError) -> SipsuaError:
        """Keep the error for all further calls, and OpenSSL's last words for `outgoing`."""
        farewell = self._farewell = self.outgoing()
        self.failure = error
        if self._watch.alert_sent is None and farewell[-7:-6] == b"\x15" and farewell[-4:-1] == b"\x00\x02\x02":
            # The record of a fatal alert in the clear (RFC 5246 sections 6.2.1 and 7.2).
            self._watch.alert_sent = farewell[-1]
        if isinstance(error, HandshakeFailed | CertificateRefused):
            error.alert = self._watch.alert_sent
        return error

    def _handshake_error(self, error: SSL.Error) -> SipsuaError:
        watch, peer = self._watch, self._reference
        if watch.defect is not None:
            return Defect(f"the verification of the certificate of {peer} broke: {watch.defect!r}")
        if watch.refused and watch.verification is not None:
            self.verdict = watch.verification.verdict(self._sent())
            return CertificateRefused(self.verdict)
        if watch.client_refused is not None:
            return CertificateRefused(client_refusal(*watch.client_refused))
        reason = "close_notify" if isinstance(error, SSL.ZeroReturnError) else _reason(error)
        self.alert_received = alert_in(reason)
        if reason == NO_CERTIFICATE and self._connection.get_protocol_version() == TlsVersion.TLS1_3:
            watch.alert_sent = 116  # encrypted in TLS 1.3, so it is not read off the record (RFC 8446 section 4.4.2.4)
        shown = self._policy is not None and self._connection.get_peer_certificate() is not None
        return handshake_fault(peer, self._policy, reason, shown=shown)

    def _flow_error(self, error: SSL.Error) -> FlowLost:
        reason = _reason(error)
        self.alert_received = alert_in(reason)
        return flow_fault(self._reference, self._policy, reason)


class _Watch:
    """What the callbacks of one connection need: its app data. It holds neither pipe nor connection, so no cycle arises."""

    __slots__ = (
        "alert_sent",
        "anchored",
        "asked",
        "client",
        "client_refused",
        "defect",
        "last",
        "refused",
        "staple",
        "steps",
        "verification",
    )

    def __init__(self, verification: Verification | None, steps: Steps | None, client: bool) -> None:
        self.verification = verification
        self.steps = steps
        self.client = client
        self.client_refused: tuple[list[bytes], int, int] | None = None
        self.last = b""
        self.anchored = False
        self.asked = False
        self.staple: bytes | None = None
        self.refused = False
        self.alert_sent: int | None = None
        self.defect: Exception | None = None


def _judge(ok: int, store: Any) -> int:
    """The verify callback of all contexts: 1 goes on, 0 refuses.

    OpenSSL calls it for each error, and for each good certificate from the anchor down to the leaf. Of the good ones the
    verification wants to see the two ends: which anchor it was, and the names of the leaf. pyOpenSSL's wrapper would make
    three objects for each, 13 µs of some 500 for a handshake; it cannot set the error; and it keeps an exception on the
    shared context, from where it surfaces in another connection.
    """
    connection = SSL.Connection._reverse_mapping[_lib.X509_STORE_CTX_get_ex_data(store, _SSL_OF_STORE)]
    watch: _Watch = connection.get_app_data()
    depth = _lib.X509_STORE_CTX_get_error_depth(store)
    if ok and depth:
        if watch.anchored:
            return 1
        watch.anchored = True
    if watch.steps is not None:
        # OpenSSL tells of a certificate when it has accepted it, but a refused one arrived too.
        _tell(connection, watch, _READ_SERVER_CERTIFICATE if watch.client else _READ_CLIENT_CERTIFICATE)
    accepted = bool(ok)
    if watch.verification is not None:
        # Some errors are of the whole path and of no certificate: those count as the leaf's.
        pointer = _lib.X509_STORE_CTX_get_current_cert(store) or _lib.X509_STORE_CTX_get0_cert(store)
        _lib.X509_up_ref(pointer)
        certificate = X509._from_raw_x509_ptr(pointer)
        errno = 0 if ok else _lib.X509_STORE_CTX_get_error(store)
        try:
            accepted = watch.verification.callback(connection, certificate, errno, depth, ok)
        except Exception as error:
            watch.defect = error
            accepted = False
    if accepted:
        _lib.X509_STORE_CTX_set_error(store, _X509_V_OK)
        return 1
    watch.refused = True
    if ok and watch.verification is not None and watch.defect is None:
        _lib.X509_STORE_CTX_set_error(store, watch.verification.refusal)
    if watch.steps is None:
        connection.set_info_callback(_note)
    return 0


def _take_staple(ssl: Any, _argument: Any) -> int:
    """The status callback of all client contexts, RFC 6066 section 8: 1 goes on, 0 refuses with bad_certificate_status_response.

    OpenSSL calls it once the chain is accepted, also where the server stapled nothing.
    """
    connection = SSL.Connection._reverse_mapping[ssl]
    watch: _Watch = connection.get_app_data()
    begin = _ffi.new("unsigned char **")
    size = _lib.SSL_get_tlsext_status_ocsp_resp(ssl, begin)
    watch.staple = bytes(_ffi.buffer(begin[0], size)) if size > 0 else b""
    if watch.verification is None:
        return 1
    try:
        if watch.verification.staple(watch.staple, connection.get_verified_chain() or []):
            return 1
    except Exception as error:
        watch.defect = error
    watch.refused = True
    if watch.steps is None:
        connection.set_info_callback(_note)
    return 0


def _judge_client(ok: int, store: Any) -> int:
    """The verify callback where we are the server: OpenSSL's answer stands, and what it refuses is kept to be explained.

    After a refusal OpenSSL forgets what a client has shown, so the path that it had built by then is kept here.
    """
    answer = _judge(ok, store)
    if not answer:
        path = _lib.X509_STORE_CTX_get1_chain(store)
        ders = [
            dump_certificate(FILETYPE_ASN1, X509._from_raw_x509_ptr(_lib.sk_X509_value(path, index)))
            for index in range(_lib.sk_X509_num(path))
        ]
        _lib.sk_X509_free(path)  # not what was on it: that goes with the X509 objects
        connection = SSL.Connection._reverse_mapping[_lib.X509_STORE_CTX_get_ex_data(store, _SSL_OF_STORE)]
        watch: _Watch = connection.get_app_data()
        watch.client_refused = (
            ders,
            _lib.X509_STORE_CTX_get_error(store),
            _lib.X509_STORE_CTX_get_error_depth(store),
        )
    return answer


def _note(connection: SSL.Connection, where: int, value: int) -> None:
    """The info callback: notes the alert that is sent, and tells the steps where they are asked for."""
    watch: _Watch = connection.get_app_data()
    if where & SSL.SSL_CB_ALERT:
        if where & SSL.SSL_CB_WRITE and value >> 8 == _FATAL:
            watch.alert_sent = value & 0xFF
    elif where & SSL.SSL_CB_HANDSHAKE_DONE:
        watch.steps = None  # what follows, such as tickets, is no longer the handshake
    elif where & SSL.SSL_CB_LOOP and watch.steps is not None:
        _tell(connection, watch, connection.get_state_string())


def _tell(connection: SSL.Connection, watch: _Watch, state: bytes) -> None:
    """Tell the steps of a state such as `SSLv3/TLS read server hello`: the prefix says nothing about the version."""
    if state == watch.last or watch.steps is None:
        return  # OpenSSL tells a state again when it goes on after waiting for the peer
    watch.last = state
    direction, _, message = state.decode("ascii").partition(" ")[2].partition(" ")
    if (words := _STEPS.get(message)) is not None:
        if message in _REQUESTS:
            watch.asked = True
        step = words[0 if connection.get_protocol_version() == TlsVersion.TLS1_3 else 1]
        if step:
            watch.steps(step.format("client" if (direction == "write") == watch.client else "server"))


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
    _lib.SSL_CTX_set_verify(context._context, mode, _verify_callback)


def _chain(identity: Identity) -> tuple[bytes, ...]:
    """The intermediates of our own certificate, DER."""
    known = _chains.get(identity)
    if known is None:
        known = _chains[identity] = tuple(dump_certificate(FILETYPE_ASN1, one) for one in identity.extra_chain)
    return known


def _reason(error: SSL.Error) -> str:
    """OpenSSL's reason for an error, the first of its queue."""
    queue = error.args[0] if error.args else ()
    if isinstance(queue, list) and queue:
        return str(queue[0][-1]) or "an error without a name"
    return str(error.args[-1]) if len(error.args) > 1 else "an error without a name"


_lib: Final[Any] = Binding.lib
_ffi: Final[Any] = Binding.ffi
"""OpenSSL itself: for what pyOpenSSL has no method for, and where bytes go through. There pyOpenSSL's methods raise
WantReadError whenever there is nothing more, which is at the end of every read: 3 µs each time where the call takes 0.5."""
_allocate: Final[Any] = _ffi.new_allocator(should_clear_after_alloc=False)
_OCTETS: Final = _ffi.typeof("char[]")

_Key = tuple[TlsVersion, TlsVersion, tuple[bytes, ...], bytes, CrlList | None, bool]
_contexts: WeakKeyDictionary[TrustList, dict[_Key, SSL.Context]] = WeakKeyDictionary()
_chains: WeakKeyDictionary[Identity, tuple[bytes, ...]] = WeakKeyDictionary()

_LEVEL: Final = 2
"""OpenSSL's security level by default: 112 bits."""
_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_GROUPS: Final = b"X25519:P-256:P-384"
_SSL_OF_STORE: Final = _lib.SSL_get_ex_data_X509_STORE_CTX_idx()
_X509_V_OK: Final = 0
_verify_callback: Final = _ffi.callback("int (*)(int, X509_STORE_CTX *)", _judge, error=0)
_client_verify_callback: Final = _ffi.callback("int (*)(int, X509_STORE_CTX *)", _judge_client, error=0)
_staple_callback: Final = _ffi.callback("int (*)(SSL *, void *)", _take_staple, error=0)
_MODE_ENABLE_PARTIAL_WRITE: Final = 0x1  # SSL_MODE_ENABLE_PARTIAL_WRITE
_MODE_NO_AUTO_CHAIN: Final = 0x8  # SSL_MODE_NO_AUTO_CHAIN
_READ_SERVER_CERTIFICATE: Final = b"SSLv3/TLS read server certificate"
_READ_CLIENT_CERTIFICATE: Final = b"SSLv3/TLS read client certificate"
_REQUESTS: Final = frozenset({"server certificate request", "certificate request"})
_FATAL: Final = 2  # AlertLevel, RFC 8446 section 6
_RECORD: Final = 16384
"""Octets. The plaintext of a record at most (RFC 8446 section 5.1): what one read of OpenSSL can bring."""
_FLIGHT: Final = 65536
"""Octets. More than any flight of a handshake and most sends, so that one read takes all; freed at once."""

_STEPS: Final = {
    "client hello": ("ClientHello", "Client Hello"),
    "server hello": ("ServerHello", "Server Hello"),
    "encrypted extensions": ("EncryptedExtensions", ""),
    "server certificate request": ("CertificateRequest", "Certificate Request"),
    "certificate request": ("CertificateRequest", "Certificate Request"),
    "server certificate": ("Certificate", "Certificate"),
    "certificate": ("Certificate", "Certificate"),
    "server certificate verify": ("CertificateVerify", ""),
    "server key exchange": ("", "Server Key Exchange"),
    "key exchange": ("", "Server Key Exchange"),
    "server done": ("", "Server Hello Done"),
    "client certificate": ("Certificate (client)", "Certificate (client)"),
    "client key exchange": ("", "Client Key Exchange"),
    "certificate verify": ("CertificateVerify (client)", "Certificate Verify (client)"),
    "server session ticket": ("", "New Session Ticket"),
    "session ticket": ("", "New Session Ticket"),
    "change cipher spec": ("", "Change Cipher Spec ({})"),
    "finished": ("Finished ({})", "Finished ({})"),
}
"""OpenSSL's names of its states after `read` or `write`, and the message in the words of TLS 1.3 and of TLS 1.2.

Client and server name some states differently. A message that both ends can send says which did, but for the server's
certificate."""
