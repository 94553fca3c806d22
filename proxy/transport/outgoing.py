"""Which outgoing proxy leads to an upstream."""

from __future__ import annotations

from urllib.request import getproxies_environment, proxy_bypass_environment

import httpx


def outgoing_proxy(setting: str, upstream: httpx.URL) -> httpx.URL | None:
    """Return the proxy that a route's `setting` means.

    Args:
        setting: a URL, empty for none, or ``env`` for what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
        upstream: where to.

    """
    if setting != "env":
        return httpx.URL(setting) if setting else None
    proxies = getproxies_environment()
    found = proxies.get(upstream.scheme)
    if not found or proxy_bypass_environment(upstream.host, proxies):
        return None
    return httpx.URL(found if "://" in found else f"http://{found}")
