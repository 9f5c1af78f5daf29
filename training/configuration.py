"""A job's configuration: a frozen struct with defaults and bounds, carried as strings.

SageMaker hands hyperparameters to a job as strings (at most 100 of at most 256 characters), so a
configuration is flat; `parse` and `to_strings` are each other's inverse. Used by the jobs and by
the command line, which refuses an unknown key before a run starts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from training.errors import ConfigurationError

T = TypeVar("T", bound=msgspec.Struct)


def refuse_unknown_keys(values: Mapping[str, Any], known: Iterable[str], *, where: str) -> None:
    """Raise `ConfigurationError` for a key that is not known, naming the nearest that is."""
    names = list(known)
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(names))}"
            raise ConfigurationError(f"{where}: unknown key {key!r}; {hint}")


def parse(kind: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """A configuration from strings or plain values; `where` begins the error message.

    Raises `ConfigurationError` for an unknown key, an unreadable value or one out of bounds.
    """
    refuse_unknown_keys(values, kind.__struct_fields__, where=where)
    try:
        return msgspec.convert(dict(values), kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {explain(error, values)}") from error


def explain(error: msgspec.ValidationError, values: Mapping[str, Any]) -> str:
    """What msgspec says of a flat mapping, with the key and the value it says it of."""
    sentence, _, place = str(error).partition(" - at `$.")
    key = place.rstrip("`")
    if key not in values:
        return str(error)
    return f"{key}={values[key]}: {sentence[0].lower()}{sentence[1:].replace('`', '')}"


def to_strings(configuration: msgspec.Struct) -> dict[str, str]:
    """The configuration as SageMaker hyperparameters: every value a string."""
    plain = msgspec.to_builtins(configuration)
    return {key: _as_string(value) for key, value in plain.items()}


def _as_string(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
