"""How well a model learned, size by size and level by level, and how it takes to another picture.

Three figures judge a level. *Loss of reconstruction* beside that of the Gaussian field with the
exemplar's power spectrum: what the filters explain beyond second moments. *Likelihood gap*
``f_s(exemplar + noise) - f_s(chain)``: 0 where the model's own samples have the exemplar's
statistics. *Energy* of the exemplar among that of the model's own chains: likewise, in deviations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.errors import ImageError
from gcn_cli.field.network import beside
from gcn_cli.report import measure
from gcn_cli.texture.draw import Model, coarse_shape, draw, from_coarse
from gcn_cli.texture.exemplar import given_picture
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import at_size

ALIKE = 1.4
"""Losses of reconstruction within this factor of the exemplar's, at every level, are its own.

Other parts of a photograph of stones came to 1.28, five other textures to 1.8 and more.
"""
EXPLAINED = 0.1
"""Share of a picture's variance below which the field counts as explaining nothing of it."""
LARGEST = 512
"""Side, px, of the middle of a picture that is measured."""
CANVAS = 192
"""Side, px, of the chains' torus at full size, at most."""


@dataclass(frozen=True)
class Settings:
    """What is measured: noise levels (None: six a size), chains, draws of noise, their seed."""

    levels: tuple[float, ...] | None = None
    chains: int = 4
    draws: int = 4
    seed: int = 0


@dataclass(frozen=True)
class LevelFacts:
    """One level ``s``: losses of reconstruction, and per pixel, in nats, gap and energies."""

    s: float
    loss: float
    gaussian_loss: float
    gap: float
    gap_error: float
    energy: float
    chain_energy: float
    chain_spread: float
    active: tuple[float, ...]

    @property
    def z(self) -> float:
        """The exemplar's energy in deviations of the chains' windows."""
        return (self.energy - self.chain_energy) / max(self.chain_spread, 1e-12)


@dataclass(frozen=True)
class SizeFacts:
    """One size: pictures reduced ``reduction`` times, measured in windows of ``window`` px."""

    reduction: int
    height: int
    width: int
    window: int
    levels: tuple[LevelFacts, ...]


@dataclass(frozen=True)
class ImageLevel:
    """A picture at one level of one size, beside the exemplar and the model's own chains.

    Of the error that white noise of the picture's variance would leave, ``explained`` is the share
    that D does not leave, mean colours aside, and ``correlated`` that which the Gaussian field of
    the picture's own spectrum does not leave.
    """

    reduction: int
    s: float
    energy: float
    z: float
    loss: float
    relative_loss: float
    explained: float
    correlated: float


@dataclass(frozen=True)
class Verdict:
    """``kind``: exemplar, foreign or noise; and the sentence that says why."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class View:
    """Pictures of one level: y / sqrt(1 + s^2) and D(y, s), (C, H, W) in units of contrast."""

    s: float
    y: Tensor
    reconstruction: Tensor


@dataclass(frozen=True)
class ImageFacts:
    """A picture measured: per size itself (C, H, W), its views, and the map of its strangeness.

    A map (1, H, W) is ln of the local loss of reconstruction over the exemplar's, mean of levels.
    """

    levels: tuple[ImageLevel, ...]
    verdict: Verdict
    pictures: tuple[Tensor, ...]
    views: tuple[tuple[View, ...], ...]
    maps: tuple[Tensor, ...]


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


@dataclass(frozen=True)
class Facts:
    """All of it."""

    sizes: tuple[SizeFacts, ...]
    views: tuple[tuple[View, ...], ...]
    chains: Chains = field(repr=False)
    image: ImageFacts | None = None


def examine(
    model: Model,
    observed: Tensor,
    machine: Machine,
    settings: Settings,
    image: Tensor | None = None,
) -> Facts:
    """Measure a model on what it learned from, (N, C, H, W), and on a picture (C, H, W).

    Both in units of contrast, see `in_units`.

    Raises:
        ImageError: a picture smaller than the field of view.
    """
    wanted = [measure.nearest_levels(size.levels, settings.levels) for size in model.sizes]
    observed = middle(observed).to(machine.device)
    if image is not None:
        check_picture(model, image)
        image = middle(image[None]).to(machine.device)
    least = min(min(t.shape[-2:]) for t in (observed, image) if t is not None)
    side = max(1, min(CANVAS, *observed.shape[-2:]) // model.multiple) * model.multiple
    chains = run_chains(model, model.place or (side, side), machine, settings, wanted)
    sizes, views, looks = [], [], []
    for index, size in enumerate(model.sizes):
        window = measure.window_side(model.net, least // size.reduction, side // size.reduction)
        work = AtSize(model, index, machine, settings, wanted[index], window, chains)
        facts, seen = work.exemplar(observed)
        sizes.append(facts)
        views.append(tuple(look.view for look in seen))
        if image is not None:
            looks.append(work.image(image, facts, seen))
    return Facts(tuple(sizes), tuple(views), chains, _together(looks) if looks else None)


def in_units(model: Model, grey: Tensor) -> Tensor:
    """Pictures (N, C, H, W) in grey levels, in the model's colours and units of contrast."""
    channels = model.net.channels
    if grey.shape[1] != channels:
        grey = grey.mean(1, keepdim=True) if channels == 1 else grey.expand(-1, channels, -1, -1)
    return (grey - model.mean.to(grey.device)) / model.contrast


def middle(x: Tensor) -> Tensor:
    """The middle of pictures (N, C, H, W), `LARGEST` px a side at most."""
    top, left = (max(0, (n - LARGEST) // 2) for n in x.shape[-2:])
    return x[..., top : top + LARGEST, left : left + LARGEST].float()


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


# -------------------------------------------------------------------- the model's own chains


def run_chains(
    model: Model,
    canvas: tuple[int, int],
    machine: Machine,
    settings: Settings,
    wanted: Sequence[Sequence[int]],
) -> Chains:
    """Chains on a torus (H, W), px of full size, kept where they stand at wanted levels."""
    noise = NoiseSource(settings.seed, range(settings.chains), machine.device)
    states, given, strip, count, last = {}, {}, [], 0, None
    shown = {round(k * model.total_steps / 7) for k in range(8)}
    for step in draw(model, canvas, noise, machine, window=max(canvas)):
        if step.index in wanted[step.size]:
            states[step.size, step.index] = step.y.clone()
            given[step.size] = step.given
        if step.s and count in shown:
            strip.append((step.size, step.s, step.y[0].cpu()))
        count += step.s > 0
        last = step
    assert last is not None
    strip.append((last.size, 0.0, last.y[0].cpu()))
    return Chains(states, given, tuple(strip), last.y)


# ------------------------------------------------------------------------- one size's levels


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

    def _given(self, picture: Tensor) -> Tensor | None:
        """What the field is given beside a picture (N, C, H, W) of full size."""
        if self.place is not None:
            return place_maps(len(picture), self.place, picture.device)
        return given_picture(picture, self.size.reduction) if self.index else None

    def _around(self, x: Tensor) -> Tensor:
        """A picture (N, C, H, W) with what lies around it: its mirror; of objects the torus."""
        whole = measure.surround if self.place is None else measure.wrapped
        return whole(self.field, x)

    def exemplar(self, observed: Tensor) -> tuple[SizeFacts, list[Look]]:
        """What the field knows of (N, C, H, W), of full size, that it learned from."""
        x = at_size(observed, self.size.reduction)
        levels = [float(self.size.levels[k]) for k in self.wanted]
        gaussian = measure.gaussian_losses(x, levels)
        looks = self.looks(observed)
        facts = [
            self._facts(look, k, known)
            for look, k, known in zip(looks, self.wanted, gaussian, strict=True)
        ]
        height, width = x.shape[-2:]
        return SizeFacts(self.size.reduction, height, width, self.window, tuple(facts)), looks

    def looks(self, picture: Tensor) -> list[Look]:
        """A picture (N, C, H, W) of full size at every wanted level."""
        x, given = at_size(picture, self.size.reduction), self._given(picture)
        return [self._look(x, given, k) for k in self.wanted]

    def _facts(self, look: Look, k: int, gaussian: float) -> LevelFacts:
        s = float(self.size.levels[k])
        f, u = self.own(k)
        own = f.mean(0)
        error = math.hypot(measure.standard_error(look.tilts), measure.standard_error(own))
        return LevelFacts(
            s=s,
            loss=look.loss,
            gaussian_loss=gaussian,
            gap=float(look.tilts.mean() - own.mean()),
            gap_error=error,
            energy=look.energy,
            chain_energy=float(u.mean()),
            chain_spread=float(u.std()) if u.numel() > 1 else math.nan,
            active=look.active,
        )

    def own(self, k: int) -> tuple[Tensor, Tensor]:
        """Tilts and energies (K, N), nats per pixel, of K windows of the N chains at level k."""
        assert self.chains is not None
        s, y = float(self.size.levels[k]), self.chains.states[self.index, k]
        canvas = measure.wrapped(self.field, beside(y, self.chains.given[self.index]))
        f, u = self._windows(canvas, s, y.shape[-2:])
        return f.reshape(-1, len(y)), u.reshape(-1, len(y))

    def _windows(self, canvas: Tensor, s: float, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        cut = measure.windows(self.field, canvas, (size[0], size[1]), self.window)
        return measure.tilts_and_energies(self.field, cut, s)

    def _look(self, x: Tensor, given: Tensor | None, k: int) -> Look:
        s, size = float(self.size.levels[k]), (x.shape[-2], x.shape[-1])
        y, known = self._with_noise(x, given, k)
        error = measure.error_map(self.field, self._around(x), y, s, size, known)
        f, u = self._windows(beside(y, known), s, size)
        shown = measure.inner(self.field, y[:1], size)[0]
        d = x[0] + error[0] * (s / math.sqrt(1 + s**2))
        return Look(
            loss=float(error.square().mean()),
            explained=_share(_about_mean(error), measure.white_loss(x, s)),
            energy=float(u.mean()),
            tilts=f.reshape(-1, len(y)).mean(0),
            active=measure.active_shares(
                self.field, y[:1], s, None if known is None else known[:1]
            ),
            map=error.square().mean((0, 1))[None],
            view=View(s, (shown / math.sqrt(1 + s**2)).cpu(), d.cpu()),
        )

    def _with_noise(self, x: Tensor, given: Tensor | None, k: int) -> tuple[Tensor, Tensor | None]:
        """A picture and its surround under noise of level k, and what is given beside it."""
        s, key = float(self.size.levels[k]), 1000 * self.index + k
        y = measure.add_noise(self._around(x), s, self.settings.seed, key, self.settings.draws)
        return y, None if given is None else self._noisy(self._around(given), key)

    def energies(self, picture: Tensor) -> list[float]:
        """U, nats per pixel, of a picture (1, C, H, W) of full size, at every wanted level."""
        x, given = at_size(picture, self.size.reduction), self._given(picture)
        told = []
        for k in self.wanted:
            canvas = beside(*self._with_noise(x, given, k))
            u = self._windows(canvas, float(self.size.levels[k]), x.shape[-2:])[1]
            told.append(float(u.mean()))
        return told

    def error_maps(self, picture: Tensor) -> list[Tensor]:
        """Mean squares (1, h, w) of `measure.error_map` of a picture, at every wanted level."""
        x, given = at_size(picture, self.size.reduction), self._given(picture)
        canvas, size, told = self._around(x), (x.shape[-2], x.shape[-1]), []
        for k in self.wanted:
            y, known = self._with_noise(x, given, k)
            s = float(self.size.levels[k])
            error = measure.error_map(self.field, canvas, y, s, size, known)
            told.append(error.square().mean((0, 1))[None])
        return told

    def _noisy(self, given: Tensor, key: int) -> Tensor:
        """What the field is given (n, C, H, W) under its noise, in ``draws`` draws."""
        clean = given.repeat(self.settings.draws, 1, 1, 1)
        if self.place is not None:  # known for sure
            return clean
        noise = NoiseSource(self.settings.seed, range(len(clean)), clean.device)
        z = noise.normal_(clean.new_empty(coarse_shape(clean.shape)), "given", key)
        return clean + self.given_noise * from_coarse(z, clean.shape)

    def image(self, picture: Tensor, facts: SizeFacts, own: Sequence[Look]) -> _Image:
        """A picture (1, C, H, W) of full size beside the exemplar's figures."""
        x, looks = at_size(picture, self.size.reduction), self.looks(picture)
        gaussian = measure.gaussian_losses(x, [known.s for known in facts.levels])
        levels = tuple(
            ImageLevel(
                reduction=self.size.reduction,
                s=known.s,
                energy=look.energy,
                z=(look.energy - known.chain_energy) / max(known.chain_spread, 1e-12),
                loss=look.loss,
                relative_loss=look.loss / max(known.loss, 1e-12),
                explained=look.explained,
                correlated=_share(loss, measure.white_loss(x, known.s)),
            )
            for look, known, loss in zip(looks, facts.levels, gaussian, strict=True)
        )
        width = self.field.net.receptive_field / 4
        logs = [
            (measure.blurred(look.map, width) / max(mine.loss, 1e-12)).clamp_min(1e-6).log()
            for look, mine in zip(looks, own, strict=True)
        ]
        strange = torch.stack(logs).mean(0).cpu() if logs else torch.zeros(1, *x.shape[-2:])
        return _Image(levels, x[0].cpu(), tuple(look.view for look in looks), strange)


@dataclass(frozen=True)
class _Image:
    levels: tuple[ImageLevel, ...]
    picture: Tensor
    views: tuple[View, ...]
    map: Tensor


def _about_mean(error: Tensor) -> float:
    """Mean square of errors (N, C, H, W) about their mean colours."""
    return float((error - error.mean((0, 2, 3), keepdim=True)).square().mean())


def _share(left: float, of: float) -> float:
    """What is not left, as a share; all of it where there was nothing to explain."""
    return 1 - left / of if of > 1e-6 else 1.0


def _together(parts: Sequence[_Image]) -> ImageFacts:
    levels = tuple(level for part in parts for level in part.levels)
    return ImageFacts(
        levels,
        judge(levels),
        tuple(part.picture for part in parts),
        tuple(part.views for part in parts),
        tuple(part.map for part in parts),
    )


# ------------------------------------------------------------------------------- the verdict


def judge(levels: Sequence[ImageLevel]) -> Verdict:
    """Tell the exemplar's texture, a foreign one and noise apart.

    Noise: at no level of the finest size, where the pixels are the picture's own, does the field or
    the picture's own spectrum explain more than `EXPLAINED` of it. The exemplar's: at every level
    it is reconstructed within a factor `ALIKE` as well as the exemplar. Foreign: anything else. Too
    good a reconstruction is foreign too: something smoother. The energy's z is told, but does not
    decide: it judges the chains as well.
    """
    if not levels:
        return Verdict("unknown", "no level was measured")
    worst = max(levels, key=lambda level: abs(math.log(max(level.relative_loss, 1e-12))))
    finest = min(level.reduction for level in levels)
    best = max(max(k.explained, k.correlated) for k in levels if k.reduction == finest)
    typical = float(torch.tensor([abs(level.z) for level in levels]).median())
    told = (
        f"worst level s = {worst.s:.3g} at 1/{worst.reduction}: reconstruction loss "
        f"{worst.relative_loss:.2f} times the exemplar's; median |z| of the energy {typical:.1f}"
    )
    if best <= EXPLAINED:
        told = f"at most {max(0.0, 100 * best):.0f} % of it is explained at any level; {told}"
        return Verdict("noise", f"noise: {told}")
    if 1 / ALIKE <= worst.relative_loss <= ALIKE:
        return Verdict("exemplar", f"like the exemplar: {told}")
    return Verdict("foreign", f"foreign: {told}")


def steps_of(facts: Facts) -> Iterator[tuple[SizeFacts, LevelFacts]]:
    """Every measured level with its size, coarse to fine, high to low."""
    for size in facts.sizes:
        for level in size.levels:
            yield size, level
