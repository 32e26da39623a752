"""The convolution that learning differentiates is the ordinary one, whichever layout it takes."""

import pytest
import torch
import torch.nn.functional as F

from gcn_cli.engine import convolution
from gcn_cli.engine.convolution import convolve


def tensors(channels, dtype, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, channels, 20, 17, generator=rng, dtype=dtype)
    w = torch.randn(5, channels, 3, 3, generator=rng, dtype=dtype)
    b = torch.randn(5, generator=rng, dtype=dtype)
    last = torch.channels_last
    return x.contiguous(memory_format=last), w.contiguous(memory_format=last), b


def gradients(function, inputs, wanted):
    leaves = [t.clone().requires_grad_(want) for t, want in zip(inputs, wanted, strict=True)]
    out = function(*leaves)
    found = torch.autograd.grad(out.sin().sum(), [t for t in leaves if t.requires_grad])
    return out.detach(), found


@pytest.fixture
def split(monkeypatch):
    """Take the plain layout for small maps, too, and count how often it is taken."""
    monkeypatch.setattr(convolution, "_LARGE", 1)
    taken, apply = [], convolution._Convolution.apply
    monkeypatch.setattr(
        convolution._Convolution, "apply", lambda *args: taken.append(1) or apply(*args)
    )
    return taken


@pytest.mark.parametrize("wanted", [(True, True, True), (False, True, True)], ids=["maps", "image"])
def test_gradients_are_those_of_the_ordinary_convolution(split, wanted):
    inputs = tensors(6, torch.float64)
    expected, by_hand = gradients(F.conv2d, inputs, wanted)
    found, grads = gradients(convolve, inputs, wanted)
    assert split == [1]
    torch.testing.assert_close(found, expected)
    for one, other in zip(grads, by_hand, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("channels", "dtype"), [(3, torch.float32), (6, torch.bfloat16)])
def test_what_the_plain_layout_slows_down_stays_as_it_is(split, channels, dtype):
    convolve(*tensors(channels, dtype))
    assert split == []


def test_small_maps_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(convolution._Convolution, "apply", None)
    convolve(*tensors(6, torch.float32))
