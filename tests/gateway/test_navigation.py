"""The page that a browser sees first, and which content types are documents."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Denied
from proxy.gateway.navigation import confirmation, is_document


class Seen(HTMLParser):
    """Tags, and the text outside of styles."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(target: bytes, route: str = "api") -> Seen:
    body = confirmation("GET", target, route).body
    assert isinstance(body, bytes)
    return Seen(body)


def test_it_names_route_and_request_and_links_to_it() -> None:
    page = seen(b"/api/x?a=1&b=%20'\"", "my-api")
    assert "my-api" in page.text
    assert "GET /api/x?a=1&b=%20'\"" in page.text
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == ["/api/x?a=1&b=%20'\""]
    assert not {"script", "form", "img", "iframe", "link", "base"} & {tag for tag, _ in page.tags}


def test_no_other_page_can_frame_it_and_nothing_in_it_runs() -> None:
    answer = confirmation("HEAD", b"/x", "api")
    fields = dict(answer.headers)
    policy = fields[b"Content-Security-Policy"].decode()
    assert answer.status == 200
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert fields[b"Cache-Control"] == b"no-store"
    assert fields[b"X-Frame-Options"] == b"DENY"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_only_what_a_link_sends_can_be_confirmed(method: str) -> None:
    with pytest.raises(Denied):
        confirmation(method, b"/x", "api")


TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#\\"), max_size=30)


@given(TARGETS, st.text(max_size=10))
def test_no_target_and_no_name_leaves_its_place(rest: str, route: str) -> None:
    page = seen(f"/{rest}".encode(), route)
    [link] = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert link is not None
    assert link.removeprefix("/.") == f"/{rest}" or link == f"/{rest}"
    assert urljoin("http://localhost:8080/", link).startswith("http://localhost:8080/")
    assert len(page.tags) == len(seen(b"/").tags)


def test_two_slashes_name_no_other_host() -> None:
    [link] = [attributes["href"] for tag, attributes in seen(b"//evil.test/x").tags if tag == "a"]
    assert link == "/.//evil.test/x"


@pytest.mark.parametrize(
    "kind",
    [
        b"text/html", b"TEXT/HTML; charset=utf-8", b" text/html ;x", b"application/xhtml+xml", b"text/xml",
        b"application/xml", b"image/svg+xml", b"application/atom+xml;type=feed", b"", b"*/*", b"unknown/unknown",
        b"application/unknown", b"html", b"text/xsl", b"text/rdf", b"multipart/x-mixed-replace; boundary=b",
        b"text/plain, text/html", b"text/plain;a=b, text/html", b",text/html", b"text/html,", b"text/html x",
        b"text/html\tx", b"text/html(c", b"image/svg+xml(x", b"\x0btext/html", b"/html", b"text/",
    ],
)  # fmt: skip
def test_what_a_browser_may_run_scripts_of(kind: bytes) -> None:
    assert is_document(kind)


@pytest.mark.parametrize(
    "kind",
    [
        b"application/json",
        b"text/plain",
        b"image/png",
        b"text/event-stream",
        b"application/pdf",
        b"a/xmlx",
        b"a/b ; c=d",
    ],
)
def test_what_it_does_not(kind: bytes) -> None:
    assert not is_document(kind)


def test_the_style_is_the_one_that_its_policy_allows() -> None:
    answer = confirmation("GET", b"/x", "api")
    assert isinstance(answer.body, bytes)
    style = re.search(rb"<style>(.*?)</style>", answer.body)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1]).digest())
    assert b"'sha256-" + digest + b"'" in dict(answer.headers)[b"Content-Security-Policy"]
