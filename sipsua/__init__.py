"""A fleet of IP phones in asyncio: accounts that register over TLS, verify the server's certificate, and say when they are locked.

These are the names a program imports. Each is fetched from its room when it is first asked for: `import sipsua` alone costs nothing, so
`sipsua --help` does not wait for OpenSSL and asyncio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sipsua.account.config import AccountConfig as AccountConfig
    from sipsua.account.config import Connection as Connection
    from sipsua.account.config import Limits as Limits
    from sipsua.account.inbound import InboundLimits as InboundLimits
    from sipsua.account.persona import GENERIC as GENERIC
    from sipsua.account.persona import YEALINK as YEALINK
    from sipsua.account.persona import Persona as Persona
    from sipsua.errors import BadConfiguration as BadConfiguration
    from sipsua.errors import CredentialsRefused as CredentialsRefused
    from sipsua.errors import Defect as Defect
    from sipsua.errors import FlowLost as FlowLost
    from sipsua.errors import HandshakeFailed as HandshakeFailed
    from sipsua.errors import IdentityRefused as IdentityRefused
    from sipsua.errors import Lost as Lost
    from sipsua.errors import MalformedMessage as MalformedMessage
    from sipsua.errors import Misuse as Misuse
    from sipsua.errors import NoAnswer as NoAnswer
    from sipsua.errors import Refused as Refused
    from sipsua.errors import SipsuaError as SipsuaError
    from sipsua.errors import Unreachable as Unreachable
    from sipsua.errors import Untrusted as Untrusted
    from sipsua.events import Lock as Lock
    from sipsua.events import LockState as LockState
    from sipsua.net.listen import Listener as Listener
    from sipsua.trust.crl import CrlList as CrlList
    from sipsua.trust.identity import Identity as Identity
    from sipsua.trust.policy import NameRule as NameRule
    from sipsua.trust.policy import Policy as Policy
    from sipsua.trust.policy import Revocation as Revocation
    from sipsua.trust.policy import TlsVersion as TlsVersion
    from sipsua.trust.store import TrustList as TrustList
    from sipsua.trust.verdict import CertificateRefused as CertificateRefused
    from sipsua.trust.verdict import Problem as Problem
    from sipsua.trust.verdict import ProblemCode as ProblemCode
    from sipsua.trust.verdict import Verdict as Verdict
    from sipsua.ua.user_agent import UserAgent as UserAgent

_ROOMS = {
    "sipsua.account.config": ("AccountConfig", "Connection", "Limits"),
    "sipsua.account.inbound": ("InboundLimits",),
    "sipsua.account.persona": ("GENERIC", "YEALINK", "Persona"),
    "sipsua.errors": (
        "BadConfiguration",
        "CredentialsRefused",
        "Defect",
        "FlowLost",
        "HandshakeFailed",
        "IdentityRefused",
        "Lost",
        "MalformedMessage",
        "Misuse",
        "NoAnswer",
        "Refused",
        "SipsuaError",
        "Unreachable",
        "Untrusted",
    ),
    "sipsua.events": ("Lock", "LockState"),
    "sipsua.net.listen": ("Listener",),
    "sipsua.trust.crl": ("CrlList",),
    "sipsua.trust.identity": ("Identity",),
    "sipsua.trust.policy": ("NameRule", "Policy", "Revocation", "TlsVersion"),
    "sipsua.trust.store": ("TrustList",),
    "sipsua.trust.verdict": ("CertificateRefused", "Problem", "ProblemCode", "Verdict"),
    "sipsua.ua.user_agent": ("UserAgent",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sipsua' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
