"""``countersign help``: what ``--help`` says, for those who write it so."""

from __future__ import annotations

import click

from proxy.cli import told


@click.command("help")
@click.argument("commands", nargs=-1, metavar="[COMMAND]")
@click.pass_context
@told
def command(ctx: click.Context, commands: tuple[str, ...]) -> None:
    """Show this list, or the options of a command."""
    assert ctx.parent is not None
    context = ctx.parent
    for name in commands:
        if not isinstance(context.command, click.Group):
            break
        _, found, _ = context.command.resolve_command(context, [name])
        assert found is not None
        context = click.Context(found, info_name=name, parent=context)
    click.echo(context.get_help())
