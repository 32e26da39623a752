"""One field at work: what its updates need around the weights and the chains.

The observed images, the noise, the chains' start, and the gradient between both.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gcn_cli.engine import AnyBasis, Machine, NoiseSource, Replayed, likelihood_gradient, make_basis
from gcn_cli.field.convnet import Boundary, ConvNet, Weights, initial_weights, map_weights
from gcn_cli.field.langevin import ChainState
from gcn_cli.field.likelihood import Gradient, as_weights, parameters, torus_lead, wrap_image
from gcn_cli.field.noise import derive_seed, generator
from gcn_cli.texture.paper.draw import fresh_chains
from gcn_cli.texture.paper.plan import Plan


class Field:
    """The field at work: constant tensors and buffers, rebuilt alike after a resume."""

    def __init__(self, plan: Plan, observed: Tensor, mean: Tensor, machine: Machine) -> None:
        self.plan, self.machine, self.ranks = plan, machine, machine.ranks
        self.seed = derive_seed(plan.seed, "learn", 0)
        self.observed = observed.to(machine.device) - mean.to(machine.device)
        kinds = {stage.learning.chains for stage in plan.stages}
        if "data" in kinds and plan.chains != len(observed):
            raise ValueError(f"{plan.chains} chains cannot start at {len(observed)} images")
        self.spread_data = float(self.observed.std())
        mine = self.ranks.part(range(plan.chains))
        self.noise = NoiseSource(self.seed, mine, machine.device)
        self._basis: AnyBasis | None = None
        self._gradients: dict[ConvNet, Replayed] = {}

    def start_weights(self, depth: int, below: Weights = ()) -> Weights:
        """Weights of a net of ``depth`` layers: those ``below`` and initial ones above them."""
        weights = initial_weights(
            self.plan.net.head(depth),
            generator(self.seed, "weights", depth),
            sigma=self.plan.langevin.sigma,
            std=self.plan.init_std,
            top_gain=self.plan.top_gain,
        )
        fresh = map_weights(lambda t: t.to(self.machine.device), weights[len(below) :])
        return (*below, *fresh)

    def start_chains(self, kind: str, state_step: int) -> ChainState:
        """All chains at their start; ``state_step`` keeps the noise of later steps fresh."""
        if kind == "data":
            images = self.observed  # one chain an image
        else:
            shape = (self.plan.chains, self.observed.shape[1], *self.plan.canvas)
            seed = derive_seed(self.seed, "start", state_step)
            source = NoiseSource(seed, range(self.plan.chains), self.machine.device)
            images = fresh_chains(self.plan.sampler.start_noise, shape, source)
        return ChainState(images.contiguous(memory_format=torch.channels_last), state_step)

    def part(self, chains: ChainState) -> ChainState:
        """This process's of all chains."""
        return replace(chains, images=self.ranks.part(chains.images))

    def whole(self, part: Tensor) -> Tensor:
        """What every process has of its chains (n, C, H, W), of all of them."""
        images = self.ranks.whole(part, self.plan.chains)
        return part if images is part else images.contiguous(memory_format=torch.channels_last)

    def basis(self, weights: Weights, shape: torch.Size) -> AnyBasis:
        """The fused basis of these weights, its buffers reused while the depth stays."""
        net = self.plan.net.head(len(weights))
        if self._basis is None or self._basis.net != net:
            n, c, h, w = shape
            self._basis = make_basis(
                net, (n, c, h, w), self.plan.boundary, self.machine.dtype, self.machine.device
            )
        return self._basis.load(weights)

    def gradient(self, weights: Weights, chains: ChainState, noise_sd: float) -> Gradient:
        """The likelihood gradient between the observed images and all chains.

        ``chains`` are this process's of them.
        """
        part = self._gradient(weights, chains, noise_sd)
        share = self.ranks.share(self.plan.chains)
        *grads, f_obs, f_syn, active = self.ranks.mean(share, *part.weights, *part[1:])
        return Gradient(grads, f_obs, f_syn, active)

    def _gradient(self, weights: Weights, chains: ChainState, noise_sd: float) -> Gradient:
        net = self.plan.net.head(len(weights))
        observed = self.observed.repeat(self.plan.observed_copies, 1, 1, 1)
        numbers = range(len(observed))
        if len(observed) == self.plan.chains:  # else each process takes all images
            observed, numbers = self.ranks.part(observed), self.ranks.part(numbers)
        if noise_sd:
            source = NoiseSource(self.seed, numbers, self.machine.device)
            z = torch.empty_like(observed, memory_format=torch.contiguous_format)
            observed = observed.add(source.normal_(z, "data", chains.step), alpha=noise_sd)
        if self.plan.boundary == "bounded":
            return self._likelihood(net, weights, observed, chains.images)
        seen = self._phased(net, observed, chains.step)
        return self._likelihood(net, weights, seen, self._unrolled(net, chains))

    def _likelihood(
        self, net: ConvNet, weights: Weights, observed: Tensor, synthesized: Tensor
    ) -> Gradient:
        """`likelihood_gradient`, recorded on a device that can."""
        boundary: Boundary = "bounded" if self.plan.boundary == "bounded" else "valid"

        def gradient(*tensors: Tensor) -> tuple[Tensor, ...]:
            *flat, seen, made = tensors
            found = likelihood_gradient(
                net, as_weights(flat), seen, made, boundary, self.machine.dtype
            )
            return (*found.weights, *found[1:])

        if net not in self._gradients:
            self._gradients = {net: Replayed(gradient)}
        *grads, f_obs, f_syn, active = self._gradients[net](
            *parameters(weights), observed, synthesized
        )
        return Gradient(list(grads), f_obs, f_syn, active)

    def _phased(self, net: ConvNet, observed: Tensor, step: int) -> Tensor:
        """The observed images from a random phase of the stride on."""
        spare = [n - net.receptive_field + 1 for n in observed.shape[-2:]]
        bounds = [min(net.total_stride, n) for n in spare]
        dy, dx = self.noise.integers("phase", step, bounds)
        return observed[..., dy:, dx:]

    def _unrolled(self, net: ConvNet, chains: ChainState) -> Tensor:
        """The torus of the chains, so that its valid windows are those that drive the dynamics."""
        dither = self.plan.langevin.dither
        dy, dx = self.noise.integers("phase/chains", chains.step, (dither, dither))
        lead = torus_lead(net)
        rolled = torch.roll(chains.images, (lead + dy, lead + dx), (-2, -1))
        return wrap_image(rolled, net.receptive_field - 1)

    def positions(self, depth: int) -> list[int]:
        """Units per filter and layer on the observed images."""
        net = self.plan.net.head(depth)
        boundary: Boundary = "bounded" if self.plan.boundary == "bounded" else "valid"
        h, w = self.observed.shape[-2:]
        return [a * b for a, b in net.map_sizes((h, w), boundary)[1:]]
