"""Countersign, from this checkout."""

from __future__ import annotations

from typing import ClassVar

from bench.contenders import Contender, Job, Site
from bench.process import free_port, said

_HMAC = """
[credentials.hmac]
type = "hmac"
key_id = "benchmark"
secret = { env = "BENCH_TOKEN" }
string_to_sign = "{timestamp}{method}{target}{body}"
headers = { X-Key = "{key_id}", X-Timestamp = "{timestamp}", X-Signature = "{signature}" }
"""
_BUILD = "import platform, sys; print(f'Python {platform.python_version()} of {sys.base_prefix}')"


class Countersign(Contender):
    """Its metrics are on, as they are by default."""

    name: ClassVar[str] = "countersign"

    def missing(self) -> str | None:
        """As `Contender.missing`: the benchmark itself runs from its environment."""
        return None

    def can(self, job: Job) -> bool:  # noqa: ARG002  # this one can do all of them
        """As `Contender.can`."""
        return True

    def command(self, site: Site, job: Job) -> list[str]:
        """As `Contender.command`."""
        config = site.home / "countersign.toml"
        config.write_text(_server(site, job) + _credential(site, job) + "".join(_routes(site, job)))
        command = [self.options.python, "-m", "proxy", "run", "--config", str(config), "--log-format", "json"]
        return command if job.access_log else [*command, "--no-access-log"]

    def about(self) -> str:
        """As `Contender.about`, and its interpreter: how that was built makes a difference of a quarter."""
        return f"{said(self.options.python, '-m', 'proxy', '--version')}, {said(self.options.python, '-c', _BUILD)}"


def _server(site: Site, job: Job) -> str:
    workers = f"workers = {job.workers}\n" if job.workers > 1 else ""
    connections = f"connections = {job.connections}\n" if job.connections else ""
    return (
        f'[server]\nlisten = ["127.0.0.1:{site.port}"]\nadmin = "127.0.0.1:{free_port()}"\n{workers}{connections}'
        '[tokens]\nstore = "memory"\n'
    )


def _credential(site: Site, job: Job) -> str:
    match job.credential:
        case "hmac":
            return _HMAC
        case "oauth2":
            return (
                '[credentials.oauth2]\ntype = "oauth2"\ngrant = "client_credentials"\n'
                f'token_url = "http://{site.issuer}/token"\nclient_id = "benchmark"\n'
                'client_secret = { env = "BENCH_TOKEN" }\n'
            )
        case _:
            return '[credentials.bearer]\ntype = "bearer"\ntoken = { env = "BENCH_TOKEN" }\n'


def _routes(site: Site, job: Job) -> list[str]:
    names = {f"r{number}": f"/r{number}" for number in range(1, job.routes)} | {"api": job.prefix}
    return [
        f'[routes.{name}]\nprefix = "{prefix}"\nupstream = "http://{site.api}"\ncredential = "{job.credential}"\n'
        for name, prefix in names.items()
    ]
