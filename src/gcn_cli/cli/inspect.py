"""``gcn inspect``: what a model is, and how well it learned."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcn_cli.cli.options import (
    AsJson,
    Checkpoint,
    Device,
    examples,
    print_json,
    print_table,
    say,
)
from gcn_cli.errors import GcnError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from gcn_cli.checkpoint import Checkpoint as Saved
    from gcn_cli.inspection import (
        Course,
        FieldFacts,
        Reconstruction,
        Record,
        SampleFacts,
        TrainingFacts,
    )

_EXAMPLES = examples(
    "gcn inspect --ckpt runs/00007-brick",
    "gcn inspect --ckpt runs/00007-brick --image brick.png --samples 4 --out report",
    "gcn inspect --ckpt runs/00007-brick --json | jq .training.verdict",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", epilog=_EXAMPLES)(inspect)


def inspect(
    ckpt: Checkpoint,
    image: Annotated[
        Path | None, typer.Option("--image", help="Reconstruct this image by sigma^2 B(I).")
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=0, help="Compare so many fresh samples too.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write pictures there.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell what a model is and how well it learned.

    With --out also pictures: filters, training curve, reconstruction, samples.
    """
    from gcn_cli.checkpoint import load_checkpoint
    from gcn_cli.imaging import load_image
    from gcn_cli.inspection import (
        field_facts,
        read_records,
        reconstruct,
        sample_facts,
        training_facts,
    )
    from gcn_cli.machine import choose_machine

    if out is not None and out.is_file():
        raise UsageError(f"--out is a folder, and {out} is a file")
    machine = choose_machine(device, "fp32")
    saved = load_checkpoint(ckpt)
    if saved.config.kind != "field":  # what tells of another kind goes here
        raise UsageError(f"gcn inspect cannot tell of models of kind {saved.config.kind} yet")
    shown = load_image(image) if image is not None else None
    field = field_facts(saved.model)
    records = read_records(ckpt)
    training = training_facts(saved, records)
    found = reconstruct(saved, shown, machine) if shown is not None else None
    facts, drawn = sample_facts(saved, samples, machine, shown) if samples else (None, None)
    if as_json:
        print_json(_as_json(saved, field, training, found, facts))
    else:
        _print(saved, field, training, found, facts)
    if out is not None:
        for path in _draw(saved, records, found, drawn, out):
            say(str(path)) if as_json else typer.echo(str(path))


def _as_json(
    saved: Saved,
    field: FieldFacts,
    training: TrainingFacts,
    found: Reconstruction | None,
    facts: SampleFacts | None,
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "fingerprint": saved.fingerprint,
        "preset": saved.config.name,
        "parameters": field.parameters,
        "receptive_field": saved.model.receptive_field,
        "multiple": saved.model.multiple,
        "field": asdict(field),
        "training": {**asdict(training), "verdict": training.verdict},
    }
    if found is not None:
        told["reconstruction"] = found.figures()
    if facts is not None:
        told["samples"] = facts.as_dict()
    return told


def _print(
    saved: Saved,
    field: FieldFacts,
    training: TrainingFacts,
    found: Reconstruction | None,
    facts: SampleFacts | None,
) -> None:
    title = (
        f"{saved.config.name}, {saved.fingerprint}; tiles in multiples of {saved.model.multiple} px"
    )
    print_table(title, ["", "field"], _field_rows(field))
    if training.course is not None:
        print_table("training, last quarter", ["", "field"], _course_rows(training.course))
    state = "complete" if training.complete else "not complete"
    typer.echo(f"updates: {training.done} of {training.planned}, {state}")
    typer.echo(f"rollbacks: {training.rollbacks}")
    for event in training.events:
        typer.echo(f"  {event}")
    typer.echo(training.verdict)
    if found is not None:
        typer.echo(
            f"reconstruction: RMS error {found.error:.2f} grey levels, "
            f"{100 * found.relative_error:.1f} % of the image's contrast "
            f"(centre alone: {found.centre_error:.2f})"
        )
    if facts is not None:
        typer.echo(_samples_text(facts))


def _field_rows(field: FieldFacts) -> list[list[str]]:
    snapshots = f", {field.snapshots} snapshots" if field.snapshots else ""
    return [
        ["layers", " ".join(field.layers)],
        ["parameters", f"{field.parameters:,}"],
        ["receptive field", f"{field.receptive_field} px"],
        ["boundary", field.boundary],
        ["sigma, grey levels", f"{field.sigma:.4g}"],
        ["eps, grey levels", f"{field.eps:.4g}"],
        ["eta", f"{field.eta:.4g}"],
        ["steps per sample", f"{field.steps}{snapshots}"],
    ]


def _course_rows(course: Course) -> list[list[str]]:
    return [
        ["updates", str(course.updates)],
        ["f(obs)-f(syn), nats/px", f"{course.gap:+.3g} ± {course.gap_spread:.2g}"],
        ["spread of B", f"{course.spread_basis:.1f}"],
        ["spread of chains", f"{course.spread_chains:.1f}"],
        ["spread of data", f"{course.spread_data:.1f}"],
        ["active per layer", " ".join(f"{share:.2f}" for share in course.active)],
    ]


def _samples_text(facts: SampleFacts) -> str:
    text = (
        f"{facts.count} fresh samples: f {facts.tilt:.3f} ± {facts.tilt_spread:.3f} nats per pixel "
        f"(exemplar {facts.exemplar_tilt:.3f}), spread {facts.spread:.1f} grey levels "
        f"(exemplar {facts.exemplar_spread:.1f})"
    )
    if facts.image_z is not None:
        text += f"; the image's f {facts.image_tilt:.3f}, z = {facts.image_z:+.1f}"
    return text


def _draw(
    saved: Saved,
    records: list[Record],
    found: Reconstruction | None,
    drawn: Tensor | None,
    out: Path,
) -> list[Path]:
    from gcn_cli import report
    from gcn_cli.imaging import save_png

    pictures = {"filters.png": report.filters_picture(saved.model)}
    if found is not None:
        pictures["reconstruction.png"] = report.reconstruction_picture(found)
    if drawn is not None:
        pictures["samples.png"] = report.samples_picture(saved.observed[0], drawn)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            save_png(out / name, picture)
        paths = [out / name for name in pictures]
        if records and report.can_plot():
            report.training_curve(records, out / "training-curve.png")
            paths.append(out / "training-curve.png")
    except OSError as error:
        raise GcnError(f"cannot write pictures to {out}: {error.strerror}") from error
    if records and not report.can_plot():
        say("no training-curve.png: it needs matplotlib; pip install 'gcn-cli[report]'")
    return paths
