"""The phone's switches become the policy that they mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sipsua.errors import BadConfiguration
from sipsua.phone.settings import Settings
from sipsua.phone.trusting import policy
from sipsua.testing.pki import CertificateAuthority
from sipsua.trust.builtin import built_in_roots
from sipsua.trust.identity import Identity
from sipsua.trust.policy import NameRule, TlsVersion
from sipsua.trust.store import TrustList
from sipsua.trust.verifier import judge

AUTHORITY = CertificateAuthority("Corporate root")
CUSTOM = TrustList.from_pem(AUTHORITY.pem)
NOW = datetime.now(UTC)


def test_the_phones_defaults_trust_both_lists_and_check_no_name() -> None:
    made = policy(Settings(), CUSTOM)
    assert (made.names, len(made.anchors), made.versions) == (NameRule.OFF, 77, "TLSv1.2 to TLSv1.3")
    assert not made.dangerous_accept_any_certificate
    assert made.identity is None


@pytest.mark.parametrize(
    ("ca_cert", "origins"), [(0, {"built-in": 76}), (1, {"custom": 1}), (2, {"built-in": 76, "custom": 1})]
)
def test_you_can_specify_default_certificates_custom_certificates_or_all_certificates(
    ca_cert: int, origins: dict[str, int]
) -> None:
    found = [anchor.origin for anchor in policy(Settings(ca_cert=ca_cert), CUSTOM).anchors]
    assert {origin: found.count(origin) for origin in found} == origins


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [
        ({"ca_cert": 2}, True),
        ({"ca_cert": 1}, True),
        ({"ca_cert": 0}, False),
        ({"ca_cert": 0, "trust_certificates": 0}, True),
    ],
)
def test_the_ip_phone_can_authenticate_the_server_certificate_based_on_the_trusted_certificates_list(
    settings: dict[str, int], accepted: bool
) -> None:
    issued = AUTHORITY.issue("elsewhere.example.com")
    made = policy(Settings(**settings), CUSTOM)  # type: ignore[arg-type]
    assert judge([issued.certificate], policy=made, reference="sip.example.com", at=NOW).accepted is accepted


@pytest.mark.parametrize(("cn_validation", "accepted"), [(0, True), (1, False)])
def test_common_name_validation_mandatorily_validates_the_name_compliant_with_rfc_2818(
    cn_validation: int, accepted: bool
) -> None:
    made = policy(Settings(cn_validation=cn_validation), CUSTOM)
    assert made.names is (NameRule.RFC2818 if cn_validation else NameRule.OFF)
    other, right = AUTHORITY.issue("elsewhere.example.com"), AUTHORITY.issue(common_name="sip.example.com")
    assert judge([other.certificate], policy=made, reference="sip.example.com", at=NOW).accepted is accepted
    assert judge([right.certificate], policy=made, reference="sip.example.com", at=NOW).accepted


def test_without_only_accept_trusted_certificates_any_certificate_is_accepted_and_nothing_verified() -> None:
    made = policy(Settings(trust_certificates=0), TrustList.empty())
    assert made.dangerous_accept_any_certificate
    verdict = judge([AUTHORITY.issue("x").certificate], policy=made, reference="sip.example.com", at=NOW)
    assert verdict.accepted
    assert not verdict.verified


@pytest.mark.parametrize(
    ("method", "old", "versions"),
    [
        (3, False, (TlsVersion.TLS1_2, TlsVersion.TLS1_3)),
        (3, True, (TlsVersion.TLS1_0, TlsVersion.TLS1_3)),
        (5, False, (TlsVersion.TLS1_2, TlsVersion.TLS1_2)),
        (5, True, (TlsVersion.TLS1_2, TlsVersion.TLS1_2)),
        (0, True, (TlsVersion.TLS1_0, TlsVersion.TLS1_0)),
        (4, True, (TlsVersion.TLS1_1, TlsVersion.TLS1_1)),
    ],
)
def test_default_ssl_method_chooses_the_versions(method: int, old: bool, versions: tuple[Any, Any]) -> None:
    made = policy(Settings(default_ssl_method=method), CUSTOM, dangerous_old_tls=old)
    assert (made.minimum, made.maximum) == versions


@pytest.mark.parametrize(("method", "version"), [(0, "TLSv1"), (4, "TLSv1.1")])
def test_old_versions_are_refused_unless_asked_for_as_dangerous(method: int, version: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        policy(Settings(default_ssl_method=method), CUSTOM)
    assert caught.value.what.startswith(f"static.security.default_ssl_method = {method} is {version},")
    assert "dangerous_old_tls" in caught.value.fix


def test_the_phones_certificate_is_shown() -> None:
    issued = AUTHORITY.issue("001565123456")
    identity = Identity.from_pem(issued.chain_pem, issued.key_pem)
    assert policy(Settings(), CUSTOM, identity).identity is identity


def test_ten_thousand_phones_with_lists_of_their_own_hold_one_parsed_copy() -> None:
    parsed = [TrustList.from_pem(AUTHORITY.pem) for _ in range(100)]
    policies = [policy(Settings(), parsed[number % 100]) for number in range(10_000)]
    assert len({id(one.anchors) for one in policies}) == 1
    assert len(set(policies)) == 1
    assert len({policy(Settings(ca_cert=1), one) for one in parsed}) == 1
    assert policy(Settings(ca_cert=0), parsed[0]).anchors is built_in_roots()
