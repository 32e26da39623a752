"""Breaks one line at a time in a copy of the repository and asks whether a test notices.

`python benchmarks/mutations.py --seed 1 --count 120 --out mutations.tsv` takes as many mutations
of each of four rooms; `--again mutations.tsv` repeats those that survived there.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch  # noqa: F401  # imported once, before the forks

ROOT = Path(__file__).resolve().parent.parent
MORE = {  # after the room's own tests: a few of other rooms that lean on it most
    "images": ["tests/cli/test_synthesize.py"],
    "field": ["tests/engine/test_equals_field.py", "tests/texture/test_learn.py"],
    "engine": ["tests/texture/test_draw.py", "tests/texture/paper"],
    "run": [f"tests/cli/test_{verb}.py" for verb in ("synthesize", "train", "train_texture")],
}
PAIRS = "Lt LtE, Gt GtE, Eq NotEq, Is IsNot, In NotIn, Add Sub, Mult Div, And Or"
SWAPS = {getattr(ast, a): getattr(ast, b) for a, b in (p.split() for p in PAIRS.split(", "))}
SWAPS |= {b: a for a, b in SWAPS.items()} | {ast.FloorDiv: ast.Mult}
ENDS = {"min": "max", "amin": "amax", "clamp_min": "clamp_max", "floor": "ceil", "any": "all"}
ENDS |= {b: a for a, b in ENDS.items()}


def mutants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What one node may become, each with the name of its kind."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            new.ops = [SWAPS[type(op)]()]
            yield "Compare", new
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPS:
            new.op = SWAPS[type(op)]()
            yield type(new).__name__, new
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "Not", operand
        case ast.Constant(value=bool(value)):
            yield "Truth", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "Constant", ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield "Constant", ast.Constant(value * 1.5 or 0.5)
        case ast.Call(func=ast.Name(id=name)) if name in ENDS:
            new.func.id = ENDS[name]
            yield "Ends", new
        case ast.Call(func=ast.Attribute(attr=name)) if name in ENDS:
            new.func.attr = ENDS[name]
            yield "Ends", new
        case ast.Call(args=[first, second, *rest]):
            new.args = [second, first, *rest]
            yield "Arguments", new
        case ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break():
            yield "Dropped", ast.Pass()
        case ast.Expr(value=ast.Call()):
            yield "Dropped", ast.Pass()
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in ast.unparse(value):
            yield "Dropped", ast.Pass()


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those of annotations, decorators, formatted text and zip's own guard."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict"):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                yield from walk(child) if isinstance(child, ast.AST) else ()


def chosen(room: str, count: int, seed: int) -> list[tuple[str, str, str]]:
    """Place, change, whole text: the kinds in turn, so that constants do not crowd out the rest."""
    kinds: dict[str, list[tuple[str, str, str]]] = {}
    for file in sorted((ROOT / "src/gcn_cli" / room).rglob("*.py")):
        lines = file.read_text().splitlines(keepends=True)
        for node in walk(ast.parse("".join(lines))):
            if not hasattr(node, "lineno") or node.end_lineno != node.lineno:
                continue  # no place of its own, or more than one line
            row, a, b = node.lineno - 1, node.col_offset, node.end_col_offset
            raw = lines[row].encode()
            for kind, new in mutants(node):
                code = f"({ast.unparse(new)})" if isinstance(new, ast.expr) else ast.unparse(new)
                text = [*lines[:row], f"{raw[:a].decode()}{code}{raw[b:].decode()}"]
                place = f"{file.relative_to(ROOT)}:{row + 1}:{a}"
                change = f"{raw[a:b].decode()}  ->  {code}"
                kinds.setdefault(kind, []).append((place, change, "".join(text + lines[row + 1 :])))
    dice, taken = random.Random(f"{seed}/{room}"), []
    queues = [dice.sample(kinds[kind], len(kinds[kind])) for kind in sorted(kinds)]
    while len(taken) < count and (queues := [queue for queue in queues if queue]):
        taken.append(queues[0].pop())
        queues.append(queues.pop(0))
    return taken


def tests_of(room: str, module: str, repo: Path) -> list[str]:
    """Files of tests, those that most likely notice first."""
    own = sorted((repo / "tests" / room).rglob("test_*.py"), key=lambda path: path.stat().st_size)
    named = {path for path in own if f"{room}.{module}" in path.read_text()}
    own.sort(key=lambda path: (not path.name.startswith(f"test_{module}"), path not in named))
    return [*(str(path.relative_to(repo)) for path in own), *MORE[room]]


def noticed(repo: Path, tests: list[str], seconds: float) -> str:
    """The name of the test that fails, or nothing."""
    log, end = repo / "log", time.monotonic() + seconds
    if not (child := os.fork()):
        os.setsid()
        os.chdir(repo)
        os.environ["PYTHONPATH"] = f"{repo}/src"
        sys.path.insert(0, f"{repo}/src")
        for handle in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
        os._exit(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]))
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            lines = [x for x in log.read_text().splitlines() if x.startswith(("FAILED", "ERROR"))]
            return "" if status == 0 else ["ERROR at start", *lines][-1].split(" - ")[0]
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "out of time"


def main() -> None:
    """Write a line a mutation: killed or survived, its place, the change, the test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=120, help="over all rooms")
    parser.add_argument("--rooms", nargs="+", default=list(MORE))
    parser.add_argument("--seconds", type=float, default=300, help="for the tests of a mutation")
    parser.add_argument("--again", type=Path, help="a table of which to repeat the survivors")
    parser.add_argument("--out", type=Path, default=Path("mutations.tsv"))
    args = parser.parse_args()
    lines = args.again.read_text().splitlines() if args.again else []
    again = {tuple(line.split("\t")[1:3]) for line in lines if line.startswith("survived")}
    sys.dont_write_bytecode = True  # two mutations of a second and a size would share it
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with tempfile.TemporaryDirectory() as folder, args.out.open("w") as table:
        repo, git = Path(folder), ["git", "ls-files", "-co", "--exclude-standard"]
        for name in subprocess.check_output(git, cwd=ROOT, text=True).splitlines():
            if (ROOT / name).is_file():
                (repo / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, repo / name)
        for room in args.rooms:
            for place, change, text in chosen(room, args.count // len(MORE), args.seed):
                if args.again and (place, change) not in again:
                    continue
                name = place.split(":")[0]
                (repo / name).write_text(text)
                by = noticed(repo, tests_of(room, Path(name).stem, repo), args.seconds)
                shutil.copy(ROOT / name, repo / name)
                print("killed" if by else "survived", place, change, by, sep="\t", file=table)
                table.flush()


if __name__ == "__main__":
    main()
