"""Calls to this machine never go through a proxy, whatever the environment says.

Used wherever the local stage is asked: its health, its clients, its tokens, what it starts.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

HOSTS = ("127.0.0.1", "localhost", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_url(request: urllib.request.Request, *, timeout: float) -> Any:
    """As `urllib.request.urlopen`, and raises what it does; hosts of this machine directly."""
    if urlsplit(request.full_url).hostname in HOSTS:
        return _direct.open(request, timeout=timeout)
    return urllib.request.urlopen(request, timeout=timeout)


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """For a process that asks nothing but this machine."""
    kept = {k: v for k, v in environment.items() if k.lower() not in (*_PROXIES, "no_proxy")}
    return {**kept, "NO_PROXY": "*"}


def exceptions(environment: Mapping[str, str]) -> dict[str, str]:
    """`NO_PROXY` as it is and this machine, in both spellings; nothing where there is no proxy."""
    if not any(environment.get(name) for name in environment if name.lower() in _PROXIES):
        return {}
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    known = [name.strip() for name in given.split(",") if name.strip()]
    hosts = ",".join([*known, *(host for host in HOSTS if host not in known)])
    return {"NO_PROXY": hosts, "no_proxy": hosts}
