"""The certificate: nothing but error where samples are the exemplar's own crops."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.report.certificate import HOLDS, Moments, certify, holding, worst

LEVEL = 0.5


def _cut(torus, count, side, seed):
    """``count`` windows (count, C, side, side) of a torus at random places."""
    draw = torch.Generator().manual_seed(seed)
    rolled = []
    for _ in range(count):
        dy, dx = (2 * int(k) for k in torch.randint(torus.shape[-1] // 2, (2,), generator=draw))
        rolled.append(torch.roll(torus, (dy, dx), (-2, -1))[..., :side, :side])
    return torch.cat(rolled)


@pytest.fixture(scope="module")
def told(random_field, blurred, noise):
    """Of crops of the exemplar as samples, and of samples with too much contrast."""
    torus = blurred(1.0, 64, 1, 2)

    def at(x, seed):
        return x + LEVEL * noise(*x.shape, seed=seed)

    observed = Moments(at(_cut(torus, 12, 40, 0), 1), None, False)
    crops = Moments(at(_cut(torus, 12, 64, 2), 3), None, True)
    strong = Moments(at(1.4 * _cut(torus, 12, 64, 2), 3), None, True)
    return [certify(random_field, 1, LEVEL, observed, made) for made in (crops, strong)]


def test_the_equations_hold_where_samples_are_the_exemplars_crops(told):
    assert list(told[0].blocks) == ["layer 1", "layer 2", "mixers", "votes", "biases"]
    for name, found in told[0].blocks.items():
        assert found.errors < HOLDS, name
        assert found.excess < 0.1, name


def test_they_do_not_where_samples_have_another_contrast(told):
    found = told[1].blocks["votes"]
    assert found.errors > 5
    assert 0.1 < found.excess < found.distance
    assert (holding(told, "votes"), worst(told, "votes")) == (1, told[1])


def test_pictures_learned_together_are_one_row(random_field, noise):
    y = noise(6, 2, 32, 32)
    pairs = Moments(y, None, True, together=2)
    assert pairs.rows == 3
    single = Moments(y, None, True)
    a = certify(random_field, 1, LEVEL, pairs, single)
    assert all(found.distance < 1e-4 for found in a.blocks.values())  # equal means
    assert certify(random_field, 1, LEVEL, Moments(y, None, True, 6), single) is None


def test_what_cannot_be_told_is_not(random_field, noise):
    small, made = noise(3, 2, 8, 8), Moments(noise(3, 2, 32, 32), None, True)
    assert certify(random_field, 1, LEVEL, Moments(small, None, False), made) is None
    assert certify(random_field, 1, LEVEL, made, Moments(noise(1, 2, 32, 32), None, True)) is None
