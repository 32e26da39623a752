"""Whether runs hold the same, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def raw(run: Path) -> Any:
    """What the checkpoint of a run folder holds, as plain data."""
    return torch.load(run / "run.pt", weights_only=True)


def same(a: Any, b: Any) -> bool:
    """Whether plain data are equal, tensors in them too."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
