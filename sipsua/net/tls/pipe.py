"""One end of one TLS connection: ciphertext in, plaintext out, and the trust room asked at each certificate. No sockets here.

In TLS 1.3 the client is done before the server has looked at the client's certificate (RFC 8446 section 4.4.2.4): its refusal arrives on an
established pipe.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate

from sipsua.errors import Defect, FlowLost, HandshakeFailed, Misuse, SipsuaError
from sipsua.net.faults import NO_CERTIFICATE, alert_in, cut_off, flow_fault, handshake_fault, not_tls
from sipsua.net.tls.context import client_context
from sipsua.net.tls.watch import Steps, Watch, ders, note
from sipsua.trust.certificate import describe
from sipsua.trust.names import parse_reference
from sipsua.trust.openssl import client_refusal
from sipsua.trust.policy import Policy, TlsVersion
from sipsua.trust.verdict import Certificate, CertificateRefused, Verdict
from sipsua.trust.verifier import Verification


@dataclass(frozen=True, slots=True)
class Session:
    """A TLS session that can be resumed, and what its handshake found: a resumed one sees no certificate."""

    state: bytes = field(repr=False)
    """OpenSSL's SSL_SESSION in DER. It holds keys."""
    verdict: Verdict
    """Of the handshake that the session is from; always an accepted one."""
    policy: Policy
    """By which the verdict was found: under no other will the session be resumed."""


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
        self._watch = Watch(verification, steps, policy is not None)
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
            connection.set_info_callback(note)

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
        of a pipe with the same server; one of another name or policy is not offered, nor any where the policy does not `resume`. A
        server that does not know it any more shows its certificate as ever.
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
        if session is not None and policy.resume and (session.policy, session.verdict.reference) == (policy, reference):
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
        return Session(bytes(_ffi.buffer(state, size)), self.verdict, self._policy)

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
        return tuple(self._sent())

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

    def _sent(self) -> list[bytes]:
        """The certificates as the peer sent them, DER, leaf first; also after a refusal."""
        return ders(_lib.SSL_get_peer_cert_chain(self._connection._ssl))

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
_RECORD: Final = 16384
"""Octets. The plaintext of a record at most (RFC 8446 section 5.1): what one read of OpenSSL can bring."""
_FLIGHT: Final = 65536
"""Octets. More than any flight of a handshake and most sends, so that one read takes all; freed at once."""
