"""One level at work: what its updates need around the weights and the chains.

The observed images at the level's scale, the pool of coarser samples, the noise, and what is
measured of the chains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gcn_cli.core.course import fresh_chains
from gcn_cli.core.device import AnyBasis, make_basis
from gcn_cli.core.dictionary import DictionaryStart, dictionary_layer
from gcn_cli.core.drafts import Drafts
from gcn_cli.core.guard import GuardParams
from gcn_cli.core.langevin import ChainState, LangevinParams, run_langevin
from gcn_cli.core.learning import (
    Gradient,
    LearningParams,
    as_weights,
    likelihood_gradient,
    parameters,
    recentre,
    scale_tilt,
    torus_lead,
    wrap_image,
)
from gcn_cli.core.matching import (
    MatchInfo,
    MatchingParams,
    Stage,
    begin_path,
    learn_stage,
    push,
)
from gcn_cli.core.model import LevelModel, Model, SamplerParams, every_draw, informed
from gcn_cli.core.network import (
    Boundary,
    ConvNet,
    LayerWeights,
    Weights,
    initial_weights,
    map_weights,
)
from gcn_cli.core.noise import NoiseSource, derive_seed, generator
from gcn_cli.core.pyramid import enlarge_torus, local_contrast, shrink
from gcn_cli.core.replay import Replayed
from gcn_cli.core.spot import make_spot
from gcn_cli.core.synthesis import Below, final_images, synthesize
from gcn_cli.errors import DivergenceError

_TURNS = 6  # of the last act of the coarsest level
_GAINS = (0.5, 1.25)  # of its tilt, at least and at most


@dataclass(frozen=True)
class StagePlan:
    """A run of updates of the first ``depth`` layers."""

    depth: int
    learning: LearningParams


@dataclass(frozen=True)
class LevelPlan:
    """Everything about one pyramid level; ``canvas`` (H, W) is the chains' size there."""

    net: ConvNet
    scale: float
    boundary: Boundary
    langevin: LangevinParams
    sampler: SamplerParams
    chains: int
    canvas: tuple[int, int]
    stages: tuple[StagePlan, ...]
    observed_copies: int = 1
    init_std: float | None = None
    top_gain: float = 1.0
    dictionary: DictionaryStart | None = None
    path_every: int = 0
    pool: int = 8
    glimpse: float = 2
    """Side of the observed window that an update sees, in canvases."""
    drafts: int = 0
    """Of the coarsest level: chosen samples that finer levels learn behind; 0 for every draw."""
    matching: MatchingParams | None = None

    @property
    def matching_stages(self) -> int:
        """Stages of the matching path; 0 without one."""
        return self.matching.stages if self.matching else 0

    @property
    def updates(self) -> int:
        """Updates over all stages, those of the matching path included."""
        return sum(s.learning.updates for s in self.stages) + self.matching_stages


@dataclass(frozen=True)
class Plan:
    """The whole of learning."""

    levels: tuple[LevelPlan, ...]
    seed: int = 0
    guard: GuardParams = field(default_factory=GuardParams)

    @property
    def total_updates(self) -> int:
        """Updates over all levels and stages."""
        return sum(level.updates for level in self.levels)

    def drawn_before(self, index: int) -> tuple[LevelPlan, ...]:
        """The levels that a sample goes through when it is drawn for level ``index``.

        Without the first one where drafts of it are kept.
        """
        return self.levels[1 if self.levels[0].drafts else 0 : index]

    @property
    def draft_sizes(self) -> set[tuple[int, int]]:
        """Full-size canvases (H, W) for which drafts are drawn."""
        if not self.levels[0].drafts:
            return set()
        finer = self.levels[1:]
        canvases = [(level.scale, level.canvas) for level in finer]
        canvases += [(level.scale, level.matching.canvas) for level in finer if level.matching]
        return {(round(h / scale), round(w / scale)) for scale, (h, w) in canvases}


@dataclass(frozen=True)
class Machine:
    """Where and how exactly to compute."""

    device: torch.device
    dtype: torch.dtype = torch.float32


def glimpse_size(plan: LevelPlan, sides: Sequence[int]) -> list[int]:
    """Sides of what an update sees of observed images of ``sides`` px at this level."""
    return [min(n, round(plan.glimpse * side)) for n, side in zip(sides, plan.canvas, strict=True)]


class Level:
    """One level at work: constant tensors and buffers, rebuilt alike after a resume."""

    def __init__(
        self,
        plan: Plan,
        index: int,
        observed: Tensor,
        mean: Tensor,
        finished: tuple[LevelModel, ...],
        machine: Machine,
        drafts: Drafts | None = None,
    ) -> None:
        self.index, self.machine, self.drafts = index, machine, drafts
        self.finished = finished
        self.plan = plan.levels[index]
        self.seed = derive_seed(plan.seed, "learn", index)
        self._whole = observed.to(machine.device) - mean.to(machine.device)
        self.observed = shrink(self._whole, self.plan.scale)
        self.spread_data = float(self.observed.std())
        self.noise = NoiseSource(self.seed, range(self.plan.chains), machine.device)
        self.pool = self._coarse_pool()
        self._contrast = local_contrast(self.observed, self._window, "bounded")
        self._spot = make_spot(self.observed) if self.plan.sampler.start_spot else None
        self._coarser: tuple[int, int, Tensor] | None = None  # factor, window, data's contrast
        if finished:
            factor = round(self.plan.scale / finished[-1].scale)
            window = finished[-1].net.receptive_field
            seen = local_contrast(shrink(self.observed, 1 / factor), window, "bounded")
            self._coarser = factor, window, seen
        self._basis: AnyBasis | None = None
        self._gradients: dict[ConvNet, Replayed] = {}

    def _coarse_pool(self) -> Tensor | None:
        """Fresh samples of the coarser levels, enlarged: the centres that chains draw from."""
        if not self.finished:
            return None
        images = self._drawn(self.finished, self.plan.canvas, self.plan.pool, "pool")
        return enlarge_torus(images, round(self.plan.scale / self.finished[-1].scale))

    def _drawn(
        self, levels: tuple[LevelModel, ...], canvas: tuple[int, int], chains: int, purpose: str
    ) -> Tensor:
        """Fresh samples (N, C, h, w) through some levels, from the first on; ``canvas`` is here."""
        height, width = (round(n / self.plan.scale) for n in canvas)
        seed, below = derive_seed(self.seed, purpose), None
        if self.drafts is not None:
            below = Below(self.drafts.take((height, width), chains, seed), levels[0].scale)
            levels = levels[1:]
            if not levels:
                return below.images
        model = every_draw(Model(levels, torch.zeros(self.observed.shape[1], 1, 1)))
        known = tuple(informed(level, self._whole) for level in model.levels)
        return final_images(
            synthesize(
                replace(model, levels=known),
                (height, width),
                range(chains),
                seed,
                device=self.machine.device,
                dtype=self.machine.dtype,
                below=below,
            )
        )

    def start_weights(self, depth: int, below: Weights = ()) -> Weights:
        """Weights of a net of ``depth`` layers: those ``below`` and initial ones above them."""
        weights = initial_weights(
            self.plan.net.head(depth),
            generator(self.seed, "weights", depth),
            sigma=self.plan.langevin.sigma,
            std=self.plan.init_std,
            top_gain=self.plan.top_gain,
        )
        if self.plan.dictionary and not below:
            first = dictionary_layer(
                self.observed,
                weights[0].w.shape,
                sigma=self.plan.langevin.sigma,
                threshold=self.plan.dictionary.threshold,
                rng=generator(self.seed, "dictionary", depth),
            )
            weights = (LayerWeights(*first), *weights[1:])
        fresh = map_weights(lambda t: t.to(self.machine.device), weights[len(below) :])
        return (*below, *fresh)

    def centres(self, step: int, rolled: bool, gain: Tensor) -> Tensor | None:
        """``gain`` times centres for all chains from the pool; drawn anew if ``rolled``."""
        if self.pool is None:
            return None
        n, count = self.plan.chains, self.pool.shape[0]
        if not rolled:
            return self.pool[torch.arange(n, device=self.pool.device) % count] * gain
        pick = self.noise.integers("centre", step, [count] * n)
        shift = self.noise.integers("shift", step, self.pool.shape[-2:])
        return torch.roll(self.pool[pick], shift, (-2, -1)) * gain

    def start_chains(self, kind: str, state_step: int, gain: Tensor) -> ChainState:
        """Chains at their start; ``state_step`` keeps the noise of later steps fresh."""
        if kind == "data":
            images = self.observed.repeat(-(-self.plan.chains // len(self.observed)), 1, 1, 1)
            images = images[: self.plan.chains]
        else:
            shape = (self.plan.chains, self.observed.shape[1], *self.plan.canvas)
            level = LevelModel(
                self.plan.net,
                (),
                self.plan.langevin,
                self.plan.sampler,
                self.plan.boundary,
                spot=self._spot,
            )
            source = NoiseSource(
                derive_seed(self.seed, "start", state_step), self.noise.chains, self.machine.device
            )
            centre = self.centres(state_step, kind == "restart", gain)
            images = fresh_chains(level, shape, source, centre, self.machine.device).images
        return ChainState(images.contiguous(memory_format=torch.channels_last), state_step)

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
        """The likelihood gradient between the observed images and the chains."""
        net = self.plan.net.head(len(weights))
        observed = self.glimpse(chains.step).repeat(self.plan.observed_copies, 1, 1, 1)
        if noise_sd:
            source = NoiseSource(self.seed, range(len(observed)), self.machine.device)
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

    def glimpse(self, step: int) -> Tensor:
        """The observed images or, of ones far larger than the canvas, a window drawn by lot.

        It bounds the cost of an update: a photograph of 12 megapixels costs no more than a
        texture of twice the canvas' side. Windows are drawn from a tiling, so that every part of
        the image counts alike; drawn anywhere, they would seldom see its margins.
        """
        if self.plan.boundary == "bounded":
            return self.observed
        sides = self.observed.shape[-2:]
        size = glimpse_size(self.plan, sides)
        tiles = [-(-n // side) for n, side in zip(sides, size, strict=True)]
        picks = self.noise.integers("glimpse", step, tiles)
        y, x = (
            pick * (n - side) // max(1, count - 1)
            for pick, count, n, side in zip(picks, tiles, sides, size, strict=True)
        )
        return self.observed[..., y : y + size[0], x : x + size[1]]

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

    @property
    def _window(self) -> int:
        """Side of the windows whose contrast is held: what a top unit sees."""
        return self.plan.net.receptive_field

    def contrast(self, chains: ChainState) -> Tensor:
        """Local contrast of the chains over that of the data; a scalar."""
        return local_contrast(chains.images, self._window, self.plan.boundary) / self._contrast

    def reach(self, basis: Tensor) -> Tensor:
        """Spread of ``sigma^2 B``, of B (N, C, H, W), over that of the data; a scalar."""
        return self.plan.langevin.sigma**2 * basis.std() / self.spread_data

    def recentred(self, gain: Tensor, chains: ChainState, strength: float) -> Tensor:
        """The centre's gain after this update; as it was where there is no coarser level."""
        if self._coarser is None or not strength:
            return gain
        factor, window, observed = self._coarser
        reduced = shrink(chains.images, 1 / factor)
        return recentre(gain, local_contrast(reduced, window, "torus") / observed, strength)

    def tempered(self, weights: Weights, params: LearningParams) -> Weights:
        """The weights with their tilt scaled so that fresh chains have the data's contrast.

        The restraint acts on chains of weights that still move, and lets a little excess stand
        against what the gradient adds; this takes it off. Each turn runs fresh chains and answers
        to what they show, later turns less.
        """
        gain, held = torch.ones((), device=self.machine.device), weights
        for turn in range(_TURNS):
            chains = self.start_chains("restart", -1 - (turn + 1) * params.steps, gain)
            basis = self.basis(held, chains.images.shape)
            chains, _ = run_langevin(chains, basis, self.plan.langevin, params.steps, self.noise)
            gain = (gain / self.contrast(chains) ** (1 / (1 + turn / 2))).clamp(*_GAINS)
            held = scale_tilt(weights, gain)
        return held

    def matching_chains(self, model: LevelModel) -> Tensor:
        """Fresh samples of this level as ``model`` has it, for the matching path to start from."""
        params = self.plan.matching
        assert params is not None
        levels = (*self.finished, model)
        images = self._drawn(levels, params.canvas, params.chains, "matching")
        seed = derive_seed(self.seed, "matching", "begin")
        noise = NoiseSource(seed, range(params.chains), self.machine.device)
        return begin_path(images, params.start_noise, noise)

    def match(self, stage: int, chains: Tensor) -> tuple[Stage, Tensor, MatchInfo]:
        """One stage of the matching path: it, the chains after it, what it saw.

        Raises:
            DivergenceError: chains that are not finite.
        """
        params = self.plan.matching
        assert params is not None
        if not math.isfinite(float(chains.sum())):
            raise DivergenceError(
                f"fresh samples of level {self.index + 1} ran away to infinity before matching; "
                "train at a lower rate"
            )
        seed = derive_seed(self.seed, "matching", "path")
        learned, mismatch = learn_stage(params, stage, self.observed, chains, seed)
        chains = push(learned, chains, self.machine.dtype)
        seen, spread = torch.stack([mismatch, chains.std()]).tolist()
        info = MatchInfo(self.index, stage, params.stages, seen, spread, self.spread_data)
        return learned, chains, info

    def positions(self, depth: int) -> list[int]:
        """Units per filter and layer on the observed images."""
        net = self.plan.net.head(depth)
        boundary: Boundary = "bounded" if self.plan.boundary == "bounded" else "valid"
        h, w = self.observed.shape[-2:]
        return [a * b for a, b in net.map_sizes((h, w), boundary)[1:]]
