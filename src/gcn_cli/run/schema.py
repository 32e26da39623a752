"""What a config may say, validated: the part common to all, and one model for each kind.

The recipe of kind ``texture`` is `gcn_cli.texture.recipe.Recipe` itself, with the common keys
beside its own. The models of kind ``field`` are those of the paper's experiments.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gcn_cli.texture.paper.guard import GuardParams
from gcn_cli.texture.recipe import Part, Recipe


class ImagesConfig(Part):
    """What is learned from: ``each`` image a model of its own, or one ``joint`` model.

    ``size`` resizes to a square of that side (images of a joint model must agree);
    ``max_side`` shrinks larger exemplars, 0 leaves them as they are; ``colour`` auto keeps
    greyscale images single-channelled.
    """

    mode: Literal["each", "joint"] = "each"
    size: int | None = Field(default=None, ge=8)
    max_side: int = Field(default=0, ge=0)
    colour: Literal["auto", "grey", "rgb"] = "auto"


class OutputConfig(Part):
    """How often, in updates, a grid of samples and a checkpoint are written.

    Of kind ``texture`` an update of likelihood, which takes long, counts as 25.
    """

    grid_every: int = Field(default=50, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)


class Common(Part):
    """What every kind of config has.

    ``precision`` is what the flag's ``auto`` means for this experiment: the faithful presets ask
    for fp32.
    """

    kind: str
    name: str = "custom"
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    precision: Literal["auto", "fp32", "bf16", "tf32"] = "auto"
    images: ImagesConfig = ImagesConfig()
    output: OutputConfig = OutputConfig()


# ----------------------------------------------------------------------------- kind texture


class TextureConfig(Recipe, Common):
    """The default: a recipe of fields at all noise levels.

    ``budget`` bounds the seconds of learning, 0 is none: all updates are lowered by one factor if
    they would take longer on the machine at hand.
    """

    kind: Literal["texture"] = "texture"
    budget: float = Field(default=0.0, ge=0)


# ------------------------------------------------------------------------------- kind field


class LayerConfig(Part):
    """One convolutional layer; ``size: full`` spans the whole map below it."""

    filters: int = Field(ge=1, le=4096)
    size: int | Literal["full"]
    stride: int = Field(default=1, ge=1)
    padding: int = Field(default=0, ge=0)
    relu: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> LayerConfig:
        if self.size != "full":
            if not 1 <= self.size <= 512:
                raise ValueError("size must lie between 1 and 512 px, or be 'full'")
            if self.stride > self.size:
                raise ValueError(f"stride {self.stride} skips pixels of a {self.size} px filter")
            if self.padding >= self.size:
                raise ValueError(f"padding {self.padding} is not below the filter's {self.size} px")
        return self


class LangevinConfig(Part):
    """``sigma`` and ``eps`` in the config's ``unit``; ``dither`` averages the stride's phases."""

    sigma: float = Field(gt=0)
    eps: float = Field(gt=0)
    dither: bool = False

    @model_validator(mode="after")
    def _stable(self) -> LangevinConfig:
        if self.eps >= 2 * self.sigma:
            raise ValueError(
                f"eps must be below 2 sigma = {2 * self.sigma:g}, else the chain of white noise "
                f"itself explodes; it is {self.eps:g}"
            )
        return self


class AdamConfig(Part):
    """Adam, ascending."""

    name: Literal["adam"] = "adam"
    rate: float = Field(gt=0)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    decay: float = Field(default=0.0, ge=0)


class SgdConfig(Part):
    """The authors' plain gradient ascent."""

    name: Literal["sgd"]
    rate: float = Field(gt=0)
    decay: float = Field(default=1e-4, ge=0)
    bias_factor: float = Field(default=2.0, ge=0)
    cap: float = Field(default=20.0, gt=0)


class InitConfig(Part):
    """Starting weights: N(0, std^2) where ``std`` is given, else He scaling."""

    std: float | None = Field(default=None, gt=0)
    top_gain: float = Field(default=1.0, gt=0)


class LearningConfig(Part):
    """How a field learns; ``data_noise`` in units of sigma.

    ``count`` is the number of chains; those that start at the data are one an image.
    """

    chains: Literal["persistent", "restart", "data"]
    count: int | None = Field(default=None, ge=1, le=4096)
    steps: int = Field(ge=1)
    updates: int = Field(ge=1)
    optimiser: AdamConfig | SgdConfig = Field(discriminator="name")
    fall: float = Field(default=1.0, gt=0, le=1)
    grow: bool = False
    grow_fall: float = Field(default=0.5, gt=0, le=1)
    data_noise: float = Field(default=0.0, ge=0)
    averaging: float = Field(default=0.0, ge=0, lt=1)
    warmup: int = Field(default=0, ge=0)
    observed_copies: int = Field(default=1, ge=1)
    path_every: int = Field(default=0, ge=0)


class SamplingConfig(Part):
    """How fresh chains run; ``start_noise`` in units of sigma."""

    steps: int | None = Field(default=None, ge=1)
    start_noise: float = Field(default=0.0, ge=0)
    polish: int = Field(default=0, ge=0)


class FieldConfig(Common):
    """An experiment of the paper's kind: one field at one noise level, layers perhaps grown.

    ``unit`` says what sigma and eps count: ``grey`` levels, or ``contrast``, the exemplar's
    standard deviation. ``canvas`` is the side of the chains in px (None: the exemplar's own).
    """

    kind: Literal["field"] = "field"
    unit: Literal["grey", "contrast"] = "grey"
    boundary: Literal["torus", "bounded"] = "torus"
    canvas: int | None = Field(default=None, ge=8)
    guard: GuardParams = GuardParams()
    layers: tuple[LayerConfig, ...] = Field(min_length=1)
    langevin: LangevinConfig
    init: InitConfig = InitConfig()
    learning: LearningConfig
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> FieldConfig:
        if any(layer.size == "full" for layer in self.layers[:-1]):
            raise ValueError("only the top layer can be 'full'")
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


Config = FieldConfig | TextureConfig
KINDS: dict[str, type[FieldConfig] | type[TextureConfig]] = {
    "texture": TextureConfig,
    "field": FieldConfig,
}
DEFAULT_KIND = "texture"
