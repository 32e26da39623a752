"""The device and its arithmetic, and whether it can run the kernels of `gcn_cli.engine.kernels`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec

import torch

from gcn_cli.engine.ranks import Ranks


@dataclass(frozen=True)
class Machine:
    """Where and how exactly to compute, and by how many processes."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    ranks: Ranks = field(default_factory=Ranks)


@cache
def has_kernels(device: torch.device) -> bool:
    """Whether a small kernel runs on ``device``.

    Triton builds kernels when they are first called; without a C compiler, or for a card too old
    for it, that fails, and the device is used without them.
    """
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    try:
        if torch.cuda.get_device_capability(device) < (8, 0):  # no bfloat16 in its matrix units
            return False
        from gcn_cli.engine.kernels import fill_normal_

        probe = torch.empty(1, 1, 1, 1, device=device)
        chains = torch.zeros(1, dtype=torch.int32, device=device)
        return bool(fill_normal_(probe, chains, 1, 0, 1).isfinite())
    except Exception:  # whatever a compiler, a driver or Triton itself may raise
        return False
