"""How well a model learned, size by size and level by level, and how it takes to another picture.

Three figures judge a level. *Loss of reconstruction* beside that of the Gaussian field with the
exemplar's power spectrum: what the filters explain beyond second moments. *Likelihood gap*
``f_s(exemplar + noise) - f_s(chain)``: 0 where the model's own samples have the exemplar's
statistics. *Energy* of the exemplar among that of the model's own chains: likewise, in deviations.

Beside them, each in a module of its own: the likelihood equations (`certificate`), what units paint
(`units`), long chains (`stay`), descents from a picture (`modes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.errors import ImageError
from gcn_cli.field.network import beside
from gcn_cli.report import measure, modes, stay
from gcn_cli.report.certificate import LevelEquations, Moments, certify
from gcn_cli.report.units import UnitFacts, strongest_units
from gcn_cli.texture.draw import Model, coarse_shape, draw, from_coarse
from gcn_cli.texture.exemplar import given_picture, known_beside
from gcn_cli.texture.known import eroded, window_sums
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
_DESCENT = 96  # px of the middle of a picture, reduced, that descents start from
_UNITS_AT = 0.1  # level, units of contrast, at which units are told, about


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
    """One size: pictures reduced ``reduction`` times, measured in windows of ``window`` px.

    ``usable`` is the share of pixels that count: those around which all that the field sees is
    known.
    """

    reduction: int
    height: int
    width: int
    window: int
    levels: tuple[LevelFacts, ...]
    usable: float = 1.0


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

    A map (1, H, W) is ln of the local loss of reconstruction over the exemplar's, mean of levels; 0
    where nothing is known. ``usable`` is the least share, of all sizes, of pixels that count.
    """

    levels: tuple[ImageLevel, ...]
    verdict: Verdict
    pictures: tuple[Tensor, ...]
    views: tuple[tuple[View, ...], ...]
    maps: tuple[Tensor, ...]
    usable: float = 1.0


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


@dataclass(frozen=True)
class Facts:
    """All of it."""

    sizes: tuple[SizeFacts, ...]
    views: tuple[tuple[View, ...], ...]
    chains: Chains = field(repr=False)
    image: ImageFacts | None = None
    equations: tuple[LevelEquations, ...] = ()
    units: tuple[UnitFacts, ...] = field(default=(), repr=False)
    stay: stay.Stay | None = None
    modes: modes.Modes | None = None


def examine(
    model: Model,
    observed: Tensor,
    machine: Machine,
    settings: Settings,
    image: Tensor | None = None,
    known: Tensor | None = None,
    image_known: Tensor | None = None,
    tell: Callable[[str], None] | None = None,
) -> Facts:
    """Measure a model on what it learned from, (N, C, H, W), and on a picture (C, H, W).

    Both in units of contrast, see `in_units`; of both it may be told which pixels are known. Where
    some are not, likelihood equations, units, long chains and modes are left out. ``tell`` hears
    how long long chains will take.

    Raises:
        ImageError: a picture smaller than the field of view, or too little of which is known.
    """
    wanted = [measure.nearest_levels(size.levels, settings.levels) for size in model.sizes]
    shown = [_part(Shown("the exemplar", observed, known), machine)]
    if image is not None:
        _check(model, image)
        given = None if image_known is None else image_known[None, None]
        shown.append(_part(Shown("the image", image[None], given), machine))
    whole = [one.x if one.known is None else None for one in shown]
    least = min(min(one.x.shape[-2:]) for one in shown)
    side = max(1, min(CANVAS, *shown[0].x.shape[-2:]) // model.multiple) * model.multiple
    kept = [_stay_level(model), *wanted[0]], *wanted[1:]
    chains = run_chains(model, model.place or (side, side), machine, settings, kept)
    sizes, views, looks, equations, units = [], [], [], [], []
    for index, size in enumerate(model.sizes):
        window = measure.window_side(model.net, least // size.reduction, side // size.reduction)
        work = _Size(model, index, machine, settings, wanted[index], window, chains)
        exemplar, *others = work.looked_at(shown)
        facts, seen = work.exemplar(exemplar)
        sizes.append(facts)
        views.append(tuple(look.view for look in seen))
        looks += [work.image(other, facts, seen) for other in others]
        if whole[0] is not None:
            equations += work.equations(whole[0], wanted[index])
            units += work.units(whole[0]) if index in (0, len(model.sizes) - 1) else []
    free = _Size(model, 0, machine, settings, wanted[0], 1, chains)
    return Facts(
        tuple(sizes),
        tuple(views),
        chains,
        _together(looks) if looks else None,
        tuple(equations),
        tuple(units),
        free.stay(whole[0], _stay_level(model), tell) if settings.long else None,
        free.modes(whole[-1]) if image is not None else None,
    )


def _stay_level(model: Model) -> int:
    """Index of the level that long chains stay at, in the coarsest ladder."""
    return _level_near(model.sizes[0].levels, stay.LEVEL)


def _level_near(ladder: Tensor, s: float) -> int:
    return int((ladder.double().log() - math.log(s)).abs().argmin())


def in_units(model: Model, grey: Tensor) -> Tensor:
    """Pictures (N, C, H, W) in grey levels, in the model's colours and units of contrast."""
    channels = model.net.channels
    if grey.shape[1] != channels:
        grey = grey.mean(1, keepdim=True) if channels == 1 else grey.expand(-1, channels, -1, -1)
    return (grey - model.mean.to(grey.device)) / model.contrast


def _part(shown: Shown, machine: Machine) -> Shown:
    """The middle of pictures, `LARGEST` px; where pixels are unknown, where most are known."""
    height, width = (min(n, LARGEST) for n in shown.x.shape[-2:])
    top, left = ((n - m) // 2 for n, m in zip(shown.x.shape[-2:], (height, width), strict=True))
    if shown.known is not None:
        sums = window_sums(shown.known[:, 0].double(), height, width).sum(0)
        top, left = divmod(int(sums.argmax()), sums.shape[1])
    cut = (..., slice(top, top + height), slice(left, left + width))
    known = None if shown.known is None else shown.known[cut].to(machine.device)
    return Shown(shown.name, shown.x[cut].float().to(machine.device), known)


def _middle(x: Tensor, side: int | None = None) -> Tensor:
    side = side or LARGEST
    top, left = (max(0, (n - side) // 2) for n in x.shape[-2:])
    return x[..., top : top + side, left : left + side].float()


def _check(model: Model, image: Tensor) -> None:
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
class _Look:
    """A picture at one level: figures, tilts a draw, and the map (1, H, W) of squared errors."""

    loss: float
    explained: float
    energy: float
    tilts: Tensor
    active: tuple[float, ...]
    map: Tensor
    view: View


@dataclass(frozen=True)
class _Seen:
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


class _Size:
    """One size at work: its field, and its chains cut into windows."""

    def __init__(
        self,
        model: Model,
        index: int,
        machine: Machine,
        settings: Settings,
        wanted: Sequence[int],
        window: int,
        chains: Chains,
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

    def looked_at(self, shown: Sequence[Shown]) -> list[_Seen]:
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

    def _seen(self, shown: Shown) -> _Seen:
        x, given = at_size(shown.x, self.size.reduction), self._given(shown.x)
        if shown.known is None:
            return _Seen(x, given)
        beside_it = self.index > 0 and self.place is None
        known = known_beside(shown.known, self.size.reduction, beside_it)
        return _Seen(x, given, known, eroded(known, self.field.net.reach))

    def _whole(self, seen: _Seen) -> Tensor:
        """Of the windows of pictures, by places, then pictures: whether all of it is known."""
        known = seen.known
        if known is None:
            known = torch.ones_like(seen.x[:, :1], dtype=torch.bool)
        size = (known.shape[-2], known.shape[-1])
        cut = measure.windows(self.field, self._around(known), size, self.window)
        return cut.flatten(1).all(1)

    def exemplar(self, seen: _Seen) -> tuple[SizeFacts, list[_Look]]:
        """What the field knows of the pictures that it learned from."""
        levels = [float(self.size.levels[k]) for k in self.wanted]
        gaussian = measure.gaussian_losses(seen.x, levels, seen.known)
        looks = [self._look(seen, k) for k in self.wanted]
        facts = [
            self._facts(look, k, known)
            for look, k, known in zip(looks, self.wanted, gaussian, strict=True)
        ]
        height, width = seen.x.shape[-2:]
        r, window = self.size.reduction, self.window
        return SizeFacts(r, height, width, window, tuple(facts), seen.usable), looks

    def _facts(self, look: _Look, k: int, gaussian: float) -> LevelFacts:
        s, y = float(self.size.levels[k]), self.chains.states[self.index, k]
        canvas = measure.wrapped(self.field, beside(y, self.chains.given[self.index]))
        f, u = self._windows(canvas, s, y.shape[-2:])
        own = f.reshape(-1, len(y)).mean(0)
        error = math.hypot(measure.standard_error(look.tilts), measure.standard_error(own))
        return LevelFacts(
            s=s,
            loss=look.loss,
            gaussian_loss=gaussian,
            gap=float(look.tilts.mean() - own.mean()),
            gap_error=error,
            energy=look.energy,
            chain_energy=float(u.mean()),
            chain_spread=float(u.std()) if len(u) > 1 else math.nan,
            active=look.active,
        )

    def _windows(self, canvas: Tensor, s: float, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        cut = measure.windows(self.field, canvas, (size[0], size[1]), self.window)
        return measure.tilts_and_energies(self.field, cut, s)

    def _look(self, seen: _Seen, k: int) -> _Look:
        x, s, size = seen.x, float(self.size.levels[k]), (seen.x.shape[-2], seen.x.shape[-1])
        canvas = self._around(x)
        key = 1000 * self.index + k
        y = measure.add_noise(canvas, s, self.settings.seed, key, self.settings.draws)
        given = None
        if seen.given is not None:
            given = self._noisy(self._around(seen.given), key)
        error = measure.error_map(self.field, canvas, y, s, size, given)
        f, u = self._windows(beside(y, given), s, size)
        assert seen.whole is not None
        whole = seen.whole.view(-1, len(x)).repeat(1, self.settings.draws)
        tilts = f.reshape(-1, len(y)).masked_fill(~whole, math.nan).nanmean(0)
        shown = measure.inner(self.field, y[:1], size)[0]
        d = x[0] + error[0] * (s / math.sqrt(1 + s**2))
        first = None if given is None else given[:1]
        known = None if seen.known is None else self._around(seen.known)[:1]
        errors = measure.pixels(error, seen.sure)
        return _Look(
            loss=float(errors.square().mean()),
            explained=_share(_about_mean(errors), measure.white_loss(x, s, seen.known)),
            energy=float(u[whole.flatten()].mean()),
            tilts=tilts[tilts.isfinite()],
            active=measure.active_shares(self.field, y[:1], s, first, known),
            map=error.square().mean((0, 1))[None],
            view=View(s, (shown / math.sqrt(1 + s**2)).cpu(), d.cpu()),
        )

    def _noisy(self, given: Tensor, key: int) -> Tensor:
        """What the field is given (n, C, H, W) under its noise, in ``draws`` draws."""
        clean = given.repeat(self.settings.draws, 1, 1, 1)
        if self.place is not None:  # known for sure
            return clean
        noise = NoiseSource(self.settings.seed, range(len(clean)), clean.device)
        z = noise.normal_(clean.new_empty(coarse_shape(clean.shape)), "given", key)
        return clean + self.given_noise * from_coarse(z, clean.shape)

    def image(self, seen: _Seen, facts: SizeFacts, own: Sequence[_Look]) -> _Image:
        """A picture (1, C, h, w) beside the exemplar's figures."""
        x, counts = seen.x, None if seen.sure is None else seen.sure[0]
        looks = [self._look(seen, k) for k in self.wanted]
        gaussian = measure.gaussian_losses(x, [known.s for known in facts.levels], seen.known)
        levels = tuple(
            ImageLevel(
                reduction=self.size.reduction,
                s=known.s,
                energy=look.energy,
                z=(look.energy - known.chain_energy) / max(known.chain_spread, 1e-12),
                loss=look.loss,
                relative_loss=look.loss / max(known.loss, 1e-12),
                explained=look.explained,
                correlated=_share(loss, measure.white_loss(x, known.s, seen.known)),
            )
            for look, known, loss in zip(looks, facts.levels, gaussian, strict=True)
        )
        width = self.field.net.receptive_field / 4
        logs = [
            (measure.blurred(look.map, width, counts) / max(mine.loss, 1e-12)).clamp_min(1e-6).log()
            for look, mine in zip(looks, own, strict=True)
        ]
        strange = torch.stack(logs).mean(0).cpu() if logs else torch.zeros(1, *x.shape[-2:])
        if counts is not None:
            strange = torch.where(counts.cpu(), strange, 0.0)
        views = tuple(look.view for look in looks)
        return _Image(levels, x[0].cpu(), views, strange, seen.usable)

    def equations(self, observed: Tensor, levels: Sequence[int]) -> list[LevelEquations]:
        """The likelihood equations at levels where they can be had; see `_equations`."""
        told = (self._equations(observed, k) for k in levels)
        return [one for one in told if one is not None]

    def _equations(self, observed: Tensor, k: int) -> LevelEquations | None:
        """The likelihood equations at one level, of pictures (N, C, H, W) of full size."""
        x, given = at_size(observed, self.size.reduction), self._given(observed)
        s, key = float(self.size.levels[k]), 2000 + 1000 * self.index + k
        y = measure.add_noise(x, s, self.settings.seed, key, self.settings.draws)
        known = None if given is None else self._noisy(given, key)
        seen = Moments(y, known, self.place is not None, len(observed))
        made = Moments(self.chains.states[self.index, k], self.chains.given[self.index], True)
        return certify(self.field, self.size.reduction, s, seen, made)

    def units(self, observed: Tensor) -> list[UnitFacts]:
        """The strongest units of this size, on the first picture (N, C, H, W) of full size."""
        x, given = at_size(observed[:1], self.size.reduction), self._given(observed[:1])
        s = float(self.size.levels[_level_near(self.size.levels, _UNITS_AT)])
        return strongest_units(self.field, self.size.reduction, x, s, given)

    def stay(
        self, observed: Tensor | None, k: int, tell: Callable[[str], None] | None = None
    ) -> stay.Stay | None:
        """Long chains at level ``k`` of this size, which is the coarsest."""
        if observed is None:
            return None
        x, y = at_size(observed, self.size.reduction), self.chains.states[self.index, k]
        given = None if self.place is None else place_maps(1, self.place, y.device)
        s, steps = float(self.size.levels[k]), self.settings.long
        reduction, seed = self.size.reduction, self.settings.seed
        return stay.long_chains(self.field, reduction, s, steps, y, x, seed, given, tell)

    def modes(self, picture: Tensor | None) -> modes.Modes | None:
        """Descents from the middle of a picture (1, C, H, W) at this size, the coarsest."""
        if picture is None:
            return None
        x, ladder = at_size(picture, self.size.reduction), self.size.levels
        given = None if self.place is None else place_maps(1, self.place, x.device)
        near = [len(ladder) - 1, *(_level_near(ladder, s) for s in modes.LEVELS)]
        levels = [float(ladder[k]) for k in sorted(set(near), reverse=True)]
        x = x if self.place is not None else _middle(x, _DESCENT)
        return modes.find_modes(
            self.field, self.size.reduction, x, levels, self.settings.seed, given=given
        )


@dataclass(frozen=True)
class _Image:
    levels: tuple[ImageLevel, ...]
    picture: Tensor
    views: tuple[View, ...]
    map: Tensor
    usable: float


def _about_mean(errors: Tensor) -> float:
    """Mean square of errors (C, P) about their mean colours."""
    return float((errors - errors.mean(1, keepdim=True)).square().mean())


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
        min(part.usable for part in parts),
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
