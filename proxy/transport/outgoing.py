"""Which outgoing proxy leads to an upstream."""

from __future__ import annotations

from urllib import request

import httpx

from proxy.errors import ConfigError


def outgoing_proxy(setting: str, upstream: httpx.URL) -> httpx.URL | None:
    """Return the proxy that a route's `setting` means.

    Args:
        setting: a URL, empty for none, or ``env`` for what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say.
        upstream: where to.

    Raises:
        ConfigError: the environment names a proxy of another kind than http.

    """
    if setting != "env":
        return httpx.URL(setting) if setting else None
    proxies = request.getproxies_environment()
    found = proxies.get(upstream.scheme)
    if not found or _bypassed(upstream.host, proxies):
        return None
    url = httpx.URL(found if "://" in found else f"http://{found}")
    if url.scheme != "http":
        raise ConfigError(f"the environment's proxy for {upstream.scheme} is {url.scheme}://; right would be http://")
    return url


def _bypassed(host: str, proxies: dict[str, str]) -> bool:
    bypass = request.proxy_bypass_environment  # type: ignore[attr-defined]  # documented, but not annotated
    return bool(bypass(host, proxies))
