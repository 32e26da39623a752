"""The way in: ``gcn`` and ``python -m gcn_cli``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; whatever goes wrong unforeseen is one sentence, too."""
    from gcn_cli.cli.streams import READER_LEFT, drop_results, settle_streams

    settle_streams()
    try:
        code = _called()
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        drop_results()
        code = READER_LEFT
    except Exception as error:
        code = _told(error)
    sys.exit(code)


def _called() -> int:
    """The exit code of the command."""
    from gcn_cli.cli.app import app

    if hasattr(sys.stdout, "reconfigure"):  # a path is written as it was read, byte for byte
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        app(prog_name="gcn")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer makes an exit code of 1 of it
            raise end.__context__ from None
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _told(error: Exception) -> int:
    """Tell what nobody foresaw; the exit code."""
    from gcn_cli.cli.app import wants_traceback
    from gcn_cli.errors import DeviceError

    if wants_traceback(sys.argv[1:]):
        raise error
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        sys.stderr.write("error: out of memory; ask for less at once, or for a smaller picture\n")
        return DeviceError.exit_code
    what = f"unexpected {type(error).__name__}: {error}"
    if isinstance(error, OSError):
        what = f"{error.filename or 'a file or stdout'}: {error.strerror or error}"
    sys.stderr.write(f"error: {what} (--debug shows where)\n")
    return 1


if __name__ == "__main__":
    main()
