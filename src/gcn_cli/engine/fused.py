"""The basis B(I), rearranged for speed; equal to `field.convnet.ConvNet.basis` up to rounding.

What makes it fast: a stride is moved into the channels (space to depth), so that every layer is a
stride-1 convolution; the decoder is an ordinary convolution with flipped, transposed filters,
prepared once per set of weights; maps live in padded buffers that are allocated once, so that
ReLU, gate and padding cost one pass each; the arithmetic may be bfloat16 while the chain itself
stays float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.field.convnet import Boundary, ConvNet, LayerSpec, Weights, margins

_CHANNELS_LAST = torch.channels_last
_LEAST_CHANNELS = 4
_LANES = 16  # channels that fill a processor's vectors


@dataclass(frozen=True)
class Geometry:
    """One layer after space to depth; lengths in blocks of ``stride`` px, rows then columns."""

    spec: LayerSpec
    blocks: tuple[int, int]  # input map, in blocks (the last one may be partial)
    out: tuple[int, int]  # output map
    taps: int  # blocks that a filter spans
    lead: int  # blocks before the map that the first window reaches
    offset: int  # zeros before the filter inside its first block, px
    wrap: bool
    channels: int  # of the map, before space to depth

    @property
    def tail(self) -> int:
        """Blocks after the map that the decoder's first window reaches back over."""
        return self.taps - 1 - self.lead

    @property
    def deep(self) -> int:
        """Channels after space to depth."""
        return self.channels * self.spec.stride**2

    @property
    def padded(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of what the encoder's and the decoder's convolution read."""
        more = self.taps - 1
        up = (self.out[0] + more, self.out[1] + more)
        return up, (self.blocks[0] + more, self.blocks[1] + more)


def _geometry(
    spec: LayerSpec, channels: int, size: tuple[int, int], boundary: Boundary
) -> Geometry:
    before, after = margins(spec, boundary)
    s = spec.stride
    lead = -(-before // s)
    offset = lead * s - before
    taps = -(-(offset + spec.size) // s)
    out = tuple((n + before + after - spec.size) // s + 1 for n in size)
    blocks = tuple(-(-n // s) for n in size)
    wrap = boundary == "torus"
    return Geometry(
        spec, (blocks[0], blocks[1]), (out[0], out[1]), taps, lead, offset, wrap, channels
    )


def geometries(net: ConvNet, size: tuple[int, int], boundary: Boundary) -> list[Geometry]:
    """All layers over a canvas of ``size`` (H, W).

    Raises:
        ValueError: a torus smaller than a layer's margin, or sizes that the network refuses.
    """
    sizes = net.map_sizes(size, boundary)
    layers = [
        _geometry(spec, c, here, boundary)
        for spec, c, here in zip(net.layers, net.in_channels(), sizes[:-1], strict=True)
    ]
    for layer in layers:
        if layer.wrap and min(layer.blocks) < layer.taps - 1:
            raise ValueError(f"a torus of {size[0]}x{size[1]} px is too small for these filters")
    return layers


class _Buffer:
    """A padded map: ``full`` is what a convolution reads, ``inner`` where the map is written."""

    def __init__(
        self,
        shape: tuple[int, int],
        inner: tuple[int, int],
        lead: int,
        channels: int,
        batch: int,
        like: Tensor,
    ) -> None:
        self.full = torch.zeros(
            batch, channels, *shape, dtype=like.dtype, device=like.device
        ).contiguous(memory_format=_CHANNELS_LAST)
        self.size = (min(inner[0], shape[0] - lead), min(inner[1], shape[1] - lead))
        self.lead = lead
        self.inner = self.full[:, :, lead : lead + self.size[0], lead : lead + self.size[1]]

    def crop(self, x: Tensor) -> Tensor:
        """The part of a map that the next convolution reads."""
        return x[:, :, : self.size[0], : self.size[1]]

    def wrap(self) -> None:
        """Repeat the map's far sides in the margins: a torus."""
        for dim, n in ((2, self.size[0]), (3, self.size[1])):
            after = self.full.shape[dim] - n - self.lead
            if self.lead:
                self.full.narrow(dim, 0, self.lead).copy_(self.full.narrow(dim, n, self.lead))
            if after:
                far = self.full.narrow(dim, self.lead + n, after)
                far.copy_(self.full.narrow(dim, self.lead, after))


class FusedBasis:
    """B(I) for one canvas shape and a replaceable set of weights."""

    def __init__(
        self,
        net: ConvNet,
        shape: tuple[int, int, int, int],
        boundary: Boundary,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """``shape`` is (N, C, H, W).

        Raises:
            ValueError: a torus smaller than a layer's margin, or sizes that the network refuses.
        """
        batch, _, height, width = shape
        like = torch.empty(0, dtype=dtype, device=device)
        self.net, self.like, self.size = net, like, (height, width)
        self._layers = geometries(net, self.size, boundary)
        self._up, self._down = [], []
        for layer in self._layers:
            up, down = layer.padded
            deep = max(_LEAST_CHANNELS, layer.deep)
            if self._group(layer) > 1:  # whole groups
                down = (down[0] + layer.blocks[0] % 2, down[1] + layer.blocks[1] % 2)
            self._up.append(_Buffer(up, layer.blocks, layer.lead, deep, batch, like))
            self._down.append(_Buffer(down, layer.out, layer.tail, layer.spec.filters, batch, like))
        self._encode: list[tuple[Tensor, Tensor]] = []
        self._decode: list[Tensor] = []

    def _group(self, layer: Geometry) -> int:
        """Side of the groups of places that the decoder computes at once."""
        few = layer.spec.stride == 1 and 4 * layer.channels <= _LANES
        return 2 if few and self.like.device.type == "cpu" else 1

    def load(self, weights: Weights) -> FusedBasis:
        """Prepare the filters of both passes; once per set of weights. Returns self."""
        self._encode, self._decode = [], []
        for layer, (w, b) in zip(self._layers, weights, strict=True):
            deep = deep_filters(w, layer.spec.stride, layer.taps, layer.offset).to(self.like)
            full = fill_channels(deep).contiguous(memory_format=_CHANNELS_LAST)
            self._encode.append((full, b.to(self.like)))
            flipped = side_by_side(deep.flip(2, 3).transpose(0, 1), self._group(layer))
            self._decode.append(flipped.contiguous(memory_format=_CHANNELS_LAST))
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """B(I) (N, C, H, W), in the type of the images, which have the prepared shape."""
        responses = self._bottom_up(images)
        return self._top_down(responses).to(images.dtype)

    def _bottom_up(self, images: Tensor) -> list[Tensor]:
        x, responses = images, []
        for index, (layer, buffer) in enumerate(zip(self._layers, self._up, strict=True)):
            x = fill_channels(buffer.crop(to_blocks(x, layer.spec.stride)))
            if index and self._layers[index - 1].spec.relu:
                torch.clamp_min(x, 0, out=buffer.inner)
            else:
                buffer.inner.copy_(x)
            if layer.wrap:
                buffer.wrap()
            x = F.conv2d(buffer.full, *self._encode[index])
            responses.append(x)
        return responses

    def _top_down(self, responses: list[Tensor]) -> Tensor:
        g: Tensor | None = None
        for index in range(len(self._layers) - 1, -1, -1):
            layer, buffer, a = self._layers[index], self._down[index], responses[index]
            if g is None:
                buffer.inner.copy_(buffer.crop(a > 0) if layer.spec.relu else torch.ones_like(a))
            elif layer.spec.relu:
                torch.ops.aten.threshold_backward.grad_input(
                    buffer.crop(g), buffer.crop(a), 0, grad_input=buffer.inner
                )
            else:
                buffer.inner.copy_(buffer.crop(g))
            if layer.wrap:
                buffer.wrap()
            group = self._group(layer)
            g = F.conv2d(buffer.full, self._decode[index], stride=group)
            if layer.spec.stride * group > 1:
                g = F.pixel_shuffle(g, layer.spec.stride * group)
            size = self._layers[index - 1].out if index else self.size
            g = g[:, :, : size[0], : size[1]]
        assert g is not None
        return g


def fill_channels(x: Tensor) -> Tensor:
    """Maps or filters (N, C, H, W) with zero channels added up to the least that runs fast.

    One or two input channels send bfloat16 convolutions down a path several times slower.
    """
    short = _LEAST_CHANNELS - x.shape[1]
    return F.pad(x, (0, 0, 0, 0, 0, short)) if short > 0 else x


def deep_filters(w: Tensor, stride: int, taps: int, offset: int) -> Tensor:
    """Filters (K, C, k, k) as (K, C s^2, taps, taps) over blocks of s x s px, ``offset`` px in."""
    if stride == 1:
        return w
    after = taps * stride - offset - w.shape[-1]
    return F.pixel_unshuffle(F.pad(w, (offset, after, offset, after)), stride)


def side_by_side(w: Tensor, group: int) -> Tensor:
    """Filters (K, C, k, k) for ``group`` x ``group`` places at once: (K g^2, C, k + g - 1, ...).

    A convolution with stride ``group``, and `F.pixel_shuffle` after it, is the one with ``w``. Of
    few output channels a processor fills its vectors with one place's alone but for a small part;
    with several places' that part grows faster than the filters do.
    """
    k, c, side, _ = w.shape
    wide = w.new_zeros(k, group * group, c, side + group - 1, side + group - 1)
    for place in range(group * group):
        dy, dx = divmod(place, group)
        wide[:, place, :, dy : dy + side, dx : dx + side] = w
    return wide.flatten(0, 1)


def to_blocks(x: Tensor, stride: int) -> Tensor:
    """Maps (N, C, H, W) as (N, C s^2, H/s, W/s), zeros added below and right where needed."""
    if stride == 1:
        return x
    short = [-n % stride for n in x.shape[-2:]]
    if any(short):
        x = F.pad(x, (0, short[1], 0, short[0]))
    return F.pixel_unshuffle(x, stride)
