"""Correlations across maps."""

import pytest
import torch

from gcn_cli.statistics.maps import REACH, cross_correlations, cross_map_error


def _noise(channels: int, seed: int) -> torch.Tensor:
    return torch.randn(channels, 96, 96, generator=torch.Generator().manual_seed(seed))


def test_a_channel_that_is_shifted_is_found_at_its_shift():
    one = _noise(1, 0)
    both = torch.cat([one, -torch.roll(one, (2, -3), (1, 2))])
    (found,) = cross_correlations(both, [(0, 1)])
    assert found[REACH + 2, REACH - 3] == pytest.approx(-1, abs=0.02)
    found[REACH + 2, REACH - 3] = 0
    assert float(found.abs().max()) < 0.07  # 4.5 deviations of 80 x 80 independent pixels


def test_scale_and_offset_do_not_count():
    image = _noise(2, 1)
    scaled = image * torch.tensor([3.0, 0.5])[:, None, None] + 7
    pairs = [(0, 1)]
    assert torch.allclose(cross_correlations(scaled, pairs), cross_correlations(image, pairs))


def test_the_exemplar_itself_has_no_error_and_maps_of_their_own_have_all_of_it():
    shared = _noise(1, 2)
    fitting = torch.cat([shared, shared])
    assert cross_map_error(fitting, fitting, (1, 1)) == 0
    other = _noise(1, 3)
    again = torch.cat([other, other])  # another picture of the same law
    assert cross_map_error(fitting, again, (1, 1)) < 0.3
    assert cross_map_error(fitting, torch.cat([shared, other]), (1, 1)) > 0.9


def test_channels_of_one_map_are_not_compared():
    image = _noise(3, 4)
    assert cross_map_error(image, _noise(3, 5), (3,)) == 0
    mixed = torch.cat([image[:2], image[2:] * -1])
    assert cross_map_error(image, mixed, (2, 1)) > 0
    assert cross_map_error(image, torch.cat([image[1:2], image[:1], image[2:]]), (3,)) == 0
