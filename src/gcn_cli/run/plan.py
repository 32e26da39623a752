"""From a validated config and the images at hand to the plan of learning."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from gcn_cli.errors import ConfigError, ImageError
from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.run.jobs import check_contrast
from gcn_cli.run.schema import FieldConfig, LayerConfig
from gcn_cli.texture.paper.model import SamplerParams
from gcn_cli.texture.paper.plan import LearningParams, Plan, StagePlan
from gcn_cli.texture.recipe import check_parameters


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
        sampler=SamplerParams(
            sampling.steps or learning.steps, sampling.start_noise * sigma, sampling.polish
        ),
        chains=learning.count or subject.count,
        canvas=canvas,
        stages=_stages(config),
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
    net = ConvNet(tuple(specs), subject.channels)
    try:
        check_parameters(net.n_parameters())
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return net


def _spec(layer: LayerConfig, size: int) -> LayerSpec:
    return LayerSpec(layer.filters, size, layer.stride, layer.padding, layer.relu)


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


def _stages(config: FieldConfig) -> tuple[StagePlan, ...]:
    learning, whole = config.learning, len(config.layers)
    depths = range(1, whole + 1) if learning.grow else [whole]
    return tuple(
        StagePlan(depth, _slower(learning, learning.grow_fall**added))
        for added, depth in enumerate(depths)
    )


def _slower(learning: LearningParams, factor: float) -> LearningParams:
    rate = learning.optimiser.rate * factor
    return replace(learning, optimiser=replace(learning.optimiser, rate=rate))
