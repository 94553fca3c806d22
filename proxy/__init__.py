"""Countersign: a local authenticating reverse proxy."""

__version__ = "0.1.0"
USER_AGENT = f"countersign/{__version__}"  # of requests that no client has made
