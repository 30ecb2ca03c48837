"""What goes wrong on the wire: servers whose certificate is good, and what they do with it is not.

A behaviour is a function of one `Visit`. The ones that break off in the middle of a handshake take the records that a sound server would
have sent, and send some of them: so up to that point all is as it should be. Where the stage counts, TLS 1.2 is spoken, whose handshake
can be seen; a client that is good at 1.3 only is not the one that these are for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from sipsua.testing.bad_case import Behaviour, Case, Kind, Must, Setup, Site, good, good_tls12
from sipsua.testing.visit import Visit


def silence(visit: Visit) -> None:
    """Never a word."""


def says(text: bytes) -> Behaviour:
    """Read what comes first, answer so, and end."""

    def behave(visit: Visit) -> None:
        visit.read()
        visit.send(text)
        visit.end_sending()

    return behave


def greets(text: bytes) -> Behaviour:
    """Speak first, as servers of other protocols do."""
    return lambda visit: visit.send(text)


def sends(octets: bytes) -> Behaviour:
    """Read the ClientHello and answer with these octets; the client has to hang up."""

    def behave(visit: Visit) -> None:
        visit.read()
        visit.send(octets)

    return behave


def one_octet(interval: float) -> Behaviour:
    """Send what a sound server would answer to the ClientHello, an octet every `interval` seconds."""

    def behave(visit: Visit) -> None:
        for octet in chain.from_iterable(visit.first_flight()):
            visit.send(bytes([octet]))
            if visit.closing.wait(interval):
                break

    return behave


def broken_off(message: int, end: Callable[[Visit], None]) -> Behaviour:
    """Send the flight of TLS 1.2 up to the handshake message of this type (RFC 5246 section 7.4), then `end`."""

    def behave(visit: Visit) -> None:
        for record in visit.first_flight():
            visit.send(record)
            if record[5] == message:
                break
        end(visit)

    return behave


def after_hello(end: Callable[[Visit], None]) -> Behaviour:
    """Read the ClientHello, then `end`, as a firewall does that looks at the server name."""

    def behave(visit: Visit) -> None:
        visit.read()
        end(visit)

    return behave


def after_handshake(end: Callable[[Visit], None]) -> Behaviour:
    """A good handshake, then `end`."""

    def behave(visit: Visit) -> None:
        visit.handshake()
        end(visit)

    return behave


def changed(message: int, change: Callable[[bytes], bytes]) -> Behaviour:
    """Send the flight of TLS 1.2 with the body of the message of this type changed; `change` keeps the length."""

    def behave(visit: Visit) -> None:
        for record in visit.first_flight():
            if record[5] == message:
                record = record[:9] + change(record[9:])
            visit.send(record)

    return behave


def garbage_certificate(body: bytes) -> bytes:
    """A Certificate message whose first certificate has the length that it says, and is no DER."""
    end = 6 + int.from_bytes(body[3:6], "big")
    return body[:6] + b"\xa5" * (end - 6) + body[end:]


def garbage_after_server_hello(visit: Visit) -> None:
    """The ServerHello of TLS 1.3, and then records that are not encrypted with its keys."""
    visit.send(visit.first_flight()[0])
    visit.send(_record(23, b"\xa5" * 200))


def flood(record: bytes) -> Callable[[Visit], None]:
    """Send this record a thousand times."""
    return lambda visit: visit.send(record * 1000)


def close_notify(visit: Visit) -> None:
    """close_notify, then FIN: the orderly end."""
    visit.send_close_notify()
    visit.end_sending()


def _record(content: int, octets: bytes, length: int | None = None) -> bytes:
    """A TLS record (RFC 8446 section 5.1) of a content type; its length may be a lie."""
    return bytes([content, 3, 3]) + (len(octets) if length is None else length).to_bytes(2, "big") + octets


def _alert(description: int) -> bytes:
    return _record(21, bytes([2, description]))


_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 51\r\nConnection: close\r\n\r\n"
    b"<html><body><h1>400 Bad Request</h1></body></html>\r\n"
)
_SIP = b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n"

_SERVER_HELLO, _CERTIFICATE = 2, 11

_CUT = Must(exit_codes=(12,))


def _wire(name: str, what: str, behave: Behaviour, must: Must = _CUT, make: Callable[[Site], Setup] = good) -> Case:
    return Case(name=name, what=what, kind=Kind.HANDSHAKE, make=make, behave=behave, must=must)


def _flow(name: str, what: str, end: Callable[[Visit], None], code: int, alert: str | None = None) -> Case:
    return Case(
        name=name,
        what=what,
        kind=Kind.FLOW,
        make=good,
        behave=after_handshake(end),
        must=Must(exit_codes=(code,), alert=alert),
    )


def _refused(alert: str) -> Must:
    return Must(exit_codes=(12,), alert=alert)


BEHAVIOUR_CASES: tuple[Case, ...] = (
    _wire("plain-sip", "SIP without TLS: it takes the ClientHello for a malformed request.", says(_SIP)),
    _wire("plain-http", "A web server without TLS.", says(_HTTP)),
    _wire("plain-ssh", "A server that speaks first, and not TLS: SSH.", greets(b"SSH-2.0-OpenSSH_9.2\r\n")),
    _wire("silence", "It accepts the connection, and never says a word.", silence),
    _wire("one-octet-a-second", "A good handshake, one octet a second.", one_octet(1.0)),
    _wire("close-at-accept", "It closes at once, without waiting for the ClientHello.", Visit.end_sending),
    _wire("close-after-client-hello", "It closes after the ClientHello.", after_hello(Visit.end_sending)),
    _wire(
        "close-after-server-hello",
        "It closes after its ServerHello.",
        broken_off(_SERVER_HELLO, Visit.end_sending),
        make=good_tls12,
    ),
    _wire(
        "close-after-certificate",
        "It closes after its certificate.",
        broken_off(_CERTIFICATE, Visit.end_sending),
        make=good_tls12,
    ),
    _wire(
        "reset-at-accept",
        "It resets the connection at once, as a firewall does.",
        Visit.reset,
        # The reset may come before connect() has returned; then there was no connection.
        Must(exit_codes=(12, 13)),
    ),
    _wire("reset-after-client-hello", "It resets the connection after the ClientHello.", after_hello(Visit.reset)),
    _wire(
        "reset-after-server-hello",
        "It resets the connection after its ServerHello.",
        broken_off(_SERVER_HELLO, Visit.reset),
        make=good_tls12,
    ),
    _wire(
        "reset-after-certificate",
        "It resets the connection after its certificate.",
        broken_off(_CERTIFICATE, Visit.reset),
        make=good_tls12,
    ),
    _wire(
        "silence-after-server-hello",
        "It stops after its ServerHello, and keeps the connection.",
        broken_off(_SERVER_HELLO, silence),
        make=good_tls12,
    ),
    _wire(
        "garbage-server-hello",
        "A handshake record whose ServerHello is garbage.",
        sends(_record(22, b"\x02\x00\x00\x40" + b"\xa5" * 64)),
        _refused("decode_error"),
    ),
    _wire(
        "garbage-in-handshake",
        "A good ServerHello of TLS 1.3, and then a record that was not encrypted with its keys.",
        garbage_after_server_hello,
        _refused("bad_record_mac"),
    ),
    _wire(
        "unknown-content-type",
        "A record of a content type that TLS does not have.",
        sends(_record(99, b"\xa5" * 64)),
    ),
    _wire(
        "oversized-record",
        "A record that says that it is longer than 2^14 + 2048 octets.",
        sends(_record(22, b"\xa5" * 20480)),
        _refused("record_overflow"),
    ),
    _wire(
        "empty-records",
        "A thousand records without content, which cost their sender nothing.",
        after_hello(flood(_record(22, b""))),
        _refused("unexpected_message"),
    ),
    _wire(
        "message-order",
        "A ServerHelloDone where a ServerHello belongs.",
        sends(_record(22, b"\x0e\x00\x00\x00")),
        _refused("unexpected_message"),
    ),
    _wire(
        "data-before-handshake",
        "Application data where a ServerHello belongs.",
        sends(_record(23, _SIP)),
        _refused("unexpected_message"),
    ),
    *(
        _wire(
            f"alert-{name.replace('_', '-')}",
            f"It answers the ClientHello with the alert {name}.",
            sends(_alert(number)),
        )
        for number, name in ((40, "handshake_failure"), (80, "internal_error"), (112, "unrecognized_name"))
    ),
    _wire(
        "certificate-garbage",
        "Its Certificate message holds garbage where DER belongs (TLS 1.2).",
        changed(_CERTIFICATE, garbage_certificate),
        _refused("bad_certificate"),
        make=good_tls12,
    ),
    _flow("tls-then-silence", "A good handshake, and never a word after it.", silence, 16, "close_notify"),
    _flow(
        "tls-then-garbage",
        "A good handshake, then application data that is no SIP.",
        lambda visit: visit.send_in_tls(b"\x00\xff\x16SIP?\r\n\r\n" * 8),
        18,
        "close_notify",
    ),
    _flow(
        "tls-then-broken-record",
        "A good handshake, then a record that was not encrypted with its keys.",
        lambda visit: visit.send(_record(23, bytes(64))),
        18,
        "bad_record_mac",
    ),
    _flow(
        "tls-then-oversized-record",
        "A good handshake, then a record that says that it is longer than 2^14 + 256 octets.",
        lambda visit: visit.send(_record(23, bytes(20480))),
        18,
        "record_overflow",
    ),
    _flow(
        "tls-then-plain-sip",
        "A good handshake, then SIP that is not encrypted.",
        lambda visit: visit.send(_SIP),
        18,
        "unexpected_message",
    ),
    _flow(
        "tls-then-empty-records",
        "A good handshake, then a thousand records without content.",
        flood(_record(23, b"")),
        18,
        "bad_record_mac",
    ),
    _flow(
        "tls-then-close",
        "A good handshake, then the orderly end: close_notify and FIN.",
        close_notify,
        18,
        "close_notify",
    ),
    _flow(
        "tls-then-fin",
        "A good handshake, then a FIN without close_notify, which anybody on the way can forge.",
        Visit.end_sending,
        18,
    ),
    _flow("tls-then-reset", "A good handshake, then the connection is reset.", Visit.reset, 18),
)
