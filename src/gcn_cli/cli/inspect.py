"""``gcn inspect``: what a model is, and how well it learned."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gcn_cli.cli.options import MOST_SAMPLES, AsJson, Device, examples, print_json, print_table, say
from gcn_cli.errors import GcnError, ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from gcn_cli.engine import Machine
    from gcn_cli.images.files import Picture
    from gcn_cli.report.at_size import Settings
    from gcn_cli.report.energy import EnergyFacts
    from gcn_cli.report.inspection import (
        Course,
        FieldFacts,
        Reconstruction,
        SampleFacts,
        TrainingFacts,
    )
    from gcn_cli.report.paper_page import PaperReport
    from gcn_cli.report.told import Table
    from gcn_cli.run.checkpoint import Checkpoint as Saved

_EXAMPLES = examples(
    "gcn inspect --images photo.jpg",
    "gcn inspect --ckpt runs/00007-brick",
    "gcn inspect --ckpt runs/00007-brick --image brick.png --samples 4 --out report",
    "gcn inspect --ckpt runs/00007-brick --long 500 --out report",
    "gcn inspect --ckpt runs/00007-brick --json | jq .training.verdict",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", epilog=_EXAMPLES)(inspect)


def inspect(
    ckpt: Annotated[
        Path | None, typer.Option("--ckpt", metavar="RUN", help="A run folder, or its run.pt.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Before learning: what pictures are as exemplars."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option("--image", help="Measure this image too: is it what the model learned?"),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", help="White of --image is left out."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            min=0,
            max=MOST_SAMPLES,
            help="Compare so many fresh samples; texture models: 4 if not given.",
        ),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option("--levels", metavar="S,S,...", help="Noise levels, in units of contrast."),
    ] = None,
    long: Annotated[
        int,
        typer.Option(
            "--long",
            metavar="N",
            min=0,
            max=1_000_000,
            help="Does a chain of N steps at one level stay in the texture? 500 take some minutes.",
        ),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write a report there.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell what a model is and how well it learned; with --images, what is to be learned from.

    With --out also pictures: filters, training curve, reconstruction, samples, and a page with all
    of them, index.html, that needs no other file.
    """
    if images is not None:
        if any(given is not None for given in (ckpt, image, mask, samples, levels, out)) or long:
            raise UsageError("--images is looked at by itself; leave out the other options")
        _photos(images, as_json)
        return
    if ckpt is None:
        raise UsageError("what to inspect? give --ckpt, or --images before learning")
    if mask is not None and image is None:
        raise UsageError("--mask leaves out a part of --image, and there is none")
    from gcn_cli.engine import choose_machine
    from gcn_cli.run.checkpoint import load_checkpoint
    from gcn_cli.run.jobs import Wish, read_image, read_wanted

    if out is not None and out.is_file():
        raise UsageError(f"--out is a folder, and {out} is a file")
    wanted = _levels(levels)
    machine = choose_machine(device, "fp32")
    saved = load_checkpoint(ckpt)
    shown, reading = None, saved.config.images
    if image is not None and saved.config.kind == "texture":
        shown = read_image(saved.config, saved.material, image, mask)
    elif image is not None:
        shown = read_wanted(image, reading.role, reading.max_side, Wish(mask))
    if saved.config.kind == "texture":
        told = _texture(saved, ckpt, shown, _settings(wanted, samples, long), machine, as_json, out)
    elif wanted is not None:
        raise UsageError("--levels is for models of all noise levels; this one has a single level")
    else:
        told = _field(saved, ckpt, _whole(shown), samples or 0, long, machine, as_json, out)
    for path in told:
        say(str(path)) if as_json else typer.echo(str(path))


def _whole(image: Picture | None) -> Tensor | None:
    """The levels of a picture all of which is known."""
    if image is None or image.known is None:
        return None if image is None else image.levels
    share = 1 - float(image.known.double().mean())
    raise ImageError(
        f"{share:.1%} of the image is transparent or masked; models of kind field measure whole "
        "pictures only"
    )


def _settings(levels: tuple[float, ...] | None, samples: int | None, long: int) -> Settings:
    """What is measured of a model of all noise levels."""
    from gcn_cli.report.at_size import Settings

    if samples is None:
        return Settings(levels, long=long)
    return Settings(levels, max(1, samples), long=long)


def _photos(path: Path, as_json: bool) -> None:
    """Tell of every picture that a path stands for."""
    from gcn_cli.images.files import find_images, read_picture
    from gcn_cli.report.photo import examine_photo

    photos = [examine_photo(file, read_picture(file)) for file in find_images(path)]
    for photo in photos:
        if as_json:
            print_json(photo.as_data())
            continue
        for line in photo.told():
            typer.echo(line)


def _levels(text: str | None) -> tuple[float, ...] | None:
    """Noise levels from ``5,1,0.2``."""
    if text is None:
        return None
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--levels reads like 5,1,0.2; '{text}' does not") from error
    if not all(0 < s < math.inf for s in levels):
        raise UsageError(f"noise levels are positive numbers; '{text}' holds another")
    return levels


# ------------------------------------------------------------- models of all noise levels


def _texture(
    saved: Saved,
    ckpt: Path,
    image: Picture | None,
    settings: Settings,
    machine: Machine,
    as_json: bool,
    out: Path | None,
) -> Iterable[Path]:
    """Tell of a model of all noise levels; returns the files written."""
    from gcn_cli.report import figures, texture
    from gcn_cli.report.facts import examine
    from gcn_cli.report.inspection import read_records
    from gcn_cli.report.page import write_report
    from gcn_cli.run.card import provenance, sentence

    model = saved.model
    _check_levels(settings.levels, [size.levels for size in model.sizes])
    facts = examine(
        model,
        model.in_units(saved.observed),
        machine,
        settings,
        None if image is None else model.in_units(image.levels[None])[0],
        saved.known,
        None if image is None else image.known,
        say,
    )
    name, records = saved.config.name, read_records(ckpt)
    subject = texture.Subject(
        model, saved.observed, name, saved.fingerprint, saved.complete, records, saved.material
    )
    paths: list[Path] = []
    if out is not None:  # before anything is told: who listens may leave
        if not figures.can_plot():
            say("no curves: they need matplotlib; pip install 'gcn-cli[report]'")
        try:
            paths = write_report(subject, facts, out)
        except OSError as error:
            raise GcnError(f"cannot write pictures to {out}: {error.strerror}") from error
    if as_json:
        print_json({**texture.as_data(subject, facts), "origin": provenance(saved)})
    else:
        typer.echo(sentence(saved))
        for table in texture.tables(subject, facts):
            print_table(*table)
        for line in texture.sentences(subject, facts):
            typer.echo(line)
    return paths


def _check_levels(wanted: tuple[float, ...] | None, ladders: Iterable[Tensor]) -> None:
    """Raise UsageError where none of the levels lies on any ladder."""
    ladders = list(ladders)
    least, most = (float(f(f(t) for t in ladders)) for f in (min, max))
    if wanted is not None and not any(least <= s <= most for s in wanted):
        raise UsageError(f"--levels names no level between {least:.3g} and {most:.3g}")


# ------------------------------------------------------------------------ the paper's models


def _field(
    saved: Saved,
    ckpt: Path,
    image: Tensor | None,
    samples: int,
    long: int,
    machine: Machine,
    as_json: bool,
    out: Path | None,
) -> Iterable[Path]:
    """Tell of a model of the paper's; returns the files written."""
    from gcn_cli.report.energy import energy_facts
    from gcn_cli.report.inspection import (
        field_facts,
        fit_image,
        read_records,
        reconstruct,
        sample_facts,
        training_facts,
    )
    from gcn_cli.report.paper_density import examine_density
    from gcn_cli.report.paper_page import PaperReport
    from gcn_cli.run.card import provenance, sentence

    field = field_facts(saved.model)
    records = read_records(ckpt)
    training = training_facts(saved, records)
    found = reconstruct(saved, image, machine) if image is not None else None
    energies = {"exemplar": energy_facts(saved.model, saved.observed)}
    if image is not None:
        energies["image"] = energy_facts(saved.model, fit_image(saved, image)[None])
    facts, drawn = sample_facts(saved, samples, machine, image) if samples else (None, None)
    density = examine_density(saved, machine, long, image, say)
    tables, lines = _tables(saved, field, training, energies), _lines(training, found, facts)
    report = PaperReport(saved, tables, lines, density, records, found, drawn)
    paths = [] if out is None else _draw(report, out)
    if as_json:
        told = _as_json(saved, field, training, energies, found, facts)
        print_json({**told, **density.as_data(), "origin": provenance(saved)})
    else:
        typer.echo(sentence(saved))
        for section in (*tables.values(), *density.tables().values()):
            for table in section:
                print_table(*table)
        for line in (*lines, *density.sentences()):
            typer.echo(line)
    return paths


def _as_json(
    saved: Saved,
    field: FieldFacts,
    training: TrainingFacts,
    energies: dict[str, EnergyFacts],
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
        "energy": {name: asdict(told) for name, told in energies.items()},
    }
    if found is not None:
        told["reconstruction"] = found.figures()
    if facts is not None:
        told["samples"] = facts.as_dict()
    return told


def _tables(
    saved: Saved,
    field: FieldFacts,
    training: TrainingFacts,
    energies: dict[str, EnergyFacts],
) -> dict[str, list[Table]]:
    """By section of the page."""
    title = (
        f"{saved.config.name}, {saved.fingerprint}; tiles in multiples of {saved.model.multiple} px"
    )
    course = training.course
    heads = ["", "field"]
    learned = [] if course is None else [("training, last quarter", heads, _course_rows(course))]
    return {
        "model": [(title, heads, _field_rows(field))],
        "training": learned,
        "energy": [("energy, nats per pixel", ["", *energies], _energy_rows(energies))],
    }


def _lines(
    training: TrainingFacts, found: Reconstruction | None, facts: SampleFacts | None
) -> list[str]:
    """The lines below the tables."""
    state = "complete" if training.complete else "not complete"
    done = "unknown" if training.done is None else training.done
    told = [
        f"updates: {done} of {training.planned}, {state}",
        f"rollbacks: {training.rollbacks}",
        *(f"  {event}" for event in training.events),
        training.verdict,
    ]
    if found is not None:
        told.append(
            f"reconstruction: RMS error {found.error:.2f} grey levels, "
            f"{100 * found.relative_error:.1f} % of the image's contrast "
            f"(centre alone: {found.centre_error:.2f})"
        )
    return told if facts is None else [*told, _samples_text(facts)]


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


def _energy_rows(energies: dict[str, EnergyFacts]) -> list[list[str]]:
    names = {
        "energy": "U = reference - f",
        "reference": "reference, |I|^2 / 2 sigma^2",
        "tilt": "f = alpha + <B, I>",
        "alpha": "alpha",
        "inner_product": "<B, I>",
        "score": "score, RMS nats per grey level",
    }
    return [
        [text, *(f"{getattr(told, name):.4g}" for told in energies.values())]
        for name, text in names.items()
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


def _draw(report: PaperReport, out: Path) -> list[Path]:
    from gcn_cli.report import figures
    from gcn_cli.report.paper_page import write_paper_report

    if report.records and not figures.can_plot():
        say("no training-curve.png: it needs matplotlib; pip install 'gcn-cli[report]'")
    try:
        return write_paper_report(report, out)
    except OSError as error:
        raise GcnError(f"cannot write pictures to {out}: {error.strerror}") from error
