"""Every shipped preset trains and samples from the command line, on the bundled textures."""

from pathlib import Path

import pytest

from gcn_cli.cli import train
from gcn_cli.engine import machine
from gcn_cli.images.files import load_image, save_png
from gcn_cli.images.sheets import image_grid
from gcn_cli.run.config import preset_names, resolve

TEXTURES = Path(__file__).resolve().parents[2] / "textures"
SMALLER = {  # of what would take minutes even with a single update
    "paper-texture": ["images.size=96", "learning.count=2"],
    "paper-object": ["images.size=64", "learning.count=2"],
    "paper-cd": ["images.size=64", "sampling.steps=2"],
}
SIDE = 72  # px of a sample whose preset names no size of images


def _once(name: str) -> list[str]:
    """Overrides by which a preset does every kind of update that it has once."""
    config = resolve(name)
    if config.kind == "field":
        return ["learning.updates=1"]
    acts = {"reconstruction": config.reconstruction, "likelihood": config.likelihood}
    updates = [
        f"{act}.{key}=1"
        for act, part in acts.items()
        for key in ("updates", "finer_updates")
        if getattr(part, key)
    ]
    return [*updates, "sampler.steps=4", "budget=0"]


def _sets(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("stones", "leaves"):
        image = load_image(TEXTURES / f"{name}.png")[:, :128, :128]
        save_png(folder / f"{name}.png", image_grid([image], pad=0))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_trains_and_samples(preset, gcn, pictures, tmp_path):
    changes = [*_once(preset), *SMALLER.get(preset, [])]
    images = resolve(preset, overrides=changes).images
    out = tmp_path / "runs"
    trained = gcn("train", "--images", pictures, "--config", preset, *_sets(*changes), "--out", out)
    assert trained.exit_code == 0, trained.stderr
    runs = trained.stdout.split()
    assert [Path(run).name for run in runs] == (
        ["00000-pictures"] if images.mode == "joint" else ["00000-leaves", "00001-stones"]
    )
    size = images.size or SIDE
    drawn = gcn("synthesize", "--ckpt", runs[0], "--size", size, "-o", tmp_path / "sample.png")
    assert drawn.exit_code == 0, drawn.stderr
    picture = load_image(tmp_path / "sample.png")
    assert picture.shape[-2:] == (size, size)
    assert picture.std() > 0.5


@pytest.mark.parametrize("preset", preset_names())
def test_the_paper_presets_compute_in_float32_unless_told(preset, gcn, pictures, monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    monkeypatch.setattr(train, "_tell_cost", lambda *_: None)  # measuring takes a minute
    wanted = "fp32" if preset.startswith("paper-") else "bf16"
    small = _sets(*SMALLER.get(preset, []))
    command = ("train", "--images", pictures, "--config", preset, *small, "--dry-run")
    assert wanted in gcn(*command, "--device", "cpu").stderr.splitlines()[0]
    told = gcn(*command, "--device", "cpu", "--precision", "bf16")
    assert "bf16" in told.stderr.splitlines()[0]
