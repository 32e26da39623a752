"""The paper's own loop, over `gcn_cli.field` alone.

    python examples/paper.py textures/brick.png out.png

Xie, Lu, Zhu and Wu (2016), algorithm 1: chains of Langevin dynamics under the weights as they are,
then a step of the weights up the likelihood. One layer, one chain per update, a torus of 64 px.
"""

import sys

import numpy as np
import torch
from PIL import Image

from gcn_cli.field.ascent import AdamParams, Moments, adam_step
from gcn_cli.field.convnet import ConvNet, LayerSpec, initial_weights
from gcn_cli.field.langevin import ChainState, LangevinParams, run_langevin
from gcn_cli.field.likelihood import likelihood_gradient, wrap_image
from gcn_cli.field.noise import NoiseSource

net = ConvNet((LayerSpec(filters=24, size=9, stride=1),), channels=1)


def learn(image: np.ndarray, updates: int = 100, side: int = 64) -> np.ndarray:
    """A picture (side, side) that looks like ``image`` (H, W), both in grey levels."""
    observed = torch.from_numpy(image).float()[None, None]
    mean, contrast = observed.mean(), float(observed.std())
    observed = observed - mean
    dynamics = LangevinParams(sigma=0.15 * contrast, eps=0.07 * contrast)
    weights = initial_weights(net, torch.Generator().manual_seed(0), sigma=contrast, top_gain=0.1)
    noise, moments = NoiseSource(0, [0], torch.device("cpu")), Moments()
    chain = ChainState(contrast * torch.randn(1, 1, side, side, generator=torch.Generator()))
    for _ in range(updates):
        basis = lambda x: net.basis(x, weights, "torus")  # noqa: B023, E731
        chain, _ = run_langevin(chain, basis, dynamics, 10, noise)
        made = wrap_image(chain.images, net.receptive_field - 1)
        up = likelihood_gradient(net, weights, observed, made, "valid").weights
        weights, moments = adam_step(weights, up, moments, AdamParams(1e-2), 1e-2, contrast)
    return (chain.images[0, 0] + mean).clamp(0, 255).numpy()


if __name__ == "__main__":
    with Image.open(sys.argv[1]) as picture:
        exemplar = np.array(picture.convert("L"))
    Image.fromarray(learn(exemplar).astype(np.uint8)).save(sys.argv[2])
