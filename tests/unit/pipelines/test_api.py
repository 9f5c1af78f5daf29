"""A token for a tenant's API, of a token endpoint that answers well, badly or not at all."""

from __future__ import annotations

import base64
import io
import urllib.error
import urllib.request
from typing import Any

import pytest

from pipelines import api
from pipelines.errors import ApiError

ACCESS = api.Access("https://api", "https://tokens/oauth2/token", "id", "se:cret", ("a/b",))


class Endpoint:
    def __init__(self, body: bytes = b"", error: Exception | None = None) -> None:
        self.asked: list[urllib.request.Request] = []
        self._body, self._error = body, error

    def __call__(self, request: urllib.request.Request, *, timeout: float) -> Any:
        self.asked.append(request)
        if self._error:
            raise self._error
        return io.BytesIO(self._body)


def test_a_token_is_asked_for_by_client_credentials() -> None:
    endpoint = Endpoint(b'{"access_token": "t", "token_type": "Bearer"}')
    assert api.token(ACCESS, open_url=endpoint) == "t"
    (request,) = endpoint.asked
    assert request.data == b"grant_type=client_credentials"
    scheme, pair = request.headers["Authorization"].split()
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"id:se:cret")


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(b"<html>"),
        Endpoint(b"{}"),
        Endpoint(error=urllib.error.URLError("no route")),
        Endpoint(error=TimeoutError("slow")),
    ],
)
def test_no_token_says_who_gave_none(endpoint: Endpoint) -> None:
    with pytest.raises(ApiError, match=r"https://tokens/oauth2/token gave no token"):
        api.token(ACCESS, open_url=endpoint)
