"""No credential: for routes that only want the proxy's other services."""

from __future__ import annotations

from typing import Literal

from proxy.credentials import Context, Credential, Scheme


class NoCredential(Credential):
    """``type = "none"``."""

    type: Literal["none"]

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return Scheme()
