"""Langevin dynamics, driven by the auto-encoder's reconstruction error.

One step in grey levels (Xie et al. 2016, equation of section 5):

    I <- I - eps^2/2 [ (I - c)/sigma^2 - B(I) ] + eps sqrt(T) Z,    Z ~ N(0, 1)

With ``eta = eps^2 / (2 sigma^2)`` this is ``I <- (1 - eta) I + eta (c + sigma^2 B(I)) + noise``:
every step moves the image a fraction eta towards its reconstruction. T = 0 descends to a local
mode, where ``I = c + sigma^2 B(I)``. Nothing is clamped inside the chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gcn_cli.field.noise import NoiseSource

Basis = Callable[[Tensor], Tensor]
"""Maps images (N, C, H, W) to B(I) of the same shape."""


@dataclass(frozen=True)
class LangevinParams:
    """Constants of the dynamics; ``sigma`` and ``eps`` in grey levels.

    ``dither`` > 1 evaluates each step at a random shift of the torus, in [0, dither) px per axis:
    an unbiased estimate of the score of the tilt averaged over those shifts, which has no phase
    and so leaves no grid with the period of the network's stride.
    """

    sigma: float
    eps: float
    temperature: float = 1.0
    dither: int = 1

    def __post_init__(self) -> None:
        if self.sigma <= 0 or self.eps <= 0 or self.temperature < 0:
            raise ValueError(f"sigma and eps must be positive, temperature not negative: {self}")
        if self.eps >= 2 * self.sigma:
            raise ValueError(
                f"eps must be below 2 sigma = {2 * self.sigma:g}, else the chain of white noise "
                f"itself explodes; it is {self.eps:g}"
            )

    @property
    def eta(self) -> float:
        """Share of the way to the reconstruction that one step goes."""
        return self.eps**2 / (2 * self.sigma**2)

    def cooled(self, temperature: float) -> LangevinParams:
        """The same dynamics at another temperature."""
        return replace(self, temperature=temperature)


@dataclass(frozen=True)
class ChainState:
    """Parallel chains.

    ``images`` (N, C, H, W) are float32 grey levels minus the mean; ``step`` counts the steps taken
    so far and keys the noise of the next one.
    """

    images: Tensor
    step: int = 0


@dataclass(frozen=True)
class ChainInfo:
    """What the last of a run of steps saw: the basis B (N, C, H, W), before the move."""

    basis: Tensor


@runtime_checkable
class Runner(Protocol):
    """A basis that takes whole runs of steps by itself; the arguments of `run_langevin`."""

    def __call__(self, images: Tensor) -> Tensor:
        """B (N, C, H, W) of images."""
        ...

    def run(
        self,
        state: ChainState,
        params: LangevinParams,
        steps: int,
        noise: NoiseSource,
        centre: Tensor | None,
        purpose: str,
    ) -> tuple[ChainState, ChainInfo]:
        """See `run_langevin`."""
        ...


def langevin_step(
    images: Tensor,
    basis: Basis,
    params: LangevinParams,
    noise: Tensor | None,
    centre: Tensor | None = None,
    shift: tuple[int, int] = (0, 0),
) -> tuple[Tensor, Tensor]:
    """One step; returns the moved images and the basis that moved them.

    ``noise`` is Z (N, C, H, W), ignored at zero temperature; ``centre`` is c; ``shift`` rolls the
    torus before the basis is taken and back after.
    """
    moved = torch.roll(images, shift, (-2, -1)) if any(shift) else images
    b = basis(moved)
    if any(shift):
        b = torch.roll(b, (-shift[0], -shift[1]), (-2, -1))
    return move(images, b, params, noise, centre), b


def phase(params: LangevinParams, noise: NoiseSource, purpose: str, step: int) -> tuple[int, int]:
    """The shift (dy, dx), px, at which a dithered step takes its basis; (0, 0) without dither."""
    if params.dither == 1:
        return 0, 0
    dy, dx = noise.integers(f"{purpose}/dither", step, (params.dither, params.dither))
    return dy, dx


def move(
    images: Tensor,
    b: Tensor,
    params: LangevinParams,
    noise: Tensor | None,
    centre: Tensor | None,
    out: Tensor | None = None,
) -> Tensor:
    """The images after the step that the basis ``b`` asks for; ``out`` may be the images."""
    eta = params.eta
    out = torch.mul(images, 1 - eta, out=out)
    out.add_(b, alpha=eta * params.sigma**2)
    if centre is not None:
        out.add_(centre, alpha=eta)
    if noise is not None and params.temperature > 0:
        out.add_(noise, alpha=params.eps * math.sqrt(params.temperature))
    return out


@torch.no_grad()
def run_langevin(
    state: ChainState,
    basis: Basis | Runner,
    params: LangevinParams,
    steps: int,
    noise: NoiseSource,
    centre: Tensor | None = None,
    purpose: str = "langevin",
) -> tuple[ChainState, ChainInfo]:
    """``steps`` Langevin steps; the one loop in which nearly all time is spent.

    The noise of step t is keyed by (``noise.seed``, ``purpose``, t, chain), t counted from
    ``state.step``. No value is read back from the device.
    """
    if isinstance(basis, Runner):
        return basis.run(state, params, steps, noise, centre, purpose)
    images, b = state.images, torch.zeros_like(state.images)
    z = torch.empty_like(images, memory_format=torch.contiguous_format)
    for k in range(steps):
        t = state.step + k
        shift = phase(params, noise, purpose, t)
        drawn = noise.normal_(z, purpose, t) if params.temperature > 0 else None
        images, b = langevin_step(images, basis, params, drawn, centre, shift)
    return ChainState(images, state.step + steps), ChainInfo(b)
