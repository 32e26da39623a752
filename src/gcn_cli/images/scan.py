"""Files that OpenImageIO reads: more than 8 bits a sample, EXR, scans too large to hold.

OpenImageIO is never asked to guess: formats that are no pictures of the user's (its ``null``
format invents pixels) are left out.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import OpenImageIO as oiio

from gcn_cli.errors import ImageError
from gcn_cli.images.claims import check_whole
from gcn_cli.images.picture import Array, Depth

_FORMATS = frozenset(
    {
        *("bmp", "dpx", "gif", "hdr", "jpeg", "jpeg2000", "jpegxl", "openexr"),
        *("png", "pnm", "psd", "targa", "tiff", "webp"),
    }
)
_DEPTHS: dict[str, Depth] = {
    "uint8": "8",
    "uint16": "16",
    "half": "half",
    "float": "float",
    "double": "float",
}
_ROWS = 64  # read at once, of files in strips
_LONE = re.compile("[\ud800-\udfff]")  # what a byte of a name is to Python that is no UTF-8
_MOST_BAND = 2**30  # bytes of rows that are read at once
_WHOLE = frozenset({"gif", "jpeg2000", "jpegxl", "psd", "webp"})
_BROKEN_DEPTH = frozenset({"pnm"})  # before version 3.2 it swaps the bytes of 16-bit samples


class Part(NamedTuple):
    """A part of a picture, px from its top left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Scan:
    """What a file says of itself: sides in px, samples, channels by name."""

    path: Path
    format: str
    width: int
    height: int
    depth: Depth | None
    channels: tuple[int, ...]
    alpha: int | None
    spec: Any

    @property
    def deep(self) -> bool:
        """Whether its samples have more than 8 bits, which Pillow may not keep."""
        return self.depth not in (None, "8") and self.format not in _BROKEN_DEPTH

    def attribute(self, name: str) -> Any:
        """A note in the file, or None."""
        return self.spec.getattribute(name)

    @property
    def orientation(self) -> int:
        """As a camera noted that it was held (EXIF, 1 to 8)."""
        found = self.attribute("Orientation")
        return found if isinstance(found, int) and 1 <= found <= 8 else 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        sides = self.width, self.height
        return sides if self.orientation < 5 else sides[::-1]

    def stored(self, part: Part) -> Part:
        """Where a part of the upright picture lies in the file."""
        x, y, w, h = part if self.orientation < 5 else (part[1], part[0], part[3], part[2])
        if self.orientation in (2, 3, 7, 8):
            x = self.width - x - w
        if self.orientation in (3, 4, 6, 7):
            y = self.height - y - h
        return Part(x, y, w, h)

    @property
    def profile(self) -> bytes | None:
        """Its ICC profile."""
        found = self.attribute("ICCProfile")
        return None if found is None else np.asarray(found, dtype=np.uint8).tobytes()

    @property
    def associated(self) -> bool:
        """Whether colours are stored multiplied by alpha."""
        return self.alpha is not None and not self.attribute("oiio:UnassociatedAlpha")


def look(path: Path) -> Scan | None:
    """What OpenImageIO knows of a file; None if it is nothing that it may read."""
    source = _opened(path)
    if source is None:
        return None
    spec, name = source.spec(), source.format_name()
    source.close()
    if name not in _FORMATS or spec.width < 1 or spec.height < 1 or spec.deep or spec.depth > 1:
        return None
    names = [str(n).rpartition(".")[2].upper() for n in spec.channelnames]
    alpha = int(spec.alpha_channel) if spec.alpha_channel >= 0 else None
    colours = tuple(names.index(n) for n in "RGB") if {"R", "G", "B"} <= set(names) else ()
    others = tuple(k for k in range(spec.nchannels) if k != alpha)
    if not colours and len(others) in (1, 3):  # two would be half of something
        colours = others
    depth = _DEPTHS.get(str(spec.format))
    return Scan(path, name, spec.width, spec.height, depth, colours, alpha, spec)


def check_held(scan: Scan) -> None:
    """Refuse, before anything is decoded, what memory should not hold.

    Raises:
        ImageError: rows too long to be read in bands; too many px of a format that is decoded
            whole.
    """
    rows = scan.spec.tile_height or _ROWS
    if rows * scan.width * scan.spec.nchannels * scan.spec.format.size() > _MOST_BAND:
        raise ImageError(f"{scan.path} is refused: {rows} rows of it are more than 1 GiB")
    if scan.format in _WHOLE:
        check_whole(scan.path, scan.width * scan.height)


def _opened(path: Path) -> Any:
    wanted = oiio.ImageSpec()
    wanted.attribute("oiio:UnassociatedAlpha", 1)
    with _named(path) as name:
        source = oiio.ImageInput.open(name, wanted)
    if source is None:
        oiio.geterror()  # else it is printed when the process ends
    return source


@contextlib.contextmanager
def _named(path: Path) -> Iterator[str]:
    """A name of a file that is UTF-8, as OpenImageIO wants it: its own, or a link's."""
    name = str(path)
    if name.isascii() or _LONE.search(name) is None:
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"file{_LONE.sub('', path.suffix)}"
        link.symlink_to(path.resolve())
        yield str(link)


def read_scan(
    scan: Scan, reduction: int = 1, part: Part | None = None
) -> tuple[Array, Array | None]:
    """Samples (H, W, C) as stored, and alpha (H, W) from 0 to 1; C = 1 or 3.

    Args:
        scan: of the file.
        reduction: whole factor; the picture is averaged over squares of so many px while it is
            read, band by band, so that it is never held whole. Alpha is the least of a square.
        part: of the upright picture; only the rows, or tiles, that hold it are read.

    Returns:
        uint8, uint16 or float32; float32 of the same range where reduced.

    Raises:
        ImageError: channels that are no picture's.
        OSError: a damaged file.
    """
    if not scan.channels:
        names = ", ".join(str(n) for n in scan.spec.channelnames[:6])
        raise ImageError(f"{scan.path} holds the channels {names}; one is read, or three")
    if scan.depth is None:
        raise ImageError(f"{scan.path} holds samples of type {scan.spec.format}")
    here = scan.stored(part or Part(0, 0, *scan.size))
    pixels, done = np.empty(0), 0
    for band in _whole(_bands(scan, here), reduction):
        small = _reduced(band, reduction, scan.alpha)
        if not done:
            pixels = np.empty((here.height // reduction, *small.shape[1:]), small.dtype)
        pixels[done : done + len(small)] = small
        done += len(small)
    pixels = _upright(pixels, scan.orientation)
    levels = pixels[..., scan.channels]
    if scan.alpha is None:
        return levels, None
    most = {"8": 255.0, "16": 65535.0}.get(str(scan.depth), 1.0)
    return levels, pixels[..., scan.alpha].astype(np.float32) / most


def _bands(scan: Scan, part: Part) -> Iterator[Array]:
    """Rows (h, W, C) of a part of the stored picture, top to bottom."""
    source = _opened(scan.path)
    if source is None:
        raise OSError("it cannot be opened again")
    kind = {"8": "uint8", "16": "uint16", "half": "half"}.get(str(scan.depth), "float")
    rows, end = scan.spec.tile_height or _ROWS, part.top + part.height
    for top in range(part.top // rows * rows, end, rows):
        # Tiles are read whole; of strips the last rows are not asked for.
        bottom = min(scan.height if scan.spec.tile_width else end, top + rows)
        band = _checked(source, _strip(source, scan, top, bottom, part, kind))
        yield band[max(0, part.top - top) : end - top]
    source.close()


def _whole(bands: Iterable[Array], reduction: int) -> Iterator[Array]:
    """The same rows in multiples of the reduction; the rest is left out."""
    rest: Array | None = None
    for band in bands:
        joined = band if rest is None else np.concatenate([rest, band])
        whole = len(joined) // reduction * reduction
        rest = joined[whole:].copy() if whole < len(joined) else None
        if whole:
            yield joined[:whole]


def _strip(source: Any, scan: Scan, top: int, bottom: int, part: Part, kind: str) -> Array | None:
    x, y, count, step = scan.spec.x, scan.spec.y, scan.spec.nchannels, scan.spec.tile_width
    left, right = 0, scan.width
    if step:
        left = part.left // step * step
        right = min(scan.width, -(-(part.left + part.width) // step) * step)
        span = (x + left, x + right, y + top, y + bottom)
        found = source.read_tiles(0, 0, *span, 0, 1, 0, count, kind)
    else:
        found = source.read_scanlines(0, 0, y + top, y + bottom, 0, 0, count, kind)
    if found is None:
        return None
    band = np.asarray(found).reshape(bottom - top, right - left, count)
    return band[:, part.left - left : part.left - left + part.width]


def _checked(source: Any, pixels: Array | None) -> Array:
    told = source.geterror() if source.has_error else ""
    if pixels is None or told:
        raise OSError(told.strip().splitlines()[0] if told else "its pixels cannot be read")
    # Halves are widened here: the library's own way loses small ones once the engine has told the
    # processor to flush denormals.
    wide = np.float32 if pixels.dtype == np.float16 else pixels.dtype
    return np.asarray(pixels, dtype=wide).reshape(*pixels.shape[:2], -1)


def _reduced(band: Array, factor: int, alpha: int | None) -> Array:
    if factor == 1:
        return band
    h, w = (n // factor for n in band.shape[:2])
    squares = band[:, : w * factor].reshape(h, factor, w, factor, -1)
    mean: Array = squares.mean((1, 3), dtype=np.float32)
    if alpha is not None:
        mean[..., alpha] = squares[..., alpha].min((1, 3))
    return mean


def _upright(pixels: Array, orientation: int) -> Array:
    turns = {3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}
    turned = np.rot90(pixels, turns.get(orientation, 0))
    return turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned
