"""``gcn inspect``: what a model is, and how well it learned."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
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
        LevelCourse,
        LevelFacts,
        Reconstruction,
        Record,
        SampleFacts,
        TrainingFacts,
    )

_COLUMNS = 4  # side by side; further ones follow below

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
        level_facts,
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
    shown = load_image(image) if image is not None else None
    levels = [level_facts(level) for level in saved.model.levels]
    records = read_records(ckpt)
    training = training_facts(saved, records)
    found = reconstruct(saved, shown, machine) if shown is not None else None
    facts, drawn = sample_facts(saved, samples, machine, shown) if samples else (None, None)
    if as_json:
        print_json(_as_json(saved, levels, training, found, facts))
    else:
        _print(saved, levels, training, found, facts)
    if out is not None:
        for path in _draw(saved, records, found, drawn, out):
            say(str(path)) if as_json else typer.echo(str(path))


def _as_json(
    saved: Saved,
    levels: list[LevelFacts],
    training: TrainingFacts,
    found: Reconstruction | None,
    facts: SampleFacts | None,
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "fingerprint": saved.fingerprint,
        "preset": saved.config.name,
        "parameters": sum(level.parameters for level in levels),
        "receptive_field": saved.model.receptive_field,
        "multiple": saved.model.multiple,
        "levels": [asdict(level) for level in levels],
        "training": {**asdict(training), "verdict": training.verdict},
    }
    if found is not None:
        told["reconstruction"] = found.figures()
    if facts is not None:
        told["samples"] = facts.as_dict()
    return told


def _print(
    saved: Saved,
    levels: list[LevelFacts],
    training: TrainingFacts,
    found: Reconstruction | None,
    facts: SampleFacts | None,
) -> None:
    title = (
        f"{saved.config.name}, {saved.fingerprint}; tiles in multiples of {saved.model.multiple} px"
    )
    _print_columns(title, [_level_rows(level) for level in levels])
    if training.courses:
        courses = [
            [
                ("updates", str(course.updates)),
                ("f(obs)-f(syn), nats/px", f"{course.gap:+.3g} ± {course.gap_spread:.2g}"),
                ("spread of B", f"{course.spread_basis:.1f}"),
                ("spread of chains", f"{course.spread_chains:.1f}"),
                ("spread of data", f"{course.spread_data:.1f}"),
                ("active per layer", " ".join(f"{share:.2f}" for share in course.active)),
                ("mismatch, grey levels", _mismatch_text(course)),
            ]
            for course in training.courses
        ]
        _print_columns("training, last quarter of each level", courses)
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


def _mismatch_text(course: LevelCourse) -> str:
    return f"{course.mismatch[0]:.2f} to {course.mismatch[1]:.2f}" if course.mismatch else "-"


def _level_rows(level: LevelFacts) -> list[tuple[str, str]]:
    snapshots = f", {level.snapshots} snapshots" if level.snapshots else ""
    return [
        ("layers", " ".join(level.layers)),
        ("parameters", f"{level.parameters:,}"),
        ("receptive field", f"{level.receptive_field} px ({level.receptive_field_full} full size)"),
        ("scale", f"1/{round(1 / level.scale)}"),
        ("boundary", level.boundary),
        ("sigma, grey levels", f"{level.sigma:.4g}"),
        ("eps, grey levels", f"{level.eps:.4g}"),
        ("eta", f"{level.eta:.4g}"),
        ("steps per sample", f"{level.steps}{snapshots}"),
        ("of these matching", str(level.matching_stages)),
        ("candidates", str(level.candidates)),
        ("spot noise, start", f"{level.start_spot:g}"),
        ("redraws, rounds", str(level.redraws)),
    ]


def _print_columns(title: str, levels: list[list[tuple[str, str]]]) -> None:
    """One column per level, one row per figure; equal neighbours share a column."""
    columns = [list(run) for _, run in groupby(enumerate(levels, 1), key=lambda pair: pair[1])]
    for begin in range(0, len(columns), _COLUMNS):
        part = columns[begin : begin + _COLUMNS]
        header = ["", *(_level_name(run[0][0], run[-1][0]) for run in part)]
        shown = [run[0][1] for run in part]
        names = [name for name, _ in shown[0]]
        rows = [[name, *(level[k][1] for level in shown)] for k, name in enumerate(names)]
        print_table(title if begin == 0 else "", header, rows)


def _level_name(first: int, last: int) -> str:
    return f"level {first}" if first == last else f"levels {first} to {last}"


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

    pictures = {
        f"filters-level{number}.png": report.filters_picture(level)
        for number, level in enumerate(saved.model.levels, 1)
    }
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
