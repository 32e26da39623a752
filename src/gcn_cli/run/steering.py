"""Pictures that fresh samples follow: a sketch, a beginning, a part that stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from gcn_cli.errors import UsageError
from gcn_cli.images.files import read_picture
from gcn_cli.images.sheets import resize
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.sampling import Kept, Request, Sketch
from gcn_cli.texture.guide import in_colours_of
from gcn_cli.texture.plan import at_size

USUAL_STRENGTH = 0.5
_WHITE = 127.5  # grey level from which on a mask is white


@dataclass(frozen=True)
class Steering:
    """Pictures to follow, and how far down the chain they come in: 0 its beginning, 1 its end."""

    guide: Path | None = None
    init: Path | None = None
    keep: Path | None = None
    strength: float | None = None


def steered(saved: Checkpoint, request: Request, steering: Steering) -> Request:
    """A request that follows pictures, each fitted to the size that is asked for.

    Raises:
        UsageError: options that do not go together, or a model that cannot be steered.
        ImageError: a picture that cannot be read.
    """
    guide, init = steering.guide, steering.init
    if guide is None and init is None:
        if steering.keep is not None or steering.strength is not None:
            raise UsageError("--keep and --strength go with --init or --guide")
        return request
    _check(saved, steering)
    size = (request.height, request.width)
    path = guide if guide is not None else init
    assert path is not None
    levels = resize(read_picture(path, saved.config.images.role).levels, size)
    if guide is not None:
        coarse = at_size(saved.observed, saved.model.sizes[0].reduction)
        levels = in_colours_of(levels, coarse)
    elif len(levels) != saved.observed.shape[1]:
        levels = levels.mean(0, keepdim=True).expand(saved.observed.shape[1], -1, -1)
    if steering.keep is not None:
        request = replace(request, kept=_kept(levels, steering.keep, size))
    usual = 0.0 if steering.keep is not None else USUAL_STRENGTH
    share = usual if steering.strength is None else steering.strength
    return replace(request, sketch=Sketch(levels, share)) if share else request


def _check(saved: Checkpoint, steering: Steering) -> None:
    if steering.guide is not None and steering.init is not None:
        raise UsageError("--guide and --init both say what to begin with; give one")
    if steering.keep is not None and steering.init is None:
        raise UsageError("--keep says what of --init stays; give --init")
    if saved.config.kind != "texture" or saved.material is not None:
        raise UsageError("only models of kind texture, of pictures, follow --guide or --init")


def _kept(levels: Tensor, path: Path, size: tuple[int, int]) -> Kept:
    """What is white in a mask.

    Raises:
        UsageError: all of it, or nothing.
    """
    known = resize(read_picture(path, "data").levels, size).mean(0) >= _WHITE
    if bool(known.all()) or not bool(known.any()):
        raise UsageError(f"{path} keeps {'all' if bool(known.all()) else 'nothing'} of the picture")
    return Kept(levels.contiguous(), known)


__all__ = ["Steering", "steered"]
