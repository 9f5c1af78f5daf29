"""How callers without AWS credentials reach a tenant: its HTTP API, and a token for it.

Used by `nextbest tenant credentials | token`. A service asks the same of `token_url` itself, about
once an hour.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines import loopback
from pipelines.errors import ApiError
from pipelines.stacks import require_tenant
from pipelines.stacks.changes import outputs
from pipelines.stage import Stage

_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Access:
    """A tenant's API and the client that may call it; `scopes` are what its tokens allow."""

    api_url: str
    token_url: str
    client_id: str
    client_secret: str
    scopes: tuple[str, ...]


def access(stage: Stage, tenant: str) -> Access:
    """What a service of the tenant needs. Raises `TenantError`, and `ApiError` without an API."""
    require_tenant(stage, tenant)
    known = outputs(stage, stage.tenant_stack(tenant))
    if "ApiId" not in known:
        raise ApiError(
            f"tenant {tenant!r} has no HTTP API on stage {stage.name!r}; set http_api = true under "
            f"[stages.{stage.name}] of nextbest.toml and run: nextbest tenant add {tenant}"
        )
    client = stage.client("cognito-idp").describe_user_pool_client(
        UserPoolId=known["CallersId"], ClientId=known["CallerId"]
    )["UserPoolClient"]
    api_url, token_url = _urls(stage, known)
    return Access(
        api_url=api_url,
        token_url=token_url,
        client_id=client["ClientId"],
        client_secret=client["ClientSecret"],
        scopes=tuple(client["AllowedOAuthScopes"]),
    )


def _urls(stage: Stage, known: dict[str, str]) -> tuple[str, str]:
    """Of the API, and of where its tokens are; the emulator has both under its own address."""
    if stage.endpoint_url is not None:
        at = stage.endpoint_url
        return f"{at}/_aws/execute-api/{known['ApiId']}", f"{at}/oauth2/token"
    domain = f"https://{known['CallersDomain']}.auth.{stage.region}.amazoncognito.com"
    return known["ApiEndpoint"], f"{domain}/oauth2/token"


def token(found: Access, *, open_url: Callable[..., Any] = loopback.open_url) -> str:
    """An access token, good for an hour; `open_url` is as urllib's. Raises `ApiError`."""
    pair = f"{found.client_id}:{found.client_secret}".encode()
    request = urllib.request.Request(
        found.token_url,
        data=b"grant_type=client_credentials",
        headers={
            "authorization": f"Basic {base64.b64encode(pair).decode()}",
            "content-type": "application/x-www-form-urlencoded",
        },
    )
    try:
        with open_url(request, timeout=_TIMEOUT_SECONDS) as answer:
            return str(json.load(answer)["access_token"])
    except (OSError, urllib.error.URLError, ValueError, KeyError) as error:
        raise ApiError(f"{found.token_url} gave no token: {error}") from error
