"""Every dependency has a floor, and what is tested lies above it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("floors", ROOT / "scripts" / "floors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_has_a_floor(script):
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.search(r"\ndependencies = \[(.*?)\]", project, flags=re.DOTALL)[1]
    assert set(re.findall(r'"([\w-]+)', needed)) <= script.floors().keys()
    assert {"matplotlib", "imageio", "pytest"} <= script.floors().keys()


def test_the_tested_versions_are_not_below_the_floors(script):
    def number(version):
        return [int(part) for part in re.findall(r"\d+", version)]

    floors, tested = script.floors(), script.tested()
    assert floors.keys() <= {name for name, _ in tested}
    for name, version in tested:
        assert number(version) >= number(floors.get(name, "0")), name
