"""What is to be learned: images read, checked, in the colours and size that a config asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.images.files import DEPTHS, Depth, Picture, find_images, read_picture
from gcn_cli.images.light import flattened
from gcn_cli.images.maps import Material, measure, side_by_side
from gcn_cli.images.materials import FileSet, group_files, kind_of
from gcn_cli.images.sheets import resize
from gcn_cli.run.schema import Config
from gcn_cli.texture.known import filled, known_values, mean_of_known, reduced_known

_FLAT = 0.5  # grey levels of contrast below which nothing can be learned
_WHITE = 127.5  # grey level from which on a mask is white


@dataclass(frozen=True)
class Job:
    """One model to learn: a name, its images (N, C, H, W) in grey levels, their mean colour.

    ``known`` (N, 1, H, W), where not all pixels are: the others hold the mean colour. ``depth`` is
    that of the files; ``notes`` is what was done on reading them, to be told once. Of a
    ``material`` the channels are those of its maps.
    """

    name: str
    observed: Tensor
    mean: Tensor
    sources: tuple[Path, ...] = ()
    known: Tensor | None = None
    depth: Depth = "8"
    material: Material | None = None
    notes: tuple[str, ...] = ()

    @property
    def contrast(self) -> float:
        """Standard deviation over pixels and colours after subtracting the mean, grey levels."""
        return float(known_values(self.observed - self.mean, self.known).std())

    @property
    def told_name(self) -> str:
        """What errors call it: its image, if it has one."""
        return self.sources[0].name if len(self.sources) == 1 else self.name

    def shown(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Images (C, H, W) as pictures of 1 or 3 channels; a material's maps side by side."""
        return [shown(self.material, image) for image in images]


def shown(material: Material | None, image: Tensor) -> Tensor:
    """An image (C, H, W) of a model as a picture of 1 or 3 channels."""
    return image if material is None else side_by_side(list(material.decode(image).values()))


def mean_colour(observed: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean colour (C, 1, 1) of images (N, C, H, W), of their known pixels (N, 1, H, W)."""
    if known is not None:
        return mean_of_known(observed, known).to(torch.float32).view(-1, 1, 1)
    return observed.to(torch.float64).mean((0, 2, 3)).to(torch.float32).view(-1, 1, 1)


def check_contrast(contrast: float) -> None:
    """Refuse what has no texture.

    Raises:
        ImageError: a flat image.
    """
    if contrast < _FLAT:
        raise ImageError("the image is a single flat colour; there is no texture to learn")


def load_jobs(
    config: Config, path: Path, mode: str | None = None, mask: Path | None = None
) -> list[Job]:
    """The models that a file or folder of images asks for, every image read and checked.

    Files that are maps of one surface, by their names, are one material and one model.

    Args:
        config: says in which colours and size.
        path: a file or a folder.
        mode: each or joint, instead of the config's.
        mask: a picture as large as the one image: white is left out of learning.

    Raises:
        ImageError: nothing to read, an unreadable image, or images that do not agree.
    """
    sets = group_files(find_images(path))
    if mask is not None and (len(sets) > 1 or sets[0].is_material):
        held = "a material" if len(sets) == 1 else str(len(sets))
        raise ImageError(f"a mask goes with one picture; {path} holds {held}")
    return jobs_of(config, sets, path, mode, mask)


def jobs_of(
    config: Config,
    sets: Sequence[FileSet],
    path: Path,
    mode: str | None = None,
    mask: Path | None = None,
) -> list[Job]:
    """`load_jobs`, of files that are grouped already; ``path`` names a joint model."""
    if (mode or config.images.mode) == "each":
        return [set_job(config, one, mask) for one in sets]
    if any(one.is_material for one in sets):
        raise ImageError("a joint model is of pictures, not of materials; leave out --joint")
    files = [file for one in sets for file in one.files.values()]
    pictures = [read_prepared(config, file, mask) for file in files]
    colours = max(picture.levels.shape[0] for picture in pictures)
    pictures = [replace(p, levels=p.levels.expand(colours, -1, -1)) for p in pictures]
    shapes = {tuple(picture.levels.shape) for picture in pictures}
    if len(shapes) > 1:
        raise ImageError(
            f"one joint model needs images of one size; {path} holds {len(shapes)} sizes "
            "(set images.size to resize them all)"
        )
    name = path.stem if path.is_file() else path.resolve().name
    return [_job(name, pictures, tuple(files))]


def set_job(config: Config, files: FileSet, mask: Path | None = None) -> Job:
    """The model of one picture, or of one material.

    Raises:
        ImageError: an unreadable file, or maps that do not agree.
    """
    if not files.is_material:
        file = files.files[""]
        return _job(files.name, [read_prepared(config, file, mask)], (file,))
    maps, known, notes = {}, None, list(files.notes)
    for name, picture in read_maps(files, config.images.max_side).items():
        file = files.files[name]
        maps[name] = (fitted(config, picture.levels), file.stem, picture.depth)
        notes += [f"{file.name}: {note}" for note in picture.notes]
        if picture.known is not None:
            known = picture.known if known is None else known & picture.known
    material = measure(maps)
    image = material.encode({name: levels for name, (levels, _, _) in maps.items()})
    if known is not None:
        size = image.shape[-2], image.shape[-1]
        known = reduced_known(known[None, None], size)[0, 0]
        image = filled(image[None], known[None, None])[0]
    job = _job(files.name, [Picture(image, known)], list(files.files.values())[:1])
    sources = tuple(files.files.values())
    return replace(job, sources=sources, material=material, notes=tuple(notes))


def read_material(folder: Path) -> dict[str, Tensor]:
    """Maps (c, H, W) of the one material in a folder, by name.

    Raises:
        ImageError: no material there, or several.
    """
    sets = [one for one in group_files(find_images(folder)) if one.is_material]
    if len(sets) != 1:
        raise ImageError(f"{folder} holds {len(sets) or 'no'} materials; one is compared at a time")
    return {name: picture.levels for name, picture in read_maps(sets[0]).items()}


def read_maps(files: FileSet, max_side: int = 0) -> dict[str, Picture]:
    """Maps of a material by name, colours in sRGB, all else as it is stored.

    Raises:
        ImageError: an unreadable file.
    """
    return {
        name: read_picture(file, "colour" if kind_of(name) == "colour" else "data", max_side)
        for name, file in files.files.items()
    }


def _job(name: str, pictures: Sequence[Picture], files: Sequence[Path]) -> Job:
    observed, known = torch.stack([picture.levels for picture in pictures]), None
    if any(picture.known is not None for picture in pictures):
        full = torch.ones(observed.shape[-2:], dtype=torch.bool)
        known = torch.stack([full if p.known is None else p.known for p in pictures])[:, None]
    depth = max((picture.depth for picture in pictures), key=DEPTHS.index)
    notes = [
        f"{file.name}: {note}"
        for file, picture in zip(files, pictures, strict=True)
        for note in picture.notes
    ]
    return Job(
        name,
        observed,
        mean_colour(observed, known),
        tuple(files),
        known,
        depth,
        notes=tuple(notes),
    )


def read_prepared(config: Config, file: Path, mask: Path | None = None) -> Picture:
    """A picture in the colours and size that the config asks for, what a mask paints white unknown.

    Raises:
        ImageError: see `read_picture`; a mask of another size, or one that leaves nothing.
    """
    picture = read_picture(file, config.images.role, config.images.max_side)
    if mask is not None:
        picture = masked(picture, read_picture(mask, "data", config.images.max_side), file, mask)
    levels = prepare_image(config, picture.levels)
    if picture.known is None:
        return replace(picture, levels=levels)
    size = levels.shape[-2], levels.shape[-1]
    known = reduced_known(picture.known[None, None], size)
    if not bool(known.any()):
        raise ImageError(f"nothing of {file} is left to learn from at {size[1]}x{size[0]} px")
    return replace(picture, levels=filled(levels[None], known)[0], known=known[0, 0])


def masked(picture: Picture, mask: Picture, file: Path, where: Path) -> Picture:
    """A picture of which a mask's white counts as unknown, too, as it does when a hole is filled.

    Raises:
        ImageError: a mask of another size, or one that leaves nothing.
    """
    if mask.levels.shape[-2:] != picture.levels.shape[-2:]:
        sides = ["x".join(str(n) for n in p.levels.shape[:0:-1]) for p in (mask, picture)]
        raise ImageError(f"the mask {where} is {sides[0]} px, {file.name} {sides[1]} px")
    white = mask.levels.mean(0) >= _WHITE
    white = white if mask.known is None else white & mask.known
    known = ~white if picture.known is None else picture.known & ~white
    if not bool(known.any()):
        raise ImageError(f"the mask {where} leaves nothing of {file.name} to learn from")
    if bool(known.all()):
        return picture
    told = f"{float(white.double().mean()):.1%} of it is white in the mask and left out"
    levels = filled(picture.levels[None], known[None, None])[0]
    return replace(picture, levels=levels, known=known, notes=(*picture.notes, told))


def prepare_image(config: Config, image: Tensor) -> Tensor:
    """One image (C, H, W) in the colours and size that the config asks for."""
    if config.images.colour == "rgb":
        image = image.expand(3, -1, -1)
    elif image.shape[0] == 3:
        grey = torch.equal(image[0], image[1]) and torch.equal(image[1], image[2])
        if config.images.colour == "grey":
            weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
            image = (image * weights).sum(0, keepdim=True)
        elif grey:
            image = image[:1]
    image = fitted(config, image)
    return flattened(image) if config.images.flatten else image


def fitted(config: Config, image: Tensor) -> Tensor:
    """One image (C, H, W) in the size that the config asks for."""
    if config.images.size:
        return resize(image, (config.images.size, config.images.size))
    limit = config.images.max_side
    if limit and max(image.shape[-2:]) > limit:
        factor = limit / max(image.shape[-2:])
        h, w = (max(1, round(n * factor)) for n in image.shape[-2:])
        image = resize(image, (h, w))
    return image
