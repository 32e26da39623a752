"""Units: where they answer most, what they paint there, which are strong."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.field.network import LayerSpec, NoiseNet
from gcn_cli.field.units import unit_window
from gcn_cli.report.measure import surround
from gcn_cli.report.units import PATCHES, strongest_units

LEVEL = 0.1


@pytest.fixture(scope="module")
def found(random_field, noise):
    x = noise(1, 2, 48, 40)
    return x, strongest_units(random_field, 4, x, LEVEL)


def test_patches_are_where_the_unit_answers_most(random_field, found):
    x, units = found
    side, step, before = unit_window(random_field.net, 1)
    canvas = surround(random_field, x)
    told = torch.full((1,), LEVEL)
    z = canvas / math.sqrt(1 + LEVEL**2)
    answers = random_field.net.forward(z, told, random_field.weights, "frame").layers[1][0]
    inside = [
        (i, j)
        for i in range(answers.shape[1])
        for j in range(answers.shape[2])
        if all(
            random_field.margin <= k * step - before <= random_field.margin + n - side
            for k, n in ((i, 48), (j, 40))
        )
    ]
    for unit in units:
        i, j = max(inside, key=lambda at: float(answers[unit.index][at]))
        top, left = i * step - before, j * step - before
        patch = canvas[0, :, top : top + side, left : left + side]
        torch.testing.assert_close(unit.patches[0], patch, rtol=1e-5, atol=1e-5)
        assert unit.patches.shape == (PATCHES, 2, side, side)


def test_what_is_painted_is_the_derivative_at_the_patch(random_field, found):
    """Near the patch the response is linear: the basis tells how it changes."""
    _, units = found
    side, step, before = unit_window(random_field.net, 1)
    unit = units[0]
    z = torch.zeros(1, 2, 32, 32)
    i = -(-8 // step)
    top = i * step - before
    z[0, :, top : top + side, top : top + side] = unit.patches[0] / math.sqrt(1 + LEVEL**2)
    z.requires_grad_(True)
    told = torch.full((1,), LEVEL)
    answer = random_field.net.forward(z, told, random_field.weights, "frame").layers[1]
    (wanted,) = torch.autograd.grad(answer[0, unit.index, i, i], z)
    patch = wanted[0, :, top : top + side, top : top + side]
    torch.testing.assert_close(unit.basis, patch, rtol=1e-4, atol=1e-5)


def test_the_strongest_come_first(found):
    _, units = found
    strengths = [unit.strength for unit in units]
    assert strengths == sorted(strengths, reverse=True)
    assert {(unit.reduction, unit.layer) for unit in units} == {(4, 1)}
    assert len({unit.index for unit in units}) == len(units) == 5


def test_a_unit_that_nobody_hears_is_the_weakest(random_field, found):
    x, _ = found
    weights = random_field.weights
    mixers = [m.clone() for m in weights.mixers]
    mixers[1][:, 3] = 0  # the vote of the top layer looks away from its unit 3
    deaf = type(random_field)(
        random_field.net, weights._replace(mixers=tuple(mixers)), random_field.sampler
    )
    last = strongest_units(deaf, 1, x, LEVEL)[-1]
    assert (last.index, last.strength) == (3, 0.0)


def test_a_picture_without_a_whole_window_has_no_units(random_field, noise):
    assert NoiseNet((LayerSpec(2, 4, 2, vote=True),), 1).receptive_field == 4
    assert strongest_units(random_field, 1, noise(1, 2, 6, 6), LEVEL) == []
