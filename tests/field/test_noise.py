"""Noise is a function of its key alone."""

from __future__ import annotations

import torch

from gcn_cli.field.noise import NoiseSource, derive_seed, generator

SHAPE = (2, 5, 4)


def _draw(seed, chains, cpu, purpose="langevin", step=7):
    out = torch.empty(len(chains), *SHAPE)
    return NoiseSource(seed, chains, cpu).normal_(out, purpose, step)


def test_a_chains_noise_is_bit_equal_at_any_batch_size_and_order(cpu):
    whole = _draw(3, range(6), cpu)
    assert torch.equal(_draw(3, [4], cpu)[0], whole[4])
    assert torch.equal(_draw(3, [5, 0, 2], cpu), whole[[5, 0, 2]])
    source = NoiseSource(3, range(6), cpu)
    source.normal_(torch.empty(6, *SHAPE), "other", 1)  # what was drawn before does not matter
    assert torch.equal(source.normal_(torch.empty(6, *SHAPE), "langevin", 7), whole)


def test_every_part_of_the_key_matters(cpu):
    base = _draw(3, [4], cpu)
    others = [
        _draw(4, [4], cpu),
        _draw(3, [5], cpu),
        _draw(3, [4], cpu, purpose="start"),
        _draw(3, [4], cpu, step=8),
    ]
    for other in others:
        assert abs(float((base * other).mean())) < 0.6
        assert not torch.equal(base, other)


def test_keys_do_not_run_together():
    keys = [(1, "a", 2), (12, "a"), (1, "a2"), (1, "a", 20), (11, "a", 2)]
    assert len({derive_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= derive_seed(seed, "x") < 2**63 for seed in range(100))


def test_global_random_state_is_neither_read_nor_moved(cpu):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = _draw(3, [1], cpu)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(first, _draw(3, [1], cpu))
    a, b = (torch.randn(4, generator=generator(5, "weights")) for _ in range(2))
    assert torch.equal(a, b)
