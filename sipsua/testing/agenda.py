"""What is due when: one heap of times for all that waits at the pocket PBX, so that the loop needs one timer and not one for each call.

Most waits end before their time, and a wait that is moved back is moved back often (Timer C by each 180). So nothing is searched for or
taken out: an item says by its own `deadline` when it is really due, and an entry that comes up too early is put back or dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Protocol


class Item(Protocol):
    """What waits."""

    deadline: float | None
    """When it is due, on the clock of `now`; None while nothing is."""


class Agenda:
    """The waits of one PBX."""

    __slots__ = ("_heap", "_number")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def deadline(self) -> float | None:
        """When `due` is to be called next; it may turn out that nothing is due then."""
        return self._heap[0][0] if self._heap else None

    def set(self, item: Item, at: float) -> None:
        """The item is due at this time, whenever it was before."""
        before, item.deadline = item.deadline, at
        if before is not None and before <= at:
            return  # its entry comes up before, and is put back then
        self._number += 1
        heappush(self._heap, (at, self._number, item))

    def due(self, now: float) -> Iterator[Item]:
        """The items whose time has come, each once; their deadlines are None from then on."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, number, item = heappop(heap)
            deadline = item.deadline
            if deadline is None:
                continue
            if deadline > now:
                heappush(heap, (deadline, number, item))
            else:
                item.deadline = None
                yield item
