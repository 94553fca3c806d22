"""What may stand in ``[routes.NAME]``."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.gateway import settings
from proxy.gateway.settings import RouteSettings


@pytest.mark.parametrize(
    ("given", "said"),
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
        ({"proxy": "https://proxy.test"}, "http://proxy.example.com:3128"),
        ({"proxy": "http://proxy.test:99999"}, "http://proxy.example.com:3128"),
        ({"no_proxy": ["a b"]}, "10.0.0.0/8"),
        ({"no_proxy": [3]}, "10.0.0.0/8"),
        ({"upstream": "http://127.0.0.1:1", "http2": True}, "http2 = true wants TLS"),
        ({"upstream": "unix:/run/x.sock", "http2": True}, "http2 = true wants TLS"),
        ({"upstream": "unix:/run/x.sock", "proxy": "env"}, 'expected proxy = "none"'),
        ({"upstream": "unix:"}, "unix:/run/api.sock"),
        ({"upstream": "unix:x.sock"}, "unix:/run/api.sock"),
        ({"upstream": "unix:/run/"}, "unix:/run/api.sock"),
        ({"upstream": "unix:/run/x.sock:v1"}, "unix:/run/api.sock:/base"),
        ({"upstream": "unix:/run/x.sock:/v1?a=b"}, "query"),
        ({"upstream": "unix:/run/x.sock:/v 1"}, "unix:/run/api.sock:/base"),
        ({"upstream": "unix:/" + "x" * 200}, "unix:/run/api.sock"),
        ({"cookies": "jar"}, "cookies"),
        ({"rewrite": ["json"]}, "rewrite"),
    ],
)
def test_mistakes_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RouteSettings.model_validate({"upstream": "https://api.test", **given})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"upstream": "http://127.0.0.1:1"},
        {"upstream": "http://[::1]:1/"},
        {"upstream": "http://localhost"},
        {"upstream": "http://api.test", "insecure": True},
        {"tls": {"verify": False}, "insecure": True},
        {"prefix": "/"},
        {"host": "GITHUB.localhost"},
        {"proxy": "env"},
        {"proxy": ""},
        {"proxy": "none", "upstream": "unix:/run/x.sock"},
        {"proxy": {"env": "PROXY"}},
        {"no_proxy": "example.com, 10.0.0.0/8"},
        {"http2": True},
        {"upstream": "unix:/run/x.sock"},
        {"upstream": "unix:/run/x.sock:/v1"},
    ],
)
def test_what_is_right_is_taken(given: dict[str, Any]) -> None:
    RouteSettings.model_validate({"upstream": "https://api.test", **given})


def test_a_prefix_of_slash_means_everything() -> None:
    assert RouteSettings.model_validate({"upstream": "https://api.test", "prefix": "/"}).prefix == ""


def test_http2_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    with pytest.raises(ValidationError, match=r"http2\n.*pip install 'countersign-proxy\[http2\]'"):
        RouteSettings.model_validate({"upstream": "https://api.test", "http2": True})
    RouteSettings.model_validate({"upstream": "https://api.test", "http2": False})
