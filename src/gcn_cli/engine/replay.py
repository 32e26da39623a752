"""Work on a CUDA device, recorded once and replayed: no Python, no single launches.

Small maps leave a card idle while the host launches one operation after another. A function whose
arguments keep their shapes is recorded as a graph when it is called a second time and replayed from
then on, over memory of its own. On other devices, and for the first call, it simply runs.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_MOST = 16  # recordings of one function, for as many sets of shapes

TensorFunction = Callable[..., tuple[Tensor, ...]]


class Recording:
    """One function over given memory, of which every call does exactly the same work."""

    def __init__(self, function: Callable[[], tuple[Tensor, ...]], device: torch.device) -> None:
        """``function`` takes nothing, reads and writes memory that stays, waits for nothing."""
        self._function, self._device = function, device
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results: tuple[Tensor, ...] = ()
        self._calls = 0

    def __call__(self) -> tuple[Tensor, ...]:
        """Results in memory that the next call overwrites."""
        self._calls += 1
        if self._device.type != "cuda" or self._calls == 1:
            return self._function()
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with _no_collection(), torch.cuda.graph(self._graph):
                self._results = self._function()
        self._graph.replay()
        return self._results


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection meanwhile: freeing an older recording would spoil the one at work."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Replayed:
    """A function of tensors, recorded for every set of shapes that it meets more than once."""

    def __init__(self, function: TensorFunction) -> None:
        """``function`` reads no value back and keeps no state."""
        self._function = function
        self._known: dict[tuple[object, ...], tuple[tuple[Tensor, ...], Recording]] = {}

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The function's results, in memory of their own."""
        device = tensors[0].device
        key = tuple((t.shape, t.dtype, t.stride()) for t in tensors)
        if device.type != "cuda" or (key not in self._known and len(self._known) >= _MOST):
            return self._function(*tensors)
        if key not in self._known:
            held = tuple(t.clone(memory_format=torch.preserve_format) for t in tensors)
            self._known[key] = held, Recording(lambda: self._function(*held), device)
        held, recording = self._known[key]
        for mine, given in zip(held, tensors, strict=True):
            mine.copy_(given)
        return tuple(t.clone() for t in recording())
