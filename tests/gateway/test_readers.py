"""Whatever is forwarded goes to the configured authority and below the base path, however lenient its reader is."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.app import App
from proxy.config import load
from proxy.errors import MalformedRequest, Misdirected, NoRoute
from proxy.gateway import Entrance, Inbound, Story
from proxy.gateway.forward import Gateway
from proxy.gateway.headers import read
from proxy.log import Log
from tests.gateway.readers import climbs_out, decodings
from tests.gateway.test_target import DOTS, SLASHES

ROUTES = {
    "plain": {"prefix": "/", "upstream": "https://plain.test/base/v1"},
    "deep": {"prefix": "/api/v2", "upstream": "https://deep.test:8443/a/b"},
    "whole": {"prefix": "/whole", "strip_prefix": False, "upstream": "http://127.0.0.1:9/w"},
    "named": {"host": "named.localhost", "upstream": "https://named.test"},
}
PLACES = {
    "plain": (b"plain.test", b"/base/v1"), "deep": (b"deep.test:8443", b"/a/b"), "whole": (b"127.0.0.1:9", b"/w"),
    "named": (b"named.test", b""),
}  # fmt: skip
ENTRANCE = Entrance("127.0.0.1:8080", 8080, is_loopback=True)


# -- the law -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def gateway() -> Gateway:
    table = {"server": {"listen": ["127.0.0.1:0"], "admin": ""}, "tokens": {"store": "memory"}, "routes": ROUTES}
    app = App(load(overrides=table, use_file=False), Log())
    await app.open()
    return app._now.gateway


PIECES = st.sampled_from(
    [*DOTS, *SLASHES, "a", "%", "%25", "25", "2e", "2F", "%c0", "%C1", "%e0%80", "%f0%80%80", "%fc%80%80%80%80", "ae",
     ".", "..", "/", "\\", ";", ";x=/../", "%3b", "%3B", "%00", "%u", "%U002e", "%20", "%0a", "?", "#", "@", ":", "//",
     "%e2%80%ae", "%ef%bc", "%ef%bc%85", "%c0%a5", "%c0%80", "%c1", "%ff", "%e2%80%8b", "%C2%AD",
     "%ef%bb%bf", "%a0", "%80","%8e", "%af", "%9c", "evil.test", "http:", "https://evil.test"]
)  # fmt: skip
STARTS = st.sampled_from(
    ["/", "/", "/api/v2", "/api/v2/", "/api/v2/x", "/whole", "/whole/", "//", "http://localhost:8080", "*", "",
     "https://plain.test/base/v1", "http://plain.test/base/v1/", "https://deep.test:8443/a/b", "http://127.0.0.1:9/w",
     "https://named.test"]
)  # fmt: skip
HOSTS = st.sampled_from(
    ["localhost:8080", "named.localhost", "plain.test", "deep.test:8443", "127.0.0.1:9", "named.test"]
)


def forwarded(gateway: Gateway, target: str, host: str) -> None:
    """See where a request goes, if it goes anywhere."""
    head = read([(b"Host", host.encode())])
    inbound = Inbound("GET", target.encode(), head, (1, 1), ENTRANCE, Story("GET", target, 0.0))
    try:
        route, request = gateway.prepare(inbound)
    except (MalformedRequest, NoRoute, Misdirected):
        return
    authority, base = PLACES[route.name]
    sent: bytes = request.extensions["target"]
    assert (request.url.netloc, dict(request.headers.raw)[b"Host"]) == (authority, authority)
    assert re.fullmatch(re.escape(base) + rb"([/?][!-~]*)?", sent)
    assert target.encode().endswith(sent[len(base) :].removeprefix(b"/"))  # byte for byte
    path = sent.partition(b"?")[0]
    assert not any(climbs_out(each, base) for each in decodings(path))


RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the gateway has no state


@RELAXED
@given(STARTS, st.lists(PIECES, max_size=10), HOSTS)
@example("/api/v2", ["/x", "..", "/"], "localhost:8080")
@example("https://deep.test:8443/a/b", ["/x"], "deep.test:8443")
def test_whatever_is_forwarded_stays_below_the_base(gateway: Gateway, start: str, pieces: list[str], host: str) -> None:
    forwarded(gateway, start + "".join(pieces), host)


@RELAXED
@given(STARTS, st.text("/\\.%0125cCeEfFaAuU;?#", max_size=24))
def test_nor_do_letters_at_random_lead_out(gateway: Gateway, start: str, text: str) -> None:
    forwarded(gateway, start + text, "localhost:8080")


@pytest.mark.parametrize(
    "path",
    [b"/b/..", b"/b/x/../..", b"/b/%2e%2e", b"/b/%252e%252e/", b"/b/..;x", b"/b/..%3b", b"/b\\..", b"/b/%c0%ae.",
     b"/b/%c0%2e%c0%2e", b"/b/%u002e%u002e", b"/b/%ef%bc%8e.", b"/b/..%00", b"/b/%20..", b"/b/%fc%80%80%80%80%ae.",
     b"/b/x/%2e%2e%5c%2e%2e"],
)  # fmt: skip
def test_the_readers_are_lenient(path: bytes) -> None:
    assert any(climbs_out(each, b"/b") for each in decodings(path))


@pytest.mark.parametrize("path", [b"/b/", b"/b/...", b"/b/x/../y", b"/b/a%2fb", b"/b/..a", b"/b/%C3%A4"])
def test_but_not_too_lenient(path: bytes) -> None:
    assert not any(climbs_out(each, b"/b") for each in decodings(path))
