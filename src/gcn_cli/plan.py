"""From a validated config and the images at hand to the core's plan of learning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gcn_cli.config import AdamConfig, Config, InitConfig, LayerConfig, LevelConfig
from gcn_cli.core.dictionary import DictionaryStart
from gcn_cli.core.guard import GuardParams
from gcn_cli.core.langevin import LangevinParams
from gcn_cli.core.learning import AdamParams, LearningParams, SgdParams
from gcn_cli.core.level import LevelPlan, Plan, StagePlan
from gcn_cli.core.matching import MatchingParams
from gcn_cli.core.model import SamplerParams
from gcn_cli.core.network import ConvNet, LayerSpec
from gcn_cli.errors import ConfigError, ImageError

_HURRY = 0.5
"""Pace below which Adam's rate rises as the updates fall: what they move in all stays the same."""
_HASTE = 2.0
"""The most by which the rate rises: presets' own rates are near what learning bears."""


@dataclass(frozen=True)
class Subject:
    """What the plan needs to know of the observed images: their shape and contrast."""

    channels: int
    height: int
    width: int
    contrast: float  # standard deviation after subtracting the mean colour, grey levels

    @staticmethod
    def of(observed: Tensor, mean: Tensor) -> Subject:
        """Read it off images (N, C, H, W) and their mean colour (C, 1, 1)."""
        _, c, h, w = observed.shape
        return Subject(c, h, w, float((observed - mean).std()))


def haste(pace: float) -> float:
    """By how much Adam's rate rises at a pace."""
    return min(_HASTE, max(1.0, _HURRY / pace))


def mean_colour(observed: Tensor) -> Tensor:
    """Mean colour (C, 1, 1) of images (N, C, H, W)."""
    return observed.to(torch.float64).mean((0, 2, 3)).to(torch.float32).view(-1, 1, 1)


def build_plan(config: Config, subject: Subject) -> Plan:
    """The core's plan.

    Coarse levels at which the image would shrink below twice the receptive field are left out: a
    level cannot learn from a handful of windows.

    Raises:
        ImageError: the image is smaller than the finest level's receptive field.
        ConfigError: layers that do not fit the image.
    """
    if subject.contrast < 0.5:
        raise ImageError("the image is a single flat colour; there is no texture to learn")
    unit = subject.contrast if config.unit == "contrast" else 1.0
    levels = _usable(config, subject)
    multiple = math.lcm(*(_multiple(lv, subject) for lv in levels))
    whole = _canvas(config, None, subject, levels, multiple)
    plans = [
        _level(config, lv, subject, unit, _canvas(config, lv, subject, levels, multiple), whole)
        for lv in levels
    ]
    guard = GuardParams(**config.guard.model_dump())
    return Plan(tuple(plans), config.seed, guard)


def minimum_side(config: Config, channels: int = 3) -> int:
    """The smallest image side, px, that the finest level can learn from."""
    layers = [layer for layer in config.levels[-1].layers if layer.size != "full"]
    specs = tuple(_spec(layer, int(layer.size)) for layer in layers)
    return ConvNet(specs, channels).receptive_field if specs else 1


def _usable(config: Config, subject: Subject) -> list[LevelConfig]:
    side = min(subject.height, subject.width)
    need = minimum_side(config, subject.channels)
    if side < need:
        raise ImageError(
            f"the image is {subject.width}x{subject.height} px; the network sees windows of "
            f"{need} px, so both sides must be at least {need} px"
        )
    levels = list(config.levels)
    while len(levels) > 1:
        field = _net(levels[0], subject).receptive_field
        if side / levels[0].reduce >= 2 * field:
            break
        levels.pop(0)
    if len(levels) < len(config.levels):
        levels[0] = _starting_from_noise(config.levels[0], levels[0])
    return levels


def _starting_from_noise(coarsest: LevelConfig, level: LevelConfig) -> LevelConfig:
    """The level as the first of all: free of a ``reach``, begun and run as the config's first one.

    A field whose B is held to mending what it is centred at cannot make images of noise.
    """
    learning, first = level.learning, coarsest.learning
    if not learning.reach:
        return level
    changes: dict[str, object] = {"reach": first.reach}
    changes |= {"steps": max(learning.steps, first.steps)}
    changes |= {"updates": max(learning.updates, first.updates)}
    if isinstance(learning.optimiser, AdamConfig) and isinstance(first.optimiser, AdamConfig):
        share = {"top": first.optimiser.top}
        changes |= {"optimiser": learning.optimiser.model_copy(update=share)}
    start = {"start_spot": coarsest.sampling.start_spot}
    if all(layer.stride == 1 for layer in level.layers):
        start["redraws"] = coarsest.sampling.redraws
    parts = {
        "learning": learning.model_copy(update=changes),
        "sampling": level.sampling.model_copy(update=start),
    }
    return level.model_copy(update=parts)


def _net(level: LevelConfig, subject: Subject) -> ConvNet:
    specs: list[LayerSpec] = []
    for layer in level.layers:
        size = layer.size
        if size == "full":
            maps = (subject.height, subject.width)
            if specs:
                below = ConvNet(tuple(specs), subject.channels)
                maps = below.map_sizes(maps, "bounded")[-1]
            if maps[0] != maps[1]:
                raise ConfigError("a full-map top filter needs square images; set images.size")
            size = maps[0]
        specs.append(_spec(layer, size))
    return ConvNet(tuple(specs), subject.channels)


def _spec(layer: LayerConfig, size: int) -> LayerSpec:
    return LayerSpec(
        layer.filters, size, layer.stride, layer.padding, layer.relu, dilation=layer.dilation
    )


def _canvas(
    config: Config,
    level: LevelConfig | None,
    subject: Subject,
    levels: list[LevelConfig],
    multiple: int,
) -> tuple[int, int]:
    """The chains' size in px of the full size; a torus holds a window of every level."""
    asked = (level and level.canvas) or config.canvas
    sides = (asked,) * 2 if asked else (subject.height, subject.width)
    if config.boundary == "bounded":
        return sides[0], sides[1]
    field = max(_net(lv, subject).receptive_field * lv.reduce for lv in levels)
    least = -(-field // multiple) * multiple
    if asked is not None and asked < least:
        raise ConfigError(f"canvas: the network needs at least {least} px; it is {asked}")
    fitted = [max(least, n // multiple * multiple) for n in sides]
    return fitted[0], fitted[1]


def _dictionary(init: InitConfig) -> DictionaryStart | None:
    return DictionaryStart(init.dictionary.threshold) if init.dictionary else None


def _level(
    config: Config,
    level: LevelConfig,
    subject: Subject,
    unit: float,
    canvas: tuple[int, int],
    whole: tuple[int, int],
) -> LevelPlan:
    """``canvas`` is that of the level's chains, ``whole`` that of its matching path."""
    net = _net(level, subject)
    sigma, eps = level.langevin.sigma * unit, level.langevin.eps * unit
    dither = net.total_stride if level.langevin.dither else 1
    learning, sampling = level.learning, level.sampling
    sampler = SamplerParams(
        sampling.steps or learning.steps,
        sampling.start_noise * sigma,
        sampling.polish,
        sampling.candidates,
        sampling.start_spot,
        sampling.redraws,
    )
    try:
        net.map_sizes((canvas[0] // level.reduce, canvas[1] // level.reduce), config.boundary)
        langevin = LangevinParams(sigma, eps, 1.0, dither, level.langevin.cooling)
    except ValueError as error:
        raise ConfigError(f"this network does not fit a canvas of {canvas}: {error}") from error
    return LevelPlan(
        net=net,
        scale=1 / level.reduce,
        boundary=config.boundary,
        langevin=langevin,
        sampler=sampler,
        chains=learning.count,
        canvas=(canvas[0] // level.reduce, canvas[1] // level.reduce),
        stages=_stages(config, level, sigma),
        observed_copies=learning.observed_copies,
        init_std=level.init.std,
        top_gain=level.init.top_gain,
        dictionary=_dictionary(level.init),
        path_every=learning.path_every,
        pool=learning.pool,
        glimpse=learning.glimpse,
        drafts=math.ceil(sampling.drafts * min(1.0, config.pace)),
        matching=_matching(config, level, subject, sigma, whole),
    )


def _octaves(level: LevelConfig, subject: Subject) -> int:
    """Octaves of the matching path at which the image still shows a handful of windows."""
    if level.matching is None:
        return 0
    side = min(subject.height, subject.width) / level.reduce
    least = 2 * max(level.matching.sizes)
    return max(o for o in range(level.matching.octaves + 1) if o == 0 or side / 2**o >= least)


def _multiple(level: LevelConfig, subject: Subject) -> int:
    """Sides of this level's tori must be multiples of this many px of the full size."""
    halved = 2 ** _octaves(level, subject)
    return math.lcm(_net(level, subject).total_stride, halved) * level.reduce


def _matching(
    config: Config, level: LevelConfig, subject: Subject, sigma: float, whole: tuple[int, int]
) -> MatchingParams | None:
    if level.matching is None:
        return None
    settings = level.matching
    return MatchingParams(
        stages=max(1, round(settings.stages * min(1.0, config.pace))),
        chains=settings.count,
        canvas=(whole[0] // level.reduce, whole[1] // level.reduce),
        filters=settings.filters,
        sizes=_fitting(settings.sizes, level, subject) or (1,),
        pursuit_sizes=_fitting(settings.pursuit_sizes, level, subject),
        detail_sizes=_fitting(settings.detail_sizes, level, subject),
        octaves=_octaves(level, subject),
        spectrum=_spectrum(settings.spectrum, level, subject),
        relaxation=settings.relaxation,
        start_noise=settings.start_noise * sigma,
    )


def _spectrum(kernel: int, level: LevelConfig, subject: Subject) -> int:
    """The spectral kernel where the level's image shows a few dozen windows, else 0."""
    side = min(subject.height, subject.width) / level.reduce
    return kernel if side >= 4 * kernel else 0


def _fitting(sizes: tuple[int, ...], level: LevelConfig, subject: Subject) -> tuple[int, ...]:
    """Filter sizes that the level's image holds; larger ones have no place to look at."""
    side = int(min(subject.height, subject.width) / level.reduce)
    return tuple(size for size in sizes if size <= side)


def _stages(config: Config, level: LevelConfig, sigma: float) -> tuple[StagePlan, ...]:
    depths = range(1, len(level.layers) + 1) if level.learning.grow else [len(level.layers)]
    return tuple(
        StagePlan(depth, _learning(config, level, sigma, level.learning.grow_fall**added))
        for added, depth in enumerate(depths)
    )


def _learning(config: Config, level: LevelConfig, sigma: float, fall: float) -> LearningParams:
    settings = level.learning
    chosen = settings.optimiser
    optimiser: AdamParams | SgdParams
    if isinstance(chosen, AdamConfig):
        rate = chosen.rate * fall * haste(config.pace)
        optimiser = AdamParams(rate, chosen.beta1, chosen.beta2, chosen.decay, chosen.top)
    else:
        optimiser = SgdParams(chosen.rate * fall, chosen.decay, chosen.bias_factor, chosen.cap)
    return LearningParams(
        updates=max(1, round(settings.updates * config.pace)),
        steps=settings.steps,
        chains=settings.chains,
        optimiser=optimiser,
        fall=settings.fall,
        data_noise=settings.data_noise * sigma,
        averaging=settings.averaging,
        warmup=round(settings.warmup * min(1.0, config.pace)),
        restraint=settings.restraint,
        tolerance=settings.tolerance,
        reach=settings.reach,
        recentre=settings.recentre,
    )
