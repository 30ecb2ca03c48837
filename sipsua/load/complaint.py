"""What pydantic says of a plan, in the words of who wrote it: which value, why not, and what would be right.

Values of passwords are never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sipsua.load.lines import Path
from sipsua.load.mistakes import meant, one_of
from sipsua.load.plan import Plan


def complaints(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Each mistake: its place in the plan, and what is wrong and would be right there; one for each place."""
    told: set[Path] = set()
    for one in error.errors(include_url=False):
        if one["type"] == "too_short" and one["input"]:
            continue  # it is empty because its items are wrong, which is told
        path = _written(one)
        if path not in told:
            told.add(path)
            yield path, f"{_shown(one, path)} {_words(one, path)}".strip()


def field(path: Path) -> str:
    """A path as people write it: `phones[0].trust.ca[1]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def keys_at(location: Path) -> list[str]:
    """The keys that a plan can have beside the last one of a location (as pydantic gives it: a phase's kind is a step of its own)."""
    models: list[type[BaseModel]] = [Plan]
    for step in location[:-1]:
        if isinstance(step, str):
            if len(models) > 1:
                models = [model for model in models if get_args(model.model_fields["do"].annotation) == (step,)]
            else:
                models = list(_models(models[0].model_fields[step].annotation))
    return [key for key in models[0].model_fields if key != "directory"]  # which is where the file is, and not in it


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _written(one: ErrorDetails) -> Path:
    """Pydantic's location without the branches of its unions, which nobody has written."""
    location = one["loc"]
    if location[:1] == ("phases",):
        location = location[:2] + location[3:]
        if one["type"].startswith("union_tag"):
            location += ("do",)
    elif location[2:3] == ("keep_alive",):
        location = location[:3]
    return location


def _shown(one: ErrorDetails, path: Path) -> str:
    """The value, where the words are about it and it may be seen."""
    value = one["input"]
    if one["type"] in _OF_THE_FIELD or path[-1:] in (("password",), ("keep_alive",)):
        return ""
    if path[-1:] == ("do",):
        value = one.get("ctx", {}).get("tag")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict | BaseModel):
        return "a table" if isinstance(value, dict | BaseModel) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_OF_THE_FIELD = frozenset(
    {"extra_forbidden", "missing", "value_error", "too_short", "union_tag_not_found", "json_invalid"}
)


def _words(one: ErrorDetails, path: Path) -> str:
    kind, context = one["type"], one.get("ctx", {})
    if path[-1:] == ("keep_alive",) and kind != "value_error":
        return "give two numbers of seconds, the shorter first, such as [95, 120], or false"
    match kind:
        case "extra_forbidden":
            return meant(str(path[-1]), keys_at(one["loc"]))
        case "missing":
            return f"is missing: {_MISSING.get(str(path[-1]), 'give a number')}"
        case "value_error":
            return str(context["error"])
        case "literal_error" | "enum" | "union_tag_invalid":
            allowed = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
            return f"is not known: {one_of(allowed)}"
        case "union_tag_not_found":
            return f"is missing: {one_of(_phases())}"
        case "greater_than":
            return f"is too small: give more than {_number(context['gt'])}"
        case "greater_than_equal":
            return f"is too small: give {_number(context['ge'])} or more"
        case "less_than_equal":
            return f"is too large: give {_number(context['le'])} at most"
        case "too_short":
            return "is empty: give at least one"
        case "json_invalid":
            return "it is nested too deep, or holds half a surrogate pair"
    return _TYPES.get(kind, f"cannot be taken: {one['msg']}")


def _phases() -> list[str]:
    return [
        get_args(model.model_fields["do"].annotation)[0] for model in _models(Plan.model_fields["phases"].annotation)
    ]


def _number(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


_TABLE = "is no table: write { key = value }, or a section in brackets"
_TYPES = {
    "string_type": "is no text: write it in quotes",
    "path_type": "is no text: write it in quotes",
    "int_type": "is no whole number: write it without quotes and point",
    "int_parsing": "is no whole number: write it without quotes and point",
    "int_from_float": "is no whole number: write it without quotes and point",
    "float_type": "is no number: write it without quotes",
    "float_parsing": "is no number: write it without quotes",
    "finite_number": "is no finite number: leave the key out where it has a default",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "tuple_type": "is no list: write [ ] around it, or [[ ]] around a section's name",
    "model_type": _TABLE,
    "dict_type": _TABLE,
    "model_attributes_type": _TABLE,
}
_MISSING = {
    "phones": 'give at least one section [[phones]], with users = "1000-1999" or csv = FILE',
    "phases": 'give at least one section [[phases]], with do = "register" and arrivals = { rate = 100 }',
    "arrivals": "say how phones come, such as { rate = 100 } or { at_once = true }",
}
