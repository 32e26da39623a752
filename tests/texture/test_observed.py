"""What is observed of a picture drives a chain to what is left open, and to nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gcn_cli.engine import NoiseSource
from gcn_cli.field.ladder import noise_levels
from gcn_cli.texture.draw import draw, opener
from gcn_cli.texture.observed import Observation, Observing, mirrored, reduction_weights
from gcn_cli.texture.pyramid import shrink, shrink_torus

CANVAS = (16, 24)


@dataclass(frozen=True)
class Gaussian:
    """The denoiser of the field without a network: f = 0, white pixels of variance 1."""

    sampler = None

    def __call__(self, y: Tensor, s: float, given: Tensor | None, shift: tuple[int, int]) -> Tensor:
        return y / (1 + s**2)


def picture(*size, seed=0):
    return torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(seed))


def observation(noise, blur=0.0, factor=1):
    return Observation(picture(*(n // factor for n in CANVAS)), noise, blur, factor)


def matrix(seen):
    """K as a matrix, row by row of what it observes."""
    pixels = CANVAS[0] * CANVAS[1]
    return seen.applied(torch.eye(pixels).view(pixels, 1, *CANVAS)).flatten(1).T.double()


@pytest.fixture
def end(course, machine):
    """Where chains of a one-size ladder end, given what is observed."""
    size = replace(course.model.sizes[-1], reduction=1, levels=noise_levels(20, 0.02, 40))
    model = replace(course.model, sizes=(size,))

    def build(seen, temperature, chains=(0,)):
        noise = NoiseSource(1, chains, machine.device)

        def told(_index):
            return Observing(Gaussian(), seen)

        *_, last = draw(model, CANVAS, noise, machine, temperature, denoisers=told)
        return last.y

    return build


DAMAGES = [(0.5, 0.0, 1), (1.0, 0.0, 1), (0.1, 1.5, 1), (0.05, 0.0, 2), (0.1, 1.0, 4)]


@pytest.mark.parametrize(("noise", "blur", "factor"), DAMAGES)
def test_under_a_gaussian_field_a_chain_without_noise_ends_at_the_exact_mean(
    noise, blur, factor, end
):
    """The Wiener filter, K^T (K K^T + sigma^2)^-1 obs, by matrices."""
    seen = observation(noise, blur, factor)
    k = matrix(seen)
    inner = k @ k.T + noise**2 * torch.eye(len(k), dtype=torch.float64)
    wanted = k.T @ torch.linalg.solve(inner, seen.picture.flatten().double())
    told = end(seen, 0.0).flatten().double()
    assert (told - wanted).norm() < 2e-3 * wanted.norm()


def test_of_noise_alone_one_step_is_the_exact_mean():
    seen = observation(0.5)
    told = Observing(Gaussian(), seen, at_once=True)(torch.zeros(2, 1, *CANVAS), 20.0, None, (0, 0))
    torch.testing.assert_close(told, (seen.picture / (1 + 0.5**2)).expand(2, -1, -1, -1))


def test_under_a_gaussian_field_samples_vary_as_much_as_what_is_left_open(end):
    seen = observation(0.7)
    told = end(seen, 1.0, range(24))
    variance = 0.7**2 / (1 + 0.7**2)
    assert float(told.var(0).mean()) == pytest.approx(variance, rel=0.1)
    off = told.mean(0) - seen.picture[0] / (1 + 0.7**2)
    assert float(off.square().mean()) == pytest.approx(variance / 24, rel=0.3)


def test_what_agrees_is_the_least_of_both_errors():
    """At the solution the gradient of |x - D|^2 / r^2 + |K x - obs|^2 / sigma^2 is 0."""
    seen, d, s = observation(0.2, 1.0, 2), picture(*CANVAS, seed=1), 0.6
    x, k = seen.agreed(d, s).flatten().double(), matrix(seen)
    pull = (x - d.flatten()) * (1 + s**2) / s**2
    push = k.T @ (k @ x - seen.picture.flatten()) / 0.2**2
    assert (pull + push).norm() < 1e-3 * pull.norm()


def test_a_sample_reduced_is_what_was_observed(course, machine):
    model = course.model
    seen = replace(observation(1e-3, 0.0, 2), picture=0.5 * picture(8, 12))
    opened = opener(model, machine)

    def told(index):
        return Observing(opened(index), seen.at(model.sizes[index].reduction))

    noise = NoiseSource(1, (0, 1), machine.device)
    *_, last = draw(model, CANVAS, noise, machine, denoisers=told)
    off = (shrink_torus(last.y, 2) - seen.picture).abs().max()
    assert off < 0.02
    assert not torch.equal(last.y[0], last.y[1])


@pytest.mark.parametrize("factor", [2, 4])
def test_k_reduces_as_pictures_are_reduced(factor):
    x = picture(32, 48)
    seen = Observation(torch.zeros(1, 1, 32 // factor, 48 // factor), 0.1, 0.0, factor)
    torch.testing.assert_close(seen.applied(x), shrink_torus(x, factor), atol=1e-5, rtol=0)
    inner = slice(2, -2)
    told = shrink(x, 1 / factor)[..., inner, inner]
    torch.testing.assert_close(shrink_torus(x, factor)[..., inner, inner], told)
    assert reduction_weights(factor).sum() == pytest.approx(1)


def test_at_a_coarser_size_the_same_is_observed():
    """Reduced first or damaged first: the same picture, but for what both cannot show."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    x = torch.cos(2 * torch.pi * (rows + 2 * columns) / 64)[None, None]
    for blur, factor in ((3.0, 1), (0.0, 2), (2.0, 4)):
        seen = Observation(torch.zeros(1, 1, 64 // factor, 64 // factor), 0.1, blur, factor)
        seen = replace(seen, picture=seen.applied(x))
        for reduction in (2, 4):
            small = seen.at(reduction)
            told = small.applied(shrink_torus(x, reduction))
            torch.testing.assert_close(small.picture, told, atol=0.02, rtol=0)


def test_noise_is_reduced_with_the_picture():
    white = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    for reduction in (2, 4):
        small = Observation(white, 1.0).at(reduction)
        assert float(small.picture.std()) == pytest.approx(small.noise, rel=0.03)


def test_around_a_picture_lies_its_mirror_image_and_the_torus_closes():
    x = picture(10, 12)
    told = mirrored(x, CANVAS)
    assert torch.equal(told[..., :10, :12], x)
    assert told.shape[-2:] == CANVAS
    wide = mirrored(x, (40, 12))[..., :, :]  # beyond its mirror image it is mirrored again
    assert torch.equal(wide[..., :10, :], x)
    torch.testing.assert_close(wide[..., 10, :], x[..., 9, :], atol=0.2, rtol=0)
    torch.testing.assert_close(wide[..., -1, :], x[..., 0, :], atol=0.2, rtol=0)
