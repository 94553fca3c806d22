"""``python -m proxy`` is ``countersign``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    # Here, so that importing this costs nothing.
    from proxy.dumps import forbid
    from proxy.lines import fill_in

    fill_in()
    forbid(for_now=True)  # before anything secret is read, whichever command it is
    from proxy.cli import cli

    cli()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, by -m: from now on no module comes from there
    main()
