"""Accounts for the tests of this room: one way to make a config, one way to make a pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sipsua.account.config import AccountConfig
from sipsua.testing.pair import AccountPair
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

PASSWORD = "hunter2-Grüße"


@pytest.fixture(scope="session")
def make_config() -> Callable[..., AccountConfig]:
    """A function from what differs to an AccountConfig."""

    def make(**changes: Any) -> AccountConfig:
        settings: dict[str, Any] = {
            "uri": "sips:alice@pbx.example.com",
            "policy": Policy(anchors=TrustList.empty()),
            "password": PASSWORD,
            **changes,
        }
        return AccountConfig(**settings)

    return make


@pytest.fixture(scope="session")
def make_pair(make_config: Callable[..., AccountConfig]) -> Callable[..., AccountPair]:
    """A function from what differs in the config to an AccountPair."""
    return lambda **changes: AccountPair(make_config(**changes))
