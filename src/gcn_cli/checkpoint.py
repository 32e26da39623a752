"""Checkpoints: one file of plain tensors and plain data, from which learning or sampling goes on.

The file is a `torch.save` of nested dicts, lists, numbers, strings and tensors, and is read with
``weights_only=True``: loading one executes nothing. Writing replaces the old file atomically.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcn_cli.config import MAX_CANDIDATES, MAX_REDRAWS, MAX_SPOT, Config, validate
from gcn_cli.core.langevin import ChainState, LangevinParams
from gcn_cli.core.learning import Moments, as_weights, parameters
from gcn_cli.core.matching import Potentials, Stage
from gcn_cli.core.model import LevelModel, Model, SamplerParams, informed
from gcn_cli.core.network import ConvNet, LayerSpec, Weights
from gcn_cli.core.schedule import LearningState
from gcn_cli.core.spectrum import Equaliser
from gcn_cli.errors import CheckpointError, GcnError
from gcn_cli.imaging import atomic_write_bytes

FORMAT, VERSION = "gcn-checkpoint", 1
_MOST_OCTAVES = 6
MAX_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run leaves: resolved config, images learned from, state, model so far.

    ``observed`` (N, C, H, W) and ``mean`` (C, 1, 1) are grey levels.
    """

    config: Config
    observed: Tensor
    mean: Tensor
    state: LearningState
    model: Model
    complete: bool

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that name the model's weights."""
        digest = hashlib.sha256()
        for level in self.model.levels:
            stages = [tensor for stage in level.matching for tensor in stage.tensors]
            for tensor in (*parameters(level.weights), *stages):
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically.

    Raises:
        GcnError: the disk refuses.
    """
    buffer = io.BytesIO()
    torch.save(_pack(checkpoint), buffer)
    try:
        atomic_write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise GcnError(f"cannot write {path}: {error.strerror}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the ``run.pt`` of a run folder, onto the CPU.

    Raises:
        CheckpointError: missing, truncated, foreign, newer or hostile, in one sentence.
    """
    path = path / "run.pt" if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path} is larger than any checkpoint of gcn")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is truncated or not a gcn checkpoint")
    try:
        _check_sums(path)
        data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than plain tensors and was not loaded; it is not a gcn checkpoint"
        ) from error
    except Exception as error:  # a damaged pickle can raise whatever its broken opcodes lead to
        raise CheckpointError(f"{path} is truncated or not a gcn checkpoint") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a gcn checkpoint")
    if not isinstance(data.get("version"), int) or data["version"] != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {data.get('version')}; this gcn reads {VERSION}"
        )
    try:
        return _unpack(data)
    except Exception as error:  # whatever a foreign structure leads to, it is refused
        raise CheckpointError(f"{path} is damaged: {error}") from error


def _check_sums(path: Path) -> None:
    """Compare every record with its checksum: bit rot in a tensor would else load silently."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise ValueError("a checksum does not match")


def _pack(checkpoint: Checkpoint) -> dict[str, Any]:
    # What state and model share is packed once, and so written once.
    levels = {id(level.weights): _pack_level(level) for level in checkpoint.model.levels}
    state = _pack_state(checkpoint.state, levels)
    last = checkpoint.model.levels[-1]
    if last.matching is checkpoint.state.matching:
        state["matching"] = levels[id(last.weights)]["matching"]
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": checkpoint.config.model_dump(mode="json"),
        "observed": _compact(checkpoint.observed),
        "mean": checkpoint.mean.cpu(),
        "complete": checkpoint.complete,
        "model": [levels[id(level.weights)] for level in checkpoint.model.levels],
        "state": state,
    }


def _unpack(data: dict[str, Any]) -> Checkpoint:
    levels = tuple(_unpack_level(level) for level in data["model"])
    observed, mean = data["observed"].to(torch.float32), data["mean"]
    if not levels:
        raise ValueError("it holds no model")
    if observed.ndim != 4 or mean.shape != (observed.shape[1], 1, 1):
        raise ValueError("images and mean colour do not agree")
    if any(level.net.channels != mean.shape[0] for level in levels):
        raise ValueError("network and mean colour do not agree")
    if not bool(torch.isfinite(mean).all() and torch.isfinite(observed).all()):
        raise ValueError("the images or their mean colour are not finite")
    config, state = validate(data["config"]), _unpack_state(data["state"], mean.shape[0])
    _check_state(state, levels, config)
    centred = observed - mean  # what candidates are chosen by follows from it, and is not stored
    levels = tuple(informed(level, centred) for level in levels)
    return Checkpoint(
        config=config,
        observed=observed,
        mean=mean,
        state=state,
        model=Model(levels, mean),
        complete=bool(data["complete"]),
    )


def _check_state(state: LearningState, levels: tuple[LevelModel, ...], config: Config) -> None:
    """Raise ValueError unless the state belongs to these levels."""
    if not 0 <= state.level < len(config.levels) or min(state.stage, state.update) < 0:
        raise ValueError("it stands at a level that its config does not have")
    images = state.chains.images
    if state.weights:
        net = levels[-1].net
        for weights in (state.weights, state.average):
            if len(_unpack_weights(parameters(weights), net)) != len(net.layers):
                raise ValueError("weights do not fit the network")
        if images.ndim != 4 or images.shape[1] != net.channels:
            raise ValueError("chains do not fit the network")
        if state.matching and state.matched.shape[1:2] != (net.channels,):
            raise ValueError("matched chains do not fit the network")
    if not bool(torch.isfinite(images).all() and torch.isfinite(state.matched).all()):
        raise ValueError("chains are not finite")
    if state.centre_gain.ndim or not bool(torch.isfinite(state.centre_gain)):
        raise ValueError("the centre's gain is not a number")


def _compact(observed: Tensor) -> Tensor:
    """Whole grey levels as bytes, anything finer as it is."""
    whole = observed.cpu().round().clamp(0, 255)
    return whole.to(torch.uint8) if torch.equal(whole, observed.cpu()) else observed.cpu()


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


def _pack_level(level: LevelModel) -> dict[str, Any]:
    return {
        "layers": [asdict(spec) for spec in level.net.layers],
        "channels": level.net.channels,
        "weights": _pack_weights(level.weights),
        "path": [_pack_weights(weights) for weights in level.path],
        "langevin": asdict(level.langevin),
        "sampler": asdict(level.sampler),
        "boundary": level.boundary,
        "scale": level.scale,
        "centre_gain": level.centre_gain,
        "matching": _pack_matching(level.matching),
        "matching_noise": level.matching_noise,
    }


def _pack_matching(stages: tuple[Stage, ...]) -> list[list[Any]]:
    return [_pack_stage(stage) for stage in stages]


def _pack_stage(stage: Stage) -> list[Any]:
    if isinstance(stage, Equaliser):
        return [stage.kernel.cpu()]
    # half as many bytes hold filters and slopes exactly
    return [
        stage.filters.bfloat16().cpu(),
        stage.low.cpu(),
        stage.density.cpu(),
        stage.shift.half().cpu(),
        stage.octave,
    ]


def _unpack_matching(stages: list[list[Any]], channels: int) -> tuple[Stage, ...]:
    found = []
    for parts in stages:
        stage = _unpack_equaliser(*parts) if len(parts) == 1 else _unpack_potentials(*parts)
        first = stage.tensors[0]
        if first.ndim != 4 or first.shape[1] != channels:
            raise ValueError("a matching stage does not fit the network")
        if first.shape[2] != first.shape[3] or first.shape[2] % 2 == 0:
            raise ValueError("a matching stage's filters are not odd squares")
        if not all(bool(t.isfinite().all()) for t in stage.tensors):
            raise ValueError("a matching stage is not finite")
        found.append(stage)
    return tuple(found)


def _unpack_equaliser(kernel: Tensor) -> Equaliser:
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError("a spectral stage does not map colours to colours")
    return Equaliser(kernel.float())


def _unpack_potentials(
    filters: Tensor, low: Tensor, density: Tensor, shift: Tensor, octave: int
) -> Potentials:
    stage = Potentials(filters.float(), low.float(), density.float(), shift.float(), octave)
    k = len(stage.filters)
    if stage.low.shape != (k,) or stage.density.shape != (k,) or len(stage.shift) != k:
        raise ValueError("a matching stage's potentials do not fit its filters")
    if stage.shift.ndim != 2:
        raise ValueError("a matching stage's potentials are not tables")
    if not isinstance(octave, int) or not 0 <= octave <= _MOST_OCTAVES:
        raise ValueError("a matching stage lies at an octave out of range")
    return stage


def _unpack_level(data: dict[str, Any]) -> LevelModel:
    net = ConvNet(tuple(LayerSpec(**spec) for spec in data["layers"]), data["channels"])
    if data["boundary"] not in ("torus", "bounded"):
        raise ValueError("unknown boundary")
    gain = data.get("centre_gain", 1.0)  # absent from files written before it was learned
    noise = data.get("matching_noise", 0.0)
    numbers = [*data["langevin"].values(), *data["sampler"].values(), data["scale"], gain, noise]
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise ValueError("a setting is not a finite number")
    if not 0 < data["scale"] <= 1 or data["sampler"]["steps"] < 1:
        raise ValueError("scale or steps are out of range")
    count = data["sampler"].get("candidates", 1)  # absent from files written before there were any
    if not isinstance(count, int) or not 1 <= count <= MAX_CANDIDATES:
        raise ValueError("the number of candidates is out of range")
    _check_start(net, data["boundary"], **data["sampler"])
    weights = _unpack_weights(data["weights"], net)
    if len(weights) != len(net.layers):
        raise ValueError("weights do not fit the network")
    return LevelModel(
        net=net,
        weights=weights,
        langevin=LangevinParams(**data["langevin"]),
        sampler=SamplerParams(**data["sampler"]),
        boundary=data["boundary"],
        scale=float(data["scale"]),
        path=tuple(_unpack_weights(tensors, net) for tensors in data["path"]),
        centre_gain=float(gain),
        matching=_unpack_matching(data.get("matching", []), net.channels),
        matching_noise=float(noise),
    )


def _check_start(
    net: ConvNet, boundary: str, start_spot: float = 0.0, redraws: int = 0, **_rest: float
) -> None:
    """Raise ValueError for spots and redraws out of range; older files have none."""
    if not 0 <= start_spot <= MAX_SPOT:
        raise ValueError("the share of spot noise is out of range")
    if not isinstance(redraws, int) or not 0 <= redraws <= MAX_REDRAWS:
        raise ValueError("the number of redraws is out of range")
    if redraws and (boundary != "torus" or net.total_stride > 1):
        raise ValueError("its field cannot be redrawn")


def _pack_state(state: LearningState, levels: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """``levels`` holds what is packed already, by its weights' identity."""
    return {
        "level": state.level,
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
        "finished": [
            levels.get(id(level.weights)) or _pack_level(level) for level in state.finished
        ],
        "centre_gain": state.centre_gain.cpu(),
        "matching": _pack_matching(state.matching),
        "matched": state.matched.cpu().contiguous(),
        "rate_scale": state.rate_scale,
        "rollbacks": state.rollbacks,
        "strikes": state.strikes,
    }


def _unpack_state(data: dict[str, Any], channels: int) -> LearningState:
    first, second, count = data["moments"]
    return LearningState(
        level=int(data["level"]),
        stage=int(data["stage"]),
        update=int(data["update"]),
        weights=as_weights(data["weights"]),
        average=as_weights(data["average"]),
        moments=Moments(tuple(first), tuple(second), int(count)),
        chains=ChainState(data["chains"], int(data["chain_step"])),
        path=tuple(as_weights(tensors) for tensors in data["path"]),
        finished=tuple(_unpack_level(level) for level in data["finished"]),
        centre_gain=data.get("centre_gain", torch.ones(())),
        matching=_unpack_matching(data.get("matching", []), channels),
        matched=data.get("matched", torch.zeros(0)),
        rate_scale=float(data["rate_scale"]),
        rollbacks=int(data["rollbacks"]),
        strikes=int(data["strikes"]),
    )


def state_to(state: LearningState, device: torch.device) -> LearningState:
    """The same state with its tensors on ``device``."""

    def move(weights: Weights) -> Weights:
        return tuple(
            layer._replace(w=layer.w.to(device), b=layer.b.to(device)) for layer in weights
        )

    images = state.chains.images.to(device)
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
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
        centre_gain=state.centre_gain.to(device),
        matching=tuple(stage.to(device) for stage in state.matching),
        matched=state.matched.to(device),
    )
