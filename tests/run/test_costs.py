"""What learning and drawing cost, counted by hand: work and memory."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gcn_cli.engine import Machine
from gcn_cli.field.network import LayerSpec, NoiseNet
from gcn_cli.run import field_cost, texture_cost, texture_course
from gcn_cli.run.config import validate
from gcn_cli.run.jobs import Job, mean_colour
from gcn_cli.run.kinds import open_course
from gcn_cli.run.plan import Subject, build_plan
from gcn_cli.run.texture_cost import chain_bytes, learning_bytes, total_seconds, update_work
from gcn_cli.texture.draw import Model
from gcn_cli.texture.learn import ACTS

CPU = torch.device("cpu")
WEIGHTS = torch.zeros(1, 1, 1)


@pytest.fixture
def course(texture_data):
    generator = torch.Generator().manual_seed(0)
    observed = (120 + 30 * torch.randn(1, 3, 48, 40, generator=generator)).round()
    job = Job("noise", observed, mean_colour(observed))
    return lambda **changes: open_course(validate(texture_data(**changes)), job)


def test_the_work_of_an_update_is_that_of_its_passes(course):
    plan = course(likelihood={"chains": 3}, reconstruction={"batch": 2}).plan
    net, size = plan.net, plan.sizes[-1]  # at the coarsest nothing is given
    # 8 filters of 4 px on 3 + 3 channels at every 2nd px, 8 x 8 votes; 8 of 3 px on 8, votes
    per_pixel = (8 * 6 * 16 + 64 + 8 * 8 * 9 + 64) / 4
    assert net.multiply_adds() == per_pixel
    assert update_work(plan, size, ACTS[0]) == 6 * per_pixel * 2 * size.crop**2
    steps = 2 * len(size.levels) * 3
    for levels in (2, 100):
        recipe = plan.recipe
        likelihood = recipe.likelihood.model_copy(update={"levels": levels})
        changed = replace(plan, recipe=recipe.model_copy(update={"likelihood": likelihood}))
        gradients = 3 * min(levels, len(size.levels)) * 4
        told = update_work(changed, size, ACTS[1])
        assert told == per_pixel * size.canvas**2 * (steps + gradients)


def test_the_seconds_of_all_updates_add_up(course):
    plan = course().plan
    assert [size.updates for size in plan.sizes] == [(30, 2), (30, 2)]
    assert total_seconds(plan, [(1.0, 10.0), (2.0, 100.0)]) == 30 + 20 + 60 + 200


@pytest.mark.parametrize("kind", ["texture", "field"])
def test_processes_try_equally_often_however_long_each_takes(kind, course, small_config, together):
    draw = torch.Generator().manual_seed(0)
    cost = texture_cost if kind == "texture" else field_cost

    def tried(ranks):
        ticks = itertools.count(0, 1 if ranks.leads else 1000)  # one finds that all takes long
        cost.time = SimpleNamespace(perf_counter=ticks.__next__)
        machine = Machine(CPU, ranks=ranks)
        if kind == "texture":
            shown = torch.randn(1, 3, 48, 40, generator=draw)
            return len(texture_cost.update_seconds(course().plan, shown, machine))
        plan = build_plan(small_config(), Subject(1, 24, 32, 40.0))
        shown = 40 * torch.randn(1, 1, 24, 32, generator=draw)
        return len(field_cost._update_seconds(plan, shown, machine))

    assert together(2, tried) == [2, 2]


def test_the_memory_of_learning_is_maps_of_the_larger_act_and_copies_of_weights(course):
    def wanted(area):
        maps = 3 * area + 2 * 8 * area / 4 + 2 * 8 * area / 4  # the image, two layers, their votes
        return int(6 * maps * 2) + 4 * plan.net.n_parameters() * (8 + 2)

    plan = course().plan
    assert plan.sizes[0].crop == plan.sizes[1].crop == 24
    assert learning_bytes(plan, torch.bfloat16) == wanted(max(24**2, 2 * 16**2))
    plan = course(reconstruction={"batch": 5}).plan
    assert learning_bytes(plan, torch.bfloat16) == wanted(5 * 24**2)
    plan = course(likelihood={"chains": 4}).plan
    assert learning_bytes(plan, torch.bfloat16) == wanted(5 * 16**2)


def test_the_memory_of_a_chain_is_its_maps_up_to_a_window_and_its_canvas():
    net = NoiseNet((LayerSpec(8, 4, 2), LayerSpec(6, 3, vote=True)), 3)
    model = Model(net, (), WEIGHTS, 1.0)
    for canvas, seen in (((32, 48), 32 * 48), ((4096, 1024), 1024**2)):
        maps = 3 * seen + 8 * seen / 4 + 2 * 6 * seen / 4
        images = 5 * 3 * canvas[0] * canvas[1] * 4
        assert chain_bytes(model, canvas, torch.float32) == int(4 * maps * 4) + images


def test_work_ahead_is_what_the_acts_have_not_done_yet(course, machine):
    told = course()
    first, second = (
        [update_work(told.plan, size, act) for size in told.plan.sizes] for act in ACTS
    )
    state = told.begin(CPU)
    assert told.ahead(state) == {
        ACTS[0]: 30 * first[0] + 30 * first[1],
        ACTS[1]: 2 * second[0] + 2 * second[1],
    }
    at = replace(state, act=ACTS[1], update=1)
    assert told.ahead(at) == {ACTS[0]: 30 * first[1], ACTS[1]: second[0] + 2 * second[1]}
    at = replace(state, size=1, update=10)
    assert told.ahead(at) == {ACTS[0]: 20 * first[1], ACTS[1]: 2 * second[1]}
    at = replace(state, size=1, act=ACTS[1], update=2)
    assert told.ahead(at) == {}
    done = [told.beats(replace(state, size=s, act=a, update=1)) for s in (0, 1) for a in ACTS]
    assert done == [1, 30 + 25, 30 + 50 + 1, 60 + 50 + 25]


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_all_updates_is_at_least_one_where_there_was_one(course, share):
    config = course(likelihood={"updates": 0, "finer_updates": 3}, budget=5.0).config
    less = texture_course._shortened(config, share)
    assert (less.reconstruction.updates, less.reconstruction.finer_updates) == (
        (int(30 * share),) * 2
    )
    assert (less.likelihood.updates, less.likelihood.finer_updates) == (0, max(1, int(3 * share)))
    assert less.budget == 0


def test_a_budget_lowers_what_would_take_longer_and_no_more(course, machine, monkeypatch):
    monkeypatch.setattr(
        "gcn_cli.run.texture_cost.update_seconds", lambda *_: [(0.5, 5.0), (0.5, 5.0)]
    )
    late = course(budget=25.0)
    fitted, told = late.fitted(machine)
    assert (fitted.config.reconstruction.updates, fitted.config.likelihood.updates) == (15, 1)
    assert "would take about 50s here" in told
    assert "budget of 25s they are lowered to 50% (15 of" in told
    estimate = late.estimate(machine)
    assert (estimate.seconds, estimate.note) == (50.0, told)
    assert estimate.parameters == 2 * late.plan.net.n_parameters()
    for enough in (50.0, 51.0):
        fitted, told = course(budget=enough).fitted(machine)
        assert (fitted.config.reconstruction.updates, told) == (30, None)
        assert course(budget=enough).estimate(machine).note is None
    free = course()
    assert free.fitted(machine) == (free, None)


def test_a_run_of_one_size_is_extended_by_the_first_sizes_key(course):
    assert course().more == "likelihood.finer_updates"
    assert course(sizes={"coarsest": 1}).more == "likelihood.updates"


# ------------------------------------------------------------------------------- kind field


def test_work_and_memory_of_the_papers_kind(small_config):
    plan = build_plan(small_config(learning={"grow": True, "steps": 5}), Subject(1, 24, 32, 40.0))
    # on a canvas of 16 px: 4 filters of 4 px at every 2nd, then 3 of 3 px on 4 channels
    passes = [4 * 16 * 64, 4 * 16 * 64 + 3 * 4 * 9 * 64]
    for stage, per_pass in enumerate(passes):
        fixed = 1e8 * (stage + 1)
        seen = 2 + 3 * 24 * 32 / 256
        wanted = 2 * (2 * per_pass + fixed) * 5 + 3 * (per_pass * seen + fixed)
        assert field_cost.update_cost(plan, stage, (3, 1, 24, 32)) == pytest.approx(wanted)
    inputs, outputs, image = 256 + 4 * 64, 4 * 64 + 3 * 64, 256
    one = 2 * (inputs + outputs) * 2 + 5 * image * 4
    assert field_cost.chain_bytes(plan.net, (16, 16), "torus", torch.bfloat16) == one
    observed = torch.zeros(3, 1, 24, 32)
    seen = 4 * 11 * 15 + 3 * 9 * 13
    assert field_cost._bytes(plan, observed, torch.bfloat16) == 2 * 2 * one + 2 * seen * 3 * 2


def test_the_seconds_of_a_plan_scale_with_the_work_of_its_stages(small_config, monkeypatch):
    plan = build_plan(small_config(learning={"grow": True, "steps": 5}), Subject(1, 24, 32, 40.0))
    monkeypatch.setattr(field_cost, "_update_seconds", lambda *_: (0.25, 1.0))
    shape = (1, 1, 24, 32)
    last = 4 * 0.25 + 1.0  # an update of the whole net: one step is part of what was timed
    costs = [field_cost.update_cost(plan, stage, shape) for stage in (0, 1)]
    told = field_cost.estimate(plan, torch.zeros(shape), Machine(CPU))
    assert told.seconds == pytest.approx(6 * last * (1 + costs[0] / costs[1]))
    assert told.parameters == plan.net.n_parameters()


def test_the_work_ahead_of_the_papers_kind_goes_from_stage_to_stage(small_config, picture):
    course = open_course(
        small_config(learning={"grow": True}), Job("a", picture, mean_colour(picture))
    )
    costs = [field_cost.update_cost(course.plan, stage, picture.shape) for stage in (0, 1)]
    state = course.begin(CPU)
    for stage, update in itertools.product((0, 1), (0, 4)):
        at = replace(state, stage=stage, update=update)
        left = (6 - update) * costs[stage] + (6 * costs[1] if stage == 0 else 0)
        assert course.ahead(at) == {"": pytest.approx(left)}
