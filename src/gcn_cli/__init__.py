"""gcn: texture synthesis with a Generative ConvNet (Xie, Lu, Zhu, Wu 2016).

The mathematics lives in `gcn_cli.core`, the command line in `gcn_cli.cli`. Importing this package
loads neither, nor PyTorch, so that the command line can answer before PyTorch is needed.
"""

__version__ = "0.2.0"

__all__ = ["__version__"]
