#!/usr/bin/env python3
"""Renders the colour exemplars in textures/: stones, fallen leaves, terracotta shards.

    python scripts/render_textures.py [--out textures] [--size 256]

Everything is drawn from noise with a fixed seed, at three times the final size, lit by one distant
lamp and reduced. The pictures are ours and given to the public domain (CC0 1.0). Needs numpy and
Pillow only.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Array = np.ndarray
SUPERSAMPLE = 3
MARGIN = 8  # final pixels cut off all round, where shadows and slopes lack their neighbours
LAMP = np.array([-0.55, -0.6, 0.58])


# ---------------------------------------------------------------------------- noise and light


def value_noise(rng: np.random.Generator, side: int, cell: float) -> Array:
    """Smooth noise (side, side) of unit variance whose features are about `cell` pixels wide."""
    knots = max(4, round(side / cell) + 3)
    small = Image.fromarray(rng.standard_normal((knots, knots)).astype(np.float32))
    smooth = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))
    return smooth / smooth.std()


def fractal(rng: np.random.Generator, side: int, cell: float, octaves: int, fall: float) -> Array:
    """Sum of value noises, each half as wide and `fall` times as strong; unit variance."""
    total = sum(fall**k * value_noise(rng, side, cell / 2**k) for k in range(octaves))
    return total / total.std()


def lit(height: Array, flat: float, ambient: float = 0.35) -> Array:
    """Lambert shading (side, side) of a height map in pixels; `flat` widens the slopes."""
    dy, dx = np.gradient(height)
    normal = np.stack([-dx, -dy, np.full_like(height, flat)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = LAMP / np.linalg.norm(LAMP)
    return ambient + (1 - ambient) * np.clip(normal @ lamp, 0, None)


def glint(height: Array, flat: float, power: float) -> Array:
    """Blinn-Phong highlight (side, side), seen from straight above."""
    dy, dx = np.gradient(height)
    normal = np.stack([-dx, -dy, np.full_like(height, flat)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    half = LAMP / np.linalg.norm(LAMP) + np.array([0, 0, 1.0])
    return np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** power


def shadow(height: Array, steps: int, slope: float) -> Array:
    """Share of light (side, side) that is left after higher ground towards the lamp."""
    dark = np.zeros_like(height)
    direction = -LAMP[:2] / np.linalg.norm(LAMP[:2])
    for k in range(1, steps + 1):
        dx, dy = np.rint(direction * k).astype(int)
        moved = np.roll(height, (dy, dx), (0, 1)) - height - slope * k
        dark = np.maximum(dark, np.clip(moved / 6, 0, 1))
    return 1 - 0.65 * dark


def blurred(field: Array, radius: int) -> Array:
    """Box filter, twice, of (side, side)."""
    width = 2 * radius + 1
    for axis in (0, 1, 0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(field, pad, mode="edge"), axis=axis)
        upper = np.take(total, range(width, total.shape[axis]), axis)
        lower = np.take(total, range(total.shape[axis] - width), axis)
        field = (upper - lower) / width
    return field


def finish(colour: Array, rng: np.random.Generator, size: int) -> Image.Image:
    """Adds a lens's softness and a sensor's grain, and reduces to `size` pixels."""
    levels = np.clip(colour, 0, 1) ** (1 / 1.15) * 255
    cut = MARGIN * SUPERSAMPLE
    big = Image.fromarray(levels[cut:-cut, cut:-cut].astype(np.uint8))
    small = np.asarray(big.resize((size, size), Image.Resampling.LANCZOS), dtype=np.float32)
    grain = rng.standard_normal((size, size, 1)) * 2.0 + rng.standard_normal((size, size, 3))
    return Image.fromarray(np.clip(small + grain, 0, 255).round().astype(np.uint8))


# ------------------------------------------------------------------------ layers of objects


@dataclass
class Canvas:
    """What has been laid down so far: height and colour of the topmost thing at each pixel."""

    height: Array  # (side, side), pixels
    colour: Array  # (side, side, 3), 0..1

    def lay(self, rows: slice, cols: slice, top: Array, mask: Array, colour: Array) -> None:
        """Puts an object of the given upper surface where it lies above what is there."""
        seen = mask & (top > self.height[rows, cols])
        self.height[rows, cols][seen] = top[seen]
        self.colour[rows, cols][seen] = colour[seen]


def window(centre: tuple[float, float], reach: float, side: int) -> tuple[slice, slice]:
    """The part of the canvas within `reach` of a centre (y, x)."""
    low = [max(0, int(c - reach)) for c in centre]
    high = [min(side, int(c + reach) + 1) for c in centre]
    return slice(low[0], high[0]), slice(low[1], high[1])


def local_axes(
    centre: tuple[float, float], angle: float, rows: slice, cols: slice
) -> tuple[Array, Array]:
    """Coordinates of a window's pixels along and across an object's long axis."""
    y, x = np.mgrid[rows, cols].astype(float)
    y, x = y - centre[0], x - centre[1]
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def scattered(
    rng: np.random.Generator, side: int, radii: Array, overlap: float
) -> list[tuple[float, float, float]]:
    """Drops discs (y, x, r), largest first, where they overlap others by at most `overlap` r."""
    placed: list[tuple[float, float, float]] = []
    for r in sorted(radii, reverse=True):
        for _ in range(60):
            y, x = rng.uniform(-r, side + r, 2)
            if all(np.hypot(y - v, x - u) > (r + s) * (1 - overlap) for v, u, s in placed):
                placed.append((y, x, r))
                break
    return placed


def palette_colour(rng: np.random.Generator, palette: list[tuple[int, int, int]]) -> Array:
    """A colour of the palette, in linear 0..1, made a little lighter, darker and warmer."""
    base = np.array(palette[rng.integers(len(palette))]) / 255
    return np.clip(base * rng.normal(1, 0.1) + rng.normal(0, 0.02, 3), 0.02, 1)


# ------------------------------------------------------------------------------ the pictures

STONES = [(176, 92, 70), (196, 156, 104), (92, 112, 128), (150, 142, 132), (70, 84, 78),
          (208, 196, 172), (126, 74, 66), (110, 128, 104), (160, 120, 84)]  # fmt: skip


def stones(rng: np.random.Generator, side: int) -> Array:
    """Rounded, closely packed stones of many colours on dark ground."""
    grit = fractal(rng, side, 14, 4, 0.7)
    ground = np.array([0.12, 0.10, 0.085]) * (1 + 0.35 * grit[..., None])
    canvas = Canvas(1.2 * grit - 4, ground)
    radii = side * np.clip(rng.lognormal(np.log(0.052), 0.32, 420), 0.022, 0.105)
    mottle = fractal(rng, side, 40, 5, 0.75)
    bumps = fractal(rng, side, 90, 3, 0.5)
    for y, x, r in scattered(rng, side, radii, 0.10):
        rows, cols = window((y, x), 1.7 * r, side)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            continue
        u, v = local_axes((y, x), rng.uniform(0, np.pi), rows, cols)
        stretch = rng.uniform(1.0, 1.35)
        turn = np.arctan2(v, u)
        edge = 1 + sum(rng.normal(0, 0.05 / k) * np.cos(k * turn + rng.uniform(0, 7))
                       for k in (2, 3, 4))  # fmt: skip
        p = rng.uniform(2.1, 2.9)
        far = (np.abs(u / stretch) ** p + np.abs(v * stretch) ** p) ** (1 / p) / (r * edge)
        dome = np.clip(1 - np.clip(far, 0, 1) ** 2.4, 0, 1) ** 0.55
        top = 0.62 * r * dome + 0.025 * r * bumps[rows, cols] + rng.normal(0, 0.08 * r)
        veins = 1 + rng.uniform(0.04, 0.16) * np.roll(mottle, rng.integers(side, size=2), (0, 1))
        colour = palette_colour(rng, STONES) * veins[rows, cols, None]
        canvas.lay(rows, cols, top, far < 1, colour)
    relief = canvas.height + 0.5 * fractal(rng, side, 7, 3, 0.8)
    light = lit(relief, 1.0, 0.30) * shadow(canvas.height, 40, 0.55)
    depth = np.clip(0.55 + (canvas.height - blurred(canvas.height, 14)) / 40, 0.18, 1.0)
    shine = 0.10 * glint(blurred(canvas.height, 2), 1.0, 18)
    return canvas.colour * (1.75 * light * depth)[..., None] + shine[..., None]


LEAVES = [(196, 88, 30), (214, 142, 40), (158, 48, 30), (120, 110, 44), (178, 120, 58),
          (104, 62, 38), (226, 178, 72), (142, 84, 40)]  # fmt: skip


def leaves(rng: np.random.Generator, side: int) -> Array:
    """Fallen autumn leaves lying over each other."""
    soil = fractal(rng, side, 20, 5, 0.75)
    canvas = Canvas(soil - 40, np.array([0.16, 0.11, 0.07]) * (1 + 0.3 * soil[..., None]))
    mottle = fractal(rng, side, 26, 4, 0.7)
    count = 420
    for k in range(count):
        half = side * float(np.clip(rng.normal(0.085, 0.02), 0.045, 0.14))
        centre = tuple(rng.uniform(-0.1 * side, 1.1 * side, 2))
        rows, cols = window((centre[0], centre[1]), 1.1 * half, side)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            continue
        u, v = local_axes((centre[0], centre[1]), rng.uniform(0, 2 * np.pi), rows, cols)
        u, v = u / half, v / half
        v = v + rng.normal(0, 0.12) * (1 - u**2)  # the midrib bends
        wide = rng.uniform(0.38, 0.58) * np.clip(1 - u**2, 0, 1) ** 0.8 * (1 - 0.28 * u)
        wide *= 1 + 0.05 * np.sin(rng.uniform(24, 34) * u + rng.uniform(0, 7))
        inside = np.abs(v) < wide
        across = np.abs(v) / np.maximum(wide, 1e-3)
        curl = rng.normal(0.10, 0.12) * across**2 + rng.normal(0, 0.10) * u
        ribs = np.exp(-((np.abs(v) / 0.022) ** 2))
        side_ribs = np.cos(rng.uniform(26, 36) * (u - 0.75 * np.abs(v))) ** 12 * (across < 0.92)
        top = half * (curl + 0.04 * ribs) - 40 + 70 * k / count + 0.8 * side_ribs
        spots = np.roll(mottle, rng.integers(side, size=2), (0, 1))[rows, cols, None]
        colour = palette_colour(rng, LEAVES) * (1 + rng.uniform(0.06, 0.2) * spots)
        colour = colour * (1 + 0.30 * ribs + 0.14 * side_ribs - 0.22 * across**6)[..., None]
        canvas.lay(rows, cols, top, inside, colour)
    light = lit(canvas.height * 0.8 + 0.4 * fractal(rng, side, 8, 3, 0.8), 1.6, 0.42)
    light *= 0.35 + 0.65 * blurred(shadow(canvas.height, 18, 0.35), 1)
    return canvas.colour * (1.4 * light)[..., None]


CLAY = [(186, 96, 62), (204, 122, 82), (160, 78, 54), (214, 148, 108), (142, 86, 66),
        (190, 110, 88), (92, 116, 122), (64, 96, 108)]  # fmt: skip


def terracotta(rng: np.random.Generator, side: int) -> Array:
    """A floor of broken clay shards, some glazed blue, set in pale mortar."""
    y, x = np.mgrid[:side, :side].astype(float)
    wobble = [0.006 * side * fractal(rng, side, 0.09 * side, 4, 0.55) for _ in range(2)]
    radii = np.full(900, 0.048 * side) * rng.uniform(0.6, 1.35, 900)
    sites = np.array(scattered(rng, side, radii, 0.05))
    nearest, second, owner = two_nearest(y + wobble[0], x + wobble[1], sites)
    gap = (second - nearest) / 2 - rng.uniform(0.6, 1.4, len(sites))[owner]
    chips = 0.9 * fractal(rng, side, 24, 4, 0.7)
    rise = np.clip((gap + chips - 2.5) / 7, 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    tilt = rng.normal(0, 0.05, (len(sites), 2))[owner]
    tilted = tilt[..., 0] * (y - sites[owner, 0]) + tilt[..., 1] * (x - sites[owner, 1])
    rough = fractal(rng, side, 18, 5, 0.75)
    tones = np.array([palette_colour(rng, CLAY) for _ in sites])
    stain = fractal(rng, side, 0.12 * side, 5, 0.65)[..., None]
    clay = tones[owner] * (1 + 0.07 * stain + 0.05 * rough[..., None])
    mortar = np.array([0.62, 0.57, 0.49]) * (1 + 0.10 * fractal(rng, side, 9, 3, 0.8))[..., None]
    cover = np.clip(rise * 1.6, 0, 1)[..., None]
    height = 8 * rise + rise * tilted + 0.45 * rough
    light = lit(height, 1.1, 0.34) * (0.4 + 0.6 * shadow(8 * rise, 16, 0.5))
    sheen = 0.14 * glint(blurred(height, 1), 1.1, 24) * (tones[owner, 2] > tones[owner, 0])
    return (cover * clay + (1 - cover) * mortar) * (1.5 * light)[..., None] + sheen[..., None]


def two_nearest(y: Array, x: Array, sites: Array) -> tuple[Array, Array, Array]:
    """Distances (side, side) to the nearest and second nearest site, and the nearest's index."""
    first = np.full_like(y, np.inf)
    second, owner = first.copy(), np.zeros(y.shape, dtype=int)
    for index, (cy, cx, r) in enumerate(sites):
        far = np.hypot(y - cy, x - cx) - 0.5 * r
        second = np.minimum(second, np.maximum(first, far))
        owner[far < first] = index
        first = np.minimum(first, far)
    return first, second, owner


PICTURES = {"stones": (stones, 11), "leaves": (leaves, 5), "terracotta": (terracotta, 3)}


def main() -> None:
    """Renders every picture into a folder."""
    parser = argparse.ArgumentParser(description="Render the colour exemplars.")
    parser.add_argument("--out", type=Path, default=Path("textures"), help="folder to write to")
    parser.add_argument("--size", type=int, default=256, help="side of a picture in pixels")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, (render, seed) in PICTURES.items():
        rng = np.random.default_rng(seed)
        side = (arguments.size + 2 * MARGIN) * SUPERSAMPLE
        picture = finish(render(rng, side), rng, arguments.size)
        picture.save(arguments.out / f"{name}.png")
        print(arguments.out / f"{name}.png")


if __name__ == "__main__":
    main()
