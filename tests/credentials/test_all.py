"""Several credentials on each request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from proxy.credentials import Scheme
from proxy.errors import ConfigError, CredentialError
from tests.credentials.doubles import Bench, applied, build, draft, request, target, values
from tests.doubles import answer

CANARY = "canary-5d1e"


def key(name: str, place: str = "header", value: Any = CANARY) -> Scheme:
    return build({"type": "api_key", "in": place, "name": name, "value": value})


def bearer(value: Any = CANARY) -> Scheme:
    return build({"type": "bearer", "token": value})


def combined(**members: Scheme) -> Scheme:
    return build({"type": "all", "credentials": list(members)}, others=members)


async def test_all_of_them_are_on_each_request() -> None:
    scheme = combined(a=bearer(), b=key("X-Key"), c=key("X-Other"), d=key("key", "query"), e=key("sid", "cookie"))
    sent = await applied(scheme, request(fields=[(b"Cookie", b"theirs=1")]))
    assert values(sent, "Authorization") == [f"Bearer {CANARY}".encode()]
    assert values(sent, "X-Key") == values(sent, "X-Other") == [CANARY.encode()]
    assert target(sent) == f"/base/x?a=1&key={CANARY}".encode()
    assert values(sent, "Cookie") == [f"theirs=1; sid={CANARY}".encode()]
    assert scheme.fields == {b"authorization", b"x-key", b"x-other"}


async def test_what_signs_covers_what_the_others_set() -> None:
    signing = build({"type": "hmac", "secret": CANARY, "string_to_sign": "{target}", "query": {"sign": "{signature}"}})
    (first, second) = [
        target(await applied(combined(**dict(members))))
        for members in ([("s", signing), ("k", key("k", "query"))], [("k", key("k", "query")), ("s", signing)])
    ]
    assert first == second
    assert first.startswith(f"/base/x?a=1&k={CANARY}&sign=".encode())


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"a": lambda: bearer(), "b": lambda: build({"type": "basic", "username": "u", "password": "p"})},
         "credentials.api: a and b set the same field authorization; expected"),
        ({"a": lambda: key("X-Key"), "b": lambda: key("x-key")}, "a and b set the same field x-key; expected"),
        ({"a": lambda: key("k", "query"), "b": lambda: key("k", "query")}, "a and b set the same parameter k; "),
    ],
)  # fmt: skip
def test_two_that_set_the_same_are_a_mistake(members: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        combined(**{name: make() for name, make in members.items()})


def test_one_name_in_two_places_is_none() -> None:
    combined(a=key("k", "query"), b=key("k", "header"), c=key("k", "cookie"))


async def test_one_that_can_not_be_had_stops_the_request() -> None:
    scheme = combined(a=key("X-Key"), b=key("X-Other", value={"env": "NOT_SET_ANYWHERE"}))
    with pytest.raises(CredentialError, match="NOT_SET_ANYWHERE"):
        await Bench(scheme)()


async def test_a_refused_token_is_renewed_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("canary-old")
    scheme = combined(a=key("X-Key"), b=bearer({"file": str(file)}), c=key("key", "query"))
    await scheme.ready()
    bench = Bench(scheme, 401, 200)
    before = file.stat()
    file.write_text("canary-new")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # such that only a refusal shows it
    response = await bench(draft(b"/base/x"))
    assert response.status_code == 200
    assert bench.sent("Authorization") == [b"Bearer canary-old", b"Bearer canary-new"]
    assert bench.sent("X-Key") == [CANARY.encode()] * 2


class Renewed(Scheme):
    """Renews whenever it is refused, and counts."""

    def __init__(self, name: str) -> None:
        self.fields = frozenset({name.lower().encode()})
        self._name = name
        self.renewals = 0

    async def apply(self, request: Any) -> None:
        request.headers[self._name] = str(self.renewals)

    async def async_auth_flow(self, request: Any) -> Any:
        await self.apply(request)
        response = yield request
        if response.status_code == 401:
            self.renewals += 1
            await self.apply(request)
            yield request


async def test_one_refusal_renews_one_token_only() -> None:
    first, second = Renewed("X-First"), Renewed("X-Second")
    bench = Bench(combined(a=first, b=second, c=key("X-Key")), *(answer(401) for _ in range(3)))
    assert (await bench()).status_code == 401
    assert (first.renewals, second.renewals) == (1, 0)
    assert bench.sent("X-First") == [b"0", b"1"]
    assert bench.sent("X-Second") == [b"0", b"0"]
    assert bench.sent("X-Key") == [CANARY.encode()] * 2


async def test_it_expires_with_the_first_of_them() -> None:
    soon, late = key("X-A"), key("X-B")
    soon.expires_at, late.expires_at = (lambda: 10.0), (lambda: 20.0)  # type: ignore[method-assign]  # doubles
    assert combined(a=late, b=soon, c=key("X-C")).expires_at() == 10.0
    assert combined(a=key("X-C"), b=key("X-D")).expires_at() is None
    assert combined(a=key("X-C"), b=key("X-D")).scope is None


async def test_explaining_names_the_members() -> None:
    to = request()
    found = await combined(a=bearer(), b=key("key", "query")).explain(to)
    assert found == {"credentials": "a, b"}
    assert (values(to, "Authorization"), target(to)) == ([b"Bearer ***"], b"/base/x?a=1&key=***")
