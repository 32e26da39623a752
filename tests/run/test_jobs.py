"""Images made ready to be learned from: colours and size."""

import pytest
import torch

from gcn_cli.run.config import resolve
from gcn_cli.run.jobs import prepare_image


def _prepared(image: torch.Tensor, *overrides: str) -> torch.Tensor:
    return prepare_image(resolve("texture", overrides=overrides), image)


@pytest.mark.parametrize(("channel", "weight"), [(0, 0.299), (1, 0.587), (2, 0.114)])
def test_grey_weighs_colours_as_the_eye_does(channel, weight):
    image = torch.zeros(3, 8, 8)
    image[channel] = 200.0
    grey = _prepared(image, "images.colour=grey")
    assert grey.shape == (1, 8, 8)
    assert grey.mean().item() == pytest.approx(200 * weight, rel=1e-5)


def test_colours_that_are_all_alike_are_grey_unless_rgb_is_asked_for():
    grey = torch.arange(64.0).view(1, 8, 8).expand(3, -1, -1)
    assert _prepared(grey).shape == (1, 8, 8)
    assert _prepared(grey, "images.colour=rgb").shape == (3, 8, 8)
    nearly = grey.clone()
    nearly[2, 0, 0] += 1
    assert _prepared(nearly).shape == (3, 8, 8)


def test_the_longest_side_is_kept_below_its_limit_and_the_shape_with_it():
    assert _prepared(torch.rand(3, 40, 80), "images.max_side=20").shape == (3, 10, 20)
    assert _prepared(torch.rand(3, 40, 80), "images.max_side=80").shape == (3, 40, 80)
