"""The `verify-release` Lambda: runs the golden requests of a run against a published version.

Called by the `release-model` machine before the alias moves; raises `GoldenMismatchError` when an
answer differs from the one recorded at evaluation.
"""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import urlparse

from inference.errors import GoldenMismatchError

RELATIVE_TOLERANCE = 1e-5


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """`{"function", "qualifier", "golden": "s3://…"}` → `{"compared": n}`."""
    import boto3

    return verify(event, s3=boto3.client("s3"), lambdas=boto3.client("lambda"))


def verify(event: dict[str, Any], *, s3: Any, lambdas: Any) -> dict[str, int]:
    """Compare every golden answer; at least one is required."""
    golden = urlparse(event["golden"])
    body = s3.get_object(Bucket=golden.netloc, Key=golden.path.lstrip("/"))["Body"].read()
    cases = json.loads(body)
    if not cases:
        raise GoldenMismatchError(f"{event['golden']} holds no golden request")
    for number, case in enumerate(cases):
        answer = _ask(lambdas, event, case["request"])
        _compare(number, case, answer)
    return {"compared": len(cases)}


def _ask(lambdas: Any, event: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    reply = lambdas.invoke(
        FunctionName=event["function"],
        Qualifier=event["qualifier"],
        Payload=json.dumps(request).encode(),
    )
    answer = json.loads(reply["Payload"].read())
    if "FunctionError" in reply:
        raise GoldenMismatchError(
            f"version {event['qualifier']} of {event['function']} failed: "
            f"{answer.get('errorType')}: {answer.get('errorMessage')}"
        )
    return dict(answer)


def _compare(number: int, case: dict[str, Any], answer: dict[str, Any]) -> None:
    scored = _propensities if "propensities" in case["response"] else _products
    expected, found = scored(case["response"]), scored(answer)
    same = len(expected) == len(found) and all(
        a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9)
        for a, b in zip(expected, found, strict=True)
    )
    if not same:
        raise GoldenMismatchError(
            f"golden request {number}: expected {expected[:3]} …, the version answers "
            f"{found[:3] or answer} …"
        )


def _products(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """An answer's products with their scores, or how much they look alike, in order."""
    return [
        (product["product_id"], product.get("score", product.get("similarity")))
        for product in answer.get("products", [])
    ]


def _propensities(answer: dict[str, Any]) -> list[tuple[str, float]]:
    """A nudge's eligible actions with their propensities, then what was drawn and excluded."""
    excluded = [(f"{e['action']}: {e['rule']}", 0.0) for e in answer.get("excluded", [])]
    drawn = (str(answer.get("action")), float(answer.get("propensity", -1.0)))
    return [drawn, *answer.get("propensities", {}).items(), *excluded]
