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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource
from gcn_cli.report import density, measure, modes, stay
from gcn_cli.report.at_size import (
    AtSize,
    Chains,
    Look,
    Seen,
    Settings,
    Shown,
    View,
    check_picture,
    part,
    share_explained,
)
from gcn_cli.report.certificate import LevelEquations
from gcn_cli.report.units import UnitFacts
from gcn_cli.texture.draw import Model, SizeModel, draw

ALIKE = 1.4
"""Losses of reconstruction within this factor of the exemplar's, at every level, are its own.

Other parts of a photograph of stones came to 1.28, five other textures to 1.8 and more.
"""
EXPLAINED = 0.1
"""Share of a picture's variance below which the field counts as explaining nothing of it."""
CANVAS = 192
"""Side, px, of the chains' torus at full size, at most."""


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
class Facts:
    """All of it."""

    sizes: tuple[SizeFacts, ...]
    views: tuple[tuple[View, ...], ...]
    chains: Chains = field(repr=False)
    image: ImageFacts | None = None
    equations: tuple[LevelEquations, ...] = ()
    units: tuple[UnitFacts, ...] = field(default=(), repr=False)
    stays: tuple[stay.Stay, ...] = ()
    modes: tuple[modes.Modes, ...] = ()


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

    Both in units of contrast, see `Model.in_units`; of both it may be told which pixels are known.
    Where some are not, likelihood equations, units, long chains and modes are left out. ``tell``
    hears how long long chains will take.

    Raises:
        ImageError: a picture smaller than the field of view, or too little of which is known.
    """
    wanted = [measure.nearest_levels(size.levels, settings.levels) for size in model.sizes]
    shown = [part(Shown("the exemplar", observed, known), machine)]
    if image is not None:
        check_picture(model, image)
        given = None if image_known is None else image_known[None, None]
        shown.append(part(Shown("the image", image[None], given), machine))
    whole = [one.x if one.known is None else None for one in shown]
    least = min(min(one.x.shape[-2:]) for one in shown)
    side = max(1, min(CANVAS, *shown[0].x.shape[-2:]) // model.multiple) * model.multiple
    kept = [[_stay_level(size), *found] for size, found in zip(model.sizes, wanted, strict=True)]
    chains = run_chains(model, model.place or (side, side), machine, settings, kept)
    sizes, views, looks, equations, units, stays, ends = [], [], [], [], [], [], []
    for index, size in enumerate(model.sizes):
        window = measure.window_side(model.net, least // size.reduction, side // size.reduction)
        work = AtSize(model, index, machine, settings, wanted[index], window, chains)
        exemplar, *others = work.looked_at(shown)
        facts, seen = of_exemplar(work, exemplar)
        sizes.append(facts)
        views.append(tuple(look.view for look in seen))
        looks += [of_image(work, other, facts, seen) for other in others]
        if whole[0] is not None:
            equations += density.equations(work, whole[0], wanted[index])
            units += density.units(work, whole[0]) if index in (0, len(model.sizes) - 1) else []
        if settings.long:
            stays.append(density.long_chains(work, whole[0], _stay_level(size), tell))
        ends.append(density.find_modes(work, whole[1] if image is not None else None))
    return Facts(
        tuple(sizes),
        tuple(views),
        chains,
        _together(looks) if looks else None,
        tuple(equations),
        tuple(units),
        tuple(one for one in stays if one is not None),
        tuple(one for one in ends if one is not None),
    )


def _stay_level(size: SizeModel) -> int:
    """Index of the level that long chains stay at, in the ladder of a size."""
    return density.level_near(size.levels, stay.LEVEL)


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


def of_exemplar(work: AtSize, seen: Seen) -> tuple[SizeFacts, list[Look]]:
    """What the field knows of the pictures that it learned from."""
    levels = [float(work.size.levels[k]) for k in work.wanted]
    gaussian = measure.gaussian_losses(seen.x, levels, seen.known)
    looks = [work.look(seen, k) for k in work.wanted]
    facts = [
        _level(work, look, k, known)
        for look, k, known in zip(looks, work.wanted, gaussian, strict=True)
    ]
    height, width = seen.x.shape[-2:]
    r, window = work.size.reduction, work.window
    return SizeFacts(r, height, width, window, tuple(facts), seen.usable), looks


def _level(work: AtSize, look: Look, k: int, gaussian: float) -> LevelFacts:
    f, u = work.own(k)
    own = f.mean(0)
    error = math.hypot(measure.standard_error(look.tilts), measure.standard_error(own))
    return LevelFacts(
        s=float(work.size.levels[k]),
        loss=look.loss,
        gaussian_loss=gaussian,
        gap=float(look.tilts.mean() - own.mean()),
        gap_error=error,
        energy=look.energy,
        chain_energy=float(u.mean()),
        chain_spread=float(u.std()) if u.numel() > 1 else math.nan,
        active=look.active,
    )


def of_image(work: AtSize, seen: Seen, facts: SizeFacts, own: Sequence[Look]) -> _Image:
    """A picture (1, C, h, w) beside the exemplar's figures."""
    x, counts = seen.x, None if seen.sure is None else seen.sure[0]
    looks = [work.look(seen, k) for k in work.wanted]
    gaussian = measure.gaussian_losses(x, [known.s for known in facts.levels], seen.known)
    levels = tuple(
        ImageLevel(
            reduction=work.size.reduction,
            s=known.s,
            energy=look.energy,
            z=(look.energy - known.chain_energy) / max(known.chain_spread, 1e-12),
            loss=look.loss,
            relative_loss=look.loss / max(known.loss, 1e-12),
            explained=look.explained,
            correlated=share_explained(loss, measure.white_loss(x, known.s, seen.known)),
        )
        for look, known, loss in zip(looks, facts.levels, gaussian, strict=True)
    )
    width = work.field.net.receptive_field / 4
    logs = [
        (measure.blurred(look.map, width, counts) / max(mine.loss, 1e-12)).clamp_min(1e-6).log()
        for look, mine in zip(looks, own, strict=True)
    ]
    strange = torch.stack(logs).mean(0).cpu() if logs else torch.zeros(1, *x.shape[-2:])
    if counts is not None:
        strange = torch.where(counts.cpu(), strange, 0.0)
    views = tuple(look.view for look in looks)
    return _Image(levels, x[0].cpu(), views, strange, seen.usable)


@dataclass(frozen=True)
class _Image:
    levels: tuple[ImageLevel, ...]
    picture: Tensor
    views: tuple[View, ...]
    map: Tensor
    usable: float


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
