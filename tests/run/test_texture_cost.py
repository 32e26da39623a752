"""What a texture recipe costs, by arithmetic."""

from dataclasses import replace

import pytest

from gcn_cli.run.texture_cost import update_work
from gcn_cli.texture.plan import make_plan
from gcn_cli.texture.recipe import Recipe


def test_what_is_given_costs_at_finer_sizes_alone(texture_data, blurred):
    keys = ("layers", "sizes", "reconstruction", "likelihood", "sampler")
    data = texture_data()
    plan = make_plan(Recipe(**{key: data[key] for key in keys}), blurred(2.0, 64, channels=3))
    alone = replace(plan.net, given=0).multiply_adds()
    assert alone < plan.net.multiply_adds()
    coarsest, finer = plan.sizes
    crops = 6 * plan.recipe.reconstruction.batch
    for size, each in ((coarsest, alone), (finer, plan.net.multiply_adds())):
        work = update_work(plan, size, "reconstruction")
        assert work == pytest.approx(crops * size.crop**2 * each)
