"""The arrows between the rooms, as import-linter contracts.

import-linter's own contracts stop when a module they name is not there, and forbid where this house allows. These two read the house
rules as they are written in the design, one line a room, and hold them before a room is built as well as after. Both look at direct
imports only: that `net` reaches `sip` through `account` is what the arrows are for.

The tables are in pyproject.toml; tests/test_house.py proves that each can fail.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

HOUSE = "sipsua"


def within(module: str, places: Iterable[str]) -> bool:
    """Whether `module` is one of `places` or inside it. All are dotted names below the house; `*` is every place."""
    return any(place == "*" or module == place or module.startswith(f"{place}.") for place in places)


def imports(graph: ImportGraph) -> Iterator[tuple[str, str, str]]:
    """Each direct import made by a module of a room: (importer without `sipsua.`, imported, where). `sipsua` itself only exports names."""
    for module in sorted(graph.find_descendants(HOUSE)):
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            details = graph.get_import_details(importer=module, imported=imported)
            lines = ", ".join(str(detail["line_number"]) for detail in details)
            yield module.removeprefix(f"{HOUSE}."), imported, f"{module} -> {imported} (l.{lines})"


class BreachContract(Contract):
    """A contract whose failures are lines of text."""

    @abstractmethod
    def breaches(self, graph: ImportGraph) -> Iterator[str]:
        """One line for each thing that the contract refuses."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        found = list(self.breaches(graph))
        return ContractCheck(kept=not found, metadata={"breaches": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for breach in check.metadata["breaches"]:
            output.print_error(f"- {breach}", bold=False)
        output.new_line()


class ArrowsContract(BreachContract):
    """Which modules of the house each room may import: lines of `room -> module, module`, `*` for all.

    A room without a line is refused, and so is a line that points at a room above its own.
    """

    arrows = fields.ListField(subfield=fields.StringField())

    def breaches(self, graph: ImportGraph) -> Iterator[str]:
        allowed: dict[str, list[str]] = {}
        for line in reversed(cast("list[str]", self.arrows)):
            room, _, targets = (part.strip() for part in line.partition("->"))
            allowed[room] = [target for target in map(str.strip, targets.split(",")) if target]
            yield from (
                f"the arrow {room} -> {target} does not point down"
                for target in allowed[room]
                if target != "*" and (target.partition(".")[0] == room or target.partition(".")[0] not in allowed)
            )
        for child in sorted(graph.find_children(HOUSE)):
            if child.removeprefix(f"{HOUSE}.") not in allowed:
                yield f"{child} has no arrow"
        for importer, imported, where in imports(graph):
            room = importer.partition(".")[0]
            if imported == HOUSE and allowed.get(room) != ["*"]:
                yield f"{where}: the top module imports every room"
            elif imported.startswith(f"{HOUSE}.") and not within(
                imported.removeprefix(f"{HOUSE}."), [room, *allowed.get(room, [])]
            ):
                yield where


class ConfinedContract(BreachContract):
    """Outside packages that only the named modules of the house may import."""

    packages = fields.ListField(subfield=fields.StringField())
    to = fields.ListField(subfield=fields.StringField())

    def breaches(self, graph: ImportGraph) -> Iterator[str]:
        packages, places = cast("list[str]", self.packages), cast("list[str]", self.to)
        for importer, imported, where in imports(graph):
            if imported in packages and not within(importer, places):
                yield where
