"""The report on disk: pictures, and one page that holds them all and asks for nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gcn_cli.images.files import atomic_write_text, jpeg_bytes, load_image, save_png
from gcn_cli.report import figures
from gcn_cli.report.facts import Facts
from gcn_cli.report.texture import (
    Subject,
    image_table,
    level_table,
    loss_curves,
    model_table,
    pictures,
    sentences,
    training_curves,
)
from gcn_cli.report.told import Table, equation_table, modes_table, stay_table
from gcn_cli.report.verdict import Judgement, judge_density

_LARGE = 200_000  # bytes of a PNG above which the page holds a JPEG instead
_CAPTIONS = {
    "samples.png": "The exemplar, then the model's own samples.",
    "chain.png": "One chain from noise to texture: y / sqrt(1 + s²), coarse to fine.",
    "stay.png": "Long chains, first and last step, of all noise levels as D(y, s); left begun at "
    "samples, at finer sizes at the coarser picture, then at the exemplar.",
    "levels.png": "Loss of reconstruction by noise level; dotted: a Gaussian of equal spectrum.",
    "denoising.png": "The exemplar with noise, and the mean D(y, s) that the field decodes.",
    "filters.png": "First-layer filters, strongest first; each spans its own range.",
    "units.png": "Higher units, strongest first: what one of them paints by itself, and below it "
    "the patches that excite it most.",
    "image-map.png": "Local loss of the image: middle grey is as the exemplar, bright is foreign.",
    "image-denoising.png": "The image with noise, and its D(y, s).",
    "modes.png": "Where noise-free descents lead from the image, from it covered, with noise, and "
    "twice with little noise.",
    "reconstruction.png": "The image, its reconstruction and what they differ in.",
    "training-curve.png": "Loss in act one; likelihood gap and spread of the chains in act two.",
}


@dataclass(frozen=True)
class Section:
    """A heading, what it asks, tables, files of pictures; ``folded``: opened by a click."""

    title: str
    text: str
    tables: Sequence[Table]
    files: Sequence[str]
    folded: bool = False


def write_report(subject: Subject, facts: Facts, out: Path) -> list[Path]:
    """Write pictures, curves where matplotlib is there, and ``index.html``; returns what it wrote.

    Raises:
        OSError: the disk refuses.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = []
    for name, picture in pictures(subject, facts).items():
        save_png(out / name, picture)
        names.append(name)
    if figures.can_plot():
        loss_curves(facts, out / "levels.png")
        names.append("levels.png")
        if subject.records:
            training_curves(subject.records, out / "training-curve.png")
            names.append("training-curve.png")
    return write_page(out, names, lambda held: page(subject, facts, held))


def write_page(
    out: Path, names: Sequence[str], page: Callable[[Mapping[str, str]], str]
) -> list[Path]:
    """Write ``index.html`` beside pictures that lie there, holding them; returns all paths.

    Raises:
        OSError: the disk refuses.
    """
    names = [name for name in _CAPTIONS if name in names]
    atomic_write_text(out / "index.html", page({name: embedded(out / name) for name in names}))
    return [out / name for name in [*names, "index.html"]]


def embedded(path: Path) -> str:
    """A PNG as a data URI: as it is, or as JPEG where it is large."""
    data, kind = path.read_bytes(), "png"
    if len(data) > _LARGE:
        data, kind = jpeg_bytes(load_image(path)), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def page(subject: Subject, facts: Facts, held: Mapping[str, str]) -> str:
    """One HTML page: the verdict, sentences, then sections; ``held``: file name to data URI."""
    judged = judge_density(facts.equations, facts.stays)
    name = f"{subject.name}, {subject.fingerprint}"
    return html_page(name, judged, sentences(subject, facts), _sections(subject, facts), held)


def html_page(
    name: str,
    judged: Judgement,
    sentences: Sequence[str],
    sections: Sequence[Section],
    held: Mapping[str, str],
) -> str:
    """A page of a verdict, sentences that it does not say, and sections; ``held``: see `page`."""
    title = html.escape(name)
    lines = "".join(
        f"<li>{html.escape(line)}</li>"
        for line in sentences
        if not line.startswith("density: ") and line not in judged.sentence
    )
    body = [_section(part, held) for part in sections]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        '<link rel="icon" href="data:,">\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f'<p class="verdict {judged.kind}">{html.escape(judged.sentence)}</p>\n<ul>{lines}</ul>\n'
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _sections(subject: Subject, facts: Facts) -> list[Section]:
    """All of them, in the order of the page; those without content are left out later."""
    image = facts.image
    equations = [equation_table(facts.equations)] if facts.equations else []
    foreign = [] if image is None else [image_table(image)]
    return [
        Section("Samples", "What it draws.", [], ["samples.png", "chain.png"]),
        Section(
            "Likelihood equations",
            "At the maximum of likelihood E_obs[df/dw] = E_model[df/dw]. Each cell: how far apart "
            "the two are, in % of the data's own moment, and in Monte-Carlo errors; about 1 error "
            "is agreement. Coloured from 2 errors on.",
            equations,
            [],
        ),
        Section(
            "Long chains",
            "Langevin dynamics at one level of every size: from samples and from the exemplar at "
            "the coarsest; at finer ones, given the exemplar's coarser picture, from it and from "
            "the exemplar. R-hat near 1: they have forgotten where they began.",
            [stay_table(stay) for stay in facts.stays],
            ["stay.png"],
        ),
        Section("What units look for", "", [], ["filters.png", "units.png"]),
        Section("The image", "", [], ["image-map.png"]),
        Section(
            "Where descents from the image lead",
            "y <- D(y, s) without noise. |D - y| is 0 at a mode. Away: from the image, over what "
            "was spoiled.",
            [modes_table(modes) for modes in facts.modes],
            ["modes.png"],
        ),
        Section("Noise levels", "", [], ["levels.png"]),
        Section("Learning", "", [], ["training-curve.png"]),
        Section("Exemplar by noise level", "", [level_table(facts)], ["denoising.png"], True),
        Section("Image by noise level", "", foreign, ["image-denoising.png"], True),
        Section("Model", "", [model_table(subject)], [], True),
    ]


def _section(part: Section, held: Mapping[str, str]) -> str:
    """HTML of a section; empty where it has neither table nor picture."""
    inside = [_table(table) for table in part.tables]
    inside += [_figure(name, held[name]) for name in part.files if name in held]
    if not inside:
        return ""
    if part.text:
        inside.insert(0, f"<p>{html.escape(part.text)}</p>")
    head, body = html.escape(part.title), "\n".join(inside)
    if part.folded:
        return f"<details><summary>{head}</summary>\n{body}\n</details>"
    return f"<section><h2>{head}</h2>\n{body}\n</section>"


def _figure(name: str, data: str) -> str:
    caption = html.escape(_CAPTIONS[name])
    return (
        f'<figure><img src="{data}" alt="{name}"><figcaption>{caption} ({name})</figcaption>'
        "</figure>"
    )


def _table(table: Table) -> str:
    title, heads, rows = table
    lines = [_row("th", heads), *(_row("td", row) for row in rows)]
    return f"<table><caption>{html.escape(title)}</caption>\n" + "\n".join(lines) + "\n</table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(_cell(tag, cell) for cell in cells) + "</tr>"


def _cell(tag: str, cell: str) -> str:
    """A cell; ``12 (3.4)`` is coloured by how many errors it stands off, from 2 on."""
    head, _, rest = cell.partition(" (")
    if head.isdigit() and rest.endswith(")"):
        shade = min(1.0, max(0.0, (float(rest[:-1]) - 2) / 4)) * min(1.0, int(head) / 25)
        return f'<{tag} style="background:rgba(220,90,40,{shade:.2f})">{html.escape(cell)}</{tag}>'
    return f"<{tag}>{html.escape(cell)}</{tag}>"


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;padding:0 1em;max-width:76em}"
    "img{max-width:100%;height:auto}figure{margin:1em 0}figcaption{color:#555}"
    "table{border-collapse:collapse;margin:.8em 0;display:block;overflow-x:auto}"
    "caption{text-align:left;color:#555;padding:.2em 0}"
    "td,th{padding:.15em .7em;text-align:right;white-space:nowrap;border-bottom:1px solid #ddd}"
    ".verdict{font-size:1.2em;padding:.7em 1em;border-left:.5em solid #888;background:#eee}"
    ".calibrated{border-color:#2a8a4a;background:#e6f4ea}"
    ".short-run{border-color:#c8641e;background:#fbeee4}"
    "summary{font-size:1.3em;font-weight:bold;cursor:pointer;margin:.6em 0}"
)
