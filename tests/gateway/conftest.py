"""What the tests of the gateway share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _alone() -> None:
    """Nothing here reads a file or a variable: there is nothing to keep out, and no folder to make for each row."""
