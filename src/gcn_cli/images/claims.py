"""What a JPEG's or PNG's first bytes claim, before any decoder is given the file.

Decoders make room for what a header claims: of a progressive JPEG for all of it, on opening it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from gcn_cli.errors import ImageError

MOST_WHOLE = 200_000_000
"""Px, at most, of pictures that are decoded whole whichever part of them is read."""
_JPEG = 8 * 64  # px that a byte holds, at most: a bit at least for every 8x8 px of a channel
_PNG = 8 * 1032  # the same: deflate makes at most 1032 bytes of one, of 8 px each
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_SEGMENTS = 10_000


class Claim(NamedTuple):
    """Sides, px; px that a byte of such a file holds, at most; whether it is decoded whole."""

    width: int
    height: int
    density: int
    whole: bool


def check_claims(path: Path) -> None:
    """Refuse a file that claims more px than its bytes can hold, or than are decoded whole.

    Raises:
        ImageError: it does.
        OSError: it cannot be read.
    """
    claim = _claimed(path)
    if claim is None:
        return
    pixels, size = claim.width * claim.height, path.stat().st_size
    if pixels > claim.density * size:
        raise ImageError(
            f"{path} says that it has {claim.width}x{claim.height} px, which its {size} bytes "
            "cannot hold: it is damaged"
        )
    if claim.whole:
        check_whole(path, pixels)


def check_whole(path: Path, pixels: int) -> None:
    """Refuse a file that is decoded whole, and has too many px for that.

    Raises:
        ImageError: it has.
    """
    if pixels > MOST_WHOLE:
        raise ImageError(
            f"{path} is refused: it has more than {MOST_WHOLE // 1_000_000} megapixels, and can "
            "only be decoded whole; save it as TIFF in tiles"
        )


def _claimed(path: Path) -> Claim | None:
    """What the file claims; None if it is neither JPEG nor PNG, or claims nothing."""
    with path.open("rb") as file:
        head = file.read(29)
        if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) == 29:
            width, height = struct.unpack(">II", head[16:24])
            return Claim(width, height, _PNG, head[28] == 1)
        if not head.startswith(b"\xff\xd8"):
            return None
        file.seek(2)
        for _ in range(_SEGMENTS):
            byte, marker = file.read(1), b"\xff"
            while byte == b"\xff" == marker:
                marker = file.read(1)
            if byte != b"\xff" or len(marker) != 1:
                return None
            if marker[0] in _ALONE:
                continue
            length = file.read(2)
            if len(length) != 2 or marker == b"\xda":
                return None
            if marker[0] in _FRAMES:
                return _frame(marker[0], file.read(5))
            file.seek(max(0, int.from_bytes(length, "big") - 2), 1)
    return None


def _frame(marker: int, data: bytes) -> Claim | None:
    if len(data) != 5:
        return None
    height, width = struct.unpack(">HH", data[1:])
    return Claim(width, height, _JPEG, marker not in (0xC0, 0xC1))
