"""``gcn evaluate``: texture metrics of any pictures against an exemplar."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from gcn_cli.cli.options import AsJson, examples, print_json, print_table
from gcn_cli.errors import UsageError

_EXAMPLES = examples(
    "gcn evaluate --exemplar brick.png --samples a.png b.png --json",
    "gcn evaluate --exemplar materials/paving --samples samples/sample-512x512-seed0",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", epilog=_EXAMPLES)(evaluate)


def evaluate(
    exemplar: Annotated[
        Path, typer.Option("--exemplar", help="The texture to compare with; a folder of its maps.")
    ],
    samples: Annotated[
        list[Path], typer.Option("--samples", help="Pictures or folders of one size.")
    ],
    mask: Annotated[
        Path | None,
        typer.Option("--mask", metavar="FILE", help="White of the exemplar is left out."),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(help="Further samples.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare pictures' statistics with an exemplar's.

    Relative scores: 0 is the exemplar itself, about 1 as far from it as its halves are apart. Of a
    material every map has its scores, and cross-map tells how badly maps fit one another.
    What is transparent or masked is left out.
    """
    if exemplar.is_dir():
        _evaluate_material(exemplar, mask, [*samples, *(more or [])], as_json)
        return
    import torch

    from gcn_cli.images.files import find_images, read_picture
    from gcn_cli.run.jobs import Wish, read_wanted
    from gcn_cli.statistics.metrics import evaluate_texture

    files = [file for path in (*samples, *(more or [])) for file in find_images(path)]
    pictures = [read_picture(file).marked for file in files]
    if len({picture.shape[-2:] for picture in pictures}) > 1:
        raise UsageError("the samples have several sizes; evaluate those of one size at a time")
    original = read_wanted(exemplar, "colour", 0, Wish(mask)).marked
    colours = max(picture.shape[0] for picture in (original, *pictures))
    stack = torch.stack([picture.expand(colours, -1, -1) for picture in pictures])
    scores = evaluate_texture(original.expand(colours, -1, -1), stack).as_dict()
    if as_json:
        print_json({"exemplar": exemplar, "samples": files, "scores": scores})
        return
    rows = [[name, _text(value)] for name, value in scores.items()]
    print_table(f"{len(files)} samples against {exemplar}", ["score", "value"], rows)


def _evaluate_material(
    exemplar: Path, mask: Path | None, folders: list[Path], as_json: bool
) -> None:
    from gcn_cli.report.materials import evaluate_material
    from gcn_cli.run.jobs import Wish, read_material

    wanted, *found = (
        {name: one.marked for name, one in read_material(folder, wish).items()}
        for folder, wish in ((exemplar, Wish(mask)), *((folder, Wish()) for folder in folders))
    )
    scores, error = evaluate_material(wanted, found)
    if as_json:
        told = {"exemplar": exemplar, "samples": folders, "scores": scores, "cross_map": error}
        print_json(told)
        return
    names = list(next(iter(scores.values())))
    rows = [[m, *map(_text, scores[m].values())] for m in scores]
    print_table(f"{len(folders)} samples against {exemplar}", ["map", *names], rows)
    typer.echo(f"cross-map error: {error:.3f} of the exemplar's cross-correlations")


def _text(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
