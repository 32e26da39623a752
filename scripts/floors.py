"""The lowest versions that pyproject.toml allows: which they are, and whether tests pass on them.

    python scripts/floors.py --show
    python scripts/floors.py [--venv build/floors] [--keep]

Writes the floors as constraints, makes an environment of its own, installs gcn and pytest into it
under these constraints, and runs the fast tests there. Not the other development tools: these are
run in their newest versions only. The interpreter that runs the script is the one tested; it must
be one that the floors were built for: NumPy 2.0 and Pillow 10 know Python up to 3.12. The floor of
PyTorch brings gigabytes of CUDA along: --keep goes on with the environment of an earlier call.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {"hatchling", "mypy", "ruff", "triton"}  # tools; PyTorch for CUDA brings its own triton
NEWEST_PYTHON = (3, 12)
_FLOOR = re.compile(r'"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)[",;]')
_EXACT = re.compile(r"^([\w.-]+)==([\w.]+)", flags=re.MULTILINE)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--show", action="store_true", help="print the floors; install nothing")
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "floors")
    parser.add_argument("--keep", action="store_true", help="go on with an environment, if there")
    args = parser.parse_args()
    text = constraints()
    if args.show:
        print(text, end="")
        return 0
    if sys.version_info[:2] > NEWEST_PYTHON:
        print("the floors need Python 3.10 to 3.12: make floors PYTHON=python3.12")
        return 2
    file = args.venv.with_suffix(".txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if not (args.keep and args.venv.exists()):
        venv.create(args.venv, with_pip=True, clear=True)
    python = args.venv / "bin" / "python"
    wanted = ("--constraint", file, f"{ROOT}[report]", "pytest", "hypothesis")
    subprocess.run([python, "-m", "pip", "install", *wanted], check=True, cwd=ROOT)
    # A library that warns of its own old age is no failure of a floor.
    tests = ("-m", "not slow", "-o", "filterwarnings=default", "-p", "no:cacheprovider")
    return subprocess.run([python, "-m", "pytest", *tests], check=False, cwd=ROOT).returncode


def floors() -> dict[str, str]:
    """Name to lowest version, as pyproject.toml says, of all that users and tests need."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    told = project.partition("[project]")[2].partition("[project.scripts]")[0]
    return {name: low for name, low in _FLOOR.findall(told) if name not in SKIPPED}


def tested() -> list[tuple[str, str]]:
    """Names and the versions that constraints.txt pins; of some, one for old Pythons besides."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return _EXACT.findall(pins)


def constraints() -> str:
    """The floors as pip reads them."""
    return "".join(f"{name}=={low}\n" for name, low in floors().items())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:  # pip has told why
        sys.exit(failed.returncode)
