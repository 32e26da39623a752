"""The ReLU ConvNet of a field at all noise levels: tilt, activation pattern, basis.

One set of filters serves every noise level s; only the biases depend on s. Layer l computes

    a_l = W_l * F_{l-1} + b_l(s),    F_l = max(0, a_l),    F_0 = z

with stride, so that deep maps are small. At some depths a *vote* looks at the maps: 1x1 filters
with a ReLU of their own, whose maps are summed over positions with weights v (the potentials of
FRAME; Zhu, Wu and Mumford 1997). All votes together are the network's output

    h(z; s) = sum_l sum_k v_{l,k} sum_x max(0, [M_l * F_l + c_l(s)]_k(x))

The paper's network (Xie et al. 2016) is the case of a single vote, of the top layer by itself with
every v = 1, and a single s. Like the paper's, h is piecewise linear: on the images of one
activation pattern ``h(z') = alpha + <grad h, z'>``, and ``grad h`` is decoded top-down through the
same filters, gated by the same pattern.

This is the reference: exact in any floating-point type, differentiable in every argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.field.values import key

Boundary = Literal["torus", "frame"]
"""How a canvas ends. ``torus``: opposite sides meet. ``frame``: zeros lie beyond it, so that what
is within `NoiseNet.reach` px of the frame is not to be trusted."""

N_FEATURES = 8
"""Functions of ln s that the biases are made of."""
HIDDEN = 64
"""Units of the small network from ln s to the biases."""
_PERIOD = 3.0  # ln s is divided by it; s from 0.02 to 20 then spans 2.3 of the slowest wave's 6.3


@dataclass(frozen=True)
class LayerSpec:
    """``filters`` square filters of ``size`` px at every ``stride`` px; ``vote``: summed into h."""

    filters: int = key("number of filters", ge=1, le=4096)
    size: int = key("side of a filter, px of the map below", ge=1, le=64)
    stride: int = key("px between neighbouring units", 1, ge=1, le=16)
    vote: bool = key("whether its maps are summed into the tilt", False)

    def __post_init__(self) -> None:
        if min(self.filters, self.size, self.stride) < 1:
            raise ValueError(f"filters, size and stride must be positive: {self}")
        if self.size < self.stride or (self.size - self.stride) % 2:
            raise ValueError(
                f"size minus stride must be even and not negative, so that filters lie in the "
                f"middle of their stride: {self}"
            )

    @property
    def margin(self) -> int:
        """Pixels that the first filter reaches out before the map, and the last one after it."""
        return (self.size - self.stride) // 2

    @property
    def shorthand(self) -> str:
        """Filters, size and stride, such as ``64@4/2``; ``+`` where it votes."""
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.filters}@{self.size}{stride}{'+' if self.vote else ''}"


class Weights(NamedTuple):
    """All that is learned.

    ``filters``: per layer (K, C, k, k). ``mixers``: per vote (K, K, 1, 1). ``votes``: per vote
    (K,). ``embed`` (HIDDEN, N_FEATURES), ``embed_bias`` (HIDDEN,), ``levels`` (n_biases, HIDDEN)
    and ``rest`` (n_biases,): the biases at level s are ``rest + levels silu(embed phi(s) + ...)``.
    """

    filters: tuple[Tensor, ...]
    mixers: tuple[Tensor, ...]
    votes: tuple[Tensor, ...]
    embed: Tensor
    embed_bias: Tensor
    levels: Tensor
    rest: Tensor

    def tensors(self) -> list[Tensor]:
        """All tensors in a fixed order."""
        return [*self.filters, *self.mixers, *self.votes, *self[3:]]

    def map(self, function: Callable[[Tensor], Tensor]) -> Weights:
        """The weights with ``function`` applied to every tensor."""
        return self.of([function(t) for t in self.tensors()])

    def of(self, tensors: Sequence[Tensor]) -> Weights:
        """Weights of the same structure from tensors in the order of `tensors`."""
        n, m = len(self.filters), len(self.mixers)
        return Weights(
            tuple(tensors[:n]),
            tuple(tensors[n : n + m]),
            tuple(tensors[n + m : n + 2 * m]),
            *tensors[n + 2 * m :],
        )


class Responses(NamedTuple):
    """Pre-activations: ``layers`` bottom to top, and ``votes`` of the layers that vote."""

    layers: list[Tensor]
    votes: list[Tensor]


class Pattern(NamedTuple):
    """The binary activation pattern delta: True where a unit is on."""

    layers: list[Tensor]
    votes: list[Tensor]


@dataclass(frozen=True)
class NoiseNet:
    """The structure of the network over images of ``channels`` colours.

    ``given`` channels more may come beside z: an image that is known, under which the density of z
    is conditional. They are looked at and never decoded; where z comes alone they count as zeros.
    """

    layers: tuple[LayerSpec, ...]
    channels: int = 3
    given: int = 0

    def __post_init__(self) -> None:
        if not any(spec.vote for spec in self.layers):
            raise ValueError("no layer votes, so that h = 0; the top layer must")
        if not self.layers[-1].vote:
            raise ValueError("the top layer must vote; nothing else would hear of it")

    @property
    def voting(self) -> tuple[int, ...]:
        """Indices of the layers that vote."""
        return tuple(i for i, spec in enumerate(self.layers) if spec.vote)

    @property
    def total_stride(self) -> int:
        """Pixels between neighbouring top units; sides of a torus are multiples of it."""
        return math.prod(spec.stride for spec in self.layers)

    @property
    def receptive_field(self) -> int:
        """Side, in px, of the window that one top unit sees: the field of view."""
        field, jump = 1, 1
        for spec in self.layers:
            field += (spec.size - 1) * jump
            jump *= spec.stride
        return field

    @property
    def reach(self) -> int:
        """Pixels away from which a value of the basis can depend on the image."""
        return self.receptive_field - 1

    def in_channels(self) -> list[int]:
        """Channels that each layer reads."""
        return [self.channels + self.given, *(spec.filters for spec in self.layers[:-1])]

    @property
    def n_biases(self) -> int:
        """Biases of all layers and votes."""
        return sum(spec.filters * (2 if spec.vote else 1) for spec in self.layers)

    def n_parameters(self) -> int:
        """Numbers that are learned."""
        filters = sum(
            spec.filters * c * spec.size**2
            for spec, c in zip(self.layers, self.in_channels(), strict=True)
        )
        votes = sum(self.layers[i].filters * (self.layers[i].filters + 1) for i in self.voting)
        return filters + votes + HIDDEN * (N_FEATURES + 1) + self.n_biases * (HIDDEN + 1)

    def multiply_adds(self) -> float:
        """Multiply-adds a pixel of one pass up; the pass down costs the same."""
        total, area = 0.0, 1
        for spec, c in zip(self.layers, self.in_channels(), strict=True):
            area *= spec.stride**2
            total += spec.filters * c * spec.size**2 / area
            total += spec.filters**2 / area if spec.vote else 0
        return total

    def biases(self, s: Tensor, weights: Weights) -> list[Tensor]:
        """Biases (N, K, 1, 1) at levels ``s`` (N,): per layer its own, then its vote's if any."""
        angle = s.log()[:, None] / _PERIOD * torch.arange(1, N_FEATURES // 2 + 1).to(s)
        phi = torch.cat([angle.cos(), angle.sin()], 1)
        hidden = F.silu(F.linear(phi, weights.embed, weights.embed_bias))
        every = F.linear(hidden, weights.levels, weights.rest)[..., None, None]
        sizes = [
            k for spec in self.layers for k in ([spec.filters] * 2 if spec.vote else [spec.filters])
        ]
        return list(torch.split(every, sizes, 1))

    def forward(self, z: Tensor, s: Tensor, weights: Weights, boundary: Boundary) -> Responses:
        """Pre-activations for images ``z`` (N, C, H, W) at levels ``s`` (N,); see `beside`.

        Raises:
            ValueError: sides that are no multiples of the stride.
        """
        if any(n % self.total_stride for n in z.shape[-2:]):
            raise ValueError(
                f"{tuple(z.shape[-2:])} px are not multiples of the stride {self.total_stride}"
            )
        biases = iter(self.biases(s, weights))
        mixers = iter(weights.mixers)
        layers, votes, x = [], [], z
        for spec, w in zip(self.layers, weights.filters, strict=True):
            a = encode(x, w[:, : x.shape[1]], spec, boundary) + next(biases)
            layers.append(a)
            x = F.relu(a)
            if spec.vote:
                votes.append(F.conv2d(x, next(mixers)) + next(biases))
        return Responses(layers, votes)

    def output(self, responses: Responses, weights: Weights) -> Tensor:
        """``h`` (N,) from the pre-activations."""
        return sum(
            (
                F.relu(q).sum((2, 3)) @ v
                for q, v in zip(responses.votes, weights.votes, strict=True)
            ),
            torch.zeros(()).to(responses.votes[0]),
        )

    def pattern(self, responses: Responses) -> Pattern:
        """The activation pattern of the pre-activations."""
        return Pattern([a > 0 for a in responses.layers], [q > 0 for q in responses.votes])

    def decode(self, pattern: Pattern, weights: Weights, boundary: Boundary) -> Tensor:
        """Top-down pass: ``grad h`` (N, C, H, W) of one activation pattern.

        Every vote that is on sends its weight down through the transposed filters; at each layer
        only the units that the pattern left on pass it further (Xie et al. 2016, section 4).
        """
        votes = dict(
            zip(
                self.voting,
                zip(pattern.votes, weights.mixers, weights.votes, strict=True),
                strict=True,
            )
        )
        g: Tensor | None = None
        for index in range(len(self.layers) - 1, -1, -1):
            spec, on = self.layers[index], pattern.layers[index]
            if index in votes:
                vote_on, mixer, v = votes[index]
                told = F.conv_transpose2d(vote_on.to(v) * v[:, None, None], mixer)
                g = told if g is None else g + told
            assert g is not None
            w = weights.filters[index] if index else weights.filters[0][:, : self.channels]
            g = decode(g * on, w, spec, boundary)
        assert g is not None
        return g

    def gradient(self, z: Tensor, s: Tensor, weights: Weights, boundary: Boundary) -> Tensor:
        """``grad h(z; s)`` (N, C, H, W) by encoding and decoding with the same filters."""
        return self.decode(self.pattern(self.forward(z, s, weights, boundary)), weights, boundary)


def encode(x: Tensor, w: Tensor, spec: LayerSpec, boundary: Boundary) -> Tensor:
    """One layer upwards through filters ``w`` (K, C, k, k), without its biases."""
    return F.conv2d(_pad(x, spec.margin, boundary), w, stride=spec.stride)


def decode(g: Tensor, w: Tensor, spec: LayerSpec, boundary: Boundary) -> Tensor:
    """The adjoint of `encode`: one layer downwards through the transposed filters."""
    return _fold(F.conv_transpose2d(g, w, stride=spec.stride), spec.margin, boundary)


def beside(z: Tensor, given: Tensor | None) -> Tensor:
    """``z`` (N, C, H, W) with the channels that are given (N, G, H, W), if any."""
    return z if given is None else torch.cat([z, given], 1)


def initial_weights(net: NoiseNet, generator: torch.Generator) -> Weights:
    """Random starting weights, float32.

    He et al. (2015) scaling for filters, half of it for mixers, votes N(0, 0.1^2), and biases near
    zero that hardly depend on s.
    """

    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    filters = tuple(
        normal(spec.filters, c, spec.size, spec.size, std=math.sqrt(2 / (c * spec.size**2)))
        for spec, c in zip(net.layers, net.in_channels(), strict=True)
    )
    sizes = [net.layers[i].filters for i in net.voting]
    return Weights(
        filters,
        tuple(normal(k, k, 1, 1, std=0.5 * math.sqrt(2 / k)) for k in sizes),
        tuple(normal(k, std=0.1) for k in sizes),
        normal(HIDDEN, N_FEATURES, std=math.sqrt(1 / (3 * N_FEATURES))),
        normal(HIDDEN, std=math.sqrt(1 / (3 * N_FEATURES))),
        normal(net.n_biases, HIDDEN, std=0.02),
        torch.zeros(net.n_biases),
    )


def _pad(x: Tensor, margin: int, boundary: Boundary) -> Tensor:
    if margin == 0 or boundary == "frame":
        return F.pad(x, (margin,) * 4)
    for dim in (-2, -1):
        n = x.shape[dim]
        x = x.index_select(dim, torch.arange(-margin, n + margin, device=x.device) % n)
    return x


def _fold(g: Tensor, margin: int, boundary: Boundary) -> Tensor:
    """The adjoint of `_pad`: crop what zeros were added, add up what the torus repeated."""
    for dim in (-2, -1):
        n = g.shape[dim] - 2 * margin
        if boundary == "torus" and margin:
            index = torch.arange(-margin, n + margin, device=g.device) % n
            shape = list(g.shape)
            shape[dim] = n
            g = g.new_zeros(shape).index_add(dim, index, g)
        else:
            g = g.narrow(dim, margin, n)
    return g
