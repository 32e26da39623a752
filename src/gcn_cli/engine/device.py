"""Langevin dynamics on a CUDA device in bfloat16: the whole inner loop as one replayed graph.

The same numbers as `fused` and `langevin`, up to rounding, from the kernels of `kernels`. A run of
steps is one recording (`replay`): no Python and no launch of single operations is left in it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gcn_cli.engine.fused import FusedBasis, Geometry, deep_filters, geometries
from gcn_cli.engine.replay import Recording
from gcn_cli.engine.support import has_kernels
from gcn_cli.field.convnet import Boundary, ConvNet, Weights
from gcn_cli.field.langevin import ChainInfo, ChainState, LangevinParams, phase
from gcn_cli.field.noise import BAND, NoiseSource

if TYPE_CHECKING:
    from gcn_cli.engine.kernels import Convolution, Kind, Tables


def make_basis(
    net: ConvNet,
    shape: tuple[int, int, int, int],
    boundary: Boundary,
    dtype: torch.dtype,
    device: torch.device,
) -> AnyBasis:
    """The fastest B(I) for a device; see `FusedBasis`.

    On CUDA the kernels of `DeviceBasis` are the faster ones in bfloat16 alone; float32 and its
    shortened form are faster through the device library, as `FusedBasis` has them.
    """
    plain = all(spec.stride == 1 for spec in net.layers[1:])
    plain = plain and all(spec.relu for spec in net.layers[:-1])
    if plain and dtype == torch.bfloat16 and has_kernels(device):
        return DeviceBasis(net, shape, boundary, dtype, device)
    return FusedBasis(net, shape, boundary, dtype, device)


@dataclass
class _Layer:
    """One layer at work."""

    geometry: Geometry
    encode: Convolution
    decode: Convolution
    bias: Tensor  # (K,), float32

    @classmethod
    def of(cls, here: Geometry, batch: int, like: Tensor) -> _Layer:
        """Memory for a layer, its filters still zero."""
        from gcn_cli.engine.kernels import Convolution

        filters, taps = here.spec.filters, here.taps
        encode = Convolution(batch, here.deep, filters, taps, here.out, like, here.lead, here.wrap)
        decode = Convolution(
            batch, filters, here.deep, taps, here.blocks, like, here.tail, here.wrap
        )
        return cls(here, encode, decode, torch.zeros(filters, device=like.device))


class DeviceBasis:
    """B(I) and runs of Langevin steps for one canvas shape and a replaceable set of weights."""

    def __init__(
        self,
        net: ConvNet,
        shape: tuple[int, int, int, int],
        boundary: Boundary,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """``shape`` is (N, C, H, W). Strides in the first layer alone, ReLU in all but the top.

        Raises:
            ValueError: a torus smaller than a layer's margin, or sizes that the network refuses.
        """
        from gcn_cli.engine import kernels

        self._kernels = kernels
        batch, channels, height, width = shape
        self.net, self.device = net, device
        self.size = (batch, height, width, channels)
        like = torch.empty(0, dtype=dtype, device=device)
        self._layers = [
            _Layer.of(here, batch, like) for here in geometries(net, (height, width), boundary)
        ]
        self._result = self._layers[0].decode.result()
        self._runs: dict[tuple[object, ...], _Run] = {}

    def load(self, weights: Weights) -> DeviceBasis:
        """Prepare the filters of both passes; once per set of weights. Returns self."""
        for layer, (w, b) in zip(self._layers, weights, strict=True):
            here = layer.geometry
            deep = deep_filters(w, here.spec.stride, here.taps, here.offset)
            layer.encode.load(deep)
            layer.decode.load(deep.flip(2, 3).transpose(0, 1))
            layer.bias.copy_(b)
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """B(I) (N, C, H, W), in the type of the images, which have the prepared shape."""
        source = images.to(torch.float32).permute(0, 2, 3, 1).contiguous()
        out = torch.empty_like(source)
        self._kernels.unfold(self.in_blocks(source, None, 0), out, self.net.layers[0].stride)
        return out.permute(0, 3, 1, 2).to(images.dtype)

    def in_blocks(self, images: Tensor, shifts: Tensor | None, step: int) -> Tensor:
        """B of images (N, H, W, C), rolled by a shift, in blocks of the first layer's stride."""
        layers = self._layers
        first = layers[0].encode
        self._kernels.into_blocks(images, first.input, self.net.layers[0].stride, shifts, step)
        for here, above in itertools.pairwise(layers):
            here.encode("relu", above.encode.input, here.bias)
        top = layers[-1]
        kind: Kind = "pattern" if top.geometry.spec.relu else "ones"
        top.encode(kind, top.decode.input, top.bias)
        for here, above in reversed(list(itertools.pairwise(layers))):
            above.decode("gated", here.decode.input, gate=above.encode.input)
        layers[0].decode("plain", self._result)
        return self._result.values

    @torch.no_grad()
    def run(
        self,
        state: ChainState,
        params: LangevinParams,
        steps: int,
        noise: NoiseSource,
        centre: Tensor | None,
        purpose: str,
    ) -> tuple[ChainState, ChainInfo]:
        """`run_langevin`, recorded the second time that a run like it is asked for."""
        key = (steps, params.eta, params.sigma, params.dither, centre is None)
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run(self, params, steps, centre is not None)
        run.set(state, params, noise, centre, purpose)
        images, basis = run()
        return ChainState(images, state.step + steps), ChainInfo(basis)


class _Run:
    """A run of ``steps`` steps over memory of its own."""

    def __init__(
        self, field: DeviceBasis, params: LangevinParams, steps: int, centred: bool
    ) -> None:
        from gcn_cli.engine import kernels

        size, device = field.size, field.device
        self.field, self.params, self.steps = field, params, steps
        self.images = torch.zeros(size, device=device)
        self.basis = torch.zeros(size, device=device)
        self.centre = torch.zeros(size, device=device) if centred else None
        self.tables: Tables = kernels.Tables(
            torch.zeros(size[0], dtype=torch.int32, device=device),
            torch.zeros(steps, dtype=torch.int64, device=device),
            torch.zeros(steps, device=device),
            torch.zeros(steps, 2, dtype=torch.int32, device=device),
            BAND,
        )
        self.recording = Recording(self._steps, device)

    def set(
        self,
        state: ChainState,
        params: LangevinParams,
        noise: NoiseSource,
        centre: Tensor | None,
        purpose: str,
    ) -> None:
        """Fill the memory with what this run differs in; nothing waits for the device."""
        self.images.copy_(state.images.permute(0, 2, 3, 1))
        if self.centre is not None and centre is not None:
            self.centre.copy_(centre.permute(0, 2, 3, 1))
        steps = range(state.step, state.step + self.steps)
        heat = params.eps * math.sqrt(params.temperature)
        told = (
            torch.tensor(noise.chains, dtype=torch.int32),
            torch.tensor([noise.key(purpose, t) for t in steps], dtype=torch.int64),
            torch.full((self.steps,), heat),
            torch.tensor([phase(params, noise, purpose, t) for t in steps], dtype=torch.int32),
        )
        for table, values in zip(self.tables[:4], told, strict=True):
            table.copy_(values, non_blocking=True)

    def __call__(self) -> tuple[Tensor, Tensor]:
        """The moved images and the last basis, (N, C, H, W), in memory that stays theirs."""
        self.recording()
        return self.images.clone().permute(0, 3, 1, 2), self.basis.clone().permute(0, 3, 1, 2)

    def _steps(self) -> tuple[Tensor, ...]:
        from gcn_cli.engine import kernels

        params = self.params
        stride = self.field.net.layers[0].stride
        eta, shift = params.eta, params.dither > 1
        pull = kernels.Pull(1 - eta, eta * params.sigma**2, eta)
        for step in range(self.steps):
            shifts = self.tables.shifts if shift else None
            kernels.move(
                self.images,
                self.field.in_blocks(self.images, shifts, step),
                self.centre,
                self.basis if step == self.steps - 1 else None,
                self.tables,
                step,
                pull,
                stride,
                shift=shift,
            )
        return self.images, self.basis


AnyBasis = FusedBasis | DeviceBasis
