from __future__ import annotations

import pytest

from proxy.credentials._names import is_among, plain, plain_names


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("api_key", "api_key"), ("API_Key", "api_key"), ("api.key", "api_key"), ("api key", "api_key"),
        (" api_key\t", "api_key"), ("api_key\0[]", "api_key"), ("api[key", "api_key"), ("a[b]", "a[b]"), ("", ""),
        ("stra\xdfe", "strasse"),
    ],
)  # fmt: skip
def test_how_the_most_lenient_server_reads_a_name(name: str, read: str) -> None:
    assert plain(name) == read


@pytest.mark.parametrize(
    ("name", "answer"),
    [("k", True), ("K[]", True), ("k[a][b]", True), ("a[b]", True), ("a", False), ("a[c]", False), ("kk", False)],
)
def test_which_are_ours(name: str, answer: bool) -> None:
    assert is_among(name, plain_names(["k", "A[b]"])) is answer
