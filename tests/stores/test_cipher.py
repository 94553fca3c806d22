from __future__ import annotations

import pytest

from proxy.stores._cipher import REMEMBERED, Cipher, WrongKeyError

PLAIN = b"plain-canary"


@pytest.fixture(scope="module")
def cipher() -> Cipher:
    return Cipher([b"key-canary"])


def test_what_is_sealed_comes_back_in_another_process(cipher: Cipher) -> None:
    assert Cipher([b"key-canary"]).unseal(cipher.seal(PLAIN)) == PLAIN


def test_nothing_of_it_can_be_seen_and_no_two_look_alike(cipher: Cipher) -> None:
    one, other = cipher.seal(PLAIN), cipher.seal(PLAIN)
    assert one["data"] != other["data"]
    assert one["nonce"] != other["nonce"]
    assert one["salt"] == other["salt"]
    assert "canary" not in f"{one} {cipher!r}"


def test_the_key_is_derived_once_a_salt(cipher: Cipher, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = cipher.seal(PLAIN)
    monkeypatch.setattr("cryptography.hazmat.primitives.kdf.scrypt.Scrypt", None)
    assert cipher.unseal(cipher.seal(PLAIN)) == cipher.unseal(sealed) == PLAIN


def test_the_first_key_seals_and_all_of_them_unseal(cipher: Cipher) -> None:
    both = Cipher([b"new", b"key-canary"])
    assert both.unseal(cipher.seal(PLAIN)) == both.unseal(both.seal(PLAIN)) == PLAIN
    assert Cipher([b"new"]).unseal(both.seal(PLAIN)) == PLAIN
    with pytest.raises(WrongKeyError):
        cipher.unseal(both.seal(PLAIN))


def test_those_who_share_a_store_take_up_each_others_salt_and_remember_few(cipher: Cipher) -> None:
    other = Cipher([b"key-canary"])
    other.unseal(cipher.seal(PLAIN))
    assert other.seal(PLAIN)["salt"] == cipher.seal(PLAIN)["salt"]
    for number in range(REMEMBERED):
        other._known[b"", bytes([number])] = next(iter(other._known.values()))
    assert other.unseal(Cipher([b"key-canary"]).seal(PLAIN)) == PLAIN
    assert len(other._known) == 1


def test_another_key_is_told_from_damage(cipher: Cipher) -> None:
    with pytest.raises(WrongKeyError):
        Cipher([b"other"]).unseal(cipher.seal(PLAIN))


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
