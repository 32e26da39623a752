"""Writing pictures: rounding, depth, formats, colour space.

Pillow writes 8 bits, OpenImageIO TIFF and EXR; PNG of 16 bits, which neither writes with text and
sRGB's mark, is written here. Floating-point samples are linear light (of data: the numbers).
"""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.images.disk import atomic_write, atomic_write_bytes
from gcn_cli.images.picture import DEPTHS, Array, Depth, Role, decoded

_BAND = 256  # rows converted at once: a large picture is not held twice
_COMPRESSION = 3  # of PNG, 0 to 9: the default, 6, takes up to five times as long to save an eighth
_EIGHT: tuple[Depth, ...] = ("8",)
FORMATS: dict[str, tuple[Depth, ...]] = {
    ".png": ("8", "16"),
    ".tif": DEPTHS,
    ".tiff": DEPTHS,
    ".exr": ("half", "float"),
    ".jxl": ("8", "16", "float"),
    ".jpg": _EIGHT,
    ".jpeg": _EIGHT,
    ".webp": _EIGHT,
    ".tga": _EIGHT,
    ".bmp": _EIGHT,
}
"""What is written: suffix to the depths that the format holds."""
_PILLOW: dict[str, tuple[str, dict[str, Any]]] = {
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
    ".tga": ("TGA", {"compression": "tga_rle"}),
    ".bmp": ("BMP", {}),
}
_MOST_SIDE = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500, ".tga": 65535}  # px
_TYPES = {"8": "uint8", "16": "uint16", "half": "half", "float": "float"}


# --------------------------------------------------------------------------- what goes where


def check_format(path: str | Path, depth: Depth | None = None) -> None:
    """Refuse, before any work, a file that could not be written.

    Args:
        path: the file; its suffix says the format.
        depth: of its samples; None: any that the format holds.

    Raises:
        ImageError: an unknown suffix, or a depth that the format does not hold.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS or (suffix == ".jxl" and not _writes_jxl()):
        known = ", ".join(known for known in FORMATS if known != ".jxl" or _writes_jxl())
        raise ImageError(f"{path} has no suffix of a format that is written: {known}")
    if depth is not None and depth not in FORMATS[suffix]:
        held = " or ".join(FORMATS[suffix])
        others = [s for s, depths in FORMATS.items() if depth in depths and s != ".jxl"]
        raise ImageError(
            f"{suffix} holds a depth of {held}, not of {depth}; {', '.join(others)} would"
        )


def check_sides(path: str | Path, height: int, width: int) -> None:
    """Refuse, before any work, a picture too large for its format.

    Raises:
        ImageError: it is.
    """
    most = _MOST_SIDE.get(Path(path).suffix.lower())
    if most is not None and max(height, width) > most:
        raise ImageError(f"{path} would be {width}x{height} px; its format holds {most} px a side")


def check_folder(folder: str | Path) -> None:
    """Refuse, before any work, a folder in which nothing could be written.

    Raises:
        ImageError: it, or the nearest folder above it that exists, is a file or is not writable.
    """
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise ImageError(f"{folder} is a file, not a folder to write to")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"the folder {folder} cannot be written to")


def fitting_depth(suffix: str, depth: Depth) -> Depth:
    """The depth that a format of a suffix holds and that comes nearest to a depth."""
    held = FORMATS[suffix.lower()]
    below = [d for d in held if DEPTHS.index(d) <= DEPTHS.index(depth)]
    return depth if depth in held else (below[-1] if below else held[0])


def usual_suffix(depth: Depth) -> str:
    """The suffix of a file of which only the depth is known."""
    return ".png" if depth in FORMATS[".png"] else ".exr"


@cache
def _writes_jxl() -> bool:
    formats = str(oiio.get_string_attribute("output_format_list"))
    return "jpegxl" in formats.split(",")


# -------------------------------------------------------------------------------- rounding


def to_uint8(x: Tensor) -> Tensor:
    """Rounds grey levels of any shape to bytes, clamping to 0..255.

    Raises:
        ImageError: a value is NaN or infinite, which no grey level stands for.
    """
    _check_finite(x)
    if x.ndim < 2:
        return x.detach().round().clamp(0, 255).to(torch.uint8)
    levels = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for top in range(0, x.shape[-2], _BAND):
        band = x.detach()[..., top : top + _BAND, :]
        levels[..., top : top + _BAND, :] = band.round().clamp_(0, 255)
    return levels


def _check_finite(x: Tensor) -> None:
    if x.numel() and not all(bool(torch.isfinite(end)) for end in x.aminmax()):
        raise ImageError("the picture holds values that are not finite numbers")


def _check_shape(image: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ImageError(f"a picture has 1 or 3 channels, not the shape {tuple(image.shape)}")


def to_pillow(image: Tensor) -> Image.Image:
    """A picture `(C, H, W)`, C = 1 or 3, as Pillow's; raises ImageError as `png_bytes`."""
    _check_shape(image)
    levels = to_uint8(image).cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(levels[:, :, 0] if image.shape[0] == 1 else levels)


def _samples(image: Tensor, depth: Depth, role: Role) -> Array:
    """Samples (H, W, C) as a file of a depth holds them."""
    _check_shape(image)
    _check_finite(image)
    levels = image.detach().cpu().permute(1, 2, 0)
    if depth == "8":
        return to_uint8(image).cpu().permute(1, 2, 0).contiguous().numpy()
    kind = np.dtype({"16": "uint16", "half": "float16", "float": "float32"}[depth])
    told: Array = np.empty(levels.shape, dtype=kind)
    for top in range(0, len(told), _BAND):
        band = levels[top : top + _BAND].numpy()
        if depth == "16":
            told[top : top + _BAND] = np.clip(np.rint(band * 257.0), 0, 65535)
            continue
        values = decoded(band / 255.0) if role == "colour" else band / 255.0
        most = {"half": 65504.0, "float": 3.4028234663852886e38}[depth]
        told[top : top + _BAND] = np.clip(values, -most, most)
    return told


# --------------------------------------------------------------------------------- encoding


def png_bytes(
    image: Tensor,
    metadata: Mapping[str, str] | None = None,
    depth: Depth = "8",
    role: Role = "colour",
) -> bytes:
    """Encodes a picture as PNG.

    Args:
        image: grey levels `(C, H, W)`, C = 1 or 3.
        metadata: text to carry, by keyword (1 to 79 Latin-1 characters); the text may be any
            Unicode.
        depth: 8 or 16.
        role: of colours the file says that they are sRGB's.

    Returns:
        The file's content; the same input gives the same bytes.

    Raises:
        ImageError: the shape is no picture's, a value is not finite, or PNG holds no such depth.
    """
    info = PngInfo()
    if role == "colour":
        info.add(b"sRGB", b"\x00")  # perceptual
    for key, value in (metadata or {}).items():
        info.add_text(key, value)
    if depth == "16":
        return _png16(_samples(image, depth, role), info)
    check_format("a.png", depth)
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG", pnginfo=info, compress_level=_COMPRESSION)
    return buffer.getvalue()


def _png16(samples: Array, info: PngInfo) -> bytes:
    """A PNG of 16-bit samples (H, W, C): every row as the difference to the one above."""
    height, width, channels = samples.shape
    head = struct.pack(">IIBBBBB", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    packer = zlib.compressobj(_COMPRESSION)
    above = np.zeros((1, 2 * width * channels), dtype=np.uint8)
    packed = []
    for top in range(0, height, _BAND):
        band = samples[top : top + _BAND].astype(">u2").reshape(-1, width * channels)
        rows = band.view(np.uint8)
        rise = rows - np.concatenate([above, rows[:-1]])  # modulo 256
        mark = np.full((len(rows), 1), 2, dtype=np.uint8)
        packed.append(packer.compress(np.concatenate([mark, rise], 1).tobytes()))
        above = rows[-1:]
    packed.append(packer.flush())
    told = [(chunk[0], chunk[1]) for chunk in info.chunks]
    chunks = [(b"IHDR", head), *told, (b"IDAT", b"".join(packed)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@cache
def _srgb_profile() -> bytes:
    """An ICC profile of sRGB, the same bytes at any time."""
    told = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    told[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(told)


def save_png(path: str | Path, image: Tensor, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a picture as PNG of 8 bits, whole or not at all; see `save_picture`."""
    atomic_write_bytes(path, png_bytes(image, metadata))


def save_picture(
    path: str | Path,
    image: Tensor,
    depth: Depth = "8",
    role: Role = "colour",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a picture in the format that the suffix says, whole or not at all.

    Args:
        path: the file; its folder must exist.
        image: grey levels `(C, H, W)`, C = 1 or 3. Integers are clamped to 0..255.
        depth: of the samples. Floating-point ones are linear light, of data levels over 255.
        role: of colours, files that can do so say that they are sRGB's.
        metadata: text, which PNG alone carries.

    Raises:
        ImageError: the shape is no picture's, a value is not finite, the suffix is unknown or its
            format does not hold the depth.
        OSError: the file cannot be written.
    """
    path = Path(path)
    check_format(path, depth)
    suffix = path.suffix.lower()
    if suffix == ".png":
        atomic_write_bytes(path, png_bytes(image, metadata, depth, role))
    elif suffix in _PILLOW:
        atomic_write_bytes(path, _by_pillow(image, suffix, role))
    else:
        samples = _samples(image, depth, role)
        atomic_write(path, lambda scratch: _by_oiio(scratch, samples, depth, role))


def _by_pillow(image: Tensor, suffix: str, role: Role) -> bytes:
    name, options = _PILLOW[suffix]
    marked = name in ("JPEG", "WEBP") and role == "colour" and image.shape[0] == 3
    profile = {"icc_profile": _srgb_profile()} if marked else {}
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format=name, **options, **profile)
    return buffer.getvalue()


def jpeg_bytes(image: Tensor, quality: int = 85) -> bytes:
    """A picture `(C, H, W)` in grey levels as a small JPEG, to be looked at."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def _by_oiio(path: Path, samples: Array, depth: Depth, role: Role) -> None:
    height, width, channels = samples.shape
    spec = oiio.ImageSpec(width, height, channels, _TYPES[depth])
    lossless = "jpegxl:100" if path.suffix.lower() == ".jxl" else "zip"
    spec.attribute("compression", lossless)
    spec.attribute("tiff:half", int(depth == "half"))
    marked = role == "colour" and depth in ("8", "16") and channels == 3
    if marked and path.suffix.lower() != ".jxl":  # which says so by itself
        profile = np.frombuffer(_srgb_profile(), dtype=np.uint8)
        spec.attribute("ICCProfile", oiio.TypeDesc(f"uint8[{len(profile)}]"), profile)
    out = oiio.ImageOutput.create(str(path))
    if out is None:
        raise ImageError(f"{path.suffix} cannot be written here: {oiio.geterror()}")
    written = out.open(str(path), spec) and out.write_image(samples) and out.close()
    text = out.geterror() or "unknown error"  # asked for in any case: else printed at the end
    if not written:
        raise OSError(errno.EIO, text.strip().splitlines()[0])
