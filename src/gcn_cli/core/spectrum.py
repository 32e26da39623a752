"""The spectral stage of a matching path: a Gaussian field that mends the power spectrum.

Potentials over small filters leave the spectrum a few decibels off here and there, each stage
undoing some of what the others did. This stage is FRAME with quadratic potentials, all at once,

    p(I | J)  ∝  exp[ <I, A I> / 2 ]  N(I; J, sigma^2 1),

A a symmetric convolution that mixes colours: a stationary Gaussian field. As at every stage the
one step at temperature 0 goes to ``J + sigma^2 B(J) = J + sigma^2 A J``, which is linear. Maximum
likelihood matches second moments, frequency by frequency. Of all linear maps that carry the
chains' cross-spectra S to the observed ones T, the symmetric one moves the images least (Olkin &
Pukelsheim 1982):

    1 + sigma^2 A  =  S^(-1/2) (S^(1/2) T S^(1/2))^(1/2) S^(-1/2).

Spectra are means over windows (Welch 1967), real parts: what they say of phases between colours
is left alone, so the kernel is even and A I the gradient of a tilt. Periods as long as a window
are left alone, too: the few that an exemplar shows differ from a sample's by chance.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.core.bands import add_in_bands_

_NOISE = 1.0  # grey levels of white noise added to both spectra: nothing fainter is matched
_GAINS = (0.5, 2.0)  # of any one stage, at any frequency
_BAND_VALUES = 2**21  # px of all channels held at once


class Equaliser(NamedTuple):
    """A spectral stage: ``kernel`` (C, C, p, p) is that of sigma^2 A, p odd."""

    kernel: Tensor

    @property
    def octave(self) -> int:
        """Times that the image is halved before: it is not."""
        return 0

    @property
    def tensors(self) -> tuple[Tensor]:
        """All that it consists of."""
        return (self.kernel,)

    def to(self, device: torch.device) -> Equaliser:
        """The same on another device."""
        return Equaliser(self.kernel.to(device))


def learn_equaliser(side: int, observed: Tensor, chains: Tensor) -> tuple[Equaliser, Tensor]:
    """The spectral stage for ``chains``, and the mismatch that it was made from.

    Args:
        side: of the kernel, odd px; windows are one px wider.
        observed: images (M, C, h, w), centred grey levels, not wrapped, no smaller than a window.
        chains: images (N, C, H, W), tori.

    Returns:
        the stage, and the mean distance of amplitudes, a scalar tensor in grey levels.

    Raises:
        ValueError: an even side.
    """
    if side % 2 == 0:
        raise ValueError("the side of a spectral kernel is odd")
    window = side + 1
    seen = _cross_spectra(observed, window, wrap=False)
    made = _cross_spectra(chains, window, wrap=True)
    mismatch = (_amplitudes(seen) - _amplitudes(made)).abs().mean()
    floor = _NOISE**2 * torch.eye(seen.shape[-1], dtype=seen.dtype)
    response = _symmetric_map(made + floor, seen + floor)
    response[_coarse(window)] = torch.eye(seen.shape[-1], dtype=seen.dtype)
    kernel = torch.fft.ifft2(response, dim=(0, 1)).real.roll((side // 2, side // 2), (0, 1))
    kernel = kernel[:side, :side] * _taper(window, kernel)[1:, 1:, None, None]
    kernel = kernel.permute(2, 3, 0, 1)
    kernel[:, :, side // 2, side // 2] -= torch.eye(kernel.shape[0], dtype=kernel.dtype)
    kernel = kernel.contiguous().to(chains.device, chains.dtype)
    return Equaliser(kernel), mismatch.to(chains.device, chains.dtype)


@torch.no_grad()
def equalise_(stage: Equaliser, images: Tensor) -> Tensor:
    """``I + sigma^2 A I`` of tori (N, C, H, W), in place."""
    n, c, _, width = images.shape
    kernel = stage.kernel.to(images.dtype)
    band = max(1, _BAND_VALUES // (n * c * width))
    return add_in_bands_(images, kernel.shape[-1] // 2, band, lambda block: F.conv2d(block, kernel))


def _cross_spectra(images: Tensor, window: int, wrap: bool) -> Tensor:
    """Real parts of the cross-spectra (p, p, C, C) of images (N, C, H, W), on the host.

    White noise of s grey levels has s^2 at every frequency.
    """
    hop = window // 2
    if wrap:
        height, width = images.shape[-2:]
        rows = torch.arange(height + window - hop, device=images.device) % height
        columns = torch.arange(width + window - hop, device=images.device) % width
        images = images.index_select(-2, rows).index_select(-1, columns)
    taper = _taper(window, images)
    taper = taper / taper.square().sum().sqrt()
    strips = images.unfold(-2, window, hop)  # (N, C, rows of windows, W, p), a view
    total = torch.zeros(window, window, *[images.shape[1]] * 2, device=images.device)
    count = 0
    for row in range(strips.shape[2]):
        blocks = strips[:, :, row].unfold(2, window, hop)  # (N, C, windows, p, p)
        waves = torch.fft.fft2(blocks * taper)
        parts = torch.view_as_real(waves)
        total += torch.einsum("ncwyxr,ndwyxr->yxcd", parts, parts)
        count += blocks.shape[0] * blocks.shape[2]
    return (total / count).double().cpu()


def _taper(window: int, like: Tensor) -> Tensor:
    """Hann's (p, p), its zeros at the first row and column."""
    line = torch.hann_window(window, dtype=like.dtype, device=like.device)
    return line[:, None] * line


def _coarse(window: int) -> Tensor:
    """Frequencies (p, p) of no more than one period a window, either way."""
    low: Tensor = torch.fft.fftfreq(window).mul_(window).abs().round() <= 1
    return low[:, None] & low


def _amplitudes(spectra: Tensor) -> Tensor:
    """Grey levels (p, p), over all channels."""
    return spectra.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(0).sqrt()


def _symmetric_map(made: Tensor, seen: Tensor) -> Tensor:
    """The symmetric M (..., C, C) with M made M = seen, its eigenvalues held within `_GAINS`."""
    root, inverse = _power(made, 0.5), _power(made, -0.5)
    found = inverse @ _power(root @ seen @ root, 0.5) @ inverse
    values, vectors = torch.linalg.eigh((found + found.mT) / 2)
    held: Tensor = (vectors * values.clamp(*_GAINS)[..., None, :]) @ vectors.mT
    return held


def _power(matrices: Tensor, exponent: float) -> Tensor:
    """Powers of symmetric positive definite matrices (..., C, C)."""
    values, vectors = torch.linalg.eigh(matrices)
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    power: Tensor = (vectors * values[..., None, :] ** exponent) @ vectors.mT
    return power
