"""The house as docs/architecture.md draws it is the house as it stands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "gcn_cli"
DOORS = {"__init__.py", "__main__.py"}


def _drawn() -> set[str]:
    """Packages (``field/``) and modules (``field/energy.py``) of the drawing."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = re.search(r"```\nsrc/gcn_cli/\n(.*?)```", page, flags=re.DOTALL)[1]
    found, above = set(), []
    for line in drawing.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        above = [*above[:depth], name]
        found.add("".join(above))
    return found


def _standing() -> set[str]:
    modules = {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")}
    packages = {f"{module.rpartition('/')[0]}/" for module in modules if "/" in module}
    return packages | {m for m in modules if m.rpartition("/")[2] not in DOORS}


def test_the_drawing_shows_what_stands_and_nothing_else():
    assert _drawn() == _standing()


def test_the_tests_have_a_folder_for_every_room():
    rooms = {name.rstrip("/") for name in _standing() if name.count("/") == 1 and name[-1] == "/"}
    assert rooms <= {path.name for path in (ROOT / "tests").iterdir()}
