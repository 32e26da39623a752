"""What a config may say, validated: the part common to all, and one model for each kind.

The recipe of kind ``texture`` is `gcn_cli.texture.recipe.Recipe` itself, with the common keys
beside its own. The models of kind ``field`` are those of the paper's experiments.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from gcn_cli.field.convnet import ConvNet, LayerSpec
from gcn_cli.field.langevin import LangevinParams
from gcn_cli.field.network import LayerSpec as VotingLayer
from gcn_cli.texture.paper.guard import GuardParams
from gcn_cli.texture.paper.model import SamplerParams
from gcn_cli.texture.paper.plan import LearningParams
from gcn_cli.texture.recipe import MOST_LAYERS, MOST_UPDATES, Part, Recipe, check_parameters


class ImagesConfig(Part):
    """What is learned from; ``colour`` auto keeps greyscale images single-channelled.

    Images of a joint model must agree in size.
    """

    mode: Literal["each", "joint"] = Field(
        default="each", description="each image a model of its own, or one joint model"
    )
    size: int | None = Field(
        default=None,
        ge=8,
        le=2048,
        description="side of the square the middle is resized to, px; null: as is",
    )
    max_side: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="longest side, px; larger ones are shrunk; 0: any",
    )
    flatten: bool = Field(default=False, description="whether uneven light is evened out")
    role: Literal["colour", "data"] = Field(
        default="colour", description="colour: profiles become sRGB; data: numbers as stored"
    )
    colour: Literal["auto", "grey", "rgb"] = Field(
        default="auto", description="rgb, grey, or auto: grey images stay grey"
    )


class OutputConfig(Part):
    """How often a grid of samples and a checkpoint are written.

    Of kind ``texture`` an update of likelihood, which takes long, counts as 25.
    """

    grid_every: int = Field(
        default=50, ge=1, le=MOST_UPDATES, description="updates between two grids of samples"
    )
    checkpoint_every: int = Field(
        default=100, ge=1, le=MOST_UPDATES, description="updates between two checkpoints"
    )
    tensorboard: bool = Field(
        default=False, description="whether metrics and grids are event files, too"
    )


class Common(Part):
    """What every kind of config has.

    ``precision`` is what the flag's ``auto`` means for this experiment: the faithful presets ask
    for fp32.
    """

    kind: Literal["texture", "field"] = Field(
        default="texture", description="texture: the recipe; field: the paper's experiments"
    )
    name: str = Field(default="custom", max_length=200, description="what the config is called")
    description: str = Field(default="", max_length=2000, description="what it is for, in one line")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of all that is random in learning")
    precision: Literal["auto", "fp32", "bf16", "tf32"] = Field(
        default="auto", description="fp32, bf16, tf32; auto: bf16 where it is fast"
    )
    images: ImagesConfig = Field(default=ImagesConfig(), description="what is learned from")
    output: OutputConfig = Field(
        default=OutputConfig(), description="how often a run writes; likelihood counts 25-fold"
    )


# ----------------------------------------------------------------------------- kind texture


class TextureConfig(Recipe, Common):
    """The default: a recipe of fields at all noise levels.

    Under a ``budget`` all updates are lowered by one factor if they would take longer on the
    machine at hand.
    """

    kind: Literal["texture"] = Field(
        default="texture", description=Common.model_fields["kind"].description
    )
    budget: float = Field(
        default=0.0,
        ge=0,
        le=1e8,
        description="seconds of learning, at most; lowers updates; 0: any",
    )


# ------------------------------------------------------------------------------- kind field


class LayerConfig(Part):
    """A layer of the paper's network, before the images' size is known.

    ``size: full`` spans the whole map below it; `LayerSpec` has that map's size instead.
    """

    filters: int = Field(ge=1, le=4096, description="number of filters")
    size: int | Literal["full"] = Field(
        description="side of a filter, px of the map below; full: all of the map"
    )
    stride: int = Field(
        default=LayerSpec.stride, ge=1, le=512, description="px between neighbouring units"
    )
    padding: int = Field(
        default=LayerSpec.padding,
        ge=0,
        le=512,
        description="zeros on each side of a bounded map, px",
    )
    relu: bool = Field(default=LayerSpec.relu, description="whether negative responses become 0")

    @model_validator(mode="after")
    def _fits(self) -> LayerConfig:
        if self.size != "full":
            if not 1 <= self.size <= 512:
                raise ValueError("size must lie between 1 and 512 px, or be 'full'")
            LayerSpec(**self.model_dump())
        return self


class LangevinConfig(Part):
    """``sigma`` and ``eps`` in the config's ``unit``; ``dither`` averages the stride's phases.

    `LangevinParams` has them in grey levels, once the images' contrast and the strides are known.
    """

    sigma: float = Field(
        ge=1e-4, le=1e6, description="deviation of the reference, in the config's unit"
    )
    eps: float = Field(
        ge=1e-6, le=1e6, description="size of a step, in the config's unit; below 2 sigma"
    )
    dither: bool = Field(
        default=False, description="whether each step takes a random phase of the strides"
    )

    @model_validator(mode="after")
    def _stable(self) -> LangevinConfig:
        LangevinParams(self.sigma, self.eps)
        return self


class InitConfig(Part):
    """Starting weights."""

    std: float | None = Field(
        default=None, gt=0, le=1e3, description="deviation of starting weights; null: He's scaling"
    )
    top_gain: float = Field(
        default=1.0, gt=0, le=1e3, description="factor on the top layer's starting weights"
    )


class SamplingConfig(Part):
    """How fresh chains run; `SamplerParams` has ``start_noise`` in grey levels instead."""

    steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Langevin steps of a fresh chain; null: learning.steps",
    )
    start_noise: float = Field(
        default=SamplerParams.start_noise,
        ge=0,
        le=1000,
        description="noise it starts at, in sigmas",
    )
    polish: int = Field(
        default=SamplerParams.polish,
        ge=0,
        le=1_000_000,
        description="steps without noise at the end",
    )


class FieldConfig(Common):
    """An experiment of the paper's kind: one field at one noise level, layers perhaps grown."""

    kind: Literal["field"] = Field(
        default="field", description=Common.model_fields["kind"].description
    )
    unit: Literal["grey", "contrast"] = Field(
        default="grey", description="of sigma, eps: grey levels, or the exemplar's contrast"
    )
    boundary: Literal["torus", "bounded"] = Field(
        default="torus", description="torus: sides meet; bounded: zeros lie beyond"
    )
    canvas: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="side of the chains, px; null: the exemplar's own sides",
    )
    guard: GuardParams = Field(default=GuardParams(), description="when learning has diverged")
    layers: tuple[LayerConfig, ...] = Field(
        min_length=1, max_length=MOST_LAYERS, description="the network, bottom to top"
    )
    langevin: LangevinConfig = Field(description="the dynamics of the chains")
    init: InitConfig = Field(default=InitConfig(), description="where weights start")
    learning: LearningParams = Field(description="how weights are learned")
    sampling: SamplingConfig = Field(default=SamplingConfig(), description="how fresh chains run")

    @model_validator(mode="after")
    def _consistent(self) -> FieldConfig:
        if any(layer.size == "full" for layer in self.layers[:-1]):
            raise ValueError("only the top layer can be 'full'")
        specs = [LayerSpec(**layer.model_dump()) for layer in self.layers if layer.size != "full"]
        if specs:
            check_parameters(ConvNet(tuple(specs)).n_parameters())
        if self.boundary == "torus" and any(layer.padding for layer in self.layers):
            raise ValueError("padding has no meaning on a torus; set it to 0")
        if self.boundary == "torus" and self.learning.chains == "data":
            raise ValueError("chains that start at the data need boundary: bounded")
        at_data, count = self.learning.chains == "data", self.learning.count
        if at_data and count is not None:
            raise ValueError("chains that start at the data are one an image; leave out count")
        if not at_data and count is None:
            raise ValueError(f"learning.count: how many {self.learning.chains} chains?")
        return self


# --------------------------------------------------------------------------- checkpoints

_STRICT = ConfigDict(strict=True)


class StoredLayer(LayerConfig):
    """A layer of the paper's network in a checkpoint: ``size`` is known there."""

    model_config = _STRICT

    size: int = Field(ge=1, le=4096)


class StoredLangevin(Part):
    """`LangevinParams` in a checkpoint, in grey levels."""

    model_config = _STRICT

    sigma: float = Field(ge=1e-4, le=1e9)
    eps: float = Field(ge=1e-6, le=1e9)
    temperature: float = Field(ge=0, le=100)
    dither: int = Field(ge=1, le=4096)


class StoredSampler(Part):
    """`SamplerParams` in a checkpoint, in grey levels."""

    model_config = _STRICT

    steps: int = Field(ge=1, le=1_000_000)
    start_noise: float = Field(ge=0, le=1e9)
    polish: int = Field(ge=0, le=1_000_000)


_Stored = TypeVar("_Stored", bound=Part)
_VOTING_LAYER = TypeAdapter(VotingLayer)


def stored(model: type[_Stored], data: Any) -> _Stored:
    """A part of a checkpoint, held to the types and bounds of its model.

    Raises:
        ValueError: in words, what does not fit.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ValueError(_told(error)) from error


def stored_voting_layer(data: Any) -> VotingLayer:
    """A layer of kind ``texture`` in a checkpoint, held to the bounds of a config.

    Raises:
        ValueError: in words, what does not fit.
    """
    if not isinstance(data, dict) or not all(type(v) in (int, bool) for v in data.values()):
        raise ValueError("a layer is out of range: its values are whole numbers")
    try:
        return _VOTING_LAYER.validate_python(data)
    except ValidationError as error:
        raise ValueError(_told(error)) from error


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "a setting"
    return f"{name} is out of range: {first['msg'].removeprefix('Value error, ')}"


Config = FieldConfig | TextureConfig
KINDS: dict[str, type[FieldConfig] | type[TextureConfig]] = {
    "texture": TextureConfig,
    "field": FieldConfig,
}
DEFAULT_KIND = "texture"
