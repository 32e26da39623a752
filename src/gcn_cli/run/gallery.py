"""Fresh samples on disk: one PNG per seed with its story as text, a grid, tiled previews."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from gcn_cli import __version__
from gcn_cli.engine import Machine, Ranks, is_out_of_memory
from gcn_cli.errors import DeviceError, DivergenceError, GcnError
from gcn_cli.images.files import Depth, Role, png_bytes, save_picture
from gcn_cli.images.lit import lit_plane, lit_sphere
from gcn_cli.images.maps import Material
from gcn_cli.images.materials import points_down
from gcn_cli.images.sheets import image_grid, resize
from gcn_cli.run.checkpoint import Checkpoint
from gcn_cli.run.jobs import shown
from gcn_cli.run.kinds import KINDS
from gcn_cli.run.outputs import LIT, Outputs, Written
from gcn_cli.run.progress import Progress
from gcn_cli.run.sampling import REPEATS, Artist, Frame, Request, batches, cut

_GRID_MOST = 36  # pictures in a grid
_GRID_SIDE = 384  # px of a picture in a grid, at most

Watcher = Callable[[Tensor], None]
"""Sees the first chain (C, H, W) of the first batch, cut to size, while it moves."""


def artist_of(saved: Checkpoint) -> Artist:
    """Who draws with the model of a checkpoint."""
    return KINDS[saved.config.kind].artist(saved.model)


def draw(
    artist: Artist,
    request: Request,
    machine: Machine,
    progress: Progress,
    batch: int,
    watch: Watcher | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """(seed, picture (C, H, W)) for every seed, ``batch`` chains at a time.

    Raises:
        UsageError: a size that does not fit; see `Artist.canvas`.
        DeviceError: out of memory.
        DivergenceError: a chain ran away.
    """
    for seeds in batches(request.seeds, batch):
        part = replace(request, seeds=seeds)
        images = _run(artist, part, machine, progress, watch)
        watch = None
        if not all(bool(torch.isfinite(end)) for end in images.aminmax()):  # NaN comes through
            raise DivergenceError(
                "the chain ran away to infinity; this model is not stable at this temperature"
            )
        yield from zip(seeds, images, strict=True)


def _run(
    artist: Artist, request: Request, machine: Machine, progress: Progress, watch: Watcher | None
) -> Tensor:
    last: Frame | None = None
    try:
        for frame in artist.frames(request, machine):
            if last is None:
                seeds = request.seeds
                name = f"seed {seeds[0]}" + (f"..{seeds[-1]}" if len(seeds) > 1 else "")
                progress.start(frame.steps, name)
            last = frame
            progress.update(frame.step, {})
            if watch is not None:
                watch(cut(frame.shown(), request))
        if last is None:
            raise GcnError("this model takes no sampling steps")
        return cut(last.finish(), request).cpu()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise DeviceError("out of memory; ask for a smaller --size or --batch") from error
        raise
    finally:
        progress.close()


def story(saved: Checkpoint, request: Request, seed: int, machine: Machine) -> dict[str, str]:
    """What a PNG says about itself."""
    note = {"gcn:note": saved.origin.note} if saved.origin.note else {}
    return {
        "Software": f"gcn {__version__}",
        "gcn:checkpoint": saved.fingerprint,
        "gcn:preset": saved.config.name,
        "gcn:seed": str(seed),
        "gcn:size": f"{request.width}x{request.height}",
        "gcn:tile": request.tile,
        "gcn:temperature": f"{request.temperature:g}",
        "gcn:precision": str(machine.dtype).removeprefix("torch."),
        **note,
    }


def tiled(image: Tensor, tile: str) -> Tensor:
    """A seamless picture (C, H, W) laid beside itself."""
    rows, columns = REPEATS[tile]
    return image.repeat(1, rows, columns)


@dataclass
class Gallery:
    """Files of one call of synthesize; ``written`` lists them."""

    saved: Checkpoint
    request: Request
    machine: Machine
    outputs: Outputs
    written: list[Written] = field(default_factory=list)
    _small: list[Tensor] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """Where they lie."""
        return [one.path for one in self.written]

    def text(self, seed: int) -> dict[str, str]:
        """What the picture of a seed says about itself."""
        return story(self.saved, self.request, seed, self.machine)

    def encoded(self, seed: int, image: Tensor) -> bytes:
        """One picture as PNG."""
        return png_bytes(image, self.text(seed), self.outputs.depth, self.outputs.role)

    def add(self, seed: int, image: Tensor) -> None:
        """Write one picture, and its preview where it tiles; of a material a folder of maps."""
        text, path = self.text(seed), self.outputs.files[self.request.seeds.index(seed)]
        picture, material = shown(self.saved.material, image), self.saved.material
        if material is not None:
            self._add_maps(path, material, image, text)
        else:
            depth, role, preview = self.outputs.depth, self.outputs.role, self.outputs.preview(path)
            self.write(path, image, text, depth, role)
            if preview is not None:
                twice = tiled(image, self.request.tile)
                self.write(preview, twice, text, depth, role, "preview")
        if len(self._small) < _GRID_MOST:
            factor = min(1.0, _GRID_SIDE / max(image.shape[-2:]))
            h, w = (max(1, round(n * factor)) for n in picture.shape[-2:])
            self._small.append(resize(picture, (h, w)).clamp(0, 255))

    def _add_maps(
        self, folder: Path, material: Material, image: Tensor, text: dict[str, str]
    ) -> None:
        """Every map under its file's own name, and a look at them under one light."""
        maps = material.decode(image)
        for one in self.outputs.maps:
            told = {**text, "gcn:map": one.name}
            self.write(folder / one.file, maps[one.name], told, one.depth, one.role, "map")
        if self.outputs.lit:
            down = any(one.name == "normal" and points_down(one.file) for one in material.maps)
            plane = lit_plane(maps, down)
            sphere = lit_sphere(maps, min(512, *plane.shape[-2:]), down)
            self.write(folder / LIT, image_grid([plane, sphere], columns=2), text, what="preview")

    def share(self, ranks: Ranks, work: Callable[[], None]) -> None:
        """Have ``work`` add this process's pictures; list those of all processes, in their order.

        Raises:
            GcnError: the first that ``work`` raised in one of them.
        """

        def added() -> tuple[list[Written], list[Tensor]]:
            work()
            return self.written, self._small

        parts = ranks.every(added)
        self.written = [one for written, _ in parts for one in written]
        self._small = [image for _, small in parts for image in small][:_GRID_MOST]

    def add_grid(self) -> None:
        """Write all pictures on one sheet, where there are several."""
        if self.outputs.grid is not None:
            seeds = self.request.seeds[: len(self._small)]
            text = {**self.text(seeds[0]), "gcn:seed": ",".join(map(str, seeds))}
            columns = 1 if self.saved.material else None
            self.write(self.outputs.grid, image_grid(self._small, columns), text, what="grid")

    def write(
        self,
        path: Path,
        image: Tensor,
        text: dict[str, str] | None = None,
        depth: Depth = "8",
        role: Role = "colour",
        what: str = "sample",
    ) -> None:
        """Write one picture and list it; ``text`` tells of which seed it is."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_picture(path, image, depth, role, text)
        except OSError as error:
            raise GcnError(f"cannot write {path}: {error.strerror}") from error
        seed = (text or {}).get("gcn:seed", "")
        self.written.append(Written(path, what, int(seed) if seed.isdigit() else None))
