"""A field and the state of its learning as plain tensors and plain data, and back.

What is unpacked may come from a foreign file: whatever does not fit together raises an error.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from gcn_cli.field.ascent import Moments
from gcn_cli.field.convnet import ConvNet, LayerSpec, Weights
from gcn_cli.field.langevin import ChainState, LangevinParams
from gcn_cli.field.likelihood import as_weights, parameters
from gcn_cli.run.schema import Config, FieldConfig
from gcn_cli.texture.paper.learn import LearningState
from gcn_cli.texture.paper.model import Model, SamplerParams


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
    net = ConvNet(tuple(LayerSpec(**spec) for spec in data["layers"]), data["channels"])
    if net.channels != mean.shape[0]:
        raise ValueError("network and mean colour do not agree")
    if data["boundary"] not in ("torus", "bounded"):
        raise ValueError("unknown boundary")
    numbers = [*data["langevin"].values(), *data["sampler"].values()]
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise ValueError("a setting is not a finite number")
    if data["sampler"]["steps"] < 1:
        raise ValueError("steps are out of range")
    weights = _unpack_weights(data["weights"], net)
    if len(weights) != len(net.layers):
        raise ValueError("weights do not fit the network")
    return Model(
        net=net,
        weights=weights,
        langevin=LangevinParams(**data["langevin"]),
        sampler=SamplerParams(**data["sampler"]),
        boundary=data["boundary"],
        mean=mean,
        path=tuple(_unpack_weights(tensors, net) for tensors in data["path"]),
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
    first, second, count = data["moments"]
    state = LearningState(
        stage=int(data["stage"]),
        update=int(data["update"]),
        weights=_unpack_weights(data["weights"], model.net),
        average=_unpack_weights(data["average"], model.net),
        moments=Moments(tuple(first), tuple(second), int(count)),
        chains=ChainState(data["chains"], int(data["chain_step"])),
        path=tuple(_unpack_weights(tensors, model.net) for tensors in data["path"]),
        rate_scale=float(data["rate_scale"]),
        rollbacks=int(data["rollbacks"]),
        strikes=int(data["strikes"]),
    )
    images = state.chains.images
    stages = len(config.layers) if config.learning.grow else 1
    if not 0 <= state.stage < stages or state.update < 0:
        raise ValueError("it stands at a stage that its config does not have")
    if {len(state.weights), len(state.average)} != {len(model.net.layers)}:
        raise ValueError("weights do not fit the network")
    if images.ndim != 4 or images.shape[1] != model.net.channels:
        raise ValueError("chains do not fit the network")
    if not bool(torch.isfinite(images).all()):
        raise ValueError("chains are not finite")
    return state


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


def _unpack_weights(tensors: list[Tensor], net: ConvNet) -> Weights:
    weights = as_weights(tensors)
    for layer, spec, c in zip(weights, net.layers, net.in_channels(), strict=False):
        if layer.w.shape != (spec.filters, c, spec.size, spec.size):
            raise ValueError("weights do not fit the network")
        if layer.b.shape != (spec.filters,):
            raise ValueError("biases do not fit the network")
        if not bool(torch.isfinite(layer.w).all() and torch.isfinite(layer.b).all()):
            raise ValueError("weights are not finite")
    return weights
