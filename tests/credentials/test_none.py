from __future__ import annotations

from tests.credentials.doubles import applied, build, request, written


async def test_nothing_is_put_on() -> None:
    assert written(await applied(build({"type": "none"}))) == written(request())
    assert build({"type": "none"}).fields == frozenset()
    assert build({"type": "none"}).expires_at() is None
