"""Many pictures: several paths, folders in folders, broken files, crops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from gcn_cli.images.files import load_image
from gcn_cli.run.checkpoint import load_checkpoint


@pytest.fixture
def mixed(box, tmp_path):
    """Pictures, a broken one, a text, and a folder with one more of the same name."""
    folder = tmp_path / "mixed"
    shutil.copytree(box / "images", folder)
    shutil.copy(box / "broken.png", folder / "broken.png")
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden.png").touch()
    (folder / "below").mkdir()
    shutil.copy(box / "images" / "ash.png", folder / "below" / "ash.png")
    return folder


def train(gcn, box, tmp_path, *words, config="plain"):
    given = ("--config", box / f"{config}.yaml", "--out", tmp_path / "runs")
    return gcn("train", *words, *given)


def names(tmp_path):
    folders = sorted((tmp_path / "runs").iterdir()) if (tmp_path / "runs").exists() else []
    return [json.loads((folder / "meta.json").read_text())["name"] for folder in folders]


def test_a_broken_picture_is_named_and_the_others_are_learned(gcn, box, mixed, tmp_path):
    told = train(gcn, box, tmp_path, "--images", mixed)
    assert told.exit_code == 1
    assert names(tmp_path) == ["ash", "bark"]
    assert len(told.stdout.split()) == 2
    lines = told.stderr.splitlines()
    assert sum("broken.png" in line and line.endswith("; left out") for line in lines) == 1
    assert lines[-1] == "error: 1 of 3 images could not be used and were left out"
    assert f"{mixed}: 1 left out, not known as pictures by suffix: notes.txt" in lines


def test_one_that_is_too_small_is_left_out_likewise(gcn, box, tmp_path):
    told = train(gcn, box, tmp_path, "--images", box / "small.png", "--images", box / "images")
    assert told.exit_code == 1
    assert "small.png: the image is 6x6 px" in told.stderr
    assert names(tmp_path) == ["ash", "bark"]


@pytest.mark.parametrize("words", [("--strict",), ("--joint",)])
def test_strict_and_joint_refuse_at_once(gcn, box, mixed, tmp_path, words):
    told = train(gcn, box, tmp_path, "--images", mixed, *words)
    assert told.exit_code == 2
    assert "broken.png" in told.stderr
    assert names(tmp_path) == []


def test_a_dry_run_tells_the_same(gcn, box, mixed, tmp_path):
    told = train(gcn, box, tmp_path, "--images", mixed, "--dry-run")
    assert told.exit_code == 1
    assert "broken.png" in told.stderr
    assert names(tmp_path) == []


def test_folders_within_folders_and_names_that_are_alike(gcn, box, mixed, tmp_path):
    told = train(gcn, box, tmp_path, "--images", mixed, "--recursive")
    assert told.exit_code == 1
    assert names(tmp_path) == ["mixed-ash", "bark", "below-ash"]


def test_several_paths_add_up_and_none_counts_twice(gcn, box, tmp_path):
    ash = box / "images" / "ash.png"
    words = ("--images", ash, "--images", box / "images", "--images", ash)
    told = train(gcn, box, tmp_path, *words)
    assert told.exit_code == 0
    assert names(tmp_path) == ["ash", "bark"]


def test_a_crop_is_that_part(gcn, box, tmp_path):
    told = train(gcn, box, tmp_path, "--images", box / "ordinary.png", "--crop", "10,20,40,32")
    assert told.exit_code == 0, told.stderr
    saved = load_checkpoint(Path(told.stdout.strip()))
    whole = load_image(box / "ordinary.png")
    assert torch.equal(saved.observed[0], whole[:, 20:52, 10:50])


@pytest.mark.parametrize(
    ("crop", "sentence"),
    [
        ("40,0,30,30", "the crop 40,0,30,30 lies outside ordinary.png, 64x64 px"),
        ("1,2,3", "a crop reads like 10,20,300,200"),
        ("0,0,0,5", "a crop reads like"),
        ("a,b,c,d", "a crop reads like"),
    ],
)
def test_crops_that_are_none(gcn, box, tmp_path, crop, sentence):
    told = train(gcn, box, tmp_path, "--images", box / "ordinary.png", "--crop", crop)
    assert told.exit_code == 2
    assert sentence in told.stderr
