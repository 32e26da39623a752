"""Bands at the seams of a picture that is to tile."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.errors import UsageError
from gcn_cli.run.completion import Source, asked, banded


def source():
    levels = torch.arange(40 * 50.0).view(1, 40, 50)
    return Source(levels, torch.ones(40, 50, dtype=torch.bool), "8")


def test_a_picture_is_cut_to_what_tiles_and_its_middle_is_kept():
    told = asked(banded(source(), "x", 16, 8), (0,), "x")
    cut = source().levels[..., 1:49]
    assert (told.height, told.width) == (40, 48)
    assert torch.equal(told.kept.levels, cut)
    assert told.kept.known.sum(1).tolist() == [40] * 40
    assert not told.kept.known[:, :4].any()
    assert not told.kept.known[:, -4:].any()


@pytest.mark.parametrize("band", [1, 40, 900])
def test_a_band_that_leaves_nothing_is_refused(band):
    with pytest.raises(UsageError, match="a band is 2 to 39 px wide"):
        banded(source(), "y", 1, band)
