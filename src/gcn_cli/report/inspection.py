"""What a checkpoint holds and how well it learned, in numbers.

``field_facts`` reads the model, ``training_facts`` the metrics beside it, ``reconstruct`` runs the
model as the auto-encoder that it is, and ``sample_facts`` asks fresh chains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcn_cli.engine import FusedBasis, Machine
from gcn_cli.errors import ImageError
from gcn_cli.field.energy import reconstruction
from gcn_cli.field.likelihood import wrap_image
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.field_course import layer_text, plan_job
from gcn_cli.run.field_sampling import sample
from gcn_cli.run.jobs import Job, prepare_image
from gcn_cli.run.rundir import read_jsonl
from gcn_cli.run.sampling import Request, cut
from gcn_cli.run.schema import FieldConfig
from gcn_cli.texture.paper.draw import final_images
from gcn_cli.texture.paper.model import Model

Record = dict[str, Any]

_SPREAD_TOLERANCE = 0.2  # chains' spread against the data's
_GAP_TOLERANCE = 0.05  # mean gap against the data's reference energy
_MARGIN = 16  # px inside all margins that a reconstruction is measured on, at least


# ------------------------------------------------------------------------------ the model


@dataclass(frozen=True)
class FieldFacts:
    """The field; sigma and eps in grey levels, fields of view in px."""

    layers: tuple[str, ...]
    parameters: int
    receptive_field: int
    boundary: str
    sigma: float
    eps: float
    eta: float
    steps: int
    snapshots: int


def field_facts(model: Model) -> FieldFacts:
    """Read off a model."""
    return FieldFacts(
        layers=tuple(layer_text(spec) for spec in model.net.layers),
        parameters=model.net.n_parameters(),
        receptive_field=model.receptive_field,
        boundary=model.boundary,
        sigma=model.langevin.sigma,
        eps=model.langevin.eps,
        eta=model.langevin.eta,
        steps=model.total_steps(),
        snapshots=len(model.path),
    )


# --------------------------------------------------------------------------- its training


@dataclass(frozen=True)
class Course:
    """The last quarter of all updates: means, and the gap's standard deviation."""

    updates: int
    gap: float
    gap_spread: float
    reference_energy: float
    spread_basis: float
    spread_chains: float
    spread_data: float
    active: tuple[float, ...]

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
    """How far and how well; ``course`` is None where no metrics lie beside the checkpoint.

    ``done`` is None of an export whose learning was not complete: it does not tell.
    """

    done: int | None
    planned: int
    complete: bool
    rollbacks: int
    events: tuple[str, ...]
    course: Course | None

    @property
    def verdict(self) -> str:
        """``converged: yes|no|not yet|unknown``, and why."""
        if self.done is None:
            return "converged: not yet; learning was not complete"
        if not self.complete:
            return f"converged: not yet; {self.done} of {self.planned} updates are done"
        if self.course is None:
            return "converged: unknown; no metrics.jsonl lies beside the checkpoint"
        trouble = self.course.trouble()
        if trouble:
            return f"converged: no; {trouble}"
        return (
            "converged: yes; the gap oscillates around 0 and the chains' spread "
            "is within 20 % of the data's"
        )


def read_records(path: Path) -> list[Record]:
    """The updates told in the ``metrics.jsonl`` of a run folder, or beside a checkpoint."""
    folder = path if path.is_dir() else path.parent
    return read_jsonl(folder / "metrics.jsonl")


def training_facts(saved: Checkpoint, records: Sequence[Record]) -> TrainingFacts:
    """Sum up a run."""
    assert isinstance(saved.config, FieldConfig)
    plan = plan_job(saved.config, Job("the checkpoint", saved.observed, saved.mean))
    events = [f"update {r.get('done')}: {r['event']}" for r in records if r.get("event")]
    told = [r for r in records if _whole(r)]
    model = saved.model
    done = plan.total_updates if saved.complete else None
    return TrainingFacts(
        done=done if saved.state is None else saved.state.done(plan),
        planned=plan.total_updates,
        complete=saved.complete,
        rollbacks=sum("back to update" in event for event in events),
        events=tuple(events),
        course=_course(told, model.channels, model.langevin.sigma) if told else None,
    )


def _whole(record: Record) -> bool:
    names = ("gap", "spread_basis", "spread_chains", "spread_data")
    return all(isinstance(record.get(name), float | int) for name in names)


def _course(records: Sequence[Record], channels: int, sigma: float) -> Course:
    last = list(records[-max(1, len(records) // 4) :])
    gaps = torch.tensor([float(r["gap"]) for r in last], dtype=torch.float64)
    data = _mean(last, "spread_data")
    return Course(
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
    """The field as an auto-encoder: pictures (C, H, W) in grey levels, and their errors.

    ``margin`` px at every side are left out of the errors: there the image's opposite sides meet,
    which they do not in truth. ``centre_error`` is the error of the reference's centre alone, the
    mean colour: that of an untrained field.
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
    """An image (C, H, W) in the model's colours, cut to multiples of its stride.

    Raises:
        ImageError: too small.
    """
    image = prepare_image(saved.config, image)
    channels = saved.model.channels
    if image.shape[0] != channels:
        image = image.mean(0, keepdim=True) if channels == 1 else image.expand(channels, -1, -1)
    if saved.model.boundary == "bounded":
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
    """``sigma^2 B(I)`` of an image (C, H, W) in grey levels, the mean colour added again.

    On a torus B is averaged over the stride's phases where the chains' is.

    Raises:
        ImageError: an image that the network cannot take.
    """
    model = saved.model
    shown = fit_image(saved, image)
    centred = (shown - saved.mean)[None].to(machine.device)
    output = reconstruction(opened_basis(model, centred, machine)(centred), model.langevin.sigma)
    margin = 0 if model.boundary == "bounded" else model.receptive_field - 1
    if min(shown.shape[-2:]) < 2 * margin + _MARGIN:
        margin = 0
    error = _rms(inner(centred - output, margin))
    contrast = float(inner(centred, margin).std())
    return Reconstruction(
        image=shown,
        output=output[0].cpu() + saved.mean,
        error=error,
        relative_error=error / max(contrast, 1e-9),
        centre_error=_rms(inner(centred, margin)),
        margin=margin,
    )


def inner(images: Tensor, margin: int) -> Tensor:
    """Images without ``margin`` px at every side."""
    h, w = images.shape[-2:]
    return images[..., margin : h - margin, margin : w - margin]


def _rms(images: Tensor) -> float:
    return float(images.square().mean().sqrt())


def opened_basis(model: Model, images: Tensor, machine: Machine) -> Callable[[Tensor], Tensor]:
    """B of images of that shape (N, C, H, W); on a torus the mean over the chains' phases.

    Raises:
        ImageError: images that the network cannot take.
    """
    n, c, h, w = images.shape
    try:
        fused = FusedBasis(model.net, (n, c, h, w), model.boundary, torch.float32, machine.device)
    except ValueError as error:
        raise ImageError(f"the network cannot take an image of {w}x{h} px: {error}") from error
    fused.load(
        tuple(
            layer._replace(
                w=layer.w.to(machine.device).float(), b=layer.b.to(machine.device).float()
            )
            for layer in model.weights
        )
    )
    phases = range(model.langevin.dither if model.boundary == "torus" else 1)

    def basis(y: Tensor) -> Tensor:
        total = torch.zeros_like(y)
        for dy in phases:
            for dx in phases:
                moved = torch.roll(y, (dy, dx), (-2, -1))
                total += torch.roll(fused(moved), (-dy, -dx), (-2, -1))
        return total / len(phases) ** 2

    return basis


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
    model = saved.model
    tilts = _tilts(model, canvas - saved.mean, torus=True)
    known = _tilts(model, saved.observed - saved.mean, torus=False)
    spread = float(tilts.std()) if count > 1 else 0.0
    told: dict[str, float] = {}
    if image is not None:
        own = float(_tilts(model, (fit_image(saved, image) - saved.mean)[None], torus=False))
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


def _tilts(model: Model, images: Tensor, torus: bool) -> Tensor:
    """Mean tilt per pixel of images (N, C, H, W), each window counted once."""
    weights = tuple(layer._replace(w=layer.w.float(), b=layer.b.float()) for layer in model.weights)
    bounded = model.boundary == "bounded"
    if torus and not bounded:
        images = wrap_image(images, model.net.receptive_field - 1)
    top = model.net.top(model.net.forward(images, weights, "bounded" if bounded else "valid"))
    return top.sum(1).flatten(1).mean(1) / model.net.total_stride**2
