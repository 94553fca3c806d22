from __future__ import annotations

import httpx
import pytest

from proxy.transport.origin import UnixURL, socket_of


@pytest.mark.parametrize(
    ("text", "socket", "url"),
    [
        ("unix:/run/x.sock", "/run/x.sock", "http://localhost"),
        ("unix:/run/x.sock:/", "/run/x.sock", "http://localhost/"),
        ("unix:/run/x.sock:/v1.43/a%2Fb", "/run/x.sock", "http://localhost/v1.43/a%2Fb"),
        ("unix:/run/a b/caf\u00e9", "/run/a b/caf\u00e9", "http://localhost"),
    ],
)
def test_a_unix_socket_is_localhost_to_http(text: str, socket: str, url: str) -> None:
    made = UnixURL.parse(text)
    assert socket_of(made) == socket
    assert httpx.URL(made) == url
    assert str(made) == text.removesuffix(":/")
    assert made.netloc == b"localhost"


@pytest.mark.parametrize("text", ["unix:", "unix:x", "unix:/", "unix:/x/", "unix:/x:y", "unix:/x:/a b", "unix:/\0x"])
def test_what_names_no_socket_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="right would be"):
        UnixURL.parse(text)


def test_other_origins_have_no_socket() -> None:
    assert socket_of(httpx.URL("http://localhost")) is None
