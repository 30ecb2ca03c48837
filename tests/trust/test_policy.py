"""A policy is held to its types when it is made, so that nothing trips over it in a handshake."""

from __future__ import annotations

from typing import Any

import pytest

from sipsua.errors import BadConfiguration
from sipsua.trust.policy import NameRule, Policy, TlsVersion
from sipsua.trust.store import TrustList

NOBODY = TrustList.empty()


def test_a_name_rule_and_a_version_may_be_given_by_value() -> None:
    policy = Policy(anchors=NOBODY, names="off", minimum=0x0304)  # type: ignore[arg-type]
    assert policy.names is NameRule.OFF
    assert policy.minimum is TlsVersion.TLS1_3
    assert policy == Policy(anchors=NOBODY, names=NameRule.OFF, minimum=TlsVersion.TLS1_3)


@pytest.mark.parametrize("names", ["rfc1", "", None, 5, []])
def test_an_unknown_name_rule_is_refused_with_all_that_there_are(names: Any) -> None:
    with pytest.raises(BadConfiguration) as caught:
        Policy(anchors=NOBODY, names=names)
    assert caught.value.what == "Policy: names is no NameRule"
    assert caught.value.fix == "choose from rfc2818, rfc5922, rfc6125, rfc9525, off"


@pytest.mark.parametrize("minimum", [True, "TLSv1.2", 0x0300, None])
def test_an_unknown_version_is_refused_with_all_that_there_are(minimum: Any) -> None:
    with pytest.raises(
        BadConfiguration, match=r"minimum is no TlsVersion \(choose from TLSv1, TLSv1\.1, TLSv1\.2, TLSv1\.3\)"
    ):
        Policy(anchors=NOBODY, minimum=minimum)


@pytest.mark.parametrize(
    ("settings", "what", "wanted"),
    [
        ({"anchors": "ca.pem"}, "anchors cannot be of type str", "TrustList"),
        ({"anchors": [NOBODY]}, "anchors cannot be of type list", "TrustList"),
        ({"identity": "phone.pem"}, "identity cannot be of type str", "Identity | None"),
        ({"dangerous_accept_any_certificate": "no"}, "dangerous_accept_any_certificate cannot be of type str", "bool"),
        ({"dangerous_accept_any_certificate": 1}, "dangerous_accept_any_certificate cannot be of type int", "bool"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_type(settings: dict[str, Any], what: str, wanted: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        Policy(**{"anchors": NOBODY, **settings})
    assert caught.value.what == f"Policy: {what}"
    assert caught.value.fix == f"give one of type {wanted}"


def test_versions_that_hold_none_are_refused() -> None:
    with pytest.raises(BadConfiguration, match=r"TLS versions from TLSv1\.3 to TLSv1\.2 hold none"):
        Policy(anchors=NOBODY, minimum=TlsVersion.TLS1_3, maximum=TlsVersion.TLS1_2)
