"""The way in: ``gcn`` and ``python -m gcn_cli``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; whatever goes wrong unforeseen is one sentence, too."""
    from gcn_cli.cli.app import app, wants_traceback

    try:
        app(prog_name="gcn")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of stdout left; nothing more can be told there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if wants_traceback(sys.argv[1:]):
            raise
        kind = "" if isinstance(error, OSError) else f"unexpected {type(error).__name__}: "
        sys.stderr.write(f"error: {kind}{error} (--debug shows where)\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
