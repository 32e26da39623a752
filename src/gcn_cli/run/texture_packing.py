"""Kind ``texture``: a model and the state of its learning as plain tensors and data, and back.

What is unpacked may come from a foreign file: whatever does not fit together raises an error.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from gcn_cli.errors import CheckpointError
from gcn_cli.field.network import LayerSpec, NoiseNet, Weights, initial_weights
from gcn_cli.field.optimise import Moments
from gcn_cli.run.schema import Config, TextureConfig
from gcn_cli.texture.draw import Model, SizeModel
from gcn_cli.texture.learn import ACTS, State
from gcn_cli.texture.place import PLACE
from gcn_cli.texture.recipe import MOST_REDUCED

_MOST_LEVELS = 10000
_MOST_SIDE = 4096


def pack_model(model: Model) -> dict[str, Any]:
    """All of a model but its mean colour."""
    return {
        "layers": [asdict(spec) for spec in model.net.layers],
        "channels": model.net.channels,
        "given_noise": model.given_noise,
        "langevin": model.langevin,
        "place": None if model.place is None else list(model.place),
        "sizes": [
            {
                "reduction": size.reduction,
                "levels": _plain(size.levels),
                "weights": [_plain(t) for t in size.weights.tensors()],
            }
            for size in model.sizes
        ],
        "contrast": model.contrast,
    }


def unpack_model(data: dict[str, Any], mean: Tensor) -> Model:
    """The inverse of `pack_model`.

    Raises:
        Exception: ValueError in words where something does not fit, else whatever comes of it.
    """
    if "layers" in data and "given_noise" not in data:
        raise CheckpointError(
            "is of a format before the release of 0.2.0, whose finer sizes were given nothing: "
            "learn anew from its images"
        )
    channels, noise = data["channels"], float(data["given_noise"])
    place = None if data.get("place") is None else _unpack_place(data["place"])
    given = channels if place is None else PLACE
    net = NoiseNet(tuple(LayerSpec(**spec) for spec in data["layers"]), channels, given)
    if not 0 <= noise < math.inf:
        raise ValueError("the noise on what a finer size is given is out of range")
    if net.channels != mean.shape[0]:
        raise ValueError("network and mean colour do not agree")
    contrast = float(data["contrast"])
    if not 0 < contrast < math.inf:
        raise ValueError("the contrast is out of range")
    like = initial_weights(net, torch.Generator())
    sizes = tuple(_unpack_size(size, like) for size in data["sizes"])
    reductions = [size.reduction for size in sizes]
    if not sizes or any(a != 2 * b for a, b in itertools.pairwise(reductions)):
        raise ValueError("its sizes do not follow one another")
    langevin = data.get("langevin", 0)
    if not (isinstance(langevin, int) and 0 <= langevin <= _MOST_LEVELS):
        raise ValueError("its Langevin steps are out of range")
    return Model(net, sizes, mean, contrast, noise, place, langevin)


def _unpack_place(data: list[int]) -> tuple[int, int]:
    height, width = data
    if not all(isinstance(n, int) and 1 <= n <= _MOST_SIDE for n in (height, width)):
        raise ValueError("the canvas of its objects is out of range")
    return height, width


def _unpack_size(data: dict[str, Any], like: Weights) -> SizeModel:
    reduction, levels = data["reduction"], data["levels"]
    if not (isinstance(reduction, int) and 1 <= reduction <= MOST_REDUCED):
        raise ValueError("a reduction is out of range")
    _check(levels, levels.shape, "levels")
    if levels.ndim != 1 or not 1 <= len(levels) <= _MOST_LEVELS:
        raise ValueError("levels are no ladder")
    if not bool((levels > 0).all() and (levels.diff() < 0).all()):
        raise ValueError("levels do not fall")
    known = like.tensors()
    if len(data["weights"]) != len(known):
        raise ValueError("weights do not fit the network")
    for tensor, fitting in zip(data["weights"], known, strict=True):
        _check(tensor, fitting.shape, "weights")
    return SizeModel(reduction, levels, like.of(data["weights"]))


def pack_state(state: State) -> dict[str, Any]:
    """All of a state."""
    return {
        "size": state.size,
        "act": state.act,
        "update": state.update,
        "weights": _plain(state.weights),
        "average": _plain(state.average),
        "moments": [_plain(state.moments.first), _plain(state.moments.second), state.moments.count],
        "finished": [_plain(vector) for vector in state.finished],
        "rate_scale": state.rate_scale,
        "rollbacks": state.rollbacks,
        "strikes": state.strikes,
    }


def unpack_state(data: dict[str, Any], model: Model, config: Config) -> State:
    """The inverse of `pack_state`, for the state that left ``model`` behind under ``config``.

    Raises:
        Exception: ValueError in words where something does not fit, else whatever comes of it.
    """
    if not isinstance(config, TextureConfig) or config.net(model.net.channels) != model.net:
        raise ValueError("the network is not its config's")
    first, second, count = data["moments"]
    finished = tuple(data["finished"])
    shape = torch.Size([model.net.n_parameters()])
    for vector in (data["weights"], data["average"], first, second, *finished):
        _check(vector, shape, "the state's weights")
    size, act, update = data["size"], data["act"], data["update"]
    numbers = (size, update, count, data["rollbacks"], data["strikes"])
    if act not in ACTS or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise ValueError("it stands nowhere in learning")
    part = config.reconstruction if act == ACTS[0] else config.likelihood
    most = part.finer_updates if size else part.updates
    if size != len(finished) or len(model.sizes) not in (size, size + 1) or update > most:
        raise ValueError("it stands where its config never comes")
    scale = float(data["rate_scale"])
    if not 0 < scale <= 1:
        raise ValueError("the scale of its rates is out of range")
    return State(
        size=size,
        act=act,
        update=update,
        weights=data["weights"],
        average=data["average"],
        moments=Moments(first, second, count),
        finished=finished,
        rate_scale=scale,
        rollbacks=data["rollbacks"],
        strikes=data["strikes"],
    )


def fingerprint(model: Model) -> str:
    """Twelve hex digits that name the model's weights."""
    digest = hashlib.sha256()
    for size in model.sizes:
        for tensor in size.weights.tensors():
            digest.update(_plain(tensor).numpy().tobytes())
    return digest.hexdigest()[:12]


def state_to(state: State, device: torch.device) -> State:
    """The same state with its tensors on ``device``."""
    moments = state.moments
    return replace(
        state,
        weights=state.weights.to(device),
        average=state.average.to(device),
        moments=Moments(moments.first.to(device), moments.second.to(device), moments.count),
        finished=tuple(vector.to(device) for vector in state.finished),
    )


def _check(tensor: Tensor, shape: torch.Size, name: str) -> None:
    if tensor.shape != shape or not tensor.is_floating_point():
        raise ValueError(f"{name} do not fit the network")
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} are not finite")


def _plain(tensor: Tensor) -> Tensor:
    # A contiguous copy: a view would save the whole vector that it is a view of.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
