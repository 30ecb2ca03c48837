"""Many phones in one process against the pocket PBX in another: each on its own flow, all locked, refreshed, unregistered, none lost."""

from __future__ import annotations

import asyncio

import pytest

from sipsua.testing.pbx_process import PbxProcess
from tests.bench.fleet import hold
from tests.bench.phones import users


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("count", "expires"), [(200, 3), pytest.param(5000, 60, marks=pytest.mark.heavy)], ids=["small", "whole"]
)
def test_fleet_is_locked_refreshed_and_unregistered_and_none_is_lost(count: int, expires: int) -> None:
    with PbxProcess(users(count)) as pbx:
        seen = asyncio.run(hold(count, pbx.port, pbx.ca_pem, expires))
        left = pbx.counts()
    assert (seen["locked"], seen["refreshed"], seen["unregistered"]) == (count, count, count)
    assert seen["lost"] == 0
    assert (left.bound, left.failures) == (0, ())
