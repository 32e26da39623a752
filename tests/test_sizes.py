"""Nothing is longer than a reader can hold: classes of 150 lines, functions of 50.

Lines of code count: not blank ones, comments, docstrings, nor a function's signature, which in the
command line is the help of every option. What runs once from top to bottom is a linear script.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "src").rglob("*.py"))
MOST_OF_CLASS, MOST_OF_FUNCTION = 150, 50
LINEAR = {"_convolve", "_move"}  # Triton compiles a kernel as one function


def _code(source: list[str], body: list[ast.stmt]) -> int:
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        body = body[1:]
    if not body:
        return 0
    lines = [line.strip() for line in source[body[0].lineno - 1 : body[-1].end_lineno]]
    return sum(bool(line) and not line.startswith("#") for line in lines)


@pytest.mark.parametrize("path", FILES, ids=[str(f.relative_to(ROOT / "src")) for f in FILES])
def test_classes_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert _code(text.splitlines(), node.body) <= MOST_OF_CLASS, node.name
        elif isinstance(node, ast.FunctionDef) and node.name not in LINEAR:
            assert _code(text.splitlines(), node.body) <= MOST_OF_FUNCTION, node.name
