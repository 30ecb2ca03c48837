"""The names that a program imports from the top are there, and are the rooms' own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sipsua


def exported() -> dict[str, str]:
    """Names and their rooms, as a type checker reads them."""
    tree = ast.parse(Path(sipsua.__file__).read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: node.module or ""
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize(("name", "room"), sorted(exported().items()))
def test_name_is_what_the_type_checker_sees(name: str, room: str) -> None:
    value = getattr(sipsua, name)
    assert value is getattr(sys.modules[room], name)
    assert name in dir(sipsua)


def test_no_name_is_hidden_from_the_type_checker() -> None:
    assert exported().keys() == sipsua._HOME.keys()


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Telephone'"):
        _ = sipsua.Telephone


def test_import_of_the_top_alone_imports_no_room() -> None:
    program = "import sys, sipsua; sys.exit(any(name.startswith('sipsua.') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", program], check=True)
