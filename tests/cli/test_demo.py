"""How the demo shares its time out."""

from __future__ import annotations

import importlib.util
import time
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

from gcn_cli.run.config import choose

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_textures_are_the_bundled_ones(demo):
    assert sorted(demo.TEXTURES) == sorted(p.stem for p in (ROOT / "textures").glob("*.png"))


@pytest.mark.parametrize(
    ("left", "whole", "jobs", "textures"),
    [
        (240, 380, 2, 6),  # fast cores: a sketch of each
        (180, 720, 2, 2),  # slow ones: two that can be made out
        (20, 720, 2, 2),  # too slow for any: still something
        (240, 380, 1, 3),
        (240, 380, 16, 6),
    ],
)
def test_a_slow_machine_learns_fewer_textures(demo, left, whole, jobs, textures):
    names, budget = demo.share_out(left, whole, jobs)
    assert names == demo.TEXTURES[:textures]
    turns = -(-textures // jobs)
    spent = turns * (budget + whole * demo.BESIDES)
    assert budget == 10 or 0.9 * left <= spent <= left or budget == demo.MOST


def test_more_time_is_spent_on_learning_up_to_the_presets_own(demo):
    budgets = [demo.share_out(left, 380, 2)[1] for left in (240, 600, 6000)]
    assert budgets == sorted(budgets)
    assert budgets[-1] == demo.MOST


def test_its_most_is_the_presets_own_budget(demo):
    assert choose("texture").budget == demo.MOST


def test_what_it_needs_for_a_sketch_of_all_is_enough(demo):
    args = Namespace(jobs=2, began=time.time())
    assert demo.share_out(demo.needed(args, 720), 720, 2)[0] == demo.TEXTURES
