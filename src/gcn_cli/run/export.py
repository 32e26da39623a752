"""Checkpoints as safetensors: tensors by name, all else as one JSON text in the header.

Other programs read such a file, and reading it executes nothing. A tensor stands in the text as
``{"tensor": NAME}``. It holds what sampling needs, not what learning needs besides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

SUFFIX = ".safetensors"
KEY = "gcn"
"""What the header calls the text. One, not several, whose order would change between two calls."""
_SUM, _TENSOR = "sha256", "tensor"


def is_export(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of the header's length, the header."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def to_bytes(data: Mapping[str, Any]) -> bytes:
    """Dicts, lists, numbers, text and tensors as a file; the same data give the same bytes."""
    tensors: dict[str, Tensor] = {}
    plain = _split(data, "", tensors)
    text = json.dumps({**plain, _SUM: _digest(tensors)}, sort_keys=True, allow_nan=False)
    return save(tensors, {KEY: text})


def read(path: Path) -> dict[str, Any]:
    """What `to_bytes` was given, tuples as lists.

    Raises:
        Exception: ValueError in words where no gcn wrote it or a tensor was damaged, else whatever
            a foreign file leads to.
    """
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {})[KEY]
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    plain = json.loads(text)
    if plain.pop(_SUM) != _digest(tensors):
        raise ValueError("a checksum does not match")
    told: dict[str, Any] = _join(plain, tensors)
    return told


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The value with its tensors moved to ``tensors``."""
    if isinstance(value, Tensor):
        tensors[path] = value.contiguous()
        return {_TENSOR: path}
    above = f"{path}." if path else ""
    if isinstance(value, Mapping):
        return {key: _split(item, f"{above}{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_split(item, f"{above}{n}", tensors) for n, item in enumerate(value)]
    return value


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_split`."""
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: _join(item, tensors) for key, item in value.items()}
    return [_join(item, tensors) for item in value] if isinstance(value, list) else value


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        # By bytes: NumPy has no bfloat16, which snapshots are in.
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


__all__ = ["KEY", "SUFFIX", "is_export", "read", "to_bytes"]
