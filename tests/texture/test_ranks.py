"""Several processes learn what one learns: batches and chains are shared out, noise is not changed.

What differs is the order of float32 sums, which Adam and Muon magnify where a gradient is faint:
the tolerance is 1e-3 of the way that weights went. Noise of another item alone changes all of it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch

from gcn_cli.field.likelihood import parameters
from gcn_cli.field.optimise import flatten
from gcn_cli.run.config import validate
from gcn_cli.run.jobs import mean_colour
from gcn_cli.run.plan import Subject, build_plan
from gcn_cli.texture import learn as course_of
from gcn_cli.texture.learn import begin, learn
from gcn_cli.texture.paper import learn as paper
from gcn_cli.texture.plan import make_plan

ROUNDING = 1e-3


@pytest.fixture
def texture(recipe, blurred, machine):
    """Learning of two sizes as a function of ranks: so many yields from a state on."""

    def build(known=None, **changes):
        observed = blurred(2.0, n=1 if known is None else len(known))
        acts = {"updates": 3, "finer_updates": 3}
        parts = {
            "sizes": {"coarsest": 2},
            "reconstruction": {**acts, "batch": 3},
            "likelihood": {**acts, "chains": 3, "rate": 1e-2, "vote_rate": 1e-2},
            **changes,
        }
        plan = make_plan(recipe(**parts), observed, 0, known)

        def work(ranks, state=None, yields=None):
            begun = begin(plan, machine.device) if state is None else state
            course = learn(plan, observed, begun, replace(machine, ranks=ranks), known)
            return list(islice(course, yields))

        return begin(plan, machine.device), work

    return build


@pytest.fixture
def field(small_data, draw_images, machine):
    """The same of the paper's recipe, of ``count`` chains, or at the data of so many images."""

    def build(chains, count=3, images=1):
        data = small_data(langevin={"dither": chains != "data"})
        data["learning"] |= {"chains": chains, "count": count, "data_noise": 0.2}
        if chains == "data":
            data |= {"boundary": "bounded", "canvas": None}
            del data["learning"]["count"]
        observed = 120 + 40 * draw_images(images, 1, 24, 24, dtype=torch.float32)
        mean = mean_colour(observed)
        plan = build_plan(validate(data), Subject.of(observed, mean))

        def work(ranks, state=None, yields=None):
            machine_here = replace(machine, ranks=ranks)
            course = paper.learn(plan, observed, mean, state or paper.begin(), machine_here)
            return list(islice(course, yields))

        return work

    return build


def _close(ends, other, begun):
    """Whether two vectors are equal up to rounding, and learning moved."""
    way = float((ends - begun).abs().max())
    assert way > 1e-3
    assert float((ends - other).abs().max()) <= ROUNDING * way


@pytest.mark.parametrize("size", [2, 5])
def test_processes_learn_the_texture_that_one_learns(size, texture, together, alone):
    begun, work = texture()
    one = work(alone)
    for told in together(size, work):
        assert [info.act for _, info in told] == [info.act for _, info in one]
        _close(told[-1][0].weights, one[-1][0].weights, begun.weights)
        for (_, info), (_, seen) in zip(told, one, strict=True):
            for figure in {"loss", "gap", "spread"} & {k for k, v in vars(seen).items() if v}:
                close = pytest.approx(getattr(seen, figure), rel=1e-3, abs=1e-5)
                assert getattr(info, figure) == close


def test_processes_weigh_unknown_pixels_as_one_does(texture, together, alone):
    known = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    known[0, :, :, 46:] = False  # of no picture all is known, so crops have unlike weights
    known[1, :, 50:, :30] = False
    begun, work = texture(known)
    *_, (expected, _) = work(alone)
    for told in together(2, work):
        _close(told[-1][0].weights, expected.weights, begun.weights)


def test_a_texture_goes_on_with_another_number_of_processes(texture, together, alone):
    begun, work = texture()
    one = work(alone)
    expected = one[-1][0].weights
    for yields in (2, 5):  # within an act, at a new size
        state = together(2, lambda ranks, n=yields: work(ranks, None, n))[0][-1][0]
        _close(work(alone, state)[-1][0].weights, expected, begun.weights)
        now = one[yields - 1][0]
        shared = together(2, lambda ranks, s=now: work(ranks, s))[1][-1][0]
        _close(shared.weights, expected, begun.weights)


KINDS = {
    "persistent": {"chains": "persistent"},
    "restart": {"chains": "restart"},
    "as many images": {"chains": "restart", "images": 3},
    "fewer images": {"chains": "restart", "images": 2},
    "data": {"chains": "data", "images": 3},
}


def _flat(weights):
    return flatten(parameters(weights))


@pytest.mark.parametrize(
    ("kind", "size"), [(kind, 2) for kind in KINDS] + [("persistent", 4), ("data", 4)]
)
def test_processes_learn_the_papers_field_that_one_learns(kind, size, field, together, alone):
    work = field(**KINDS[kind])
    one = work(alone)
    begun = _flat(one[0][0].weights)
    for told in together(size, work):
        _close(_flat(told[-1][0].weights), _flat(one[-1][0].weights), begun)
        for (state, info), (expected, seen) in zip(told, one, strict=True):
            torch.testing.assert_close(
                state.chains.images, expected.chains.images, rtol=1e-4, atol=1e-2
            )
            assert info.active == pytest.approx(seen.active, abs=1e-3)
            for name in ("f_observed", "f_synthesized", "spread_basis", "spread_chains"):
                assert getattr(info, name) == pytest.approx(getattr(seen, name), rel=1e-3)


def test_the_papers_chains_go_on_with_another_number_of_processes(field, together, alone):
    work = field("persistent")
    one = work(alone)
    begun, expected = _flat(one[0][0].weights), _flat(one[-1][0].weights)
    state = together(2, lambda ranks: work(ranks, None, 3))[1][-1][0]
    _close(_flat(work(alone, state)[-1][0].weights), expected, begun)
    shared = together(2, lambda ranks: work(ranks, one[2][0]))[0][-1][0]
    _close(_flat(shared.weights), expected, begun)


@pytest.mark.parametrize("blind", [0, 1])
def test_what_the_first_process_sees_decides_for_all(blind, texture, together, monkeypatch):
    """A loss that is not a number in one process alone: all go back, or none."""
    _, work = texture()
    monkeypatch.setattr(course_of, "BLOCK", 1)

    def see(ranks):
        right, updates = course_of._Work._info, iter(range(10**6))

        def told(self, state, loss=None, **figures):
            wrong = next(updates) == 1 and ranks.rank == blind
            return right(self, state, math.nan if wrong else loss, **figures)

        monkeypatch.setattr(course_of._Work, "_info", told)
        return [info.event for _, info in work(ranks)]

    first, second = together(2, see)
    assert first == second
    assert any(first) == (blind == 0)
