from __future__ import annotations

import json

import pytest

from proxy.errors import StoreError
from proxy.stores import Token
from proxy.stores._cipher import Cipher
from proxy.stores._format import DamagedError, decode, encode

TOKENS = {"a": Token("access-canary", 5, "refresh-canary"), "\ud800": Token("b", None)}
HEAD = {"format": "countersign-tokens", "version": 1}


@pytest.fixture(scope="module")
def cipher() -> Cipher:
    return Cipher([b"key-canary"])


def test_tokens_come_back_as_they_were(cipher: Cipher) -> None:
    assert decode(encode(TOKENS, None), None) == TOKENS
    assert decode(encode(TOKENS, cipher), cipher) == TOKENS
    assert decode(encode(TOKENS, None), cipher, is_guarded=True) == TOKENS


def test_with_a_key_what_anyone_could_have_written_must_be_sealed(cipher: Cipher) -> None:
    with pytest.raises(DamagedError, match=r"is not encrypted, though tokens\.key is set"):
        decode(encode(TOKENS, None), cipher)


def test_an_encrypted_file_shows_neither_tokens_nor_names(cipher: Cipher) -> None:
    content = encode({"name-canary": TOKENS["a"]}, cipher)
    assert b"canary" not in content
    assert json.loads(content)["version"] == 1


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_torn_file_is_known_as_damaged(cipher: Cipher, encrypted: bool) -> None:
    used = cipher if encrypted else None
    content = encode(TOKENS, used)
    for length in range(len(content) - 1):
        with pytest.raises(DamagedError):
            decode(content[:length], used)
    assert decode(content[:-1], used) == TOKENS  # only the last line's end is missing


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"tokens": {}}',
        b'{"format": "countersign-tokens"}',
        json.dumps(HEAD).encode(),
        json.dumps(HEAD | {"tokens": []}).encode(),
        json.dumps(HEAD | {"tokens": {"a": "access-canary"}}).encode(),
        json.dumps(HEAD | {"tokens": {"a": {"access_token": ["canary"]}}}).encode(),
        json.dumps(HEAD | {"tokens": {"a": {"access_token": "canary", "expires_at": float("inf")}}}).encode(),
    ],
)
def test_what_is_not_ours_is_damaged(content: bytes) -> None:
    with pytest.raises(DamagedError) as caught:
        decode(content, None)
    assert "canary" not in str(caught.value)


def test_an_altered_encrypted_file_is_damaged(cipher: Cipher) -> None:
    document = json.loads(encode(TOKENS, cipher)) | {"nonce": "AAAAAAAAAAAAAAAA"}
    with pytest.raises(DamagedError, match="encrypted and damaged"):
        decode(json.dumps(document).encode(), cipher)


def test_what_is_whole_but_not_for_us_is_no_damage(cipher: Cipher) -> None:
    sealed = encode(TOKENS, cipher)
    with pytest.raises(StoreError, match=r"is encrypted; set tokens\.key"):
        decode(sealed, None)
    with pytest.raises(StoreError, match="another key") as caught:
        decode(sealed, Cipher([b"other-canary"]))
    assert "canary" not in str(caught.value)
    with pytest.raises(StoreError, match="another version"):
        decode(json.dumps(HEAD | {"version": 2}).encode(), None)
    with pytest.raises(StoreError, match="doesn't know"):
        decode(json.dumps(HEAD | {"cipher": "rot13"}).encode(), cipher)
