"""What the command line's tests share: small configs and pictures, runs trained once, a runner."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from gcn_cli.cli.app import app
from gcn_cli.images.files import save_png

Invoke = Callable[..., Result]

SOURCE = Path(__file__).resolve().parents[2] / "src"


def _config(chains: str = "persistent", **learning: Any) -> dict[str, Any]:
    return {
        "kind": "field",
        "boundary": "torus",
        "canvas": 32,
        "layers": [{"filters": 8, "size": 4, "stride": 2}, {"filters": 8, "size": 3}],
        "langevin": {"sigma": 20.0, "eps": 6.0},
        "init": {"top_gain": 0.3},
        "learning": {
            "chains": chains,
            "count": 2,
            "steps": 3,
            "updates": 6,
            "optimiser": {"name": "adam", "rate": 1e-3},
            **learning,
        },
        "sampling": {"start_noise": 1.0},
    }


def _dithered() -> dict[str, Any]:
    """Fresh chains, a path to replay, the stride's phases averaged."""
    config = _config("restart", path_every=3, averaging=0.9)
    config["langevin"]["dither"] = True
    config["sampling"]["polish"] = 2
    return config


def _bounded() -> dict[str, Any]:
    config = _config("data")
    del config["canvas"], config["learning"]["count"]
    config["boundary"] = "bounded"
    config["layers"] = [
        {"filters": 8, "size": 4, "stride": 2, "padding": 1},
        {"filters": 4, "size": 3, "padding": 1},
    ]
    return config


CONFIGS = {"plain": _config(), "dithered": _dithered(), "bounded": _bounded()}


def _picture(seed: int, channels: int = 3, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = 40 * torch.sin(2 * math.pi * (x + y) / 8)
    return 120 + waves + 20 * torch.randn(channels, side, side, generator=generator)


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory, texture_data: Callable[..., Any]) -> Path:
    """A folder with configs as YAML and pictures in images/."""
    folder = tmp_path_factory.mktemp("box")
    for name, data in {**CONFIGS, "texture": texture_data()}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    (folder / "images").mkdir()
    for seed, name in enumerate(("ash", "bark")):
        save_png(folder / "images" / f"{name}.png", _picture(seed))
    save_png(folder / "ordinary.png", _picture(3, side=64))
    save_png(folder / "small.png", _picture(2, side=6))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="session")
def gcn() -> Invoke:
    """The command line in this process."""

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], prog_name="gcn")

    return invoke


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The command line as a process of its own, which does not outlive its test."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object, **variables: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
        running = subprocess.Popen(
            [sys.executable, "-m", "gcn_cli", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(running)
        return running

    yield start
    for running in started:
        with running:  # closes its pipes and waits for it
            running.kill()


@pytest.fixture(scope="session")
def trained(box: Path, gcn: Invoke, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One finished run per config; not to be written to, see `run`."""
    out = tmp_path_factory.mktemp("runs")
    runs = {}
    for name in (*CONFIGS, "texture"):
        image = box / "images" / "ash.png"
        result = gcn("train", "--images", image, "--config", box / f"{name}.yaml", "--out", out)
        assert result.exit_code == 0, result.stderr
        runs[name] = Path(result.stdout.strip())
    return runs


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A private copy of a finished run."""

    def copy(name: str = "plain") -> Path:
        return Path(shutil.copytree(trained[name], tmp_path / name))

    return copy


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def listing() -> Callable[[Path], set[str]]:
    """Files below a folder, as relative paths."""
    return _listing
