"""The configuration's JSON Schema."""

from __future__ import annotations

import json
from typing import Any

from .conftest import Run


def properties(schema: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][name]["properties"]
    return found


def test_the_schema_is_json_and_knows_the_keys(run: Run) -> None:
    found = run("schema")
    assert (found.code, found.err) == (0, "")
    schema = json.loads(found.out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "countersign.toml"
    tables = {"server", "tokens", "retry", "timeout", "limits", "routes", "credentials"}
    assert set(schema["properties"]) == tables | {"proxy", "no_proxy"}
    assert schema["additionalProperties"] is False
    assert set(properties(schema, "ServerSettings")) == {
        "listen", "admin", "workers", "shutdown_grace", "allowed_hosts", "allowed_origins", "client_token",
        "admin_token", "trust_network", "connections", "header_size", "header_timeout", "body_timeout", "keepalive",
        "dumpable",
    }  # fmt: skip
    assert {"upstream", "prefix", "credential", "tls"} < set(properties(schema, "RouteSettings"))
    assert {"in", "name", "value", "prefix"} < set(properties(schema, "ApiKey"))


def test_it_is_the_same_on_every_machine(run: Run) -> None:
    assert "/home" not in run("schema").out
    assert "/tmp" not in run("schema").out
