"""Images made ready to be learned from: their colours, their size, what is refused."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from gcn_cli.errors import ImageError
from gcn_cli.images.files import save_png
from gcn_cli.run.config import resolve
from gcn_cli.run.jobs import Job, check_contrast, load_jobs, mean_colour, prepare_image


def _noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator).float()


def _config(*overrides):
    return resolve("texture", None, overrides)


def test_grey_is_the_luminance_of_red_green_and_blue():
    one = torch.ones(3, 2, 2) * torch.tensor([10.0, 100.0, 200.0]).view(3, 1, 1)
    grey = prepare_image(_config("images.colour=grey"), one)
    wanted = torch.full((1, 2, 2), 0.299 * 10 + 0.587 * 100 + 0.114 * 200)
    torch.testing.assert_close(grey, wanted)


@pytest.mark.parametrize("odd", [None, 0, 1, 2])
def test_equal_colours_are_one_channel_and_a_single_unlike_one_keeps_three(odd):
    image = _noise(1, 5, 6).repeat(3, 1, 1)
    if odd is not None:
        image[odd, 2, 3] += 1
    told = prepare_image(_config(), image)
    assert torch.equal(told, image[:1] if odd is None else image)
    assert torch.equal(prepare_image(_config("images.colour=rgb"), image[:1])[2], image[0])


def test_sizes_are_limits_of_the_longer_side_or_squares():
    image = _noise(3, 40, 60)
    assert prepare_image(_config("images.max_side=60"), image) is image
    assert prepare_image(_config("images.max_side=30"), image).shape == (3, 20, 30)
    assert prepare_image(_config("images.max_side=30"), image.mT).shape == (3, 30, 20)
    assert prepare_image(_config("images.size=24"), image).shape == (3, 24, 24)
    thin = _noise(3, 2, 400)
    assert prepare_image(_config("images.max_side=50"), thin).shape == (3, 1, 50)


def test_mean_colour_and_contrast_are_those_of_the_pixels():
    observed = _noise(2, 3, 8, 9)
    mean = mean_colour(observed)
    for channel in range(3):
        assert float(mean[channel]) == pytest.approx(float(observed[:, channel].mean()), rel=1e-6)
    job = Job("a", observed, mean)
    assert job.contrast == pytest.approx(float((observed - mean).std()), rel=1e-6)
    assert job.told_name == "a"
    check_contrast(0.5)
    with pytest.raises(ImageError, match="flat"):
        check_contrast(0.49)


def test_one_job_an_image_or_one_of_all(tmp_path):
    for name, channels in (("ash", 3), ("bark", 1)):
        save_png(tmp_path / f"{name}.png", _noise(channels, 8, 9, seed=channels))
    each = load_jobs(_config(), tmp_path, "each")
    assert [(job.name, job.told_name, tuple(job.observed.shape)) for job in each] == [
        ("ash", "ash.png", (1, 3, 8, 9)),
        ("bark", "bark.png", (1, 1, 8, 9)),
    ]
    (joint,) = load_jobs(_config(), tmp_path, "joint")
    assert (joint.name, joint.told_name) == (tmp_path.name, tmp_path.name)
    assert joint.observed.shape == (2, 3, 8, 9)
    (alone,) = load_jobs(_config(), tmp_path / "ash.png", "joint")
    assert (alone.name, alone.told_name) == ("ash", "ash.png")


def test_a_joint_model_has_the_middles_of_unequal_pictures_never_squashed_ones(tmp_path):
    wide, high = _noise(3, 20, 30), _noise(3, 24, 26, seed=1)
    save_png(tmp_path / "ash.png", wide)
    save_png(tmp_path / "bark.png", high)
    (job,) = load_jobs(_config(), tmp_path, "joint")
    assert torch.equal(job.observed, torch.stack([wide[:, :, 2:28], high[:, 2:22]]))
    assert job.notes == (
        f"{tmp_path.name}: 2 sizes; of every picture the middle 26x20 px are used",
    )
    save_png(tmp_path / "cork.png", _noise(3, 9, 26))
    with pytest.raises(ImageError, match=r"of ash.png, 30x20 px, only 39% would be left: 26x9 px"):
        load_jobs(_config(), tmp_path, "joint")


def test_what_is_unknown_stays_unknown_in_the_middle(tmp_path):
    pixels = torch.cat([_noise(3, 16, 16), torch.full((1, 16, 16), 255.0)])
    pixels[3, 4:6, 5:9] = 0
    array = pixels.permute(1, 2, 0).to(torch.uint8).numpy()
    Image.fromarray(array).save(tmp_path / "ash.png")
    save_png(tmp_path / "bark.png", _noise(3, 12, 14))
    (job,) = load_jobs(_config(), tmp_path, "joint")
    assert [tuple(place) for place in (~job.known[0, 0]).nonzero().tolist()] == [
        (row, column) for row in (2, 3) for column in range(4, 8)
    ]
    assert job.known[1].all()


def test_a_square_is_the_middle_of_a_picture_not_all_of_it_squashed(tmp_path):
    wide = _noise(3, 20, 30)
    save_png(tmp_path / "ash.png", wide)
    (job,) = load_jobs(_config("images.size=20"), tmp_path / "ash.png")
    assert torch.equal(job.observed[0], wide[:, :, 5:25])
    assert "ash.png: its middle 20x20 px are learned from" in job.notes[0]
    save_png(tmp_path / "long.png", _noise(3, 20, 41))
    with pytest.raises(ImageError, match="41x20 px; of its middle square less than half"):
        load_jobs(_config("images.size=20"), tmp_path / "long.png")


def test_uneven_light_is_evened_out_if_asked_for():
    shadow = torch.exp(torch.linspace(0, -1.0, 64))
    image = (100 + _noise(3, 64, 64) / 10) * shadow
    assert torch.equal(prepare_image(_config(), image), image)
    flat = prepare_image(_config("images.flatten=true"), image)
    ends = [float(flat[..., cut].mean()) for cut in (slice(4, 20), slice(-20, -4))]
    assert ends[0] / ends[1] < 1.15 < float(image[..., 4:20].mean() / image[..., -20:-4].mean())
