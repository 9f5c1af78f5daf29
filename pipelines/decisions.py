"""Ask a deployed decision Lambda, as an engagement service would. Used by `nextbest decide`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.errors import DecisionError
from pipelines.releases import DECISION_OF, LIVE
from pipelines.stage import Stage


def decide(
    stage: Stage,
    tenant: str,
    request: Mapping[str, Any],
    *,
    decision: str = "next-best-product",
    client: Any = None,
) -> dict[str, Any]:
    """The live version's answer to a request (see docs/decisions.md for both contracts).

    A bad request is an answer too (`{"error": …}`). Raises `DecisionError` when no version is
    live or the function itself failed. Pass a `client` of Lambda to reuse its connection.
    """
    client = client or stage.client("lambda")
    function = stage.function(tenant, decision)
    try:
        payload = json.dumps(request, allow_nan=False).encode()
    except ValueError as error:
        raise DecisionError("JSON has no NaN and no infinity; give finite numbers") from error
    try:
        reply = client.invoke(FunctionName=function, Qualifier=LIVE, Payload=payload)
    except client.exceptions.ResourceNotFoundException as error:
        raise DecisionError(_why_not_there(stage, tenant, decision)) from error
    answer = json.loads(reply["Payload"].read() or b"null")
    if "FunctionError" in reply or not isinstance(answer, dict):
        raise DecisionError(f"{function} failed: {_failure(answer)}")
    return answer


def _why_not_there(stage: Stage, tenant: str, decision: str) -> str:
    client, function = stage.client("lambda"), stage.function(tenant, decision)
    try:
        client.get_function_configuration(FunctionName=function)
    except client.exceptions.ResourceNotFoundException:
        return (
            f"there is no function {function!r} on stage {stage.name!r}: is the tenant known? "
            f"nextbest tenant list shows them, nextbest tenant add {tenant} makes it"
        )
    kind = next((k for k, d in DECISION_OF.items() if d == decision), "recommender")
    return (
        f"{function} has no live version on stage {stage.name!r}; "
        f"run: nextbest train {kind} --tenant {tenant}"
    )


def _failure(answer: object) -> str:
    if isinstance(answer, dict) and "errorMessage" in answer:
        return f"{answer.get('errorType', 'error')}: {answer['errorMessage']}"
    return json.dumps(answer)
