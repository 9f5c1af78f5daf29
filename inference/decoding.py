"""Strict reading of requests and events, of whatever contract. Runs in a Lambda.

What breaks a contract is a `BadRequestError` that names the path: `$.history[3].product_id`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from inference.errors import BadRequestError

T = TypeVar("T", bound=msgspec.Struct)
_AT_PATH = re.compile(r"(?P<message>.*) - at `(?P<path>\$.*)`", re.DOTALL)
_encoder = msgspec.json.Encoder(enc_hook=str)


def decode(request: Any, decoder: msgspec.json.Decoder[T]) -> T:
    """A request of the decoder's type from JSON bytes, text or plain values.

    Raises `BadRequestError` with the path of what breaks the contract.
    """
    if not isinstance(request, bytes | str):
        check_text(request)
    return converted(request, decoder)


def converted(request: Any, decoder: msgspec.json.Decoder[T]) -> T:
    """As `decode`, for plain values whose texts are checked one by one later."""
    try:
        if isinstance(request, bytes | str):
            return decoder.decode(request)
        return msgspec.convert(request, decoder.type)
    except msgspec.ValidationError as error:
        found = _AT_PATH.fullmatch(str(error))
        message, path = (found["message"], found["path"]) if found else (str(error), "$")
        raise BadRequestError(message, path=path) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError(f"the request is not valid JSON: {error}") from error


def check_text(request: Any) -> None:
    """A direct invocation's texts may hold half a surrogate pair, which no hash, table or answer
    takes. Raises `BadRequestError` with the path of the first."""
    try:
        _encoder.encode(request)
    except UnicodeEncodeError as error:
        raise BadRequestError(
            "expected text in Unicode, not half a surrogate pair",
            path=_path_of(error.object, request),
        ) from error
    except RecursionError as error:
        raise BadRequestError(f"the request is no JSON: {error}") from error


def _path_of(text: str, request: Any) -> str:
    """Where in plain values a text stands; where it is a field's name, the path of its holder."""
    waiting = [("$", request)]
    for path, value in waiting:
        if isinstance(value, dict):
            if text in value:
                return path
            waiting += [(f"{path}.{name}", part) for name, part in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{path}[{place}]", part) for place, part in enumerate(value)]
        elif value == text:
            return path
    return "$"


def check_ids(found: msgspec.Struct, *names: str) -> None:
    """An import strips ids: with blanks around it the same customer would be two, and erasing one
    would leave the other. Raises `BadRequestError` with the path of the first."""
    for name in names:
        given = getattr(found, name, None)
        if given is not None and given != given.strip():
            raise BadRequestError(
                f"expected an id without blanks around it, not {given!r}", path=f"$.{name}"
            )


def check_finite(values: Mapping[str, Any], path: str) -> None:
    """JSON has no NaN and no infinity, but a direct invocation's values may. Raises
    `BadRequestError` with the path of the first."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRequestError(f"expected a finite number, not {value}", path=f"{path}.{name}")


def error_answer(error: BadRequestError) -> dict[str, Any]:
    """What the caller of a bad request gets."""
    detail = {"status": 400, "code": "BadRequestError", "path": error.path, "message": str(error)}
    return {"error": detail}
