"""Reading pictures.

Pillow reads what has 8 bits a sample, OpenImageIO (`scan`) what has more, EXR among it, and scans
that are too large to be held whole. Either gives samples and alpha; from there on the way is one.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.images.claims import check_claims
from gcn_cli.images.colour import (
    Space,
    identity,
    png_chunks,
    space_of_png,
    space_of_primaries,
    space_of_profile,
)
from gcn_cli.images.find import is_folder
from gcn_cli.images.picture import Array, Crop, Depth, Picture, Role, encoded, filled
from gcn_cli.images.scan import Part, Scan, check_held, look, read_scan

# What decoders are known to raise on damaged files.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, struct.error)
_KNOWN = 0.5  # alpha from which on a pixel's colour counts
_FINER = 2  # times the size that is asked for, at least, that a reduced scan has


@dataclass(frozen=True)
class _Raw:
    """Samples (H, W, C) in grey levels as stored, alpha (H, W) from 0 to 1; see `Picture`."""

    levels: Array
    alpha: Array | None
    depth: Depth
    space: Space | None = None
    notes: tuple[str, ...] = ()
    whole: tuple[int, int] = (0, 0)

    @property
    def linear(self) -> bool:
        """Whether samples are linear light."""
        return self.depth in ("half", "float")


def load_image(path: str | Path) -> Tensor:
    """The grey levels `(C, H, W)` of a picture in colour; see `read_picture`."""
    return read_picture(path).levels


def read_picture(
    path: str | Path,
    role: Role = "colour",
    max_side: int = 0,
    crop: Crop | None = None,
    alpha: bool = True,
) -> Picture:
    """Reads a picture of any size, mode and depth that Pillow or OpenImageIO knows.

    Greyscale gives one channel, all others three. The rotation noted by a camera (EXIF) is applied.
    Of 16 bits, 65535 becomes 255.0. Floating-point samples (EXR, TIFF) count as linear light, 1
    being white. Of an animation, the first frame is read. A pixel is known where its alpha is one
    half or more; its colour is the one stored, blended with nothing.

    Args:
        path: the file.
        role: ``colour``: a profile, PNG's or EXR's colour space is converted to sRGB, and linear
            light is given sRGB's curve. ``data``: neither; floating-point 1.0 becomes 255.0.
        max_side: the longest side, px, that is of use; 0: all. What has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` is then reduced while it is read, by a whole factor, to
            twice that side or more.
        crop: the part (left, top, width, height) that is wanted, px of the upright picture. Of
            files that OpenImageIO reads nothing else is held.
        alpha: whether alpha tells what is known.

    Raises:
        ImageError: the file is missing, no picture, damaged, transparent everywhere, holds values
            that are no grey levels, or is so large that decoding it could exhaust the memory; the
            crop lies outside.
    """
    path = Path(path)
    if is_folder(path):
        raise ImageError(f"{path} is a folder, not an image")
    with _one_sentence(path):
        raw = _raw(path, role, max_side, crop)
        if raw.linear and not np.isfinite(raw.levels).all():
            raise ImageError(f"{path} holds values that are not finite numbers")
        raw = raw if alpha else replace(raw, alpha=None)
        return _picture(raw if role == "data" else _in_srgb(raw), path, crop)


def _picture(raw: _Raw, path: Path, crop: Crop | None) -> Picture:
    channels = np.ascontiguousarray(np.moveaxis(raw.levels, 2, 0), dtype=np.float32)
    levels, notes = torch.from_numpy(channels), raw.notes
    known = None if raw.alpha is None else torch.from_numpy(raw.alpha >= _KNOWN)
    if known is None or bool(known.all()):
        return Picture(levels, None, raw.depth, notes, raw.whole)
    if not bool(known.any()):
        raise ImageError(
            f"{path} is transparent everywhere{'' if crop is None else ' in the crop'}"
        )
    share = 1 - float(known.to(torch.float32).mean())
    notes = (*notes, f"{share:.1%} of it is transparent and left out")
    return Picture(filled(levels, known), known, raw.depth, notes, raw.whole)


# ------------------------------------------------------------------------------ who reads


def _raw(path: Path, role: Role, max_side: int, crop: Crop | None) -> _Raw:
    check_claims(path)
    scan = look(path)
    if scan is not None:
        check_held(scan)
        part = _part(crop, scan.size, path)
        if scan.width * scan.height > (Image.MAX_IMAGE_PIXELS or np.inf):
            return _by_scan(scan, part, role, _reduction(path, part, max_side))
        if scan.deep:
            return _by_scan(scan, part, role)
    try:
        with Image.open(path) as picture:
            picture.load()
            return _cropped(_by_pillow(picture, path, role), crop, path)
    except UnidentifiedImageError:
        if scan is None:
            raise
        return _by_scan(scan, part, role)


def _part(crop: Crop | None, size: tuple[int, int], path: Path) -> Part:
    """The part of a picture (width, height) that is wanted.

    Raises:
        ImageError: it lies outside.
    """
    part = Part(0, 0, *size) if crop is None else Part(*crop)
    if part.left + part.width > size[0] or part.top + part.height > size[1]:
        told = ",".join(str(n) for n in part)
        raise ImageError(f"the crop {told} lies outside {path.name}, {size[0]}x{size[1]} px")
    return part


def _cropped(raw: _Raw, crop: Crop | None, path: Path) -> _Raw:
    height, width = raw.levels.shape[:2]
    x, y, w, h = _part(crop, (width, height), path)
    alpha = None if raw.alpha is None else raw.alpha[y : y + h, x : x + w]
    levels = raw.levels[y : y + h, x : x + w]
    return replace(raw, levels=levels, alpha=alpha, whole=(width, height))


def _reduction(path: Path, part: Part, max_side: int) -> int:
    """By how much to reduce what is wanted of a picture that is too large to be held.

    Raises:
        ImageError: nothing was said, or it would still be too large.
    """
    pixels, limit = part.width * part.height, Image.MAX_IMAGE_PIXELS or 0
    if pixels <= limit:
        return 1
    factor = max(part.width, part.height) // (_FINER * max_side) if max_side else 1
    if factor < 2 or pixels / factor**2 > limit:
        raise ImageError(
            f"{path} is refused: it has more than {limit // 1_000_000} megapixels; "
            "images.max_side (px) learns from a smaller copy"
        )
    return factor


def _by_scan(scan: Scan, part: Part, role: Role, reduction: int = 1) -> _Raw:
    samples, alpha = read_scan(scan, reduction, part)
    depth: Depth = scan.depth or "8"
    scale = {"8": 1.0, "16": 1 / 257}.get(depth, 255.0)
    levels = samples.astype(np.float32)
    if depth == "16":
        levels /= 257  # as exact as it can be: 65535 is 255
    elif scale != 1:
        levels *= scale
    if scan.associated and alpha is not None:
        levels /= np.where(alpha > 0, alpha, 1)[..., None]
    notes: tuple[str, ...] = ()
    if reduction > 1:
        notes = (f"its {part.width}x{part.height} px were reduced {reduction} times on reading",)
    if depth in ("half", "float") and float(levels.max()) > 255:
        notes = (*notes, f"its values go up to {float(levels.max()) / 255:.3g}; 1 is white")
    space, remark = _space(scan.path, scan.profile, role)
    if space is None and scan.format == "openexr" and role == "colour":
        space = _of_exr(scan.attribute("chromaticities"))
    return _Raw(levels, alpha, depth, space, (*notes, *remark), scan.size)


def _of_exr(given: Any) -> Space | None:
    if given is None or len(given) != 8:
        return None
    numbers = [float(n) for n in given]
    return space_of_primaries("EXR's chromaticities", (*numbers[6:], *numbers[:6]), identity)


def _space(path: Path, profile: bytes | None, role: Role) -> tuple[Space | None, tuple[str, ...]]:
    """The space that a file of colours names, if it is one of a matrix and curves; remarks.

    Raises:
        ImageError: a space that is not converted.
    """
    if role == "data":
        return None, ()
    try:
        space = space_of_png(png_chunks(path))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    if space is None and profile:
        try:
            space = space_of_profile(profile)
        except (ValueError, IndexError, struct.error, np.linalg.LinAlgError):
            return None, ("its colour profile is damaged and was left out",)
    return space, ()


# --------------------------------------------------------------------------------- Pillow


def _by_pillow(picture: Image.Image, path: Path, role: Role) -> _Raw:
    profile = picture.info.get("icc_profile")
    ImageOps.exif_transpose(picture, in_place=True)  # of a large picture a copy is too many
    space, notes = _space(path, profile, role)
    if picture.mode.startswith("I"):
        return _Raw(_integers(np.asarray(picture), path), None, "16", space, notes)
    if picture.mode == "F":
        levels = np.asarray(picture, dtype=np.float32)[..., None] * np.float32(255)
        return _Raw(levels, None, "float", space, notes)
    grey = picture.mode in {"1", "L", "LA", "La"}
    alpha: Array | None = None
    if picture.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture.getchannel("A"), dtype=np.float32) / 255
        picture = picture.convert("RGB").getchannel("R") if grey else picture.convert("RGB")
    if profile and space is None and not notes and role == "colour":
        picture, notes = _by_tables(picture, profile)
    return _Raw(_samples(_in_mode(picture, "L" if grey else "RGB")), alpha, "8", space, notes)


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    return picture if picture.mode == mode else picture.convert(mode)


def _samples(picture: Image.Image) -> Array:
    """Samples (H, W, C) that lie channel by channel, as they are needed: no copy is made again."""
    channels = len(picture.getbands())
    planes = np.empty((channels, picture.height, picture.width), np.float32)
    for k in range(channels):
        planes[k] = np.asarray(picture.getchannel(k))
    return np.moveaxis(planes, 0, 2)


def _by_tables(picture: Image.Image, profile: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture through a profile of tables, such as a printer's, to sRGB."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(given).strip()
        srgb = ImageCms.createProfile("sRGB")
        told = ImageCms.profileToProfile(picture, given, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture, ("its colour profile does not fit it and was left out",)
    return told or picture, (_converted(name),)


def _integers(values: Array, path: Path) -> Array:
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{path} holds integers outside the 16-bit range 0..65535")
    return values.astype(np.float32)[..., None] / np.float32(257)


# --------------------------------------------------------------------------------- colour


def _converted(name: str) -> str:
    return f"read from {name}, converted to sRGB"


def _in_srgb(raw: _Raw) -> _Raw:
    """Levels in sRGB's values; what is in them already stays as it is, bit for bit."""
    space, notes = raw.space, raw.notes
    if (space is None and not raw.linear) or (space is not None and space.is_srgb):
        return raw
    values = raw.levels / np.float32(255)
    if space is None or (raw.linear and space.is_light):
        levels = 255 * encoded(values)
    else:
        levels = 255 * encoded(space.light(values))
        notes = (*notes, _converted(space.name))
    levels = levels if raw.linear else levels.clip(0, 255)
    return replace(raw, levels=levels.astype(np.float32), notes=notes)


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Turns whatever a decoder raises into one sentence that names the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on sloppy metadata are not the user's concern
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
            raise ImageError(f"{path} is refused: it has more than {limit} megapixels") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{path} is not an image in a known format") from error
        except PermissionError as error:
            raise ImageError(f"{path} cannot be read: {error.strerror}") from error
        except MemoryError as error:
            raise ImageError(f"{path} is larger than the memory that is free") from error
        except _DECODER_ERRORS as error:
            raise ImageError(f"{path} cannot be read, it may be damaged: {error}") from error
