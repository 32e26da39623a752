"""The report of a model of the paper's on disk: pictures, and one page that holds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gcn_cli.images.files import save_png
from gcn_cli.report import figures
from gcn_cli.report.inspection import Reconstruction, Record
from gcn_cli.report.page import Section, html_page, write_page
from gcn_cli.report.paper_density import PaperDensity
from gcn_cli.report.texture import modes_sheet, stay_sheet
from gcn_cli.report.told import Table
from gcn_cli.run.checkpoint import Checkpoint


@dataclass(frozen=True)
class PaperReport:
    """What is told of a model: tables of model, training and energy, lines, what was measured."""

    saved: Checkpoint
    tables: Mapping[str, list[Table]]
    lines: Sequence[str]
    density: PaperDensity
    records: Sequence[Record] = ()
    found: Reconstruction | None = None
    drawn: Tensor | None = None

    def shown(self, y: Tensor, factor: int = 1) -> Tensor:
        """A centred image (C, H, W) as a picture; all are of full size, so that factor is 1."""
        return (y.cpu() + self.saved.mean).clamp(0, 255)


def pictures(report: PaperReport) -> dict[str, Tensor]:
    """File name to picture (C, H, W) in grey levels."""
    told = {"filters.png": figures.filters_picture(report.saved.model)}
    if report.found is not None:
        told["reconstruction.png"] = figures.reconstruction_picture(report.found)
    if report.drawn is not None:
        told["samples.png"] = figures.samples_picture(report.saved.observed[0], report.drawn)
    for stay in report.density.stays:
        told["stay.png"] = stay_sheet(report.shown, stay)
    for modes in report.density.modes:
        told["modes.png"] = modes_sheet(report.shown, modes)
    return told


def write_paper_report(report: PaperReport, out: Path) -> list[Path]:
    """Write pictures, a curve where matplotlib is there, and ``index.html``; returns the paths.

    Raises:
        OSError: the disk refuses.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = []
    for name, picture in pictures(report).items():
        save_png(out / name, picture)
        names.append(name)
    if report.records and figures.can_plot():
        figures.training_curve(list(report.records), out / "training-curve.png")
        names.append("training-curve.png")
    title = f"{report.saved.config.name}, {report.saved.fingerprint}"
    lines = [*report.lines, *report.density.sentences()]
    judged, parts = report.density.judged, sections(report)
    return write_page(out, names, lambda held: html_page(title, judged, lines, parts, held))


def sections(report: PaperReport) -> list[Section]:
    """All of them, in the order of the page; those without content are left out later."""
    tables = {**report.tables, **report.density.tables()}
    return [
        Section("Samples", "", [], ["samples.png"]),
        Section(
            "Likelihood equations",
            "At the maximum of likelihood E_obs[df/dw] = E_model[df/dw]; s = 0: the pictures are "
            "without noise. Each cell: how far apart the two are, in % of the data's own moment, "
            "and in Monte-Carlo errors.",
            tables["equations"],
            [],
        ),
        Section(
            "Long chains",
            "The model's Langevin dynamics, from samples and from the exemplar. R-hat near 1: they "
            "have forgotten where they began.",
            tables["stay"],
            ["stay.png"],
        ),
        Section("What units look for", "", [], ["filters.png"]),
        Section("The image", "", [], ["reconstruction.png"]),
        Section(
            "Where descents from the image lead",
            "I <- sigma^2 B(I) without noise. |D - y|, D being sigma^2 B, is 0 at a mode. Away: "
            "from the image, over what was spoiled.",
            tables["modes"],
            ["modes.png"],
        ),
        Section("Energy", "", tables["energy"], []),
        Section("Learning", "", tables["training"], ["training-curve.png"]),
        Section("Model", "", tables["model"], [], True),
    ]
