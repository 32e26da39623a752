"""Sampling in bfloat16 gives pictures as good as in float32."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.engine.support import Machine
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.field_sampling import sample
from gcn_cli.run.sampling import Request
from gcn_cli.statistics.metrics import evaluate_texture

SEEDS = tuple(range(8))


def _figures(saved, dtype, temperature=1.0):
    """Figures (seeds, kinds) of 64 px samples."""
    machine = Machine(torch.device("cpu"), dtype)
    *_, last = sample(saved.model, Request(64, 64, SEEDS, "none", temperature), machine)
    told = [evaluate_texture(saved.observed[0], image[None]) for image in last.images]
    kinds = ("struct", "gram", "spectrum_db", "colour", "swd")
    return torch.tensor([[getattr(one, kind) for kind in kinds] for one in told])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "dithered"])
def test_bfloat16_changes_no_figure_beyond_the_spread_of_seeds(trained, name):
    saved = load_checkpoint(trained[name])
    exact, rough = (_figures(saved, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert not torch.equal(exact, rough)
    spread = exact.std(0)
    assert ((rough.mean(0) - exact.mean(0)).abs() < spread).all()
    hot = _figures(saved, torch.float32, temperature=4.0)  # control: a change that does matter
    assert ((hot.mean(0) - exact.mean(0)).abs() > spread).any()
