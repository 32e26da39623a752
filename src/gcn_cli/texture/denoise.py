"""D(y, s) as a chain asks for it: of one model's field, or of several at once.

A mixture is the product of its densities, each to the power of its weight, so that its score is the
weighted sum of theirs: D = sum of w_k D_k, at every level, and with weights that sum to 1 the
reference is again Gaussian. Models differ in mean and contrast; each sees y in its own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gcn_cli.engine import Sampler, gradient_by_windows
from gcn_cli.field.ladder import reconstruct

WINDOW = 1024
"""Side, px, above which a network sees a canvas window by window."""


class Denoiser(Protocol):
    """What drives a chain."""

    def __call__(self, y: Tensor, s: float, given: Tensor | None, shift: tuple[int, int]) -> Tensor:
        """D(y, s) of a torus (N, C, H, W), its strides' phase moved by ``shift`` px."""

    @property
    def sampler(self) -> Sampler | None:
        """The field, for large canvases that are moved in place; None: D is held whole."""


@dataclass(frozen=True)
class OneField:
    """The denoiser of one model's field at one size."""

    sampler: Sampler
    window: int = WINDOW

    def __call__(self, y: Tensor, s: float, given: Tensor | None, shift: tuple[int, int]) -> Tensor:
        """See `Denoiser`; above ``window`` px a side the network sees windows."""
        if max(y.shape[-2:]) > self.window:
            return self._by_windows(y, s, given, shift)
        dy, dx = shift
        told = torch.full((len(y),), s, device=y.device)
        known = None if given is None else torch.roll(given, (dy, dx), (-2, -1))
        d = reconstruct(self.sampler, torch.roll(y, (dy, dx), (-2, -1)), told, known)
        return torch.roll(d, (-dy, -dx), (-2, -1))

    def _by_windows(
        self, y: Tensor, s: float, given: Tensor | None, shift: tuple[int, int]
    ) -> Tensor:
        net = self.sampler.net

        def gradient(torus: Tensor, told: Tensor) -> Tensor:
            return gradient_by_windows(
                lambda piece: self.sampler.window(piece, told),
                torus,
                y.shape[1],
                net.reach,
                net.total_stride,
                shift,
                self.window,
            )

        return reconstruct(gradient, y, torch.full((len(y),), s, device=y.device), given)


@dataclass(frozen=True)
class Part:
    """One field of a mixture, in whose units y is ``scale * y + shift``, shift (C, 1, 1).

    ``weight`` (1, 1, H, W) or (1, 1, 1, 1) is its share at every pixel.
    """

    field: OneField
    scale: float
    shift: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Mixture:
    """The denoiser of several fields at one size."""

    parts: Sequence[Part]

    @property
    def sampler(self) -> None:
        """D of a mixture is held whole."""
        return

    def __call__(self, y: Tensor, s: float, given: Tensor | None, shift: tuple[int, int]) -> Tensor:
        """See `Denoiser`."""
        total = torch.zeros_like(y)
        for part in self.parts:
            here = y * part.scale + part.shift
            known = None if given is None else given * part.scale + part.shift
            d = part.field(here, s * part.scale, known, shift)
            total += part.weight * (d - part.shift) / part.scale
        return total


__all__ = ["WINDOW", "Denoiser", "Mixture", "OneField", "Part"]
