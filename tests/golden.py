"""Figures of two tiny seeded runs, in float32 on one thread, as they are known to come out.

    python tests/golden.py > tests/golden.json

renews them; a change of numbers that is meant is a line of CHANGELOG.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from gcn_cli.engine import Machine
from gcn_cli.images.files import load_image
from gcn_cli.run.config import validate
from gcn_cli.run.gallery import draw
from gcn_cli.run.jobs import Job, mean_colour
from gcn_cli.run.kinds import KINDS, open_course
from gcn_cli.run.progress import NullProgress
from gcn_cli.run.sampling import Request

ROOT = Path(__file__).resolve().parents[1]
SIDE, SEED = 48, 5
CONFIGS: dict[str, dict[str, Any]] = {
    "texture": {
        "kind": "texture",
        "layers": [
            {"filters": 8, "size": 4, "stride": 2, "vote": True},
            {"filters": 8, "size": 3, "vote": True},
        ],
        "sizes": {"coarsest": 2},
        "reconstruction": {"updates": 50, "finer_updates": 25, "crop": 24, "margin": 4},
        "likelihood": {"updates": 2, "finer_updates": 2, "chains": 1, "canvas": 16, "levels": 2},
        "sampler": {"steps": 4, "langevin": 1, "finer_steps": 3},
    },
    "field": {
        "kind": "field",
        "unit": "contrast",
        "canvas": 32,
        "layers": [{"filters": 8, "size": 4, "stride": 2}, {"filters": 8, "size": 3}],
        "langevin": {"sigma": 0.5, "eps": 0.15},
        "init": {"top_gain": 0.3},
        "learning": {
            "chains": "restart",
            "count": 2,
            "steps": 4,
            "updates": 8,
            "optimiser": {"name": "adam", "rate": 1e-3},
        },
        "sampling": {"start_noise": 1.0},
    },
}
TOLD = ("loss", "gap", "spread", "f_observed", "f_synthesized", "spread_chains")


def figures(kind: str) -> dict[str, dict[str, float]]:
    """What learning told at the end of its acts, norms of filters, and a sample in grey levels."""
    observed = load_image(ROOT / "textures" / "terracotta.png")[None, :, :SIDE, :SIDE].contiguous()
    machine = Machine(torch.device("cpu"))
    config = validate(CONFIGS[kind])
    course = open_course(config, Job("golden", observed, mean_colour(observed)))
    learning: dict[str, float] = {}
    for state, told in course.learn(course.begin(machine.device), machine):
        record = {key: told.record[key] for key in TOLD if told.record.get(key) is not None}
        where = f", 1/{told.record['size']}" if kind == "texture" else ""
        learning |= {f"{key}{where}": float(str(value)) for key, value in record.items()}
        model = course.model(state)
    request = Request(SIDE, SIDE, (SEED,))
    ((_, y),) = draw(KINDS[kind].artist(model), request, machine, NullProgress(), 1)
    return {
        "learning": learning,
        "norms": {name: float(t.double().norm()) for name, t in _tensors(kind, model)},
        "sample": {"mean": float(y.mean()), "deviation": float(y.std())},
        "pixels": {f"{k},{k}": float(y[0, k, k]) for k in range(0, SIDE, 12)},
    }


def _tensors(kind: str, model: Any) -> list[tuple[str, torch.Tensor]]:
    """Filters, by size and layer."""
    if kind == "field":
        return [(f"layer {n}", layer.w) for n, layer in enumerate(model.weights)]
    return [
        (f"1/{size.reduction}, layer {n}", w)
        for size in model.sizes
        for n, w in enumerate(size.weights.filters)
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps({kind: figures(kind) for kind in CONFIGS}, indent=2) + "\n")
