"""Long chains of a density that is known: they stay in it, mix at the rate they must, or leave."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.field.ladder import SHARE
from gcn_cli.report.stay import long_chains

LEVEL, STEPS = 1.0, 1200


@pytest.fixture(scope="module")
def own(white_field, noise):
    """Samples and exemplar are white noise, as the density has it."""
    samples = noise(3, 2, 16, 16) * (1 + LEVEL**2) ** 0.5
    x = noise(1, 2, 32, 32, seed=1)
    heard = []
    told = long_chains(white_field, 1, LEVEL, STEPS, samples, x, tell=heard.append)
    return told, heard


def test_chains_stay_where_the_density_is_true(own):
    told, heard = own
    assert told.stays
    assert told.contrast == pytest.approx(1, abs=0.05)
    assert told.rhat < 1.15  # the largest of eight
    assert told.sentence.startswith("a long chain stays")
    assert len(heard) == 1
    assert heard[0].startswith(f"long chains: 6 of 16x16 px at 1/1, {STEPS} steps; ")


def test_the_effective_size_is_that_of_the_linear_chain(own):
    """Every pixel forgets (1 - a/2) at the first step and a at every other; squares twice that."""
    told, _ = own
    a = SHARE * LEVEL**2 / (1 + LEVEL**2)
    every = STEPS // 200
    moments = STEPS // every // 2 * 6
    first = ((1 - a / 2) * (1 - a) ** (every - 1)) ** 2
    wanted = moments / (1 + 2 * first / (1 - (1 - a) ** (2 * every)))
    energy = told.statistics[0]
    assert energy.name == "energy, nats/px"
    assert energy.effective == pytest.approx(wanted, rel=0.5)
    assert energy.exemplar == pytest.approx(1.0, rel=0.1)  # C / 2 nats a pixel
    assert energy.from_samples == pytest.approx(1.0, rel=0.05)


def test_chains_leave_what_the_density_does_not_hold(white_field, noise):
    """An exemplar of twice the contrast: the density's own is 1, and chains go there."""
    samples = noise(2, 2, 24, 24) * (4 + LEVEL**2) ** 0.5
    told = long_chains(white_field, 1, LEVEL, 200, samples, 2 * noise(1, 2, 24, 24, seed=1))
    assert told.contrast == pytest.approx(0.5, abs=0.05)
    assert not told.stays
    assert told.sentence.startswith("a long chain leaves the texture")
    assert told.course[0][0] == pytest.approx(1, abs=0.1)
    assert all(p.shape == (4, 2, 24, 24) for p in told.pictures)


def test_short_chains_remember_where_they_began(white_field, noise):
    samples = noise(2, 2, 24, 24) * 1.15 * (1 + LEVEL**2) ** 0.5
    told = long_chains(white_field, 1, LEVEL, 30, samples, noise(1, 2, 24, 24, seed=1))
    assert told.rhat > 1.1
    assert told.stays
    assert "remembers where it began" in told.sentence


def test_equal_calls_tell_the_same(random_field, noise):
    told = [
        long_chains(random_field, 1, 0.5, 5, noise(2, 2, 16, 16), noise(1, 2, 20, 16, seed=1))
        for _ in range(2)
    ]
    assert torch.equal(told[0].pictures[1], told[1].pictures[1])
    assert told[0].course == told[1].course


def test_what_is_given_lies_beside_one_chain_of_either_half(given_field, noise):
    given = noise(2, 2, 16, 16, seed=2)
    other = torch.stack([noise(2, 16, 16, seed=3), given[1]])
    told = [
        long_chains(
            *(given_field, 1, 0.5, 3, noise(2, 2, 16, 16), noise(2, 2, 16, 16, seed=1)),
            given=beside,
        )
        for beside in (given, other)
    ]
    changed = (told[0].pictures[1] - told[1].pictures[1]).abs().flatten(1).amax(1) > 1e-3
    assert changed.tolist() == [True, False, True, False]
