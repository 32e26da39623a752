"""The bottom-up ReLU ConvNet, its activation pattern, and the top-down basis.

Layer ``l`` computes ``F_k(x) = max(0, sum_i sum_y w_{i,y} F_i(x + y) + b_k)``; layer 0 is the
image. The *tilt* ``f(I; w)`` is the plain sum of the top layer over channels and positions.
Because every unit is piecewise linear, the gradient ``B(I) = df/dI`` is a top-down pass through the
same filters, gated by the binary *activation pattern* that the bottom-up pass found (Xie et al.
2016).

This module is the reference: plain, exact in any floating-point type, differentiable. The engine
computes the same basis faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Boundary = Literal["bounded", "torus", "valid"]
"""How a canvas ends. ``bounded``: each layer pads with zeros by its own `LayerSpec.padding`;
``torus``: opposite sides meet; ``valid``: no padding, windows lie wholly inside."""


@dataclass(frozen=True)
class LayerSpec:
    """One convolutional layer: ``filters`` square filters of ``size`` px.

    ``stride`` sub-samples, ``padding`` counts zeros per side on a bounded canvas, and ``relu`` is
    False only for the full-map top filter of an object net, whose response is signed.
    """

    filters: int
    size: int
    stride: int = 1
    padding: int = 0
    relu: bool = True

    def __post_init__(self) -> None:
        if min(self.filters, self.size, self.stride) < 1 or self.padding < 0:
            raise ValueError(f"filters, size and stride must be positive: {self}")
        if self.stride > self.size:
            raise ValueError(f"stride {self.stride} skips pixels of a {self.size} px filter")
        if self.padding >= self.size:
            raise ValueError(f"padding {self.padding} is not below the filter's {self.size} px")


class LayerWeights(NamedTuple):
    """Filters ``w`` (K, C, k, k) and biases ``b`` (K,) of one layer."""

    w: Tensor
    b: Tensor


Weights = tuple[LayerWeights, ...]


def map_weights(function: object, *weights: Weights) -> Weights:
    """Apply ``function`` to corresponding tensors of one or more weight tuples."""
    assert callable(function)
    return tuple(
        LayerWeights(
            function(*(layer.w for layer in layers)),
            function(*(layer.b for layer in layers)),
        )
        for layers in zip(*weights, strict=True)
    )


@dataclass(frozen=True)
class ConvNet:
    """The structure of a ReLU ConvNet over images of ``channels`` colours."""

    layers: tuple[LayerSpec, ...]
    channels: int = 3

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a network needs at least one layer")

    @property
    def total_stride(self) -> int:
        """Pixels between neighbouring top units."""
        return math.prod(spec.stride for spec in self.layers)

    @property
    def receptive_field(self) -> int:
        """Side, in px, of the window that one top unit sees."""
        field, jump = 1, 1
        for spec in self.layers:
            field += (spec.size - 1) * jump
            jump *= spec.stride
        return field

    def head(self, depth: int) -> ConvNet:
        """The network made of the first ``depth`` layers."""
        return ConvNet(self.layers[:depth], self.channels)

    def map_sizes(self, size: tuple[int, int], boundary: Boundary) -> list[tuple[int, int]]:
        """Heights and widths of every layer's maps, the image first.

        Raises:
            ValueError: an image too small for the filters, or not a multiple of the stride on a
                torus.
        """
        sizes = [size]
        for spec in self.layers:
            sizes.append(tuple(_out_size(n, spec, boundary) for n in sizes[-1]))  # type: ignore[arg-type]
        return sizes

    def in_channels(self) -> list[int]:
        """Channels that each layer reads."""
        return [self.channels, *(spec.filters for spec in self.layers[:-1])]

    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum(
            spec.filters * (c * spec.size**2 + 1)
            for spec, c in zip(self.layers, self.in_channels(), strict=True)
        )

    def forward(self, images: Tensor, weights: Weights, boundary: Boundary) -> list[Tensor]:
        """Pre-activations of every layer for images (N, C, H, W), bottom to top."""
        responses, x = [], images
        for spec, (w, b) in zip(self.layers, weights, strict=True):
            a = F.conv2d(_pad(x, spec, boundary), w, b, spec.stride)
            responses.append(a)
            x = F.relu(a) if spec.relu else a
        return responses

    def tilt(self, images: Tensor, weights: Weights, boundary: Boundary) -> Tensor:
        """``f(I; w)`` in nats for images (N, C, H, W): a tensor (N,)."""
        return self.top(self.forward(images, weights, boundary)).flatten(1).sum(1)

    def top(self, responses: Sequence[Tensor]) -> Tensor:
        """The top layer's maps (N, K, h, w) from the pre-activations."""
        return F.relu(responses[-1]) if self.layers[-1].relu else responses[-1]

    def pattern(self, responses: Sequence[Tensor]) -> list[Tensor]:
        """The binary activation pattern delta: per layer True where a unit is on."""
        return [
            a > 0 if spec.relu else torch.ones_like(a, dtype=torch.bool)
            for spec, a in zip(self.layers, responses, strict=True)
        ]

    def decode(
        self,
        pattern: Sequence[Tensor],
        weights: Weights,
        boundary: Boundary,
        size: tuple[int, int],
    ) -> Tensor:
        """Top-down pass: the basis B (N, C, H, W) of one activation pattern.

        A 1 is sent down from every active top unit through the transposed filters; at each layer
        only the units that the pattern left on pass it further (Xie et al. 2016, section 4).
        """
        sizes = self.map_sizes(size, boundary)
        g = pattern[-1].to(weights[0].w.dtype)
        for level in range(len(self.layers) - 1, -1, -1):
            spec, w = self.layers[level], weights[level].w
            g = F.conv_transpose2d(g, w, stride=spec.stride)
            g = _unpad(g, spec, boundary, sizes[level])
            if level:
                g = g * pattern[level - 1]
        return g

    def basis(self, images: Tensor, weights: Weights, boundary: Boundary) -> Tensor:
        """``B(I) = df/dI`` (N, C, H, W) by encoding and decoding with the same filters."""
        pattern = self.pattern(self.forward(images, weights, boundary))
        return self.decode(pattern, weights, boundary, (images.shape[-2], images.shape[-1]))


def initial_weights(
    net: ConvNet,
    generator: torch.Generator,
    *,
    sigma: float = 1.0,
    std: float | None = None,
    top_gain: float = 1.0,
) -> Weights:
    """Random starting filters and zero biases, float32.

    With ``std`` every weight is N(0, std^2), as in the authors' code. Without it, He et al. (2015)
    scaling keeps the responses' size from layer to layer; the first layer is divided by ``sigma``
    so that it answers alike to white noise of any unit, and the top layer is multiplied by
    ``top_gain`` so that the field starts near its reference.
    """
    weights = []
    for index, (spec, c) in enumerate(zip(net.layers, net.in_channels(), strict=True)):
        scale = std
        if scale is None:
            scale = math.sqrt(2.0 / (c * spec.size**2))
            scale *= top_gain if index == len(net.layers) - 1 else 1.0
            scale /= sigma if index == 0 else 1.0
        w = torch.randn(spec.filters, c, spec.size, spec.size, generator=generator) * scale
        b = torch.zeros(spec.filters)
        weights.append(LayerWeights(w, b))
    return tuple(weights)


def margins(spec: LayerSpec, boundary: Boundary) -> tuple[int, int]:
    """Pixels that a layer's first window reaches out before the map, and its last one after."""
    if boundary == "valid":
        return 0, 0
    if boundary == "bounded":
        return spec.padding, spec.padding
    before = (spec.size - spec.stride) // 2
    return before, spec.size - spec.stride - before


def _out_size(n: int, spec: LayerSpec, boundary: Boundary) -> int:
    if boundary == "torus" and n % spec.stride:
        raise ValueError(f"{n} is not a multiple of the stride {spec.stride}")
    out = (n + sum(margins(spec, boundary)) - spec.size) // spec.stride + 1
    if out < 1:
        raise ValueError(f"{n} px are fewer than a {spec.size} px filter needs")
    return out


def _pad(x: Tensor, spec: LayerSpec, boundary: Boundary) -> Tensor:
    before, after = margins(spec, boundary)
    if boundary == "torus" and before + after:
        return _take(_take(x, -2, before, after), -1, before, after)
    return F.pad(x, (before, after, before, after)) if before + after else x


def _take(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Wrap ``x`` along ``dim``; unlike circular `F.pad` also further than once around."""
    n = x.shape[dim]
    index = torch.arange(-before, n + after, device=x.device) % n
    return x.index_select(dim, index)


def _unpad(g: Tensor, spec: LayerSpec, boundary: Boundary, size: tuple[int, int]) -> Tensor:
    """The adjoint of `_pad`: crop what zero padding added, fold what the torus repeated."""
    before, after = margins(spec, boundary)
    for dim, n in ((-2, size[0]), (-1, size[1])):
        short = n + before + after - g.shape[dim]
        if short > 0:  # pixels on the far side that no window of the stride reached
            g = F.pad(g, (0, 0, 0, short) if dim == -2 else (0, short))
        if boundary == "torus":
            index = torch.arange(-before, n + after, device=g.device) % n
            shape = list(g.shape)
            shape[dim] = n
            g = torch.zeros(shape, dtype=g.dtype, device=g.device).index_add(dim, index, g)
        else:
            g = g.narrow(dim, before, n)
    return g
