"""What drives load: wrk, and what wrk can't do."""

from __future__ import annotations


class LoadError(Exception):
    """The load got answers that are none, or not what was asked for."""
