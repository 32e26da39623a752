"""Pictures among classes, each a model: the posterior by the models' evidence.

Of two generative ConvNets the log ratio of densities is a ConvNet that tells them apart (Xie et al.
2016, section 3). Z, which that ratio lacks, is had by the detour of `gcn_cli.report.evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.errors import ImageError
from gcn_cli.images.files import load_image
from gcn_cli.report.at_size import LARGEST
from gcn_cli.report.evidence import evidence
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.jobs import fitted


@dataclass(frozen=True)
class Class:
    """A model under the name that it is told by."""

    name: str
    path: Path
    saved: Checkpoint


@dataclass(frozen=True)
class Classified:
    """A picture: its class, every class' posterior share, and -log2 p per value by class."""

    file: Path
    name: str
    shares: dict[str, float]
    bits: dict[str, float]

    @property
    def margin(self) -> float:
        """Bits per value between the best class and the next."""
        first, second, *_ = sorted(self.bits.values())
        return second - first


def named(runs: Sequence[tuple[Path, Checkpoint]]) -> list[Class]:
    """Classes named by their run folders, numbers left out where that keeps them apart."""
    stems = [(path if path.is_dir() else path.parent).resolve().name for path, _ in runs]
    short = [stem.partition("-")[2] or stem for stem in stems]
    for names in (short, stems, [str(path) for path, _ in runs]):
        if len(set(names)) == len(runs):
            break
    return [Class(name, *run) for name, run in zip(names, runs, strict=True)]


def classify(
    classes: Sequence[Class],
    files: Sequence[Path],
    machine: Machine,
    lowest: float | None = None,
    draws: int = 1,
    seed: int = 0,
) -> list[Classified]:
    """The class of every picture.

    Raises:
        ImageError: a picture too small for one of the models' coarsest size.
    """
    floor = lowest if lowest is not None else least_level(classes)
    pictures = [_ready(classes, file) for file in files]
    told = []
    for file, picture in zip(files, pictures, strict=True):
        nats = [
            evidence(one.saved.model, one.saved.observed, picture, machine, floor, draws, seed)
            for one in classes
        ]
        told.append(_judged(file, classes, torch.cat([e.nats for e in nats]), nats[0].values))
    return told


def least_level(classes: Sequence[Class]) -> float:
    """The least noise, grey levels, that all models have learned to see through."""
    models = [one.saved.model for one in classes]
    return max(float(m.sizes[-1].levels[-1]) * float(m.contrast) for m in models)


def _judged(file: Path, classes: Sequence[Class], nats: Tensor, values: int) -> Classified:
    shares = torch.softmax(-(nats - nats.min()), 0).tolist()
    bits = (nats / (values * math.log(2))).tolist()
    names = [one.name for one in classes]
    best = names[int(nats.argmin())]
    return Classified(
        file,
        best,
        dict(zip(names, shares, strict=True)),
        dict(zip(names, bits, strict=True)),
    )


def _ready(classes: Sequence[Class], file: Path) -> Tensor:
    """The middle (1, C, H, W) of a picture in grey levels, sides whole for every model."""
    channels = max(one.saved.model.net.channels for one in classes)
    image = fitted(classes[0].saved.config, load_image(file))
    image = image.expand(3, -1, -1) if channels == 3 else image.mean(0, keepdim=True)
    multiple = math.lcm(*(one.saved.model.multiple for one in classes))
    height, width = (min(n, LARGEST) // multiple * multiple for n in image.shape[-2:])
    if not height or not width:
        raise ImageError(
            f"{file} is {image.shape[-1]}x{image.shape[-2]} px; these models need sides of at "
            f"least {multiple} px"
        )
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[None, :, top : top + height, left : left + width]
