"""Many pictures, many processes: the recipes of docs/batch.md, and what they stand on."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gcn_cli.images.files import load_image, save_png
from gcn_cli.run.rundir import create_run_dir

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
KEYS = ["path", "what", "seed", "size"]


def lines(result, code=0):
    assert result.exit_code == code, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(result, sentence):
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


# -------------------------------------------------------------------- results as lines


def test_every_file_is_a_line(gcn, trained, tmp_path):
    words = ("synthesize", "--ckpt", trained["plain"], "--size", "32x48", "--n", 2, "--tile", "x")
    told = lines(gcn(*words, "-o", tmp_path, "--video", tmp_path / "a.gif", "--json"))
    assert all(list(one) == KEYS for one in told)
    assert {one["size"] for one in told} == {"32x48"}
    assert all(Path(one["path"]).is_file() for one in told)
    assert [(one["what"], one["seed"]) for one in told] == [
        *(("sample", 0), ("preview", 0), ("sample", 1), ("preview", 1)),
        *(("grid", None), ("film", None)),
    ]


def test_a_map_is_a_file_too(gcn, slate_run, tmp_path):
    words = ("--size", 32, "-o", tmp_path, "--preview", "--json")
    told = lines(gcn("synthesize", "--ckpt", slate_run, *words))
    assert [(one["what"], one["seed"]) for one in told] == [*[("map", 0)] * 2, ("preview", 0)]


def test_every_run_is_a_line(gcn, box, tmp_path):
    words = ("train", "--images", box / "images", "--config", box / "plain.yaml", "--seed", 5)
    told = lines(gcn(*words, "--out", tmp_path, "--json"))
    runs = [str(tmp_path / name) for name in ("00000-ash", "00001-bark")]
    common = {"what": "run", "seed": 5, "complete": True}
    assert told == [{"path": run, **common} for run in runs]
    assert lines(gcn(*words, "--out", tmp_path, "--json", "--skip-existing")) == told
    assert lines(gcn("train", "--resume", runs[0], "--json")) == told[:1]
    out = ("--out", tmp_path / "late", "--set", "learning.updates=100000", "--max-time", "0.1s")
    (late,) = lines(gcn(*words, *out, "--json"))
    assert late["complete"] is False
    assert Path(late["path"]).is_dir()


def test_a_picture_on_stdout_leaves_no_room_for_json(gcn, trained):
    told = gcn("synthesize", "--ckpt", trained["plain"], "-o", "-", "--json")
    refused(told, "leave out --json")


# ------------------------------------------------------------------ what is there already


@pytest.fixture(scope="module")
def hole(box, tmp_path_factory):
    """White where something is missing."""
    file = tmp_path_factory.mktemp("hole") / "hole.png"
    picture = load_image(box / "ordinary.png")[:1] * 0
    picture[:, 20:40, 20:40] = 255
    save_png(file, picture)
    return file


@pytest.fixture
def slate_run(gcn, box, tmp_path):
    """A model of two maps."""
    for name in ("Color", "Height"):
        shutil.copy(box / "images" / "ash.png", tmp_path / f"slate_{name}.png")
    words = ("--images", tmp_path, "--config", box / "texture.yaml", "--out", tmp_path / "runs")
    result = gcn("train", *words)
    assert result.exit_code == 0, result.stderr
    return Path(result.stdout.strip())


def _calls(box, run, hole):
    """Commands that write several pictures, and the names of these."""
    wall, model = box / "ordinary.png", ("--ckpt", run, "--n", 2)
    answers = ["mean", "seed0", "seed1", "spread"]
    return {
        "synthesize": (("--size", 32, *model), ["grid", "seed0", "seed1"]),
        "mix": ((run, run, "--size", 32, "--n", 2), ["grid", "seed0", "seed1"]),
        "inpaint": ((wall, "--mask", hole, *model), ["grid", *answers]),
        "seamless": ((wall, *model), ["grid", *answers, *["tiled"] * 2]),
        "restore": ((wall, "--noise", 25, *model), ["guess", *answers]),
    }


@pytest.mark.parametrize("verb", ["synthesize", "mix", "inpaint", "seamless", "restore"])
def test_what_is_there_is_left_and_told(gcn, box, trained, hole, tmp_path, verb):
    words, names = _calls(box, trained["texture"], hole)[verb]
    words = (verb, *words, "-o", tmp_path, "--json", "--skip-existing")
    told = lines(gcn(*words))
    assert len(told) == len(names)
    files = [Path(one["path"]) for one in told]
    assert sorted(files) == sorted(tmp_path.iterdir())
    before = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(b"left")
    again = gcn(*words)
    assert lines(again) == told
    assert "already" in again.stderr
    assert {file.read_bytes() for file in files} == {b"left"}

    files[0].unlink()
    gcn(*words)
    assert files[0].read_bytes() == before[files[0]]
    left = {file for file in files if file.read_bytes() == b"left"}
    seeds = {file for file, one in zip(files, told, strict=True) if one["seed"] == 1}
    assert left == (seeds | {files[-1]} if verb in ("synthesize", "mix") else set())


def test_only_seeds_that_are_not_whole_are_drawn(gcn, trained, tmp_path, listing):
    words = ("synthesize", "--ckpt", trained["plain"], "--size", 32, "--tile", "x")
    words = (*words, "-o", tmp_path, "--skip-existing", "--seeds")
    assert gcn(*words, "0-1").exit_code == 0
    for name in ("seed0", "seed1"):
        (tmp_path / f"sample-32x32-{name}.png").write_bytes(b"left")
    (tmp_path / "sample-32x32-seed1-tiled2x1.png").unlink()
    told = gcn(*words, "0-2")
    assert "1 of 3 samples are there already" in told.stderr
    assert (tmp_path / "sample-32x32-seed0.png").read_bytes() == b"left"
    assert (tmp_path / "sample-32x32-seed1.png").read_bytes() != b"left"
    assert "grid-32x32-seed0-2.png" not in listing(tmp_path)
    assert len(told.stdout.split()) == 6


def test_a_material_is_there_with_all_its_maps(gcn, slate_run, tmp_path):
    words = ("synthesize", "--ckpt", slate_run, "--size", 32, "-o", tmp_path / "out")
    first, second = gcn(*words).stdout.split()
    Path(first).write_bytes(b"left")
    assert gcn(*words, "--skip-existing").stdout.split() == [first, second]
    assert Path(first).read_bytes() == b"left"
    Path(second).unlink()
    assert gcn(*words, "--skip-existing").exit_code == 0
    assert Path(first).read_bytes() != b"left"


def test_no_model_is_learned_for_a_picture_that_is_there(gcn, box, hole, tmp_path):
    done = tmp_path / "done.png"
    shutil.copy(box / "ordinary.png", done)
    config = ("--config", box / "texture.yaml", "--runs", tmp_path / "runs", "--skip-existing")
    for words in (
        ("inpaint", box / "ordinary.png", "--mask", hole),
        ("seamless", box / "small.png"),
    ):
        (told,) = lines(gcn(*words, *config, "-o", done, "--json"))
        assert told == {"path": str(done), "what": "sample", "seed": 0, "size": "64x64"}
        refused(gcn(*words, *config), "give -o FILE, or --ckpt")
    assert not (tmp_path / "runs").exists()
    made = gcn("seamless", box / "ordinary.png", *config, "-o", tmp_path / "new.png", "--tile", "x")
    assert made.exit_code == 0, made.stderr
    assert (tmp_path / "runs" / "00000-ordinary").is_dir()


def test_leaving_and_replacing_exclude_each_other(gcn, box, trained, hole, tmp_path):
    for verb, (words, _) in _calls(box, trained["texture"], hole).items():
        told = gcn(verb, *words, "-o", tmp_path, "--skip-existing", "--overwrite")
        refused(told, "give one of them")
    film = ("--video", tmp_path / "a.gif", "--skip-existing")
    refused(gcn("synthesize", "--ckpt", trained["plain"], *film), "leave out --skip-existing")


# ------------------------------------------------------------------------ many processes


@pytest.mark.slow
def test_sixteen_processes_never_share_a_number(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gcn_cli.run.rundir"])
    with context.Pool(16) as pool:
        asked = [(tmp_path, f"n{k}") for k in range(256)]
        folders = pool.starmap(create_run_dir, asked, chunksize=16)
    assert len({folder.name.partition("-")[0] for folder in folders}) == 256
    assert sorted(tmp_path.iterdir()) == sorted(folders)  # and who withdrew left nothing


@pytest.fixture
def shell(box, tmp_path):
    """A line or script in a folder with pictures, a tiny preset and `gcn` on the path."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "gcn"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gcn_cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    shutil.copytree(box / "images", tmp_path / "pictures")
    shutil.copy(box / "plain.yaml", tmp_path)
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
    }

    def run(script, **variables):
        return subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def told_on_the_page(language, part):
    """The block that holds a text, with a tiny preset and small pictures."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    (block,) = [block for block in blocks if part in block]
    small = block.replace("--size 512", "--size 32").replace("0,3,10-20", "0,3")
    return small.replace("gcn train --images {}", "gcn train --config plain.yaml --images {}")


@pytest.mark.slow
def test_xargs_learns_and_draws_side_by_side(shell, tmp_path):
    learned = shell(told_on_the_page("sh", "xargs -0"))
    assert (learned.returncode, learned.stderr) == (0, "")
    runs = sorted((tmp_path / "done.txt").read_text().split())
    assert [run.partition("-")[0] for run in runs] == ["runs/00000", "runs/00001"]
    assert {run.partition("-")[2] for run in runs} == {"ash", "bark"}
    drawn = shell(told_on_the_page("sh", "xargs -P 2").splitlines()[0])
    assert (drawn.returncode, drawn.stderr) == (0, "")
    for run in runs:
        samples = tmp_path / run / "synthesized"
        assert len(list(samples.glob("sample-32x32-seed[03].png"))) == 2


@pytest.mark.slow
def test_make_learns_and_draws_what_is_missing(shell, tmp_path):
    rules = told_on_the_page("make", "PICTURES :=").replace(
        "train --images", "train --config plain.yaml --images"
    )
    (tmp_path / "Makefile").write_text(rules, encoding="utf-8")
    made = shell("make -s -j 2 && make -s")
    assert (made.returncode, made.stderr) == (0, "")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) in (
        ["00000-ash", "00001-bark"],
        ["00000-bark", "00001-ash"],
    )
    for name in ("ash", "bark"):
        assert load_image(tmp_path / "samples" / f"{name}.png").shape == (3, 32, 32)
    assert "up to date" in shell("make -q all && echo up to date").stdout


@pytest.mark.slow
def test_a_slurm_task_takes_its_lines_and_goes_on_where_it_was(shell, tmp_path):
    script = told_on_the_page("sh", "#SBATCH").replace("preset=texture", "preset=plain.yaml")
    (tmp_path / "list.txt").write_text("pictures/ash.png\npictures/bark.png\n")
    task = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "2"}
    late = shell(script.replace("seconds=13800", "seconds=0"), **task)
    assert (late.returncode, late.stdout, late.stderr) == (0, "", "")
    done = shell(f"({script}) 2> log", **task)
    log = (tmp_path / "log").read_bytes().decode()  # as text, carriage returns would be lost
    assert "\nseed 0 " in log
    assert "\r" not in log
    assert "\x1b" not in log
    samples = [f"runs/bark/00000-bark/synthesized/sample-32x32-seed{k}.png" for k in range(4)]
    assert (done.returncode, done.stdout.split()[:4]) == (0, samples), log
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["bark"]
    (tmp_path / samples[1]).unlink()
    again = shell(script, **task)
    assert sorted(again.stdout.split()) == sorted(done.stdout.split()), again.stderr
    assert "is complete already" in again.stderr
    assert "3 of 4 samples are there already" in again.stderr
    assert [p.name for p in (tmp_path / "runs" / "bark").iterdir()] == ["00000-bark"]
