"""The matching path: weak two-layer fields that bring a level's samples to the observed marginals.

A field learned for minutes leaves its samples a few per cent too strong here, a few grey levels
off there. What remains is mended by a short path of weak fields, one per stage t:

    p_t(I | I_{t-1})  ∝  exp[ sum_k sum_x phi_k((w_k * I)(x)) ]  N(I; I_{t-1}, sigma^2 1)

It is FRAME (Zhu, Wu & Mumford 1998) with new random filters w at every stage: the potentials phi_k
are piecewise linear, hence sums of ReLUs, and the whole is a generative ConvNet of two layers
whose Gaussian reference is centred at what the stage is given. As everywhere here B is the
gradient of the tilt, decoded by the encoder's own filters, and the stage takes one Langevin step
at temperature 0, all the way to the reconstruction ``I_{t-1} + sigma^2 B(I_{t-1})``.

The potentials come from maximum likelihood. At phi = 0 the likelihood of filter k alone grows along
``p_obs - p_syn``, the difference of the histograms of responses (FRAME's gradient); its Newton step
for small sigma solves ``(p_syn sigma^2 phi')' = p_syn - p_obs``, so ``sigma^2 phi'(s)`` carries the
responses of the chains to those of the observed images: by quantiles, ``F_obs^-1(F_syn(s)) - s``.
Many filters overlap in a pixel; their common step is divided by the largest gain of decoder after
encoder. Some stages have filters that are pursued rather than random (`gcn_cli.core.filters`).
Heeger & Bergen (1995) matched the responses of a fixed bank at every scale, Elnekave & Weiss (2022)
match random projections of patches, both picture by picture with the exemplar at hand; here the
stages are learned once, from many chains, and any fresh chain is driven through them.

The last stage may be a spectral one, whose potentials are quadratic (`gcn_cli.core.spectrum`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.core.bands import add_in_bands_
from gcn_cli.core.filters import (
    detail_filters,
    largest_gain,
    pursued_filters,
    white_filters,
)
from gcn_cli.core.fused import side_by_side
from gcn_cli.core.noise import NoiseSource, generator
from gcn_cli.core.patches import quantiles, random_patches
from gcn_cli.core.spectrum import Equaliser, equalise_, learn_equaliser

_QUANTILES = 64
_KNOTS = 256  # of a potential: breaks in its slope, evenly spaced between the outer quantiles
_PATCHES = 16384  # drawn from the chains and from the observed images, for the quantiles
_PURSUIT_PATCHES = 16384  # likewise, for the covariances of patches
_BAND_VALUES = 2**22  # responses held at once
_CACHEFUL = 2**18  # responses looked up at once

Kind = Literal["white", "pursued", "detail", "coarse", "spectrum"]


@dataclass(frozen=True)
class MatchingParams:
    """A level's matching path.

    ``chains`` fresh samples of ``canvas`` (H, W) px stand for the level's law. Stages take turns:
    white random filters of ``sizes`` px; pursued filters of ``pursuit_sizes`` px, whose responses
    differ most; high-pass filters of ``detail_sizes`` px, which do not let the coarse octaves drown
    the finest; and, for 1 to ``octaves`` octaves, white filters over the reduced image, since a
    finer level disturbs the coarse structure that it is given. With a kernel of ``spectrum`` px
    the last stage mends the power spectrum.
    """

    stages: int
    chains: int
    canvas: tuple[int, int]
    filters: int = 64
    sizes: tuple[int, ...] = (7, 5)
    pursuit_sizes: tuple[int, ...] = (9, 5)
    detail_sizes: tuple[int, ...] = (5, 3)
    octaves: int = 0
    spectrum: int = 0
    relaxation: float = 0.8
    start_noise: float = 0.0
    """Grey levels of white noise with which the path begins: spots that the level left flat,
    because no unit fires there, have structure to be matched again."""

    def turn(self, stage: int) -> Turn:
        """What stage number ``stage``, counted from 0, draws."""
        if self.spectrum and stage == self.stages - 1:
            return Turn("spectrum", self.spectrum, 0)
        kinds: list[Kind] = ["white"]
        if self.pursuit_sizes:
            kinds.append("pursued")
        if self.detail_sizes:
            kinds.append("detail")
        if self.octaves:
            kinds.append("coarse")
        time, kind = stage // len(kinds), kinds[stage % len(kinds)]
        octave = 0
        if kind == "coarse":
            octave = 1 + time % self.octaves
            time //= self.octaves
        sizes = {"pursued": self.pursuit_sizes, "detail": self.detail_sizes}.get(kind, self.sizes)
        return Turn(kind, sizes[time % len(sizes)], octave)


class Turn(NamedTuple):
    """The filters of one stage: what kind, how many px a side, and how often halved the image."""

    kind: Kind
    side: int
    octave: int


class Potentials(NamedTuple):
    """One stage: filters and, for each, the slope of its potential.

    The slope times sigma^2 is ``shift[k, i]`` (grey levels) for responses nearest to
    ``low[k] + i / density[k]``, the outer entries for all beyond: a piecewise constant function.
    """

    filters: Tensor  # (K, C, p, p), unit norm, values that bfloat16 holds
    low: Tensor  # (K,), grey levels
    density: Tensor  # (K,), entries per grey level
    shift: Tensor  # (K, knots), values that float16 holds
    octave: int = 0
    """Times that the image is halved before the filters see it."""

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All but the octave."""
        return self.filters, self.low, self.density, self.shift

    def to(self, device: torch.device) -> Potentials:
        """The same on another device."""
        return self._replace(
            filters=self.filters.to(device),
            low=self.low.to(device),
            density=self.density.to(device),
            shift=self.shift.to(device),
        )


Stage = Potentials | Equaliser
"""One stage of a path."""


@dataclass(frozen=True)
class MatchInfo:
    """What one stage saw; all in grey levels.

    ``mismatch`` is the mean distance between observed and synthesized quantiles of responses,
    at a spectral stage that between amplitudes of frequencies.
    """

    level: int
    update: int
    updates: int
    mismatch: float
    spread_chains: float
    spread_data: float
    event: str | None = None


def begin_path(images: Tensor, start_noise: float, noise: NoiseSource) -> Tensor:
    """The images (N, C, H, W) that the first stage is given."""
    if not start_noise:
        return images
    z = torch.empty_like(images, memory_format=torch.contiguous_format)
    return noise.normal_(z, "matching", 0).mul_(start_noise).add_(images)


def learn_stage(
    params: MatchingParams, stage: int, observed: Tensor, chains: Tensor, seed: int
) -> tuple[Stage, Tensor]:
    """The potentials of stage number ``stage``, and the mismatch they were made from.

    Args:
        params: the path's.
        stage: counted from 0; keys the filters and the patches together with ``seed``.
        observed: images (M, C, h, w), centred grey levels, not wrapped.
        chains: images (N, C, H, W), tori.
        seed: of the path.

    Returns:
        The stage, and its mismatch, a scalar tensor in grey levels (`MatchInfo`).
    """
    turn = params.turn(stage)
    if turn.kind == "spectrum":
        return learn_equaliser(turn.side, observed, chains)
    for _ in range(turn.octave):
        observed, chains = halve(observed, wrap=False), halve(chains, wrap=True)
    filters = _bank(params, stage, observed, chains, seed).to(chains.device)
    seen = quantiles(
        _responses(observed, filters, seed, ("observed", stage), wrap=False), _QUANTILES
    )
    made = quantiles(_responses(chains, filters, seed, ("chains", stage), wrap=True), _QUANTILES)
    low, high = made[:, 0], made[:, -1]
    span = (high - low).clamp_min(1e-6)
    places = torch.linspace(0, 1, _KNOTS, device=chains.device)
    knots = low[:, None] + span[:, None] * places
    shift = _carried(knots, made, seen - made) * (params.relaxation / largest_gain(filters))
    shift = shift.half().float()  # what a file holds
    return (
        Potentials(filters, low, (_KNOTS - 1) / span, shift, turn.octave),
        (seen - made).abs().mean(),
    )


def _bank(
    params: MatchingParams, stage: int, observed: Tensor, chains: Tensor, seed: int
) -> Tensor:
    """The filters (K, C, p, p) of one stage, of unit norm."""
    kind, side, _ = params.turn(stage)
    rng = generator(seed, "filters", stage)
    if kind == "pursued":
        seen = random_patches(
            observed, side, _PURSUIT_PATCHES, generator(seed, "pursuit", 2 * stage), wrap=False
        )
        made = random_patches(
            chains, side, _PURSUIT_PATCHES, generator(seed, "pursuit", 2 * stage + 1), wrap=True
        )
        return pursued_filters(params.filters, seen, made, side, rng)
    draw = detail_filters if kind == "detail" else white_filters
    return draw(params.filters, chains.shape[1], side, rng)


def halve(images: Tensor, wrap: bool) -> Tensor:
    """Images (N, C, H, W) at half the side; the adjoint of `double` over 4 on a torus.

    Without ``wrap`` only what the kernel, 4 px wide, sees whole.
    """
    if not wrap:
        return _halve_inside(images)
    n, c, height, width = images.shape
    columns = torch.arange(-1, width + 1 + width % 2, device=images.device) % width
    half = -(-height // 2)
    band = max(1, _BAND_VALUES // (8 * n * c * width))  # blurring holds several copies
    parts = []
    for top in range(0, half, band):
        bottom = min(half, top + band)
        rows = torch.arange(2 * top - 1, 2 * bottom + 1, device=images.device) % height
        parts.append(_halve_inside(images.index_select(-2, rows).index_select(-1, columns)))
    return torch.cat(parts, -2)


def _halve_inside(images: Tensor) -> Tensor:
    """Every second place of images blurred by 1 3 3 1 each way, without what lacks neighbours."""
    kernel = images.new_tensor([1, 3, 3, 1]).div_(8)
    channels = images.shape[1]
    for shape, stride in (((4, 1), (2, 1)), ((1, 4), (1, 2))):
        taps = kernel.view(1, 1, *shape).expand(channels, 1, *shape)
        images = F.conv2d(images, taps, stride=stride, groups=channels)
    return images


def double(images: Tensor) -> Tensor:
    """Tori (N, C, H, W) at twice the side, by bilinear interpolation."""
    for dim in (2, 3):
        before, after = images.roll(1, dim), images.roll(-1, dim)
        pair = torch.stack([3 * images + before, 3 * images + after], dim + 1)
        images = (pair / 4).flatten(dim, dim + 1)
    return images


@torch.no_grad()
def push(stage: Stage, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """``I + sigma^2 B(I)`` of tori (N, C, H, W): one stage's step.

    Raises:
        ValueError: a side that cannot be halved as often as the stage asks.
    """
    return push_(stage, images.clone(), dtype)


@torch.no_grad()
def push_(stage: Stage, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """`push`, moving the images in place."""
    if isinstance(stage, Equaliser):
        return equalise_(stage, images)
    if stage.octave == 0:
        return _push(stage, images, dtype)
    if any(side % 2**stage.octave for side in images.shape[-2:]):
        raise ValueError(f"sides of {tuple(images.shape[-2:])} cannot be halved as a stage asks")
    reduced = images
    for _ in range(stage.octave):
        reduced = halve(reduced, wrap=True)
    change = _push(stage, reduced.clone(), dtype).sub_(reduced)
    for _ in range(stage.octave - 1):
        change = double(change)
    return _add_doubled(images, change)


def _add_doubled(images: Tensor, change: Tensor) -> Tensor:
    """``images + double(change)`` in place, in bands of rows."""
    n, c, height, width = change.shape
    band = max(1, _BAND_VALUES // (16 * n * c * width))  # enlarging holds several copies
    for top in range(0, height, band):
        bottom = min(height, top + band)
        rows = torch.arange(top - 1, bottom + 1, device=change.device) % height
        big = double(change.index_select(-2, rows))[..., 2:-2, :]
        images[..., 2 * top : 2 * bottom, :] += big
    return images


def _push(potentials: Potentials, images: Tensor, dtype: torch.dtype) -> Tensor:
    """`push_` at the stage's own octave, no more than a few million responses at once."""
    n, _, _, width = images.shape
    last = torch.channels_last
    filters = potentials.filters.to(dtype).contiguous(memory_format=last)
    k, margin = filters.shape[0], 2 * (filters.shape[-1] // 2)
    group = 2 if images.device.type == "cpu" else 1
    back = side_by_side(filters.flip(2, 3).transpose(0, 1), group)
    back = back.contiguous(memory_format=last)

    def change(block: Tensor) -> Tensor:
        height = block.shape[-2] - 2 * margin
        block = block.to(dtype, memory_format=last)
        shifts = _look_up(potentials, F.conv2d(block, filters))
        odd = height % group, width % group
        if any(odd):  # whole groups
            shifts = F.pad(shifts, (0, odd[1], 0, odd[0]))
        moved = F.pixel_shuffle(F.conv2d(shifts, back, stride=group), group)
        return moved[..., :height, :width]

    return add_in_bands_(images, margin, max(1, _BAND_VALUES // (n * k * width)), change)


def _look_up(potentials: Potentials, responses: Tensor) -> Tensor:
    """Slopes of the potentials at responses (N, K, H, W), times sigma^2; channels last.

    Responses that lie channels last are overwritten. On a CPU they are taken a cacheful at a time.
    """
    n, k, height, width = responses.shape
    knots = potentials.shift.shape[1]
    rows = responses.permute(0, 2, 3, 1).reshape(-1, k)
    first = torch.arange(k, device=responses.device, dtype=torch.int32) * knots
    table = potentials.shift.flatten()
    work = torch.promote_types(responses.dtype, torch.float32)
    count = len(rows)
    if responses.device.type == "cpu":
        count = min(count, max(1, _CACHEFUL // k))
    # Memory is taken once: touching fresh pages costs more than the sums.
    place = rows.new_empty(count, k, dtype=work)
    index = torch.empty_like(place, dtype=torch.int32)
    found = table.new_empty(count * k)
    for begin in range(0, len(rows), count):
        piece = rows[begin : begin + count]
        here, at = place[: len(piece)], index[: len(piece)]
        here.copy_(piece).sub_(potentials.low).mul_(potentials.density)
        at.copy_(here.round_().clamp_(0, knots - 1)).add_(first)
        slopes = found[: piece.numel()]
        torch.index_select(table, 0, at.view(-1), out=slopes)
        piece.copy_(slopes.view_as(piece))
    return rows.view(n, height, width, k).permute(0, 3, 1, 2)


def _responses(
    images: Tensor, filters: Tensor, seed: int, key: tuple[str, int], wrap: bool
) -> Tensor:
    """Responses (K, P) of the filters at random places of images (N, C, H, W)."""
    patches = random_patches(images, filters.shape[-1], _PATCHES, generator(seed, *key), wrap)
    return filters.flatten(1) @ patches.T


def _carried(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Rows of the piecewise linear functions through (knots, values), at ``at``; all (K, *)."""
    right = torch.searchsorted(knots.contiguous(), at.contiguous()).clamp(1, knots.shape[1] - 1)
    x0, x1 = knots.gather(1, right - 1), knots.gather(1, right)
    y0, y1 = values.gather(1, right - 1), values.gather(1, right)
    way = ((at - x0) / (x1 - x0).clamp_min(1e-6)).clamp(0, 1)
    return y0 + (y1 - y0) * way
