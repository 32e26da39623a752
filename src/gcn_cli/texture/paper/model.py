"""What learning leaves behind: one random field, ready to be sampled."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gcn_cli.field.convnet import Boundary, ConvNet, Weights
from gcn_cli.field.langevin import LangevinParams


@dataclass(frozen=True)
class SamplerParams:
    """How a fresh chain runs.

    It starts at ``start_noise`` grey levels of white noise. Where a learning path was kept, the
    chain takes ``steps`` steps under each of its snapshots, oldest first; then ``steps`` steps
    under the final weights, and ``polish`` steps at temperature 0, which end near the mean of the
    Gaussian piece that the chain reached.
    """

    steps: int
    start_noise: float = 0.0
    polish: int = 0


@dataclass(frozen=True)
class Model:
    """A random field, and ``mean`` (C, 1, 1), the mean colour that was subtracted.

    ``path`` holds snapshots of the weights taken while learning, shallower nets first where layers
    were grown.
    """

    net: ConvNet
    weights: Weights
    langevin: LangevinParams
    sampler: SamplerParams
    boundary: Boundary
    mean: Tensor
    path: tuple[Weights, ...] = ()

    @property
    def channels(self) -> int:
        """Colours of the images."""
        return self.net.channels

    @property
    def multiple(self) -> int:
        """Sides of a torus must be multiples of this many px, on account of strides."""
        return self.net.total_stride

    @property
    def receptive_field(self) -> int:
        """Side, in px, of the window that one top unit sees."""
        return self.net.receptive_field

    def segments(self) -> list[tuple[Weights, int, bool]]:
        """(weights, steps, hot) in the order that a fresh chain meets them."""
        runs = [(w, self.sampler.steps, True) for w in self.path]
        runs.append((self.weights, self.sampler.steps, True))
        if self.sampler.polish:
            runs.append((self.weights, self.sampler.polish, False))
        return runs

    def total_steps(self) -> int:
        """Langevin steps of a fresh chain."""
        return sum(steps for _, steps, _ in self.segments())
