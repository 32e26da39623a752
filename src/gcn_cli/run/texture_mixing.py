"""Mixtures of models: which can be combined, with what weights, and who draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.errors import UsageError
from gcn_cli.field.noise import generator
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.sampling import Frame, Request
from gcn_cli.run.texture_sampling import TextureArtist
from gcn_cli.texture.denoise import Mixture, Part
from gcn_cli.texture.draw import Model, opener
from gcn_cli.texture.pyramid import shrink

Blend = Literal["patches", "product"]
BLENDS = ("patches", "product")
_PATCH = 1.0  # side of a patch over the field of view at the coarsest size
_EDGE = 0.03  # of a patch, in shares
_SURE = 0.01  # a share below this is none
_FURTHEST = 4.0  # times as high that one contrast may be as another


def parse_part(text: str) -> tuple[Path, float]:
    """A run and its weight from ``runs/00000-grass:0.7``; without a number 1.

    Raises:
        UsageError: a weight that is no number above 0.
    """
    path, colon, number = text.rpartition(":")
    if not colon:
        return Path(text), 1.0
    try:
        weight = float(number)
    except ValueError:
        return Path(text), 1.0  # a colon of the path's own
    if not 0 < weight < float("inf"):
        raise UsageError(f"a weight is a number above 0; '{number}' is not")
    return Path(path), weight


def check_mixable(names: Sequence[str], all_saved: Sequence[Checkpoint]) -> None:
    """Refuse models that have no density in common.

    Raises:
        UsageError: they differ in kind, channels or sizes, or are of objects or materials.
    """
    if len(all_saved) < 2:
        raise UsageError("a mixture is of two models or more")
    for name, saved in zip(names, all_saved, strict=True):
        if saved.config.kind != "texture":
            raise UsageError(f"{name} is of kind {saved.config.kind}; only textures are mixed")
        if saved.material is not None or saved.model.place is not None:
            what = "a material" if saved.material is not None else "objects"
            raise UsageError(f"{name} is of {what}; only textures are mixed")
    first = all_saved[0].model
    for name, saved in zip(names[1:], all_saved[1:], strict=True):
        model = saved.model
        if model.net.channels != first.net.channels:
            told = [{1: "grey", 3: "in colour"}.get(m.net.channels, "") for m in (first, model)]
            raise UsageError(f"{names[0]} is {told[0]}, {name} {told[1]}: learn both alike")
        ours, theirs = ([s.reduction for s in m.sizes] for m in (first, model))
        if ours != theirs:
            raise UsageError(
                f"{names[0]} begins at 1/{ours[0]}, {name} at 1/{theirs[0]}: learn both with "
                f"--set sizes.coarsest={max(ours[0], theirs[0])}"
            )
        if model.net.total_stride != first.net.total_stride:
            raise UsageError(f"{names[0]} and {name} have networks of other strides")
        ratio = model.contrast / first.contrast
        if not 1 / _FURTHEST <= ratio <= _FURTHEST:
            raise UsageError(f"the contrast of {name} is {ratio:.2g} times that of {names[0]}")


@dataclass(frozen=True)
class MixArtist:
    """Draws with the product of models, each to the power of its weight; see `Artist`.

    ``weights`` are those of the whole canvas; ``share`` (H, W), where it is given, is in [0, 1]
    and fades from the first model (0) to the second (1). ``blend``: whether models take turns, in
    patches drawn by ``seed``, or multiply everywhere.
    """

    models: tuple[Model, ...]
    weights: tuple[float, ...]
    share: Tensor | None = None
    blend: Blend = "patches"
    seed: int = 0
    first: TextureArtist = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", TextureArtist(self.models[0]))

    @property
    def model(self) -> Model:
        """The first model, in whose units the chain runs."""
        return self.models[0]

    @property
    def usual(self) -> tuple[int, int]:
        """What is drawn unasked."""
        return self.first.usual

    def canvas(self, request: Request) -> tuple[int, int]:
        """See `TextureArtist.canvas`."""
        return self.first.canvas(request)

    def batch(self, request: Request, machine: Machine, wanted: int | None) -> int:
        """Chains at once."""
        return self.first.batch(request, machine, wanted)

    def frames(self, request: Request, machine: Machine) -> Iterator[Frame]:
        """The chain of every seed, step by step."""
        return self.first.frames(request, machine, self._denoisers(request, machine))

    def _denoisers(self, request: Request, machine: Machine) -> Callable[[int], Mixture]:
        opened = [opener(model, machine) for model in self.models]
        shares = self._shares(self.canvas(request))
        base = self.model

        def denoiser(index: int) -> Mixture:
            small = [shrink(share, 1 / base.sizes[index].reduction) for share in shares]
            parts = [
                Part(
                    each(index),
                    base.contrast / model.contrast,
                    ((base.mean - model.mean) / model.contrast).to(machine.device),
                    weight.to(machine.device),
                )
                for each, model, weight in zip(opened, self.models, small, strict=True)
            ]
            return Mixture(parts)

        return denoiser

    def _shares(self, canvas: tuple[int, int]) -> list[Tensor]:
        """Weights (1, 1, H, W) of the models at every pixel of the canvas; they sum to 1."""
        total = sum(self.weights)
        whole = [torch.full((1, 1, *canvas), weight / total) for weight in self.weights]
        if self.share is not None:
            height, width = (min(n, m) for n, m in zip(canvas, self.share.shape, strict=True))
            whole[1].zero_()
            whole[1][..., :height, :width] = self.share[:height, :width]
            whole[0] = 1 - whole[1]
        if self.blend == "product":
            return whole
        model = self.model
        side = _PATCH * model.net.receptive_field * model.sizes[0].reduction
        return patches(whole, side, self.seed)


def patches(shares: Sequence[Tensor], side: float, seed: int) -> list[Tensor]:
    """Weights (1, 1, H, W) that are 0 or 1 but at edges, as often 1 as ``shares`` say.

    Which model has a pixel is decided by a smooth Gaussian field, of blobs about ``side`` px wide.
    """
    rank = 0.5 * (1 + torch.erf(_blobs(shares[0].shape[-2:], side, seed) / math.sqrt(2)))
    below = torch.zeros_like(shares[0])
    told, cut = [], torch.zeros_like(shares[0])
    for share in shares:
        below = below + share
        upto = torch.sigmoid((below - rank) / _EDGE)
        upto = torch.where(below >= 1 - _SURE, 1.0, torch.where(below <= _SURE, 0.0, upto))
        told.append(upto - cut)
        cut = upto
    return told


def _blobs(size: Sequence[int], side: float, seed: int) -> Tensor:
    """A Gaussian field (H, W) on a torus, of mean 0 and deviation 1, blurred over ``side`` px."""
    white = torch.randn(tuple(size), generator=generator(seed, "patches"))
    rows, columns = (torch.fft.fftfreq(n) for n in size)
    squares = rows[:, None] ** 2 + columns[None, :] ** 2
    gain = torch.exp(-2 * (math.pi * side / 4) ** 2 * squares)
    smooth: Tensor = torch.fft.ifft2(torch.fft.fft2(white) * gain).real
    return smooth.sub(smooth.mean()).div(smooth.std())


__all__ = ["MixArtist", "check_mixable", "parse_part"]
