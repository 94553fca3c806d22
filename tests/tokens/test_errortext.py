"""Texts of servers, as they may be shown."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens._errortext import LONGEST, MOST, error_of, shown

CANARY = "canary-e77"


@pytest.mark.parametrize(
    ("table", "code", "description"),
    [
        ({}, "", ""),
        ({"access_token": "t", "message": "hello"}, "", "hello"),
        ({"error": None}, "", ""),
        ({"error": ""}, "", ""),
        ({"error": []}, "", ""),
        ({"error": False}, "", ""),
        ({"error": " a ", "error_description": " b\n", "message": "c"}, "a", "b"),
        ({"error": "a", "error_description": 7, "message": "c"}, "a", "c"),
        ({"error": {"code": 7, "type": "t", "message": "m"}, "message": "c"}, "t", "m"),
        ({"error": {"code": True}}, "error", ""),
        ({"error": {"code": 7}}, "7", ""),
        ({"error": [{"code": "a"}]}, "a", ""),
        ({"error": {"error": "a", "error_description": "b"}}, "a", "b"),
        ({"errors": ["a"]}, "a", ""),
        ({"errors": ["a"], "access_token": "t"}, "", ""),
        ({"success": False}, "ok: false", ""),
        ({"success": False, "access_token": "t"}, "", ""),
        ({"ok": False, "access_token": "t"}, "ok: false", ""),
        ({"ok": 0}, "", ""),
        ({"title": "a", "detail": "b"}, "", "b"),
        ({"errorCode": "E1", "errorSummary": "s"}, "", "s"),
    ],
)
def test_the_error_of_a_response(table: dict[str, Any], code: str, description: str) -> None:
    assert error_of(table) == (code, description)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\r\nb\tc  d\x0b\u2028e", "a b c d e"),
        ("a\x00b\x7fc\x85d", "abc d"),
        ("a\u200bb\u202ec\ud800d", "abcd"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x9b2Jclear", "clear"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP secret \x1b\\after", "after"),
        ("\x1b(Bplain\x1bc", "plain"),
        ("broken \x1b[", "broken"),
        ("AADSTS50173: Trace ID: 0a1b2c3d-0000-1111-2222-333344445555", None),
        ("scope 'https://graph.microsoft.com/.default' is not valid", None),
        ("größer als 5 €", None),
        ("the refresh token has expired", None),
        ("Refresh token expired.", None),
        ("token revoked (by the user)", None),
        ("Basic authentication required", None),
        ("Token Hunter2abc", "Token ***"),
        ("Bearer abcd1234", "Bearer ***"),
        ("see https://u:p@x/?code=1", "see https://***@x/?***"),
        ("client_secret=abc", "client_secret=***"),
        ("token AbCdEf0123456789AbCdEf is unknown", "token *** is unknown"),
        ("eyJhbGciOiJIUzI1NiJ9aa.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uh", "***.***.***"),
    ],
)
def test_a_text_is_one_line_without_what_looks_like_a_secret(text: str, says: str | None) -> None:
    assert shown(text) == (text if says is None else says)


@pytest.mark.parametrize(
    ("secret", "text", "says"),
    [
        ("hunter2", "hunter2 is wrong", "*** is wrong"),
        ("hunter2", "'HUNTER2'", "'***'"),
        ("hunter2", "hunter22", "hunter22"),
        ("hunter2", "pw_hunter2_", "pw_***_"),
        ("b", "bad b", "bad ***"),
        ("pass", "the password", "the password"),
        ("long enough", "xlong enoughx", "x***x"),
        ("long  enough", "a long  enough b", "a *** b"),
        ("a&b c/d<e", "a%26b+c%2Fd%3Ce and a&amp;b c/d&lt;e", "*** and ***"),
        ("a.b*c(d[e", "a.b*c(d[e axbyc(d[e", "*** axbyc(d[e"),
        ("long\x00enough", "long\x00enough", "***"),
        ("", "abc", "abc"),
        (" ", "a b c", "a b c"),
        ('{"k": "abcdefghijklmnopq"}', "abcdefghijklmnopq", "***"),
        ("-----BEGIN-----\\nabcdefghijklmnopq\\nx", "abcdefghijklmnopq.", "abcdefghijklmnopq."),
        ("-----BEGIN-----\nabcdefghijklmnopq\nx", "abcdefghijklmnopq.", "***."),
    ],
)  # fmt: skip
def test_a_secret_is_masked(secret: str, text: str, says: str) -> None:
    assert shown(text, [secret]) == says


@pytest.mark.parametrize("before", range(270, 301, 5))
def test_a_secret_at_the_end_leaves_no_piece(before: int) -> None:
    text = shown(f"{'x' * before} {CANARY}-long and more", [f"{CANARY}-long"])
    assert "canary" not in text
    assert len(text) <= LONGEST


@given(st.text(), st.lists(st.text(min_size=8)))
def test_whatever_it_is_it_is_one_short_line(text: str, secrets: list[str]) -> None:
    said = shown(text, secrets)
    assert said.isprintable()
    assert len(said) <= LONGEST


@given(st.text("ab\x00\x1b[m \n", max_size=40), st.text("ab\x00\x1b[m \n", max_size=40))
def test_no_escape_hides_a_secret(left: str, right: str) -> None:
    assert CANARY not in shown(f"{left}{CANARY}{right}", [CANARY])


@pytest.mark.parametrize("piece", ["a", "a1", "\x1b[", "\x1b]", "-", "x=", "token ", "0a1b2c3d-", "authorization"])
def test_a_huge_text_takes_no_time(piece: str) -> None:
    begun = time.process_time()
    assert len(shown(piece * ((1 << 20) // len(piece)), [CANARY, "b"])) <= LONGEST
    assert time.process_time() - begun < 1


def test_of_a_huge_text_the_beginning_is_shown() -> None:
    assert shown("word " * MOST) == ("word " * LONGEST)[: LONGEST - 1] + "…"
    secret = CANARY * 100
    for filling in (" " * (MOST - 500), f"{secret} " * (MOST // len(secret))):
        assert CANARY[:5] not in shown(filling + secret + "x" * MOST, [secret])


@pytest.mark.parametrize("secrets", [["x" * 1_000_000], [f"token-{number}" for number in range(20_000)]])
def test_no_response_holds_secrets_enough_to_keep_the_mask_busy(secrets: list[str]) -> None:
    began = time.process_time()
    assert shown("invalid_client", secrets) == "…"
    assert time.process_time() - began < 0.5  # 2 to 8 s before
