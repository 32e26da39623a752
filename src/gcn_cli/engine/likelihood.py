"""The likelihood's gradient, fast: strides moved into depth, maps in a shorter type."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.engine.convolution import convolve
from gcn_cli.engine.fused import deep_filters, fill_channels, to_blocks
from gcn_cli.field import likelihood
from gcn_cli.field.convnet import Boundary, ConvNet, Weights
from gcn_cli.field.likelihood import Gradient


def likelihood_gradient(
    net: ConvNet,
    weights: Weights,
    observed: Tensor,
    synthesized: Tensor,
    boundary: Boundary,
    dtype: torch.dtype = torch.float32,
) -> Gradient:
    """`field.likelihood.likelihood_gradient`; convolutions are computed in ``dtype``."""
    activations = partial(_activations, dtype=dtype)
    return likelihood.likelihood_gradient(
        net, weights, observed, synthesized, boundary, activations
    )


def _activations(
    net: ConvNet, images: Tensor, weights: Weights, boundary: Boundary, dtype: torch.dtype
) -> list[Tensor]:
    """Activations of every layer, differentiable in the weights, strides moved to depth.

    ``boundary`` is "bounded" or "valid".
    """
    maps, x = [], images.to(dtype)
    for spec, (w, b) in zip(net.layers, weights, strict=True):
        if boundary == "bounded" and spec.padding:
            x = F.pad(x, (spec.padding,) * 4)
        taps = -(-spec.size // spec.stride)
        out = [(n - spec.size) // spec.stride + 1 for n in x.shape[-2:]]
        x = to_blocks(x, spec.stride)[:, :, : out[0] + taps - 1, : out[1] + taps - 1]
        filters = fill_channels(deep_filters(w, spec.stride, taps, 0)).to(dtype)
        x = convolve(
            fill_channels(x).contiguous(memory_format=torch.channels_last),
            filters.contiguous(memory_format=torch.channels_last),
            b.to(dtype),
        )
        x = F.relu(x) if spec.relu else x
        maps.append(x)
    return maps
