"""Does a long chain stay in the texture? Langevin dynamics at one low level, from both sides.

The sampler's chain comes by each level once; short chains can have the data's statistics under a
density that has not (Nijkamp, Hill, Zhu and Wu 2019). So half of the chains here start from the
exemplar, and move on at one level by `langevin_step`. The others start from the model's own samples
at the coarsest size, whose density is given nothing; at a finer one, where all are given the
exemplar's coarser picture, from that picture, which has no detail. Judged are the last halves of
the chains, by statistics of y: energy, contrast, and the mean activations of the first layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcn_cli.engine import NoiseSource
from gcn_cli.field.ladder import langevin_step, reconstruct, reference_energy
from gcn_cli.field.network import beside
from gcn_cli.report.measure import Field
from gcn_cli.statistics.chains import effective_size, split_rhat

LEVEL = 0.3
"""Level of noise, units of contrast, that the chains stay at, about."""
CONTRAST, RESPONSES = 0.2, 0.2
"""Shares by which contrast and first-layer means may leave the exemplar's."""
MIXED = 1.1
"""Split R-hat up to which chains count as having forgotten where they began."""
SAMPLE, COARSER = "sample", "coarser"
"""What chains begin at that do not begin at the exemplar."""
_TOLD = 200  # moments at which statistics are taken, about
_TIMED = 5  # steps after which it is told how long the others take


@dataclass(frozen=True)
class Statistic:
    """One scalar: of the exemplar, of the chains' last halves by where they began; ESS and R-hat.

    Both of the last halves of all chains together. ``start``: of the samples, or the coarser
    picture, that half of them began at, ``from_samples`` of where it led.
    """

    name: str
    exemplar: float
    start: float
    from_samples: float
    from_exemplar: float
    effective: float
    rhat: float


@dataclass(frozen=True)
class Stay:
    """What ``steps`` steps at level ``s`` did.

    ``contrast`` is the chains' over the exemplar's; ``responses`` how far the first layer's mean
    activations ended from the exemplar's, over their norm, and ``responses_start`` where the
    sampler left them; ``course`` the contrast (moments,) over the exemplar's from either side.
    ``pictures`` are D(y, s) (N, C, h, w) at the start and the end, those begun at ``begun`` first.
    """

    reduction: int
    s: float
    steps: int
    chains: int
    statistics: tuple[Statistic, ...]
    contrast: float
    responses: float
    responses_start: float
    course: tuple[tuple[float, float], ...]
    pictures: tuple[Tensor, Tensor]
    begun: str = SAMPLE

    @property
    def rhat(self) -> float:
        """The largest of all statistics."""
        return max(told.rhat for told in self.statistics)

    @property
    def stays(self) -> bool:
        """Whether the chains ended in the texture, by contrast and by first-layer responses."""
        return abs(self.contrast - 1) <= CONTRAST and self.responses <= RESPONSES

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        told = (
            f"after {self.steps} Langevin steps at s = {self.s:.3g}, 1/{self.reduction}, the "
            f"contrast is {100 * self.contrast:.0f} % of the exemplar's and first-layer responses "
            f"are {100 * self.responses:.0f} % off (at the start "
            f"{100 * self.responses_start:.0f} %)"
        )
        if not self.stays:
            return f"a long chain leaves the texture: {told}"
        if self.rhat <= MIXED:
            return f"a long chain stays in the texture and forgets its start: {told}"
        return f"a long chain stays, and remembers where it began (R-hat {self.rhat:.1f}): {told}"


def long_chains(
    field: Field,
    reduction: int,
    s: float,
    steps: int,
    samples: Tensor,
    x: Tensor,
    seed: int = 0,
    given: Tensor | None = None,
    tell: Callable[[str], None] | None = None,
    begun: str = SAMPLE,
) -> Stay:
    """Run chains from samples (N, C, h, w) that stand at level ``s`` and from as many crops of x.

    ``x`` (M, C, H, W) is the exemplar at this size, no smaller than the samples; ``given``
    (1 or N, G, h, w) comes beside the chains of either half. Each step takes the network at a
    random phase of its strides. ``tell`` hears how long it will take; the samples are ``begun``.
    """
    count, _, h, w = samples.shape
    crops = _crops(x, count, (h, w))
    noise = NoiseSource(seed, range(2 * count), x.device)
    z, before = torch.empty(2, 2 * count, *x.shape[1:2], h, w, device=x.device)
    y = torch.cat([samples, crops + s * noise.normal_(z, "stay/start", 0)[:count]])
    run = _Run(field, s, noise, given)
    noise.normal_(before, "stay/first", 0)
    known = run.statistics(crops + s * noise.normal_(z, "stay/known", 0)[:count]).mean(0)
    every, kept, ends = max(1, steps // _TOLD), [], []
    began = time.monotonic()
    for step in range(steps + 1):
        if step == 1:  # the first one is slow
            began = time.monotonic()
        if step == 1 + _TIMED and tell is not None:
            left = (time.monotonic() - began) / _TIMED * (steps - step)
            what = f"{2 * count} of {w}x{h} px at 1/{reduction}, {steps} steps"
            tell(f"long chains: {what}; {left:.0f} s left")
        if step % every == 0:
            kept.append(run.statistics(y))
        d, moved = run.step(y, step, z, before)
        if step in (0, steps):
            ends.append(d.cpu())
        y, z, before = moved, before, z
    course, shown = torch.stack(kept, 2).cpu(), (ends[0], ends[-1])
    return replace(summed_up(course, known.cpu(), reduction, s, steps, shown), begun=begun)


def _crops(x: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """``count`` crops (count, C, h, w), spread over pictures (M, C, H, W) from corner to corner."""
    rows, columns = (n - m for n, m in zip(x.shape[-2:], size, strict=True))
    corners = [(0, 0), (rows, columns), (0, columns), (rows, 0), (rows // 2, columns // 2)]
    found = []
    for k in range(count):
        i, j = corners[k % len(corners)]
        found.append(x[k % len(x), :, i : i + size[0], j : j + size[1]])
    return torch.stack(found)


class _Run:
    """The dynamics of one field at one level."""

    def __init__(self, field: Field, s: float, noise: NoiseSource, given: Tensor | None) -> None:
        self.field, self.s, self.noise, self.given = field, s, noise, given

    def _beside(self, n: int, shift: tuple[int, int] = (0, 0)) -> Tensor | None:
        if self.given is None:
            return None
        given = self.given.repeat(n // len(self.given), 1, 1, 1)
        return torch.roll(given, shift, (-2, -1))

    @torch.no_grad()
    def step(self, y: Tensor, step: int, z: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """D of chains (N, C, h, w), and the chains one step further.

        ``z`` is filled with this step's noise; ``before`` holds that of the step before.
        """
        stride = self.field.net.total_stride
        dy, dx = self.noise.integers("stay/phase", step, (stride, stride))
        told = torch.full((len(y),), self.s, device=y.device)
        rolled = torch.roll(y, (dy, dx), (-2, -1))
        d = reconstruct(self.field.sampler, rolled, told, self._beside(len(y), (dy, dx)))
        d = torch.roll(d, (-dy, -dx), (-2, -1))
        self.noise.normal_(z, "stay", step)
        return d, langevin_step(y, d, self.s, z, before, step == 0)

    @torch.no_grad()
    def statistics(self, y: Tensor) -> Tensor:
        """Energy per pixel, contrast without the noise, first-layer means: (N, 2 + K)."""
        net, pixels = self.field.net, y.shape[-2] * y.shape[-1]
        told = torch.full((len(y),), self.s, device=y.device)
        z = beside(y / math.sqrt(1 + self.s**2), self._beside(len(y)))
        responses = net.forward(z, told, self.field.weights, "torus")
        tilt = net.output(responses, self.field.weights) / self.s
        energy = (reference_energy(y, told) - tilt) / pixels
        contrast = (y.flatten(1).var(1) - self.s**2).clamp_min(0).sqrt()
        first = torch.relu(responses.layers[0]).mean((2, 3))
        return torch.cat([energy[:, None], contrast[:, None], first], 1)


def summed_up(
    kept: Tensor,
    known: Tensor,
    reduction: int,
    s: float,
    steps: int,
    pictures: tuple[Tensor, Tensor],
) -> Stay:
    """Of statistics (2 N, 2 + K, moments), samples first, and the exemplar's (2 + K,)."""
    count = len(kept) // 2
    late = kept[..., kept.shape[2] // 2 :]
    names = ["energy, nats/px", "contrast", *(f"response {k + 1}" for k in range(len(known) - 2))]
    statistics = tuple(
        Statistic(
            name=name,
            exemplar=float(known[k]),
            start=float(kept[:count, k, 0].mean()),
            from_samples=float(late[:count, k].mean()),
            from_exemplar=float(late[count:, k].mean()),
            effective=effective_size(late[:, k]),
            rhat=split_rhat(late[:, k]),
        )
        for k, name in enumerate(names)
    )
    scale = known[2:].norm().clamp_min(1e-12)
    ends = kept[..., -max(1, kept.shape[2] // 10) :].mean(2)
    course = kept[:, 1] / known[1].clamp_min(1e-12)
    return Stay(
        reduction=reduction,
        s=s,
        steps=steps,
        chains=len(kept),
        statistics=statistics,
        contrast=float(ends[:, 1].mean() / known[1].clamp_min(1e-12)),
        responses=float((ends[:, 2:].mean(0) - known[2:]).norm() / scale),
        responses_start=float((kept[:count, 2:, 0].mean(0) - known[2:]).norm() / scale),
        course=tuple(
            zip(course[:count].mean(0).tolist(), course[count:].mean(0).tolist(), strict=True)
        ),
        pictures=pictures,
    )
