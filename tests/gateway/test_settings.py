"""What may stand in ``[routes.NAME]``."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.gateway.settings import RouteSettings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"upstream": "ftp://x"}, "https://api.example.com"),
        ({"upstream": "api.test"}, "https://api.example.com"),
        ({"upstream": "https://"}, "https://api.example.com"),
        ({"upstream": "https://u:p@api.test"}, "basic"),
        ({"upstream": "https://api.test/?a=b"}, "query"),
        ({"upstream": "https://api.test/#f"}, "fragment"),
        ({"upstream": 3}, "upstream"),
        ({"upstream": "http://api.test"}, "insecure = true"),
        ({"tls": {"verify": False}}, "insecure = true"),
        ({"prefix": "github"}, '"/github"'),
        ({"prefix": "/a//b"}, '"/github"'),
        ({"prefix": "/a/../b"}, '"/github"'),
        ({"prefix": "/a?b"}, '"/github"'),
        ({"host": "github.localhost:80"}, "without a port"),
        ({"proxy": "proxy.test"}, "http://proxy.example.com:3128"),
        ({"http2": True}, "http2"),
        ({"cookies": "jar"}, "cookies"),
        ({"rewrite": ["json"]}, "rewrite"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RouteSettings.model_validate({"upstream": "https://api.test", **settings})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"upstream": "http://127.0.0.1:1"},
        {"upstream": "http://[::1]:1/"},
        {"upstream": "http://localhost"},
        {"upstream": "http://api.test", "insecure": True},
        {"tls": {"verify": False}, "insecure": True},
        {"prefix": "/"},
        {"host": "GITHUB.localhost"},
        {"proxy": "env"},
    ],
)
def test_what_is_right_is_taken(settings: dict[str, Any]) -> None:
    RouteSettings.model_validate({"upstream": "https://api.test", **settings})


def test_a_prefix_of_slash_means_everything() -> None:
    assert RouteSettings.model_validate({"upstream": "https://api.test", "prefix": "/"}).prefix == ""
