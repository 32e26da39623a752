"""Kind ``texture``: a model and the state of its learning as plain tensors and data, and back.

What is unpacked may come from a foreign file: whatever does not fit together raises an error.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from gcn_cli.errors import CheckpointError
from gcn_cli.field.network import NoiseNet, Weights, initial_weights
from gcn_cli.field.optimise import Moments
from gcn_cli.run.numbers import MOST
from gcn_cli.run.plain_data import real, same, whole
from gcn_cli.run.schema import Config, TextureConfig, stored_voting_layer
from gcn_cli.texture.draw import Model, SizeModel
from gcn_cli.texture.learn import ACTS, State
from gcn_cli.texture.place import PLACE
from gcn_cli.texture.recipe import MOST_REDUCED, MOST_UPDATES

_MOST_LEVELS = 10000
_MOST_SIDE = 4096
_MOST_CHANNELS = 256


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
    channels, noise = whole(data, "channels", 1, _MOST_CHANNELS), real(data, "given_noise", 0, 1000)
    place = None if data.get("place") is None else _unpack_place(data["place"])
    given = channels if place is None else PLACE
    layers = tuple(stored_voting_layer(spec) for spec in data["layers"])
    net = NoiseNet(layers, channels, given)
    if net.channels != mean.shape[0]:
        raise ValueError("network and mean colour do not agree")
    contrast = real(data, "contrast", 1e-3, 1e9)
    counts = {sum(t.numel() for t in size["weights"]) for size in data["sizes"]}
    if counts - {net.n_parameters()}:  # before weights of that many are made to be compared
        raise ValueError("weights do not fit the network")
    like = initial_weights(net, torch.Generator())
    sizes = tuple(_unpack_size(size, like) for size in data["sizes"])
    reductions = [size.reduction for size in sizes]
    if not sizes or any(a != 2 * b for a, b in itertools.pairwise(reductions)):
        raise ValueError("its sizes do not follow one another")
    langevin = whole({"langevin": 0, **data}, "langevin", 0, _MOST_LEVELS)
    return Model(net, sizes, mean, contrast, noise, place, langevin)


def _unpack_place(data: list[int]) -> tuple[int, int]:
    height, width = data
    place = {"height": height, "width": width}
    return whole(place, "height", 1, _MOST_SIDE), whole(place, "width", 1, _MOST_SIDE)


def _unpack_size(data: dict[str, Any], like: Weights) -> SizeModel:
    reduction, levels = whole(data, "reduction", 1, MOST_REDUCED), data["levels"]
    wide = levels.dtype == torch.float64  # as they are made
    same(levels, levels.shape, torch.float64 if wide else torch.float32, "levels")
    if levels.ndim != 1 or not 1 <= len(levels) <= _MOST_LEVELS:
        raise ValueError("levels are no ladder")
    if not bool((levels > 0).all() and (levels <= 1000).all() and (levels.diff() < 0).all()):
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
    first, second, _ = data["moments"]
    count = whole({"moments": data["moments"][2]}, "moments", 0, MOST)
    finished = tuple(data["finished"])
    shape = torch.Size([model.net.n_parameters()])
    for vector in (data["weights"], data["average"], first, second, *finished):
        _check(vector, shape, "the state's weights")
    act, size = data["act"], whole(data, "size", 0, MOST_REDUCED)
    update = whole(data, "update", 0, MOST_UPDATES)
    if act not in ACTS:
        raise ValueError("it stands nowhere in learning")
    part = config.reconstruction if act == ACTS[0] else config.likelihood
    most = part.finer_updates if size else part.updates
    if size != len(finished) or len(model.sizes) not in (size, size + 1) or update > most:
        raise ValueError("it stands where its config never comes")
    return State(
        size=size,
        act=act,
        update=update,
        weights=data["weights"],
        average=data["average"],
        moments=Moments(first, second, count),
        finished=finished,
        rate_scale=real(data, "rate_scale", 1e-300, 1),
        rollbacks=whole(data, "rollbacks", 0, MOST_UPDATES),
        strikes=whole(data, "strikes", 0, MOST_UPDATES),
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
    same(tensor, shape, torch.float32, name)


def _plain(tensor: Tensor) -> Tensor:
    # A contiguous copy: a view would save the whole vector that it is a view of.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
