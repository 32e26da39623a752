"""Which files a path stands for."""

from __future__ import annotations

import stat
from pathlib import Path

from gcn_cli.errors import ImageError

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dpx", ".exr", ".gif", ".hdr", ".jp2", ".jpeg", ".jpg", ".jxl"),
        *(".pgm", ".png", ".ppm", ".psd", ".tga", ".tif", ".tiff", ".webp"),
    }
)


def find_images(path: str | Path, recursive: bool = False) -> list[Path]:
    """Lists the pictures that a path stands for.

    Args:
        path: a file, which gives itself, or a folder, which gives the pictures inside it (known by
            suffix, hidden files left out).
        recursive: whether folders inside it count, too.

    Returns:
        At least one path, sorted by name.

    Raises:
        ImageError: the path does not exist or the folder holds no picture.
    """
    return sort_out(path, recursive)[0]


def sort_out(path: str | Path, recursive: bool = False) -> tuple[list[Path], list[str]]:
    """`find_images`, and the names of files in the folder that were left out for their suffix."""
    path = Path(path)
    if not is_folder(path):
        return [path], []
    inside = path.rglob("*") if recursive else path.iterdir()
    try:
        files = [p for p in inside if _shown(p.relative_to(path)) and p.is_file()]
    except OSError as error:
        raise ImageError(f"the folder {path} cannot be read: {error.strerror}") from error
    found = sorted(p for p in files if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        known = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise ImageError(f"the folder {path} holds no images ({known})")
    left = sorted(str(p.relative_to(path)) for p in files if p not in set(found))
    return found, left


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; if not, it is a regular file.

    Raises:
        ImageError: it is neither, as a pipe or a device is, or it cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ImageError(f"{path} does not exist") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ImageError(f"{path} is neither a file nor a folder")
    return stat.S_ISDIR(mode)


def _shown(inside: Path) -> bool:
    return not any(part.startswith(".") for part in inside.parts)
