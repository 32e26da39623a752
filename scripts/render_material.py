#!/usr/bin/env python3
"""Renders a material, five maps of one surface: worn stones in mortar, or paint that rusts.

    python scripts/render_material.py [--surface paving] [--out materials/paving] [--size 512]
    python scripts/render_material.py --surface rust --out rust

The first is the bundled one. Colour (unlit), normal (y up), roughness, ambient occlusion and height
(16 bits), drawn from noise with a fixed seed at twice the final size. Ours, given to the public
domain (CC0 1.0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from render_textures import blurred, fractal, palette_colour, scattered, two_nearest

Array = np.ndarray
SUPERSAMPLE = 2
SEED = 7
STONES = [(128, 122, 114), (146, 138, 124), (104, 102, 102), (160, 146, 124), (116, 98, 86),
          (92, 96, 104), (172, 160, 142)]  # fmt: skip
MORTAR = np.array([0.27, 0.24, 0.20])
PAINT = np.array([0.16, 0.36, 0.38])
RUST = np.array([[0.46, 0.20, 0.07], [0.15, 0.07, 0.05]])


def paving(rng: np.random.Generator, side: int) -> tuple[Array, Array, Array]:
    """Height in px, colour (side, side, 3) in 0..1 and roughness in 0..1."""
    y, x = np.mgrid[:side, :side].astype(float)
    wobble = [0.004 * side * fractal(rng, side, 0.05 * side, 4, 0.55) for _ in range(2)]
    radii = np.full(2600, 0.026 * side) * rng.uniform(0.6, 1.3, 2600)
    sites = np.array(scattered(rng, side, radii, 0.06))
    nearest, second, owner = two_nearest(y + wobble[0], x + wobble[1], sites)
    gap = (second - nearest) / 2 - 1.2
    chips = 0.7 * fractal(rng, side, 18, 4, 0.7)
    rise = np.clip((gap + chips - 1.5) / 9, 0, 1)
    rise = 1 - (1 - rise) ** 2.2
    tilt = rng.normal(0, 0.06, (len(sites), 2))[owner]
    tilted = tilt[..., 0] * (y - sites[owner, 0]) + tilt[..., 1] * (x - sites[owner, 1])
    grit, pits = fractal(rng, side, 10, 4, 0.75), fractal(rng, side, 26, 3, 0.6)
    height = 11 * rise + rise * (tilted - 0.5 * np.clip(pits - 0.8, 0, None)) + 0.35 * grit
    tones = np.array([palette_colour(rng, STONES) for _ in sites])
    stain = fractal(rng, side, 0.1 * side, 5, 0.65)
    stone = tones[owner] * (1 + 0.07 * stain + 0.06 * grit)[..., None]
    mortar = MORTAR * (1 + 0.16 * fractal(rng, side, 7, 3, 0.8))[..., None]
    cover = np.clip(rise * 1.7, 0, 1)
    colour = cover[..., None] * stone + (1 - cover[..., None]) * mortar
    worn = rng.uniform(0.32, 0.62, len(sites))[owner] + 0.05 * stain + 0.04 * grit
    return height, colour, cover * worn + (1 - cover) * (0.88 + 0.05 * grit)


def rust(rng: np.random.Generator, side: int) -> tuple[Array, Array, Array]:
    """Paint on a sheet that rusts where it flaked; see `paving` for what is returned."""
    spots = fractal(rng, side, 0.05 * side, 5, 0.6)
    edge = spots + 0.15 * fractal(rng, side, 14, 4, 0.7) - 0.75
    bare = np.clip(edge / 0.06, 0, 1)  # 1 where the paint is off
    lifted = np.exp(-((edge / 0.16) ** 2)) * (1 - bare)  # it curls at its edge
    grain, peel = fractal(rng, side, 8, 4, 0.8), fractal(rng, side, 9, 2, 0.5)
    deep = np.clip(edge, 0, 1)
    height = (1 - bare) * (7 + 4 * lifted + 0.25 * peel) + bare * (1.6 * grain - 5 * deep)
    tint = (1 + 0.04 * fractal(rng, side, 0.12 * side, 4, 0.6) + 0.02 * peel)[..., None]
    paint = PAINT * tint * (1 - 0.25 * lifted[..., None])
    mixed = np.clip(0.5 + 0.35 * grain - 1.2 * deep, 0, 1)[..., None]
    oxide = mixed * RUST[0] + (1 - mixed) * RUST[1]
    colour = bare[..., None] * oxide + (1 - bare[..., None]) * paint
    rough = bare * (0.85 + 0.06 * grain) + (1 - bare) * (0.34 + 0.03 * peel + 0.2 * lifted)
    return height, colour, rough


def normals(height: Array) -> Array:
    """Unit normals (side, side, 3), y up, of a height in px."""
    dy, dx = np.gradient(height)
    normal = np.stack([-dx, dy, np.full_like(height, 1.6)], -1)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def occlusion(height: Array) -> Array:
    """How open the sky is, 0..1: lower where the surroundings are higher."""
    deeper = sum(np.clip(blurred(height, r) - height, 0, None) for r in (3, 8, 16))
    return np.exp(-deeper / 7)


def reduced(values: Array, size: int) -> Array:
    """One channel reduced to `size` px."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))


def save(path: Path, values: Array, size: int) -> None:
    """Writes 0..1 in 8 bits."""
    planes = [reduced(plane, size) for plane in np.moveaxis(np.atleast_3d(values), -1, 0)]
    levels = np.clip(np.stack(planes, -1) * 255, 0, 255).round().astype(np.uint8)
    Image.fromarray(levels.squeeze()).save(path, optimize=True)


SURFACES = {"paving": paving, "rust": rust}


def main() -> None:
    """Renders the five maps."""
    parser = argparse.ArgumentParser(description="Render a material.")
    parser.add_argument("--surface", choices=SURFACES, default="paving")
    parser.add_argument("--out", type=Path, default=Path("materials/paving"))
    parser.add_argument("--size", type=int, default=512, help="side of a map in pixels")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    size, name = arguments.size, arguments.out.name
    height, colour, rough = SURFACES[arguments.surface](
        np.random.default_rng(SEED), size * SUPERSAMPLE
    )
    maps = {"Color": colour ** (1 / 1.6), "NormalGL": (normals(height) + 1) / 2,
            "Roughness": rough, "AmbientOcclusion": occlusion(height)}  # fmt: skip
    for suffix, values in maps.items():
        save(arguments.out / f"{name}_{suffix}.png", values, size)
    low, high = np.quantile(height, (0.001, 0.999))
    deep = np.clip((reduced(height, size) - low) / (high - low), 0, 1) * 65535
    Image.fromarray(deep.round().astype(np.uint16)).save(
        arguments.out / f"{name}_Displacement.png", optimize=True
    )
    print(arguments.out)


if __name__ == "__main__":
    main()
