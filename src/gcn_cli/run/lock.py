"""One process at a time in a run folder: a lock that the kernel releases when its process dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gcn_cli.errors import UsageError

try:
    import fcntl
except ImportError:  # not everywhere
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""The file in the folder; it is there while a process is at work, or if one was killed."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a run folder. Yields False where there are no locks, or no file can be made.

    Raises:
        UsageError: another process holds it.
    """
    file = None if fcntl is None else _hold(folder / LOCK)
    try:
        yield file is not None
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()  # while it is held: nobody else holds what is removed
            os.close(file)


def _hold(path: Path) -> int | None:
    """The locked file's descriptor."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # NFS locks what is open to write
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            os.close(file)
            raise UsageError(
                f"another process ({holder or 'of unknown number'}) is at work on {path.parent}; "
                "wait for it, or stop it first"
            ) from error
        except OSError:  # a file system without locks
            os.close(file)
            return None
        if _lies_at(path, file):
            break
        os.close(file)  # its last holder removed it after we had opened it
    with contextlib.suppress(OSError):
        os.truncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def _lies_at(path: Path, file: int) -> bool:
    """Whether a path still leads to an open file."""
    with contextlib.suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(file))
    return False
