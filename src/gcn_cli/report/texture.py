"""What `gcn inspect` tells of a model of all noise levels: tables, data, pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.images.files import atomic_write_bytes
from gcn_cli.images.maps import Material
from gcn_cli.images.sheets import image_grid, labelled_sheet
from gcn_cli.report import figures
from gcn_cli.report.at_size import View
from gcn_cli.report.facts import Facts, ImageFacts, SizeFacts, steps_of
from gcn_cli.report.modes import Modes
from gcn_cli.report.stay import Stay
from gcn_cli.report.told import (
    Table,
    equation_data,
    equation_table,
    modes_data,
    modes_table,
    stay_data,
    stay_table,
    unit_data,
)
from gcn_cli.report.units import UnitFacts
from gcn_cli.report.verdict import equations_text, judge_density
from gcn_cli.run.jobs import shown
from gcn_cli.texture.draw import Model
from gcn_cli.texture.learn import ACTS

Record = Mapping[str, Any]

_GREY, _DOUBLE = 128.0, 64.0  # grey levels of a loss as the exemplar's, and of one twice as high
_UNIT_SIDE = 52  # px that a unit's picture is enlarged to, about
_QUIET = 2.0  # standard errors that a gap may lie off 0
_CALM, _SPREAD_TOLERANCE = 0.05, 0.2  # nats per pixel; share of the data's spread


@dataclass(frozen=True)
class Subject:
    """A model, the images (N, C, H, W) in grey levels that it learned from, and how it learned.

    ``records`` are the updates told beside the checkpoint.
    """

    model: Model
    observed: Tensor
    name: str
    fingerprint: str
    complete: bool = True
    records: Sequence[Record] = ()
    material: Material | None = None

    def shown(self, y: Tensor, factor: int = 1) -> Tensor:
        """An image (C, h, w) in units of contrast as a picture, each pixel ``factor`` px large."""
        grey = self.model.to_grey(y[None])[0].cpu()
        return _enlarged(shown(self.material, grey).clamp(0, 255), factor)


# -------------------------------------------------------------------------- tables and data


def tables(subject: Subject, facts: Facts) -> list[Table]:
    """The tables of a terminal."""
    told = [model_table(subject), level_table(facts)]
    if facts.equations:
        told.append(equation_table(facts.equations))
    told += [stay_table(stay) for stay in facts.stays]
    if facts.image is not None:
        told.append(image_table(facts.image))
    return [*told, *(modes_table(modes) for modes in facts.modes)]


def model_table(subject: Subject) -> Table:
    """What the model is."""
    title = (
        f"{subject.name}, {subject.fingerprint}; tiles in multiples of {subject.model.multiple} px"
    )
    return title, ["", "model"], _model_rows(subject.model)


def level_table(facts: Facts) -> Table:
    """The exemplar at every level."""
    heads = [*("size", "s", "loss", "Gaussian's", "gap, nats/px", "U, nats/px", "U of chains")]
    return "the exemplar, by noise level", [*heads, "z", "active"], _level_rows(facts)


def image_table(image: ImageFacts) -> Table:
    """The picture at every level."""
    heads = ["size", "s", "U, nats/px", "z", "loss", "of exemplar's", "explained", "by spectrum"]
    return "the image, by noise level", heads, _image_rows(image)


def sentences(subject: Subject, facts: Facts) -> list[str]:
    """The lines below the tables."""
    told = [_explained_text(facts), _gap_text(facts), equations_text(facts.equations)]
    told += [stay.sentence for stay in facts.stays]
    told.append(verdict(subject))
    parts = {"exemplar": min(size.usable for size in facts.sizes)}
    if facts.image is not None:
        parts["image"] = facts.image.usable
    told += [
        f"{name}: measured on {share:.0%} of it, where all around is known"
        for name, share in parts.items()
        if share < 1
    ]
    if facts.image is not None:
        told.append(f"image: {facts.image.verdict.sentence}")
    told += [modes.sentence for modes in facts.modes]
    judged = judge_density(facts.equations, facts.stays)
    return [*told, f"density: {judged.kind}; {judged.sentence}"]


def as_data(subject: Subject, facts: Facts) -> dict[str, Any]:
    """Everything, ready for JSON."""
    model = subject.model
    told: dict[str, Any] = {
        "fingerprint": subject.fingerprint,
        "preset": subject.name,
        "kind": "texture",
        "parameters": model.net.n_parameters() * len(model.sizes),
        "receptive_field": model.net.receptive_field,
        "multiple": model.multiple,
        "layers": layer_texts(model),
        "sizes": [_size_data(size) for size in facts.sizes],
        "training": {
            "complete": subject.complete,
            "verdict": verdict(subject),
            "records": [dict(record) for record in subject.records],
        },
        "density": asdict(judge_density(facts.equations, facts.stays)),
        "equations": [equation_data(level) for level in facts.equations],
        "units": [unit_data(unit) for unit in facts.units],
    }
    if facts.stays:
        told["stay"] = [stay_data(stay) for stay in facts.stays]
    if facts.modes:
        told["modes"] = [modes_data(modes) for modes in facts.modes]
    if facts.image is not None:
        told["image"] = {
            "verdict": facts.image.verdict.kind,
            "sentence": facts.image.verdict.sentence,
            "usable": facts.image.usable,
            "levels": [asdict(level) for level in facts.image.levels],
        }
    return told


def _size_data(size: SizeFacts) -> dict[str, Any]:
    levels = [{**asdict(level), "z": level.z} for level in size.levels]
    return {**asdict(size), "levels": levels}


def layer_texts(model: Model) -> list[str]:
    """Layers in the field's shorthand; see `LayerSpec.shorthand`."""
    return [spec.shorthand for spec in model.net.layers]


def _model_rows(model: Model) -> list[list[str]]:
    ladders = [
        f"1/{size.reduction}: {len(size.levels)} from s = {float(size.levels[0]):.3g} "
        f"to {float(size.levels[-1]):.3g}"
        for size in model.sizes
    ]
    return [
        ["layers", " ".join(layer_texts(model))],
        ["parameters", f"{model.net.n_parameters():,} at each of {len(model.sizes)} sizes"],
        ["receptive field", f"{model.net.receptive_field} px"],
        ["noise levels", "; ".join(ladders)],
        ["contrast, grey levels", f"{model.contrast:.4g}"],
    ]


def _level_rows(facts: Facts) -> list[list[str]]:
    return [
        [
            f"1/{size.reduction}",
            f"{level.s:.3g}",
            f"{level.loss:.3f}",
            f"{level.gaussian_loss:.3f}",
            f"{level.gap:+.3f} ± {level.gap_error:.3f}",
            f"{level.energy:.3f}",
            f"{level.chain_energy:.3f} ± {level.chain_spread:.3f}",
            f"{level.z:+.1f}",
            " ".join(f"{share:.2f}" for share in level.active),
        ]
        for size, level in steps_of(facts)
    ]


def _image_rows(image: ImageFacts) -> list[list[str]]:
    return [
        [
            f"1/{level.reduction}",
            f"{level.s:.3g}",
            f"{level.energy:.3f}",
            f"{level.z:+.1f}",
            f"{level.loss:.3f}",
            f"{level.relative_loss:.2f}",
            f"{level.explained:.2f}",
            f"{level.correlated:.2f}",
        ]
        for level in image.levels
    ]


def _explained_text(facts: Facts) -> str:
    size, best = min(steps_of(facts), key=lambda pair: pair[1].loss / pair[1].gaussian_loss)
    share = 100 * (1 - best.loss / best.gaussian_loss)
    where = f"s = {best.s:.3g} at 1/{size.reduction}"
    if share <= 0:
        return (
            f"reconstruction: nowhere better than the Gaussian field of the same spectrum ({where})"
        )
    return (
        f"reconstruction: the filters explain up to {share:.0f} % of what the Gaussian field of "
        f"the same spectrum leaves ({where})"
    )


def _gap_text(facts: Facts) -> str:
    levels = list(steps_of(facts))
    quiet = sum(abs(level.gap) <= _QUIET * level.gap_error for _, level in levels)
    size, worst = max(levels, key=lambda pair: abs(pair[1].gap))
    return (
        f"likelihood: the gap lies within {_QUIET:g} standard errors of 0 at {quiet} of "
        f"{len(levels)} levels; widest {worst.gap:+.3f} nats per pixel, s = {worst.s:.3g} at "
        f"1/{size.reduction}"
    )


def verdict(subject: Subject) -> str:
    """``converged: yes|no|not yet|unknown``, and why, by the last quarter of act two.

    Its mean gap lies within the gap's own deviation of 0, or within 0.05 nats per pixel, and the
    chains' mean spread is within 20 % of the data's.
    """
    if not subject.complete:
        return "converged: not yet; learning is not complete"
    told = [r for r in subject.records if r.get("act") == ACTS[1] and r.get("gap") is not None]
    last = [r for r in told if r.get("size") == told[-1].get("size")]
    last = last[-max(1, len(last) // 4) :]
    if not last:
        return "converged: unknown; no updates of likelihood are told beside the checkpoint"
    gaps = [float(r["gap"]) for r in last]
    gap = math.fsum(gaps) / len(gaps)
    off = math.sqrt(math.fsum((g - gap) ** 2 for g in gaps) / len(gaps))
    spread = math.fsum(float(r["spread"]) for r in last) / len(last)
    told_so = (
        f"over the last {len(last)} updates of likelihood the gap was {gap:+.3f} ± {off:.3f} nats "
        f"per pixel, and the chains' spread {100 * spread:.0f} % of the data's"
    )
    calm = abs(gap) <= max(off, _CALM) and abs(spread - 1) <= _SPREAD_TOLERANCE
    return f"converged: {'yes' if calm else 'no'}; {told_so}"


# --------------------------------------------------------------------------------- pictures


def pictures(subject: Subject, facts: Facts) -> dict[str, Tensor]:
    """File name to picture (C, H, W) in grey levels, in the order of the page."""
    model = subject.model
    sizes = [f"1/{size.reduction}" for size in facts.sizes]
    channels = min(3, model.net.channels) if model.net.channels != 2 else 1  # of a material some
    told = {
        "chain.png": chain_strip(subject, facts),
        "samples.png": image_grid(
            [
                shown(subject.material, subject.observed[0].cpu()),
                *(subject.shown(y) for y in facts.chains.samples),
            ],
            columns=None if subject.material is None else 1,
        ),
        "denoising.png": views_sheet(subject, sizes, facts.views),
        "filters.png": labelled_sheet(
            [
                (name, [figures.filter_grid(size.weights.filters[0][:, :channels], columns=16)])
                for name, size in zip(sizes, model.sizes, strict=True)
            ]
        ),
    }
    if facts.units:
        told["units.png"] = units_sheet(subject, facts.units)
    if facts.stays:
        sheets = [stay_sheet(subject.shown, one) for one in facts.stays]
        told["stay.png"] = stacked(sheets)
    if facts.modes:
        sheets = [modes_sheet(subject.shown, one) for one in facts.modes]
        told["modes.png"] = stacked(sheets)
    if facts.image is not None:
        told["image-denoising.png"] = views_sheet(subject, sizes, facts.image.views)
        told["image-map.png"] = map_sheet(subject, sizes, facts.image)
    return told


def stacked(sheets: Sequence[Tensor]) -> Tensor:
    """Sheets (C, H, W) of unlike sizes below one another, on white."""
    width = max(sheet.shape[-1] for sheet in sheets)
    white = [F.pad(s, (0, width - s.shape[-1], 0, 0), value=255.0) for s in sheets]
    return torch.cat(white, 1)


def chain_strip(subject: Subject, facts: Facts) -> Tensor:
    """The first chain from noise to texture: y / sqrt(1 + s^2), every size as large as the full."""
    looks, titles = [], []
    for size, s, y in facts.chains.strip:
        r = subject.model.sizes[size].reduction
        looks.append(subject.shown(y / math.sqrt(1 + s**2), r))
        titles.append(f"s = {s:.3g} at 1/{r}")
    return labelled_sheet([("", looks)], titles)


def views_sheet(subject: Subject, sizes: Sequence[str], views: Sequence[Sequence[View]]) -> Tensor:
    """At every size two rows, y / sqrt(1 + s^2) and D(y, s), and a column for every level."""
    sheets = []
    for name, measured, size in zip(sizes, views, subject.model.sizes, strict=True):
        if measured:
            looks = [subject.shown(view.y, size.reduction) for view in measured]
            told = [subject.shown(view.reconstruction, size.reduction) for view in measured]
            titles = [f"s = {view.s:.3g}" for view in measured]
            sheets.append(labelled_sheet([(name, looks), ("D(y, s)", told)], titles))
    return image_grid(sheets, columns=1)


def map_sheet(subject: Subject, sizes: Sequence[str], image: ImageFacts) -> Tensor:
    """The image at every size that it was measured at, beside the map of its strangeness.

    Middle grey: reconstructed as well as the exemplar. Every doubling of the loss is 64 grey levels
    brighter, every halving as much darker.
    """
    rows = []
    for name, size, picture, found in zip(
        sizes, subject.model.sizes, image.pictures, image.maps, strict=True
    ):
        grey = (_GREY + _DOUBLE / math.log(2) * found).clamp(0, 255)
        r = size.reduction
        rows.append((name, [subject.shown(picture, r), _enlarged(grey, r)]))
    return labelled_sheet(rows, ["image", "local loss against the exemplar's"])


def units_sheet(subject: Subject, units: Sequence[UnitFacts]) -> Tensor:
    """A column a unit, strongest first; of each layer what they paint, then their patches."""
    rows: list[tuple[str, list[Tensor]]] = []
    for reduction, layer in dict.fromkeys((unit.reduction, unit.layer) for unit in units):
        mine = [u for u in units if (u.reduction, u.layer) == (reduction, layer)]
        scale = max(1, _UNIT_SIDE // mine[0].basis.shape[-1])
        painted = [_painted(subject, unit.basis, scale) for unit in mine]
        rows.append((f"1/{reduction} layer {layer + 1}", painted))
        for k in range(len(mine[0].patches)):
            rows.append(("", [subject.shown(unit.patches[k], scale) for unit in mine]))
    return labelled_sheet(rows)


def _painted(subject: Subject, basis: Tensor, scale: int) -> Tensor:
    """A basis (C, r, r) as a picture about grey, spanning its own range."""
    colours = shown(subject.material, basis.clone())[: 1 if len(basis) == 2 else 3]
    grey = _GREY + 127 * colours / colours.abs().max().clamp_min(1e-12)
    return _enlarged(grey.clamp(0, 255), scale)


def stay_sheet(shown: Callable[[Tensor, int], Tensor], told: Stay) -> Tensor:
    """D(y, s) of long chains before their first and after their last step, the exemplar's last."""
    names = f"start, 1/{told.reduction}", f"{told.steps} steps"
    titles = [k for k in (told.begun, "exemplar") for _ in range(told.chains // 2)]
    rows = [
        (name, [shown(d, told.reduction) for d in ends])
        for name, ends in zip(names, told.pictures, strict=True)
    ]
    return labelled_sheet(rows, titles)


def modes_sheet(shown: Callable[[Tensor, int], Tensor], told: Modes) -> Tensor:
    """Starts of the descents, and where they lead at every level."""
    start = f"start, 1/{told.reduction}"
    rows = [(start, told.starts), *((f"s = {k.s:.3g}", k.ends) for k in told.levels)]
    titles = [descent.start for descent in told.levels[0].descents]
    return labelled_sheet(
        [(name, [shown(y, told.reduction) for y in ys]) for name, ys in rows], titles
    )


def _enlarged(picture: Tensor, factor: int) -> Tensor:
    return picture.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


# ----------------------------------------------------------------------------------- curves


@figures.plotting()
def loss_curves(facts: Facts, path: Path) -> None:
    """Loss of reconstruction by level beside the Gaussian field's, as PNG; needs `can_plot`."""
    figure, axes = _figure(1)
    for k, size in enumerate(facts.sizes):
        s = [level.s for level in size.levels]
        losses = [level.loss for level in size.levels]
        gaussian = [level.gaussian_loss for level in size.levels]
        axes[0].plot(s, losses, f"C{k}o-", label=f"1/{size.reduction}, the field")
        axes[0].plot(s, gaussian, f"C{k}:", label=f"1/{size.reduction}, Gaussian")
    axes[0].set_xscale("log")
    axes[0].set_xlabel("noise level s, units of contrast")
    axes[0].set_ylabel("loss of reconstruction")
    axes[0].legend()
    _save(figure, path)


@figures.plotting()
def training_curves(records: Sequence[Record], path: Path) -> None:
    """Loss in act one, gap and spread in act two, over all updates, as PNG; needs `can_plot`."""
    figure, axes = _figure(3)
    labels = ("loss", "gap, nats per px", "spread of chains\nover the data's")
    for axis, name, label in zip(axes, ("loss", "gap", "spread"), labels, strict=True):
        sizes = sorted({r["size"] for r in records if "size" in r}, reverse=True)
        for k, size in enumerate(sizes):
            told = [
                (r.get("done", place), r[name])
                for place, r in enumerate(records)
                if r.get("size") == size and r.get(name) is not None
            ]
            axis.plot([x for x, _ in told], [y for _, y in told], f"C{k}", label=f"1/{size}")
        axis.set_ylabel(label)
    axes[1].axhline(0, color="0.7", linewidth=1)
    axes[2].axhline(1, color="0.7", linewidth=1)
    axes[2].set_xlabel("update")
    axes[0].legend()
    _save(figure, path)


def _figure(rows: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2 + 2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, 1, squeeze=False)[:, 0])


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    atomic_write_bytes(path, buffer.getvalue())
