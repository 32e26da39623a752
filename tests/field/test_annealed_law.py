"""The annealed chain where its law is known: Gaussian exemplars, for which D is a Wiener filter.

With D = w y, w = P / (P + s^2) at a frequency of power P, a step is linear in y, in the last D and
in fresh noise, so that their variances and covariance follow from level to level.
"""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.field import ladder
from gcn_cli.field.ladder import anneal, noise_levels, noise_shares, target

CHAINS, SIDE = 64, 32
LIMIT = 5.0  # standard errors
LEVELS = noise_levels(10.0, 0.05, 25)
WHITE = torch.ones(SIDE, SIDE, dtype=torch.float64)


def coloured():
    """The power of a texture with large motifs, mean 1."""
    f = torch.fft.fftfreq(SIDE, dtype=torch.float64)
    power = 1 / (0.003 + f[:, None] ** 2 + f[None] ** 2)
    return power / power.mean()


def normal(seed):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(CHAINS, 1, SIDE, SIDE, generator=rng, dtype=torch.float64)


def wiener(power, y, s):
    """The mean of x given y = x + s Z for Gaussian x of the given power."""
    share = power / (power + s.view(-1, 1, 1, 1) ** 2)
    return torch.fft.ifft2(torch.fft.fft2(y) * share).real


def law(power, levels):
    """The variance per frequency at every level, and in the end that of the last D."""
    v = levels[0] ** 2 + power  # of y
    cov, last = torch.zeros_like(v), torch.zeros_like(v)  # of y and the last D; of that D
    above = None
    for s, below in zip(levels, [*levels[1:], 0.0], strict=True):
        yield v
        w = power / (power + s**2)
        if not below:
            yield w**2 * v
            return
        kept, up = noise_shares(s, below)
        more = 0.0 if above is None else 0.5 * math.log(s / below) / math.log(above / s)
        by_y, by_last = kept + (1 - kept) * (1 + more) * w, -(1 - kept) * more
        after = by_y**2 * v + 2 * by_y * by_last * cov + by_last**2 * last + up**2
        v, cov, last, above = after, w * (by_y * v + by_last * cov), w**2 * v, s


def law_errors(power, noise=lambda k: normal(100 + k)):
    """Standard errors, at worst over levels, between a run of `anneal` and its law.

    Of the mean over all pixels, of the variance, of the power at low frequencies.
    """
    seen = []

    def gradient(z, s):
        y = z * (1 + s.view(-1, 1, 1, 1) ** 2).sqrt()
        seen.append(y)
        return target(wiener(power, y, s), y, s)

    start = torch.fft.fft2(normal(0)) * (float(LEVELS[0]) ** 2 + power).sqrt()
    end = anneal(gradient, torch.fft.ifft2(start).real, LEVELS, noise)
    f = torch.fft.fftfreq(SIDE).abs()
    low = f[:, None] + f[None] < 0.2
    worst = torch.zeros(3)
    for y, v in zip([*seen, end], law(power, LEVELS.tolist()), strict=True):
        told = torch.fft.fft2(y).abs().square() / SIDE**2 / v  # 1 on average
        mean = y.mean() / math.sqrt(float(v[0, 0]) / y.numel())
        # A frequency and its opposite are one number: the variance of the mean is 2 / n.
        every, large = ((p.mean() - 1) / math.sqrt(2 / p.numel()) for p in (told, told[..., low]))
        worst = torch.maximum(worst, torch.tensor([mean, every, large]).abs())
    return worst


@pytest.mark.parametrize("power", [WHITE, coloured()], ids=["white", "coloured"])
def test_every_level_has_the_mean_variance_and_spectrum_of_its_law(power):
    worst = law_errors(power)
    assert worst.max() < LIMIT


@pytest.mark.parametrize("power", [WHITE, coloured()], ids=["white", "coloured"])
def test_with_sixty_steps_the_law_is_the_exemplars_blurred_by_noise_of_the_level(power):
    levels = noise_levels(10.0, 0.02, 60).tolist()
    for s, v in zip([*levels, 0.0], law(power, levels), strict=True):
        assert (v / (power + s**2) - 1).abs().max() < 0.03


def test_the_harness_rejects_noise_off_by_the_square_root_of_two():
    worst = law_errors(coloured(), lambda k: math.sqrt(2) * normal(100 + k))
    assert worst[1] > 2 * LIMIT


def test_the_harness_rejects_one_draw_of_noise_used_for_all_steps():
    worst = law_errors(coloured(), lambda k: normal(100))
    assert worst.max() > 2 * LIMIT


def test_the_harness_rejects_a_flipped_drift(monkeypatch):
    right = ladder.reconstruct
    monkeypatch.setattr(ladder, "reconstruct", lambda g, y, s: 2 * y - right(g, y, s))
    worst = law_errors(coloured())
    assert worst[1] > 2 * LIMIT


def test_the_harness_rejects_a_field_of_another_unit(monkeypatch):
    right = ladder.reconstruct
    monkeypatch.setattr(ladder, "reconstruct", lambda g, y, s: 0.97 * right(g, y, s))
    worst = law_errors(coloured())
    assert worst[2] > 2 * LIMIT
