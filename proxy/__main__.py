"""``python -m proxy`` is ``countersign``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from proxy.lines import fill_in  # so that importing this costs nothing

    fill_in()
    from proxy.cli import cli

    cli()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, by -m: from now on no module comes from there
    main()
