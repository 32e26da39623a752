"""What a checkpoint may hold, whoever wrote it: plain data and tensors that its bytes account for.

A pickle that runs nothing can still claim 100 GB, refer to one list a billion times, or lie in
knots. All of that is refused before a tensor is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

MOST_VALUES = 200_000
MAX_DEPTH = 12
_LONGEST = 100_000  # characters
_SHARE = 4  # bytes of tensors for a byte of the file: one may be referred to more than once


def check_plain(data: Any, size: int) -> None:
    """Refuse what is no plain data, or more than a file of ``size`` bytes holds.

    Raises:
        ValueError: a type that gcn never writes, knots, too many values, tensors beyond the file.
    """
    total = 0
    for count, value in enumerate(_values(data, 0)):
        if count >= MOST_VALUES:
            raise ValueError("it holds more values than any checkpoint of gcn")
        if isinstance(value, Tensor):
            total += _held(value, size)
            if total > _SHARE * size:
                raise ValueError("its tensors are larger than the file")


def _values(value: Any, depth: int) -> Iterator[Any]:
    """All values below a value, itself included."""
    if depth > MAX_DEPTH:
        raise ValueError("it is nested deeper than any checkpoint of gcn")
    yield value
    if type(value) is dict:
        if not all(type(key) is str for key in value):
            raise ValueError("a key is no word")
        for inner in value.values():
            yield from _values(inner, depth + 1)
    elif type(value) in (list, tuple):
        for inner in value:
            yield from _values(inner, depth + 1)
    elif not _single(value):
        raise ValueError(f"it holds a {type(value).__name__} that gcn never writes")


def _single(value: Any) -> bool:
    """Whether a value is a number, a word, nothing, or a tensor, of a size that gcn writes."""
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) is str:
        return len(value) <= _LONGEST
    return value is None or type(value) in (bool, float, Tensor)


def _held(tensor: Tensor, size: int) -> int:
    """Bytes of a tensor; refuses one that the file's own bytes do not account for."""
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
        raise ValueError("a tensor is not a plain one")
    count = tensor.numel() * tensor.element_size()
    if count > tensor.untyped_storage().nbytes() or tensor.untyped_storage().nbytes() > size:
        raise ValueError("a tensor is larger than the file")
    return count


def numbers(tensor: Any, name: str) -> Tensor:
    """A tensor of bytes or floats as float32.

    Raises:
        ValueError: it is none, or its values are not finite.
    """
    if not isinstance(tensor, Tensor) or not (tensor.is_floating_point() or _bytes(tensor)):
        raise ValueError(f"the {name} are no numbers")
    told = tensor.detach().to(torch.float32)
    if not bool(torch.isfinite(told).all()):
        raise ValueError(f"the {name} are not finite")
    return told


def _bytes(tensor: Tensor) -> bool:
    return tensor.dtype == torch.uint8


def whole(data: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """A whole number of a checkpoint.

    Raises:
        ValueError: it is none, or out of range.
    """
    value = data[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is out of range: a whole number from {least} to {most}")
    return value


def real(data: Mapping[str, Any], name: str, least: float, most: float) -> float:
    """A finite number of a checkpoint.

    Raises:
        ValueError: it is none, or out of range.
    """
    value = data[name]
    if type(value) not in (int, float) or not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{name} is out of range: a number from {least:g} to {most:g}")
    return float(value)


def same(tensor: Any, shape: torch.Size, dtype: torch.dtype, name: str) -> Tensor:
    """A tensor of the shape and type that is wanted.

    Raises:
        ValueError: it is another, or its values are not finite.
    """
    if not isinstance(tensor, Tensor) or tensor.shape != shape or tensor.dtype != dtype:
        raise ValueError(f"{name} do not fit the network")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} are not finite")
    return tensor
