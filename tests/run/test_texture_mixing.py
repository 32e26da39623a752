"""Mixtures: what is combined, with what weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gcn_cli.errors import UsageError
from gcn_cli.run.texture_mixing import parse_part, patches


def shares(*numbers, side=64):
    return [torch.full((1, 1, side, side), number) for number in numbers]


def test_patches_have_the_shares_that_are_asked_for():
    told = patches(shares(0.2, 0.5, 0.3, side=256), 24, 0)
    total = torch.stack(told).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)
    means = [float(one.mean()) for one in told]
    assert means == pytest.approx([0.2, 0.5, 0.3], abs=0.06)
    sure = torch.stack([(one < 0.1) | (one > 0.9) for one in told]).double().mean()
    assert sure > 0.75
    assert not torch.equal(patches(shares(0.5, 0.5), 24, 0)[0], patches(shares(0.5, 0.5), 24, 1)[0])


def test_a_share_of_all_or_nothing_is_exact():
    first = torch.ones(1, 1, 64, 64)
    first[..., 32:] = 0
    told = patches([first, 1 - first], 24, 0)
    assert torch.equal(told[0], first)
    assert torch.equal(told[1], 1 - first)


def test_patches_are_wide():
    """Neighbours mostly belong to the same model, pixels far apart by chance."""
    first = patches(shares(0.5, 0.5, side=256), 32, 0)[0] > 0.5
    near = (first == first.roll(2, -1)).double().mean()
    far = (first == first.roll(97, -1)).double().mean()
    assert near > 0.85
    assert 0.3 < far < 0.7


def test_parts_read_like_a_run_and_its_weight():
    assert parse_part("runs/a:0.7") == (Path("runs/a"), 0.7)
    assert parse_part("runs/a") == (Path("runs/a"), 1.0)
    assert parse_part("odd:name") == (Path("odd:name"), 1.0)
    for wrong in ("a:0", "a:-1", "a:inf", "a:nan"):
        with pytest.raises(UsageError, match="a weight is a number above 0"):
            parse_part(wrong)
