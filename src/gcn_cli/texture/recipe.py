"""What a recipe says, validated; and what it comes to for the pictures at hand."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from gcn_cli.field.ladder import noise_levels
from gcn_cli.field.network import LayerSpec, NoiseNet
from gcn_cli.texture.place import PLACE

MOST_UPDATES = 10_000_000
MOST_LAYERS = 32
MOST_PARAMETERS = 2**28
"""Of a network, at most: 1 GiB of float32."""


class Part(BaseModel):
    """A part of a recipe: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Noise(Part):
    """Levels of noise, in units of the exemplar's contrast."""

    highest: float = Field(
        default=20.0,
        gt=0,
        le=1000,
        description="level at which the coarsest size starts, contrasts",
    )
    lowest: float = Field(
        default=0.02, ge=1e-4, description="level at which every size ends, contrasts"
    )
    given: float = Field(
        default=0.1,
        ge=0,
        le=1000,
        description="noise on the coarser sample a finer size is given, contrasts",
    )
    finer: float = Field(
        default=1.0, gt=0, le=1000, description="level at which a finer size starts, contrasts"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Noise:
        if not self.lowest < self.finer <= self.highest:
            raise ValueError("levels are ordered: lowest < finer <= highest")
        return self


MOST_REDUCED = 256
"""Times that sides may be reduced, at most: the rule of motifs asks for less of any picture."""


class Sizes(Part):
    """Which sizes of the exemplar are learned: the coarsest is chosen by its motifs."""

    coarsest: int | None = Field(
        default=None,
        ge=1,
        le=MOST_REDUCED,
        description="times the coarsest is reduced, a power of 2; null: by the motifs",
    )

    @model_validator(mode="after")
    def _power(self) -> Sizes:
        if self.coarsest is not None and self.coarsest & (self.coarsest - 1):
            raise ValueError("coarsest is a power of two")
        return self


class Reconstruction(Part):
    """Act one."""

    updates: int = Field(
        default=3000, ge=1, le=MOST_UPDATES, description="updates at the coarsest size"
    )
    finer_updates: int = Field(
        default=1200, ge=1, le=MOST_UPDATES, description="updates at every finer size"
    )
    batch: int = Field(default=1, ge=1, le=256, description="crops an update")
    crop: int = Field(default=128, ge=16, le=4096, description="side of a crop, px")
    margin: int = Field(
        default=24, ge=1, le=2048, description="rim of a crop that does not count, px"
    )
    rate: float = Field(default=8e-3, gt=0, le=10, description="Muon's learning rate at its height")

    @model_validator(mode="after")
    def _inside(self) -> Reconstruction:
        if self.crop <= 2 * self.margin:
            raise ValueError("the margin leaves nothing of the crop")
        return self


class Likelihood(Part):
    """Act two."""

    updates: int = Field(
        default=60, ge=0, le=MOST_UPDATES, description="updates at the coarsest size; 0: none"
    )
    finer_updates: int = Field(
        default=30, ge=0, le=MOST_UPDATES, description="updates at every finer size; 0: none"
    )
    chains: int = Field(default=2, ge=1, le=1024, description="chains an update")
    canvas: int = Field(default=128, ge=16, le=4096, description="side of a chain's torus, px")
    levels: int = Field(
        default=10, ge=1, le=10000, description="noise levels of the chain that an update learns at"
    )
    rate: float = Field(
        default=2e-4, gt=0, le=10, description="Adam's learning rate of all but votes"
    )
    vote_rate: float = Field(
        default=4e-3, gt=0, le=10, description="Adam's learning rate of the votes' weights"
    )


class Sampler(Part):
    """The annealed chain."""

    steps: int = Field(default=30, ge=1, le=10000, description="steps at the coarsest size")
    finer_steps: int = Field(default=8, ge=1, le=10000, description="steps at every finer size")
    langevin: int = Field(
        default=0,
        ge=0,
        le=10000,
        description="Langevin steps at every level of reduced sizes, before the step down",
    )


def check_parameters(count: int) -> None:
    """Raise ValueError where a network has more than `MOST_PARAMETERS`."""
    if count > MOST_PARAMETERS:
        raise ValueError(f"layers: they have {count:,} parameters, of at most {MOST_PARAMETERS:,}")


class Recipe(Part):
    """A whole recipe: one network structure and one pair of acts for every size."""

    layers: tuple[LayerSpec, ...] = Field(
        min_length=1,
        max_length=MOST_LAYERS,
        description="the network, bottom to top, the same at every size",
    )
    noise: Noise = Field(
        default=Noise(), description="levels of noise, in units of the exemplar's contrast"
    )
    place: bool = Field(
        default=False,
        description="whether the field knows where it is: for aligned objects, not textures",
    )
    sizes: Sizes = Field(default=Sizes(), description="reduced copies, learned coarse to fine")
    reconstruction: Reconstruction = Field(
        default=Reconstruction(), description="act one: learn to take noise away"
    )
    likelihood: Likelihood = Field(
        default=Likelihood(), description="act two: maximum likelihood along the chain"
    )
    sampler: Sampler = Field(
        default=Sampler(), description="the annealed chain that draws, highest to lowest level"
    )

    @model_validator(mode="after")
    def _network(self) -> Recipe:
        check_parameters(self.net(3).n_parameters())
        if self.place and (self.sizes.coarsest != 1 or self.likelihood.updates):
            raise ValueError(
                "place is of one size and of reconstruction alone: set sizes.coarsest to 1 and "
                "likelihood.updates to 0"
            )
        return self

    def net(self, channels: int) -> NoiseNet:
        """The network over images of some channels."""
        return NoiseNet(self.layers, channels, given=PLACE if self.place else channels)

    def levels(self, index: int) -> Tensor:
        """The ladder of size ``index``, 0 being the coarsest."""
        start = self.noise.finer if index else self.noise.highest
        steps = self.sampler.finer_steps if index else self.sampler.steps
        return noise_levels(start, self.noise.lowest, steps)
