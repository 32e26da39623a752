"""Pictures that are noisy, blurred or small: what is asked of a model, and who draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, cast

from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.errors import ImageError, UsageError
from gcn_cli.images.files import Picture
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.gallery import artist_of, draw
from gcn_cli.run.progress import Progress
from gcn_cli.run.sampling import Artist, Frame, Request, fit_canvas
from gcn_cli.texture.denoise import Denoiser
from gcn_cli.texture.draw import Model, opener
from gcn_cli.texture.observed import Observation, Observing, mirrored

UPSCALES = (1, 2, 4)
_ROUNDED = 1 / math.sqrt(12)  # deviation, grey levels, of the error of rounding to whole ones
_MARGIN, _BLURS = 32, 8  # room around a picture: so many px, or so many deviations of the blur


@dataclass(frozen=True)
class Damage:
    """What was done to a picture: ``obs = K x + noise n``.

    K: a Gaussian blur of deviation ``blur``, px of x, then a bicubic reduction to 1 / ``upscale``
    of the sides; n: white, of deviation ``noise``, grey levels.
    """

    noise: float = 0.0
    blur: float = 0.0
    upscale: int = 1

    def check(self) -> None:
        """Refuse what is no damage.

        Raises:
            UsageError: numbers out of range, or nothing to undo.
        """
        if self.upscale not in UPSCALES:
            raise UsageError(f"--upscale is 2 or 4, not {self.upscale}")
        for name, value in (("noise", self.noise), ("blur", self.blur)):
            if not (math.isfinite(value) and 0 <= value <= 255):
                raise UsageError(f"--{name} lies between 0 and 255, not at {value:g}")
        if not (self.noise or self.blur or self.upscale > 1):
            raise UsageError("say what is to be undone: --noise, --blur or --upscale")

    @property
    def is_noise(self) -> bool:
        """Whether noise is all of it."""
        return not self.blur and self.upscale == 1


class Guided(Artist, Protocol):
    """Who draws with other denoisers than the model's own, too; see `gcn_cli.texture.draw.draw`."""

    def frames(
        self,
        request: Request,
        machine: Machine,
        denoisers: Callable[[int], Denoiser] | None = None,
    ) -> Iterator[Frame]:
        """See `Artist`."""


@dataclass(frozen=True)
class RestoreArtist:
    """Draws what a damaged picture ``levels`` (C, h, w), grey levels, may be of; see `Artist`.

    ``at_once``: steps are from the picture itself, whatever y; of noise alone.
    """

    model: Model
    levels: Tensor
    damage: Damage
    first: Guided
    at_once: bool = False

    @property
    def usual(self) -> tuple[int, int]:
        """Height and width, px, of the restored picture."""
        height, width = (n * self.damage.upscale for n in self.levels.shape[-2:])
        return height, width

    def request(self, seeds: tuple[int, ...]) -> Request:
        """What to draw."""
        height, width = self.usual
        return Request(width, height, seeds)

    def canvas(self, request: Request) -> tuple[int, int]:
        """A torus (H, W) with room around the picture.

        Raises:
            UsageError: sides out of range.
        """
        room = max(_MARGIN, math.ceil(_BLURS * self.damage.blur))
        wide = replace(request, height=request.height + room, width=request.width + room)
        step = math.lcm(self.model.multiple, self.damage.upscale)
        least = self.model.net.receptive_field * self.model.sizes[0].reduction
        return fit_canvas(wide, step, least)

    def batch(self, request: Request, machine: Machine, wanted: int | None) -> int:
        """Chains at once."""
        return self.first.batch(request, machine, wanted)

    def frames(self, request: Request, machine: Machine) -> Iterator[Frame]:
        """The chain of every seed, step by step."""
        height, width = self.canvas(request)
        whole = replace(request, height=height, width=width)
        return self.first.frames(whole, machine, self._denoisers((height, width), machine))

    def _denoisers(self, canvas: tuple[int, int], machine: Machine) -> Callable[[int], Observing]:
        opened, model, damage = opener(self.model, machine), self.model, self.damage
        seen = Observation(
            mirrored(model.in_units(self.levels[None]), _divided(canvas, damage.upscale)),
            max(damage.noise, _ROUNDED) / model.contrast,
            damage.blur,
            damage.upscale,
        )

        def denoiser(index: int) -> Observing:
            here = seen.at(model.sizes[index].reduction).to(machine.device)
            return Observing(opened(index), here, self.at_once)

        return denoiser


def restorer(saved: Checkpoint, picture: Picture, damage: Damage) -> RestoreArtist:
    """Who restores a damaged picture with the model of a checkpoint.

    Raises:
        UsageError: a model that knows no such pictures.
        ImageError: a picture of which a part is unknown.
    """
    if saved.config.kind != "texture" or saved.material or saved.model.place is not None:
        raise UsageError("only models of kind texture, of pictures, restore")
    if picture.known is not None:
        raise ImageError("a part of the picture is transparent; fill it with gcn inpaint first")
    levels, channels = picture.levels, saved.observed.shape[1]
    if len(levels) != channels:
        levels = levels.mean(0, keepdim=True).expand(channels, -1, -1)
    return RestoreArtist(saved.model, levels, damage, cast(Guided, artist_of(saved)))


def best_guess(
    saved: Checkpoint,
    picture: Picture,
    damage: Damage,
    seed: int,
    machine: Machine,
    progress: Progress,
) -> Tensor:
    """An estimate of the mean of the clean picture (C, H, W), grey levels, given the damaged one.

    It is where a chain ends that draws no noise: under a Gaussian field, whose D is linear in y,
    the mean of all chains. Of noise alone a model of one size knows it: D(obs, sigma). A finer size
    does not, for what it is given is no more than a guess.
    """
    model, at_once = saved.model, damage.is_noise and len(saved.model.sizes) == 1
    steps = 1 if at_once else None
    sizes = tuple(replace(size, levels=size.levels[:steps]) for size in model.sizes)
    quick = replace(saved, model=replace(model, sizes=sizes, langevin=0))
    artist = replace(restorer(quick, picture, damage), at_once=at_once)
    request = replace(artist.request((seed,)), temperature=0.0)
    ((_, told),) = draw(artist, request, machine, progress, 1)
    return told


def _divided(canvas: tuple[int, int], factor: int) -> tuple[int, int]:
    return canvas[0] // factor, canvas[1] // factor


__all__ = ["Damage", "RestoreArtist", "best_guess", "restorer"]
