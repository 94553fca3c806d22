"""Through the proxy to an API that no one here wrote: httpbin, served by gunicorn, called by httpx."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import brotlicffi
import httpx
import pytest

from tests.conftest import Start

USER = {"username": "user", "password": "passwd"}
LARGE = bytes(range(256)) * 4096 * 3  # 3 MiB


@pytest.fixture(scope="module")
def httpbin() -> Iterator[str]:
    """Where httpbin is."""
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "8", "--bind", "127.0.0.1:0"]
    with subprocess.Popen([*command, "httpbin:app"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                if found := re.search(r"Listening at: (\S+)", line):
                    yield found[1]
                    break
            else:
                raise AssertionError("gunicorn did not start")
        finally:
            process.terminate()
            process.stderr.read()  # it says good-bye


Visit = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def visit(start: Start, httpbin: str) -> AsyncIterator[Visit]:
    """Clients of proxies in front of httpbin: ``await visit(**route)``; paths are below the prefix."""
    async with AsyncExitStack() as stack:

        async def visited(server: dict[str, Any] | None = None, **route: Any) -> httpx.AsyncClient:
            route = {"prefix": "/", "upstream": httpbin, **route}
            proxy = await start({"server": server or {}, "routes": {"bin": route}})
            base = proxy.url + route["prefix"].rstrip("/")
            return await stack.enter_async_context(httpx.AsyncClient(base_url=base, timeout=10, trust_env=False))

        yield visited


@pytest.fixture
async def direct(httpbin: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a proxy, to compare with."""
    async with httpx.AsyncClient(base_url=httpbin, timeout=10, trust_env=False) as client:
        yield client


async def raw(client: httpx.AsyncClient, path: str, **options: Any) -> tuple[httpx.Response, bytes]:
    """An answer and its body as it came."""
    async with client.stream("GET", path, **options) as response:
        return response, b"".join([piece async for piece in response.aiter_raw()])


# -- credentials ---------------------------------------------------------------------------------------


async def test_basic_lets_in(visit: Visit) -> None:
    client = await visit(credential={"type": "basic", **USER})
    answer = await client.get("/basic-auth/user/passwd")
    assert (answer.status_code, answer.json()) == (200, {"authenticated": True, "user": "user"})
    assert "Proxy-Status" not in answer.headers
    assert (await client.get("/hidden-basic-auth/user/passwd")).status_code == 200


async def test_a_wrong_password_is_told_as_httpbin_tells_it(visit: Visit) -> None:
    client = await visit(credential={"type": "basic", "username": "user", "password": "wrong"})
    answer = await client.get("/basic-auth/user/passwd")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Fake Realm"')
    assert "Proxy-Status" not in answer.headers


async def test_what_a_client_thinks_is_the_password_is_replaced(visit: Visit) -> None:
    client = await visit(credential={"type": "basic", **USER})
    answer = await client.get("/basic-auth/user/passwd", auth=("user", "made-up"))
    assert answer.status_code == 200


async def test_bearer_lets_in(visit: Visit) -> None:
    client = await visit(credential={"type": "bearer", "token": "the-token"})
    answer = await client.get("/bearer")
    assert (answer.status_code, answer.json()) == (200, {"authenticated": True, "token": "the-token"})


async def test_a_key_in_the_query_is_added(visit: Visit) -> None:
    client = await visit(credential={"type": "api_key", "in": "query", "name": "key", "value": "a&b"})
    answer = await client.get("/get?a=1&a=2")
    assert answer.json()["args"] == {"a": ["1", "2"], "key": "a&b"}


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512"])
async def test_digest_lets_in_and_keeps_letting_in(visit: Visit, algorithm: str, qop: str) -> None:
    client = await visit(credential={"type": "digest", **USER})
    for _ in range(3):
        client.cookies.clear()  # one of httpbin's says that the nonce has been used
        answer = await client.get(f"/digest-auth/{qop}/user/passwd/{algorithm}")
        assert (answer.status_code, answer.json()["user"]) == (200, "user")


async def test_digest_with_a_wrong_password_is_told_once(visit: Visit) -> None:
    client = await visit(credential={"type": "digest", "username": "user", "password": "wrong"})
    answer = await client.get("/digest-auth/auth/user/passwd/SHA-256")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Digest ")


# -- answers -------------------------------------------------------------------------------------------


async def test_every_status_is_passed_on(visit: Visit, direct: httpx.AsyncClient) -> None:
    client = await visit(retry={"attempts": 1})
    # Not 429, which holds back what follows.
    for status in [*range(200, 208), *range(300, 309), *range(400, 411), 412, 418, 422, 451, *range(500, 506)]:
        there, here = await direct.get(f"/status/{status}"), await client.get(f"/status/{status}")
        assert here.status_code == there.status_code == status
        assert (here.content, here.reason_phrase) == (there.content, there.reason_phrase)
        assert "Proxy-Status" not in here.headers


async def test_an_unasked_101_is_not(visit: Visit) -> None:
    client = await visit(retry={"attempts": 1})
    answer = await client.get("/status/101")
    assert answer.status_code == 502
    assert "error=http_protocol_error" in answer.headers["Proxy-Status"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_methods_bodies_and_queries_arrive(visit: Visit, method: str) -> None:
    client = await visit()
    answer = await client.request(method, "/anything/a/b?x=1&x=2&y=%20%2F", content=b"hello", headers={"X-A": "b"})
    seen = answer.json()
    assert (seen["method"], seen["data"], seen["args"]) == (method, "hello", {"x": ["1", "2"], "y": " /"})
    assert seen["headers"]["X-A"] == "b"


async def test_httpbin_sees_its_own_host_and_nothing_of_the_proxy(visit: Visit, httpbin: str) -> None:
    client = await visit(credential={"type": "bearer", "token": "t"})
    request = client.build_request("GET", "/headers")
    request.headers = httpx.Headers({"Host": "localhost"})
    seen = (await client.send(request)).json()["headers"]
    assert seen == {"Host": httpbin.removeprefix("http://"), "Authorization": "Bearer t"}


@pytest.mark.parametrize("path", ["/anything/%7Euser/a%20b", "/anything/a+b;c=d,e", "/anything/%C3%A4?%C3%A4=%e4"])
async def test_odd_targets_arrive_as_without_a_proxy(visit: Visit, direct: httpx.AsyncClient, path: str) -> None:
    client = await visit()
    seen, expected = (await client.get(path)).json(), (await direct.get(path)).json()
    assert (seen["url"], seen["args"]) == (expected["url"], expected["args"])


async def test_head_tells_the_length_of_what_get_would_bring(visit: Visit, direct: httpx.AsyncClient) -> None:
    client = await visit()
    here, there = await client.head("/bytes/1234"), await direct.head("/bytes/1234")
    assert (here.status_code, here.headers["Content-Length"], here.content) == (200, "1234", b"")
    assert [name for name, _ in here.headers.raw] == [name for name, _ in there.headers.raw if name != b"Connection"]


@pytest.mark.parametrize(
    "path",
    ["/bytes/100000?seed=7", "/stream-bytes/50000?seed=7&chunk_size=99", "/image/png", "/encoding/utf8", "/html"],
)
async def test_bodies_come_as_without_a_proxy(visit: Visit, direct: httpx.AsyncClient, path: str) -> None:
    client = await visit()
    (here, body), (there, expected) = await raw(client, path), await raw(direct, path)
    assert body == expected
    for name in ("Content-Type", "Content-Length", "Transfer-Encoding", "Access-Control-Allow-Origin", "Server"):
        assert here.headers.get(name) == there.headers.get(name)


async def test_packed_bodies_stay_packed(visit: Visit) -> None:
    client = await visit()
    for path, coding, unpack in (
        ("/gzip", "gzip", gzip.decompress),
        ("/deflate", "deflate", zlib.decompress),
        ("/brotli", "br", brotlicffi.decompress),
    ):
        answer, body = await raw(client, path, headers={"Accept-Encoding": "gzip, deflate, br"})
        assert (answer.headers["Content-Encoding"], int(answer.headers["Content-Length"])) == (coding, len(body))
        assert json.loads(unpack(body))["method"] == "GET"


async def test_lines_stream(visit: Visit) -> None:
    client = await visit()
    async with client.stream("GET", "/stream/20") as answer:
        ids = [json.loads(line)["id"] async for line in answer.aiter_lines()]
    assert ids == list(range(20))


async def test_drops_come_as_they_fall(visit: Visit) -> None:
    client = await visit()
    async with client.stream("GET", "/drip?duration=0.8&numbytes=8") as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert b"".join(pieces) == b"*" * 8
    assert len(pieces) > 2


async def test_ranges_are_httpbins_affair(visit: Visit, direct: httpx.AsyncClient) -> None:
    client = await visit()
    headers = {"Range": "bytes=10-19"}
    here, there = await client.get("/range/100", headers=headers), await direct.get("/range/100", headers=headers)
    assert (here.status_code, here.content) == (206, there.content)
    assert here.headers["Content-Range"] == "bytes 10-19/100"


async def test_conditions_are_httpbins_affair(visit: Visit) -> None:
    client = await visit()
    answer = await client.get("/etag/abc", headers={"If-None-Match": "abc"})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", "abc")
    assert (await client.get("/etag/abc", headers={"If-Match": "other"})).status_code == 412


async def test_fields_that_come_twice_come_twice(visit: Visit) -> None:
    client = await visit()
    answer = await client.get("/response-headers?X-A=1&X-A=2&X-B=c")
    assert answer.headers.get_list("X-A") == ["1", "2"]


# -- URLs of its own -----------------------------------------------------------------------------------


async def test_redirects_are_handed_on_and_lead_through_the_proxy(visit: Visit) -> None:
    client = await visit(prefix="/bin")
    relative = await client.get("/relative-redirect/2")
    assert (relative.status_code, relative.headers["Location"]) == (302, "/bin/relative-redirect/1")
    absolute = await client.get("/absolute-redirect/2")
    assert absolute.headers["Location"] == str(client.base_url).rstrip("/") + "/absolute-redirect/1"
    followed = await client.get("/absolute-redirect/3", follow_redirects=True)
    assert (followed.status_code, len(followed.history)) == (200, 3)
    assert all(str(each.url).startswith(str(client.base_url)) for each in [followed, *followed.history])


async def test_a_redirect_to_somebody_else_is_handed_on_untouched_and_not_followed(visit: Visit) -> None:
    client = await visit(credential={"type": "bearer", "token": "t"}, prefix="/bin")
    answer = await client.get("/redirect-to?url=http%3A%2F%2Fother.example%2Fx&status_code=307")
    assert (answer.status_code, answer.headers["Location"]) == (307, "http://other.example/x")


async def test_cookies_come_back_below_the_prefix(visit: Visit) -> None:
    client = await visit(prefix="/bin")
    answer = await client.get("/cookies/set?a=1&b=2")
    assert all("Path=/bin/" in cookie for cookie in answer.headers.get_list("Set-Cookie"))
    assert len(answer.headers.get_list("Set-Cookie")) == 2
    assert (await client.get("/cookies")).json() == {"cookies": {"a": "1", "b": "2"}}
    await client.get("/cookies/delete?a")
    assert (await client.get("/cookies")).json() == {"cookies": {"b": "2"}}


async def test_cookies_may_be_dropped(visit: Visit) -> None:
    client = await visit(cookies="drop")
    answer = await client.get("/cookies/set?a=1", headers={"Cookie": "b=2"})
    assert "Set-Cookie" not in answer.headers
    seen = await client.get("/cookies", headers={"Cookie": "b=2"})
    assert seen.json() == {"cookies": {}}


# -- uploads -------------------------------------------------------------------------------------------


async def pieces(size: int = 50_000) -> AsyncIterator[bytes]:
    for at in range(0, len(LARGE), size):
        yield LARGE[at : at + size]


def received(answer: httpx.Response) -> bytes:
    """What httpbin says that it got: as a data URL if it is no text."""
    assert answer.status_code == 200, answer.text[:300]
    data: str = answer.json()["data"]
    if data.startswith("data:"):
        return base64.b64decode(data.partition(",")[2])
    return data.encode()


async def test_a_large_upload_with_a_length_arrives(visit: Visit) -> None:
    client = await visit()
    answer = await client.post("/post", content=LARGE)
    assert hashlib.sha256(received(answer)).digest() == hashlib.sha256(LARGE).digest()
    assert answer.json()["headers"]["Content-Length"] == str(len(LARGE))


async def test_a_large_upload_in_chunks_arrives_in_chunks(visit: Visit) -> None:
    client = await visit()
    answer = await client.post("/post", content=pieces())
    assert hashlib.sha256(received(answer)).digest() == hashlib.sha256(LARGE).digest()
    assert answer.json()["headers"]["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.json()["headers"]


async def test_a_packed_upload_stays_packed(visit: Visit) -> None:
    client = await visit()
    packed = gzip.compress(LARGE)
    answer = await client.post("/post", content=packed, headers={"Content-Encoding": "gzip"})
    assert received(answer) == packed
    assert answer.json()["headers"]["Content-Encoding"] == "gzip"


async def test_a_form_with_a_file_arrives(visit: Visit) -> None:
    client = await visit()
    answer = await client.post("/post", data={"a": "b"}, files={"file": ("name.txt", b"hello")})
    assert (answer.json()["form"], answer.json()["files"]) == ({"a": "b"}, {"file": "hello"})


async def test_curl_need_not_wait_before_it_uploads(visit: Visit, tmp_path: Path) -> None:
    client = await visit()
    (tmp_path / "large").write_bytes(LARGE)
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "10", "--expect100-timeout", "9", "-H", "Expect: 100-continue"),
        *("--data-binary", f"@{tmp_path / 'large'}", "-o", "/dev/null", "-w", "%{http_code} %{time_total}"),
        str(client.base_url).rstrip("/") + "/post",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    status, seconds = out.decode().split()
    assert status == "200"
    assert float(seconds) < 5
