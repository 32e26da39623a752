"""Pictures resized, laid out in grids, and set on labelled sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.images.write import to_pillow


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resamples a picture: bicubic, low-passed first when it shrinks.

    Args:
        image: `(C, H, W)`.
        size: new height and width in pixels.

    Returns:
        `(C, size[0], size[1])`, clamped to the range of the input so that the cubic kernel adds no
        overshoot.
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    resampled = F.interpolate(image[None], size, mode="bicubic", antialias=True)[0]
    return resampled.clamp(image.min(), image.max())


def image_grid(
    images: Sequence[Tensor],
    columns: int | None = None,
    pad: int = 4,
    background: float = 255.0,
    scale: int = 1,
) -> Tensor:
    """Lays pictures out in rows, left to right.

    Args:
        images: pictures `(C, H, W)` of any sizes; cells take the largest. One colour picture makes
            the whole grid colour.
        columns: pictures per row; by default as square a grid as their number allows.
        pad: pixels around and between cells.
        background: grey level of the gaps.
        scale: whole factor by which each pixel is enlarged.

    Returns:
        The grid, `(C, H', W')`, on the CPU in float32.

    Raises:
        ImageError: there is no picture.
    """
    if not images:
        raise ImageError("a grid needs at least one picture")
    cells = [_enlarged(image, scale) for image in images]
    columns = min(columns or math.ceil(math.sqrt(len(cells))), len(cells))
    C = max(cell.shape[0] for cell in cells)
    H, W = (max(cell.shape[axis] for cell in cells) + pad for axis in (1, 2))
    rows = math.ceil(len(cells) / columns)
    grid = torch.full((C, rows * H + pad, columns * W + pad), float(background))
    for index, cell in enumerate(cells):
        top, left = pad + index // columns * H, pad + index % columns * W
        grid[:, top : top + cell.shape[1], left : left + cell.shape[2]] = cell
    return grid


def labelled_sheet(
    rows: Sequence[tuple[str, Sequence[Tensor]]], column_titles: Sequence[str] = ()
) -> Tensor:
    """Draws a contact sheet: one row of pictures per label, titles above the columns.

    Args:
        rows: label and pictures `(C, H, W)` of each row; rows may differ in length.
        column_titles: text above each column, from the left.

    Returns:
        The sheet in colour, `(3, H', W')`, grey levels.

    Raises:
        ImageError: there is no picture in any row.
    """
    images = [image for _, pictures in rows for image in pictures]
    if not images:
        raise ImageError("a sheet needs at least one picture")
    pad, line = 6, 16
    font = ImageFont.load_default()
    columns = max(len(pictures) for _, pictures in rows)
    H, W = (max(image.shape[axis] for image in images) + pad for axis in (1, 2))
    titles = column_titles[:columns]
    W = max([W, *(_text_width(font, title) + pad for title in titles)])
    left = max(_text_width(font, label) for label, _ in rows) + 2 * pad
    top = pad + (line if titles else 0)
    sheet = Image.new("RGB", (left + columns * W, top + len(rows) * H), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((left + column * W, 2), title, fill="black", font=font)
    for row, (label, pictures) in enumerate(rows):
        draw.text((pad, top + row * H), label, fill="black", font=font)
        for column, image in enumerate(pictures):
            sheet.paste(to_pillow(image), (left + column * W, top + row * H))
    levels = np.array(sheet, dtype=np.float32)
    return torch.from_numpy(levels).permute(2, 0, 1).contiguous()


def _enlarged(image: Tensor, scale: int) -> Tensor:
    pixels = image.detach().cpu().float()
    return pixels.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def _text_width(font: ImageFont.ImageFont | ImageFont.FreeTypeFont, text: str) -> int:
    return math.ceil(font.getlength(text))
