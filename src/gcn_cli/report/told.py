"""Certificate, long chains, descents and units as tables and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gcn_cli.field.moments import Equation
from gcn_cli.report.certificate import LevelEquations
from gcn_cli.report.modes import Modes
from gcn_cli.report.stay import SAMPLE, Statistic, Stay
from gcn_cli.report.units import UnitFacts

Table = tuple[str, list[str], list[list[str]]]
"""Title, heads of the columns, rows."""


def equation_table(equations: Sequence[LevelEquations]) -> Table:
    """Distance over the norm of the data's own moment, and in Monte-Carlo errors."""
    title = "E_obs[df/dw] - E_model[df/dw], % of the data's own (in Monte-Carlo errors)"
    rows = [
        [f"1/{level.reduction}", f"{level.s:.3g}", *map(_equation, level.blocks.values())]
        for level in equations
    ]
    return title, ["size", "s", *equations[0].blocks], rows


def _equation(told: Equation) -> str:
    return f"{100 * told.distance:.0f} ({told.errors:.1f})"


def equation_data(level: LevelEquations) -> dict[str, Any]:
    """Ready for JSON."""
    told = {
        name: {**found._asdict(), "errors": found.errors, "excess": found.excess}
        for name, found in level.blocks.items()
    }
    return {"reduction": level.reduction, "s": level.s, "blocks": told}


def stay_table(told: Stay) -> Table:
    """Energy, contrast, and the first layer's responses that mix least and most."""
    title = (
        f"{told.chains} long chains, {told.steps} steps at s = {told.s:.3g}, 1/{told.reduction}; "
        "means of last halves"
    )
    where = ["sampler", "from samples"] if told.begun == SAMPLE else ["coarser", "from coarser"]
    heads = ["", "exemplar", *where, "from exemplar", "ESS", "split R-hat"]
    first = sorted(told.statistics[2:], key=lambda one: one.rhat)
    chosen = [*told.statistics[:2], *dict.fromkeys((first[-1], first[0]))]
    return title, heads, [_statistic(one) for one in chosen]


def _statistic(one: Statistic) -> list[str]:
    values = (one.exemplar, one.start, one.from_samples, one.from_exemplar)
    return [one.name, *(f"{v:.3f}" for v in values), f"{one.effective:.0f}", f"{one.rhat:.2f}"]


def stay_data(told: Stay) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "reduction": told.reduction,
        "s": told.s,
        "steps": told.steps,
        "chains": told.chains,
        "begun": told.begun,
        "stays": told.stays,
        "rhat": told.rhat,
        "contrast": told.contrast,
        "responses": told.responses,
        "responses_start": told.responses_start,
        "statistics": [asdict(one) for one in told.statistics],
        "course": [list(pair) for pair in told.course],
        "sentence": told.sentence,
    }


def modes_table(told: Modes) -> Table:
    """Root mean squares, % of the picture's contrast."""
    title = (
        f"noise-free descents, {told.steps} steps at 1/{told.reduction}, % of the image's contrast"
    )
    heads = ["s", "from", "|D - y|", "at the end", "moved", "away", "nearest", "step", "at the end"]
    rows = [
        [
            f"{level.s:.3g}",
            one.start,
            *(f"{100 * v:.1f}" for v in (*one.error, one.moved, one.away[0], one.away[1])),
            str(one.nearest_step),
            f"{100 * one.away[2]:.1f}",
        ]
        for level in told.levels
        for one in level.descents
    ]
    ends = [
        [f"{level.s:.3g}", f"{level.modes} ends apart, {level.arrived} of {level.starts} at a mode"]
        for level in told.levels
    ]
    return title, heads, [*rows, *([*row, *[""] * 7] for row in ends)]


def modes_data(told: Modes) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "reduction": told.reduction,
        "steps": told.steps,
        "sentence": told.sentence,
        "levels": [
            {
                "s": level.s,
                "modes": level.modes,
                "arrived": level.arrived,
                "starts": level.starts,
                "descents": [asdict(one) for one in level.descents],
            }
            for level in told.levels
        ],
    }


def unit_data(unit: UnitFacts) -> dict[str, Any]:
    """Ready for JSON, without its pictures; layers and units are counted from 1."""
    return {
        "reduction": unit.reduction,
        "layer": unit.layer + 1,
        "unit": unit.index + 1,
        "strength": unit.strength,
    }
