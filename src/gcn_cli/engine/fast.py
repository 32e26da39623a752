"""grad h and its gradients, fast: bfloat16 where the processor multiplies it, one pass a gate.

The numbers are those of `gcn_cli.field` up to the rounding of the type that maps are kept in; the
chain, the weights and the loss stay float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.engine.layers import CHANNELS_LAST, decode, encode, gate, in_blocks, vote
from gcn_cli.engine.replay import Replayed
from gcn_cli.field.ladder import column, target
from gcn_cli.field.learning import LEAST_LEVEL, unit_weight
from gcn_cli.field.network import Boundary, NoiseNet, Responses, Weights, beside


@dataclass(frozen=True)
class Engine:
    """The functions of one network on one machine; made by `open_engine`."""

    net: NoiseNet
    device: torch.device
    dtype: torch.dtype

    @property
    def _deep(self) -> NoiseNet:
        """The network over blocks of the first layer's stride, where that layer allows it."""
        first = in_blocks(self.net.layers[0])
        if first is None:
            return self.net
        area = self.net.layers[0].stride ** 2
        channels, given = self.net.channels * area, self.net.given * area
        return NoiseNet((first, *self.net.layers[1:]), channels, given)

    @property
    def _block(self) -> int:
        """Side of the blocks; 1 for none."""
        return self.net.layers[0].stride if in_blocks(self.net.layers[0]) else 1

    def prepare(self, weights: Weights) -> Weights:
        """Filters, mixers and votes in the engine's type and layout; differentiable."""

        def fit(t: Tensor) -> Tensor:
            t = t.to(self.dtype)
            return t.contiguous(memory_format=CHANNELS_LAST) if t.ndim == 4 else t

        first, *rest = weights.filters
        if self._block > 1:
            first = F.pixel_unshuffle(first, self._block)
        return weights._replace(
            filters=tuple(fit(w) for w in (first, *rest)),
            mixers=tuple(fit(m) for m in weights.mixers),
            votes=tuple(fit(v) for v in weights.votes),
        )

    def _forward(self, z: Tensor, s: Tensor, fitted: Weights, boundary: Boundary) -> Responses:
        biases = iter([b.to(self.dtype) for b in self.net.biases(s, fitted)])
        mixers = iter(fitted.mixers)
        x = (
            F.pixel_unshuffle(z.to(self.dtype), self._block)
            if self._block > 1
            else z.to(self.dtype)
        )
        x = x.contiguous(memory_format=CHANNELS_LAST)
        layers, votes = [], []
        for spec, w in zip(self._deep.layers, fitted.filters, strict=True):
            a = encode(x, w[:, : x.shape[1]], spec, boundary).add_(next(biases))
            layers.append(a)
            x = F.relu(a)
            if spec.vote:
                votes.append(F.conv2d(x, next(mixers)).add_(next(biases)))
        return Responses(layers, votes)

    def _decode(self, responses: Responses, fitted: Weights, boundary: Boundary) -> Tensor:
        deep = self._deep
        looks = zip(responses.votes, fitted.mixers, fitted.votes, strict=True)
        votes = dict(zip(deep.voting, looks, strict=True))
        g: Tensor | None = None
        for index in range(len(deep.layers) - 1, -1, -1):
            if index in votes:
                q, mixer, v = votes[index]
                told = F.conv_transpose2d(vote(q, v), mixer)
                g = told if g is None else g + told
            assert g is not None  # the top layer votes
            gated = gate(g, responses.layers[index])
            w = fitted.filters[index] if index else fitted.filters[0][:, : deep.channels]
            g = decode(gated, w, deep.layers[index], boundary)
        assert g is not None
        return F.pixel_shuffle(g, self._block) if self._block > 1 else g

    def soft_gradient(
        self, z: Tensor, s: Tensor, fitted: Weights, boundary: Boundary = "torus"
    ) -> Tensor:
        """`field.learning.soft_gradient` of weights that `prepare` fitted, float32."""
        responses = self._forward(z, s, fitted, boundary)
        return self._decode(responses, fitted, boundary).float()

    def opened(self, weights: Weights) -> Sampler:
        """Grad h under fixed weights: what the chain is driven by."""
        return Sampler(self, self.prepare(weights.map(torch.Tensor.detach)))

    def reconstruction(
        self,
        x: Tensor,
        noise: Tensor,
        s: Tensor,
        weights: Weights,
        margin: int,
        given: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """`field.learning.reconstruction_loss` and its gradient in the order of the weights."""
        known = tuple(t for t in (given, weight) if t is not None)

        def both(x: Tensor, noise: Tensor, s: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            c = rest[0] if given is not None else None
            leaves = weights.of([t.detach().requires_grad_(True) for t in rest[len(known) :]])
            y = x + column(s) * noise
            scale = (1 + column(s) ** 2).sqrt()
            told = self.soft_gradient(beside(y / scale, c), s, self.prepare(leaves), "frame")
            w = None if weight is None else rest[len(known) - 1]
            loss = _mean_square(told - target(x, y, s), margin, w)
            return loss.detach(), *torch.autograd.grad(loss, leaves.tensors())

        name = _name("reconstruction", weight)
        loss, *gradient = _recorded(self, name, both, margin, len(known))(
            x, noise, s, *known, *weights.tensors()
        )
        return loss, gradient

    def likelihood(
        self,
        observed: Tensor,
        chains: Tensor,
        s: Tensor,
        weights: Weights,
        margin: int,
        given: tuple[Tensor, Tensor] | None = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """`field.learning.likelihood_gap` at level ``s`` (a tensor ()), and its gradient."""
        known = (*(given or ()), *(() if weight is None else (weight,)))

        def both(observed: Tensor, chains: Tensor, s: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
            c, below = rest[:2] if given is not None else (None, None)
            w = None if weight is None else rest[len(known) - 1]
            leaves = weights.of([t.detach().requires_grad_(True) for t in rest[len(known) :]])
            fitted = self.prepare(leaves)
            scale = (1 + s**2).sqrt()
            seen, made = beside(observed / scale, c), beside(chains / scale, below)
            f_observed = self._inside(seen, s, fitted, leaves, "frame", margin, w)
            f_chains = self._inside(made, s, fitted, leaves, "torus", 0)
            gap = (f_observed - f_chains) / s.clamp_min(LEAST_LEVEL)
            return gap.detach(), *torch.autograd.grad(gap, leaves.tensors())

        name = _name("likelihood", weight)
        gap, *gradient = _recorded(self, name, both, margin, len(known))(
            observed, chains, s, *known, *weights.tensors()
        )
        return gap, gradient

    def _inside(
        self,
        z: Tensor,
        s: Tensor,
        fitted: Weights,
        weights: Weights,
        boundary: Boundary,
        margin: int,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Mean of `field.learning.inside_output` over images; votes summed in float32."""
        responses = self._forward(z, s.expand(len(z)), fitted, boundary)
        total = torch.zeros((), device=z.device)
        stride = 1
        votes = iter(zip(responses.votes, weights.votes, strict=True))
        for spec in self.net.layers:
            stride *= spec.stride
            if not spec.vote:
                continue
            q, v = next(votes)
            cut = 0 if boundary == "torus" else -(-margin // stride)
            inner = q[..., cut : q.shape[-2] - cut, cut : q.shape[-1] - cut]
            units = None if weight is None else unit_weight(weight, stride, cut)
            total = total + _mean_response(F.relu(inner.float()), units) @ v / stride**2
        return total


def _mean_square(error: Tensor, margin: int, weight: Tensor | None) -> Tensor:
    """Mean square of errors (N, C, H, W) inside a margin, a scalar; see `reconstruction_loss`."""
    error = error[..., margin:-margin, margin:-margin]
    if weight is None:
        return error.square().mean()
    weight = weight[..., margin:-margin, margin:-margin]
    return (weight * error.square()).sum() / (weight.sum() * error.shape[1]).clamp_min(1)


def _mean_response(maps: Tensor, units: Tensor | None) -> Tensor:
    """Mean (K,) over images and units of maps (N, K, h, w); over units that count."""
    if units is None:
        return maps.mean((0, 2, 3))
    return ((units * maps).sum((2, 3)) / units.sum((2, 3)).clamp_min(1)).mean(0)


def _name(function: str, weight: Tensor | None) -> str:
    return function if weight is None else f"{function}, weighted"


def _recorded(engine: Engine, name: str, function: object, margin: int, known: int) -> Replayed:
    """On CUDA the whole pass, forward and back, is one recorded graph per set of shapes."""
    recorded = _RECORDED.setdefault(engine, {})
    key = (name, margin, known)
    if key not in recorded:
        recorded[key] = Replayed(function)  # type: ignore[arg-type]
    return recorded[key]


_RECORDED: dict[Engine, dict[tuple[str, int, int], Replayed]] = {}


class Sampler:
    """grad h of one set of weights, without a graph for gradients: ``sampler(z, s)``."""

    def __init__(self, engine: Engine, fitted: Weights) -> None:
        self.net = engine.net
        self._engine, self._fitted = engine, fitted
        self._torus = Replayed(self._on_torus)

    def _on_torus(self, z: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        return (self._engine.soft_gradient(z, s, self._fitted, "torus"),)

    @torch.no_grad()
    def __call__(self, z: Tensor, s: Tensor) -> Tensor:
        """``grad h(z; s)`` (N, C, H, W) of a torus at levels ``s`` (N,)."""
        return self._torus(z, s)[0]

    @torch.no_grad()
    def window(self, z: Tensor, s: Tensor) -> Tensor:
        """The same of a window; what is within `NoiseNet.reach` px of its frame is wrong."""
        return self._engine.soft_gradient(z, s, self._fitted, "frame")


def open_engine(net: NoiseNet, device: torch.device, dtype: torch.dtype) -> Engine:
    """The fast functions of a network on a device, its maps kept in ``dtype``."""
    if device.type == "cpu":
        torch.set_flush_denormal(True)
    return Engine(net, device, dtype)
