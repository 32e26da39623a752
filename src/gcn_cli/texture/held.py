"""Pixels that a sample must have: at every level they are held, under the right noise.

Of a pixel that is known D(y, s) is that pixel itself, whatever the network says. One step down the
ladder then leaves x + below Z there, which is what the known picture looks like at that level: the
pixels around see at every level what the field was learned on (replacement, Song et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.texture.pyramid import shrink

_LEAST = 0.5  # of what is under a pixel that must be known


@dataclass(frozen=True)
class Held:
    """``picture`` (1, C, H, W) in units of contrast; ``mask`` (1, 1, H, W) bool: what is known."""

    picture: Tensor
    mask: Tensor

    def at(self, reduction: int) -> Held:
        """The same at a coarser size: of each pixel the mean of what is known under it.

        Pixels of which less than half is known are not held. A stricter rule would leave a gap in
        the coarse sample, and finer sizes would be given another surface than what they border on.
        """
        if reduction == 1:
            return self
        known = self.mask.to(self.picture)
        share = shrink(known, 1 / reduction)
        small = shrink(self.picture * known, 1 / reduction) / share.clamp_min(_LEAST)
        return Held(small, share >= _LEAST)

    def to(self, device: torch.device) -> Held:
        """The same on a device."""
        return Held(self.picture.to(device), self.mask.to(device))

    def put(self, images: Tensor, first_row: int = 0, noise: Tensor | None = None) -> Tensor:
        """Rows ``first_row`` and on (N, C, h, W) of a canvas, with what is known in its place.

        ``noise`` (N, C, h, W) is what lies on it.
        """
        rows = slice(first_row, first_row + images.shape[-2])
        picture = self.picture[..., rows, :]
        picture = picture if noise is None else picture + noise
        return torch.where(self.mask[..., rows, :], picture, images)


__all__ = ["Held"]
