"""What the tests of the demo API hand in, and how they speak to it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac

from proxy.demo import DemoServer, accounts

BEARER = {"Authorization": f"Bearer {accounts.BEARER_TOKEN}"}


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def signed(
    target: str,
    *,
    method: str = "GET",
    timestamp: object = 1_700_000_000,
    nonce: str = "n-1",
    body: bytes = b"",
    key_id: str = accounts.KEY_ID,
    secret: str = accounts.KEY_SECRET,
) -> dict[str, str]:
    """Return the fields that sign a request, written down independently of the API's own code."""
    text = f"{method}\n{target}\n{timestamp}\n{nonce}\n" + hashlib.sha256(body).hexdigest()
    signature = hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()
    return {"X-Key-Id": key_id, "X-Timestamp": str(timestamp), "X-Nonce": nonce, "X-Signature": signature}


async def talk(api: DemoServer, request: str | bytes) -> str:
    """Send bytes as they are and return what comes until the connection ends."""
    reader, writer = await asyncio.open_connection(api.host, api.port)
    try:
        writer.write(request.encode() if isinstance(request, str) else request)
        return (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
