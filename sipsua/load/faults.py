"""Errors put into classes, so that ten thousand of them are a table of a few lines: whose fault it was, and of what kind.

Every problem code of a Verdict, every alert, every status and every time-out is a class of its own; names, addresses and numbers of the
single case are not in it. One whole example of each class goes beside.
"""

from __future__ import annotations

from sipsua.errors import (
    CredentialsRefused,
    FlowLost,
    HandshakeFailed,
    IdentityRefused,
    NoAnswer,
    Refused,
    SipsuaError,
    Unreachable,
    Untrusted,
)

_CLASSES: tuple[tuple[type[SipsuaError], str], ...] = (
    (Untrusted, "certificate refused"),
    (IdentityRefused, "our certificate refused"),
    (HandshakeFailed, "handshake failed"),
    (FlowLost, "flow lost"),
    (Unreachable, "unreachable"),
    (NoAnswer, "no answer"),
    (CredentialsRefused, "credentials refused"),
    (Refused, "refused"),
)
"""In this order: a refused certificate of ours is a failed handshake and a lost flow, too."""


def error_class(error: SipsuaError) -> str:
    """The class of an error, such as `certificate refused: expired` or `refused: status 403`."""
    words = next((words for kind, words in _CLASSES if isinstance(error, kind)), type(error).__name__)
    return f"{words}: {error.kind}" if error.kind else words
