"""Pictures on disk and tensors in memory.

A picture in memory is a float tensor `(C, H, W)` of grey levels, 0 (black) to 255 (white), with one
channel for greyscale and three (red, green, blue) for colour. Values outside 0..255 may occur
inside a chain; they are clamped only when a picture is written.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from gcn_cli.errors import ImageError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

_BAND = 256  # rows converted at once: a large picture is not held twice
_COMPRESSION = 3  # of PNG, 0 to 9: the default, 6, takes up to five times as long to save an eighth

# What Pillow's decoders are known to raise on damaged files.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, struct.error)


# ---------------------------------------------------------------------------------- reading


def load_image(path: str | Path) -> Tensor:
    """Reads a picture of any size and mode that Pillow knows.

    Greyscale modes (1, L, LA, 16-bit and 32-bit integer, float) give one channel, all others
    three. The rotation noted by a camera (EXIF) is applied. Transparent pixels are composited over
    white, as a page or a browser shows them; an opaque alpha channel therefore changes nothing.
    16-bit values are divided by 257, so that 65535 becomes 255. Float pictures (TIFF) within 0..1
    are multiplied by 255, otherwise taken as grey levels. Of an animation, the first frame is read.

    Args:
        path: the file.

    Returns:
        Grey levels 0..255, `(C, H, W)` float32, C = 1 or 3.

    Raises:
        ImageError: the file is missing, no picture, damaged, holds values outside its range, or is
            so large that decoding it could exhaust the memory.
    """
    path = _existing_file(path)
    with _one_sentence(path), Image.open(path) as picture:
        picture.load()
        return _to_tensor(ImageOps.exif_transpose(picture), path)


def find_images(path: str | Path) -> list[Path]:
    """Lists the pictures that a path stands for.

    Args:
        path: a file, which gives itself, or a folder, which gives the pictures directly inside it
            (known by suffix, hidden files left out).

    Returns:
        At least one path, sorted by name.

    Raises:
        ImageError: the path does not exist or the folder holds no picture.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ImageError(f"{path} does not exist")
    found = sorted(p for p in path.iterdir() if _is_image_name(p) and p.is_file())
    if not found:
        known = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise ImageError(f"the folder {path} holds no images ({known})")
    return found


def _existing_file(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        kind = "is a folder, not an image" if path.is_dir() else "does not exist"
        raise ImageError(f"{path} {kind}")
    return path


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
        except _DECODER_ERRORS as error:
            raise ImageError(f"{path} cannot be read, it may be damaged: {error}") from error


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _to_tensor(picture: Image.Image, path: Path) -> Tensor:
    if picture.mode.startswith("I"):
        return _from_integers(np.asarray(picture), path)
    if picture.mode == "F":
        return _from_floats(np.asarray(picture), path)
    grey = picture.mode in {"1", "L", "LA", "La"}
    if picture.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in picture.info:
        picture = _over_white(picture)
    levels = np.array(picture.convert("L" if grey else "RGB"), dtype=np.float32)
    return torch.from_numpy(levels.reshape(*levels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _over_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture)


def _from_integers(values: np.ndarray, path: Path) -> Tensor:
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{path} holds integers outside the 16-bit range 0..65535")
    return torch.from_numpy(values.astype(np.float32) / 257.0).unsqueeze(0)


def _from_floats(values: np.ndarray, path: Path) -> Tensor:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 255.0):  # also refuses NaN
        raise ImageError(f"{path} holds floating-point values outside 0..255")
    scale = 255.0 if high <= 1.0 else 1.0
    return torch.from_numpy(values.astype(np.float32) * scale).unsqueeze(0)


# ---------------------------------------------------------------------------------- writing


def to_uint8(x: Tensor) -> Tensor:
    """Rounds grey levels of any shape to bytes, clamping to 0..255.

    Raises:
        ImageError: a value is NaN or infinite, which no grey level stands for.
    """
    if x.numel() and not all(bool(torch.isfinite(end)) for end in x.aminmax()):
        raise ImageError("the picture holds values that are not finite numbers")
    if x.ndim < 2:
        return x.detach().round().clamp(0, 255).to(torch.uint8)
    levels = torch.empty(x.shape, dtype=torch.uint8, device=x.device)
    for top in range(0, x.shape[-2], _BAND):
        band = x.detach()[..., top : top + _BAND, :]
        levels[..., top : top + _BAND, :] = band.round().clamp_(0, 255)
    return levels


def png_bytes(image: Tensor, metadata: Mapping[str, str] | None = None) -> bytes:
    """Encodes a picture as PNG.

    Args:
        image: grey levels `(C, H, W)`, C = 1 or 3.
        metadata: text to carry, by keyword (1 to 79 Latin-1 characters); the text may be any
            Unicode.

    Returns:
        The file's content; the same input gives the same bytes.

    Raises:
        ImageError: the shape is no picture's, or a value is not finite.
    """
    info = PngInfo()
    for key, value in (metadata or {}).items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG", pnginfo=info, compress_level=_COMPRESSION)
    return buffer.getvalue()


def save_png(path: str | Path, image: Tensor, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a picture as PNG, whole or not at all.

    Args:
        path: the file; its folder must exist.
        image: grey levels `(C, H, W)`, C = 1 or 3.
        metadata: as for `png_bytes`.

    Raises:
        ImageError: as for `png_bytes`.
        OSError: the file cannot be written.
    """
    atomic_write_bytes(path, png_bytes(image, metadata))


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Replaces a file's content at once: a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder must exist.
        data: the new content.

    Raises:
        OSError: the file cannot be written; an old file is then left as it was.
    """
    path = Path(path)
    # In the same folder, since a rename is atomic only within one file system.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def atomic_write_text(path: str | Path, text: str) -> None:
    """Replaces a file's content by UTF-8 text at once; see `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode("utf-8"))


def to_pillow(image: Tensor) -> Image.Image:
    """A picture `(C, H, W)`, C = 1 or 3, as Pillow's; raises ImageError as `png_bytes`."""
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ImageError(f"a picture has 1 or 3 channels, not the shape {tuple(image.shape)}")
    levels = to_uint8(image).cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(levels[:, :, 0] if image.shape[0] == 1 else levels)
