"""A proxy in the environment is not asked for what is on this machine."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipelines import loopback
from pipelines.configuration import StageConfiguration
from pipelines.local.cloud import server_environment
from pipelines.stage import Stage

DEAD = "http://127.0.0.1:9"  # the port of `discard`: nobody listens
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
LIST = b'<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'


class Answer(BaseHTTPRequestHandler):
    """Always the same."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(LIST)))
        self.end_headers()
        self.wfile.write(LIST)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, DEAD)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.usefixtures("behind_a_proxy")
def test_this_machine_is_asked_directly_and_others_by_the_proxy(address: str) -> None:
    with loopback.open_url(urllib.request.Request(address), timeout=5) as answer:
        assert answer.read() == LIST
    with pytest.raises(urllib.error.URLError, match="refused"):
        loopback.open_url(urllib.request.Request("http://tokens.example"), timeout=5)


@pytest.mark.usefixtures("behind_a_proxy")
def test_clients_of_the_local_stage_ask_it_directly(address: str) -> None:
    stage = Stage("local", "us-east-1", "0" * 12, StageConfiguration(), endpoint_url=address)
    assert stage.client("s3").list_buckets().get("Buckets", []) == []


@pytest.mark.usefixtures("behind_a_proxy")
def test_the_local_stage_and_what_it_starts_see_no_proxy(tmp_path: Path) -> None:
    found = server_environment(tmp_path, 4566)
    assert not set(PROXIES) & set(found)
    assert found["NO_PROXY"] == "*"


def test_what_is_excepted_already_stays_so() -> None:
    assert loopback.exceptions({"NO_PROXY": "corp"}) == {}
    found = loopback.exceptions({"HTTP_PROXY": DEAD, "no_proxy": "corp, localhost"})
    assert found == dict.fromkeys(("NO_PROXY", "no_proxy"), "corp,localhost,127.0.0.1,::1")
