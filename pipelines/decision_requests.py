"""What is typed on the command line, as fields of a decision's request. Used by `nextbest decide`.

A filter is `category=Lamps`, `price>=10`, `price<=20` or `brand!=Acme`; the same attribute with `=`
again is one more value that will do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipelines.errors import DecisionError

_FILTER = re.compile(r"(?P<name>[^=<>!]+)(?P<sign>>=|<=|!=|=)(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_KINDS = {"=": "in", "!=": "not", ">=": "min", "<=": "max"}


def split(ids: str) -> list[str]:
    """`A, B,C` as a list of ids."""
    return [part.strip() for part in ids.split(",") if part.strip()]


def filters(texts: Iterable[str]) -> dict[str, Any]:
    """Filters on attributes, all of which must hold. Raises `DecisionError` for what is none."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        match = _FILTER.fullmatch(text)
        if match is None:
            raise DecisionError(
                f"{text!r} is no filter; expected ATTRIBUTE=VALUE, e.g. category=Lamps or price<=20"
            )
        condition = found.setdefault(match["name"].strip(), {})
        kind, value = _KINDS[match["sign"]], match["value"].strip()
        if kind in ("in", "not"):
            condition.setdefault(kind, []).extend(_readings(value))
        else:
            bound = _number(value) if _is_number(value) else value
            condition[kind] = _tighter(kind, condition.get(kind), bound)
    return {
        name: condition["in"] if set(condition) == {"in"} else condition
        for name, condition in found.items()
    }


def _tighter(kind: str, known: Any, bound: Any) -> Any:
    """Of two bounds of an attribute, the one that lets less through: both must hold."""
    if known is None or isinstance(known, str) != isinstance(bound, str):
        return bound
    return max(known, bound) if kind == "min" else min(known, bound)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def _readings(text: str) -> list[str | int | float]:
    """A category's 40 is text and a price's 40 is a number; either will do."""
    return [text, _number(text)] if _is_number(text) else [text]


def promotion(text: str) -> dict[str, Any]:
    """`0.3:brand=Acme` as a guaranteed share for a filter."""
    share, colon, where = text.partition(":")
    if not colon or not _is_number(share):
        raise DecisionError(f"{text!r} is no promotion; expected SHARE:FILTER, e.g. 0.3:brand=Acme")
    return {"share": float(share), "where": filters([where])}


def quota(text: str) -> dict[str, Any]:
    """`brand=2` as at most two products a brand."""
    attribute, equals, count = text.partition("=")
    if not equals or not count.isdecimal():
        raise DecisionError(f"{text!r} is no quota; expected ATTRIBUTE=N, e.g. brand=2")
    return {"attribute": attribute, "at_most": int(count)}


def weights(texts: Iterable[str]) -> dict[str, float]:
    """`view=0.2` as the weight of an event."""
    found = {}
    for text in texts:
        event, equals, weight = text.partition("=")
        if not equals or not _is_number(weight):
            raise DecisionError(f"{text!r} is no weight; expected EVENT=NUMBER, e.g. view=0.2")
        found[event] = float(weight)
    return found


def from_json(text: str) -> dict[str, Any]:
    """Fields of a request as JSON, or `@FILE` that holds them. Raises `DecisionError`."""
    try:
        content = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        fields = json.loads(content)
    except (OSError, ValueError) as error:
        raise DecisionError(f"--request {text!r}: {error}") from error
    if not isinstance(fields, dict):
        raise DecisionError(f"--request {text!r}: expected a JSON object")
    return fields


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that were said."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and value is not False and value != [] and value != {}
    }
