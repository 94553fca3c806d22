"""How to put the proxy in front of the demo API: its configuration, and commands to try it with."""

from __future__ import annotations

from typing import Final

from proxy.demo import accounts
from proxy.demo.signature import STRING_TO_SIGN

#: Each route's name, which is also its prefix and its area of the API, and the name of its credential.
ROUTES: Final = {
    "basic": "basic",
    "bearer": "bearer",
    "oauth2": "oauth2",
    "hmac": "hmac",
    "throttled": "bearer",
    "flaky": "bearer",
    "events": "bearer",
}


def settings(api_url: str) -> dict[str, object]:
    """Return the configuration of a proxy in front of the API at `api_url`, as its TOML would be parsed."""
    api_url = api_url.rstrip("/")
    return {
        "tokens": {"store": "memory"},
        "routes": {
            name: {"prefix": f"/{name}", "upstream": f"{api_url}/{name}", "credential": credential, "browser": True}
            for name, credential in ROUTES.items()
        },
        "credentials": _credentials(api_url),
    }


def _credentials(api_url: str) -> dict[str, object]:
    return {
        "basic": {"type": "basic", "username": accounts.USERNAME, "password": accounts.PASSWORD},
        "bearer": {"type": "bearer", "token": accounts.BEARER_TOKEN},
        "oauth2": {
            "type": "oauth2",
            "grant": "client_credentials",
            "token_url": f"{api_url}/oauth2/token",
            "client_id": accounts.CLIENT_ID,
            "client_secret": accounts.CLIENT_SECRET,
        },
        "hmac": {
            "type": "hmac",
            "key_id": accounts.KEY_ID,
            "secret": accounts.KEY_SECRET,
            "string_to_sign": STRING_TO_SIGN,
            "headers": {
                "X-Key-Id": "{key_id}",
                "X-Timestamp": "{timestamp}",
                "X-Nonce": "{nonce}",
                "X-Signature": "{signature}",
            },
        },
    }


def curl_lines(proxy_url: str) -> list[tuple[str, str]]:
    """Return pairs of what a command shows and the command, to paste into a shell."""
    url = proxy_url.rstrip("/")
    return [
        ("HTTP Basic, without a password in sight", f"curl -s {url}/basic/hello"),
        ("a bearer token", f"curl -s {url}/bearer/hello"),
        ("each request signed, its body included", f"curl -s -d 'a=1' '{url}/hmac/hello?b=2'"),
        ("an OAuth2 access token, fetched as needed", f"curl -s {url}/oauth2/hello"),
        (
            "a token that the API revokes after 5 uses, renewed under your hands (see Proxy-Status)",
            f"curl -sI '{url}/oauth2/hello?n=[1-6]'",
        ),
        (
            "the sixth request within 10 s is too many: the 429 is waited out",
            f"curl -sI '{url}/throttled/hello?n=[1-6]'",
        ),
        ("an API that fails now and then, tried again", f"curl -sI '{url}/flaky/hello?n=[1-5]'"),
        ("events, as they come", f"curl -sN '{url}/events/hello?count=5'"),
    ]
