"""What the paper's density is asked, as `density` asks one of all noise levels.

It has one level: its pictures are without noise, so that s = 0 is told, in grey levels minus the
mean. Long chains are the model's own Langevin dynamics under its last weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.field.convnet import Boundary, Weights, map_weights
from gcn_cli.field.energy import reference_energy
from gcn_cli.field.likelihood import as_weights, parameters, wrap_image
from gcn_cli.field.moments import Equation, equation
from gcn_cli.report import modes, stay
from gcn_cli.report.certificate import LevelEquations
from gcn_cli.report.inspection import fit_image, opened_basis
from gcn_cli.report.told import (
    Table,
    equation_data,
    equation_table,
    modes_data,
    modes_table,
    stay_data,
    stay_table,
)
from gcn_cli.report.verdict import Judgement, judge_density
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.texture.paper.draw import SynthesisInfo, final_images, synthesize
from gcn_cli.texture.paper.model import Model

CHAINS = 4
"""Chains of either half, and samples that moments are taken of."""
_UNASKED = "whether the likelihood equations hold, and whether a long chain stays in the texture"
_SIDE = 128  # px of a texture's part that is looked at


@dataclass(frozen=True)
class PaperDensity:
    """What was asked: equations and long chains with ``--long``, descents of a picture."""

    equations: tuple[LevelEquations, ...] = ()
    stays: tuple[stay.Stay, ...] = ()
    modes: tuple[modes.Modes, ...] = ()

    @property
    def judged(self) -> Judgement:
        """By the equations of the top layer's filters, and by long chains."""
        if not self.equations:
            return Judgement("undecided", f"Undecided: {_UNASKED}, --long 500 tells.")
        names = [name for told in self.equations for name in told.blocks if name != "biases"]
        return judge_density(self.equations, self.stays, names[-1])

    def sentences(self) -> list[str]:
        """What happened, in words; the last line is the verdict."""
        told = [one.sentence for one in self.stays] + [one.sentence for one in self.modes]
        return [*told, f"density: {self.judged.kind}; {self.judged.sentence}"]

    def tables(self) -> dict[str, list[Table]]:
        """By section of the page."""
        return {
            "equations": [equation_table(self.equations)] if self.equations else [],
            "stay": [stay_table(one) for one in self.stays],
            "modes": [modes_table(one) for one in self.modes],
        }

    def as_data(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "density": asdict(self.judged),
            "equations": [equation_data(level) for level in self.equations],
            "stay": [stay_data(one) for one in self.stays],
            "modes": [modes_data(one) for one in self.modes],
        }


def examine_density(
    saved: Checkpoint,
    machine: Machine,
    long: int,
    image: Tensor | None = None,
    tell: Callable[[str], None] | None = None,
) -> PaperDensity:
    """Ask what there is to ask: ``long`` steps of long chains, a picture (C, H, W), grey levels.

    Raises:
        ImageError: a picture that the network cannot take.
    """
    model, told = saved.model, PaperDensity()
    if long:
        x = _part(model, saved.observed - saved.mean).to(machine.device)
        if tell is not None:
            tell(f"long chains: {2 * CHAINS} of {x.shape[-1]}x{x.shape[-2]} px, {long} steps")
        own = final_images(_chains(model, (x.shape[-2], x.shape[-1]), machine, CHAINS, 0))
        equations = LevelEquations(1, 0.0, _equations(model, x, own))
        told = replace(told, equations=(equations,), stays=(_stay(model, machine, x, own, long),))
    if image is not None:
        x = _part(model, fit_image(saved, image)[None] - saved.mean).to(machine.device)
        told = replace(told, modes=(_descents(model, machine, x),))
    return told


def _part(model: Model, images: Tensor) -> Tensor:
    """The middle of images (N, C, H, W), whole strides; of objects, whose top sees it all, all."""
    if not model.net.layers[-1].relu:
        return images.float()
    step = model.multiple if model.boundary == "torus" else 1
    h, w = (min(n, max(_SIDE, model.receptive_field)) // step * step for n in images.shape[-2:])
    top, left = (images.shape[-2] - h) // 2, (images.shape[-1] - w) // 2
    return images[..., top : top + h, left : left + w].float()


def _chains(
    model: Model,
    size: tuple[int, int],
    machine: Machine,
    count: int,
    seed: int,
    start: Tensor | None = None,
) -> Iterator[SynthesisInfo]:
    return synthesize(
        model, size, range(count), seed, device=machine.device, dtype=machine.dtype, start=start
    )


@torch.no_grad()
def _stay(model: Model, machine: Machine, x: Tensor, own: Tensor, steps: int) -> stay.Stay:
    """Chains from own samples (N, C, h, w) and from as many observed images."""
    known = x[torch.arange(len(own)) % len(x)]
    start = torch.cat([own.to(known), known])
    lasting = replace(
        model, path=(), sampler=replace(model.sampler, steps=steps, polish=0, start_noise=0.0)
    )
    size = (x.shape[-2], x.shape[-1])
    kept, last = [_statistics(model, start)], start
    for info in _chains(lasting, size, machine, len(start), 1, start):
        last = info.chains
        kept.append(_statistics(model, last))
    return stay.summed_up(
        torch.stack(kept, 2).cpu(),
        _statistics(model, known).mean(0).cpu(),
        *(1, 0.0, steps),
        (start.cpu(), last.cpu()),
    )


def _statistics(model: Model, images: Tensor) -> Tensor:
    """Energy per pixel, contrast, first-layer means of images: (N, 2 + K)."""
    weights = _here(model, images)
    responses = model.net.forward(images, weights, model.boundary)
    pixels = images.shape[-2] * images.shape[-1]
    tilt = model.net.top(responses).flatten(1).sum(1)
    energy = (reference_energy(images, model.langevin.sigma) - tilt) / pixels
    first = torch.relu(responses[0]).mean((2, 3))
    return torch.cat([energy[:, None], images.flatten(1).std(1)[:, None], first], 1)


def _equations(model: Model, x: Tensor, own: Tensor) -> dict[str, Equation]:
    """By block; the images learned from are all that there are: their moment has no error."""
    bounded = model.boundary == "bounded"
    made = own.to(x)
    if not bounded:
        made = wrap_image(made, model.net.receptive_field - 1)
    seen = _moments(model, x)
    drawn = [_moments(model, image[None]) for image in made]
    return {
        name: equation(torch.stack([seen[name]] * 2), torch.stack([one[name] for one in drawn]))
        for name in seen
    }


def _moments(model: Model, images: Tensor) -> dict[str, Tensor]:
    """Mean df/dw a top unit (P,) of images (N, C, H, W), by block."""
    leaves = [p.detach().requires_grad_(True) for p in parameters(_here(model, images))]
    boundary: Boundary = "bounded" if model.boundary == "bounded" else "valid"
    with torch.enable_grad():
        top = model.net.top(model.net.forward(images, as_weights(leaves), boundary))
        found = torch.autograd.grad(top.sum(1).mean(), leaves)
    told = {f"layer {k + 1}": w.flatten() for k, w in enumerate(found[::2])}
    return {**told, "biases": torch.cat(found[1::2])}


def _descents(model: Model, machine: Machine, x: Tensor) -> modes.Modes:
    """Where I <- sigma^2 B(I) leads from a picture (1, C, H, W) and its spoiled kin."""
    starts = modes.starts_of(x)
    basis, sigma = opened_basis(model, starts, machine), model.langevin.sigma
    level = modes.descents(lambda y: sigma**2 * basis(y), 0.0, starts, x, at=modes.AT_MODE * sigma)
    return modes.Modes(1, modes.STEPS, starts.cpu(), (level,))


def _here(model: Model, images: Tensor) -> Weights:
    return map_weights(lambda t: t.to(images), model.weights)
