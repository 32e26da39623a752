"""The metrics against pictures whose rank is known."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.errors import ImageError
from gcn_cli.statistics import metrics
from gcn_cli.statistics.metrics import coherence, evaluate_texture, spectrum_distance

RELATIVE = ["struct", "gram", "colour", "swd"]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def smooth_noise(seed, size, kernel=9):
    noise = torch.randn(1, 1, size, size, generator=generator(seed))
    wide = F.avg_pool2d(noise, kernel, stride=1)
    return F.interpolate(wide, (size, size), mode="bilinear")[0]


def blobs(seed, size=128, channels=3):
    """Bright two-tone patches with sharp edges on dark ground: phases matter."""
    shape = (smooth_noise(seed, size) > 0.04).float()
    tone = (smooth_noise(seed + 1, size) > 0).float()
    colour = [shape * (140 + 80 * tone), shape * (200 - 90 * tone), 40 + 60 * shape]
    grain = 4 * torch.randn(3, size, size, generator=generator(seed + 2))
    return (torch.cat(colour) + grain).clamp(0, 255)[:channels]


def random_phase(image, seed=0):
    mean = image.mean((1, 2), keepdim=True)
    noise = torch.fft.fft2(torch.randn(image.shape[1:], generator=generator(seed)))
    return torch.fft.ifft2(torch.fft.fft2(image - mean) * noise / noise.abs()).real + mean


def white_noise(image):
    mean, std = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True)
    return mean + std * torch.randn(image.shape, generator=generator(9))


def pasted(image, side=48):
    """Pieces of the picture, each from a random place."""
    out, H, W = image.clone(), *image.shape[1:]
    rng = generator(4)
    for top in range(0, H, side):
        for left in range(0, W, side):
            h, w = min(side, H - top), min(side, W - left)
            y = int(torch.randint(0, H - h + 1, (), generator=rng))
            x = int(torch.randint(0, W - w + 1, (), generator=rng))
            out[:, top : top + h, left : left + w] = image[:, y : y + h, x : x + w]
    return out


@functools.cache
def scored(kind, channels=3):
    exemplar = blobs(0, channels=channels)
    made = {
        "self": lambda: exemplar,
        "fresh": lambda: blobs(50, channels=channels),
        "phase": lambda: random_phase(exemplar),
        "pasted": lambda: pasted(exemplar),
        "noise": lambda: white_noise(exemplar),
        "faded": lambda: exemplar.mean() + 0.5 * (exemplar - exemplar.mean()),
    }
    return evaluate_texture(exemplar, made[kind]()[None])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_exemplar_itself_scores_nothing(channels):
    scores = scored("self", channels)
    for name in [*RELATIVE, "spectrum_db"]:
        assert getattr(scores, name) < 1e-3, name
    assert scores.coherence == 1
    assert scores.diversity is None


@functools.cache
def fresh_pairs(channels, size):
    """Scores of independent draws; one draw alone scatters too widely to judge by."""
    pairs = [
        (blobs(9000 + k, 128, channels), blobs(9500 + k, size, channels)) for k in range(0, 60, 10)
    ]
    return [evaluate_texture(exemplar, sample[None]) for exemplar, sample in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("name", RELATIVE)
@pytest.mark.parametrize(("channels", "size"), [(1, 128), (3, 128), (3, 176)])
def test_fresh_draws_are_about_as_far_as_the_halves(name, channels, size):
    values = [getattr(scores, name) for scores in fresh_pairs(channels, size)]
    assert 0.25 < sum(values) / len(values) < 2


@pytest.mark.slow
def test_fresh_draws_do_not_look_copied():
    for scores in fresh_pairs(3, 128):
        assert scores.coherence < scores.coherence_floor + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_random_phase_keeps_the_spectrum_and_loses_the_shapes(channels):
    phase, fresh = scored("phase", channels), scored("fresh", channels)
    assert phase.spectrum_db < 3
    assert phase.struct > 2 * fresh.struct
    assert phase.colour > 2 * fresh.colour


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RELATIVE, "spectrum_db"])
def test_white_noise_is_worst(name):
    noise = getattr(scored("noise"), name)
    for kind in ("self", "fresh", "phase", "pasted"):
        assert noise > getattr(scored(kind), name), kind


@pytest.mark.slow
def test_copied_pieces_show_in_coherence_only():
    pieces, fresh = scored("pasted"), scored("fresh")
    assert pieces.coherence > 0.4
    assert pieces.coherence > 5 * max(fresh.coherence, pieces.coherence_floor)
    assert pieces.swd < 1


@pytest.mark.parametrize("offset", [(0, 0), (3, 5), (8, 2), (7, 16)])
def test_a_crop_is_copied_wherever_it_was_taken_even_under_noise(offset):
    exemplar = blobs(0)
    crop = exemplar[:, offset[0] : offset[0] + 96, offset[1] : offset[1] + 96]
    noisy = crop + 10 * torch.randn(crop.shape, generator=generator(1))
    assert coherence(crop, exemplar) > 0.95
    assert coherence(noisy, exemplar) > 0.8


def test_copies_are_looked_up_in_bands_of_any_height(monkeypatch):
    exemplar = blobs(0)
    crop = exemplar[:, 8:104, 5:101] + torch.randn(3, 96, 96, generator=generator(1))
    at_once = coherence(crop, exemplar)
    for values in (1, 300_000):
        monkeypatch.setattr(metrics, "_BAND_VALUES", values)
        assert coherence(crop, exemplar) == at_once


def test_the_middle_of_a_large_sample_stands_for_it(monkeypatch):
    exemplar, other = blobs(0), blobs(77)
    sample = other.clone()
    sample[:, 32:96, 32:96] = exemplar[:, 20:84, 20:84]
    assert coherence(sample, exemplar) < 0.6
    monkeypatch.setattr(metrics, "_COHERENCE_SIDE", 64)
    assert coherence(sample, exemplar) > 0.95


@pytest.mark.slow
def test_contrast_is_a_matter_of_struct():
    assert scored("faded").struct > 2 * scored("fresh").struct


def test_brightness_is_a_matter_of_colour_only():
    exemplar = 40 + 0.7 * blobs(0)  # so that nothing is clipped
    dim = evaluate_texture(exemplar, (exemplar - 30)[None])
    assert dim.colour > 2
    assert dim.struct < 1e-3
    assert dim.gram < 1e-3
    assert dim.spectrum_db < 1e-3


@pytest.mark.parametrize("turned", [False, True])
def test_both_ways_of_halving_an_exemplar_count(turned):
    """Of a slope of 120 one pair of halves is alike, the other 60 apart; the sample is 20 off."""
    slope = torch.linspace(60, 180, 64)[:, None] + torch.randn(64, 64, generator=generator(0))
    exemplar = (slope.T if turned else slope)[None]
    scores = evaluate_texture(exemplar, (exemplar + 20)[None])
    assert scores.colour == pytest.approx(20 / (60 / 2), rel=0.03)


def test_spectrum_in_decibels():
    noise = 20 * torch.randn(1, 128, 128, generator=generator(0)) + 128
    assert spectrum_distance(noise, 2 * noise) == pytest.approx(20 * 0.30103, abs=0.05)
    wider = 20 * torch.randn(1, 128, 256, generator=generator(1)) + 128
    assert spectrum_distance(noise, wider) < 2


def test_spectrum_weighs_colours_as_the_eye_does():
    """Luminance of ITU-R BT.601: of red 0.299, of green 0.587, of blue 0.114."""
    grey = 40 * torch.randn(1, 64, 64, generator=generator(3))
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        coloured = torch.zeros(3, 64, 64)
        coloured[channel] = grey[0]
        assert spectrum_distance(coloured, weight * grey) < 1e-3


def test_spectrum_tells_one_diagonal_from_the_other():
    place = torch.arange(64.0)
    waves = 120 + 40 * torch.sin((place[:, None] + place) * 0.9)[None]
    assert spectrum_distance(waves, waves.flip(-1)) > 3
    assert spectrum_distance(waves, waves.flip(-1).flip(-2)) < 1


def test_halves_are_cut_both_ways():
    """A score is relative to how far halves are apart, left from right and top from bottom."""
    ramp = torch.linspace(60, 180, 64)[:, None].expand(64, 64)
    exemplar = ramp + 20 * torch.randn(1, 64, 64, generator=generator(4))
    samples = 120 + 20 * torch.randn(2, 1, 64, 64, generator=generator(5))
    upright, turned = evaluate_texture(exemplar, samples), evaluate_texture(exemplar.mT, samples.mT)
    assert upright.colour == pytest.approx(turned.colour, rel=1e-4)


def test_spectrum_sees_direction_and_not_place():
    wave = 40 * torch.sin(torch.arange(160) * 0.8)
    stripes, moved = (128 + wave[k : k + 128].expand(1, 128, 128) for k in (0, 11))
    assert spectrum_distance(stripes, moved) < 0.5
    assert spectrum_distance(stripes, stripes.transpose(1, 2)) > 2  # same rings, other sectors
    place = torch.arange(128)
    slanted = (128 + 40 * torch.sin(0.8 * (place[:, None] + place / 2)))[None]
    assert spectrum_distance(slanted, slanted.flip(2)) > 2


def test_the_spectrum_of_colours_is_that_of_their_luminance():
    place = torch.arange(64) * 0.8
    grey = 128 + 40 * torch.sin(place).expand(1, 64, 64)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        colour = torch.full((3, 64, 64), 128.0)
        colour[channel] = grey[0]
        alone = 128 + weight * (grey - 128)
        assert spectrum_distance(colour, alone) < 1e-3


@pytest.mark.slow
def test_diversity_counts_pairs():
    exemplar = blobs(0)
    equal = evaluate_texture(exemplar, torch.stack([blobs(50)] * 2))
    assert equal.diversity == 0
    fresh = evaluate_texture(exemplar, torch.stack([blobs(50), blobs(60)]))
    assert fresh.diversity == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_scores_average_over_the_samples_and_repeat_exactly():
    exemplar, noise = blobs(0), white_noise(blobs(0))
    both = evaluate_texture(exemplar, torch.stack([exemplar, noise.clamp(0, 255)]))
    assert both.struct == pytest.approx(scored("noise").struct / 2, rel=1e-4)
    assert evaluate_texture(exemplar, exemplar[None]) == scored("self")


def test_global_random_state_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    evaluate_texture(blobs(0, 64), blobs(1, 64)[None])
    assert torch.equal(before, torch.get_rng_state())


def test_flat_pictures_and_the_smallest_size():
    flat = torch.full((1, 32, 32), 100.0)
    scores = evaluate_texture(flat, torch.stack([flat, flat]))
    assert scores.struct == scores.swd == scores.colour == 0
    assert scores.diversity is None
    assert not any(math.isnan(value) for value in scores.as_dict().values() if value is not None)


@pytest.mark.parametrize(
    ("exemplar", "samples", "sentence"),
    [
        (torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), "channels"),
        (torch.zeros(2, 64, 64), torch.zeros(1, 2, 64, 64), "channels"),
        (torch.zeros(1, 31, 64), torch.zeros(1, 1, 64, 64), "32 pixels"),
        (torch.zeros(1, 64, 64), torch.zeros(1, 1, 64, 20), "32 pixels"),
        (torch.zeros(1, 64, 64), torch.zeros(0, 1, 64, 64), "need an exemplar"),
        (torch.zeros(1, 64, 64), torch.zeros(1, 64, 64), "need an exemplar"),
        (torch.zeros(1, 64, 64), torch.full((1, 1, 64, 64), torch.inf), "not finite"),
        (torch.zeros(1, 64, 64), torch.full((1, 1, 64, 64), torch.nan), "a sample .*: 0.0% of it"),
    ],
)
def test_refusals(exemplar, samples, sentence):
    with pytest.raises(ImageError, match=sentence):
        evaluate_texture(exemplar, samples)


def test_large_pictures_are_compared_in_bands_and_by_some_of_their_pixels(monkeypatch):
    exemplar, sample = blobs(0), blobs(5)[None]
    whole = evaluate_texture(exemplar, sample)
    monkeypatch.setattr(metrics, "_BAND_VALUES", 50_000)
    monkeypatch.setattr(metrics, "_PIXELS", 8000)
    parts = evaluate_texture(exemplar, sample)
    assert parts.gram == pytest.approx(whole.gram, rel=1e-4)
    assert parts.colour == pytest.approx(whole.colour, rel=0.2)  # half of 9216 pixels
    assert parts.colour != whole.colour
    assert parts.coherence == whole.coherence
