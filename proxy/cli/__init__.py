"""The command line: a command a file, loaded when it is wanted.

Results go to stdout, everything else to stderr. Exit codes: 0 well, 1 it failed, 2 usage or configuration.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from proxy import __version__, hints, plugins
from proxy.errors import ConfigError, CountersignError, place
from proxy.later import certificates_later
from proxy.printable import printable, printable_lines

P = ParamSpec("P")

_EXTRA = re.compile(r"(?<=unexpected extra argument)(s?) \(.*\)", re.DOTALL)


class Group(click.Group):
    """Has no options of its own: they belong to its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say so where one stands in front of the command."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as failure:
            text = f"no such option in front of the command; expected {ctx.command_path} COMMAND [OPTIONS]"
            raise click.UsageError(text, ctx) from failure


class Commands(Group):
    """Finds the commands in this folder; ``--version`` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Names of the files."""
        return plugins.modules("proxy.cli")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load one."""
        if name not in self.list_commands(ctx):
            return None
        with _kept(), certificates_later():
            command: click.Command = importlib.import_module(f"proxy.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command if there is none of that name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as failure:
            from proxy.mistakes import nearest

            right = nearest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"no such command; right would be {right}", ctx) from failure

    def invoke(self, ctx: click.Context) -> object:
        """Run one. What it did not expect is not repeated: where ``X-Key: SECRET`` lacks its quotes that is SECRET."""
        try:
            return super().invoke(ctx)
        except click.UsageError as failure:
            text = _EXTRA.sub(r"\1", failure.message)
            if text == failure.message:
                raise
            context = failure.ctx
        raise click.UsageError(text, context)


@contextmanager
def _kept() -> Iterator[None]:
    """Let the garbage collector ignore what is made here, now and later: modules stay as long as the process does."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="countersign", message="%(prog)s %(version)s")
def cli() -> None:
    """Authenticating reverse proxy: programs speak plain HTTP to localhost, this adds the credentials."""


def _remember(ctx: click.Context, parameter: click.Parameter, config: Path | None) -> Path | None:  # noqa: ARG001
    """Have hints name the configuration that was named."""
    named = os.environ.get("COUNTERSIGN_CONFIG")
    hints.use(Path(named) if config is None and named else config)
    return config


def config_option(function: Callable[..., Any]) -> Callable[..., Any]:  # Any: click's decorators take all
    """Add ``--config FILE``."""
    return click.option(
        "--config",
        "config",
        type=click.Path(path_type=Path),
        callback=_remember,
        help="The configuration file, in place of the one that is found.",
    )(function)


def told(function: Callable[P, None]) -> Callable[P, None]:
    """Tell users what went wrong in a line, with the exit code that it means, and never a traceback."""

    @wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except ConfigError as failure:
            fail(str(failure), 2)
        except CountersignError as failure:
            fail(str(failure), 1)
        except BrokenPipeError:
            # Whoever read stdout has enough; Python would complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as failure:  # noqa: BLE001  # its text could repeat a secret
            fail(f"an unexpected {type(failure).__name__} at {place(failure)}; please report it", 1)

    return command


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows of a table, the first one its head, with their cells below each other, each in one line."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def echo(text: str, *, err: bool = False) -> None:
    """Print lines in which names, paths and texts of others stand: without what a terminal would obey."""
    click.echo(printable_lines(text), err=err)


def in_colour() -> bool:
    """Whether colours are wanted, on a terminal (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


def fail(text: str, code: int) -> None:
    """Say `text` on stderr and exit."""
    colours = in_colour() and sys.stderr.isatty()
    for line in map(printable, text.splitlines()):
        click.echo(click.style("error: ", fg="red") + line if colours else f"error: {line}", err=True)
    sys.exit(code)
