"""What is to be learned: images read, checked, in the colours and size that a config asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.images.files import (
    DEPTHS,
    Crop,
    Depth,
    Picture,
    Role,
    find_images,
    read_picture,
    sort_out,
)
from gcn_cli.images.light import flattened
from gcn_cli.images.maps import Material, check_agreement, measure, side_by_side
from gcn_cli.images.materials import FileSet, group_files, kind_of
from gcn_cli.images.sheets import resize
from gcn_cli.run.origin import UNTOLD, Origin, new_origin
from gcn_cli.run.schema import Config
from gcn_cli.texture.known import filled, known_values, mean_of_known, reduced_known

_FLAT = 0.5  # grey levels of contrast below which nothing can be learned
_WHITE = 127.5  # grey level from which on a mask is white
_NAMED = 5  # files left out that are told by name
_COMMON = 0.5  # of a picture that must be left of it, at least, where a part must do


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
    origin: Origin = UNTOLD

    def noted(self, note: str) -> Job:
        """The same with an origin: its files, the present day and gcn, a user's note."""
        return replace(self, origin=new_origin(self.sources, note))

    @property
    def contrast(self) -> float:
        """Standard deviation over pixels and colours after subtracting the mean, grey levels."""
        return float(known_values(self.observed - self.mean, self.known).std())

    @property
    def content(self) -> str:
        """A hash of all that is learned from: pixels, which are known, what the channels are."""
        maps = None if self.material is None else self.material.pack()
        digest = hashlib.sha256(repr((tuple(self.observed.shape), self.depth, maps)).encode())
        for part in (self.observed, self.known):
            digest.update(b"" if part is None else part.contiguous().numpy().tobytes())
        return digest.hexdigest()

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


@dataclass(frozen=True)
class Wish:
    """Which part of a picture, or of all maps of a material, is learned from.

    ``mask``: a picture as large as the whole one, white is left out. ``crop``: px of the whole
    picture.
    """

    mask: Path | None = None
    crop: Crop | None = None


_ALL = Wish()


def mean_colour(observed: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean colour (C, 1, 1) of images (N, C, H, W), of their known pixels (N, 1, H, W)."""
    if known is not None:
        return mean_of_known(observed, known).to(torch.float32).view(-1, 1, 1)
    means = [observed[:, c].to(torch.float64).mean() for c in range(observed.shape[1])]
    return torch.stack(means).to(torch.float32).view(-1, 1, 1)


def check_contrast(contrast: float) -> None:
    """Refuse what has no texture.

    Raises:
        ImageError: a flat image.
    """
    if contrast < _FLAT:
        raise ImageError("the image is a single flat colour; there is no texture to learn")


def choose_files(paths: Sequence[Path], recursive: bool = False) -> tuple[list[Path], list[str]]:
    """The pictures that paths of files and folders stand for, each once; what was left out.

    Raises:
        ImageError: a path that does not exist, a folder without pictures.
    """
    files, told = [], []
    for path in paths:
        found, left = sort_out(path, recursive)
        files += found
        if left:
            names = ", ".join(left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
            told.append(f"{path}: {len(left)} left out, not known as pictures by suffix: {names}")
    return list({file.resolve(): file for file in files}.values()), told


def load_jobs(config: Config, path: Path, mode: str | None = None, wish: Wish = _ALL) -> list[Job]:
    """The models that a file or folder of images asks for, every image read and checked.

    ``mode``: each or joint, instead of the config's. Files that are maps of one surface, by their
    names, are one material and one model.

    Raises:
        ImageError: nothing to read, an unreadable image, or images that do not agree.
    """
    sets = group_files(find_images(path))
    if (mode or config.images.mode) == "joint":
        return [joint_job(config, sets, _name(path), wish)]
    return each_job(config, sets, wish)[0]


def each_job(
    config: Config, sets: Sequence[FileSet], wish: Wish = _ALL, strict: bool = True
) -> tuple[list[Job], list[ImageError]]:
    """A job of every picture or material; what is wrong with the others, unless ``strict``.

    Raises:
        ImageError: of the first that cannot be used, if ``strict`` or if no other can.
    """
    _check_wish(sets, wish)
    jobs: list[Job] = []
    failed: list[ImageError] = []
    names = [one.name for one in sets]
    for one in sets:
        try:
            job = set_job(config, one, wish)
            if names.count(one.name) > 1:
                job = replace(job, name=f"{job.sources[0].resolve().parent.name}-{one.name}")
            jobs.append(job)
        except ImageError as error:
            if strict:
                raise
            failed.append(error)
    if failed and not jobs:
        raise failed[0]
    return jobs, failed


def joint_job(config: Config, sets: Sequence[FileSet], name: str, wish: Wish = _ALL) -> Job:
    """One job of all pictures.

    Raises:
        ImageError: an unreadable image, images that do not agree, or a material.
    """
    _check_wish(sets, wish)
    if any(one.is_material for one in sets):
        raise ImageError("a joint model is of pictures, not of materials; leave out --joint")
    files = [one.files[""] for one in sets]
    pictures = [read_prepared(config, file, wish) for file in files]
    colours = max(picture.levels.shape[0] for picture in pictures)
    pictures = [replace(p, levels=p.levels.expand(colours, -1, -1)) for p in pictures]
    pictures, told = _of_one_size(pictures, files, name)
    job = _job(name, pictures, tuple(files))
    return replace(job, notes=(*job.notes, *told))


def _of_one_size(
    pictures: list[Picture], files: Sequence[Path], name: str
) -> tuple[list[Picture], list[str]]:
    """The middles of pictures, as large as all of them have; what is to be told.

    Raises:
        ImageError: of one of them less than half would be left, or nothing known.
    """
    shapes = {(p.levels.shape[-2], p.levels.shape[-1]) for p in pictures}
    if len(shapes) == 1:
        return pictures, []
    height, width = (min(sides) for sides in zip(*shapes, strict=True))
    cut = []
    for picture, file in zip(pictures, files, strict=True):
        h, w = picture.levels.shape[-2:]
        if height * width < _COMMON * h * w:
            raise ImageError(
                f"one joint model needs images of one size, and of {file.name}, {w}x{h} px, only "
                f"{height * width / (h * w):.0%} would be left: {width}x{height} px are all that "
                f"the {len(pictures)} of {name} have in common (images.max_side makes them smaller)"
            )
        levels = middle(picture.levels, height, width).contiguous()
        known = None if picture.known is None else middle(picture.known, height, width)
        if known is not None and not bool(known.any()):
            raise ImageError(f"nothing of the middle {width}x{height} px of {file.name} is known")
        cut.append(replace(picture, levels=levels, known=known))
    told = f"{name}: {len(shapes)} sizes; of every picture the middle {width}x{height} px are used"
    return cut, [told]


def _name(path: Path) -> str:
    return path.stem if path.is_file() else path.resolve().name


def _check_wish(sets: Sequence[FileSet], wish: Wish) -> None:
    if wish.mask is not None and len(sets) > 1:
        raise ImageError(f"a mask goes with one picture or material, not with {len(sets)}")


def set_job(config: Config, files: FileSet, wish: Wish = _ALL) -> Job:
    """The model of one picture, or of one material.

    Raises:
        ImageError: an unreadable file, or maps that do not agree.
    """
    if not files.is_material:
        file = files.files[""]
        return _job(files.name, [read_prepared(config, file, wish)], (file,))
    read = read_maps(files, config.images.max_side, wish)
    maps, notes = {}, list(files.notes)
    for name, picture in read.items():
        file = files.files[name]
        levels = fitted(config, picture.levels)
        if config.images.flatten and kind_of(name) == "colour":
            levels = flattened(levels)
        maps[name] = (levels, file.stem, picture.depth)
        notes += [f"{file.name}: {note}" for note in picture.notes]
    first = next(iter(read.values()))
    known, told = fitted_known(config, first, files.name)
    notes += [f"{files.name}: {note}" for note in told]
    material = measure(maps, known)
    image = material.encode({name: levels for name, (levels, _, _) in maps.items()})
    if known is not None:
        image = filled(image[None], known[None, None])[0]
    job = _job(files.name, [Picture(image, known)], list(files.files.values())[:1])
    sources = tuple(files.files.values())
    return replace(job, sources=sources, material=material, notes=tuple(notes))


def read_image(
    saved: Config, material: Material | None, path: Path, mask: Path | None = None
) -> Picture:
    """A picture made ready as the exemplar was; of a ``material`` a folder of its maps.

    Raises:
        ImageError: an unreadable file, a picture for a material, maps that are missing or differ.
    """
    if material is None:
        return read_prepared(saved, path, Wish(mask))
    if not path.is_dir():
        raise ImageError(f"this model is of a material, and {path} is no folder of maps")
    read = read_material(path, Wish(mask))
    image = material.encode({name: fitted(saved, one.levels) for name, one in read.items()})
    known, _ = fitted_known(saved, next(iter(read.values())), path.name)
    if known is not None:
        image = filled(image[None], known[None, None])[0]
    return Picture(image, known)


def read_whole(saved: Config, material: Material | None, path: Path) -> Tensor:
    """`read_image` of a picture all of which is known, (C, H, W).

    Raises:
        ImageError: some of it is not.
    """
    picture = read_image(saved, material, path)
    if picture.known is None:
        return picture.levels
    share = 1 - float(picture.known.double().mean())
    raise ImageError(f"{share:.1%} of {path} is transparent; this is measured of whole pictures")


def read_material(folder: Path, wish: Wish = _ALL) -> dict[str, Picture]:
    """Maps of the one material in a folder, by name.

    Raises:
        ImageError: no material there, or several.
    """
    sets = [one for one in group_files(find_images(folder)) if one.is_material]
    if len(sets) != 1:
        raise ImageError(f"{folder} holds {len(sets) or 'no'} materials; one is compared at a time")
    return read_maps(sets[0], 0, wish)


def read_maps(files: FileSet, max_side: int = 0, wish: Wish = _ALL) -> dict[str, Picture]:
    """Maps of a material by name, colours in sRGB, all else as it is stored.

    What is unknown in one of them is unknown in all; opacity's own alpha says nothing.

    Raises:
        ImageError: an unreadable file; where a part counts, maps that differ in size, or of which
            nothing is known.
    """
    maps = {}
    for name, file in files.files.items():
        role: Role = "colour" if kind_of(name) == "colour" else "data"
        maps[name] = read_picture(file, role, max_side, wish.crop, alpha=name != "opacity")
    if wish.mask is not None:
        name, file = next(iter(files.files.items()))
        mask = read_picture(wish.mask, "data", max_side, wish.crop)
        maps[name] = masked(maps[name], mask, file, wish.mask)
    parts = [one.known for one in maps.values() if one.known is not None]
    if wish != _ALL or parts:
        check_agreement({name: one.whole for name, one in maps.items()})
    if not parts:
        return maps
    known = torch.stack(parts).all(0)
    if not bool(known.any()):
        raise ImageError(f"nothing of {files.name} is known in all its maps")
    return {
        name: replace(one, levels=filled(one.levels[None], known[None, None])[0], known=known)
        for name, one in maps.items()
    }


def _job(name: str, pictures: Sequence[Picture], files: Sequence[Path]) -> Job:
    every = [picture.levels for picture in pictures]
    observed = every[0][None].contiguous() if len(every) == 1 else torch.stack(every)
    known = None
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


def read_prepared(config: Config, file: Path, wish: Wish = _ALL) -> Picture:
    """A picture in the colours and size that the config asks for, what a mask paints white unknown.

    Raises:
        ImageError: see `read_picture`; a mask of another size, or one that leaves nothing.
    """
    picture = read_wanted(file, config.images.role, config.images.max_side, wish)
    known, told = fitted_known(config, picture, str(file))
    levels = prepare_image(config, picture.levels)
    if known is not None:
        levels = filled(levels[None], known[None, None])[0]
    return replace(picture, levels=levels, known=known, notes=(*picture.notes, *told))


def read_wanted(file: Path, role: Role, max_side: int, wish: Wish) -> Picture:
    """The part of a picture that is wanted, what a mask paints white unknown.

    Raises:
        ImageError: see `read_prepared`.
    """
    picture = read_picture(file, role, max_side, wish.crop)
    if wish.mask is None:
        return picture
    mask = read_picture(wish.mask, "data", max_side, wish.crop)
    return masked(picture, mask, file, wish.mask)


def fitted_known(
    config: Config, picture: Picture, name: str
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The known pixels of a picture in the size that the config asks for; what is to be told.

    Raises:
        ImageError: nothing is left to learn from.
    """
    height, width = picture.levels.shape[-2:]
    told: tuple[str, ...] = ()
    if config.images.size and height != width:
        side = min(height, width)
        if side < _COMMON * max(height, width):
            raise ImageError(
                f"{name} is {width}x{height} px; of its middle square less than half would be left"
            )
        told = (f"its middle {side}x{side} px are learned from, for images.size is a square",)
    if picture.known is None:
        return None, told
    known = picture.known[None, None]
    if config.images.size:
        known = _square(known)
    size = fitted_size(config, height, width)
    known = reduced_known(known, size)
    if not bool(known.any()):
        raise ImageError(f"nothing of {name} is left to learn from at {size[1]}x{size[0]} px")
    return (None if bool(known.all()) else known[0, 0]), told


def masked(picture: Picture, mask: Picture, file: Path, where: Path) -> Picture:
    """A picture of which a mask's white counts as unknown, too, as it does when a hole is filled.

    Raises:
        ImageError: a mask of another size, or one that leaves nothing.
    """
    if mask.whole != picture.whole:
        sides = ["x".join(str(n) for n in p.whole) for p in (mask, picture)]
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
    """One image (C, H, W) in the size that the config asks for; never squashed."""
    if config.images.size:
        image = _square(image)
    size = fitted_size(config, image.shape[-2], image.shape[-1])
    return resize(image, size)


def fitted_size(config: Config, height: int, width: int) -> tuple[int, int]:
    """Height and width that the config asks for, of images that have others."""
    if config.images.size:
        return config.images.size, config.images.size
    limit = config.images.max_side
    if not limit or max(height, width) <= limit:
        return height, width
    factor = limit / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _square(image: Tensor) -> Tensor:
    return middle(image, min(image.shape[-2:]), min(image.shape[-2:]))


def middle(image: Tensor, height: int, width: int) -> Tensor:
    """The middle of an image (..., H, W)."""
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[..., top : top + height, left : left + width]
