"""Event files: what they hold, and what is told where TensorBoard is not installed."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from gcn_cli.images.files import load_image
from gcn_cli.run import board
from gcn_cli.run.board import scalars
from gcn_cli.run.rundir import read_jsonl

COUNTS = {"done", "stage", "size", "update", "updates", "act", "event"}


class Writer:
    """Stands for TensorBoard's: keeps what it is given."""

    made: ClassVar[list[Writer]] = []

    def __init__(self, folder, purge_step, **_):
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.numbers, self.pictures = [], []
        self.made.append(self)

    def add_scalar(self, name, value, step):
        assert not self.closed
        self.numbers.append((step, name, value))

    def add_image(self, name, picture, step):
        assert not self.closed
        assert picture.dtype == torch.uint8
        self.pictures.append((step, name, picture))

    def close(self):
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    """What was written, as if TensorBoard were there."""
    monkeypatch.setattr(Writer, "made", [])
    monkeypatch.setattr(board.importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    told = SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", told)
    return Writer.made


@pytest.mark.parametrize("name", ["plain", "texture"])
def test_event_files_tell_what_metrics_and_grids_tell(gcn, box, tmp_path, writers, name):
    told = gcn(
        *("train", "--images", box / "images" / "ash.png", "--config", box / f"{name}.yaml"),
        *("--set", "output.grid_every=3", "--tensorboard", "--out", tmp_path, "--quiet"),
    )
    assert told.exit_code == 0, told.stderr
    folder = tmp_path / "00000-ash"
    (writer,) = writers
    assert (writer.folder, writer.purge_step, writer.closed) == (str(folder), 1, True)
    expected = []
    for record in read_jsonl(folder / "metrics.jsonl"):
        above = f"{record['act']}/" if name == "texture" else ""
        for key in record.keys() - COUNTS - {"active"}:
            expected.append((record["done"], above + key, record[key]))
        for number, share in enumerate(record.get("active", [])):
            expected.append((record["done"], f"active/{number}", share))
    assert sorted(writer.numbers) == sorted(expected)
    assert len(expected) > 10
    grids = sorted(folder.glob("samples-*.png"))
    assert [f"samples-{done:06d}.png" for done, _, _ in writer.pictures] == [g.name for g in grids]
    assert torch.equal(load_image(grids[-1]), writer.pictures[-1][2].float())


def test_a_resumed_run_goes_on_with_its_events(gcn, box, tmp_path, writers):
    words = ("--config", box / "plain.yaml", "--set", "learning.updates=2", "--tensorboard")
    told = gcn("train", "--images", box / "images" / "ash.png", *words, "--out", tmp_path)
    gcn("train", "--resume", told.stdout.strip(), "--set", "learning.updates=4")
    first, second = writers
    assert (first.purge_step, second.purge_step) == (1, 3)
    assert {step for step, _, _ in second.numbers} == {3, 4}


def test_without_being_asked_nothing_is_written(gcn, box, tmp_path, writers):
    words = ("--config", box / "plain.yaml", "--set", "learning.updates=1", "--out", tmp_path)
    assert gcn("train", "--images", box / "images" / "ash.png", *words).exit_code == 0
    assert writers == []


def test_where_tensorboard_is_not_installed_one_sentence_says_how(
    gcn, box, run, tmp_path, monkeypatch, listing
):
    monkeypatch.setattr(board.importlib.util, "find_spec", lambda name: None)
    folder = run()
    before = listing(tmp_path)
    images = ("--images", box / "images", "--config", box / "plain.yaml", "--out", tmp_path / "r")
    for words in (images, ("--resume", folder, "--set", "learning.updates=9")):
        told = gcn("train", *words, "--tensorboard")
        assert (told.exit_code, told.stdout) == (2, "")
        assert told.stderr == (
            "error: event files need a package more: pip install 'gcn-cli[tensorboard]', or leave "
            "them out with --set output.tensorboard=false\n"
        )
        assert listing(tmp_path) == before
    config = tmp_path / "board.yaml"
    config.write_text("output: {tensorboard: true}\n", encoding="utf-8")
    told = gcn("seamless", box / "ordinary.png", "--config", config, "--runs", tmp_path / "r")
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("error: event files need a package more")
    assert listing(tmp_path) == {*before, config.name}


def test_numbers_alone_are_scalars():
    record = {"done": 3, "act": "likelihood", "gap": float("nan"), "rate": 0.5, "event": "back"}
    assert list(scalars(record)) == [("likelihood/rate", 0.5)]
    assert list(scalars({"done": 3, "active": [0.5, 1]})) == [("active/0", 0.5), ("active/1", 1.0)]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="the extra tensorboard is not installed"
)
@pytest.mark.filterwarnings("default")  # of a package that is not ours
def test_tensorboard_reads_the_files(gcn, box, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("--config", box / "plain.yaml", "--tensorboard", "--out", tmp_path)
    told = gcn("train", "--images", box / "images" / "ash.png", *words)
    events = EventAccumulator(told.stdout.strip())
    events.Reload()
    records = read_jsonl(tmp_path / "00000-ash" / "metrics.jsonl")
    gaps = [(event.step, pytest.approx(event.value)) for event in events.Scalars("gap")]
    assert [(record["done"], record["gap"]) for record in records] == gaps
    assert [picture.step for picture in events.Images("samples")] == [records[-1]["done"]]
