"""The example of the paper's own loop runs as a script, and learns."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "paper.py"


def _stripes(side=64, period=8):
    x = np.arange(side)
    rows = 120 + 40 * np.sin(2 * np.pi * x / period) + 0 * x[:, None]
    return rows + 5 * np.random.default_rng(0).standard_normal((side, side))


def _at(picture, period):
    """Share of a picture's power at columns' waves of a period, px."""
    power = np.abs(np.fft.fft2(picture - picture.mean())) ** 2
    k = picture.shape[1] // period
    return (power[0, k] + power[0, -k]) / power.sum()


def test_the_papers_loop_learns_stripes():
    learn = runpy.run_path(str(SCRIPT))["learn"]
    none, learned = (learn(_stripes(), updates, side=32) for updates in (1, 60))
    assert _at(none, 8) < 0.05
    assert _at(learned, 8) > 0.5
    assert 0.5 < learned.std() / _stripes().std() < 1.5


def test_the_example_is_a_script(tmp_path):
    Image.fromarray(_stripes().astype(np.uint8)).save(tmp_path / "in.png")
    told = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            str(SCRIPT),
            str(tmp_path / "in.png"),
            str(tmp_path / "o.png"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.size == (64, 64)


def test_it_rests_on_the_field_alone():
    lines = [line for line in SCRIPT.read_text().splitlines() if "gcn_cli" in line]
    assert len([line for line in lines if line.startswith("from gcn_cli.field.")]) >= 4
    assert not [
        line for line in lines if line.startswith(("import", "from")) and ".field." not in line
    ]
