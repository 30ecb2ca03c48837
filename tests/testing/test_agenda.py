"""The agenda: each item is due once, at the time that was set last."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sipsua.testing.agenda import Agenda


class Item:
    def __init__(self) -> None:
        self.deadline: float | None = None


def test_items_come_up_in_their_order_and_once() -> None:
    agenda, first, second = Agenda(), Item(), Item()
    agenda.set(second, 2.0)
    agenda.set(first, 1.0)
    assert agenda.deadline == 1.0
    assert list(agenda.due(0.9)) == []
    assert list(agenda.due(2.0)) == [first, second]
    assert list(agenda.due(9.0)) == []
    assert agenda.deadline is None


def test_an_item_that_is_let_go_never_comes_up() -> None:
    agenda, item = Agenda(), Item()
    agenda.set(item, 1.0)
    item.deadline = None
    assert list(agenda.due(5.0)) == []
    assert len(agenda) == 0


def test_an_item_may_be_set_anew_while_it_is_due() -> None:
    agenda, item = Agenda(), Item()
    agenda.set(item, 1.0)
    for due in agenda.due(1.0):
        agenda.set(due, 3.0)
    assert list(agenda.due(2.9)) == []
    assert list(agenda.due(3.0)) == [item]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 20)), st.integers(0, 3)), max_size=60))
def test_whatever_is_set_moved_and_let_go_each_is_due_when_it_says(steps: list[tuple[int, int | None, int]]) -> None:
    agenda, items, now = Agenda(), [Item() for _ in range(5)], 0
    wanted: dict[int, int] = {}
    for number, after, passing in steps:
        if after is None:
            items[number].deadline = None
            wanted.pop(number, None)
        else:
            agenda.set(items[number], float(now + after))
            wanted[number] = now + after
        now += passing
        expected = {key for key, at in wanted.items() if at <= now}
        earliest = agenda.deadline
        assert all(earliest is not None and earliest <= at for at in wanted.values())
        assert {items.index(item) for item in agenda.due(float(now))} == expected  # type: ignore[arg-type]
        for key in expected:
            del wanted[key]
