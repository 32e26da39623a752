"""A material under one light: what a renderer would make of its maps, roughly.

Lambert's reflection and Blinn and Phong's highlight of a distant lamp, seen from straight above,
on a plane that repeats or on a sphere. A look, not a renderer: no shadows, no displacement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

_LAMP = (-0.45, 0.55, 0.70)  # towards the lamp: x right, y up, z to the viewer
_AMBIENT = 0.25
_SLOPE = 6.0  # of a height map that stands in for missing normals, levels to px
_TURNS = 2  # times the maps go round a sphere's half


def lit_plane(maps: Mapping[str, Tensor], y_down: bool = False) -> Tensor:
    """The maps (c, H, W), in grey levels, lit on a plane: a picture (3, H, W).

    ``y_down``: normals whose y points down, as Direct X has them.
    """
    height, width = next(iter(maps.values())).shape[-2:]
    up = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, height, width)
    return _shaded(maps, _normals(maps, y_down, up), up)


def lit_sphere(maps: Mapping[str, Tensor], side: int = 256, y_down: bool = False) -> Tensor:
    """The maps lit on a sphere before black: a picture (3, side, side)."""
    axis = (torch.arange(side) + 0.5) / side * 2.1 - 1.05
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    inside = x.square() + y.square() < 1
    z = (1 - x.square() - y.square()).clamp_min(1e-6).sqrt()
    around, above = torch.atan2(x, z) / math.pi, y.asin().nan_to_num() / math.pi
    first = next(iter(maps.values()))
    rows = ((-above * _TURNS) % 1 * first.shape[-2]).long() % first.shape[-2]
    columns = ((around * _TURNS) % 1 * first.shape[-1]).long() % first.shape[-1]
    here = {name: one[:, rows, columns] for name, one in maps.items()}
    up = torch.stack([x, y, z])
    flat = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, side, side)
    bent = _normals(maps, y_down, flat.new_zeros(3, *first.shape[-2:]) + flat[:, :1, :1])
    tangent = torch.stack([z, torch.zeros_like(z), -x])
    tangent = F.normalize(tangent, dim=0)
    other = torch.linalg.cross(up, tangent, dim=0)
    local = bent[:, rows, columns]
    normal = local[0] * tangent + local[1] * other + local[2] * up
    picture: Tensor = _shaded(here, normal, up) * inside
    return picture


def _normals(maps: Mapping[str, Tensor], y_down: bool, flat: Tensor) -> Tensor:
    """Unit normals (3, H, W) from the normal map, else from the slopes of the height."""
    if "normal" in maps:
        normal = maps["normal"] / 127.5 - 1
        if y_down:
            normal = normal * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
        return F.normalize(normal, dim=0)
    if "height" not in maps:
        return flat
    height = maps["height"][0] / 255 * _SLOPE
    dx = (torch.roll(height, -1, 1) - torch.roll(height, 1, 1)) / 2
    dy = (torch.roll(height, -1, 0) - torch.roll(height, 1, 0)) / 2
    normal = torch.stack([-dx, dy, torch.ones_like(height)])
    return F.normalize(normal, dim=0)


def _shaded(maps: Mapping[str, Tensor], normal: Tensor, up: Tensor) -> Tensor:
    """Grey levels (3, H, W) of a surface seen along z."""
    lamp = torch.tensor(_LAMP) / math.sqrt(sum(c * c for c in _LAMP))
    half = lamp + torch.tensor([0.0, 0.0, 1.0])
    half = half / half.norm()
    facing = (up * lamp[:, None, None]).sum(0).clamp_min(0).sign()
    light = (normal * lamp[:, None, None]).sum(0).clamp_min(0) * facing
    glance = (normal * half[:, None, None]).sum(0).clamp_min(0) * facing
    colour = maps["color"] / 255 if "color" in maps else torch.full_like(up, 0.6)
    linear = colour.clamp(0, 1).expand(3, -1, -1) ** 2.2
    rough, openness, metal = _surface(maps, light)
    power = 2 / rough.clamp(0.1, 1) ** 4
    shine = (power + 8) / 60 * glance**power * light.sign()
    specular = 0.04 + (linear - 0.04) * metal
    lit = linear * (1 - metal) * (_AMBIENT * openness + 1.3 * light) + specular * shine
    lit = lit + specular * _AMBIENT * openness * metal
    picture: Tensor = lit.clamp(0, 1) ** (1 / 2.2) * 255
    return picture


def _surface(maps: Mapping[str, Tensor], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Roughness, how open the sky is, and metalness, each (H, W) in 0..1."""
    packed = maps.get("orm", maps.get("arm"))
    rough, openness, metal = (torch.full_like(like, c) for c in (0.6, 1.0, 0.0))
    if packed is not None:
        openness, rough, metal = packed / 255
    if "roughness" in maps:
        rough = maps["roughness"][0] / 255
    elif "gloss" in maps:
        rough = 1 - maps["gloss"][0] / 255
    if "ao" in maps:
        openness = maps["ao"][0] / 255
    if "metalness" in maps:
        metal = maps["metalness"][0] / 255
    return rough, openness, metal
