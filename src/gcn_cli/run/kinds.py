"""The kinds of recipes: what learns, packs and draws each. Nothing else asks for the kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from gcn_cli.run import field_packing, texture_packing
from gcn_cli.run.course import Course
from gcn_cli.run.field_course import field_course
from gcn_cli.run.field_sampling import FieldArtist
from gcn_cli.run.jobs import Job
from gcn_cli.run.sampling import Artist
from gcn_cli.run.schema import Config
from gcn_cli.run.texture_course import texture_course
from gcn_cli.run.texture_sampling import TextureArtist


class Packing(Protocol):
    """A module that packs models and states of one kind."""

    def pack_model(self, model: Any, /) -> dict[str, Any]:
        """All of a model but its mean colour."""

    def unpack_model(self, data: dict[str, Any], mean: Tensor, /) -> Any:
        """The inverse; raises whatever a foreign structure leads to."""

    def pack_state(self, state: Any, /) -> dict[str, Any]:
        """All of a state."""

    def unpack_state(self, data: dict[str, Any], model: Any, config: Config, /) -> Any:
        """The inverse; raises whatever a foreign structure leads to."""

    def fingerprint(self, model: Any, /) -> str:
        """Twelve hex digits that name the model's weights."""


@dataclass(frozen=True)
class Kind:
    """All that depends on the kind."""

    course: Callable[[Any, Job], Course]
    packing: Packing
    artist: Callable[[Any], Artist]


KINDS = {
    "texture": Kind(texture_course, texture_packing, TextureArtist),
    "field": Kind(field_course, field_packing, FieldArtist),
}


def open_course(config: Config, job: Job) -> Course:
    """The learning of one job under one config.

    Raises:
        ImageError: images that its network cannot learn from.
        ConfigError: a network that does not fit them.
    """
    return KINDS[config.kind].course(config, job)
