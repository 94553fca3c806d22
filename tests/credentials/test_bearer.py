from __future__ import annotations

import httpx
import pytest

from tests.credentials.doubles import applied, build, request, values


@pytest.mark.parametrize("token", ["abc.DEF-_~+/=", "with space", "tökén€"])
@pytest.mark.parametrize("others", [b"plain", b"\xc3\xa4", b"\xfc"])
async def test_it_is_utf8_whatever_the_other_fields_hold(token: str, others: bytes) -> None:
    to = request(fields=[(b"X-Other", others), (b"authorization", b"Bearer theirs")])
    to.headers = httpx.Headers(to.headers)  # as httpx copies them: with an encoding found out
    sent = await applied(build({"type": "bearer", "token": token}), to)
    assert values(sent, "Authorization") == [f"Bearer {token}".encode()]
    assert values(sent, "X-Other") == [others]


async def test_explaining_it_leaves_the_scheme() -> None:
    to = request()
    await build({"type": "bearer", "token": "canary with words"}).explain(to)
    assert values(to, "Authorization") == [b"Bearer ***"]
