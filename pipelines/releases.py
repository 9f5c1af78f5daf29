"""What is live and what could be: published versions of a decision Lambda and their models.

A version is immutable: code and model together. Going back is one update of the alias `live`.
Used by `nextbest models` and `Workspace`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipelines.errors import ReleaseError
from pipelines.stage import Stage

LIVE = "live"
DECISION_OF = {
    "recommender": "next-best-product",
    "nudge-policy": "nudge",
    "image-model": "similar-products",
}


@dataclass(frozen=True)
class ModelView:
    """One published version: which run's model it answers with, and whether it is live.

    `apprentice` is the run whose policy watches it, if any, and `apprentice_artifacts` where
    that is.
    """

    version: str
    run: str
    model: str
    published_at: str
    is_live: bool
    apprentice: str | None = None
    apprentice_artifacts: str | None = None


@dataclass(frozen=True)
class Rollback:
    """What a rollback did: the alias went from one version to another."""

    function: str
    from_version: str
    to_version: str


def list_models(stage: Stage, tenant: str, *, kind: str = "recommender") -> list[ModelView]:
    """The versions released for a tenant, newest first."""
    client = stage.client("lambda")
    function = decision_function(stage, tenant, kind=kind)
    live = live_version(client, function)
    views = [_view(version, live) for version in _versions(client, function)]
    return sorted(views, key=lambda view: int(view.version), reverse=True)


def decision_function(stage: Stage, tenant: str, *, kind: str) -> str:
    """The Lambda that a kind of model answers with; `ReleaseError` for an unknown kind."""
    if kind not in DECISION_OF:
        raise ReleaseError(f"there is no kind {kind!r} of model; known: {', '.join(DECISION_OF)}")
    return stage.function(tenant, DECISION_OF[kind])


def _versions(client: Any, function: str) -> list[dict[str, Any]]:
    try:
        pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=function)
        versions = [version for page in pages for version in page["Versions"]]
    except client.exceptions.ResourceNotFoundException as error:
        raise ReleaseError(
            f"there is no function {function!r}; is the tenant known? nextbest tenant list"
        ) from error
    return [
        version
        for version in versions
        if version["Version"] != "$LATEST" and "NEXTBEST_RUN" in _variables(version)
    ]


def _variables(version: dict[str, Any]) -> dict[str, str]:
    return dict(version.get("Environment", {}).get("Variables", {}))


def _view(version: dict[str, Any], live: str | None) -> ModelView:
    variables = _variables(version)
    return ModelView(
        version=version["Version"],
        run=variables["NEXTBEST_RUN"],
        model=variables.get("NEXTBEST_MODEL", ""),
        published_at=version["LastModified"],
        is_live=version["Version"] == live,
        apprentice=variables.get("NEXTBEST_APPRENTICE_RUN") or None,
        apprentice_artifacts=variables.get("NEXTBEST_APPRENTICE") or None,
    )


def live_version(client: Any, function: str) -> str | None:
    """The version `live` points to, or None before the first release."""
    try:
        return str(client.get_alias(FunctionName=function, Name=LIVE)["FunctionVersion"])
    except client.exceptions.ResourceNotFoundException:
        return None


def rollback(
    stage: Stage, tenant: str, *, kind: str = "recommender", to_version: str | None = None
) -> Rollback:
    """Point `live` at an earlier version: the one released before it, or the one named.

    Raises `ReleaseError` when there is nothing to go back to.
    """
    models = list_models(stage, tenant, kind=kind)
    live = require_live(models, tenant=tenant, kind=kind)
    target = to_version or _before(models, live)
    if target not in {model.version for model in models}:
        known = ", ".join(model.version for model in models)
        raise ReleaseError(f"there is no version {target!r} to go back to; known: {known}")
    function = decision_function(stage, tenant, kind=kind)
    _point(stage, function, target)
    return Rollback(function=function, from_version=live.version, to_version=target)


def require_live(models: list[ModelView], *, tenant: str, kind: str) -> ModelView:
    """The live one among a tenant's models; `ReleaseError` where none is."""
    live = next((model for model in models if model.is_live), None)
    if live is None:
        raise ReleaseError(
            f"tenant {tenant!r} has no live {kind}; run: nextbest train {kind} --tenant {tenant}"
        )
    return live


def _before(models: list[ModelView], live: ModelView) -> str:
    earlier = [model.version for model in models if int(model.version) < int(live.version)]
    if not earlier:
        raise ReleaseError(
            f"version {live.version} is the first release: there is none before it to go back to"
        )
    return earlier[0]


def _point(stage: Stage, function: str, version: str) -> None:
    try:
        stage.client("lambda").update_alias(
            FunctionName=function, Name=LIVE, FunctionVersion=version
        )
    except ClientError as error:
        raise ReleaseError(f"could not point {LIVE} of {function} at {version}: {error}") from error
