"""Numbers stay: what two tiny seeded runs come to is what is written down in tests/golden.json.

Float32 on one thread, so that it is one number for processors with and without bfloat16. Other
instruction sets (SSE 4.1, AVX2, AVX-512), two threads and PyTorch without oneDNN moved the figures
by less than 1e-5 of themselves; the tolerance leaves room for other processors.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golden import CONFIGS, figures

GOLDEN = json.loads((Path(__file__).parents[1] / "golden.json").read_text(encoding="utf-8"))
RELATIVE = 1e-4
PIXEL = 0.02  # grey levels


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_seeded_run_comes_to_the_figures_that_are_written_down(kind):
    told, golden = figures(kind), GOLDEN[kind]
    assert told["pixels"] == pytest.approx(golden["pixels"], abs=PIXEL, rel=0)
    for group in ("learning", "norms", "sample"):
        assert told[group] == pytest.approx(golden[group], rel=RELATIVE)
