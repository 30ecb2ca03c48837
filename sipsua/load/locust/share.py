"""Which phones of the plan are a worker's: two workers of one master never register the same account.

A Locust master says how many users each worker shall have, and not which. It numbers its workers, from 0 in the order in which they first
came, and no number comes twice. So phone N is of the worker whose number is N modulo `shares`, and `shares` is `--expect-workers`, which
the master tells all workers alike. A worker whose number is above that has no phones.
"""

from __future__ import annotations

from collections import deque


class Share:
    """A worker's phones: those in use, and those that are free."""

    def __init__(self, number: int, shares: int, phones: int) -> None:
        """Of `phones` phones those of worker `number`; it must be less than `shares`."""
        self.size = len(range(number, phones, shares))
        """How many phones it has."""
        self._fresh = iter(range(number, phones, shares))
        self.used: list[int] = []
        """Phones in use, in the order in which they came."""
        self._back: deque[int] = deque()

    def __len__(self) -> int:
        """Phones in use."""
        return len(self.used)

    def take(self) -> int | None:
        """Put a phone to use: one that never was, else the one that has rested longest (the registrar may still be about to remove the
        others' bindings). None where all are in use."""
        phone = next(self._fresh, None)
        if phone is None and self._back:
            phone = self._back.popleft()
        if phone is not None:
            self.used.append(phone)
        return phone

    def release(self) -> int:
        """Take the phone out of use that came last."""
        phone = self.used.pop()
        self._back.append(phone)
        return phone
