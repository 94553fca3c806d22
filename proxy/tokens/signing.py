"""A key that signs, from the secret that it is written as."""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import SecretError
from proxy.keys import SigningKey
from proxy.secrets import Source


async def signing_key(source: Source, load: Callable[[str], SigningKey]) -> SigningKey:
    """Return the key that a secret holds.

    Raises:
        SecretError: it can't be had, or is no such key; names its source.

    """
    text = await source.get()
    try:
        return load(text)
    except SecretError as failure:
        problem = f"{source.where}: {failure}"
    raise SecretError(problem)
