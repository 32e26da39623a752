"""What the density is worth, in one sentence: calibrated, or a generator of short runs.

A field is *calibrated* where the likelihood equations hold along the sampler's path and a long
chain at one level of every size stays in the texture and forgets where it began: then exp(f_s) may
be read as a density. Where either fails it is a *short-run generator*: its samples are the
sampler's doing, and energies compare pictures at most. Without long chains, or where they do not
mix, it is *undecided*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gcn_cli.report.certificate import HOLDS, LevelEquations, holding, worst
from gcn_cli.report.stay import MIXED, Stay

NEAR = 0.05
"""Share of the data's own moment that the equations of the votes may be off beyond the error."""
VOTES = "votes"  # in whose weights the likelihood is concave: mean responses of all maps


@dataclass(frozen=True)
class Judgement:
    """``kind`` calibrated, short-run or undecided, and the sentence."""

    kind: Literal["calibrated", "short-run", "undecided"]
    sentence: str


def judge_density(
    equations: Sequence[LevelEquations], stays: Sequence[Stay], block: str = VOTES
) -> Judgement:
    """By a block of the certificate, and by long chains at every size, where they were run."""
    least = worst(equations, block)
    gone = [stay for stay in stays if not stay.stays]
    if gone:
        return Judgement("short-run", f"Short-run generator: {_all(gone)}.")
    if least is None:
        return Judgement("undecided", "Undecided: too few chains or draws for the equations.")
    told = least.blocks[block]
    where = f"s = {least.s:.3g} at 1/{least.reduction}"
    if told.errors > HOLDS and told.excess > NEAR:
        return Judgement(
            "short-run",
            f"Short-run generator: the mean responses of its own samples are "
            f"{100 * told.excess:.0f} % off the exemplar's ({where}, {told.errors:.1f} errors), so "
            "that the likelihood is not at its maximum.",
        )
    held = (
        f"mean responses of its own samples agree with the exemplar's within {100 * NEAR:.0f} % or "
        f"{HOLDS:g} errors at all {len(equations)} levels"
    )
    if not stays:
        why = "whether a long chain stays in the texture, --long 500 tells"
        return Judgement("undecided", f"Undecided: {held}; {why}.")
    fixed = [stay for stay in stays if stay.rhat > MIXED]
    if fixed:
        return Judgement("undecided", f"Undecided: {held}; {_all(fixed)}.")
    return Judgement("calibrated", f"Calibrated density: {held}, and {_all(stays)}.")


def _all(stays: Sequence[Stay]) -> str:
    return "; ".join(stay.sentence for stay in stays)


def equations_text(equations: Sequence[LevelEquations]) -> str:
    """The certificate in a line."""
    least = worst(equations, VOTES)
    if least is None:
        return "moments: not told; they take two chains and two draws at least"
    told = least.blocks[VOTES]
    return (
        f"moments: E_obs[df/dw] = E_model[df/dw] holds for the votes within {HOLDS:g} errors at "
        f"{holding(equations, VOTES)} of {len(equations)} levels; widest {100 * told.excess:.0f} "
        f"% beyond the error, s = {least.s:.3g} at 1/{least.reduction}"
    )
