"""Structured answers of the offline planner: the fields of a JSON Schema, filled by type and name."""

from collections.abc import Mapping, Sequence
from typing import Any

from roi_agent.planner.statements import Statement

_HANDLES = ("regions", "handles", "evidence")


def fill(schema: Mapping[str, Any], statements: Sequence[Statement]) -> dict[str, Any] | None:
    """Fill the fields of a schema; None if no statement matches a required field.

    Booleans, numbers and lists get an answer of that type, strings the text of the answer, and a list named regions, handles or
    evidence the handles.
    """
    last = statements[-1]
    values: dict[str, Any] = {}
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        value = _value(name, field, last, statements)
        if value is not None:
            values[name] = value
        elif name in required:
            return None
    return values


def _value(name: str, field: Mapping[str, Any], last: Statement, statements: Sequence[Statement]) -> Any:
    kinds = [field.get("type"), *(option.get("type") for option in field.get("anyOf", ()))]
    if "array" in kinds:
        if name in _HANDLES:
            return list(dict.fromkeys(handle for each in statements for handle in each.handles))
        return last.value if isinstance(last.value, list) else [last.value] if isinstance(last.value, str) else None
    if "boolean" in kinds and isinstance(last.value, bool):
        return last.value
    if ("integer" in kinds or "number" in kinds) and isinstance(last.value, int) and not isinstance(last.value, bool):
        return last.value
    if "string" in kinds:
        words = " ".join(each.text for each in statements)
        return next((option for option in field["enum"] if option in words.split()), None) if "enum" in field else words
    return None
