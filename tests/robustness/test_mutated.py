"""A few hundred damaged and hostile files; and each kind of fault is seen as one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def mutated() -> ModuleType:
    sys.path.insert(0, str(FOLDER))  # it imports its neighbour
    spec = importlib.util.spec_from_file_location("mutated", FOLDER / "mutated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    return module


@pytest.mark.slow
def test_damaged_and_hostile_files_are_read_or_refused(mutated, tmp_path):
    outcomes = mutated.survey(tmp_path, 1, range(120))
    assert [one for one in outcomes if one.fault] == []
    assert {one.door for one in outcomes} == {
        *("image", "mask", "yaml", "set", "checkpoint", "size", "line")
    }
    refused = sum(one.told != "read" for one in outcomes)
    assert 60 < refused < 120  # the doors are open to what is sound


@pytest.mark.slow
def test_every_kind_of_fault_is_seen(mutated, tmp_path):
    outcomes = mutated.survey(tmp_path, 0, list(mutated.CONTROLS), seconds=1.5)
    assert [one.fault for one in outcomes] == list(mutated.CONTROLS.values())
