"""What a recipe may say, and the sentence for what it may not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gcn_cli.field.network import LayerSpec
from gcn_cli.texture.recipe import Recipe

LAYER = {"filters": 4, "size": 3, "vote": True}


@pytest.mark.parametrize(
    ("changes", "place", "sentence"),
    [
        ({"colour": 1}, ("colour",), "Extra inputs are not permitted"),
        ({"noise": {"hihgest": 9.0}}, ("noise", "hihgest"), "Extra inputs are not permitted"),
        (
            {"layers": [LAYER, {**LAYER, "padding": 1}]},
            ("layers", 1, "padding"),
            "Unexpected keyword",
        ),
        ({"layers": []}, ("layers",), "at least 1 item"),
        ({"layers": [LAYER, {**LAYER, "size": 4}]}, ("layers", 1), "size minus stride must be"),
        ({"layers": [{**LAYER, "vote": False}]}, (), "no layer votes"),
        ({"noise": {"lowest": 1.0, "finer": 1.0}}, ("noise",), "lowest < finer <= highest"),
        ({"noise": {"highest": 0.5}}, ("noise",), "lowest < finer <= highest"),
        ({"noise": {"highest": float("inf")}}, ("noise", "highest"), "finite number"),
        ({"sizes": {"coarsest": 3}}, ("sizes",), "coarsest is a power of two"),
        (
            {"reconstruction": {"crop": 48, "margin": 24}},
            ("reconstruction",),
            "nothing of the crop",
        ),
        ({"likelihood": {"levels": 0}}, ("likelihood", "levels"), "greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(changes, place, sentence):
    with pytest.raises(ValidationError) as caught:
        Recipe(**{"layers": [LAYER], **changes})
    (error,) = caught.value.errors()
    assert error["loc"] == place
    assert sentence in error["msg"]


def test_layers_alone_are_a_recipe_and_its_values_do_not_change():
    recipe = Recipe(layers=[LAYER])
    assert recipe.net(2).layers == (LayerSpec(4, 3, 1, True),)
    assert recipe.net(2).channels == 2
    with pytest.raises(ValidationError, match="frozen"):
        recipe.noise = recipe.noise
    assert Recipe(**recipe.model_dump()) == recipe
    assert (
        Recipe(layers=[LAYER], reconstruction={"crop": 49, "margin": 24}).reconstruction.crop == 49
    )


def test_the_coarsest_ladder_starts_at_the_highest_level_and_finer_ones_lower(recipe):
    given = recipe(noise={"highest": 9.0, "finer": 0.8, "lowest": 0.1})
    ends = [given.levels(k)[[0, -1]].tolist() for k in (0, 1, 2)]
    assert ends == [pytest.approx(pair) for pair in ([9.0, 0.1], [0.8, 0.1], [0.8, 0.1])]
    assert [len(given.levels(k)) for k in (0, 1, 2)] == [10, 6, 6]
