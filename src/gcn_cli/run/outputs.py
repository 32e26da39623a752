"""Where fresh samples go: names, formats and depths, all of it settled before any work."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gcn_cli.errors import UsageError
from gcn_cli.images.files import (
    DEPTHS,
    FORMATS,
    Depth,
    Role,
    check_folder,
    check_format,
    check_sides,
    fitting_depth,
    usual_suffix,
)
from gcn_cli.images.maps import Material
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.rundir import clipped
from gcn_cli.run.sampling import REPEATS, Request

NAME = "sample-{size}-seed{seed}"
"""How a sample in a folder is called, unless the user says otherwise."""
_LONGEST = 230  # bytes of a file's name, which a suffix and the mark of a preview may follow
_MOST_OF_NAME = 255  # bytes
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,4}", flags=re.IGNORECASE)


LIT = "preview.png"
"""What a folder of maps calls their picture under one light."""


@dataclass(frozen=True)
class MapFile:
    """One map's file in the folder of a sample."""

    name: str
    file: str
    depth: Depth
    role: Role


@dataclass(frozen=True)
class Written:
    """A file of a call: what it shows, and the seed of that; None: of no sample, or of several."""

    path: Path
    what: str
    seed: int | None = None


@dataclass(frozen=True)
class Outputs:
    """Every file of one call: ``files`` of the seeds, in order, ``grid`` of several.

    ``note``: what to tell of a depth that the format does not hold. Of a material ``files`` are
    folders, each with all ``maps`` in it, and their picture if it is to be ``lit``.
    """

    files: tuple[Path, ...]
    tile: str
    depth: Depth
    role: Role
    grid: Path | None = None
    note: str | None = None
    maps: tuple[MapFile, ...] = ()
    lit: bool = False

    def preview(self, file: Path) -> Path | None:
        """Where a seamless picture is shown laid beside itself."""
        if self.tile == "none":
            return None
        rows, columns = REPEATS[self.tile]
        return file.with_name(f"{file.stem}-tiled{columns}x{rows}{file.suffix}")

    def shown(self, seeds: Sequence[int]) -> list[Written]:
        """All files that will be written, of the seeds that ``files`` are of."""
        found = []
        for seed, file in zip(seeds, self.files, strict=True):
            found += [Written(path, what, seed) for path, what in self._inside(file)]
        return [*found, *([] if self.grid is None else [Written(self.grid, "grid")])]

    def every(self) -> list[Path]:
        """Their paths."""
        return [one.path for one in self.shown(range(len(self.files)))]

    def _inside(self, file: Path) -> list[tuple[Path, str]]:
        """Paths and meanings of what is written of one seed."""
        if self.maps:
            lit = [(file / LIT, "preview")] if self.lit else []
            return [*((file / one.file, "map") for one in self.maps), *lit]
        preview = self.preview(file)
        return [(file, "sample"), *([] if preview is None else [(preview, "preview")])]


def plan_outputs(
    saved: Checkpoint,
    request: Request,
    target: Path,
    stem: str,
    depth: str | None = None,
    name: str | None = None,
    lit: bool = False,
) -> Outputs:
    """Where the pictures of a request go.

    Args:
        saved: the checkpoint, whose depth is the default.
        request: sizes and seeds.
        target: a file, known by its suffix, or a folder.
        stem: what `{stem}` in a name stands for.
        depth: of the samples; None: the exemplar's, or what the format holds that is nearest.
        name: of the files in a folder, with `{stem}`, `{seed}` and `{size}`.
        lit: whether a material is shown under one light, too.

    Raises:
        UsageError: a depth or name that means nothing, one file for several pictures.
        ImageError: a format that is not written, holds no such depth or size.
    """
    if depth is not None and depth not in DEPTHS:
        raise UsageError(f"--depth is one of {', '.join(DEPTHS)}, not '{depth}'")
    if saved.material is not None:
        return _plan_maps(saved.material, request, target, stem, depth, name, lit)
    wanted: Depth = saved.depth if depth is None else depth
    single = is_file_name(target)
    if single and name is not None:
        raise UsageError(f"--name is for files in a folder; {target} is a file")
    if single and len(request.seeds) > 1:
        raise UsageError(f"{target} is one file for {len(request.seeds)} pictures; give a folder")
    given = [str(target)] if single else _names(name or NAME, request, stem)
    suffix = Path(given[0]).suffix
    if not is_file_name(Path(given[0])):
        suffix = usual_suffix(wanted)
        given = [f"{text}{suffix}" for text in given]
    check_format(given[0], None if depth is None else wanted)
    held = fitting_depth(suffix, wanted)
    files = tuple(Path(text) if single else target / text for text in given)
    rows, columns = REPEATS[request.tile] if request.tile != "none" else (1, 1)
    check_sides(files[0], rows * request.height, columns * request.width)
    grid = None if single or len(files) == 1 else target / _grid_name(request)
    note = f"the exemplar has a depth of {wanted}; {suffix} holds {held}" if held != wanted else ""
    role = saved.config.images.role
    return Outputs(files, request.tile, held, role, grid, note or None)


def _plan_maps(
    material: Material,
    request: Request,
    target: Path,
    stem: str,
    depth: Depth | None,
    name: str | None,
    lit: bool,
) -> Outputs:
    """`plan_outputs` of a material: a folder a sample, each map at its own depth."""
    if is_file_name(target):
        raise UsageError(f"a material is several files; {target} is one: give a folder")
    maps = []
    for one in material.maps:
        wanted: Depth = one.depth if depth is None else depth
        suffix = usual_suffix(wanted)
        role: Role = "colour" if one.kind == "colour" else "data"
        maps.append(MapFile(one.name, f"{one.file}{suffix}", fitting_depth(suffix, wanted), role))
    folders = tuple(target / text for text in _names(name or NAME, request, stem))
    for file in maps:
        check_sides(folders[0] / file.file, request.height, request.width)
    grid = target / _grid_name(request) if len(folders) > 1 else None
    return Outputs(folders, "none", "8", "colour", grid, None, tuple(maps), lit)


def _grid_name(request: Request) -> str:
    """What the sheet of several samples is called: other seeds, another sheet."""
    seeds = request.seeds
    whole = seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))
    told = f"{seeds[0]}-{seeds[-1]}" if whole else f"{seeds[0]}-{seeds[-1]}-of-{len(seeds)}"
    return f"grid-{request.width}x{request.height}-seed{told}.png"


def run_stem(folder: Path) -> str:
    """What a run is called, without its number."""
    number, dash, name = folder.resolve().name.partition("-")
    return name if dash and number.isdecimal() else folder.resolve().name


def is_file_name(path: Path) -> bool:
    """Whether a path names a picture by its suffix, rather than a folder.

    Raises:
        UsageError: something between: another suffix, or a file that is no folder.
    """
    if path.suffix.lower() in FORMATS:
        return True
    if path.is_file():
        raise UsageError(f"{path} is a file; give a folder, a picture's name or -")
    if _SUFFIX.fullmatch(path.suffix) and not path.is_dir():
        check_format(path)
    return False


def _names(name: str, request: Request, stem: str) -> list[str]:
    """Names of the files of all seeds."""
    size, stem = f"{request.width}x{request.height}", clipped(stem)
    try:
        names = [name.format(stem=stem, seed=seed, size=size) for seed in request.seeds]
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--name holds {{stem}}, {{seed}} (as in {{seed:04d}}) and {{size}}; '{name}' does not "
            "read like that"
        ) from error
    for text in names:
        if not text or Path(text).name != text or text.startswith(".") or "\0" in text:
            raise UsageError(f"--name gives names of files; '{text}' is none")
        if len(os.fsencode(text)) > _LONGEST:
            raise UsageError(f"--name '{name}' gives names of more than {_LONGEST} bytes")
    if len(set(names)) < len(names):
        raise UsageError(f"--name '{name}' calls several pictures alike; put {{seed}} in it")
    return names


def without_existing(outputs: Outputs, request: Request) -> tuple[Outputs, Request, list[Written]]:
    """What of a call is still to be drawn where some of its files exist.

    A seed is done where all its files exist; one of which some are missing was broken off. A grid
    shows all seeds, so that there is none unless all are drawn.

    Returns:
        Outputs and request of the seeds that are left, none perhaps, and the others' files.
    """
    shown = outputs.shown(request.seeds)
    undone = {one.seed for one in shown if not one.path.exists()}
    pairs = zip(request.seeds, outputs.files, strict=True)
    left = [(seed, file) for seed, file in pairs if seed in undone]
    if len(left) == len(request.seeds):
        return outputs, request, []
    seeds, files = tuple(seed for seed, _ in left), tuple(file for _, file in left)
    kept = [one for one in shown if one.seed not in undone]
    return replace(outputs, files=files, grid=None), replace(request, seeds=seeds), kept


def check_new(
    files: Sequence[Path], folder: Path, overwrite: bool, sources: Sequence[Path] = ()
) -> None:
    """Refuse, before any work, to replace what exists.

    Args:
        files: all that will be written.
        folder: the run folder; what its model was learned from is never replaced.
        overwrite: whether other files may be.
        sources: what is never replaced either.

    Raises:
        UsageError: a file stands in the way.
        ImageError: a folder that cannot be written to.
    """
    for file in files:
        if len(os.fsencode(file.name)) > _MOST_OF_NAME:
            raise UsageError(f"the name {file.name[:40]}... is longer than file systems allow")
    for parent in {file.parent for file in files}:
        check_folder(parent)
    learned = {path.resolve() for path in _learned_from(folder)}
    given = {path.resolve() for path in sources}
    for file in files:
        if file.is_dir():
            raise UsageError(f"{file} is a folder, where a file is to be written")
        if not file.exists():
            continue
        if file.resolve() in learned:
            raise UsageError(f"{file} is what the model was learned from; it is never replaced")
        if file.resolve() in given:
            raise UsageError(f"{file} is what was given; it is never replaced")
        if not overwrite:
            raise UsageError(f"{file} exists already; --overwrite replaces it")


def _learned_from(folder: Path) -> list[Path]:
    """The pictures that a run learned from, as its ``meta.json`` names them."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        told = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return [Path(name) for name in told.get("images", [])]
    return []


__all__ = [
    "NAME",
    "Outputs",
    "Written",
    "check_new",
    "is_file_name",
    "plan_outputs",
    "run_stem",
    "without_existing",
]
