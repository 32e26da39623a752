"""Checkpoints: one file of plain tensors and plain data, from which learning or sampling goes on.

The file is a `torch.save` of nested dicts, lists, numbers, strings and tensors, and is read with
``weights_only=True``: loading one executes nothing. Writing replaces the old file atomically. For
other programs `gcn_cli.run.export` writes the same without the state of learning.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcn_cli import __version__
from gcn_cli.errors import CheckpointError, GcnError
from gcn_cli.images.files import DEPTHS, Depth, atomic_write_bytes
from gcn_cli.images.maps import Material
from gcn_cli.run import export
from gcn_cli.run.config import validate
from gcn_cli.run.jobs import Job
from gcn_cli.run.kinds import KINDS
from gcn_cli.run.origin import UNTOLD, Origin
from gcn_cli.run.plain_data import check_plain, numbers
from gcn_cli.run.schema import Config

FORMAT, VERSION = "gcn-checkpoint", 2
_WRITERS = {1: "0.1"}
"""Releases that write and read other versions."""
MAX_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run leaves: resolved config, images learned from, state, model so far.

    ``observed`` (N, C, H, W) and ``mean`` (C, 1, 1) are grey levels; ``known`` (N, 1, H, W) bool
    where not all pixels are; ``depth`` is the exemplar's; ``material`` tells what the channels are
    where they are maps. State and model are those of the config's kind; an export has no state.
    """

    config: Config
    observed: Tensor
    mean: Tensor
    state: Any
    model: Any
    complete: bool
    known: Tensor | None = None
    depth: Depth = "8"
    material: Material | None = None
    origin: Origin = UNTOLD

    def job(self, name: str) -> Job:
        """What is learned from."""
        return Job(
            name,
            self.observed,
            self.mean,
            known=self.known,
            depth=self.depth,
            material=self.material,
            origin=self.origin,
        )

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that name the model's weights."""
        return KINDS[self.config.kind].packing.fingerprint(self.model)

    @property
    def content(self) -> str:
        """The hash of what was learned from; that of a run's ``meta.json``."""
        return self.job("").content


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically.

    Raises:
        GcnError: the disk refuses.
    """
    buffer = io.BytesIO()
    torch.save(_pack(checkpoint), buffer)
    with writing(path):
        atomic_write_bytes(path, buffer.getvalue())


def export_checkpoint(path: Path, checkpoint: Checkpoint, card: str) -> None:
    """Write all but the state of learning as safetensors, atomically, with a card to be read.

    Raises:
        GcnError: the disk refuses.
    """
    data = {**_pack(replace(checkpoint, state=None)), "card": card}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, export.to_bytes(data))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the disk refuses, in a sentence."""
    try:
        yield
    except OSError as error:
        raise GcnError(f"cannot write {error.filename or path}: {error.strerror}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, the ``run.pt`` of a run folder, or an export, onto the CPU.

    Raises:
        CheckpointError: missing, truncated, foreign, newer or hostile, in one sentence.
    """
    path = _check_file(path)
    exported = export.is_export(path)
    if not (exported or zipfile.is_zipfile(path)):
        raise CheckpointError(f"{path} is truncated or not a gcn checkpoint")
    try:
        data = export.read(path) if exported else _read(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than plain tensors and was not loaded; it is not a gcn checkpoint"
        ) from error
    except Exception as error:  # a damaged pickle can raise whatever its broken opcodes lead to
        raise CheckpointError(f"{path} is truncated or not a gcn checkpoint") from error
    try:
        check_plain(data, path.stat().st_size)
    except ValueError as error:
        raise CheckpointError(f"{path} is not a gcn checkpoint: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a gcn checkpoint")
    _check_version(path, data.get("version"))
    try:
        return _unpack(data)
    except CheckpointError as error:  # in words that need but the file's name
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # whatever a foreign structure leads to, it is refused
        raise CheckpointError(f"{path} is damaged: {error}") from error


def load_learning(path: Path) -> Checkpoint:
    """`load_checkpoint`, to go on learning.

    Raises:
        CheckpointError: see there; or an export.
    """
    saved = load_checkpoint(path)
    if saved.state is None:
        raise CheckpointError(
            f"{path} is an export and holds no state of learning; --resume takes the run it is of"
        )
    return saved


def _read(path: Path) -> Any:
    _check_records(path)
    _check_sums(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_file(path: Path) -> Path:
    """The checkpoint that a path of a file or run folder names.

    Raises:
        CheckpointError: it is no regular file, may not be read, or is larger than any.
    """
    try:
        path = path / "run.pt" if path.is_dir() else path
        mode, size = path.stat().st_mode, path.stat().st_size
        if stat.S_ISREG(mode):
            path.open("rb").close()  # else one that may not be read is told to be truncated
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"there is no checkpoint {path}: it is no regular file")
    if size > MAX_BYTES:
        raise CheckpointError(f"{path} is larger than any checkpoint of gcn")
    return path


def _check_records(path: Path) -> None:
    """Refuse records that would grow when read: ours are stored as they are.

    Raises:
        ValueError: compressed records, more of them or more bytes than the file can hold.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        stored = all(one.compress_type == zipfile.ZIP_STORED for one in records)
        held = sum(max(one.file_size, one.compress_size) for one in records)
        if not stored or archive.comment or held > path.stat().st_size:
            raise ValueError("its records are not as gcn writes them")


def _check_version(path: Path, version: object) -> None:
    """Raise CheckpointError unless this gcn reads files of that version."""
    if isinstance(version, int) and version == VERSION:
        return
    if isinstance(version, int) and version in _WRITERS:
        writer = f"gcn {_WRITERS[version]}"
        raise CheckpointError(
            f"{path} was written by {writer} (checkpoint version {version}); this gcn reads "
            f"version {VERSION}: use {writer} for it, or learn anew"
        )
    raise CheckpointError(
        f"{path} has checkpoint version {version}; this gcn {__version__} reads {VERSION}"
    )


def _check_sums(path: Path) -> None:
    """Compare every record with its checksum: bit rot in a tensor would else load silently."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise ValueError("a checksum does not match")


def _pack(checkpoint: Checkpoint) -> dict[str, Any]:
    packing = KINDS[checkpoint.config.kind].packing
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": checkpoint.config.kind,
        "config": checkpoint.config.model_dump(mode="json"),
        "observed": _compact(checkpoint.observed),
        "mean": checkpoint.mean.cpu(),
        "known": None if checkpoint.known is None else checkpoint.known.cpu(),
        "depth": checkpoint.depth,
        "complete": checkpoint.complete,
        "maps": None if checkpoint.material is None else checkpoint.material.pack(),
        "model": packing.pack_model(checkpoint.model),
        "state": None if checkpoint.state is None else packing.pack_state(checkpoint.state),
        "origin": checkpoint.origin.pack(),
    }


def _unpack(data: dict[str, Any]) -> Checkpoint:
    observed, mean = numbers(data["observed"], "images"), numbers(data["mean"], "mean colour")
    if observed.ndim != 4 or not observed.numel() or mean.shape != (observed.shape[1], 1, 1):
        raise ValueError("images and mean colour do not agree")
    known, depth = data.get("known"), data.get("depth", "8")  # earlier files have neither
    if known is not None and (known.shape != observed[:, :1].shape or known.dtype != torch.bool):
        raise ValueError("images and their known pixels do not agree")
    if known is not None and not bool(known.any()):
        raise ValueError("nothing of its images is known")
    if depth not in DEPTHS:
        raise ValueError("the depth is none that is known")
    config = validate(data["config"])
    if data["kind"] != config.kind:
        raise ValueError("model and config are of different kinds")
    maps = data.get("maps")
    material = None if maps is None else Material.unpack(maps)
    if material is not None and material.channels != observed.shape[1]:
        raise ValueError("maps and images do not agree")
    packing = KINDS[config.kind].packing
    model, state = packing.unpack_model(data["model"], mean), data["state"]
    return Checkpoint(
        config=config,
        observed=observed,
        mean=mean,
        state=None if state is None else packing.unpack_state(state, model, config),
        model=model,
        complete=data["complete"] is True,
        known=known,
        depth=depth,
        material=material,
        origin=Origin.unpack(data["origin"]) if "origin" in data else UNTOLD,
    )


def _compact(observed: Tensor) -> Tensor:
    """Whole grey levels as bytes, anything finer as it is."""
    whole = observed.cpu().round().clamp(0, 255)
    return whole.to(torch.uint8) if torch.equal(whole, observed.cpu()) else observed.cpu()
