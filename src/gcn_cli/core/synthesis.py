"""Fresh samples: chains that learning has never seen, of any size and number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcn_cli.core.fused import FusedBasis
from gcn_cli.core.langevin import ChainState, run_langevin
from gcn_cli.core.model import LevelModel, Model, SamplerParams
from gcn_cli.core.network import Weights
from gcn_cli.core.noise import NoiseSource, derive_seed
from gcn_cli.core.pyramid import enlarge_torus

_CHUNK = 10  # steps between two yields


@dataclass(frozen=True)
class SynthesisInfo:
    """Progress of a batch.

    ``step`` of ``steps`` over all levels are done; ``images`` (N, C, h, w) are the chains' current
    state at level ``level``, grey levels with the mean colour added.
    """

    level: int
    step: int
    steps: int
    images: Tensor


def fresh_chains(
    level: LevelModel,
    shape: tuple[int, int, int, int],
    noise: NoiseSource,
    centre: Tensor | None,
    device: torch.device,
) -> ChainState:
    """Starting images (N, C, H, W): the reference's centre plus the sampler's starting noise."""
    start = torch.zeros(shape, device=device)
    if level.sampler.start_noise:
        noise.normal_(start, "start", 0).mul_(level.sampler.start_noise)
    if centre is not None:
        start.add_(centre)
    return ChainState(start.contiguous(memory_format=torch.channels_last))


def run_level(
    level: LevelModel,
    state: ChainState,
    noise: NoiseSource,
    centre: Tensor | None,
    dtype: torch.dtype,
) -> Iterator[ChainState]:
    """Drive chains through one level's segments, yielding every few steps."""
    shape = tuple(state.images.shape)
    basis: FusedBasis | None = None
    depth = 0
    for weights, steps, hot in level.segments():
        if basis is None or depth != len(weights):
            depth = len(weights)
            net = level.net.head(depth)
            basis = FusedBasis(net, shape, level.boundary, dtype, state.images.device)  # type: ignore[arg-type]
        basis.load(_on(weights, state.images.device))
        params = level.langevin if hot else level.langevin.cooled(0.0)
        done = 0
        while done < steps:
            chunk = min(_CHUNK, steps - done)
            state, _ = run_langevin(
                state, basis, params, chunk, noise, centre, done=done, total=steps
            )
            done += chunk
            yield state


def synthesize(
    model: Model,
    size: tuple[int, int],
    chains: Sequence[int],
    seed: int,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    temperature: float = 1.0,
    start: Tensor | None = None,
) -> Iterator[SynthesisInfo]:
    """Sample images of ``size`` (H, W), one per chain number; the last yield holds the result.

    Chain k of a seed is the same whatever other chains run beside it. The canvas is a torus where
    the model was learned on one. ``start`` (N, C, h, w), centred grey levels at the coarsest
    level, replaces the start from the reference.

    Raises:
        ValueError: a size that is no multiple of ``model.multiple`` on a torus, or too small.
    """
    if any(n % model.multiple for n in size) and model.levels[0].boundary == "torus":
        raise ValueError(f"sides of {size} are not multiples of {model.multiple}")
    total = sum(level.total_steps() for level in model.levels)
    images: Tensor | None = None
    done, mean = 0, model.mean.to(device)
    for index, cold in enumerate(model.levels):
        level = _heated(cold, temperature)
        h, w = (round(n * level.scale) for n in size)
        noise = NoiseSource(derive_seed(seed, "level", index), chains, device)
        centre = None
        if images is not None:
            centre = enlarge_torus(images, round(level.scale / model.levels[index - 1].scale))
        begun = fresh_chains(level, (len(chains), model.channels, h, w), noise, centre, device)
        if start is not None and index == 0:
            begun = ChainState(start.to(device).contiguous(memory_format=torch.channels_last))
        for state in run_level(level, begun, noise, centre, dtype):
            images = state.images
            yield SynthesisInfo(index, done + state.step, total, images + mean)
        done += level.total_steps()


def final_images(progress: Iterator[SynthesisInfo]) -> Tensor:
    """Exhaust `synthesize` and return its images (N, C, H, W)."""
    images: Tensor | None = None
    for info in progress:
        images = info.images
    if images is None:
        raise ValueError("the model takes no sampling steps")
    return images


def without_path(level: LevelModel, steps: int) -> LevelModel:
    """The same level sampled with ``steps`` steps under its final weights alone."""
    sampler = SamplerParams(steps, level.sampler.start_noise, level.sampler.polish)
    return replace(level, path=(), sampler=sampler)


def _heated(level: LevelModel, temperature: float) -> LevelModel:
    heat = level.langevin.temperature * temperature
    return replace(level, langevin=level.langevin.cooled(heat))


def _on(weights: Weights, device: torch.device) -> Weights:
    return tuple(
        layer._replace(w=layer.w.to(device).float(), b=layer.b.to(device).float())
        for layer in weights
    )
