"""A plan from its file: TOML, checked, and every mistake told with its line.

Beside what the values must be, the files that a plan names must be there; what they hold is looked at when the phones are made from it
(`sipsua.load.population`).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from sipsua.errors import BadConfiguration
from sipsua.load import lines
from sipsua.load.complaint import complaints, field, keys_at
from sipsua.load.files import Files, missing
from sipsua.load.lines import Lines
from sipsua.load.mistakes import FIX, Mistakes, meant, sentence
from sipsua.load.plan import CertificateSettings, Plan, TrustSettings
from sipsua.trust.store import path_text, read_file


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan in a file, whose relative paths are relative to that file.

    Raises BadConfiguration, with a line for each mistake: file, line, field, and what would be right.
    """
    name = path_text(path)
    data = read_file(name, too_large="a plan has some kilobytes: see whether this is the right file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        # `from None`: the error quotes the whole file, passwords and all.
        raise BadConfiguration(f"{name}:{line}: this is no UTF-8 text", fix="save the file as UTF-8") from None
    return parse_plan(text, name, Path(name).parent)


def parse_plan(text: str, origin: str = "plan", directory: Path = Path()) -> Plan:
    """The plan in a text. `origin` is what it is called in errors, `directory` what its paths are relative to.

    Raises BadConfiguration like `read_plan`.
    """
    # The mark that some editors begin a file with is no part of it.
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    document = _document(text, origin)
    faults: list[tuple[lines.Path, str]] = []
    if document.pop("directory", None) is not None:
        faults.append((("directory",), meant("directory", keys_at(("directory",)))))
    try:
        # By way of JSON: only so has pydantic a strict mode that takes lists for tuples and texts for paths, and "5" for no number.
        plan = Plan.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        faults += complaints(error)
    except (ValueError, RecursionError):
        raise _boundless(origin) from None
    else:
        plan = plan.model_copy(update={"directory": directory})
        faults += _absent(plan)
        if not faults:
            return plan
    places = Lines(text)
    mistakes = Mistakes()
    for path, what in sorted(faults, key=lambda fault: places.of(fault[0])):
        mistakes.add(": ".join(filter(None, (f"{origin}:{places.of(path)}", field(path)))), what)
    raise mistakes.error()


def _document(text: str, origin: str) -> dict[str, object]:
    """What is in the text, unchecked."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        what = found[1] if found is not None else str(error)
        line, column = (found[2], found[3]) if found is not None and found[2] else (text.count("\n") + 1, "")
        hint = next((hint for begin, hint in _HINTS if what.startswith(begin)), "")
        mistakes = Mistakes()
        mistakes.add(
            f"{origin}:{line}",
            f"this is no TOML{f', at column {column}' if column else ''}: {what}{f': {hint}' if hint else ''}",
        )
        raise mistakes.error() from None
    except (ValueError, RecursionError):
        raise _boundless(origin) from None


def _boundless(origin: str) -> BadConfiguration:
    """Python itself refuses numbers of thousands of digits, and lists in thousands of lists."""
    return BadConfiguration(f"{origin}: a number or a list in it is out of all bounds", fix=FIX)


_HINTS = (
    ("Invalid value", "texts stand in quotes, true and false are in small letters"),
    ("Expected '='", "write key = value"),
    ("Cannot overwrite", "the key or the section is there twice"),
    ("Cannot declare", "the section is there twice: one that may be repeated has [[ ]]"),
    ("Unescaped '\\'", "write \\\\, or the text in '...'"),
)


def _absent(plan: Plan) -> Iterator[tuple[lines.Path, str]]:
    """The files that the plan names and that are not there."""
    files = Files(plan.directory)
    for path, name, directory in _named(plan):
        fault = missing(files.path(name), directory=directory)
        if fault is not None:
            yield path, sentence(fault)


def _named(plan: Plan) -> Iterator[tuple[lines.Path, str | Path, bool]]:
    """Where the plan names a file, or a directory."""
    yield from _of_trust(("trust",), plan.trust)
    yield from _of_certificate(("certificate",), plan.certificate)
    for number, group in enumerate(plan.phones):
        place: lines.Path = ("phones", number)
        if group.csv is not None:
            yield (*place, "csv"), group.csv, False
        yield from _of_trust((*place, "trust"), group.trust)
        yield from _of_certificate((*place, "certificate"), group.certificate)


def _of_trust(place: lines.Path, trust: TrustSettings | None) -> Iterator[tuple[lines.Path, Path, bool]]:
    if trust is not None:
        for key, names in (("ca", trust.ca), ("crl", trust.crl)):
            for index, name in enumerate(names):
                yield (*place, key, index), name, False


def _of_certificate(
    place: lines.Path, certificate: CertificateSettings | None
) -> Iterator[tuple[lines.Path, str | Path, bool]]:
    if certificate is None:
        return
    if certificate.manufacturer is not None:
        yield (*place, "manufacturer"), certificate.manufacturer, True
    if certificate.file is not None and not set(certificate.file) & set("{}"):
        yield (*place, "file"), certificate.file, False
