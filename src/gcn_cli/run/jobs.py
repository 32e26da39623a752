"""What is to be learned: images read, checked, in the colours and size that a config asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.images.files import find_images, load_image
from gcn_cli.images.maps import Material, measure, side_by_side
from gcn_cli.images.materials import FileSet, group_files
from gcn_cli.images.sheets import resize
from gcn_cli.run.schema import Config

_FLAT = 0.5  # grey levels of contrast below which nothing can be learned


@dataclass(frozen=True)
class Job:
    """One model to learn: a name, its images (N, C, H, W) in grey levels, their mean colour.

    Of a ``material`` the channels are those of its maps.
    """

    name: str
    observed: Tensor
    mean: Tensor
    sources: tuple[Path, ...] = ()
    material: Material | None = None
    notes: tuple[str, ...] = ()

    @property
    def contrast(self) -> float:
        """Standard deviation over pixels and colours after subtracting the mean, grey levels."""
        return float((self.observed - self.mean).std())

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


def mean_colour(observed: Tensor) -> Tensor:
    """Mean colour (C, 1, 1) of images (N, C, H, W)."""
    return observed.to(torch.float64).mean((0, 2, 3)).to(torch.float32).view(-1, 1, 1)


def check_contrast(contrast: float) -> None:
    """Refuse what has no texture.

    Raises:
        ImageError: a flat image.
    """
    if contrast < _FLAT:
        raise ImageError("the image is a single flat colour; there is no texture to learn")


def load_jobs(config: Config, path: Path, mode: str | None = None) -> list[Job]:
    """The models that a file or folder of images asks for, every image read and checked.

    Files that are maps of one surface, by their names, are one material and one model.

    Raises:
        ImageError: nothing to read, an unreadable image, or images that do not agree.
    """
    return jobs_of(config, group_files(find_images(path)), path, mode)


def jobs_of(
    config: Config, sets: Sequence[FileSet], path: Path, mode: str | None = None
) -> list[Job]:
    """`load_jobs`, of files that are grouped already; ``path`` names a joint model."""
    if (mode or config.images.mode) == "each":
        return [set_job(config, one) for one in sets]
    if any(one.is_material for one in sets):
        raise ImageError("a joint model is of pictures, not of materials; leave out --joint")
    files = [file for one in sets for file in one.files.values()]
    images = [prepare_image(config, load_image(file)) for file in files]
    colours = max(image.shape[0] for image in images)
    images = [image.expand(colours, -1, -1) for image in images]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ImageError(
            f"one joint model needs images of one size; {path} holds {len(shapes)} sizes "
            "(set images.size to resize them all)"
        )
    name = path.stem if path.is_file() else path.resolve().name
    return [_job(name, torch.stack(images), tuple(files))]


def set_job(config: Config, files: FileSet) -> Job:
    """The model of one picture, or of one material.

    Raises:
        ImageError: an unreadable file, or maps that do not agree.
    """
    if not files.is_material:
        file = files.files[""]
        return _job(files.name, prepare_image(config, load_image(file))[None], (file,))
    maps = {
        name: (fitted(config, picture), files.files[name].stem, "8")
        for name, picture in read_maps(files).items()
    }
    material = measure(maps)
    image = material.encode({name: picture for name, (picture, _, _) in maps.items()})
    sources = tuple(files.files.values())
    return replace(_job(files.name, image[None], sources), material=material, notes=files.notes)


def read_material(folder: Path) -> dict[str, Tensor]:
    """Maps (c, H, W) of the one material in a folder, by name.

    Raises:
        ImageError: no material there, or several.
    """
    sets = [one for one in group_files(find_images(folder)) if one.is_material]
    if len(sets) != 1:
        raise ImageError(f"{folder} holds {len(sets) or 'no'} materials; one is compared at a time")
    return read_maps(sets[0])


def read_maps(files: FileSet) -> dict[str, Tensor]:
    """Maps (c, H, W) of a material in grey levels, by name.

    Raises:
        ImageError: an unreadable file.
    """
    return {name: load_image(file) for name, file in files.files.items()}


def _job(name: str, observed: Tensor, files: Sequence[Path]) -> Job:
    return Job(name, observed, mean_colour(observed), tuple(files))


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
    return fitted(config, image)


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
