from __future__ import annotations

import pytest

from proxy.stores._cipher import Cipher, WrongKeyError

PLAIN = b"plain-canary"


@pytest.fixture(scope="module")
def cipher() -> Cipher:
    return Cipher(b"key-canary")


def test_what_is_sealed_comes_back_in_another_process(cipher: Cipher) -> None:
    assert Cipher(b"key-canary").unseal(cipher.seal(PLAIN)) == PLAIN


def test_nothing_of_it_can_be_seen_and_no_two_look_alike(cipher: Cipher) -> None:
    one, other = cipher.seal(PLAIN), cipher.seal(PLAIN)
    assert one["data"] != other["data"]
    assert one["nonce"] != other["nonce"]
    assert one["salt"] == other["salt"]
    assert "canary" not in f"{one} {cipher!r}"


def test_the_key_is_derived_once_a_salt(cipher: Cipher, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = cipher.seal(PLAIN)
    monkeypatch.setattr("proxy.stores._cipher.Scrypt", None)
    assert cipher.unseal(cipher.seal(PLAIN)) == cipher.unseal(sealed) == PLAIN


def test_another_key_is_told_from_damage(cipher: Cipher) -> None:
    with pytest.raises(WrongKeyError):
        Cipher(b"other").unseal(cipher.seal(PLAIN))


@pytest.mark.parametrize("part", ["nonce", "data"])
def test_what_was_altered_is_refused(cipher: Cipher, part: str) -> None:
    sealed = cipher.seal(PLAIN)
    first = "B" if sealed[part][0] == "A" else "A"
    with pytest.raises(ValueError, match="altered"):
        cipher.unseal(sealed | {part: first + sealed[part][1:]})


@pytest.mark.parametrize("part", ["salt", "check", "nonce", "data"])
@pytest.mark.parametrize("value", [None, 7, "", "?", "QQ==", "ä"])
def test_what_is_no_sealed_part_is_refused(cipher: Cipher, part: str, value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cipher.unseal(cipher.seal(PLAIN) | {part: value})
