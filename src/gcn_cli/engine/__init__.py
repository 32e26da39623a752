"""The functions of `gcn_cli.field`, fast; this is their one door.

What lives here: layouts, precision, strides moved into channels, wrapped margins, kernels and
graphs for CUDA, windows for canvases of any size, and what a device has to offer. Each is proved
equal to `field` by tests, in the very precision that is used. What may not: a recipe, a file, a
word to the user. Others import from this page alone and never ask what device or kernel computes.
For fields at all noise levels read `fast`, then `windows`; for the paper's read `fused`, `device`,
then `bands`.
"""

from gcn_cli.engine.bands import WindowedField, run_windowed
from gcn_cli.engine.device import AnyBasis, make_basis
from gcn_cli.engine.fast import Engine, Sampler, open_engine
from gcn_cli.engine.fused import FusedBasis
from gcn_cli.engine.likelihood import likelihood_gradient
from gcn_cli.engine.machine import (
    choose_device,
    choose_machine,
    describe,
    facts,
    free_memory,
    is_out_of_memory,
    joined,
    total_memory,
)
from gcn_cli.engine.noise import NoiseSource
from gcn_cli.engine.ranks import Ranks
from gcn_cli.engine.replay import Replayed
from gcn_cli.engine.support import Machine
from gcn_cli.engine.windows import BAND, gradient_by_windows, move_bands, parts, windowed_gradient

__all__ = [
    "BAND",
    "AnyBasis",
    "Engine",
    "FusedBasis",
    "Machine",
    "NoiseSource",
    "Ranks",
    "Replayed",
    "Sampler",
    "WindowedField",
    "choose_device",
    "choose_machine",
    "describe",
    "facts",
    "free_memory",
    "gradient_by_windows",
    "is_out_of_memory",
    "joined",
    "likelihood_gradient",
    "make_basis",
    "move_bands",
    "open_engine",
    "parts",
    "run_windowed",
    "total_memory",
    "windowed_gradient",
]
