"""What one field knows of a picture at one noise level, as pure functions of tensors.

Pictures are in units of contrast at the field's own size. A bounded picture is first surrounded by
its mirror image (`surround`), as learning surrounds crops, so wide that nothing inside can see the
frame; noise lies over picture and surround alike. Everything then counts inside only: loss of
reconstruction and its map, tilt and energy per pixel of windows, share of active units. Chains live
on a torus and are cut into the same windows, so that one function measures both. Where pixels are
unknown, what looks at one of them does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.engine import Machine, NoiseSource, Sampler, open_engine
from gcn_cli.field.ladder import reconstruct, reference_energy
from gcn_cli.field.learning import gaussian_loss, inside_output
from gcn_cli.field.network import NoiseNet, Weights, beside
from gcn_cli.texture.draw import Model
from gcn_cli.texture.known import eroded

WINDOW = 64
"""Side, px, of the windows that energies are taken of, about."""
_AT_ONCE = 16  # windows
_BLOCK = 32  # px; side of the blocks that a power spectrum is averaged over, at most


@dataclass(frozen=True)
class Field:
    """The field of one size, opened: its network, weights, and grad h of bounded canvases."""

    net: NoiseNet
    weights: Weights
    sampler: Sampler

    @property
    def margin(self) -> int:
        """Px around a picture, whole strides, so that nothing inside it sees the frame."""
        return -(-self.net.reach // self.net.total_stride) * self.net.total_stride

    @property
    def half(self) -> int:
        """Px around a window, whole strides, so that none of its units sees the frame."""
        stride = self.net.total_stride
        return -(-(self.net.receptive_field // 2) // stride) * stride


def open_field(model: Model, index: int, machine: Machine) -> Field:
    """The field of size ``index``."""
    weights = model.sizes[index].weights.map(lambda t: t.detach().to(machine.device).float())
    engine = open_engine(model.net, machine.device, machine.dtype)
    return Field(model.net, weights, engine.opened(weights))


# -------------------------------------------------------------------------------- canvases


def surround(field: Field, x: Tensor) -> Tensor:
    """A picture (N, C, H, W) with mirrored borders of ``margin`` px or more; whole strides."""
    for dim in (-2, -1):
        n = x.shape[dim]
        after = field.margin + -n % field.net.total_stride
        place = torch.arange(-field.margin, n + after, device=x.device) % max(1, 2 * (n - 1))
        x = x.index_select(dim, torch.where(place < n, place, 2 * (n - 1) - place))
    return x


def wrapped(field: Field, y: Tensor) -> Tensor:
    """A torus (N, C, H, W) with ``margin`` px of its far sides around it."""
    for dim in (-2, -1):
        n = y.shape[dim]
        place = torch.arange(-field.margin, n + field.margin, device=y.device) % n
        y = y.index_select(dim, place)
    return y


def inner(field: Field, canvas: Tensor, size: tuple[int, int]) -> Tensor:
    """The picture of ``size`` (H, W) inside its surround."""
    a = field.margin
    return canvas[..., a : a + size[0], a : a + size[1]]


def add_noise(x: Tensor, s: float, seed: int, level: int, draws: int) -> Tensor:
    """``x + s Z`` (draws * N, C, H, W) for ``draws`` keyed Z a picture; equal keys, equal noise."""
    y = x.repeat(draws, 1, 1, 1)
    noise = NoiseSource(seed, range(len(y)), y.device)
    z = torch.empty_like(y, memory_format=torch.contiguous_format)
    return y + s * noise.normal_(z, "measure", level)


def window_side(net: NoiseNet, *sides: int) -> int:
    """Side of windows, px, whole strides: the shortest of ``sides`` in equal parts."""
    least = min(sides)
    return max(1, least // -(-least // WINDOW) // net.total_stride) * net.total_stride


def windows(field: Field, canvas: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """Windows (K N, C, side + 2 half, ...) whose insides tile the inside (H, W) of a canvas.

    In the order of places, then pictures; what does not fill a window is left out.
    """
    first, far = field.margin - field.half, side + 2 * field.half
    tops, lefts = (range(first, first + n - side + 1, side) for n in size)
    return torch.cat([canvas[..., i : i + far, j : j + far] for i in tops for j in lefts])


# ------------------------------------------------------------------------- what is measured


@torch.no_grad()
def posterior_mean(field: Field, y: Tensor, s: float, given: Tensor | None = None) -> Tensor:
    """D(y, s) (N, C, H, W) of bounded canvases; wrong within ``margin`` px of the frame."""
    return reconstruct(field.sampler.window, y, _told(y, s), given)


def error_map(
    field: Field,
    x: Tensor,
    y: Tensor,
    s: float,
    size: tuple[int, int],
    given: Tensor | None = None,
) -> Tensor:
    """Error of reconstruction (n, C, H, W) inside, in units of grad h.

    ``(D(y, s) - x) sqrt(1 + s^2) / s``, of which the mean square is `reconstruction_loss`: 1 for
    f = 0 and data of variance 1. ``x`` (N, C, ..) and ``y`` (n, C, ..), n a multiple of N.
    """
    error = posterior_mean(field, y, s, given) - x.repeat(len(y) // len(x), 1, 1, 1)
    return inner(field, error, size) * (math.sqrt(1 + s**2) / s)


def pixels(x: Tensor, counts: Tensor | None = None) -> Tensor:
    """Colours (C, P) of the pixels of (n, C, H, W) that count, (N, 1, H, W), n a multiple of N."""
    flat = x.movedim(1, 0)
    return (
        flat.flatten(1)
        if counts is None
        else flat[:, counts.repeat(len(x) // len(counts), 1, 1, 1)[:, 0]]
    )


def white_loss(x: Tensor, s: float, known: Tensor | None = None) -> float:
    """The least loss that white noise with the colours' covariance of ``x`` (N, C, H, W) can have.

    Pixels know nothing of one another there, so that no field reconstructs it better.
    """
    colours = pixels(x, known)
    flat = (colours - colours.mean(1, keepdim=True)).double()
    covariance = flat @ flat.T / flat.shape[1]
    return gaussian_loss(torch.linalg.eigvalsh(covariance).clamp_min(0), s)


@torch.no_grad()
def tilts_and_energies(field: Field, canvas: Tensor, s: float) -> tuple[Tensor, Tensor]:
    """``f_s`` and ``U_s = |y|^2 / (2 (1 + s^2)) - f_s`` (K,), nats per pixel, inside windows.

    ``canvas`` (K, C, h, w) is y, or y with what is given beside it.

    Of a torus in a single wrapped window: `gcn_cli.field.ladder.energy` over its pixels.
    """
    f, u, a = [], [], field.half
    for first in range(0, len(canvas), _AT_ONCE):
        part, given = parted(field, canvas[first : first + _AT_ONCE])
        told = _told(part, s)
        z = beside(part / math.sqrt(1 + s**2), given)
        f.append(inside_output(field.net, z, told, field.weights, "frame", a) / s)
        inside = part[..., a : part.shape[-2] - a, a : part.shape[-1] - a]
        pixels = inside.shape[-2] * inside.shape[-1]
        u.append(reference_energy(inside, told) / pixels - f[-1])
    return torch.cat(f), torch.cat(u)


@torch.no_grad()
def active_shares(
    field: Field, y: Tensor, s: float, given: Tensor | None = None, known: Tensor | None = None
) -> tuple[float, ...]:
    """Share of units that are on, per layer, inside canvases (N, C, H, W), where all is known."""
    seen = None
    if known is not None:
        seen = eroded(known, field.net.receptive_field // 2 + field.net.total_stride).float()
    z = beside(y / math.sqrt(1 + s**2), given)
    responses = field.net.forward(z, _told(y, s), field.weights, "frame")
    shares, stride = [], 1
    for spec, a in zip(field.net.layers, responses.layers, strict=True):
        stride *= spec.stride
        cut = -(-field.margin // stride)
        inner = (..., slice(cut, a.shape[-2] - cut), slice(cut, a.shape[-1] - cut))
        counts = None if seen is None else -F.max_pool2d(-seen, stride)[inner] > 0
        shares.append(float((pixels(a[inner], counts) > 0).float().mean()))
    return tuple(shares)


def parted(field: Field, canvas: Tensor) -> tuple[Tensor, Tensor | None]:
    """Y (N, C, H, W), and what is given beside it, if anything."""
    y, given = canvas[:, : field.net.channels], canvas[:, field.net.channels :]
    return y, given if given.shape[1] else None


def _told(y: Tensor, s: float) -> Tensor:
    return torch.full((len(y),), s, device=y.device)


# ------------------------------------------------------------- the Gaussian field to beat


def spectrum(x: Tensor, known: Tensor | None = None) -> Tensor:
    """Power of pictures (N, C, H, W) per frequency and principal colour, (b, b, C); white: 1.

    Of blocks all of whose pixels are ``known`` (N, 1, H, W): the largest of which there is one.

    Welch's estimate (1967): blocks that overlap by half, under a Hann window against their frame.
    A single periodogram would be the picture's own, whose scatter a Wiener filter would take for
    knowledge. Colours are decorrelated per frequency: eigenvalues of the cross-spectra.
    """
    b = max(2, min(_BLOCK, min(x.shape[-2:]) // 4))
    whole = None if known is None else _blocks(known, b).flatten(1).all(1)
    while known is not None and whole is not None and b > 2 and not bool(whole.any()):
        b -= 1
        whole = _blocks(known, b).flatten(1).all(1)
    rise = torch.hann_window(b, dtype=torch.float64, device=x.device)
    taper = rise[:, None] * rise
    mean = pixels(x, known).mean(1)[:, None, None]
    blocks = _blocks((x - mean).double(), b)
    blocks = blocks if whole is None else blocks[whole]
    waves = torch.fft.fft2(blocks * taper[..., None], dim=(1, 2))
    cross = torch.einsum("nijc,nijd->ijcd", waves, waves.conj()) / len(waves)
    power: Tensor = torch.linalg.eigvalsh(cross).clamp_min(0) / taper.square().sum()
    return power


def _blocks(x: Tensor, b: int) -> Tensor:
    """Blocks (n, b, b, C) that overlap by half."""
    step = max(1, b // 2)
    return x.unfold(2, b, step).unfold(3, b, step).movedim(1, -1).flatten(0, 2)


def gaussian_losses(x: Tensor, levels: Sequence[float], known: Tensor | None = None) -> list[float]:
    """Loss of reconstruction of the Gaussian field with the power of ``x`` (N, C, H, W)."""
    power = spectrum(x, known)
    return [gaussian_loss(power, s) for s in levels]


# ------------------------------------------------------------------------------- statistics


def standard_error(values: Tensor) -> float:
    """Of the mean of independent ``values`` (n,); 0 for a single one."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0


def blurred(picture: Tensor, deviation: float, counts: Tensor | None = None) -> Tensor:
    """A map (1, H, W) under a Gaussian of ``deviation`` px, by renormalisation of what counts."""
    weight = torch.ones_like(picture) if counts is None else counts.to(picture)
    reach = max(1, round(3 * deviation))
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2).to(picture)

    def smooth(t: Tensor) -> Tensor:
        t = F.conv2d(t[None], bell.view(1, 1, -1, 1), padding=(reach, 0))
        return F.conv2d(t, bell.view(1, 1, 1, -1), padding=(0, reach))[0]

    total: Tensor = smooth(picture * weight) / smooth(weight).clamp_min(1e-12)
    return total


def nearest_levels(ladder: Tensor, wanted: Sequence[float] | None, count: int = 6) -> list[int]:
    """Indices of the ladder (K,), high to low, nearest in ln s to the levels ``wanted``.

    Without any, to ``count`` levels between its ends, equally far apart in ln s.
    """
    logs = ladder.double().log()
    if wanted is None:
        aims = torch.linspace(float(logs[0]), float(logs[-1]), count, dtype=torch.float64)
    else:
        inside = [s for s in wanted if float(ladder[-1]) <= s <= float(ladder[0])]
        aims = torch.tensor(inside, dtype=torch.float64).log()
    return sorted({int((logs - aim).abs().argmin()) for aim in aims})
