"""Whom the phone trusts: its switches, lists and certificate as the one value that the network side understands.

The phone's defaults are weaker than sipsua's own: the name in a server's certificate is not compared unless `cn_validation` is on. That is
how these phones are, and to emulate them is what this room is for.
"""

from __future__ import annotations

from sipsua.errors import BadConfiguration
from sipsua.phone.settings import PARAMETERS, Settings
from sipsua.trust.builtin import built_in_roots
from sipsua.trust.identity import Identity
from sipsua.trust.policy import NameRule, Policy, TlsVersion
from sipsua.trust.store import TrustList


def policy(
    settings: Settings, custom: TrustList, identity: Identity | None = None, *, dangerous_old_tls: bool = False
) -> Policy:
    """The phone's TLS side: its settings, its list of custom certificates, and the certificate that it shows.

    With `default_ssl_method` 3 the versions are TLS 1.2 and 1.3; 1.0 and 1.1 too, as on the phone, only with `dangerous_old_tls`. Without
    it, 0 (TLS 1.0) and 4 (TLS 1.1) raise BadConfiguration. Phones with the same settings and certificates share one trust list.
    """
    versions = _VERSIONS[settings.default_ssl_method]
    if settings.default_ssl_method == 3 and not dangerous_old_tls:
        versions = TlsVersion.TLS1_2, TlsVersion.TLS1_3
    minimum, maximum = versions
    if minimum < TlsVersion.TLS1_2 and not dangerous_old_tls:
        parameter = PARAMETERS["default_ssl_method"]
        raise BadConfiguration(
            f"{parameter.name} = {settings.default_ssl_method} is {minimum}, which is not safe any more (RFC 8996)",
            fix="set it to 3 (negotiated) or 5 (TLS 1.2); for a test of old servers say dangerous_old_tls",
        )
    return Policy(
        anchors=_anchors(settings.ca_cert, custom),
        names=NameRule.RFC2818 if settings.cn_validation else NameRule.OFF,
        identity=identity,
        minimum=minimum,
        maximum=maximum,
        dangerous_old_tls=dangerous_old_tls,
        dangerous_accept_any_certificate=not settings.trust_certificates,
    )


def _anchors(ca_cert: int, custom: TrustList) -> TrustList:
    """Guide page 940: "You can specify the type of certificates the IP phone accepts: default certificates, custom certificates or all
    certificates."
    """
    if ca_cert == 0:
        return built_in_roots()
    return TrustList.union(custom) if ca_cert == 1 else TrustList.union(built_in_roots(), custom)


_VERSIONS = {
    0: (TlsVersion.TLS1_0, TlsVersion.TLS1_0),
    3: (TlsVersion.TLS1_0, TlsVersion.TLS1_3),
    4: (TlsVersion.TLS1_1, TlsVersion.TLS1_1),
    5: (TlsVersion.TLS1_2, TlsVersion.TLS1_2),
}
"""The lowest and the highest version that each value of `default_ssl_method` means."""
