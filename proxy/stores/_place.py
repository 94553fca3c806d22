"""Where on this machine a user's tokens are."""

from __future__ import annotations

import os
from pathlib import Path

from proxy.errors import StoreError


def default_path() -> Path:
    """``$XDG_STATE_HOME/countersign/tokens.json``; ``~/.local/state`` if that is not set or relative.

    Raises:
        StoreError: this user has no home directory.

    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        base = state if state.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        raise StoreError("this user has no home directory; set tokens.path") from None
    return base / "countersign" / "tokens.json"
