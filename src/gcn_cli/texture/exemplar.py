"""The exemplar at one size, and what either act draws from it: crops, windows, noise, levels.

Everything random is keyed by (seed, purpose, size, update). A finer size is given a coarser picture
beside every crop: the exemplar's own next coarser size, enlarged, under a little noise. At sampling
time it is the coarser sample, under as much.

Where pixels are unknown, `Views` says which count and where crops and windows may lie.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.engine import Ranks
from gcn_cli.field.network import beside
from gcn_cli.field.noise import generator
from gcn_cli.texture.draw import coarse_shape, from_coarse
from gcn_cli.texture.known import Windows, eroded, known_values, reduced_known
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import Plan, at_size, known_at
from gcn_cli.texture.rung import FACTOR

_LOG_LEVEL = (-0.2, 1.3)  # mean and deviation of ln s at the coarsest size (Karras et al. 2022)


def given_picture(observed: Tensor, reduction: int) -> Tensor:
    """What a size is given beside pictures (N, C, H, W): the next coarser size, enlarged."""
    size = at_size(observed, reduction).shape[-2:]
    coarser = at_size(observed, FACTOR * reduction)
    return F.interpolate(coarser, size=size, mode="bicubic", align_corners=False)


def known_beside(known: Tensor, reduction: int, given: bool) -> Tensor:
    """Pixels (N, 1, h, w) of a size that are known, also in what is ``given`` beside them."""
    here = known_at(known, reduction)
    if not given:
        return here
    coarser = known_at(known, FACTOR * reduction)
    return here & reduced_known(coarser, (here.shape[-2], here.shape[-1]))


class Views:
    """What may be looked at of pictures of which pixels are unknown, at one size.

    ``known`` (N, 1, H, W): pixels known, also in what is given beside them. Windows of act two are
    whole where there are such; else, and in act one, pixels have weights.
    """

    def __init__(self, known: Tensor) -> None:
        self.known = known
        self.weights: Tensor | None = None
        self.windows: Windows | None = None

    @classmethod
    def of_crops(cls, known: Tensor, side: int, margin: int, pad: int) -> Views:
        """Of act one: crops of ``side`` px of pictures that have a mirrored border of ``pad``."""
        told = cls(known)
        told.weights = eroded(known, margin).to(torch.float32)
        if pad:
            told.weights = F.pad(told.weights, (pad,) * 4, mode="reflect")
        told.windows = Windows(told.weights > 0, (side, side), margin, whole=False)
        return told

    @classmethod
    def of_windows(cls, known: Tensor, shape: tuple[int, int], margin: int, stride: int) -> Views:
        """Of act two: windows (h, w), of which units count whose field of view is known."""
        told = cls(known)
        told.windows = Windows(known, shape, 0, whole=True)
        if not len(told.windows):
            told.weights = eroded(known, margin).to(torch.float32)
            sure = eroded(known, margin + stride)
            told.windows = Windows(sure, shape, margin, whole=False)
        return told


class Crops(NamedTuple):
    """What an update of reconstruction looks at; the arguments of `reconstruction_loss`."""

    x: Tensor
    noise: Tensor
    s: Tensor
    given: Tensor | None
    weight: Tensor | None

    def part(self, ranks: Ranks, margin: int) -> tuple[Crops, float | Tensor]:
        """A process's of them, and what the mean over those counts in the mean over all."""
        if ranks.size == 1:
            return self, 1.0
        x, noise, s = (ranks.part(t) for t in self[:3])
        given, weight = (None if t is None else ranks.part(t) for t in self[3:])
        share: float | Tensor = ranks.share(len(self.x))
        mine = Crops(x, noise, s, given, weight)
        if share and self.weight is not None:
            share = mine._counted(margin) / self._counted(margin)
        return mine, share

    def _counted(self, margin: int) -> Tensor:
        """What the loss is divided by, a scalar."""
        assert self.weight is not None
        inside = self.weight[..., margin:-margin, margin:-margin].sum()
        return (inside * self.x.shape[1]).clamp_min(1)


class Exemplar:
    """Pictures (N, C, H, W) in units of contrast, at size ``index`` of a plan.

    ``mirrored``: with the border that act one looks at. The loss counts inside the margin, so real
    pixels alone: motifs cut in half and mirrored would be learned as motifs.
    """

    def __init__(
        self,
        plan: Plan,
        index: int,
        observed: Tensor,
        device: torch.device,
        mirrored: bool,
        known: Tensor | None = None,
    ) -> None:
        self.plan, self.index, self.device = plan, index, device
        self.size = plan.sizes[index]
        self.pictures = at_size(observed, self.size.reduction)
        given = given_picture(observed, self.size.reduction) if index else None
        self._channels, (n, _, *sides) = self.pictures.shape[1], self.pictures.shape
        if plan.recipe.place:
            given = place_maps(n, (sides[0], sides[1]), observed.device)
        self._all = beside(self.pictures, given)
        pad = 0
        if mirrored:  # an object's canvas is a torus, as it is when it is sampled
            pad = min(plan.recipe.reconstruction.margin, min(sides) - 1)
            mode = "circular" if plan.recipe.place else "reflect"
            self._all = F.pad(self._all, (pad,) * 4, mode=mode)
        self._views = None if known is None else self._looked_at(known.to(device), mirrored, pad)

    def _looked_at(self, known: Tensor, mirrored: bool, pad: int) -> Views:
        """What may be looked at."""
        here = known_beside(known, self.size.reduction, self.index > 0)
        net, margin = self.plan.net, self.plan.recipe.reconstruction.margin
        if mirrored:
            return Views.of_crops(here, self.size.crop, margin, pad)
        shape = self._window_shape()
        return Views.of_windows(here, shape, net.receptive_field // 2, net.total_stride)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of what is known."""
        known = None if self._views is None else self._views.known
        return known_values(self.pictures, known).std()

    def crops(self, update: int) -> Crops:
        """Random crops (n, C, h, w), noise alike, levels (n,), what is given beside; weights."""
        draw = generator(self.plan.seed, "reconstruction", self.index, update)
        n, side = self.plan.recipe.reconstruction.batch, self.size.crop
        count, _, height, width = self._all.shape

        def integers(bound: int) -> list[int]:
            return torch.randint(bound, (n,), generator=draw).tolist()

        if self._views is not None and self._views.windows is not None:
            places = self._views.windows.draw(n, draw)
        else:
            rows, columns = (bound - side + 1 for bound in (height, width))
            places = list(zip(integers(count), integers(rows), integers(columns), strict=True))
        cut = _cut(self._all, places, side, side)
        weight = None
        if self._views is not None and self._views.weights is not None:
            weight = _cut(self._views.weights, places, side, side)
        x, given = self._parted(cut, "given", update)
        noise = self.normal(x.shape, "reconstruction", update)
        return Crops(x, noise, self._levels(n, draw).to(self.device), given, weight)

    def _window_shape(self) -> tuple[int, int]:
        """Sides (h, w) of a window: about as large as the chains and their margin."""
        stride = self.plan.net.total_stride
        side = self.size.canvas + 2 * (self.plan.net.receptive_field // 2)
        height, width = (min(n, side) // stride * stride for n in self._all.shape[-2:])
        return height, width

    def window(
        self, draw: torch.Generator, update: int
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """A window (1, C, h, w); what is given beside it; its weights, unless all counts."""
        count, _, height, width = self._all.shape
        h, w = self._window_shape()
        weight = None
        if self._views is not None and self._views.windows is not None:
            places = self._views.windows.draw(1, draw)
            if self._views.weights is not None:
                weight = _cut(self._views.weights, places, h, w)
        else:
            k, i, j = (
                int(torch.randint(bound, (1,), generator=draw))
                for bound in (count, height - h + 1, width - w + 1)
            )
            places = [(k, i, j)]
        x, given = self._parted(_cut(self._all, places, h, w), "given/2", update)
        return x, given, weight

    def normal(self, shape: torch.Size, purpose: str, update: int, level: int = 0) -> Tensor:
        """Keyed noise (N, C, h, w)."""
        key = (purpose, self.index, update, level, "z")
        draw = generator(self.plan.seed, *key, device=self.device)
        return torch.randn(shape, generator=draw, device=self.device)

    def _levels(self, n: int, draw: torch.Generator) -> Tensor:
        """Levels (n,): ln s is normal at the coarsest size, else even up to twice the start."""
        least, most = self.plan.recipe.noise.lowest, float(self.size.levels[0])
        if self.index == 0:
            mean, deviation = _LOG_LEVEL
            s = (mean + deviation * torch.randn(n, generator=draw)).exp()
        else:
            most *= 2
            span = math.log(most / least)
            s = least * (span * torch.rand(n, generator=draw)).exp()
        return s.clamp(least, most)

    def _parted(self, cut: Tensor, purpose: str, update: int) -> tuple[Tensor, Tensor | None]:
        """Pictures, and what is given beside them under its noise: white at the coarser size."""
        x, given = cut[:, : self._channels], cut[:, self._channels :]
        if not given.shape[1]:
            return x, None
        if self.plan.recipe.place:  # known for sure
            return x, given
        z = self.normal(coarse_shape(given.shape), purpose, update)
        return x, given + self.plan.recipe.noise.given * from_coarse(z, given.shape)


def _cut(maps: Tensor, places: list[tuple[int, int, int]], h: int, w: int) -> Tensor:
    """Windows (n, C, h, w) of maps (N, C, H, W) at places (k, i, j)."""
    return torch.stack([maps[k, :, i : i + h, j : j + w] for k, i, j in places])


__all__ = ["Crops", "Exemplar", "Views", "given_picture", "known_beside"]
