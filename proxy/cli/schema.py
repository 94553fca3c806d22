"""``countersign schema``: the configuration's JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import click

from proxy.cli import told
from proxy.config import Settings


def schema() -> dict[str, Any]:  # Any: JSON
    """Return the schema (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(mode="validation"),
    }


@click.command("schema")
@told
def command() -> None:
    """Print the configuration's JSON Schema, for editors."""
    click.echo(json.dumps(schema(), indent=2, default=str))
