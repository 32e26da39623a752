#!/usr/bin/env python3
"""Do the tests kill? Breaks one line at a time and sees whether a test fails.

    python benchmarks/mutations.py --room field --count 40 [--seed 0] [--out mutations-field.txt]

Works on a copy of the repository. Mutations are drawn at random from all comparisons, operators,
constants, negations and calls of min and max below src/gcn_cli/ROOM; the tests run are those of the
module, then of the room, then of what stands on it. A line for each: killed, survived or timeout.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ABOVE = {
    "field": ("tests/engine", "tests/texture", "tests/report"),
    "engine": ("tests/texture", "tests/cli/test_synthesize_texture.py", "tests/cli/test_train.py"),
    "images": ("tests/run", "tests/cli"),
    "run": ("tests/cli",),
}
"""Tests of what stands on a room, nearest first."""
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "amin": "amax", "amax": "amin", "any": "all", "all": "any"}


def broken(node: ast.AST) -> ast.AST | None:
    """The node with one thing wrong, or None where it has nothing to break."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.BinOp | ast.BoolOp) and type(new.op) in SWAPS:
        new.op = SWAPS[type(new.op)]()  # type: ignore[assignment]
    elif isinstance(new, ast.Compare) and type(new.ops[0]) in SWAPS:
        new.ops[0] = SWAPS[type(new.ops[0])]()  # type: ignore[call-overload]
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub):
        return new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        new.value = not new.value
    elif isinstance(new, ast.Constant) and isinstance(new.value, int | float):
        new.value = new.value + 1 if isinstance(new.value, int) else new.value * 2
    elif isinstance(new, ast.Call) and isinstance(new.func, ast.Name) and new.func.id in NAMES:
        new.func.id = NAMES[new.func.id]
    elif isinstance(new, ast.Call) and isinstance(new.func, ast.Attribute):
        if new.func.attr not in NAMES:
            return None
        new.func.attr = NAMES[new.func.attr]
    else:
        return None
    return new


def mutations(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, what is changed, the whole source with it) for every place of a module."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    for node in ast.walk(_without_types(ast.parse(source))):
        new = broken(node)
        if new is None or node.lineno != node.end_lineno:  # type: ignore[attr-defined]
            continue
        line = lines[node.lineno - 1].encode()  # type: ignore[attr-defined]
        old, text = line[node.col_offset : node.end_col_offset], f"({ast.unparse(new)})".encode()  # type: ignore[attr-defined]
        changed = line[: node.col_offset] + text + line[node.end_col_offset :]  # type: ignore[attr-defined]
        told = f"{old.decode()} -> {text.decode()[1:-1]}"
        whole = [*lines[: node.lineno - 1], changed.decode(), *lines[node.lineno :]]  # type: ignore[attr-defined]
        yield node.lineno, told, "".join(whole)  # type: ignore[attr-defined]


def _without_types(tree: ast.Module) -> ast.Module:
    """Annotations and tests for type checkers change nothing when run."""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if hasattr(node, name):
                setattr(node, name, None)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.test, node.body = ast.Name("x"), []
    return tree


def survives(copied: Path, room: str, module: str, limit: float) -> str:
    """Killed, survived or timeout: what the tests say of the copy as it is."""
    mirrored = copied / "tests" / room
    nearest = sorted(str(p) for p in mirrored.rglob(f"test_*{module}*.py"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
    ]
    room_env = {**os.environ, "PYTHONPATH": str(copied / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    for tests in (nearest, [str(mirrored)], [str(copied / one) for one in ABOVE[room]]):
        if not tests:
            continue
        try:
            told = subprocess.run(
                [*command, *tests],
                check=False,
                cwd=copied,
                env=room_env,
                timeout=limit,
                capture_output=True,
            )
        except subprocess.TimeoutExpired:
            return "timeout"
        if told.returncode:
            return "killed"
    return "survived"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--room", choices=sorted(ABOVE), required=True)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", nargs="*", default=["kernels"], help="modules left out")
    parser.add_argument("--limit", type=float, default=400, help="seconds of tests a mutation")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / "repository"
        shutil.copytree(
            ROOT, copied, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "build")
        )
        folder = copied / "src" / "gcn_cli" / args.room
        paths = [p for p in sorted(folder.rglob("*.py")) if p.stem not in args.skip]
        every = [(path, *one) for path in paths for one in mutations(path)]
        chosen = random.Random(args.seed).sample(every, min(args.count, len(every)))
        for path, line, told, source in chosen:
            sound = path.read_text(encoding="utf-8")
            path.write_text(source, encoding="utf-8")
            verdict = survives(copied, args.room, path.stem, args.limit)
            path.write_text(sound, encoding="utf-8")
            text = f"{verdict:9}{path.relative_to(copied)}:{line}  {told}"
            print(text, flush=True)
            if args.out:
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(text + "\n")


if __name__ == "__main__":
    main()
