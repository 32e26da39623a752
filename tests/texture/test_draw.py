"""Drawing: seeds, tori, windows, temperature, and the chain that the field prescribes."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
import torch

from gcn_cli.engine import NoiseSource, open_engine
from gcn_cli.field.ladder import anneal, noise_levels, reconstruct
from gcn_cli.field.network import LayerSpec, NoiseNet, initial_weights
from gcn_cli.texture.denoise import Mixture, OneField, Part
from gcn_cli.texture.draw import Model, SizeModel, chain, draw, fresh, opener, start
from gcn_cli.texture.pyramid import enlarge_torus


class OtherNoise(NoiseSource):
    """The same random phases, but Gaussian numbers of another seed."""

    def normal_(self, out, purpose, step, first_row=0):
        return super().normal_(out, f"other/{purpose}", step, first_row)


def sample(model, canvas, machine, noise=None, **given):
    noise = noise or NoiseSource(3, [0], machine.device)
    *_, last = draw(model, canvas, noise, machine, **given)
    return last.y.clone()


def share_alike(told, true):
    """Share of pixels that are equal: where rounding switched a unit, those that see it are not."""
    return float(((told - true).abs() < 1e-3).double().mean())


def test_a_seed_gives_the_same_picture_alone_and_among_others(course, machine):
    together = fresh(course.model, (32, 40), range(3), 5, machine)
    assert torch.equal(fresh(course.model, (32, 40), range(3), 5, machine), together)
    for k in range(3):
        alone = fresh(course.model, (32, 40), [k], 5, machine)
        assert share_alike(alone, together[k : k + 1]) > 0.97
    other = fresh(course.model, (32, 40), range(3), 6, machine)
    pictures = torch.cat([together, other]).flatten(1)
    alike = torch.corrcoef(pictures) - torch.eye(6)
    assert alike.abs().max() < 0.6


@pytest.mark.parametrize("canvas", [(128, 128), (72, 132), (272, 40)])
def test_a_sample_in_windows_is_that_of_the_whole_canvas(canvas, course, machine):
    """272 rows are more than share a key of noise."""
    noise = NoiseSource(3, [4, 1], machine.device)
    whole = sample(course.model, canvas, machine, noise, window=4096)
    *_, moved, last = draw(course.model, canvas, noise, machine, window=64)
    assert whole.shape == (2, 1, *canvas)
    assert share_alike(last.y, whole) > 0.97
    assert moved.reconstruction is None  # control: it never was computed whole


def test_a_low_and_wide_sample_in_windows_is_that_of_the_whole_canvas(course, machine):
    whole = sample(course.model, (8, 132), machine, window=4096)
    told = sample(course.model, (8, 132), machine, window=32)
    assert share_alike(told, whole) > 0.97


def test_where_d_is_held_whole_the_network_sees_windows_all_the_same(course, machine):
    """As a mixture's is, here of one model."""
    model = course.model
    no_shift, all_of_it = torch.zeros(1, 1, 1), torch.ones(1, 1, 1, 1)

    def mixture(window):
        opened = opener(model, machine, window)
        return lambda index: Mixture([Part(opened(index), 1.0, no_shift, all_of_it)])

    noise = NoiseSource(3, [4, 1], machine.device)
    whole = sample(model, (72, 132), machine, noise, window=4096)
    told = sample(model, (72, 132), machine, noise, window=32, denoisers=mixture(32))
    assert share_alike(told, whole) > 0.97


def test_opposite_sides_of_a_sample_meet_as_neighbours_do(learned, machine):
    images = fresh(learned.model, (32, 32), range(48), 1, machine)
    for dim in (2, 3):
        jumps = (images - images.roll(1, dim)).square().mean((0, 1, 5 - dim))
        assert jumps.mean() < 1.2 * images.var()  # 2 if neighbours had nothing in common
        inside = jumps[1:]
        assert abs(jumps[0] - inside.mean()) < 4 * inside.std()


def test_samples_look_like_the_exemplar_to_second_order(learned, machine):
    images, x = fresh(learned.model, (64, 64), range(4), 1, machine), learned.observed
    assert float(images.std()) == pytest.approx(float(x.std()), abs=0.12)
    for by, least, most in ((1, 0.5, 0.9), (2, 0.2, 0.6)):
        for y in (images, x):
            assert least < float((y * y.roll(by, 2)).mean() / y.square().mean()) < most


def test_at_temperature_zero_no_noise_has_a_say(course, machine):
    noises = [kind(3, [0], machine.device) for kind in (NoiseSource, OtherNoise)]
    for window in (4096, 16):
        cold = [
            sample(course.model, (32, 32), machine, n, temperature=0.0, window=window)
            for n in noises
        ]
        assert torch.equal(*cold)
        warm = [sample(course.model, (32, 32), machine, n, window=window) for n in noises]
        assert not torch.allclose(*warm, atol=0.1)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_chain_is_the_fields(temperature, machine):
    """With strides of 1 there are no phases, and `draw` is `field.ladder.anneal`."""
    net = NoiseNet((LayerSpec(4, 3, 1, True), LayerSpec(4, 3, 1, True)), 2)
    weights = initial_weights(net, torch.Generator().manual_seed(0))
    levels = noise_levels(4.0, 0.1, 7)
    model = Model(net, (SizeModel(1, levels, weights),), torch.zeros(2, 1, 1), 1.0)
    noise = NoiseSource(8, [0, 5], machine.device)

    def normal(purpose, k):
        return temperature**0.5 * noise.normal_(torch.empty(2, 2, 10, 12), purpose, k)

    def gradient(z, s):
        return net.gradient(z, s, weights, "torus")

    first = 4.0 * normal("start/0", 0)
    true = anneal(gradient, first, levels, lambda k: normal("anneal/0", k))
    told = sample(model, (10, 12), machine, noise, temperature=temperature)
    assert share_alike(told, true) > 0.97


def test_every_step_is_told_with_its_level_and_what_was_reconstructed(course, machine):
    model = course.model
    steps = list(draw(model, (32, 32), NoiseSource(3, [0], machine.device), machine))
    assert model.total_steps == 16
    assert [(step.size, step.index) for step in steps] == [
        *((0, k) for k in range(11)),
        *((1, k) for k in range(7)),
    ]
    told = torch.tensor([step.s for step in steps], dtype=torch.float64)
    ladders = [torch.cat([size.levels, torch.zeros(1)]) for size in model.sizes]
    torch.testing.assert_close(told, torch.cat(ladders))
    assert [step.y.shape[-1] for step in steps] == [16] * 11 + [32] * 7
    assert torch.equal(steps[-1].y, steps[-2].reconstruction)
    assert steps[-1].reconstruction is None


def test_a_step_takes_the_network_at_a_random_phase_and_rolls_the_picture_back(course, machine):
    """Among the phases is one whose reconstruction is that of the step, and they vary."""
    model, stride = course.model, course.plan.net.total_stride
    sampler = open_engine(model.net, machine.device, machine.dtype).opened(model.sizes[0].weights)
    noise, phases = NoiseSource(3, [0], machine.device), set()
    y = start(model, 0, (1, 1, 16, 16), None, noise)
    for step in chain(model, 0, OneField(sampler), y, noise):
        if step.reconstruction is None:
            continue
        s = torch.full((1,), step.s)
        fits = []
        for by in ((dy, dx) for dy in range(stride) for dx in range(stride)):
            d = reconstruct(sampler, step.y.roll(by, (2, 3)), s).roll([-n for n in by], (2, 3))
            if torch.allclose(d, step.reconstruction, atol=1e-6):
                fits.append(by)
        assert len(fits) == 1
        phases.update(fits)
    assert len(phases) > 2


def test_a_finer_chain_starts_at_the_enlarged_coarser_sample_and_noise(course, machine):
    model, noise = course.model, NoiseSource(3, range(8), machine.device)
    below = 5 + torch.zeros(8, 1, 16, 16)
    below[..., 8:] = -5
    y = start(model, 1, (8, 1, 32, 32), below, noise)
    left, right = y[..., 4:12], y[..., 20:28]
    assert float(left.mean()) == pytest.approx(5, abs=0.15)
    assert float(right.mean()) == pytest.approx(-5, abs=0.15)
    level = float(model.sizes[1].levels[0])
    assert float(left.std()) == pytest.approx(level, abs=0.1)
    cold = start(model, 1, (8, 1, 32, 32), below, noise, temperature=0.0)
    assert float(cold[..., 4:12].std()) < 0.1
    assert float(start(model, 0, (8, 1, 32, 32), None, noise).std()) == pytest.approx(20, rel=0.05)


def test_canvases_that_the_strides_do_not_divide_are_refused(course, machine):
    assert course.model.multiple == 4
    with pytest.raises(ValueError, match=r"sides are multiples of 4 px, not \(32, 30\)"):
        sample(course.model, (32, 30), machine)


def test_grey_levels_are_the_mean_and_the_contrast_of_the_exemplar(course):
    model = replace(course.model, mean=torch.tensor([100.0]).view(1, 1, 1), contrast=40.0)
    assert torch.equal(
        model.to_grey(torch.full((1, 1, 2, 2), -0.5)), torch.full((1, 1, 2, 2), 80.0)
    )


def test_a_finer_chain_is_given_the_coarser_sample_under_a_little_noise_at_every_step(
    course, machine
):
    model, noise = course.model, NoiseSource(3, [0], machine.device)
    steps = list(draw(model, (32, 32), noise, machine))
    coarse = next(step.y for step in steps if step.size == 0 and not step.s)
    assert all(step.given is None for step in steps if step.size == 0)
    z = noise.normal_(torch.empty_like(coarse), "given/1", 0)
    given = enlarge_torus(coarse + 0.1 * z, 2)
    fine = [step for step in steps if step.size == 1 and step.s]
    assert all(torch.equal(step.given, given) for step in fine)
    blind = replace(model, given_noise=50.0)  # all noise: what is given matters
    other = deque(draw(blind, (32, 32), noise, machine), maxlen=1)[0].y
    assert not torch.allclose(other, steps[-1].y, atol=0.05)


def test_what_is_given_rolls_with_the_picture(course, machine):
    """Among the phases is one whose reconstruction, given what is rolled alike, is the step's."""
    model, stride = course.model, course.plan.net.total_stride
    sampler = open_engine(model.net, machine.device, machine.dtype).opened(model.sizes[1].weights)
    noise = NoiseSource(3, [0], machine.device)
    below = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    y, phases = start(model, 1, (1, 1, 32, 32), below, noise), set()
    for step in chain(model, 1, OneField(sampler), y, noise, coarser=below):
        if step.reconstruction is None:
            continue
        s = torch.full((1,), step.s)
        for by in ((dy, dx) for dy in range(stride) for dx in range(stride)):
            rolled = step.y.roll(by, (2, 3)), s, step.given.roll(by, (2, 3))
            d = reconstruct(sampler, *rolled).roll([-n for n in by], (2, 3))
            if torch.allclose(d, step.reconstruction, atol=1e-6):
                phases.add((step.index, by))
    assert len(phases) == len({index for index, _ in phases}) == len(model.sizes[1].levels)
    assert len({by for _, by in phases}) > 1
