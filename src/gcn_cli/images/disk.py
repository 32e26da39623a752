"""Files replaced whole: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: str | Path, write: Callable[[Path], None]) -> None:
    """Replaces a file's content at once by what ``write`` writes to the path it is given.

    Args:
        path: the file; its folder must exist.
        write: writes a new file beside it, of the same suffix.

    Raises:
        OSError: the file, which it names, cannot be written; an old one is left as it was.
    """
    path = Path(path)
    # In the same folder, since a rename is atomic only within one file system.
    scratch = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        write(scratch)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


_SCRATCH = re.compile(r"\.(?P<stem>.+)\.[0-9a-f]{12}\.tmp(\.\w+)?")


def remove_scratch(folder: Path, stems: re.Pattern[str]) -> None:
    """Remove what writers of files with such stems left in a folder when they were killed."""
    for path in folder.iterdir():
        found = _SCRATCH.fullmatch(path.name)
        if found is not None and stems.fullmatch(found["stem"]):
            path.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Replaces a file's content by bytes at once; see `atomic_write`."""

    def write(scratch: Path) -> None:
        with scratch.open("xb") as file:
            file.write(data)

    atomic_write(path, write)


def atomic_write_text(path: str | Path, text: str) -> None:
    r"""Replaces a file's content by UTF-8 text at once; see `atomic_write`.

    Of a file's name that is no UTF-8 the odd bytes are written as ``\udce9``.
    """
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))
