"""A picture that is noisy, blurred or small, and what it says at every size and level of noise.

Observed is ``obs = K x + sigma n``: K blurs by a Gaussian, then reduces; n is white. D(y, s) gives
way to the mean of the clean picture given y and obs both, as if x given y were normal about D with
the variance r^2 = s^2 / (1 + s^2): the x with the least (Zhu et al. 2023)

    |x - D|^2 / r^2 + |K x - obs|^2 / sigma^2,    D + K^T (K K^T + sigma^2 / r^2)^-1 (obs - K D)

That is exact where f = 0, and of sigma = 0 it is D projected back to K x = obs. On a torus K is
diagonal in the Fourier domain but for aliases, which are folded (Zhao et al. 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from gcn_cli.texture.denoise import Denoiser
from gcn_cli.texture.pyramid import shrink_torus

_REACH = 8  # px of the smaller picture that a reduction's weights surely lie within


@dataclass(frozen=True)
class Observation:
    """``picture`` (1, C, H / factor, W / factor), a torus in units of contrast: what is observed.

    ``noise`` is sigma, in units of contrast; ``blur`` the Gaussian's deviation, px of the clean
    picture (H, W); ``factor`` how many times each side was reduced after that.
    """

    picture: Tensor
    noise: float
    blur: float = 0.0
    factor: int = 1

    def at(self, reduction: int) -> Observation:
        """What is observed of the clean picture reduced ``reduction`` times, a power of 2.

        Noise is reduced with the picture; that it is then not quite white is not minded.
        """
        already = min(reduction, self.factor)
        rest = reduction // already
        small = shrink_torus(self.picture, rest)
        noise = self.noise * float(reduction_weights(rest).square().sum())
        return Observation(small, noise, self.blur / reduction, self.factor // already)

    def to(self, device: torch.device) -> Observation:
        """The same on a device."""
        return replace(self, picture=self.picture.to(device))

    def agreed(self, d: Tensor, s: float) -> Tensor:
        """D(y, s) (N, C, H, W) drawn towards agreement with obs; see the top of this file."""
        alpha = self.noise**2 * (1 + s**2) / s**2
        spectrum, gain = self._spectrum, self._folded(self._spectrum.abs().square())
        off = torch.fft.fft2(self.picture) - self._folded(spectrum * torch.fft.fft2(d))
        back = (off / (gain + alpha)).repeat(1, 1, self.factor, self.factor)
        change: Tensor = torch.fft.ifft2(spectrum.conj() * back).real
        return d + change

    def applied(self, x: Tensor) -> Tensor:
        """K x (N, C, H / factor, W / factor) of pictures (N, C, H, W)."""
        told: Tensor = torch.fft.ifft2(self._folded(self._spectrum * torch.fft.fft2(x))).real
        return told

    def _folded(self, spectrum: Tensor) -> Tensor:
        """The spectrum (..., H / factor, W / factor) when every factor-th pixel alone is kept."""
        height, width = self.picture.shape[-2:]
        aliases = (*spectrum.shape[:-2], self.factor, height, self.factor, width)
        told: Tensor = spectrum.reshape(aliases).mean((-4, -2))
        return told

    @cached_property
    def _spectrum(self) -> Tensor:
        """What blur and reduction, before pixels are left out, do to every frequency (H, W)."""
        rows, columns = (
            self._line(n * self.factor).to(self.picture.device) for n in self.picture.shape[-2:]
        )
        return rows[:, None] * columns

    def _line(self, n: int) -> Tensor:
        """`_spectrum` of a line of n px."""
        weights = reduction_weights(self.factor)
        first = -(len(weights) // 2) if self.factor > 1 else 0
        places = torch.arange(first, first + len(weights)) % n
        line = torch.zeros(n, dtype=torch.float64).index_add_(0, places, weights)
        gaussian = torch.exp(-2 * (math.pi * self.blur * torch.fft.fftfreq(n)) ** 2)
        told: Tensor = (torch.fft.fft(line).conj() * gaussian).to(torch.complex64)
        return told


def reduction_weights(factor: int) -> Tensor:
    """What `shrink_torus` weighs pixels by, along a line: of pixel 0, from the middle pixel on.

    float64 of even length 2 * 8 * ``factor``; pixel 0 of the smaller line is the sum of these times
    the pixels from ``-8 factor`` on. Without reduction a single 1.
    """
    if factor == 1:
        return torch.ones(1, dtype=torch.float64)
    n = 2 * _REACH * factor
    lines = torch.eye(n, dtype=torch.float64)[None, None]
    small = F.interpolate(
        lines, size=(n, n // factor), mode="bicubic", antialias=True, align_corners=False
    )
    weights: Tensor = small[0, 0, :, _REACH]
    return weights


@dataclass(frozen=True)
class Observing:
    """The denoiser of a field that also knows what is observed; see `Denoiser`.

    ``at_once``: y says nothing, and obs is y at level sigma (K = 1), whose D is exact.
    """

    field: Denoiser
    observation: Observation
    at_once: bool = False

    @property
    def sampler(self) -> None:
        """D is held whole: what is observed bears on all of it at once."""
        return

    def __call__(self, y: Tensor, s: float, given: Tensor | None, shift: tuple[int, int]) -> Tensor:
        """See `Denoiser`."""
        if self.at_once:
            obs = self.observation.picture.expand_as(y)
            return self.field(obs, self.observation.noise, given, shift)
        return self.observation.agreed(self.field(y, s, given, shift), s)


def mirrored(images: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Images (N, C, h, w) at the top left of a torus (N, C, H, W), around them their mirror images.

    Half way round the mirror image of one side has faded into that of the other.
    """
    for dim, n in zip((-2, -1), canvas, strict=True):
        m = images.shape[dim]
        place = torch.arange(n)
        near, far = (_reflected(p, m) for p in (place, n - 1 - place))
        share = ((place - m + 0.5) / max(1, n - m)).clamp_min(0).to(images)
        share = share[:, None] if dim == -2 else share
        images = torch.lerp(images.index_select(dim, near), images.index_select(dim, far), share)
    return images


def _reflected(place: Tensor, n: int) -> Tensor:
    """Places on a line of n px for places beyond it, mirrored at its ends."""
    place = place % (2 * n)
    return torch.minimum(place, 2 * n - 1 - place)


__all__ = ["Observation", "Observing", "mirrored", "reduction_weights"]
