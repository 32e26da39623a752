"""Fresh samples on disk: in batches, with their story, previews of tiles, and a grid."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from gcn_cli.engine import Machine
from gcn_cli.errors import DeviceError, DivergenceError, GcnError
from gcn_cli.images.files import load_image
from gcn_cli.run.gallery import Gallery, draw, tiled
from gcn_cli.run.origin import UNTOLD
from gcn_cli.run.outputs import plan_outputs
from gcn_cli.run.progress import NullProgress
from gcn_cli.run.sampling import Frame, Request

CPU = Machine(torch.device("cpu"), torch.bfloat16)


class Artist:
    """Draws flat pictures of a seed's level, one px larger than asked for, in two steps."""

    def __init__(self, steps=2, error=None, level=float):
        self.batches, self.steps, self.error, self.level = [], steps, error, level

    def frames(self, request, machine):
        self.batches.append(request.seeds)
        images = torch.stack(
            [
                torch.full((1, request.height + 1, request.width + 1), self.level(s))
                for s in request.seeds
            ]
        )
        for step in range(self.steps):
            yield Frame(step, self.steps - 1, lambda: images[0], lambda: images)
            if self.error:
                raise self.error


class Told(NullProgress):
    def __init__(self):
        self.lines = []

    def start(self, total, description):
        self.lines.append(f"{description} of {total}")

    def update(self, done, fields):
        self.lines.append(done)

    def close(self):
        self.lines.append("closed")


def test_seeds_are_drawn_in_batches_cut_to_size_and_only_the_first_is_watched():
    artist, progress, seen = Artist(), Told(), []
    drawn = dict(draw(artist, Request(5, 4, (7, 3, 9)), CPU, progress, 2, seen.append))
    assert artist.batches == [(7, 3), (9,)]
    assert list(drawn) == [7, 3, 9]
    for seed, image in drawn.items():
        assert torch.equal(image, torch.full((1, 4, 5), float(seed)))
    assert [tuple(image.shape) for image in seen] == [(1, 4, 5)] * 2
    one, two = ["seed 7..3 of 1", 0, 1, "closed"], ["seed 9 of 1", 0, 1, "closed"]
    assert progress.lines == one + two


def test_what_goes_wrong_is_told_in_a_sentence_and_progress_is_closed():
    request = Request(5, 4, (1,))
    for artist, kind, words in (
        (Artist(steps=0), GcnError, "takes no sampling steps"),
        (Artist(error=torch.OutOfMemoryError()), DeviceError, "smaller --size or --batch"),
        (Artist(error=RuntimeError("of another kind")), RuntimeError, "of another kind"),
        (Artist(level=lambda seed: float("nan")), DivergenceError, "ran away"),
        (Artist(level=lambda seed: float("inf")), DivergenceError, "ran away"),
    ):
        progress = Told()
        with pytest.raises(kind, match=words):
            list(draw(artist, request, CPU, progress, 1))
        assert progress.lines[-1] == "closed"


@pytest.fixture
def gallery(tmp_path):
    """A gallery of a request, in a folder of its own or in one file."""

    def make(*request, target=tmp_path / "deep"):
        images = SimpleNamespace(role="colour")
        saved = SimpleNamespace(
            fingerprint="abc",
            config=SimpleNamespace(name="plain", images=images),
            depth="8",
            material=None,
            origin=UNTOLD,
        )
        asked = Request(*request)
        return Gallery(saved, asked, CPU, plan_outputs(saved, asked, target, "plain"))

    return make


def test_a_tile_is_laid_beside_itself(gallery, tmp_path):
    image = torch.arange(6.0).view(1, 2, 3)
    for tile, shape in (("x", (2, 6)), ("y", (4, 3)), ("xy", (4, 6))):
        preview = tiled(image, tile)
        assert preview.shape[1:] == shape
        assert torch.equal(preview[:, :2, :3], image)
        assert torch.equal(preview[:, -2:, -3:], image)
    made = gallery(3, 2, (4,), "x", target=tmp_path / "deep" / "a.png")
    made.add(4, image)
    assert [path.name for path in made.paths] == ["a.png", "a-tiled2x1.png"]
    assert torch.equal(load_image(made.paths[1]), image.repeat(1, 1, 2))
    made.add_grid()
    assert len(made.paths) == 2  # one picture needs no grid


def test_a_grid_shows_smaller_copies_and_names_all_its_seeds(gallery, tmp_path):
    seeds = tuple(range(10, 50))
    made = gallery(800, 300, seeds)
    for seed in seeds:
        made.add(seed, torch.full((1, 300, 800), 90.0))
    assert made.paths[0].name == "sample-800x300-seed10.png"
    assert {tuple(image.shape) for image in made._small} == {(1, 144, 384)}
    made.add_grid()
    grid = tmp_path / "deep" / "grid-800x300-seed10-49.png"
    assert load_image(grid).shape == (1, 6 * 148 + 4, 6 * 388 + 4)
    with Image.open(grid) as picture:
        assert picture.text["gcn:seed"] == ",".join(map(str, seeds[:36]))
    with Image.open(made.paths[3]) as picture:
        text = picture.text
    assert (text["gcn:seed"], text["gcn:size"], text["gcn:precision"]) == (
        "13", "800x300", "bfloat16",
    )  # fmt: skip


def test_small_pictures_stay_as_they_are_in_a_grid_and_thin_ones_keep_a_pixel(gallery):
    made = gallery(4, 4, (0, 1))
    picture = torch.rand(1, 384, 200) * 255
    made.add(0, picture)
    made.add(1, torch.zeros(1, 1, 2000))
    assert torch.equal(made._small[0], picture)
    assert made._small[1].shape == (1, 1, 384)


def test_a_disk_that_refuses_is_told(gallery, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GcnError, match="cannot write"):
        gallery(2, 2, (0,), target=tmp_path / "file" / "a.png").add(0, torch.zeros(1, 2, 2))
