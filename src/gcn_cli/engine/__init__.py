"""The functions of `gcn_cli.field`, fast; `open_engine` is the one door.

What lives here: layouts, precision, strides moved into channels, wrapped margins, graphs recorded
on CUDA, windows for canvases of any size. Each is proved equal to `field` by tests, in the very
precision that is used. What may not: a recipe, a file, a word to the user. Nobody else asks what
device or kernel computes. Read `fast` first, then `windows`.
"""

from gcn_cli.engine.fast import Engine, open_engine

__all__ = ["Engine", "open_engine"]
