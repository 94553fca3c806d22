"""``python -m proxy`` is ``countersign``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from proxy.cli import cli  # so that importing this costs nothing

    cli()


if __name__ == "__main__":
    main()
