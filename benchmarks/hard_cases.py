"""Exemplars that a synthesizer of natural textures may well fail on, drawn from fixed seeds.

    python benchmarks/hard_cases.py --out hard --jobs 2
    python benchmarks/hard_cases.py --out hard --only lattice,grey --draw

Draws them into DIR/exemplars and, unless --draw is given, measures them as benchmarks/quality.py
does, with its options, into DIR.

gaussian: a Gaussian random field, in which there is no shape to find; blobs: two flat colours;
lattice: strictly periodic; weave: nearly periodic and oriented; fibres: all in one direction;
large: stones up to half as wide as the picture; small: 64 px of stones; huge: stones in a picture
of 2048 px; grey: one channel.
Needs what scripts/render_textures.py needs, which draws the stones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from quality import measure, options
from render_textures import MARGIN, SUPERSAMPLE, Array, finish, stones

SIDE = 256


def smooth_noise(rng: np.random.Generator, side: int, blur: float) -> Array:
    """Stationary Gaussian field (side, side) of unit variance, blurred by ``blur`` pixels."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    gain = np.exp(-2 * (np.pi * blur * frequency) ** 2)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * gain).real
    return field / field.std()


def picture(levels: Array) -> Image.Image:
    """Grey levels (H, W) or (H, W, 3) as an image."""
    return Image.fromarray(np.clip(levels, 0, 255).round().astype(np.uint8))


def gaussian() -> Image.Image:
    """Blur of 3 px, three correlated channels."""
    rng = np.random.default_rng(21)
    base = np.stack([smooth_noise(rng, SIDE, 3.0) for _ in range(3)], -1)
    mixed = base @ np.array([[1.0, 0.8, 0.6], [0.0, 0.5, 0.3], [0.0, 0.0, 0.4]])
    return picture(128 + 28 * mixed)


def blobs() -> Image.Image:
    """The sign of a smooth field, in two flat colours with hard edges."""
    inside = smooth_noise(np.random.default_rng(22), SIDE, 6.0) > 0.3
    return picture(np.where(inside[..., None], [196.0, 84.0, 52.0], [236.0, 226.0, 198.0]))


def lattice() -> Image.Image:
    """Squares of 16 px in two flat colours."""
    y, x = np.mgrid[:SIDE, :SIDE] // 16
    dark = ((x + y) % 2 == 0)[..., None]
    return picture(np.where(dark, [60.0, 72.0, 104.0], [214.0, 204.0, 176.0]))


def weave() -> Image.Image:
    """Threads of about 12 px over and under each other, bent and unequal."""
    rng = np.random.default_rng(23)
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    across, along = (v + 1.6 * smooth_noise(rng, SIDE, 12.0) for v in (x, y))
    column, row = np.floor(across / 12), np.floor(along / 12)
    over = (column + row) % 2 == 0
    place = np.where(over, across, along) / 12 % 1
    rise = np.where(over, along, across) / 12 % 1
    round_ = np.sin(np.pi * place) ** 0.7 * (0.55 + 0.45 * np.sin(np.pi * rise))
    tone = rng.normal(1, 0.12, (2, 64))
    index = np.where(over, column, row).astype(int) % 64
    light = round_ * np.where(over, tone[0][index], tone[1][index])
    light = light * (1 + 0.06 * smooth_noise(rng, SIDE, 0.8))
    return picture(30 + 180 * light[..., None] * np.array([0.95, 0.82, 0.62]))


def fibres() -> Image.Image:
    """Fibres some 2 px wide and 100 px long, all at 30 degrees."""
    rng = np.random.default_rng(25)
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    along, across = (fx * 0.87 + fy * 0.5, fy * 0.87 - fx * 0.5)
    gain = np.exp(-2 * np.pi**2 * ((40 * along) ** 2 + (0.8 * across) ** 2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * gain).real
    light = np.tanh(field / field.std())
    return picture(128 + 80 * light[..., None] * np.array([1.0, 0.85, 0.6]))


def stones_of(size: int, crop: int | None = None, seed: int = 24) -> Image.Image:
    """Stones, some seven to twenty in a row of ``size`` px; of that the upper left ``crop`` px."""
    rng = np.random.default_rng(seed)
    fine = SUPERSAMPLE if size <= 1024 else 1
    side = size * fine + 2 * MARGIN * SUPERSAMPLE
    whole = finish(stones(rng, side), rng, size)
    return whole.crop((0, 0, crop or size, crop or size))


CASES: dict[str, Callable[[], Image.Image]] = {
    "gaussian": gaussian,
    "blobs": blobs,
    "lattice": lattice,
    "weave": weave,
    "fibres": fibres,
    "large": lambda: stones_of(3 * SIDE, crop=SIDE),
    "small": lambda: stones_of(SIDE, crop=64),
    "huge": lambda: stones_of(2048),
    "grey": lambda: stones_of(SIDE).convert("L"),
}


def main() -> None:
    """Draws the cases into a folder, and measures them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("hard"), help="folder to write to")
    parser.add_argument("--only", help="names, separated by commas", default=",".join(CASES))
    parser.add_argument("--draw", action="store_true", help="draw the exemplars only")
    options(parser)
    args = parser.parse_args()
    args.images = args.out / "exemplars"
    args.images.mkdir(parents=True, exist_ok=True)
    for name in args.only.split(","):
        if not (args.images / f"{name}.png").exists():
            CASES[name]().save(args.images / f"{name}.png")
    if not args.draw:
        measure(args)


if __name__ == "__main__":
    main()
