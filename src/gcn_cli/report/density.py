"""What a learned density is asked beyond its levels: moments, units, long chains, modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gcn_cli.field.network import beside
from gcn_cli.report import measure, modes, stay
from gcn_cli.report.at_size import AtSize, middle
from gcn_cli.report.certificate import LevelEquations, Moments, certify
from gcn_cli.report.units import UnitFacts, strongest_units
from gcn_cli.texture.exemplar import given_picture
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import at_size

_DESCENT = 96  # px of the middle of a picture, reduced, that descents start from
_LONG = 96  # px of the exemplar's middle, at finer sizes, that long chains move in
_UNITS_AT = 0.1  # level, units of contrast, at which units are told, about


def level_near(ladder: Tensor, s: float) -> int:
    """Index of the level of a ladder that is nearest to s."""
    return int((ladder.double().log() - math.log(s)).abs().argmin())


def equations(work: AtSize, observed: Tensor, levels: Sequence[int]) -> list[LevelEquations]:
    """The likelihood equations at levels where they can be had; see `_equations`."""
    told = (_equations(work, observed, k) for k in levels)
    return [one for one in told if one is not None]


def _equations(work: AtSize, observed: Tensor, k: int) -> LevelEquations | None:
    """The likelihood equations at one level, of pictures (N, C, H, W) of full size."""
    assert work.chains is not None
    x, given = at_size(observed, work.size.reduction), work.given(observed)
    s, key = float(work.size.levels[k]), 2000 + 1000 * work.index + k
    y = measure.add_noise(x, s, work.settings.seed, key, work.settings.draws)
    known = None if given is None else work.noisy(given, key)
    seen = Moments(y, known, work.place is not None, len(observed))
    made = Moments(work.chains.states[work.index, k], work.chains.given[work.index], True)
    return certify(work.field, work.size.reduction, s, seen, made)


def units(work: AtSize, observed: Tensor) -> list[UnitFacts]:
    """The strongest units of this size, on the first picture (N, C, H, W) of full size."""
    x, given = at_size(observed[:1], work.size.reduction), work.given(observed[:1])
    s = float(work.size.levels[level_near(work.size.levels, _UNITS_AT)])
    return strongest_units(work.field, work.size.reduction, x, s, given)


def long_chains(
    work: AtSize, observed: Tensor | None, k: int, tell: Callable[[str], None] | None = None
) -> stay.Stay | None:
    """Long chains at level ``k`` of this size."""
    if observed is None:
        return None
    assert work.chains is not None
    s, steps = float(work.size.levels[k]), work.settings.long
    x, begun = at_size(observed, work.size.reduction), stay.SAMPLE
    given = None if work.place is None else place_maps(1, work.place, x.device)
    if work.index and work.place is None:
        x, clean, given = _parts(work, observed)
        y, begun = measure.add_noise(clean, s, work.settings.seed, 1, 1), stay.COARSER
    else:
        y = work.chains.states[work.index, k]
    reduction, seed = work.size.reduction, work.settings.seed
    return stay.long_chains(work.field, reduction, s, steps, y, x, seed, given, tell, begun)


def _parts(work: AtSize, observed: Tensor) -> tuple[Tensor, ...]:
    """The exemplar's middle at a finer size, its coarser self, and that as it is given.

    One for all chains (N, C, h, w): chains that are given unlike pictures could not forget them.
    """
    first, r = observed[:1], work.size.reduction
    whole = torch.cat([at_size(first, r), given_picture(first, r)], 1)
    step = work.field.net.total_stride
    side = min(*whole.shape[-2:], _LONG) // step * step
    part = middle(beside(whole, _given(work, first)), side)
    return part.expand(work.settings.chains, -1, -1, -1).chunk(3, 1)


def _given(work: AtSize, pictures: Tensor) -> Tensor | None:
    """What the field is given beside pictures (N, C, H, W) of full size, under its noise."""
    given = work.given(pictures)
    return None if given is None else work.noisy(given, 1)[: len(pictures)]


def find_modes(work: AtSize, picture: Tensor | None) -> modes.Modes | None:
    """Descents from the middle of a picture (1, C, H, W) at this size."""
    if picture is None:
        return None
    x, given = at_size(picture, work.size.reduction), _given(work, picture)
    ladder, torus = work.size.levels, work.place is not None
    near = [len(ladder) - 1, *(level_near(ladder, s) for s in modes.LEVELS)]
    levels = [float(ladder[k]) for k in sorted(set(near), reverse=True)]
    if not torus:
        x, given = middle(x, _DESCENT), None if given is None else middle(given, _DESCENT)
    reduction, seed = work.size.reduction, work.settings.seed
    return modes.find_modes(work.field, reduction, x, levels, seed, given=given, torus=torus)
