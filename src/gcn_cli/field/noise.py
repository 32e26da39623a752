"""Random numbers keyed by what they are for, never by when they are drawn.

The noise of chain k at step t is a function of (seed, purpose, t, k) alone: the same at any batch
size, in any order, after any resume. Canvases higher than `BAND` rows are drawn in bands, each with
a key of its own, so that a window of them can be had without the whole. One `torch.Generator` per
key is seeded with a hash; values are equal on one device type, not across CPU and CUDA, whose
generators differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

BAND = 256
"""Rows of noise that share a key."""


def derive_seed(seed: int, *key: int | str) -> int:
    """A 63-bit seed for ``key`` (purpose, step, chain ...) under the user's ``seed``."""
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *key: int | str, device: torch.device | None = None) -> torch.Generator:
    """A generator that starts where ``key`` says."""
    return torch.Generator(device or torch.device("cpu")).manual_seed(derive_seed(seed, *key))


class NoiseSource:
    """Gaussian noise and small integers for a set of chains."""

    def __init__(self, seed: int, chains: Sequence[int], device: torch.device) -> None:
        """``chains`` names the rows of every batch drawn from here."""
        self.seed = seed
        self.chains = tuple(chains)
        self.device = device
        self._generator = torch.Generator(device)

    def key(self, purpose: str, step: int) -> int:
        """What keys the noise of a step where one kernel draws that of all chains."""
        return derive_seed(self.seed, purpose, step)

    def normal_(self, out: Tensor, purpose: str, step: int, first_row: int = 0) -> Tensor:
        """Fill ``out`` (N, C, H, W) with N(0, 1), row k keyed by (seed, purpose, step, chain k).

        ``first_row``, a multiple of `BAND`, says which rows of a higher canvas ``out`` holds.
        """
        for row, chain in enumerate(self.chains):
            for top in range(0, out.shape[-2], BAND):
                band = (first_row + top) // BAND
                key = (purpose, step, chain, band) if band else (purpose, step, chain)
                self._generator.manual_seed(derive_seed(self.seed, *key))
                part = out[row, :, top : top + BAND]
                if part.is_contiguous():
                    part.normal_(generator=self._generator)
                else:  # numbers must not depend on the memory that they are drawn into
                    whole = torch.empty_like(part, memory_format=torch.contiguous_format)
                    part.copy_(whole.normal_(generator=self._generator))
        return out

    def integers(self, purpose: str, step: int, bounds: Sequence[int]) -> list[int]:
        """One integer in [0, bound) per bound, keyed by (seed, purpose, step), on the host."""
        return [
            derive_seed(self.seed, purpose, step, axis) % bound for axis, bound in enumerate(bounds)
        ]
