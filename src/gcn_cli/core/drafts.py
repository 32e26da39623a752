"""Drafts: chosen samples of the coarsest level with which the samples that learning draws begin.

Where a fresh sample is the best of several coarse candidates (`gcn_cli.core.likeness`), the law
of the samples is the field's, conditioned on that choice, and the finer levels have to learn
behind that law: behind every draw they would mend what the choice has taken off already. Choosing
costs several draws for one, so a number of chosen drafts are made once and kept. Every draw takes
some of them, moved about on the torus, and goes on from there with fresh noise of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gcn_cli.core.model import LevelModel, Model, informed
from gcn_cli.core.noise import derive_seed, generator
from gcn_cli.core.synthesis import final_images, synthesize

KeptDrafts = dict[tuple[int, int], Tensor]
"""Drafts (count, C, h, w) by the canvas (H, W) at full size that they are for."""


class Drafts:
    """``count`` chosen samples of the coarsest ``level`` for every size that is asked for.

    Args:
        level: the coarsest one, learned.
        observed: images (N, C, H, W) at full size, mean colour subtracted, on the host.
        count: drafts of one size.
        seed: of learning.
        device, dtype: where and how exactly to compute.
        kept: what was drawn before for the same arguments; filled as sizes are asked for.
    """

    def __init__(
        self,
        level: LevelModel,
        observed: Tensor,
        count: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        kept: KeptDrafts | None = None,
    ) -> None:
        mean = torch.zeros(observed.shape[1], 1, 1)
        self.count = count
        self._model = Model((informed(level, observed),), mean)
        self._seed = derive_seed(seed, "drafts")
        self._device, self._dtype = device, dtype
        self._kept = {} if kept is None else kept

    def take(self, size: tuple[int, int], chains: int, seed: int) -> Tensor:
        """``chains`` drafts (N, C, h, w) of a canvas of ``size`` (H, W) px at full size.

        Which ones, and how far each is shifted, is drawn from ``seed``; none is taken twice
        before all others are.
        """
        if size not in self._kept:
            self._kept[size] = self._draw(size)
        kept = self._kept[size]
        rng = generator(seed, "drafts")
        rounds = -(-chains // self.count)
        picks = torch.cat([torch.randperm(self.count, generator=rng) for _ in range(rounds)])
        height, width = kept.shape[-2:]
        shifts = torch.stack(
            [torch.randint(side, (chains,), generator=rng) for side in (height, width)], 1
        )
        pairs = zip(picks[:chains].tolist(), shifts.tolist(), strict=True)
        return torch.stack([kept[pick].roll(shift, (-2, -1)) for pick, shift in pairs])

    def _draw(self, size: tuple[int, int]) -> Tensor:
        progress = synthesize(
            self._model, size, range(self.count), self._seed, device=self._device, dtype=self._dtype
        )
        return final_images(progress)
