"""Keyed noise where one kernel can draw that of all chains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gcn_cli.engine.support import has_kernels
from gcn_cli.field import noise
from gcn_cli.field.noise import BAND


class NoiseSource(noise.NoiseSource):
    """`field.noise.NoiseSource`; on a device that has kernels, numbers of their own generator."""

    def __init__(self, seed: int, chains: Sequence[int], device: torch.device) -> None:
        """``chains`` names the rows of every batch drawn from here."""
        super().__init__(seed, chains, device)
        self._numbers: Tensor | None = None  # the chains', on a device that has kernels
        if has_kernels(device):
            numbers = torch.tensor(self.chains, dtype=torch.int32)
            self._numbers = numbers.to(device, non_blocking=True)

    def normal_(self, out: Tensor, purpose: str, step: int, first_row: int = 0) -> Tensor:
        """See `field.noise.NoiseSource.normal_`."""
        if self._numbers is None or out.dtype != torch.float32:
            return super().normal_(out, purpose, step, first_row)
        from gcn_cli.engine.kernels import fill_normal_

        return fill_normal_(out, self._numbers, self.key(purpose, step), first_row, BAND)
