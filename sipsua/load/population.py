"""The phones of a plan by number: their accounts, made when they are asked for.

A phone is a number from 0; the groups follow each other in the plan's order. Everything that can be wrong with the plan's files, patterns
and texts is found when a `Population` is made, and told at once; then an account costs some 50 us, and nothing is kept for it. What
phones share (policies, trust lists, limits) is one object for all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from sipsua.account.config import AccountConfig, Limits, without_password
from sipsua.load.files import Files
from sipsua.load.group import Group
from sipsua.load.making import make_group
from sipsua.load.mistakes import Mistakes
from sipsua.load.muster import make_certificates, muster
from sipsua.load.plan import Plan


class Population:
    """All phones of a plan."""

    __slots__ = ("_ends", "_groups")

    def __init__(self, plan: Plan, *, worker: int = 0, workers: int = 1) -> None:
        """Phone i is worker i % workers's. Certificates that the emulated manufacturer has still to make are made now, on all cores, for
        this worker's phones only: some 2 ms each. So whoever starts several workers makes a Population for all phones first.

        Raises BadConfiguration with a line for each mistake: the field, or the row of the CSV, and what would be right.
        """
        mistakes = Mistakes()
        files = Files(plan.directory)
        timeouts = plan.timeouts
        limits = Limits(
            resolve=timeouts.resolve, connect=timeouts.connect, handshake=timeouts.handshake, close=timeouts.close
        )
        made = [make_group(plan, number, files, limits, mistakes) for number in range(len(plan.phones))]
        mistakes.check()
        self._groups = [group for group in made if group is not None]
        self._ends = list(accumulate(group.size for group in self._groups))
        for group, end in zip(self._groups, self._ends, strict=True):
            muster(group, _share(group.size, end - group.size, worker, workers), worker, workers, mistakes)
        mistakes.check()
        for group, end in zip(self._groups, self._ends, strict=True):
            make_certificates(group, _share(group.size, end - group.size, worker, workers), mistakes)
        mistakes.check()

    def __len__(self) -> int:
        return self._ends[-1]

    def config(self, phone: int) -> AccountConfig:
        """The account of a phone. Raises BadConfiguration where the file of its certificate has gone bad since."""
        group, index = self._find(phone)
        return group.config(index)

    def group(self, phone: int) -> str:
        """The name of its group: the plan's, else the pattern or the file that it comes from."""
        return self._find(phone)[0].name

    def label(self, phone: int) -> str:
        """Its address of record, fit for a message."""
        group, index = self._find(phone)
        return without_password(group.uri(group.values(index)))

    def _find(self, phone: int) -> tuple[Group, int]:
        if not 0 <= phone < len(self):
            raise IndexError(phone)
        number = bisect_right(self._ends, phone)
        group = self._groups[number]
        return group, phone - (self._ends[number] - group.size)


def _share(size: int, begin: int, worker: int, workers: int) -> range:
    """By their index in their group, the phones of a worker; the group's first phone has the number `begin`."""
    return range((worker - begin) % workers, size, workers)
