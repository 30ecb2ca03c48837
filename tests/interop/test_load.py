"""A load run against a real Kamailio: ten thousand phones in the heavy test, two hundred in its twin."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sipsua.load.sample import Sample
from tests.interop.kamailio import Kamailio
from tests.load.test_many import assert_held_twice
from tests.load.whole import group, held_twice, plan_of, run, users


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("phones", "expires", "rate"), [(200, 8, 100), pytest.param(10_000, 60, 150, marks=pytest.mark.heavy)]
)
def test_phones_register_at_kamailio_are_held_with_two_refreshes_each_and_unregister_and_none_is_lost(
    kamailio: Callable[..., Kamailio], authority_file: Path, phones: int, expires: int, rate: float
) -> None:
    pbx = kamailio(users=users(phones), max_connections=phones + 300, memory_mb=64 + phones // 10)
    seen: list[tuple[int, int]] = []

    def look(sample: Sample) -> None:
        # Kamailio counts whole seconds: a binding may just have ended when a busy machine was late with its refresh, and stands again then.
        if sample.phase == 1 and (phones, phones) not in seen:
            seen.append((pbx.registered(), pbx.connected()))

    plan = plan_of(pbx.port, authority_file, group(phones, expires=expires), phases=held_twice(phones, expires, rate))
    results = run(plan, look)
    assert_held_twice(results, phones)
    assert (phones, phones) in seen, seen
    assert pbx.registered() == 0
    deadline = time.monotonic() + 20
    while pbx.connected():  # it needs a moment for its end of each flow
        assert time.monotonic() < deadline
        time.sleep(0.1)
