r"""Restoration measured: noise, blur and reduction undone on a part that was not learned from.

    gcn train --images textures/stones.png --crop 0,0,170,256
    python benchmarks/restore.py --image textures/stones.png --part 172,0,84,256 \\
        --ckpt runs/00000-stones --out restored

The whole picture is blurred, reduced and made noisy, then cut to the part, so that what lies beyond
its frame is real. Every method is told the damage. Prints, and writes to DIR/restore.json, PSNR in
decibels inside a frame of 8 px, and two scores of ``gcn evaluate`` against what was learned from:
gram and spectrum. Pictures of all methods lie in DIR, some of them on one sheet. Other tools are
asked where they are there: ``pip install scikit-image bm3d``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.engine import Machine, choose_machine
from gcn_cli.field.noise import generator
from gcn_cli.images.files import Picture, atomic_write_text, load_image, save_png
from gcn_cli.images.sheets import labelled_sheet
from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint
from gcn_cli.run.gallery import draw
from gcn_cli.run.progress import make_progress
from gcn_cli.run.restoration import Damage, best_guess, restorer
from gcn_cli.statistics.metrics import evaluate_texture
from gcn_cli.texture.observed import Observation
from gcn_cli.texture.pyramid import shrink

DAMAGES = {
    "noise 25": Damage(noise=25),
    "noise 50": Damage(noise=50),
    "blur 2, noise 2": Damage(noise=2, blur=2),
    "upscale 2": Damage(upscale=2),
    "upscale 4": Damage(upscale=4),
}
FRAME, SHOWN = 8, 112  # px left out at every side; px from the top on the sheet
WIENER = "Wiener, spectrum learned"
Method = Callable[[], Tensor]


def observed(image: Tensor, part: tuple[int, int, int, int], damage: Damage) -> Tensor:
    """What is observed (C, h, w) of a part (left, top, width, height) of a picture, not rounded."""
    left, top, width, height = (n // damage.upscale for n in part)
    blurred = Observation(image[None], 1.0, damage.blur).applied(image[None])
    small = shrink(blurred, 1 / damage.upscale)[0]
    cut = small[:, top : top + height, left : left + width]
    return cut + damage.noise * torch.randn(cut.shape, generator=generator(0, "observed"))


def psnr(a: Tensor, b: Tensor) -> float:
    """Decibels between pictures (C, H, W), inside a frame."""
    inner = slice(FRAME, -FRAME)
    square = (a - b)[:, inner, inner].square().mean()
    return 10 * math.log10(255**2 / float(square))


def ours(
    saved: Checkpoint, obs: Tensor, damage: Damage, machine: Machine, several: int
) -> Iterator[tuple[str, Method]]:
    """The best guess, a sample, the mean of some."""
    artist, quiet = restorer(saved, Picture(obs), damage), make_progress(True)
    drawn: list[Tensor] = []

    def samples(n: int) -> Tensor:
        seeds = tuple(range(len(drawn), n))
        drawn.extend(told for _, told in draw(artist, artist.request(seeds), machine, quiet, 1))
        return torch.stack(drawn).mean(0)

    yield "gcn", lambda: best_guess(saved, Picture(obs), damage, 0, machine, quiet)
    yield "gcn, a sample", lambda: samples(1)
    if several > 1:
        yield f"gcn, mean of {several} samples", lambda: samples(several)


def plain(obs: Tensor, damage: Damage, learned: Tensor) -> Iterator[tuple[str, Method]]:
    """What needs no other tool."""
    size = [n * damage.upscale for n in obs.shape[-2:]]
    if damage.upscale == 1:
        yield "as observed", lambda: obs
    else:
        for mode in ("bilinear", "bicubic"):
            yield mode, lambda mode=mode: F.interpolate(obs[None], size=size, mode=mode)[0]
    if damage.upscale == 1:
        yield WIENER, lambda: wiener(obs, damage, learned)


def wiener(obs: Tensor, damage: Damage, learned: Tensor) -> Tensor:
    """The mean under a Gaussian field with the spectrum and the colours of what was learned from.

    Colours are turned to principal axes; the picture is mirrored into a torus of twice its sides.
    """
    mean = learned.mean((1, 2), keepdim=True)
    axes = torch.linalg.eigh(torch.cov(learned.flatten(1)).view(len(learned), -1))[1]
    turned = [torch.einsum("ck,chw->khw", axes, x - mean) for x in (obs, learned)]
    y, x = (torch.cat([z, z.flip(-1)], -1) for z in turned)
    y, x = (torch.cat([z, z.flip(-2)], -2) for z in (y, x))
    power = torch.fft.fft2(x).abs().square() / x[0].numel()
    power = F.avg_pool2d(F.pad(torch.fft.fftshift(power, (-2, -1)), (2, 2, 2, 2)), 5, 1)
    power = F.interpolate(power[None], size=y.shape[-2:], mode="bilinear")[0]
    power = torch.fft.ifftshift(power, (-2, -1))
    rows, columns = (torch.fft.fftfreq(n) for n in y.shape[-2:])
    squares = rows[:, None] ** 2 + columns**2
    gain = torch.exp(-2 * (math.pi * damage.blur) ** 2 * squares)
    clean = torch.fft.ifft2(
        torch.fft.fft2(y) * gain * power / (gain**2 * power + damage.noise**2)
    ).real
    told = torch.einsum("ck,khw->chw", axes, clean[..., : obs.shape[-2], : obs.shape[-1]])
    return told + mean


def others(obs: Tensor, damage: Damage) -> Iterator[tuple[str, Method]]:
    """Other tools, where they are there: non-local means, BM3D, Richardson-Lucy."""
    if damage.upscale > 1:
        return
    try:
        import bm3d
        from skimage import restoration
    except ImportError:
        return
    picture = obs.movedim(0, -1).double().numpy()
    tensor = lambda x: torch.from_numpy(x).float().view(*picture.shape).movedim(-1, 0)  # noqa: E731
    if not damage.blur:
        told = {"patch_size": 5, "patch_distance": 10, "channel_axis": -1}
        sigma, h = damage.noise, 0.7 * damage.noise
        yield (
            "non-local means",
            lambda: tensor(restoration.denoise_nl_means(picture, h=h, sigma=sigma, **told)),
        )
        yield "BM3D", lambda: tensor(_by_bm3d(bm3d, picture, damage.noise))
        return
    place = torch.arange(-12, 13, dtype=torch.float64)
    line = torch.exp(-0.5 * (place / damage.blur) ** 2)
    kernel = (line[:, None] * line / line.sum() ** 2).numpy()
    yield "BM3D", lambda: tensor(_deblurred(bm3d, picture, damage.noise, kernel))
    for steps in (10, 30):
        name = f"Richardson-Lucy, {steps} steps"
        yield name, lambda steps=steps: tensor(_by_lucy(restoration, picture, kernel, steps))


def _by_bm3d(bm3d: Any, picture: Any, noise: float) -> Any:
    if picture.shape[-1] == 3:
        return bm3d.bm3d_rgb(picture, noise)
    return bm3d.bm3d(picture[..., 0], noise)[..., None]


def _deblurred(bm3d: Any, picture: Any, noise: float, kernel: Any) -> Any:
    """BM3D deblurs on a torus: the picture goes in mirrored, channel by channel."""
    import numpy as np

    if not hasattr(np, "trapz"):  # of NumPy before 2.4, which BM3D 4.0 asks for
        np.trapz = np.trapezoid  # noqa: NPY201
    height, width = picture.shape[:2]
    wide = np.pad(picture, ((0, height), (0, width), (0, 0)), mode="symmetric")
    told = [
        bm3d.bm3d_deblurring(wide[..., c : c + 1] / 255, noise / 255, kernel)
        for c in range(picture.shape[-1])
    ]
    return 255 * np.stack([one.squeeze() for one in told], -1)[:height, :width]


def _by_lucy(restoration: Any, picture: Any, kernel: Any, steps: int) -> Any:
    import numpy as np

    wide = np.pad(picture.clip(0) / 255, ((24, 24), (24, 24), (0, 0)), mode="symmetric")
    told = [
        restoration.richardson_lucy(wide[..., c], kernel, num_iter=steps)
        for c in range(picture.shape[-1])
    ]
    return 255 * np.stack(told, -1)[24:-24, 24:-24]


def sheet(out: Path) -> None:
    """What was observed, the best of the others, ours, and the clean picture, as ``sheet.png``."""
    rows = []
    for name in DAMAGES:
        every = (f"{name}, {method}.png" for method in ("BM3D", "bicubic", WIENER))
        other = next((file for file in every if (out / file).exists()), None)
        if other is not None:
            files = [f"{name}.png", other, f"{name}, gcn.png", f"{name}, gcn, a sample.png"]
            images = [load_image(out / file) for file in [*files, "clean.png"]]
            rows.append((name, [x[:, : SHOWN * x.shape[1] // images[-1].shape[1]] for x in images]))
    if rows:
        titles = ("observed", "BM3D, bicubic", "gcn", "gcn, a sample", "clean")
        save_png(out / "sheet.png", labelled_sheet(rows, titles))


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", type=Path, required=True, help="the whole picture")
    parser.add_argument("--part", required=True, help="x,y,w,h: what to restore, px")
    parser.add_argument("--ckpt", type=Path, required=True, help="learned from another part")
    parser.add_argument("--only", help="one of: " + "; ".join(DAMAGES))
    parser.add_argument("--n", type=int, default=8, help="samples whose mean is measured, too")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    saved, image = load_checkpoint(args.ckpt), load_image(args.image)
    machine = choose_machine("auto", "auto", saved.config.precision)
    left, top, width, height = part = tuple(int(n) for n in args.part.split(","))
    clean = image[:, top : top + height, left : left + width]
    learned, rows = saved.observed[0], []
    args.out.mkdir(parents=True, exist_ok=True)
    save_png(args.out / "clean.png", clean)
    for name, damage in DAMAGES.items():
        if args.only not in (None, name):
            continue
        obs = observed(image, part, damage)
        save_png(args.out / f"{name}.png", obs)
        methods = [*plain(obs, damage, learned), *others(obs, damage)]
        for method, restored in [*methods, *ours(saved, obs, damage, machine, args.n)]:
            began = time.perf_counter()
            told = restored().clamp(0, 255)
            seconds = time.perf_counter() - began
            scores = evaluate_texture(learned, told[None])
            row = {"damage": name, "method": method, "psnr": psnr(told, clean)}
            row |= {"gram": scores.gram, "spectrum_db": scores.spectrum_db, "seconds": seconds}
            rows.append(row)
            save_png(args.out / f"{name}, {method}.png", told)
            print(
                f"{name:16} {method:26} {row['psnr']:6.2f} dB  gram {scores.gram:6.2f}  "
                f"spectrum {scores.spectrum_db:5.2f} dB  {seconds:5.1f} s",
                flush=True,
            )
            atomic_write_text(args.out / "restore.json", json.dumps(rows, indent=1) + "\n")
    sheet(args.out)


if __name__ == "__main__":
    main()
