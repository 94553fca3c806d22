"""The bytes of a token file: a versioned JSON document, its tokens plain or encrypted. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Mapping

from proxy.errors import StoreError
from proxy.stores._cipher import METHOD, Cipher, WrongKeyError
from proxy.stores._token import Token

FORMAT, VERSION = "countersign-tokens", 1


class DamagedError(Exception):
    """These bytes are no token file of ours, or no longer. Its text is a predicate: ``is torn``."""


def encode(tokens: Mapping[str, Token], cipher: Cipher | None) -> bytes:
    """Return the file's content, encrypted if there is a cipher."""
    plain = {name: token.to_json() for name, token in tokens.items()}
    document: dict[str, object] = {"format": FORMAT, "version": VERSION}
    document |= {"tokens": plain} if cipher is None else cipher.seal(json.dumps(plain).encode())
    return json.dumps(document, indent=1).encode() + b"\n"


def decode(content: bytes, cipher: Cipher | None, *, is_guarded: bool = False) -> dict[str, Token]:
    """Take back what `encode` gave; a plain file needs no cipher, and one does no harm.

    Args:
        content: as it was found.
        cipher: unseals it.
        is_guarded: whether nobody but the owner can have written it. Elsewhere, whoever can write there could plant
            a token of their own: with a cipher, nothing that is not sealed counts.

    Raises:
        DamagedError: it is torn, altered or not ours.
        StoreError: it is whole, but can't be read with this key or by this version.

    """
    document = _object(content)
    version = document.get("version")
    if document.get("format") != FORMAT or not isinstance(version, int):
        raise DamagedError("is not a token file of Countersign's")
    if version != VERSION:
        raise StoreError("was written by another version of Countersign; move it away, or use that version")
    if "cipher" in document:
        return _tokens(_object(_unsealed(document, cipher)))
    if cipher is not None and not is_guarded:
        raise DamagedError("is not encrypted, though tokens.key is set")
    return _tokens(document.get("tokens"))


def _object(content: bytes) -> dict[str, object]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise DamagedError("is torn or no JSON") from None
    if not isinstance(document, dict):
        raise DamagedError("is not a token file of Countersign's")
    return document


def _unsealed(document: Mapping[str, object], cipher: Cipher | None) -> bytes:
    if document["cipher"] != METHOD:
        raise StoreError("is encrypted in a way that this version of Countersign doesn't know")
    if cipher is None:
        raise StoreError("is encrypted; set tokens.key")
    try:
        return cipher.unseal(document)
    except WrongKeyError:
        raise StoreError("is encrypted with another key than tokens.key and tokens.old_keys") from None
    except ValueError:
        raise DamagedError("is encrypted and damaged") from None


def _tokens(fields: object) -> dict[str, Token]:
    if not isinstance(fields, dict) or not all(isinstance(token, dict) for token in fields.values()):
        raise DamagedError("holds no tokens")
    try:
        return {name: Token.from_json(token) for name, token in fields.items()}
    except ValueError:
        raise DamagedError("holds a malformed token") from None
