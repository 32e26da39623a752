"""Imports run one way, and the command line imports PyTorch only inside its commands."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "gcn_cli"
LAYERS = [
    {"__init__", "errors"},
    {"images", "statistics"},
    {"core", "field"},
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


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("core.")])
def test_the_core_knows_torch_numpy_and_the_standard_library_only(name):
    import sys

    allowed = {*sys.stdlib_module_names, "torch", "numpy", "gcn_cli"}
    if name == "core.kernels":  # PyTorch brings it along where these are of use
        allowed.add("triton")
    assert {found.split(".")[0] for found in _imports(name)} <= allowed


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "field"])
def test_the_field_knows_torch_and_itself_only(name):
    import sys

    assert {f.split(".")[0] for f in _imports(name)} <= {
        *sys.stdlib_module_names,
        "torch",
        "gcn_cli",
    }
    assert all(other.split(".")[0] == "field" for other in _own(name))


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "core"])
def test_the_core_knows_nothing_of_the_new_field(name):
    assert not {other for other in _own(name) if other.split(".")[0] == "field"}


@pytest.mark.parametrize("name", MODULES)
def test_only_kinds_ask_for_the_kind(name):
    """The two recipes meet in `kinds` alone."""
    parts = ("course", "packing", "sampling")
    halves = {f"run.{kind}_{part}" for kind in ("field", "texture") for part in parts}
    if name in halves or name in ("run.kinds", "report.inspection"):
        return
    assert not _own(name) & halves


@pytest.mark.parametrize("name", MODULES)
def test_nothing_loads_the_cuda_kernels_on_import(name):
    assert "core.kernels" not in _own(name, deep=False)


def test_no_command_imports_another():
    shared = {"cli.options", "cli.signals", "cli.app", "cli"}
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
    assert _reached(name, set()).isdisjoint({"torch", "numpy", "PIL", "pydantic"})
