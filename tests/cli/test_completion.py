"""A shell completes verbs, options and presets at once, without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gcn_cli.run.presets import preset_names

SOURCE = Path(__file__).resolve().parents[2] / "src"
ASK = """
import sys
from gcn_cli.__main__ import main
try:
    main()
except SystemExit:
    print([name for name in ("torch", "numpy", "PIL", "yaml") if name in sys.modules])
"""


def offered(line: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    words = line.split(" ")
    asked = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_GCN_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **asked, "PYTHONPATH": str(SOURCE)},
    )
    *told, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    return [word for word in told if word]


def test_verbs_and_options():
    verbs = offered("gcn ")
    assert verbs[:2] == ["train", "synthesize"]
    assert {"inpaint", "seamless", "mix", "restore", "doctor", "config"} <= set(verbs)
    assert offered("gcn train --skip") == ["--skip-existing"]


@pytest.mark.parametrize("verb", ["train --config", "train --preset", "seamless --config"])
def test_presets(verb):
    assert offered(f"gcn {verb} te") == ["texture", "texture-quick"]


def test_where_no_preset_fits_the_shell_may_offer_files():
    assert offered("gcn config show ") == preset_names()
    assert offered("gcn config show mine") == []
