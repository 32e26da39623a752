"""The exemplar at one size, and what either act draws from it: crops, windows, noise, levels.

Everything random is keyed by (seed, purpose, size, update). A finer size is given a coarser picture
beside every crop: the exemplar's own next coarser size, enlarged, under a little noise. At sampling
time it is the coarser sample, under as much.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.field.network import beside
from gcn_cli.field.noise import generator
from gcn_cli.texture.draw import FACTOR, coarse_shape, from_coarse
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import Plan, at_size

_LOG_LEVEL = (-0.2, 1.3)  # mean and deviation of ln s at the coarsest size (Karras et al. 2022)


def given_picture(observed: Tensor, reduction: int) -> Tensor:
    """What a size is given beside pictures (N, C, H, W): the next coarser size, enlarged."""
    size = at_size(observed, reduction).shape[-2:]
    coarser = at_size(observed, FACTOR * reduction)
    return F.interpolate(coarser, size=size, mode="bicubic", align_corners=False)


class Exemplar:
    """Pictures (N, C, H, W) in units of contrast, at size ``index`` of a plan.

    ``mirrored``: with the border that act one looks at. The loss counts inside the margin, so real
    pixels alone: motifs cut in half and mirrored would be learned as motifs.
    """

    def __init__(
        self, plan: Plan, index: int, observed: Tensor, device: torch.device, mirrored: bool
    ) -> None:
        self.plan, self.index, self.device = plan, index, device
        self.size = plan.sizes[index]
        self.pictures = at_size(observed, self.size.reduction)
        given = given_picture(observed, self.size.reduction) if index else None
        self._channels, (n, _, *sides) = self.pictures.shape[1], self.pictures.shape
        if plan.recipe.place:
            given = place_maps(n, (sides[0], sides[1]), observed.device)
        self._all = beside(self.pictures, given)
        pad = min(plan.recipe.reconstruction.margin, min(sides) - 1)
        if mirrored:  # an object's canvas is a torus, as it is when it is sampled
            mode = "circular" if plan.recipe.place else "reflect"
            self._all = F.pad(self._all, (pad,) * 4, mode=mode)

    def crops(self, update: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Random crops (n, C, h, w), noise alike, levels (n,), and what is given beside them."""
        draw = generator(self.plan.seed, "reconstruction", self.index, update)
        n, side = self.plan.recipe.reconstruction.batch, self.size.crop
        count, _, height, width = self._all.shape

        def integers(bound: int) -> list[int]:
            return torch.randint(bound, (n,), generator=draw).tolist()

        places = zip(
            integers(count), integers(height - side + 1), integers(width - side + 1), strict=True
        )
        cut = torch.stack([self._all[k, :, i : i + side, j : j + side] for k, i, j in places])
        x, given = self._parted(cut, "given", update)
        noise = self.normal(x.shape, "reconstruction", update)
        return x, noise, self._levels(n, draw).to(self.device), given

    def window(self, draw: torch.Generator, update: int) -> tuple[Tensor, Tensor | None]:
        """A window (1, C, h, w) about as large as the chains and their margin; what is given."""
        count, _, height, width = self._all.shape
        stride = self.plan.net.total_stride
        side = self.size.canvas + 2 * (self.plan.net.receptive_field // 2)
        h, w = (min(n, side) // stride * stride for n in (height, width))
        k, i, j = (
            int(torch.randint(bound, (1,), generator=draw))
            for bound in (count, height - h + 1, width - w + 1)
        )
        return self._parted(self._all[k : k + 1, :, i : i + h, j : j + w], "given/2", update)

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


__all__ = ["Exemplar", "given_picture"]
