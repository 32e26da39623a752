"""What a checkpoint holds and how well it learned, in numbers.

``level_facts`` reads the model, ``training_facts`` the metrics beside it, ``reconstruct`` runs the
model as the auto-encoder that it is, and ``sample_facts`` asks fresh chains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcn_cli.checkpoint import Checkpoint
from gcn_cli.core.energy import reconstruction
from gcn_cli.core.fused import FusedBasis
from gcn_cli.core.learning import wrap_image
from gcn_cli.core.level import Machine
from gcn_cli.core.model import LevelModel
from gcn_cli.core.network import LayerSpec
from gcn_cli.core.pyramid import enlarge_torus, shrink
from gcn_cli.core.synthesis import final_images
from gcn_cli.errors import CheckpointError, ImageError
from gcn_cli.experiment import Job, plan_job, prepare_image
from gcn_cli.rundir import read_jsonl
from gcn_cli.sampling import Request, cut, sample

Record = dict[str, Any]

_SPREAD_TOLERANCE = 0.2  # chains' spread against the data's
_GAP_TOLERANCE = 0.05  # mean gap against the data's reference energy
_MARGIN = 16  # px inside all margins that a reconstruction is measured on, at least


# ------------------------------------------------------------------------------ the model


@dataclass(frozen=True)
class LevelFacts:
    """One level; sigma and eps in grey levels, fields of view in px."""

    layers: tuple[str, ...]
    parameters: int
    receptive_field: int
    receptive_field_full: int
    scale: float
    boundary: str
    sigma: float
    eps: float
    eta: float
    steps: int
    snapshots: int
    matching_stages: int
    candidates: int
    start_spot: float
    redraws: int


def level_facts(level: LevelModel) -> LevelFacts:
    """Read off a level."""
    field = level.net.receptive_field
    return LevelFacts(
        layers=tuple(layer_text(spec) for spec in level.net.layers),
        parameters=level.net.n_parameters(),
        receptive_field=field,
        receptive_field_full=math.ceil(field / level.scale),
        scale=level.scale,
        boundary=level.boundary,
        sigma=level.langevin.sigma,
        eps=level.langevin.eps,
        eta=level.langevin.eta,
        steps=level.total_steps(),
        snapshots=len(level.path),
        matching_stages=len(level.matching),
        candidates=level.sampler.candidates,
        start_spot=level.sampler.start_spot,
        redraws=level.sampler.redraws,
    )


def layer_text(spec: LayerSpec) -> str:
    """A layer in the field's shorthand, such as ``100@15/3 pad 2`` or ``32@3 dil 2``."""
    stride = f"/{spec.stride}" if spec.stride > 1 else ""
    padding = f" pad {spec.padding}" if spec.padding else ""
    dilation = f" dil {spec.dilation}" if spec.dilation > 1 else ""
    return f"{spec.filters}@{spec.size}{stride}{dilation}{padding}{'' if spec.relu else ' linear'}"


# --------------------------------------------------------------------------- its training


@dataclass(frozen=True)
class LevelCourse:
    """The last quarter of a level's updates: means, and the gap's standard deviation."""

    updates: int
    gap: float
    gap_spread: float
    reference_energy: float
    spread_basis: float
    spread_chains: float
    spread_data: float
    active: tuple[float, ...]
    mismatch: tuple[float, float] | None = None
    """of the matching path's first and last stage, grey levels"""

    def trouble(self) -> str | None:
        """What speaks against convergence."""
        quiet = max(self.gap_spread, _GAP_TOLERANCE * self.reference_energy)
        if not abs(self.gap) <= quiet:
            return f"mean gap {self.gap:+.3g} nats per pixel does not oscillate around 0"
        ratio = self.spread_chains / max(self.spread_data, 1e-9)
        if not abs(ratio - 1) <= _SPREAD_TOLERANCE:
            return f"the chains' spread is {100 * ratio:.0f} % of the data's"
        return None


@dataclass(frozen=True)
class TrainingFacts:
    """How far and how well; ``courses`` is empty where no metrics lie beside the checkpoint."""

    done: int
    planned: int
    complete: bool
    rollbacks: int
    events: tuple[str, ...]
    courses: tuple[LevelCourse, ...]

    @property
    def verdict(self) -> str:
        """``converged: yes|no|not yet|unknown``, and why."""
        if not self.complete:
            return f"converged: not yet; {self.done} of {self.planned} updates are done"
        if not self.courses:
            return "converged: unknown; no metrics.jsonl lies beside the checkpoint"
        troubles = [
            f"level {number}: {trouble}"
            for number, course in enumerate(self.courses, 1)
            if (trouble := course.trouble())
        ]
        if troubles:
            return "converged: no; " + "; ".join(troubles)
        return (
            "converged: yes; on every level the gap oscillates around 0 and the chains' spread "
            "is within 20 % of the data's"
        )


def read_records(path: Path) -> list[Record]:
    """The updates told in the ``metrics.jsonl`` of a run folder, or beside a checkpoint."""
    folder = path if path.is_dir() else path.parent
    return read_jsonl(folder / "metrics.jsonl")


def training_facts(saved: Checkpoint, records: Sequence[Record]) -> TrainingFacts:
    """Sum up a run."""
    plan = plan_job(saved.config, Job("the checkpoint", saved.observed, saved.mean))
    events = [f"update {r.get('done')}: {r['event']}" for r in records if r.get("event")]
    count = len(saved.model.levels)
    channels = saved.model.channels
    courses = []
    for index in range(count):
        mine = [r for r in records if r.get("level") == index and _whole(r)]
        if mine:
            course = _course(mine, channels, saved.model.levels[index].langevin.sigma)
            courses.append(replace(course, mismatch=_mismatch(records, index)))
    return TrainingFacts(
        done=saved.state.done(plan),
        planned=plan.total_updates,
        complete=saved.complete,
        rollbacks=sum("back to update" in event for event in events),
        events=tuple(events),
        courses=tuple(courses) if len(courses) == count else (),
    )


def _mismatch(records: Sequence[Record], level: int) -> tuple[float, float] | None:
    """What the first and the last stage of a level's matching path saw."""
    told = [
        float(r["mismatch"])
        for r in records
        if r.get("level") == level and isinstance(r.get("mismatch"), float | int)
    ]
    return (told[0], told[-1]) if told else None


def _whole(record: Record) -> bool:
    names = ("gap", "spread_basis", "spread_chains", "spread_data")
    return all(isinstance(record.get(name), float | int) for name in names)


def _course(records: Sequence[Record], channels: int, sigma: float) -> LevelCourse:
    last = list(records[-max(1, len(records) // 4) :])
    gaps = torch.tensor([float(r["gap"]) for r in last], dtype=torch.float64)
    data = _mean(last, "spread_data")
    return LevelCourse(
        updates=len(records),
        gap=float(gaps.mean()),
        gap_spread=float(gaps.std(correction=0)),
        reference_energy=channels / 2 * (data / sigma) ** 2,
        spread_basis=_mean(last, "spread_basis"),
        spread_chains=_mean(last, "spread_chains"),
        spread_data=data,
        active=tuple(float(share) for share in last[-1].get("active", ())),
    )


def _mean(records: Sequence[Record], name: str) -> float:
    return math.fsum(float(r[name]) for r in records) / len(records)


# ----------------------------------------------------------------------- its auto-encoder


@dataclass(frozen=True)
class Reconstruction:
    """The finest level as an auto-encoder: pictures (C, H, W) in grey levels, and their errors.

    ``margin`` px at every side are left out of the errors: there the image's opposite sides meet,
    which they do not in truth. ``centre_error`` is the error of the reference's centre alone, that
    of an untrained level.
    """

    image: Tensor
    output: Tensor
    error: float
    relative_error: float
    centre_error: float
    margin: int

    def figures(self) -> dict[str, float | int]:
        """The numbers, ready for JSON."""
        return {
            "rms_error": self.error,
            "relative_error": self.relative_error,
            "centre_rms_error": self.centre_error,
            "margin": self.margin,
        }


def fit_image(saved: Checkpoint, image: Tensor) -> Tensor:
    """An image (C, H, W) in the model's colours, cut to a size that every level divides.

    Raises:
        ImageError: too small.
    """
    image = prepare_image(saved.config, image)
    channels = saved.model.channels
    if image.shape[0] != channels:
        image = image.mean(0, keepdim=True) if channels == 1 else image.expand(channels, -1, -1)
    finest = saved.model.levels[-1]
    if finest.boundary == "bounded":
        return image
    step, field = saved.model.multiple, saved.model.receptive_field
    h, w = (n // step * step for n in image.shape[-2:])
    if min(h, w) < field:
        raise ImageError(
            f"the image is {image.shape[-1]}x{image.shape[-2]} px; this model needs sides of at "
            f"least {-(-field // step) * step} px"
        )
    return image[:, :h, :w]


@torch.no_grad()
def reconstruct(saved: Checkpoint, image: Tensor, machine: Machine) -> Reconstruction:
    """``c + sigma^2 B(I)`` of an image (C, H, W) in grey levels, at the finest level.

    The centre c is the image's own coarse version where the model is a pyramid, else zero. On a
    torus B is averaged over the stride's phases where the chains' is.

    Raises:
        ImageError: an image that the network cannot take.
        CheckpointError: learning has not reached the finest level.
    """
    levels = saved.model.levels
    if levels[-1].scale != 1:
        raise CheckpointError("learning has not reached the finest level, which reconstructs")
    level = levels[-1]
    shown = fit_image(saved, image)
    centred = (shown - saved.mean)[None].to(machine.device)
    centre = torch.zeros_like(centred)
    if len(levels) > 1:
        coarse = shrink(centred, levels[-2].scale)
        centre = enlarge_torus(coarse, round(1 / levels[-2].scale)) * level.centre_gain
    output = reconstruction(_basis(level, centred, machine), level.langevin.sigma, centre)
    bounded = level.boundary == "bounded"
    margin = 0 if bounded else level.net.receptive_field - 1
    if min(shown.shape[-2:]) < 2 * margin + _MARGIN:
        margin = 0
    error = _rms(inner(centred - output, margin))
    contrast = float(inner(centred, margin).std())
    return Reconstruction(
        image=shown,
        output=output[0].cpu() + saved.mean,
        error=error,
        relative_error=error / max(contrast, 1e-9),
        centre_error=_rms(inner(centred - centre, margin)),
        margin=margin,
    )


def inner(images: Tensor, margin: int) -> Tensor:
    """Images without ``margin`` px at every side."""
    h, w = images.shape[-2:]
    return images[..., margin : h - margin, margin : w - margin]


def _rms(images: Tensor) -> float:
    return float(images.square().mean().sqrt())


def _basis(level: LevelModel, images: Tensor, machine: Machine) -> Tensor:
    n, c, h, w = images.shape
    try:
        fused = FusedBasis(level.net, (n, c, h, w), level.boundary, torch.float32, machine.device)
    except ValueError as error:
        raise ImageError(f"the network cannot take an image of {w}x{h} px: {error}") from error
    fused.load(
        tuple(
            layer._replace(
                w=layer.w.to(machine.device).float(), b=layer.b.to(machine.device).float()
            )
            for layer in level.weights
        )
    )
    phases = range(level.langevin.dither if level.boundary == "torus" else 1)
    total = torch.zeros_like(images)
    for dy in phases:
        for dx in phases:
            moved = torch.roll(images, (dy, dx), (-2, -1))
            total += torch.roll(fused(moved), (-dy, -dx), (-2, -1))
    return total / len(phases) ** 2


# ---------------------------------------------------------------------- its fresh samples


@dataclass(frozen=True)
class SampleFacts:
    """Fresh chains beside the exemplar: tilts in nats per pixel, spreads in grey levels."""

    count: int
    tilt: float
    tilt_spread: float
    spread: float
    exemplar_tilt: float
    exemplar_spread: float
    image_tilt: float | None = None
    image_z: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


@torch.no_grad()
def sample_facts(
    saved: Checkpoint, count: int, machine: Machine, image: Tensor | None = None
) -> tuple[SampleFacts, Tensor]:
    """Draw ``count`` samples of the exemplar's size and compare; also returns them (N, C, H, W).

    ``image`` (C, H, W) is told its place among them: a z-score of its tilt.
    """
    h, w = saved.observed.shape[-2:]
    request = Request(w, h, tuple(range(count)))
    canvas = final_images(_images(saved, request, machine))
    level = saved.model.levels[-1]
    tilts = _tilts(level, canvas - saved.mean, torus=True)
    known = _tilts(level, saved.observed - saved.mean, torus=False)
    spread = float(tilts.std()) if count > 1 else 0.0
    told: dict[str, float] = {}
    if image is not None:
        own = float(_tilts(level, (fit_image(saved, image) - saved.mean)[None], torus=False))
        told["image_tilt"] = own
        if spread > 0:
            told["image_z"] = (own - float(tilts.mean())) / spread
    facts = SampleFacts(
        count=count,
        tilt=float(tilts.mean()),
        tilt_spread=spread,
        spread=float((canvas - saved.mean).std()),
        exemplar_tilt=float(known.mean()),
        exemplar_spread=float((saved.observed - saved.mean).std()),
        **told,
    )
    return facts, cut(canvas, request)


def _images(saved: Checkpoint, request: Request, machine: Machine) -> Any:
    for info in sample(saved.model, request, machine):
        yield replace(info, chains=info.chains.cpu(), mean=info.mean.cpu())


def _tilts(level: LevelModel, images: Tensor, torus: bool) -> Tensor:
    """Mean tilt per pixel of images (N, C, H, W), each window counted once."""
    weights = tuple(layer._replace(w=layer.w.float(), b=layer.b.float()) for layer in level.weights)
    bounded = level.boundary == "bounded"
    if torus and not bounded:
        images = wrap_image(images, level.net.receptive_field - 1)
    top = level.net.top(level.net.forward(images, weights, "bounded" if bounded else "valid"))
    return top.sum(1).flatten(1).mean(1) / level.net.total_stride**2
