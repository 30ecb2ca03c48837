"""No phone is of two workers, and all are of one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sipsua.load.locust.share import Share


def taken(share: Share) -> list[int]:
    while share.take() is not None:
        pass
    return share.used


@given(shares=st.integers(1, 9), phones=st.integers(0, 50))
def test_shares_have_each_phone_once_and_differ_by_one_at_the_most(shares: int, phones: int) -> None:
    parts = [Share(number, shares, phones) for number in range(shares)]
    assert sorted(phone for part in parts for phone in taken(part)) == list(range(phones))
    assert [part.size for part in parts] == [len(part) for part in parts]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_phone_that_came_last_goes_first_and_rests_longest() -> None:
    share = Share(1, 2, 10)
    assert [share.take() for _ in range(4)] == [1, 3, 5, 7]
    assert [share.release() for _ in range(3)] == [7, 5, 3]
    assert [share.take() for _ in range(5)] == [9, 7, 5, 3, None]
    assert len(share) == share.size == 5
