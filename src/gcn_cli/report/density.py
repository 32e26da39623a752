"""What a learned density is asked beyond its levels: moments, units, long chains, modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from gcn_cli.report import measure, modes, stay
from gcn_cli.report.at_size import AtSize, middle
from gcn_cli.report.certificate import LevelEquations, Moments, certify
from gcn_cli.report.units import UnitFacts, strongest_units
from gcn_cli.texture.place import place_maps
from gcn_cli.texture.plan import at_size

_DESCENT = 96  # px of the middle of a picture, reduced, that descents start from
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
    """Long chains at level ``k`` of this size, which is the coarsest."""
    if observed is None:
        return None
    assert work.chains is not None
    x, y = at_size(observed, work.size.reduction), work.chains.states[work.index, k]
    given = None if work.place is None else place_maps(1, work.place, y.device)
    s, steps = float(work.size.levels[k]), work.settings.long
    reduction, seed = work.size.reduction, work.settings.seed
    return stay.long_chains(work.field, reduction, s, steps, y, x, seed, given, tell)


def find_modes(work: AtSize, picture: Tensor | None) -> modes.Modes | None:
    """Descents from the middle of a picture (1, C, H, W) at this size, the coarsest."""
    if picture is None:
        return None
    x, ladder = at_size(picture, work.size.reduction), work.size.levels
    given = None if work.place is None else place_maps(1, work.place, x.device)
    near = [len(ladder) - 1, *(level_near(ladder, s) for s in modes.LEVELS)]
    levels = [float(ladder[k]) for k in sorted(set(near), reverse=True)]
    x = x if work.place is not None else middle(x, _DESCENT)
    return modes.find_modes(
        work.field, work.size.reduction, x, levels, work.settings.seed, given=given
    )
