# ruff: noqa: S105  # made up, and meant to be known
"""Who may call the demo API, and with what. All of it is made up, fixed and public.

Nothing here protects anything: whoever uses the demo API as a test double writes these into their
configuration.
"""

from __future__ import annotations

from typing import Final

#: HTTP Basic, and the resource owner of OAuth2's password grant.
USERNAME: Final = "demo-user"
PASSWORD: Final = "demo-password"

#: The static token of ``/bearer``, ``/throttled``, ``/flaky`` and ``/events``.
BEARER_TOKEN: Final = "demo-bearer-token"

#: The one OAuth2 client.
CLIENT_ID: Final = "demo-client"
CLIENT_SECRET: Final = "demo-client-secret"

#: A refresh token that is there from the start. It is rotated like any other: good for one use in the life of
#: an API. The password grant hands out more.
REFRESH_TOKEN: Final = "demo-refresh-token"

#: What ``/hmac`` is signed with.
KEY_ID: Final = "demo-key"
KEY_SECRET: Final = "demo-key-secret"
