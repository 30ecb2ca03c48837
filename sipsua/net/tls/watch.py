"""What OpenSSL tells and asks in the middle of a handshake: certificates to judge, staples, alerts, steps.

All contexts have the same few callbacks. They find what they need in the app data of their connection, a `Watch`, so nothing leaks from one
connection to another, and no callback is made per connection.

What OpenSSL does and this file counts on, each seen by running it (OpenSSL 4.0.3) and held by a test:
- A refusal by the verify callback ends the handshake with the alert that belongs to the refused error: unknown_ca (48),
  certificate_expired (45). Where there is no error, as for a name that our own matcher refuses in a good chain, it is
  internal_error (80), which misleads whoever reads the server's log. So `_judge` makes that error X509_V_ERR_HOSTNAME_MISMATCH,
  which goes out as bad_certificate (42, RFC 8446 section 6.2), or another one that fits.
- A refusal by the status callback goes out as bad_certificate_status_response (113, RFC 6066 section 8).
- An info callback that is set in the middle of a handshake is called for the alert. So the alert that is sent is known
  without a callback for every step of every handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from sipsua.errors import Defect
from sipsua.trust.policy import TlsVersion
from sipsua.trust.verifier import Verification

Steps = Callable[[str], None]
"""Takes the messages of a handshake, one by one, as they are sent or received. Must not raise."""


class Watch:
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
    watch: Watch = connection.get_app_data()
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
        errno = 0 if ok else _lib.X509_STORE_CTX_get_error(store)
        try:
            accepted = watch.verification.callback(connection, der(pointer), errno, depth, ok)
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
        connection.set_info_callback(note)
    return 0


def _take_staple(ssl: Any, _argument: Any) -> int:
    """The status callback of all client contexts, RFC 6066 section 8: 1 goes on, 0 refuses with bad_certificate_status_response.

    OpenSSL calls it once the chain is accepted, also where the server stapled nothing.
    """
    connection = SSL.Connection._reverse_mapping[ssl]
    watch: Watch = connection.get_app_data()
    if _lib.SSL_session_reused(ssl) == 1:
        return 1  # TLS 1.3 calls it also where no certificate is shown, and so none is vouched for
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
        connection.set_info_callback(note)
    return 0


def _judge_client(ok: int, store: Any) -> int:
    """The verify callback where we are the server: OpenSSL's answer stands, and what it refuses is kept to be explained.

    After a refusal OpenSSL forgets what a client has shown, so the path that it had built by then is kept here.
    """
    answer = _judge(ok, store)
    if not answer:
        path = _lib.X509_STORE_CTX_get1_chain(store)
        shown = ders(path)
        for index in range(len(shown)):
            _lib.X509_free(_lib.sk_X509_value(path, index))
        _lib.sk_X509_free(path)
        connection = SSL.Connection._reverse_mapping[_lib.X509_STORE_CTX_get_ex_data(store, _SSL_OF_STORE)]
        watch: Watch = connection.get_app_data()
        watch.client_refused = (
            shown,
            _lib.X509_STORE_CTX_get_error(store),
            _lib.X509_STORE_CTX_get_error_depth(store),
        )
    return answer


def note(connection: SSL.Connection, where: int, value: int) -> None:
    """The info callback: notes the alert that is sent, and tells the steps where they are asked for."""
    watch: Watch = connection.get_app_data()
    if where & SSL.SSL_CB_ALERT:
        if where & SSL.SSL_CB_WRITE and value >> 8 == _FATAL:
            watch.alert_sent = value & 0xFF
    elif where & SSL.SSL_CB_HANDSHAKE_DONE:
        watch.steps = None  # what follows, such as tickets, is no longer the handshake
    elif where & SSL.SSL_CB_LOOP and watch.steps is not None:
        _tell(connection, watch, connection.get_state_string())


def _tell(connection: SSL.Connection, watch: Watch, state: bytes) -> None:
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


def ders(stack: Any) -> list[bytes]:
    """The certificates of an OpenSSL stack, DER; none where there is no stack."""
    return [der(_lib.sk_X509_value(stack, index)) for index in range(_lib.sk_X509_num(stack))] if stack else []


def der(certificate: Any) -> bytes:
    """A certificate of OpenSSL's as DER, without the objects that pyOpenSSL would make of it: 2 µs and not 9, several times a handshake."""
    bio = _lib.BIO_new(_lib.BIO_s_mem())
    try:
        if _lib.i2d_X509_bio(bio, certificate) != 1:
            raise Defect("OpenSSL did not write a certificate that it has read")
        begin = _ffi.new("char **")
        size = _lib.BIO_get_mem_data(bio, begin)
        return bytes(_ffi.buffer(begin[0], size))
    finally:
        _lib.BIO_free(bio)


_lib: Final[Any] = Binding.lib
_ffi: Final[Any] = Binding.ffi
_SSL_OF_STORE: Final = _lib.SSL_get_ex_data_X509_STORE_CTX_idx()
_X509_V_OK: Final = 0
VERIFY_SERVER: Final = _ffi.callback("int (*)(int, X509_STORE_CTX *)", _judge, error=0)
"""The verify callback of a client's context."""
VERIFY_CLIENT: Final = _ffi.callback("int (*)(int, X509_STORE_CTX *)", _judge_client, error=0)
"""That of a server's."""
TAKE_STAPLE: Final = _ffi.callback("int (*)(SSL *, void *)", _take_staple, error=0)
"""The status callback of a client's context."""
_READ_SERVER_CERTIFICATE: Final = b"SSLv3/TLS read server certificate"
_READ_CLIENT_CERTIFICATE: Final = b"SSLv3/TLS read client certificate"
_REQUESTS: Final = frozenset({"server certificate request", "certificate request"})
_FATAL: Final = 2  # AlertLevel, RFC 8446 section 6

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
