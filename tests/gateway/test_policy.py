"""What a route's configuration lets through."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from proxy.errors import Denied
from proxy.gateway.policy import Policy, Rule, compile_rule, methods_of


def passes(policy: Policy, method: str, path: str) -> bool:
    try:
        policy.check([method], path.encode())
    except Denied as error:
        assert error.status == 403  # noqa: PT017  # a helper, not the test
        return False
    return True


@pytest.mark.parametrize(
    ("rule", "request_line", "wanted"),
    [
        ("GET /repos/**", "GET /repos/a/b", True),
        ("GET /repos/**", "GET /repos", True),
        ("GET /repos/**", "GET /repos/", True),
        ("GET /repos/**", "GET /reposx", False),
        ("GET /repos/**", "POST /repos/a", False),
        ("GET /repos/**", "HEAD /repos/a", False),
        ("GET /repos/**", "GET /x/repos/a", False),
        ("POST /repos/*/issues", "POST /repos/a/issues", True),
        ("POST /repos/*/issues", "POST /repos/a/b/issues", False),
        ("POST /repos/*/issues", "POST /repos/issues", False),
        ("POST /repos/*/issues", "POST /repos/a%2Fb/issues", False),
        ("POST /repos/*/issues", "POST /repos/a/issues/1", False),
        ("POST /repos/*/issues", "POST /repos/a/issues?x", False),
        ("DELETE **", "DELETE /a/b", True),
        ("DELETE **", "DELETE ", True),
        ("DELETE **", "GET /a", False),
        ("* /a", "PATCH /a", True),
        ("/a", "M-SEARCH /a", True),
        ("/a", "GET /A", False),
        ("/a", "GET /a/", False),
        ("/", "GET ", True),
        ("/**", "GET /", True),
        ("/**", "GET /a/b", True),
        ("/a*c", "GET /abc", True),
        ("/a*c", "GET /ab/c", False),
        ("/a**c", "GET /ab/c", True),
        ("/a/**/c", "GET /a/c", True),
        ("/a/**/c", "GET /a/b/b/c", True),
        ("/a/**/c", "GET /abc", False),
        ("GET|POST /a", "POST /a", True),
        ("GET|POST /a", "PUT /a", False),
        ("GET|POST /a", "GET /b", False),
        ("M-SEARCH /a", "M-SEARCH /a", True),
        ("/a.b", "GET /axb", False),
        ("/a+(b)[c]", "GET /a+(b)[c]", True),
        ("/a%20b", "GET /a%20b", True),
        ("/ü", "GET /%C3%BC", True),
        ("/%C3%BC", "GET /%C3%BC", True),
        ("/a/*", "GET /a/%0a", True),
        ("/a%2Fb", "GET /a/b", True),
        ("/%2A", "GET /*", True),
        ("/%2A", "GET /x", False),
        ("/a%252fb", "GET /a%252fb", True),
    ],
)
def test_what_a_rule_matches(rule: str, request_line: str, *, wanted: bool) -> None:
    method, path = request_line.split(" ", 1)
    rule = TypeAdapter(Rule).validate_python(rule)
    assert passes(Policy(allow=[rule]), method, path) is wanted
    if wanted:
        assert not passes(Policy(deny=[rule]), method, path)


def test_without_rules_everything_passes() -> None:
    assert Policy().is_open
    assert passes(Policy(), "DELETE", "/%2e%2e")


def test_deny_outdoes_allow() -> None:
    policy = Policy(allow=["/a/**"], deny=["DELETE **", "/a/secret/**"])
    assert passes(policy, "GET", "/a/b")
    assert not passes(policy, "DELETE", "/a/b")
    assert not passes(policy, "GET", "/a/secret")
    assert not passes(policy, "GET", "/b")


@pytest.mark.parametrize(
    "path",
    [
        "/admin/users", "//admin/users", "/admin//users", "/%61dmin/users", "/%61%64%6d%69%6e/users", "/admin%2fusers",
        "/admin;x/users", "/admin;a=b;c/users", "/admin/users;x", "/admin%3bx/users", "/;x/admin/users",
        "/admin%5cusers",
        "/%5cadmin/users", "%5Cadmin%5C%5Cusers", "/admin/;x/users", "/admin/users/", "/admin/users//",
        "/admin/users/;x", "//x/admin/users", "//x/admin//users/", "//user@host:1/admin/users", "/%2fx/admin/users",
        "/%5c%5cx/admin/users", "//x;y/admin/users;z", "/Admin/users", "/ADMIN/USERS", "//X/aDmin;x/Users/",
    ],
)  # fmt: skip
def test_other_spellings_of_a_path_are_denied_too(path: str) -> None:
    assert not passes(Policy(deny=["GET /admin/users"]), "GET", path)
    assert not passes(Policy(deny=["/admin/*"]), "GET", path)


def test_letters_beyond_ascii_have_a_case_too() -> None:
    assert not passes(Policy(deny=["/Ärger/**"]), "GET", quote("/äRGER/x"))
    assert not passes(Policy(deny=["/%FF/x"]), "GET", "/%FF/X")
    assert passes(Policy(allow=["/Ärger/**"]), "GET", quote("/Ärger/x"))


def test_what_a_server_reads_as_a_host_does_not_make_a_path_allowed() -> None:
    assert not passes(Policy(allow=["/a/**"]), "GET", "//a/secret")
    assert not passes(Policy(allow=["//x/*"]), "GET", "//x/a")


@pytest.mark.parametrize(
    ("method", "target", "overrides", "methods"),
    [
        ("GET", b"/a", [], ["GET"]),
        ("POST", b"/a", [b"delete"], ["POST", "DELETE"]),
        ("POST", b"/a", [b"DELETE, x", b' "PUT"; q=1'], ["POST", "DELETE", "X", "PUT", "Q", "1"]),
        ("POST", b"/a", [b"", b" , "], ["POST"]),
        ("POST", b"/a?_method=DELETE", [], ["POST", "DELETE"]),
        ("POST", b"/a?x=1&%5Fmethod=de%6Cete;_METHOD[]=put", [], ["POST", "DELETE", "PUT"]),
        ("POST", b"/a?+_method=PUT&x_method=A&_methods=B", [], ["POST", "PUT"]),
        ("GET", b"/a?_method=DELETE", [], ["GET"]),
    ],
)
def test_every_method_that_a_server_may_execute(
    method: str, target: bytes, overrides: list[bytes], methods: list[str]
) -> None:
    assert methods_of(method, target, overrides) == methods


def test_every_method_must_be_allowed_and_none_denied() -> None:
    for policy in (Policy(deny=["DELETE **"]), Policy(allow=["POST|PUT **"])):
        policy.check(["POST", "PUT"], b"/a")
        with pytest.raises(Denied):
            policy.check(["POST", "DELETE"], b"/a")


def test_a_method_in_small_letters_is_denied_too() -> None:
    assert not passes(Policy(deny=["DELETE **"]), "delete", "/a")
    assert not passes(Policy(allow=["GET /a"]), "get", "/a")


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/a/*/c", "/a//c"),
        ("/files/*", "/files/a%5cb"),
        ("/a/*", "/a/%2f"),
        ("/a/*", "/a/b%2Fc"),
        ("/a/*", "/a/b/c"),
        ("/*", "//a/b"),
    ],
)
def test_what_a_server_that_merges_slashes_sees_must_be_allowed_too(rule: str, path: str) -> None:
    assert not passes(Policy(allow=[rule]), "GET", path)


@pytest.mark.parametrize("path", ["/a/b", "/a//b", "/a/b/", "/a/b;v=1", "/a/b%5cc", "/a"])
def test_what_lies_below_an_allowed_folder_passes_however_it_is_spelt(path: str) -> None:
    assert passes(Policy(allow=["GET /a/**"]), "GET", path)


@pytest.mark.parametrize("path", ["/a%252fb", "/%2561"])
def test_the_path_is_decoded_once(path: str) -> None:
    assert passes(Policy(deny=["/a/b", "/a"]), "GET", path)


@given(st.text("aA/%25;\\.*?[(", max_size=12))
def test_any_path_that_is_denied_as_a_rule_is_denied_as_a_path(text: str) -> None:
    path = "/" + text
    rule = quote(path.encode(), safe="/")
    assert not passes(Policy(deny=[rule]), "GET", quote(path, safe="/"))


@given(st.binary(max_size=20))
def test_any_bytes_are_judged_without_a_fault(path: bytes) -> None:
    policy = Policy(allow=["GET /a/**", "/*"], deny=["/a/*", "DELETE **"])
    try:
        policy.check(["GET"], b"/" + path)
    except Denied:
        return


@pytest.mark.parametrize(
    "rule", ["GET /a", " GET  /a ", "*", "**", "* **", "GET|POST /a", "/a", "/a%20b", "get /a", "a!b|LIST /a"]
)
def test_what_is_a_rule(rule: str) -> None:
    assert TypeAdapter(Rule).validate_python(rule) == rule.strip()


@pytest.mark.parametrize(
    "rule", ["", " ", "GET", "a/b", "G(T /a", "PROP* /a", "GET a", "GET /a b", "GET,POST /a", "|GET /a", "GET| /a"]
)
def test_what_is_none(rule: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Rule).validate_python(rule)


@pytest.mark.parametrize("method", ["LIST", "VERSION-CONTROL", "a!b", "foo", "^.", "$"])
def test_a_method_is_any_token(method: str) -> None:
    Policy(allow=[f"GET|{method} /a"]).check([method], b"/a")
    for other in ("LISTS", "a", "b", "X", "^", "."):
        with pytest.raises(Denied):
            Policy(allow=[f"{method} /a"]).check([other], b"/a")


@pytest.mark.parametrize(("rule", "method"), [("list", "LIST"), ("LIST", "list"), ("a!b", "A!B"), ("Foo", "fOO")])
def test_what_is_denied_is_so_in_any_case_and_what_is_allowed_is_not(rule: str, method: str) -> None:
    with pytest.raises(Denied):
        Policy(deny=[f"{rule} /a"]).check([method], b"/a")
    with pytest.raises(Denied):
        Policy(allow=[f"{rule} /a"]).check([method], b"/a")


# -- rules of many wildcards ---------------------------------------------------------------------------------

RULES = st.lists(st.sampled_from(["/", "a", "b", "*", "**", "/**", "/*", "%2F", "."]), min_size=1, max_size=9)


def by_definition(rule: str, subject: bytes) -> bool:
    """What a rule means, as one would write it down, whatever time that takes."""
    wild = {"/**": "(?:/.*)?", "**": ".*", "*": "[^/]*"}
    parts = re.split(r"(/\*\*(?=/|$)|\*\*|\*)", rule)
    pattern = "".join(wild.get(part) or re.escape(unquote(part)) for part in parts)
    return re.fullmatch(f"GET {pattern}", subject.decode(), re.DOTALL) is not None


@given(RULES.map("".join).filter(lambda rule: rule[0] in "/*"), st.text("/ab.", max_size=9))
@settings(max_examples=300)
def test_a_rule_means_the_same_however_it_is_matched(rule: str, path: str) -> None:
    subject = f"GET {path}".encode()
    assert bool(compile_rule(f"GET {rule}").fullmatch(subject)) == by_definition(rule, subject)


@pytest.mark.parametrize("rule", ["/**/x/**/y", "/*a*a*b", "/**a**a**b", "/**/*a", "/**/x/*/y", "/*/*/**", "**x**x**"])
def test_no_path_is_long_enough_to_keep_a_rule_busy(rule: str) -> None:
    began = time.process_time()
    for path in (b"/x" * 15_000, b"/" + b"a" * 30_000, b"/" * 30_000):
        with suppress(Denied):
            Policy([rule]).check(["GET"], path)
    assert time.process_time() - began < 2  # some took minutes


@pytest.mark.parametrize("subject", [b"POST /a/x/b", b" /a/x/b", b"GET", b"GET  /a/x/b", b"/a/x/b"])
def test_many_wildcards_are_for_the_methods_that_are_named(subject: bytes) -> None:
    assert not compile_rule("GET|HEAD /a**x*/**b").fullmatch(subject)
    assert compile_rule("GET|HEAD /a**x*/**b").fullmatch(b"HEAD /a/x/b")
    assert compile_rule("/a**x*/**b").fullmatch(b"ANY /a/x/b")
