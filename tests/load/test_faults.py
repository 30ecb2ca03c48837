"""Errors that are alike are one class; what is of the single case is not in its name."""

from __future__ import annotations

import pytest

from sipsua.errors import (
    CredentialsRefused,
    Defect,
    FlowLost,
    HandshakeFailed,
    IdentityRefused,
    NoAnswer,
    Refused,
    SipsuaError,
    Unreachable,
)
from sipsua.load.faults import error_class
from sipsua.net.faults import cut_off, flow_fault, handshake_fault, not_tls
from sipsua.testing.pair import refused
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

POLICY = Policy(anchors=TrustList.empty())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused("pbx.example.com"), "certificate refused: unknown_issuer"),
        (
            handshake_fault("a", POLICY, "tlsv1 alert protocol version", shown=False),
            "handshake failed: alert protocol_version",
        ),
        (handshake_fault("a", POLICY, "no shared cipher", shown=False), "handshake failed: no shared cipher"),
        (
            handshake_fault("a", POLICY, "tlsv1 alert unknown ca", shown=True),
            "our certificate refused: alert unknown_ca",
        ),
        (
            flow_fault("a", POLICY, "tlsv13 alert certificate required"),
            "our certificate refused: alert certificate_required",
        ),
        (flow_fault("a", POLICY, "tlsv1 alert internal error"), "flow lost: alert internal_error"),
        (not_tls("a", POLICY, b"HTTP/1.1 400 Bad Request\r\n"), "handshake failed: not TLS but HTTP"),
        (cut_off("a", heard=True, established=False), "handshake failed: closed in the middle"),
        (cut_off("a", heard=True, established=True), "flow lost: closed without close_notify"),
        (IdentityRefused("what"), "our certificate refused"),
        (HandshakeFailed("what", kind="time-out"), "handshake failed: time-out"),
        (FlowLost("what"), "flow lost"),
        (Unreachable("what", kind="Connection refused"), "unreachable: Connection refused"),
        (NoAnswer("what", kind="to REGISTER"), "no answer: to REGISTER"),
        (CredentialsRefused("what", status=401), "credentials refused: status 401"),
        (Refused("what", status=503), "refused: status 503"),
        (Defect("what"), "Defect"),
    ],
)
def test_class_of_an_error(error: SipsuaError, expected: str) -> None:
    assert error_class(error) == expected
