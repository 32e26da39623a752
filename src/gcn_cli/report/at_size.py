"""One size of a model at work: pictures and chains under noise, and what is measured of them.

Figures are of what counts: pixels around which all that the field sees is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.errors import ImageError
from gcn_cli.field.network import beside
from gcn_cli.report import measure
from gcn_cli.texture.draw import Model, coarse_shape, from_coarse
from gcn_cli.texture.exemplar import given_picture, known_beside
from gcn_cli.texture.known import eroded, window_sums
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import at_size

LARGEST = 512
"""Side, px, of the middle of a picture that is measured."""


@dataclass(frozen=True)
class Settings:
    """What is measured: noise levels (None: six a size), chains, draws of noise, their seed.

    ``long``: steps of long chains; 0 runs none.
    """

    levels: tuple[float, ...] | None = None
    chains: int = 4
    draws: int = 4
    seed: int = 0
    long: int = 0


@dataclass(frozen=True)
class View:
    """Pictures of one level: y / sqrt(1 + s^2) and D(y, s), (C, H, W) in units of contrast."""

    s: float
    y: Tensor
    reconstruction: Tensor


@dataclass(frozen=True)
class Shown:
    """Pictures (N, C, H, W) in units of contrast; their known pixels (N, 1, H, W), None: all."""

    name: str
    x: Tensor
    known: Tensor | None = None


@dataclass(frozen=True)
class Chains:
    """The model's own chains: y (N, C, h, w) by (size, index of the level), a strip, the samples.

    ``given``: by size, what its field was given beside y, if anything.

    The strip holds (size, s, y (C, h, w)) of the first chain on its way from noise to texture.
    """

    states: Mapping[tuple[int, int], Tensor]
    given: Mapping[int, Tensor | None]
    strip: tuple[tuple[int, float, Tensor], ...]
    samples: Tensor


def part(shown: Shown, machine: Machine) -> Shown:
    """The middle of pictures, `LARGEST` px; where pixels are unknown, where most are known."""
    height, width = (min(n, LARGEST) for n in shown.x.shape[-2:])
    top, left = ((n - m) // 2 for n, m in zip(shown.x.shape[-2:], (height, width), strict=True))
    if shown.known is not None:
        sums = window_sums(shown.known[:, 0].double(), height, width).sum(0)
        top, left = divmod(int(sums.argmax()), sums.shape[1])
    cut = (..., slice(top, top + height), slice(left, left + width))
    known = None if shown.known is None else shown.known[cut].to(machine.device)
    return Shown(shown.name, shown.x[cut].float().to(machine.device), known)


def middle(x: Tensor, side: int = LARGEST) -> Tensor:
    """The middle of pictures (N, C, H, W), at most so many px a side."""
    top, left = (max(0, (n - side) // 2) for n in x.shape[-2:])
    return x[..., top : top + side, left : left + side].float()


def check_picture(model: Model, image: Tensor) -> None:
    """Refuse a picture (C, H, W) that the model cannot be measured on.

    Raises:
        ImageError: smaller than the field of view; not an object's canvas.
    """
    if model.place is not None and tuple(image.shape[-2:]) != model.place:
        height, width = model.place
        raise ImageError(
            f"the image is {image.shape[-1]}x{image.shape[-2]} px; this model is of objects on "
            f"{width}x{height} px"
        )
    need = model.net.receptive_field * model.sizes[0].reduction
    if min(image.shape[-2:]) < need:
        raise ImageError(
            f"the image is {image.shape[-1]}x{image.shape[-2]} px; this model needs sides of at "
            f"least {need} px"
        )


@dataclass(frozen=True)
class Look:
    """A picture at one level: figures, tilts a draw, and the map (1, H, W) of squared errors."""

    loss: float
    explained: float
    energy: float
    tilts: Tensor
    active: tuple[float, ...]
    map: Tensor
    view: View


@dataclass(frozen=True)
class Seen:
    """Pictures at one size, what its field is given beside them, and which of their pixels count.

    ``known`` (N, 1, h, w): pixels; ``sure``: those around which all is; ``whole`` (K N,): windows.
    """

    x: Tensor
    given: Tensor | None
    known: Tensor | None = None
    sure: Tensor | None = None
    whole: Tensor | None = None

    @property
    def usable(self) -> float:
        """Share of pixels that count."""
        return 1.0 if self.sure is None else float(self.sure.double().mean())


class AtSize:
    """One size at work: its field, and its chains, where there are any, cut into windows."""

    def __init__(
        self,
        model: Model,
        index: int,
        machine: Machine,
        settings: Settings,
        wanted: Sequence[int],
        window: int,
        chains: Chains | None = None,
    ) -> None:
        self.field = measure.open_field(model, index, machine)
        self.size, self.index = model.sizes[index], index
        self.settings, self.wanted, self.window = settings, wanted, window
        self.chains, self.given_noise, self.place = chains, model.given_noise, model.place

    def given(self, picture: Tensor) -> Tensor | None:
        """What the field is given beside a picture (N, C, H, W) of full size."""
        if self.place is not None:
            return place_maps(len(picture), self.place, picture.device)
        return given_picture(picture, self.size.reduction) if self.index else None

    def _around(self, x: Tensor) -> Tensor:
        """A picture (N, C, H, W) with what lies around it: its mirror; of objects the torus."""
        whole = measure.surround if self.place is None else measure.wrapped
        return whole(self.field, x)

    def looked_at(self, shown: Sequence[Shown]) -> list[Seen]:
        """Pictures of full size at this one; windows are made so small that all have whole ones.

        Raises:
            ImageError: too little of one of them is known.
        """
        told, stride = [self._seen(one) for one in shown], self.field.net.total_stride
        while not all(self._whole(one).any() for one in told) and self.window > stride:
            self.window = max(1, self.window // 2 // stride) * stride
        for one, seen in zip(shown, told, strict=True):
            if not seen.usable or not self._whole(seen).any():
                raise ImageError(
                    f"{seen.usable:.1%} of {one.name} can be measured at 1/{self.size.reduction}, "
                    f"pixels with {self.field.net.reach * self.size.reduction} px of known ones "
                    "all around them; that is too little"
                )
        return [replace(one, whole=self._whole(one)) for one in told]

    def _seen(self, shown: Shown) -> Seen:
        x, given = at_size(shown.x, self.size.reduction), self.given(shown.x)
        if shown.known is None:
            return Seen(x, given)
        beside_it = self.index > 0 and self.place is None
        known = known_beside(shown.known, self.size.reduction, beside_it)
        return Seen(x, given, known, eroded(known, self.field.net.reach))

    def _whole(self, seen: Seen) -> Tensor:
        """Of the windows of pictures, by places, then pictures: whether all of it is known."""
        known = seen.known
        if known is None:
            known = torch.ones_like(seen.x[:, :1], dtype=torch.bool)
        size = (known.shape[-2], known.shape[-1])
        cut = measure.windows(self.field, self._around(known), size, self.window)
        return cut.flatten(1).all(1)

    def noisy(self, given: Tensor, key: int) -> Tensor:
        """What the field is given (n, C, H, W) under its noise, in ``draws`` draws."""
        clean = given.repeat(self.settings.draws, 1, 1, 1)
        if self.place is not None:  # known for sure
            return clean
        noise = NoiseSource(self.settings.seed, range(len(clean)), clean.device)
        z = noise.normal_(clean.new_empty(coarse_shape(clean.shape)), "given", key)
        return clean + self.given_noise * from_coarse(z, clean.shape)

    def windows(self, canvas: Tensor, s: float, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tilts and energies, nats per pixel, of the windows of a canvas, at level s."""
        cut = measure.windows(self.field, canvas, (size[0], size[1]), self.window)
        return measure.tilts_and_energies(self.field, cut, s)

    def own(self, k: int) -> tuple[Tensor, Tensor]:
        """Tilts and energies (K, N), nats per pixel, of K windows of the N chains at level k."""
        assert self.chains is not None
        s, y = float(self.size.levels[k]), self.chains.states[self.index, k]
        canvas = measure.wrapped(self.field, beside(y, self.chains.given[self.index]))
        f, u = self.windows(canvas, s, y.shape[-2:])
        return f.reshape(-1, len(y)), u.reshape(-1, len(y))

    def with_noise(self, seen: Seen, k: int) -> tuple[Tensor, Tensor | None]:
        """Pictures and their surround under noise of level k, and what is given beside them."""
        s, key = float(self.size.levels[k]), 1000 * self.index + k
        y = measure.add_noise(self._around(seen.x), s, self.settings.seed, key, self.settings.draws)
        return y, None if seen.given is None else self.noisy(self._around(seen.given), key)

    def look(self, seen: Seen, k: int) -> Look:
        """Pictures at level k; figures are of what counts."""
        x, s, size = seen.x, float(self.size.levels[k]), (seen.x.shape[-2], seen.x.shape[-1])
        y, given = self.with_noise(seen, k)
        error = measure.error_map(self.field, self._around(x), y, s, size, given)
        f, u = self.windows(beside(y, given), s, size)
        assert seen.whole is not None
        whole = seen.whole.view(-1, len(x)).repeat(1, self.settings.draws)
        tilts = f.reshape(-1, len(y)).masked_fill(~whole, math.nan).nanmean(0)
        shown = measure.inner(self.field, y[:1], size)[0]
        d = x[0] + error[0] * (s / math.sqrt(1 + s**2))
        first = None if given is None else given[:1]
        known = None if seen.known is None else self._around(seen.known)[:1]
        errors = measure.pixels(error, seen.sure)
        return Look(
            loss=float(errors.square().mean()),
            explained=share_explained(_about_mean(errors), measure.white_loss(x, s, seen.known)),
            energy=float(u[whole.flatten()].mean()),
            tilts=tilts[tilts.isfinite()],
            active=measure.active_shares(self.field, y[:1], s, first, known),
            map=error.square().mean((0, 1))[None],
            view=View(s, (shown / math.sqrt(1 + s**2)).cpu(), d.cpu()),
        )

    def energies(self, picture: Tensor) -> list[float]:
        """U, nats per pixel, of a picture (1, C, H, W) of full size, at every wanted level."""
        seen, told = self._seen(Shown("the image", picture)), []
        for k in self.wanted:
            canvas = beside(*self.with_noise(seen, k))
            u = self.windows(canvas, float(self.size.levels[k]), seen.x.shape[-2:])[1]
            told.append(float(u.mean()))
        return told

    def errors(self, picture: Tensor) -> list[Tensor]:
        """`measure.error_map` (1, C, h, w) of a picture itself, without noise, at every level."""
        seen, told = self._seen(Shown("the image", picture)), []
        canvas, size = self._around(seen.x), (seen.x.shape[-2], seen.x.shape[-1])
        given = None if seen.given is None else self._around(seen.given)
        for k in self.wanted:
            s = float(self.size.levels[k])
            told.append(measure.error_map(self.field, canvas, canvas, s, size, given))
        return told


def _about_mean(errors: Tensor) -> float:
    """Mean square of errors (C, P) about their mean colours."""
    return float((errors - errors.mean(1, keepdim=True)).square().mean())


def share_explained(left: float, of: float) -> float:
    """What is not left, as a share; all of it where there was nothing to explain."""
    return 1 - left / of if of > 1e-6 else 1.0
