"""Every shipped preset trains and samples from the command line, on the bundled textures."""

from pathlib import Path

import pytest

from gcn_cli.cli import train
from gcn_cli.engine import machine
from gcn_cli.images.files import load_image, save_png
from gcn_cli.images.sheets import image_grid
from gcn_cli.run.config import preset_names

TEXTURES = Path(__file__).resolve().parents[2] / "textures"
SMALLER = {
    "paper-texture": ["images.size=96", "learning.count=2"],
    "paper-object": ["images.size=64", "learning.count=2"],
    "paper-cd": ["images.size=64", "sampling.steps=2"],
}
LEAST = [
    *(
        f"{act}.{key}=1"
        for act in ("reconstruction", "likelihood")
        for key in ("updates", "finer_updates")
    ),
    "sampler.steps=4",
    "budget=0",
]
PAPER = ["learning.updates=1"]
OBJECT = ["reconstruction.updates=1", "sampler.steps=4", "budget=0"]


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
    least = LEAST if preset.startswith("texture") else OBJECT if preset == "object" else PAPER
    changes = [*least, *SMALLER.get(preset, [])]
    sets = [word for change in changes for word in ("--set", change)]
    out = tmp_path / "runs"
    trained = gcn("train", "--images", pictures, "--config", preset, *sets, "--out", out)
    assert trained.exit_code == 0, trained.stderr
    runs = trained.stdout.split()
    joint = preset in ("object", "paper-object", "paper-cd")
    assert [Path(run).name for run in runs] == (
        ["00000-pictures"] if joint else ["00000-leaves", "00001-stones"]
    )
    size = {"paper-texture": 96, "paper-object": 64, "paper-cd": 64, "object": 32}.get(preset, 72)
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
    small = [word for change in SMALLER.get(preset, []) for word in ("--set", change)]
    command = ("train", "--images", pictures, "--config", preset, *small, "--dry-run")
    assert wanted in gcn(*command, "--device", "cpu").stderr.splitlines()[0]
    told = gcn(*command, "--device", "cpu", "--precision", "bf16")
    assert "bf16" in told.stderr.splitlines()[0]
