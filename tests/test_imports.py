"""Imports run one way, and the command line imports PyTorch only inside its commands."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "gcn_cli"
LAYERS = [
    {"__init__", "errors"},
    {"images", "statistics"},
    {"field"},
    {"engine"},
    {"texture"},
    {"run"},
    {"report"},
    {"cli"},
    {"__main__"},
]
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def _statements(node: ast.AST, deep: bool) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not deep:
            continue
        if isinstance(child, ast.FunctionDef) and not deep:
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        yield from _statements(child, deep)


def _imports(name: str, deep: bool = True) -> set[str]:
    """Dotted names that a module imports; without ``deep`` only what runs on import."""
    found: set[str] = set()
    for node in _statements(ast.parse(MODULES[name].read_text(encoding="utf-8")), deep):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                inside = whole.removeprefix("gcn_cli.")
                found.add(whole if inside in MODULES else str(node.module))
    return found


def _own(name: str, deep: bool = True) -> set[str]:
    names = {found for found in _imports(name, deep) if found.split(".")[0] == "gcn_cli"}
    return {found.removeprefix("gcn_cli").lstrip(".") or "__init__" for found in names}


def _rank(name: str) -> int:
    (rank,) = (rank for rank, layer in enumerate(LAYERS) if name.split(".", maxsplit=1)[0] in layer)
    return rank


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_from_above(name):
    above = {other for other in _own(name) if _rank(other) > _rank(name)}
    assert not above


def test_no_circles():
    graph = {name: _own(name) & MODULES.keys() for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


FOREIGN = {
    "field": {"torch"},
    "engine": {"torch", "triton"},  # PyTorch brings Triton along where it is of use
    "texture": {"torch", "pydantic"},
    "images": {"torch", "numpy", "PIL", "OpenImageIO", "imageio"},
    "statistics": {"torch"},
}


def _room(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("name", [name for name in MODULES if _room(name) in FOREIGN])
def test_below_the_run_few_libraries_are_known(name):
    import sys

    allowed = {*sys.stdlib_module_names, "gcn_cli", *FOREIGN[_room(name)]}
    assert {found.split(".")[0] for found in _imports(name)} <= allowed


@pytest.mark.parametrize("name", MODULES)
def test_field_images_and_statistics_stand_by_themselves(name):
    room = _room(name)
    if room in ("field", "images", "statistics"):
        assert {_room(other) for other in _own(name)} <= {room, "errors"}
    if room in ("field", "engine"):
        assert {_room(other) for other in _own(name)}.isdisjoint({"images", "statistics"})


@pytest.mark.parametrize("name", MODULES)
def test_the_engine_has_one_door(name):
    """Nobody outside asks for kernels, fused layers, windows or devices by their modules."""
    if _room(name) != "engine":
        assert {other for other in _own(name) if _room(other) == "engine"} <= {"engine"}


ROOMS = ("field", "engine", "images", "texture", "statistics", "run", "report", "cli")


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_in_a_paragraph_what_it_is_for(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8")))
    headline, paragraph = text.split("\n\n")
    assert headline.endswith(".")
    assert paragraph.startswith("What lives here:")
    assert "What may not:" in paragraph
    assert re.search(r"[Rr]ead\s`", paragraph)


@pytest.mark.parametrize("name", MODULES)
def test_only_kinds_ask_for_the_kind(name):
    """The two recipes meet in `kinds` alone; `mix` is of one, and refuses the other."""
    parts = ("course", "packing", "sampling", "mixing")
    halves = {f"run.{kind}_{part}" for kind in ("field", "texture") for part in parts}
    if name in halves or name in ("run.kinds", "report.inspection", "cli.mix"):
        return
    assert not _own(name) & halves


@pytest.mark.parametrize("name", MODULES)
def test_nothing_loads_the_cuda_kernels_on_import(name):
    assert "engine.kernels" not in _own(name, deep=False)


SCRIPTS = [p for folder in ("benchmarks", "scripts") for p in sorted((ROOT / folder).glob("*.py"))]


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_scripts_ask_for_what_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("gcn_cli"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_no_command_imports_another():
    shared = {"cli.options", "cli.signals", "cli.streams", "cli.launched", "cli.app", "cli"}
    for name in MODULES:
        if name.startswith("cli.") and name not in shared:
            assert {o for o in _own(name) if o.startswith("cli.")} <= shared - {"cli.app"}, name


def _reached(name: str, seen: set[str]) -> set[str]:
    seen.add(name)
    foreign = {n.split(".")[0] for n in _imports(name, deep=False)} - {"gcn_cli"}
    for other in (_own(name, deep=False) & MODULES.keys()) - seen:
        foreign |= _reached(other, seen)
    return foreign


@pytest.mark.parametrize("name", ["__main__", *(n for n in MODULES if n.startswith("cli."))])
def test_the_command_line_loads_without_torch(name):
    assert _reached(name, set()).isdisjoint({"torch", "numpy", "PIL", "OpenImageIO", "pydantic"})
