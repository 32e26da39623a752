"""A field and the state of its learning as plain tensors and plain data, and back.

What is unpacked may come from a foreign file: whatever does not fit together raises an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from gcn_cli.field.ascent import Moments
from gcn_cli.field.convnet import ConvNet, LayerSpec, Weights
from gcn_cli.field.langevin import ChainState, LangevinParams
from gcn_cli.field.likelihood import as_weights, parameters
from gcn_cli.run.numbers import MOST
from gcn_cli.run.plain_data import real, same, whole
from gcn_cli.run.schema import (
    Config,
    FieldConfig,
    StoredLangevin,
    StoredLayer,
    StoredSampler,
    stored,
)
from gcn_cli.texture.paper.learn import LearningState
from gcn_cli.texture.paper.model import Model, SamplerParams
from gcn_cli.texture.recipe import MOST_UPDATES


def pack_model(model: Model) -> dict[str, Any]:
    """All of a model but its mean colour."""
    return {
        "layers": [asdict(spec) for spec in model.net.layers],
        "channels": model.net.channels,
        "weights": _pack_weights(model.weights),
        "path": [_pack_weights(weights) for weights in model.path],
        "langevin": asdict(model.langevin),
        "sampler": asdict(model.sampler),
        "boundary": model.boundary,
    }


def unpack_model(data: dict[str, Any], mean: Tensor) -> Model:
    """The inverse of `pack_model`.

    Raises:
        Exception: ValueError in words where something does not fit, else whatever comes of it.
    """
    layers = [stored(StoredLayer, spec) for spec in data["layers"]]
    specs = tuple(LayerSpec(**layer.model_dump()) for layer in layers)
    net = ConvNet(specs, whole(data, "channels", 1, 4))
    if net.channels != mean.shape[0]:
        raise ValueError("network and mean colour do not agree")
    if data["boundary"] not in ("torus", "bounded"):
        raise ValueError("unknown boundary")
    langevin = stored(StoredLangevin, data["langevin"])
    if not 1 <= langevin.dither <= net.total_stride:
        raise ValueError("its dither is wider than the network's stride")
    sampler = stored(StoredSampler, data["sampler"])
    weights = _unpack_weights(data["weights"], net)
    if len(weights) != len(net.layers):
        raise ValueError("weights do not fit the network")
    return Model(
        net=net,
        weights=weights,
        langevin=LangevinParams(**langevin.model_dump()),
        sampler=SamplerParams(**sampler.model_dump()),
        boundary=data["boundary"],
        mean=mean,
        path=_unpack_path(data["path"], net),
    )


def pack_state(state: LearningState) -> dict[str, Any]:
    """All of a state."""
    return {
        "stage": state.stage,
        "update": state.update,
        "weights": _pack_weights(state.weights),
        "average": _pack_weights(state.average),
        "moments": [
            [t.cpu() for t in state.moments.first],
            [t.cpu() for t in state.moments.second],
            state.moments.count,
        ],
        "chains": state.chains.images.cpu().contiguous(),
        "chain_step": state.chains.step,
        "path": [_pack_weights(weights) for weights in state.path],
        "rate_scale": state.rate_scale,
        "rollbacks": state.rollbacks,
        "strikes": state.strikes,
    }


def unpack_state(data: dict[str, Any], model: Model, config: Config) -> LearningState:
    """The inverse of `pack_state`, for the state that left ``model`` behind under ``config``.

    Raises:
        Exception: ValueError in words where something does not fit, else whatever comes of it.
    """
    if not isinstance(config, FieldConfig):
        raise ValueError("model and config are of different kinds")
    _check_network(model.net, config)
    stages = len(config.layers) if config.learning.grow else 1
    state = LearningState(
        stage=whole(data, "stage", 0, stages - 1),
        update=whole(data, "update", 0, config.learning.updates),
        weights=_unpack_weights(data["weights"], model.net),
        average=_unpack_weights(data["average"], model.net),
        moments=_unpack_moments(data["moments"], model.net),
        chains=ChainState(data["chains"], whole(data, "chain_step", 0, MOST)),
        path=_unpack_path(data["path"], model.net),
        rate_scale=real(data, "rate_scale", 1e-300, 1),
        rollbacks=whole(data, "rollbacks", 0, MOST_UPDATES),
        strikes=whole(data, "strikes", 0, MOST_UPDATES),
    )
    images = state.chains.images
    if {len(state.weights), len(state.average)} != {len(model.net.layers)}:
        raise ValueError("weights do not fit the network")
    if images.ndim != 4 or images.shape[1] != model.net.channels or not len(images):
        raise ValueError("chains do not fit the network")
    size = images.shape[-2], images.shape[-1]
    model.net.map_sizes(size, model.boundary)  # else it says why
    if model.boundary == "torus" and min(size) < model.receptive_field:
        raise ValueError("chains do not fit the network")
    same(images, images.shape, torch.float32, "chains")
    return state


def _check_network(net: ConvNet, config: FieldConfig) -> None:
    """Raise ValueError unless a network is its config's, or the lower part of it while it grows."""
    if len(net.layers) > len(config.layers):
        raise ValueError("the network is not its config's")
    for spec, layer in zip(net.layers, config.layers, strict=False):
        wanted = layer.model_dump()
        full = {"size": spec.size} if layer.size == "full" else {}
        if asdict(spec) != {**wanted, **full}:
            raise ValueError("the network is not its config's")


def _unpack_moments(data: list[Any], net: ConvNet) -> Moments:
    first, second, _ = data
    count = whole({"moments": data[2]}, "moments", 0, MOST)
    if first or second:
        for tensors in (first, second):
            if len(_unpack_weights(tensors, net)) != len(net.layers):
                raise ValueError("moments do not fit the network")
    return Moments(tuple(first), tuple(second), count)


def _unpack_path(data: list[Any], net: ConvNet) -> tuple[Weights, ...]:
    """Snapshots of the weights, shallower networks among them."""
    return tuple(_unpack_weights(tensors, net, torch.bfloat16) for tensors in data)


def fingerprint(model: Model) -> str:
    """Twelve hex digits that name the model's weights."""
    digest = hashlib.sha256()
    for tensor in parameters(model.weights):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def state_to(state: LearningState, device: torch.device) -> LearningState:
    """The same state with its tensors on ``device``."""

    def move(weights: Weights) -> Weights:
        return tuple(
            layer._replace(w=layer.w.to(device), b=layer.b.to(device)) for layer in weights
        )

    images = state.chains.images.to(device).contiguous(memory_format=torch.channels_last)
    return replace(
        state,
        weights=move(state.weights),
        average=move(state.average),
        moments=Moments(
            tuple(t.to(device) for t in state.moments.first),
            tuple(t.to(device) for t in state.moments.second),
            state.moments.count,
        ),
        chains=ChainState(images, state.chains.step),
    )


def _pack_weights(weights: Weights) -> list[Tensor]:
    # Contiguous copies: a view or another memory layout would save more than it shows.
    return [
        t.detach().cpu().clone(memory_format=torch.contiguous_format) for t in parameters(weights)
    ]


def _unpack_weights(
    tensors: list[Tensor], net: ConvNet, dtype: torch.dtype = torch.float32
) -> Weights:
    if not 1 <= len(tensors) <= 2 * len(net.layers) or len(tensors) % 2:
        raise ValueError("weights do not fit the network")
    weights = as_weights(tensors)
    for layer, spec, c in zip(weights, net.layers, net.in_channels(), strict=False):
        if layer.w.shape != (spec.filters, c, spec.size, spec.size):
            raise ValueError("weights do not fit the network")
        if layer.b.shape != (spec.filters,):
            raise ValueError("biases do not fit the network")
        if {layer.w.dtype, layer.b.dtype} != {dtype}:
            raise ValueError("weights are of another type")
        if not bool(torch.isfinite(layer.w).all() and torch.isfinite(layer.b).all()):
            raise ValueError("weights are not finite")
    return weights
