"""Aligned objects: a field that knows where it is."""

import pytest
import torch

from gcn_cli.engine import choose_machine
from gcn_cli.errors import ImageError
from gcn_cli.texture.draw import fresh
from gcn_cli.texture.learn import begin, learn, model_of
from gcn_cli.texture.place import PLACE, place_maps
from gcn_cli.texture.plan import make_plan
from gcn_cli.texture.recipe import Recipe

OBJECT = {
    "layers": [
        {"filters": 12, "size": 4, "stride": 2, "vote": True},
        {"filters": 12, "size": 3, "vote": True},
    ],
    "place": True,
    "sizes": {"coarsest": 1},
    "reconstruction": {"updates": 150, "batch": 4, "crop": 24, "margin": 4},
    "likelihood": {"updates": 0},
    "sampler": {"steps": 12},
}


def test_no_two_pixels_have_the_same_place():
    maps = place_maps(1, (6, 8), torch.device("cpu"))[0]
    assert maps.shape == (PLACE, 6, 8)
    pixels = maps.flatten(1).T
    far = torch.cdist(pixels, pixels) + 9 * torch.eye(48)
    assert float(far.min()) > 0.5


def test_the_canvas_of_places_is_a_torus():
    """A step over the frame is as long as any other."""
    maps = place_maps(2, (8, 8), torch.device("cpu"))
    for dim in (-2, -1):
        steps = (maps - torch.roll(maps, 1, dim)).square().sum(1)
        assert torch.allclose(steps, steps.mean().expand_as(steps), atol=1e-5)


def test_what_lies_left_in_every_image_lies_left_in_every_sample():
    draw = torch.Generator().manual_seed(0)
    side = torch.cat([torch.ones(16, 8), -torch.ones(16, 8)], 1)
    images = side + 0.3 * torch.randn(6, 1, 16, 16, generator=draw)
    plan = make_plan(Recipe(**OBJECT), images)
    machine = choose_machine("cpu", "fp32")
    *_, (state, _) = learn(plan, images, begin(plan, machine.device), machine)
    model = model_of(plan, state, torch.zeros(1, 1, 1), 1.0)
    assert model.place == (16, 16)
    samples = fresh(model, (16, 16), range(8), 0, machine)
    left, right = samples[..., 1:7].mean((1, 2, 3)), samples[..., 9:15].mean((1, 2, 3))
    assert float(left.min()) > 0.5
    assert float(right.max()) < -0.5


@pytest.mark.parametrize(
    "change", [{"sizes": {"coarsest": 2}}, {"sizes": {}}, {"likelihood": {"updates": 1}}]
)
def test_a_place_is_of_one_size_and_of_reconstruction_alone(change):
    with pytest.raises(ValueError, match="place is of one size and of reconstruction alone"):
        Recipe(**{**OBJECT, **change})


def test_objects_whose_sides_the_strides_do_not_divide_are_refused():
    with pytest.raises(ImageError, match="multiples of 2 px"):
        make_plan(Recipe(**OBJECT), torch.randn(2, 1, 15, 16))
