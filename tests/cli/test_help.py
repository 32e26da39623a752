"""Help answers at once, for every command, with an example, and without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gcn_cli import __version__

VERBS = [
    (),
    ("train",),
    ("synthesize",),
    ("restore",),
    ("inspect",),
    ("score",),
    ("classify",),
    ("likelihood",),
    ("evaluate",),
    ("export",),
    ("doctor",),
    ("config",),
    ("config", "list"),
    ("config", "show"),
    ("config", "validate"),
    ("config", "keys"),
    ("config", "schema"),
]
HEAVY = ("torch", "numpy", "PIL", "matplotlib", "tqdm", "yaml")


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_help_shows_an_example(gcn, verb):
    result = gcn(*verb, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    example = result.stdout.partition("Examples:\n")[2]
    assert " ".join(("  gcn", *verb)) in example


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from gcn_cli.__main__ import main\n"
        f"for verb in {VERBS!r}:\n"
        "    sys.argv = ['gcn', *verb, '--help']\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(gcn):
    result = gcn("--version")
    assert (result.exit_code, result.stdout) == (0, f"gcn {__version__}\n")


def test_no_words_is_a_question_for_help(gcn):
    assert "train" in gcn().output
