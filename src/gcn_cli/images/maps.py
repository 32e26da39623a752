"""Maps of a material as channels of one image, and back.

A map is learned in units that suit it: colour in grey levels, a normal as its tangent part (x, y),
the rest linear. Every map is scaled to the same contrast, so that none drowns another. A map that
says the same everywhere is not learned but remembered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.images.materials import MAPS, Kind, kind_of
from gcn_cli.images.picture import DEPTHS, Depth

CONTRAST = 50.0
"""Standard deviation, levels, that every map is scaled to."""
_FLAT = 0.25  # levels of contrast below which a channel is called constant
_MIDDLE = 127.5  # level at which a normal's component is 0


@dataclass(frozen=True)
class Map:
    """One map: stem and ``depth`` of its ``file``, ``gains`` and ``levels`` of its channels.

    ``gains`` is 0 where a channel is constant, at the grey level in ``levels``.
    """

    name: str
    file: str
    depth: Depth
    gains: tuple[float, ...]
    levels: tuple[float, ...]

    @property
    def kind(self) -> Kind:
        """What its values are."""
        return kind_of(self.name)

    @property
    def learned(self) -> tuple[int, ...]:
        """Which of its channels are learned."""
        return tuple(k for k, gain in enumerate(self.gains) if gain)


@dataclass(frozen=True)
class Material:
    """All maps of a surface, in the order of their channels."""

    maps: tuple[Map, ...]

    @property
    def channels(self) -> int:
        """Channels of the image that is learned."""
        return sum(len(one.learned) for one in self.maps)

    def parts(self, image: Tensor) -> dict[str, Tensor]:
        """The learned channels (..., C, H, W), by the name of their map."""
        counts = [len(one.learned) for one in self.maps]
        pieces = torch.split(image, counts, -3)
        return {one.name: piece for one, piece in zip(self.maps, pieces, strict=True)}

    def told(self) -> str:
        """Which maps there are and how each is learned, in a line."""
        texts = [
            f"{one.name} ({len(one.learned)})" if one.learned else f"{one.name} (constant)"
            for one in self.maps
        ]
        return f"maps, with their channels: {', '.join(texts)}"

    def pack(self) -> list[dict[str, object]]:
        """As plain data."""
        return [asdict(one) for one in self.maps]

    @staticmethod
    def unpack(data: Sequence[Mapping[str, Any]]) -> Material:
        """The inverse of `pack`, of data that may be foreign.

        Raises:
            ValueError: what does not fit together.
        """
        return Material(tuple(_unpacked(one) for one in data))

    def encode(self, pictures: Mapping[str, Tensor]) -> Tensor:
        """Maps (c, H, W) in grey levels as one image (C, H, W) of even contrast.

        Raises:
            ImageError: a map that is missing, has other channels or another size.
        """
        missing = [one.name for one in self.maps if one.name not in pictures]
        if missing:
            raise ImageError(f"of the material's maps {', '.join(missing)} are missing")
        for one in self.maps:
            # Of a normal x and y are kept: one channel fewer than its file has.
            count = len(one.gains) + (one.kind == "normal")
            if len(pictures[one.name]) != count:
                raise ImageError(f"the map {one.name} has {count} channels in this material")
        if len({pictures[one.name].shape[-2:] for one in self.maps}) > 1:
            raise ImageError("the maps of one material must agree in size")
        rows = [
            pictures[one.name][k : k + 1] * one.gains[k] for one in self.maps for k in one.learned
        ]
        return torch.cat(rows)

    def decode(self, image: Tensor) -> dict[str, Tensor]:
        """The inverse of `encode`; normals (3, H, W) are of unit length."""
        return {
            one.name: _decoded(one, piece)
            for one, piece in zip(self.maps, self.parts(image).values(), strict=True)
        }


def _unpacked(data: Mapping[str, Any]) -> Map:
    gains, levels = (tuple(float(x) for x in data[key]) for key in ("gains", "levels"))
    name, file, depth = str(data["name"]), str(data["file"]), data["depth"]
    fits = (
        name in MAPS
        and depth in DEPTHS
        and 1 <= len(gains) == len(levels) <= 4
        and file == Path(file).name
    )
    if not fits or not all(math.isfinite(x) and x >= 0 for x in (*gains, *levels)):
        raise ValueError("the maps of the material do not fit together")
    return Map(name, file, depth, gains, levels)


def check_agreement(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raise ImageError where maps by name differ in width and height."""
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {w}x{h}" for name, (w, h) in sizes.items())
        raise ImageError(f"the maps of one material must agree in size: {told}")


def measure(
    pictures: Mapping[str, tuple[Tensor, str, Depth]], known: Tensor | None = None
) -> Material:
    """The material of maps by name: picture (c, H, W) in grey levels, stem of its file, depth.

    Of maps of which pixels are unknown, only what is ``known`` (H, W) counts.

    Raises:
        ImageError: maps that differ in size, a normal map without three channels, or maps that all
            are constant.
    """
    check_agreement({name: (p.shape[-1], p.shape[-2]) for name, (p, _, _) in pictures.items()})
    maps = tuple(_measured(name, *told, known) for name, told in pictures.items())
    if not any(one.learned for one in maps):
        raise ImageError("every map is constant; there is no texture to learn")
    return Material(maps)


def _measured(name: str, picture: Tensor, file: str, depth: Depth, known: Tensor | None) -> Map:
    kind = kind_of(name)
    if kind == "normal" and picture.shape[0] != 3:
        raise ImageError(f"a normal map has three channels, not {picture.shape[0]}")
    used = picture[:2] if kind == "normal" else picture
    values = (used.flatten(1) if known is None else used[:, known]).double()
    variances = values.var(1, correction=0)
    if kind != "data":  # of packed data every channel is a map of its own
        variances = variances.mean().expand(len(used))
    gains = tuple(CONTRAST / d if d > _FLAT else 0.0 for d in variances.sqrt().tolist())
    return Map(name, file, depth, gains, tuple(values.mean(1).tolist()))


def _decoded(one: Map, piece: Tensor) -> Tensor:
    height, width = piece.shape[-2:]
    rows = torch.tensor(one.levels, device=piece.device, dtype=piece.dtype)
    picture = rows[:, None, None].repeat(1, height, width)
    for row, k in enumerate(one.learned):
        picture[k] = piece[row] / one.gains[k]
    return unit_normals(picture) if one.kind == "normal" else picture


def unit_normals(tangent: Tensor) -> Tensor:
    """Normals (3, H, W) in grey levels, of unit length, from their x and y (2, H, W)."""
    xy = tangent / _MIDDLE - 1
    length = xy.square().sum(0, keepdim=True).sqrt().clamp_min(1)
    xy = xy / length
    z = (1 - xy.square().sum(0, keepdim=True)).clamp_min(0).sqrt()
    return (torch.cat([xy, z]) + 1) * _MIDDLE


def side_by_side(maps: Sequence[Tensor]) -> Tensor:
    """Maps (c, H, W), c = 1 or 3 or any, as one colour picture (3, H, W'), left to right."""
    shown = [one.expand(3, -1, -1) if len(one) == 1 else one[:3] for one in maps]
    return torch.cat([_coloured(one) for one in shown], -1)


def _coloured(picture: Tensor) -> Tensor:
    if len(picture) == 3:
        return picture
    missing = 3 - len(picture)
    return torch.cat([picture, picture.new_zeros(missing, *picture.shape[-2:])])


__all__ = [
    "CONTRAST",
    "Map",
    "Material",
    "check_agreement",
    "measure",
    "side_by_side",
    "unit_normals",
]
