"""What a recipe comes to for the pictures at hand, and which pictures it cannot do."""

from __future__ import annotations

import pytest

from gcn_cli.errors import ConfigError, ImageError
from gcn_cli.texture.plan import LEAST_VIEWS, at_size, make_plan

REFUSED = (ImageError, ConfigError)


def test_an_image_smaller_than_the_field_of_view_is_refused_with_its_size(recipe, blurred):
    image = blurred(1.0, 64)[..., :9, :40]
    assert recipe().net(1).receptive_field == 10
    with pytest.raises(ImageError, match=r"the image is 40x9 px; .* windows of 10 px, so both"):
        make_plan(recipe(), image)


def test_sizes_go_from_the_coarsest_to_the_whole_image(recipe, blurred):
    given = recipe(
        sizes={"coarsest": 4},
        reconstruction={"finer_updates": 40},
        likelihood={"finer_updates": 2},
    )
    plan = make_plan(given, blurred(2.0, 128), seed=7)
    assert [size.reduction for size in plan.sizes] == [4, 2, 1]
    assert [len(size.levels) for size in plan.sizes] == [10, 6, 6]
    assert [size.updates for size in plan.sizes] == [(50, 3), (40, 2), (40, 2)]
    assert plan.total_updates == 53 + 2 * 42
    assert plan.seed == 7
    assert {size.crop for size in plan.sizes} == {32}
    assert all(size.canvas % 4 == 0 for size in plan.sizes)


def test_the_coarsest_size_is_chosen_by_the_motifs_and_holds_a_few_views(recipe, blurred):
    given = recipe(sizes={"coarsest": None})
    assert [s.reduction for s in make_plan(given, blurred(0.0, 128)).sizes] == [1]
    plan = make_plan(given, blurred(2.5, 128))
    reduction = plan.sizes[0].reduction
    assert 10 * reduction >= 2 * plan.motif > 10 * reduction / 2
    huge = make_plan(given, blurred(20.0, 128)).sizes[0].reduction
    assert 128 // huge >= LEAST_VIEWS * 10 > 128 // (2 * huge)


def test_crops_are_no_larger_than_the_image_and_its_mirrored_margin_and_fit_the_strides(
    recipe, blurred
):
    big = recipe(reconstruction={"crop": 300, "margin": 6})
    for width, crop in ((64, 64 + 2 * 6), (21, 32)):
        (size,) = make_plan(big, blurred(1.0, 64)[..., :width]).sizes
        assert size.crop == crop
    wide = recipe(reconstruction={"crop": 300, "margin": 15})
    (size,) = make_plan(wide, blurred(1.0, 64)[..., :14]).sizes
    assert size.crop == 14 + 2 * 13  # a mirror shows no more than the image


def test_reduced_images_lose_no_mean_and_no_coarse_motif(blurred):
    images = 3 + blurred(6.0, 64)
    half = at_size(images, 2)
    assert half.shape == (1, 1, 32, 32)
    assert half.mean() == pytest.approx(3, abs=1e-3)
    assert half.std() == pytest.approx(1, abs=0.02)
    assert at_size(images, 1) is images


def finite(course):
    return all(x.event is None and x.symptom() is None for x in course.infos)


@pytest.mark.parametrize("side", [10, 12, 14, 16])
def test_an_image_is_refused_or_it_can_be_learned(side, recipe, blurred, run):
    """Act two needs more than the field of view: its windows have a margin of half of it."""
    short = recipe(
        reconstruction={"updates": 1, "crop": 16}, likelihood={"updates": 1, "levels": 1}
    )
    try:
        course = run(short, blurred(1.0, 64)[..., :side, :side])
    except REFUSED:
        return
    assert finite(course)


def test_a_coarsest_size_too_small_for_the_network_is_refused(recipe, blurred):
    with pytest.raises(REFUSED):
        make_plan(recipe(sizes={"coarsest": 16}), blurred(1.0, 64))  # 4 px; the network sees 10


def test_a_margin_that_leaves_nothing_of_a_small_images_crops_is_refused(recipe, blurred):
    wide = recipe(reconstruction={"crop": 64, "margin": 20})
    with pytest.raises(ImageError, match=r"crops of 40 px .* a margin of 20 px leaves nothing"):
        make_plan(wide, blurred(1.0, 64)[..., :14, :14])


def test_canvases_suit_the_coarser_sizes_that_their_chains_start_from(recipe, blurred):
    plan = make_plan(recipe(sizes={"coarsest": 8}, likelihood={"canvas": 20}), blurred(1.0, 128))
    stride, coarsest = plan.net.total_stride, plan.sizes[0].reduction
    for size in plan.sizes[1:]:
        assert size.canvas * size.reduction % (stride * coarsest) == 0


def test_canvases_are_never_empty(recipe, blurred):
    layers = [
        {"filters": 2, "size": 4, "stride": 4},
        {"filters": 2, "size": 4, "stride": 4, "vote": True},
    ]
    given = recipe(layers=layers, reconstruction={"margin": 1})
    try:
        plan = make_plan(given, blurred(1.0, 64))
    except REFUSED:
        return
    assert plan.sizes[0].canvas > 0


def test_a_ladder_of_one_level_has_no_act_two(recipe, blurred, run):
    """The first level is pure noise: there is nothing to compare there. Refused, or left out."""
    from pydantic import ValidationError

    try:
        given = recipe(sampler={"steps": 1}, reconstruction={"updates": 1})
        plan = make_plan(given, blurred(1.0, 64))
    except (*REFUSED, ValidationError):
        return
    assert plan.sizes[0].updates[1] == 0 or finite(run(given, blurred(1.0, 64)))
