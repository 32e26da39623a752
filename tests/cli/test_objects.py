"""Aligned objects from the command line."""

import pytest
import torch
import yaml

from gcn_cli.images.files import load_image, save_png
from gcn_cli.run.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def objects(gcn, texture_data, tmp_path_factory):
    """A run on four pictures of 16 px."""
    box = tmp_path_factory.mktemp("objects")
    (box / "images").mkdir()
    for k in range(4):
        noise = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(k))
        save_png(box / "images" / f"{k}.png", 120 + 40 * noise)
    data = texture_data(
        place=True, sizes={"coarsest": 1}, images={"mode": "joint"}, likelihood={"updates": 0}
    )
    (box / "object.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    words = ("--config", box / "object.yaml", "--out", box / "runs")
    result = gcn("train", "--images", box / "images", *words)
    assert result.exit_code == 0, result.stderr
    return box / "runs" / "00000-images"


def test_a_sample_has_the_objects_own_canvas(gcn, objects, tmp_path):
    assert load_checkpoint(objects).model.place == (16, 16)
    result = gcn("synthesize", "--ckpt", objects, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert load_image(tmp_path / "sample-16x16-seed0.png").shape == (1, 16, 16)


def test_another_canvas_is_refused(gcn, objects):
    result = gcn("synthesize", "--ckpt", objects, "--size", 32)
    assert result.exit_code == 2
    assert "this model is of objects on 16x16 px, not 32x32; leave out --size" in result.stderr


def test_objects_are_inspected_on_their_canvas(gcn, objects, tmp_path):
    image = objects.parents[1] / "images" / "2.png"
    result = gcn("inspect", "--ckpt", objects, "--image", image, "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "index.html").is_file()
    large = tmp_path / "large.png"
    save_png(large, torch.full((1, 24, 24), 9.0))
    result = gcn("inspect", "--ckpt", objects, "--image", large)
    assert "the image is 24x24 px; this model is of objects on 16x16 px" in result.stderr
