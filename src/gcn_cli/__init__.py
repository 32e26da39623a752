"""gcn: texture synthesis with a Generative ConvNet (Xie, Lu, Zhu, Wu 2016).

Rooms, in the order of their imports: `field` (the mathematics), `engine` (the same, fast),
`texture` (the recipes), `run` (config, disk and clock), `report` (figures), `cli`; `images` and
`statistics` stand beside. Importing this package loads none of them, nor PyTorch, so that the
command line can answer before PyTorch is needed.
"""

__version__ = "0.2.0"

__all__ = ["__version__"]
