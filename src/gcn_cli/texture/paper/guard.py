"""Signs of diverging learning, read from one update's figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from gcn_cli.texture.recipe import Part


@dataclass(frozen=True)
class StepInfo:
    """What one update saw; spreads are standard deviations in grey levels, tilts nats per pixel."""

    stage: int
    update: int
    updates: int
    f_observed: float
    f_synthesized: float
    spread_basis: float
    """of ``sigma^2 B``, what the network adds to the reference's centre"""
    spread_chains: float
    spread_data: float
    active: tuple[float, ...]
    """share of units that are on, per layer, on the chains"""
    rate: float
    event: str | None = None

    @property
    def gap(self) -> float:
        """``f(obs) - f(syn)``, nats per pixel; learning oscillates round 0."""
        return self.f_observed - self.f_synthesized


class GuardParams(Part):
    """Limits beyond which an update counts as bad; ``patience`` bad ones in a row are divergence.

    ``gap`` and ``spread`` are relative to the data: the tilt gap in units of the data's own
    reference energy ``|I|^2 / (2 sigma^2)`` per pixel, the chains' spread in units of the data's.
    """

    enabled: bool = Field(
        default=True,
        description="off: learning ends where a value is not finite; else nothing is watched",
    )
    gap: float = Field(
        default=2.0, gt=0, le=1e9, description="largest tilt gap, in the data's reference energies"
    )
    spread: float = Field(
        default=3.0, gt=0, le=1e9, description="largest spread of the chains, in the data's spreads"
    )
    patience: int = Field(
        default=3, ge=1, le=1000000, description="bad updates in a row that are divergence"
    )
    check: int = Field(
        default=10, ge=1, le=1000000, description="updates between two remembered good states"
    )
    retries: int = Field(
        default=5, ge=0, le=1000, description="rollbacks a stage before learning gives up"
    )
    cut: float = Field(
        default=0.5, gt=0, lt=1, description="factor on the learning rate at each rollback"
    )


def symptom(info: StepInfo, sigma: float, params: GuardParams, channels: int = 3) -> str | None:
    """One phrase for what is wrong with images of ``channels`` colours, or None when healthy."""
    values = (info.f_observed, info.f_synthesized, info.spread_basis, info.spread_chains)
    if not all(math.isfinite(v) for v in values):
        return "a value is not finite"
    if not params.enabled:
        return None
    if info.active[-1] == 0.0 or info.spread_basis == 0.0:
        return "all top units are dead, so B = 0"
    data_energy = 0.5 * channels * ((info.spread_data / sigma) ** 2 + 1)
    if abs(info.gap) > params.gap * data_energy:
        return f"f(obs) - f(syn) ran away to {info.gap:.3g} nats per pixel"
    if info.spread_chains > params.spread * (info.spread_data + sigma):
        return (
            f"the chains spread over {info.spread_chains:.3g} grey levels, "
            f"the data over {info.spread_data:.3g}"
        )
    return None


def fatal(phrase: str) -> bool:
    """Whether no patience helps: nothing can come back from it by itself."""
    return "finite" in phrase
