"""Run folders are numbered once, and their lines survive a crash."""

import concurrent.futures
import datetime
import json
import math

import pytest

from gcn_cli import __version__
from gcn_cli.errors import GcnError
from gcn_cli.run.rundir import (
    append_jsonl,
    clear_scratch,
    create_run_dir,
    cut_metrics,
    read_jsonl,
    write_meta,
)


def test_numbers_rise_whatever_the_name(tmp_path):
    root = tmp_path / "deep" / "runs"
    names = [create_run_dir(root, name).name for name in ("brick", "grass", "brick")]
    assert names == ["00000-brick", "00001-grass", "00002-brick"]


def test_numbering_goes_on_above_the_highest(tmp_path):
    for name in ("00041-old", "100000-many", "00007-x.tar", "notes", "12-short"):
        (tmp_path / name).mkdir()
    assert create_run_dir(tmp_path, "new").name == "100001-new"


def test_gaps_are_not_filled(tmp_path):
    first = create_run_dir(tmp_path, "a")
    create_run_dir(tmp_path, "b")
    first.rmdir()
    assert create_run_dir(tmp_path, "c").name == "00002-c"


@pytest.mark.parametrize(
    ("name", "label"),
    [("a b/c", "a-b-c"), ("../../etc", "etc"), ("", "run"), ("...", "run"), ("Größe_2", "Größe_2")],
)
def test_names_cannot_leave_the_folder(tmp_path, name, label):
    folder = create_run_dir(tmp_path, name)
    assert folder.name == f"00000-{label}"
    assert folder.parent == tmp_path


def test_many_at_once_never_share_a_number(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda k: create_run_dir(tmp_path, f"n{k % 3}"), range(48)))
    numbers = [folder.name.split("-")[0] for folder in folders]
    assert len(set(numbers)) == 48
    assert sorted(tmp_path.iterdir()) == sorted(folders)  # and who withdrew left nothing


def test_a_file_in_the_way_is_told_in_a_sentence(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(GcnError, match="no run folder can be made"):
        create_run_dir(tmp_path / "runs", "x")


# ---------------------------------------------------------------------------------- lines


def test_jsonl_round_trip(tmp_path):
    path = tmp_path / "m.jsonl"
    records = [{"step": k, "name": "ß∞\n", "list": [1, 2.5, None]} for k in range(3)]
    for record in records:
        append_jsonl(path, record)
    assert read_jsonl(path) == records
    assert len(path.read_bytes().splitlines()) == 3


def test_a_missing_file_has_no_records(tmp_path):
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_what_json_cannot_say_is_null(tmp_path):
    append_jsonl(
        tmp_path / "m", {"a": math.nan, "b": [math.inf, (-math.inf, 1.0)], "c": {"d": math.nan}}
    )
    assert read_jsonl(tmp_path / "m") == [{"a": None, "b": [None, [None, 1.0]], "c": {"d": None}}]


@pytest.mark.parametrize("cut", range(1, 15))
def test_a_torn_last_line_is_left_out_and_later_ones_survive(tmp_path, cut):
    path = tmp_path / "m.jsonl"
    append_jsonl(path, {"k": 1})
    whole = path.read_bytes()
    append_jsonl(path, {"name": "ü"})
    path.write_bytes(path.read_bytes()[: len(whole) + cut])
    assert read_jsonl(path) == [{"k": 1}]
    append_jsonl(path, {"k": 3})
    assert read_jsonl(path) == [{"k": 1}, {"k": 3}]


FOREIGN = ["hello", "[1, 2]", '{"a": 1} {"b": 2}', "3", "}", "[" * 100_000]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_foreign_lines_are_left_out(tmp_path, foreign):
    path = tmp_path / "m.jsonl"
    path.write_text('{"k": 1}\n' + foreign + '\n{"k": 2}\n')
    assert read_jsonl(path) == [{"k": 1}, {"k": 2}]


UNCOUNTED = ["{}", '{"done": null}', '{"done": "2"}', '{"done": true}', '{"done": 1e999}']


@pytest.mark.parametrize("foreign", FOREIGN + UNCOUNTED)
def test_metrics_are_cut_to_what_a_run_wrote_up_to_its_checkpoint(tmp_path, foreign):
    path = tmp_path / "m.jsonl"
    records = [{"done": k, "gap": k / 2} for k in (1, 2, 3)]
    lines = [json.dumps(record) for record in records]
    path.write_text("\n".join([lines[0], foreign, '{"done": 2, "ga', "", *lines[1:]]) + "\n")
    assert cut_metrics(path, 2) == 1
    assert read_jsonl(path) == records[:2]
    assert path.read_text() == "".join(f"{line}\n" for line in lines[:2])


def test_what_json_cannot_say_is_null_in_cut_metrics_too(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"done": 1, "gap": NaN}\n')
    assert cut_metrics(path, 1) == 0
    assert path.read_text() == '{"done": 1, "gap": null}\n'


def test_scratch_of_a_runs_own_files_goes_and_nothing_else(tmp_path):
    ours = ["run.{}.pt", "meta.{}.json", "samples-000123.{}.png", "config.{}.yaml"]
    others = ["mine.{}.png", "samples.{}.png", "runs.{}.pt"]
    for name in ours + others:
        (tmp_path / f".{name.format('0123456789ab.tmp')}").touch()
    kept = {".run.pt", ".run.tmp.pt", ".lock", "run.pt", ".run.0123456789abc.tmp.pt"}
    for name in kept:
        (tmp_path / name).touch()
    clear_scratch(tmp_path)
    left = {f".{name.format('0123456789ab.tmp')}" for name in others}
    assert {path.name for path in tmp_path.iterdir()} == left | kept


def test_the_scratch_that_is_removed_is_the_one_that_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # killed: nobody clears up
    monkeypatch.setattr("os.fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_meta(tmp_path, [])
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    clear_scratch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_meta_tells_what_is_needed_to_repeat_the_run(tmp_path):
    write_meta(tmp_path, ["gcn", "train"], {"device": "cpu"})
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["argv"] == ["gcn", "train"]
    assert meta["device"] == "cpu"
    assert meta["versions"]["gcn"] == __version__
    assert {"python", "torch", "numpy"} <= set(meta["versions"])
    started = datetime.datetime.fromisoformat(meta["started"])
    age = datetime.datetime.now(datetime.timezone.utc) - started
    assert datetime.timedelta(seconds=-1) <= age < datetime.timedelta(minutes=1)
