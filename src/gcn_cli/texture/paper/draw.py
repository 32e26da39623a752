"""Fresh samples: chains that learning has never seen, of any size and number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcn_cli.engine import AnyBasis, NoiseSource, WindowedField, make_basis, run_windowed
from gcn_cli.field.convnet import Weights
from gcn_cli.field.langevin import ChainState, run_langevin
from gcn_cli.field.noise import BAND, derive_seed
from gcn_cli.texture.paper.model import Model

_CHUNK = 10  # steps between two yields

Mover = Callable[[ChainState, int], ChainState]
"""Chains after so many steps."""


@dataclass(frozen=True)
class SynthesisInfo:
    """Progress of a batch.

    ``step`` of ``steps`` are done; ``chains`` (N, C, H, W) are the chains' current state, in grey
    levels with ``mean`` (C, 1, 1) subtracted. On a windowed canvas the chains move in place: read
    them before asking for the next.
    """

    step: int
    steps: int
    chains: Tensor
    mean: Tensor

    @property
    def images(self) -> Tensor:
        """The chains with the mean colour added: a new tensor (N, C, H, W)."""
        return self.chains + self.mean


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
    window: int | None = None,
) -> Iterator[SynthesisInfo]:
    """Sample images of ``size`` (H, W), one per chain number; the last yield holds the result.

    Chain k of a seed is the same whatever other chains run beside it. The canvas is a torus where
    the model was learned on one. ``start`` (N, C, H, W), centred grey levels, replaces the start
    from the reference. Canvases higher and wider than ``window`` units of the top layer are
    computed in windows of half that side, which bounds the memory and changes nothing but rounding.

    Raises:
        ValueError: a size that is no multiple of ``model.multiple`` on a torus, or too small.
    """
    if any(n % model.multiple for n in size) and model.boundary == "torus":
        raise ValueError(f"sides of {size} are not multiples of {model.multiple}")
    model = _heated(model, temperature)
    shape = (len(chains), model.channels, *size)
    noise = NoiseSource(derive_seed(seed, "level", 0), chains, device)
    begun = start.to(device, copy=True) if start is not None else None
    cut = _in_windows(model, size, window)
    most = 1 if cut else _CHUNK
    images = fresh_chains(model.sampler.start_noise, shape, noise) if begun is None else begun
    layout = torch.contiguous_format if cut else torch.channels_last
    state = ChainState(images.contiguous(memory_format=layout))
    bases: dict[int, AnyBasis] = {}  # buffers, by the depth of the net
    mean = model.mean.to(device)
    for weights, steps, hot in model.segments():
        mover = (
            _windowed(model, weights, hot, noise, dtype, window or 0)
            if cut
            else _whole(model, weights, hot, noise, dtype, shape, bases)
        )
        for done in range(0, steps, most):
            state = mover(state, min(most, steps - done))
            yield SynthesisInfo(state.step, model.total_steps(), state.images, mean)


def fresh_chains(
    start_noise: float, shape: tuple[int, int, int, int], noise: NoiseSource
) -> Tensor:
    """Starting images (N, C, H, W): ``start_noise`` grey levels of white noise around 0."""
    start = torch.zeros(shape, device=noise.device)
    if start_noise:
        noise.normal_(start, "start", 0).mul_(start_noise)
    return start


def _in_windows(model: Model, size: tuple[int, int], window: int | None) -> bool:
    """Whether the canvas is worth cutting, and can be: bands must hold the field's reach."""
    if window is None:
        return False
    net = model.net
    fits = net.receptive_field - 1 + net.total_stride <= BAND
    shifted = model.langevin.dither > 1 and model.boundary == "bounded"
    return fits and not shifted and min(size) > window * net.total_stride


def _whole(
    model: Model,
    weights: Weights,
    hot: bool,
    noise: NoiseSource,
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    bases: dict[int, AnyBasis],
) -> Mover:
    """What drives whole chains of ``shape`` under one set of weights."""
    depth, net = len(weights), model.net.head(len(weights))
    if depth not in bases:
        bases[depth] = make_basis(net, shape, model.boundary, dtype, noise.device)
    basis = bases[depth].load(_on(weights, noise.device))
    params = model.langevin if hot else model.langevin.cooled(0.0)

    def move(state: ChainState, steps: int) -> ChainState:
        return run_langevin(state, basis, params, steps, noise)[0]

    return move


def _windowed(
    model: Model,
    weights: Weights,
    hot: bool,
    noise: NoiseSource,
    dtype: torch.dtype,
    window: int,
) -> Mover:
    """What drives chains window by window, in place."""
    net = model.net.head(len(weights))
    side = max(1, window // 2) * net.total_stride
    here = _on(weights, noise.device)
    field = WindowedField(net, here, model.boundary, dtype, noise.device, side)
    params = model.langevin if hot else model.langevin.cooled(0.0)

    def move(state: ChainState, steps: int) -> ChainState:
        return run_windowed(state, field, params, steps, noise)

    return move


def _on(weights: Weights, device: torch.device) -> Weights:
    return tuple(
        layer._replace(w=layer.w.to(device).float(), b=layer.b.to(device).float())
        for layer in weights
    )


def final_images(progress: Iterator[SynthesisInfo]) -> Tensor:
    """Exhaust `synthesize` and return its images (N, C, H, W)."""
    images: Tensor | None = None
    for info in progress:
        images = info.images
    if images is None:
        raise ValueError("the model takes no sampling steps")
    return images


def _heated(model: Model, temperature: float) -> Model:
    heat = model.langevin.temperature * temperature
    return replace(model, langevin=model.langevin.cooled(heat))
