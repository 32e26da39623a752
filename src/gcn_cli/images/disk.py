"""Files replaced whole: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: str | Path, write: Callable[[Path], None]) -> None:
    """Replaces a file's content at once by what ``write`` writes to the path it is given.

    Args:
        path: the file; its folder must exist.
        write: writes a new file beside it, of the same suffix.

    Raises:
        OSError: the file cannot be written; an old file is then left as it was.
    """
    path = Path(path)
    # In the same folder, since a rename is atomic only within one file system.
    scratch = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        write(scratch)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Replaces a file's content by bytes at once; see `atomic_write`."""

    def write(scratch: Path) -> None:
        with scratch.open("xb") as file:
            file.write(data)

    atomic_write(path, write)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Replaces a file's content by UTF-8 text at once; see `atomic_write`."""
    atomic_write_bytes(path, text.encode("utf-8"))
