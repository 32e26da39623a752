"""From a validated config and the images at hand to the plan of learning."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from gcn_cli.errors import ConfigError, ImageError
from gcn_cli.field.ascent import AdamParams, SgdParams
from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.run.jobs import check_contrast
from gcn_cli.run.schema import AdamConfig, FieldConfig, LayerConfig, LearningConfig
from gcn_cli.texture.paper.model import SamplerParams
from gcn_cli.texture.paper.plan import LearningParams, Plan, StagePlan
from gcn_cli.texture.recipe import Part


@dataclass(frozen=True)
class Subject:
    """What the plan needs to know of the observed images: their shape and contrast."""

    channels: int
    height: int
    width: int
    contrast: float  # standard deviation after subtracting the mean colour, grey levels
    count: int = 1

    @staticmethod
    def of(observed: Tensor, mean: Tensor) -> Subject:
        """Read it off images (N, C, H, W) and their mean colour (C, 1, 1)."""
        n, c, h, w = observed.shape
        return Subject(c, h, w, float((observed - mean).std()), n)


def build_plan(config: FieldConfig, subject: Subject) -> Plan:
    """The plan of learning.

    Raises:
        ImageError: the image is smaller than the receptive field, or flat.
        ConfigError: layers that do not fit the image.
    """
    check_contrast(subject.contrast)
    _check_side(config, subject)
    net = _net(config, subject)
    canvas = _canvas(config, subject, net)
    unit = subject.contrast if config.unit == "contrast" else 1.0
    sigma, eps = config.langevin.sigma * unit, config.langevin.eps * unit
    dither = net.total_stride if config.langevin.dither else 1
    learning, sampling = config.learning, config.sampling
    try:
        net.map_sizes(canvas, config.boundary)
        langevin = LangevinParams(sigma, eps, 1.0, dither)
    except ValueError as error:
        raise ConfigError(f"this network does not fit a canvas of {canvas}: {error}") from error
    return Plan(
        net=net,
        boundary=config.boundary,
        langevin=langevin,
        sampler=_made(
            SamplerParams,
            sampling,
            steps=sampling.steps or learning.steps,
            start_noise=sampling.start_noise * sigma,
        ),
        chains=learning.count or subject.count,
        canvas=canvas,
        stages=_stages(config, sigma),
        observed_copies=learning.observed_copies,
        init_std=config.init.std,
        top_gain=config.init.top_gain,
        path_every=learning.path_every,
        seed=config.seed,
        guard=config.guard,
    )


def minimum_side(config: FieldConfig, channels: int = 3) -> int:
    """The smallest image side, px, that the network can learn from."""
    layers = [layer for layer in config.layers if layer.size != "full"]
    specs = tuple(_spec(layer, int(layer.size)) for layer in layers)
    return ConvNet(specs, channels).receptive_field if specs else 1


def _check_side(config: FieldConfig, subject: Subject) -> None:
    need = minimum_side(config, subject.channels)
    if min(subject.height, subject.width) < need:
        raise ImageError(
            f"the image is {subject.width}x{subject.height} px; the network sees windows of "
            f"{need} px, so both sides must be at least {need} px"
        )


def _net(config: FieldConfig, subject: Subject) -> ConvNet:
    specs: list[LayerSpec] = []
    for layer in config.layers:
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
    return _made(LayerSpec, layer, size=size)


def _canvas(config: FieldConfig, subject: Subject, net: ConvNet) -> tuple[int, int]:
    """The chains' size (H, W), px; a torus holds a window of the network."""
    sides = (config.canvas,) * 2 if config.canvas else (subject.height, subject.width)
    if config.boundary == "bounded":
        return sides[0], sides[1]
    multiple = net.total_stride
    least = -(-net.receptive_field // multiple) * multiple
    if config.canvas is not None and config.canvas < least:
        raise ConfigError(f"canvas: the network needs at least {least} px; it is {config.canvas}")
    fitted = [max(least, n // multiple * multiple) for n in sides]
    return fitted[0], fitted[1]


def _stages(config: FieldConfig, sigma: float) -> tuple[StagePlan, ...]:
    learning, whole = config.learning, len(config.layers)
    depths = range(1, whole + 1) if learning.grow else [whole]
    return tuple(
        StagePlan(depth, _learning(learning, sigma, learning.grow_fall**added))
        for added, depth in enumerate(depths)
    )


def _learning(settings: LearningConfig, sigma: float, fall: float) -> LearningParams:
    chosen = settings.optimiser
    return _made(
        LearningParams,
        settings,
        optimiser=_made(
            AdamParams if isinstance(chosen, AdamConfig) else SgdParams,
            chosen,
            rate=chosen.rate * fall,
        ),
        data_noise=settings.data_noise * sigma,
    )


_T = TypeVar("_T")


def _made(kind: Callable[..., _T], settings: Part, **changed: Any) -> _T:
    """A value of the core, from the settings that have its names, and what is ``changed``."""
    names = inspect.signature(kind).parameters
    return kind(**{**{k: v for k, v in settings if k in names}, **changed})
