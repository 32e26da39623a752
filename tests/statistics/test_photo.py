"""Frames and blocks of a compression."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gcn_cli.statistics.photo import blockiness, inside_frame


def _texture(height: int = 96, width: int = 128) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return 110 + 25 * torch.randn(3, height, width, generator=draw)


def test_a_picture_without_a_frame_is_left_whole():
    assert inside_frame(_texture()) == (0, 0, 128, 96)


@pytest.mark.parametrize("level", [0.0, 255.0, 128.0])
def test_a_frame_is_found_on_every_side(level):
    image = _texture()
    image[:, :3] = level
    image[:, -5:] = level
    image[..., :7] = level
    image[..., -2:] = level
    assert inside_frame(image) == (7, 3, 128 - 9, 96 - 8)


def test_a_single_plain_line_is_no_frame_and_a_plain_picture_has_none():
    image = _texture()
    image[:, 0] = 0
    assert inside_frame(image) == (0, 0, 128, 96)
    assert inside_frame(torch.full((1, 40, 40), 9.0)) == (0, 0, 40, 40)


def test_blocks_of_a_coarse_jpeg_show_in_either_direction():
    smooth = torch.nn.functional.avg_pool2d(_texture()[None], 9, 1, 4)[0]
    levels = (smooth + 3 * _texture() - 330).clamp(0, 255).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(buffer, "JPEG", quality=8)
    coarse = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float()
    assert blockiness(_texture()) < 1.1
    assert blockiness(coarse) > 1.3
    assert blockiness(coarse.mT) == blockiness(coarse)
    assert blockiness(coarse[:, 3:, 3:]) < 1.1  # borders elsewhere are none of JPEG's


def test_small_pictures_have_no_blocks():
    assert blockiness(torch.rand(1, 20, 20)) == 1
