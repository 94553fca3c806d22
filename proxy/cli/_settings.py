"""The configuration of a command that does not serve."""

from __future__ import annotations

from pathlib import Path

from proxy import dumps
from proxy.config import Settings, load


def load_settings(config: Path | None) -> Settings:
    """Load the configuration; core dumps, which are forbidden so far, are as it says from now on.

    Raises:
        ConfigError: it is wrong.

    """
    settings = load(config)
    if settings.server.dumpable:
        dumps.allow()
    return settings
