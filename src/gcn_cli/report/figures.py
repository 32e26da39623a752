"""Pictures of what a model learned: its filters, its course, its reconstructions."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcn_cli.images.files import atomic_write_bytes
from gcn_cli.images.sheets import image_grid, labelled_sheet
from gcn_cli.report.inspection import Reconstruction
from gcn_cli.texture.paper.model import Model

_GREY = 128.0
_FILTER_SIDE = 48  # px that a filter is enlarged to, about
_GAIN = 4.0  # of the difference picture


def filters_picture(model: Model) -> Tensor:
    """First-layer filters of a model of the paper's; see `filter_grid`."""
    return filter_grid(model.weights[0].w)


def filter_grid(filters: Tensor, columns: int | None = None) -> Tensor:
    """Filters (K, 3 or 1, h, w), strongest first; each spans its own range, 0 is grey."""
    w = filters.detach().float().cpu()
    norms = w.flatten(1).norm(dim=1)
    ordered = w[norms.argsort(descending=True)]
    peak = ordered.flatten(1).abs().amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)
    pictures = _GREY + 127.0 * ordered / peak
    scale = max(1, _FILTER_SIDE // w.shape[-1])
    return image_grid(list(pictures), columns, pad=6, scale=scale)


def reconstruction_picture(found: Reconstruction) -> Tensor:
    """The image, its reconstruction and their difference side by side."""
    difference = _GREY + _GAIN * (found.output - found.image)
    row = [found.image, found.output, difference]
    titles = ["I", "c + sigma^2 B(I)", f"difference x {_GAIN:g}"]
    return labelled_sheet([("", [picture.clamp(0, 255) for picture in row])], titles)


def can_plot() -> bool:
    """Whether the optional matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


@contextlib.contextmanager
def plotting() -> Iterator[None]:
    """Silence of NumPy about denormals: matplotlib makes it look, and they are flushed by then."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The value of the smallest", UserWarning)
        yield


@plotting()
def training_curve(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Gap, spreads and active shares over all updates, as PNG; needs `can_plot`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    gap, spread, active = figure.subplots(3, 1, sharex=True)
    gap.axhline(0, color="0.7", linewidth=1)
    mine = [r for r in records if "gap" in r]
    done, colour = [r["done"] for r in mine], "C0"
    gap.plot(done, _values(mine, "gap"), color=colour)
    spread.plot(done, _values(mine, "spread_data"), color=colour, linestyle=":")
    spread.plot(done, _values(mine, "spread_chains"), color=colour)
    spread.plot(done, _values(mine, "spread_basis"), color=colour, linestyle="--")
    depth = max((len(r.get("active", ())) for r in mine), default=0)  # layers may be grown
    for layer in range(depth):
        shares = [_at(r.get("active", ()), layer) for r in mine]
        active.plot(done, shares, color=colour, alpha=1 - 0.6 * layer / (layer + 2))
    gap.set_ylabel("f(obs) - f(syn), nats per px")
    spread.set_ylabel("spread, grey levels\nchains -, data :, B --")
    active.set_ylabel("active units\n(deeper layers fainter)")
    active.set_xlabel("update")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    atomic_write_bytes(path, buffer.getvalue())


def _values(records: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [_number(record.get(name)) for record in records]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _at(values: Sequence[Any], index: int) -> float:
    return _number(values[index]) if index < len(values) else float("nan")


def samples_picture(exemplar: Tensor, samples: Tensor) -> Tensor:
    """The exemplar (C, H, W) first, then samples (N, C, H, W)."""
    return image_grid([exemplar, *torch.unbind(samples)])
