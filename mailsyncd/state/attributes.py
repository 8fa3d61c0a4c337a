"""Items in DynamoDB's own notation: {"S": "x"}, {"N": "1"}, {"BOOL": true}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Attributes = dict[str, dict[str, Any]]


def attribute(value: object) -> dict[str, Any]:
    if type(value) is str:  # by far the most
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, float):
        return {"N": repr(value)}
    return {"S": str(value)}


def attributes(item: Mapping[str, object]) -> Attributes:
    return {name: attribute(value) for name, value in item.items()}


def plain(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers are int where they are whole in writing, else float."""
    return {name: _value(value) for name, value in given.items()}


def _value(given: Mapping[str, Any]) -> Any:
    ((kind, value),) = given.items()
    if kind == "N":
        return int(value) if value.lstrip("-").isdigit() else float(value)
    return value
