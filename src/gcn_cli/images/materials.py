"""Sets of maps of one surface: which files belong together, by the names that libraries give.

``Bricks01_1K_Color.png``, ``Bricks01_1K_NormalGL.png`` and ``Bricks01_1K_Roughness.png`` are one
material, ``Bricks01``, of three maps. Files without a map's name in theirs are pictures of their
own, and so is a file that is alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gcn_cli.errors import ImageError

Kind = Literal["colour", "normal", "data"]
"""``colour``: sRGB; ``normal``: a unit vector's x, y, z; ``data``: linear values."""

_WORDS = {
    "color": "color colour albedo basecolor base_color diffuse diff col",
    "normal": "normal normalgl normaldx normalogl normal_gl normal_dx normal_ogl nor nor_gl nor_dx "
    "nrm",
    "roughness": "roughness rough",
    "gloss": "gloss glossiness",
    "metalness": "metalness metallic",
    "ao": "ambientocclusion ambient_occlusion ao occlusion",
    "height": "height displacement disp",
    "opacity": "opacity",
    "emission": "emission emissive",
    "orm": "orm",
    "arm": "arm",
}
_NAMES = {word: name for name, words in _WORDS.items() for word in words.split()}
MAPS = tuple(_WORDS)
"""Names of maps, in the order in which their channels are learned."""
_SIZE = re.compile(r"\d+k|\d{3,5}(px)?|png|jpe?g|exr|tiff?", re.IGNORECASE)
_BETWEEN = re.compile(r"[_\-. ]+")


@dataclass(frozen=True)
class FileSet:
    """One exemplar: ``files`` by the names of their maps; a lone picture's map is ''."""

    name: str
    files: dict[str, Path]
    notes: tuple[str, ...] = ()

    @property
    def is_material(self) -> bool:
        """Whether it has several maps."""
        return "" not in self.files


def kind_of(name: str) -> Kind:
    """What the values of a map are."""
    if name in ("", "color", "emission"):
        return "colour"
    return "normal" if name == "normal" else "data"


def parse_name(path: Path) -> tuple[str, str]:
    """A material's name and a map's, as a file's name tells them; '' for what it does not tell."""
    words = _BETWEEN.split(path.stem)
    while len(words) > 1 and _SIZE.fullmatch(words[-1]):
        words.pop()
    for count in (2, 1):
        name = _NAMES.get("_".join(words[-count:]).lower()) if len(words) >= count else None
        if name is None:
            continue
        left = words[:-count]
        while left and _SIZE.fullmatch(left[-1]):
            left.pop()
        return "_".join(left), name
    return path.stem, ""


def group_files(files: Iterable[Path]) -> list[FileSet]:
    """Files grouped into materials and lone pictures, in the order of the first of each.

    Raises:
        ImageError: two files are the same map of one material, or a material lacks a map that
            another one of the same folder has.
    """
    told: dict[tuple[Path, str], list[tuple[str, Path]]] = {}
    for path in files:
        name, kind = parse_name(path)
        told.setdefault((path.parent, name.lower() if kind else path.name), []).append((kind, path))
    sets = [_file_set(members) for members in told.values()]
    _check_complete([one for one in sets if one.is_material])
    return sets


def named_files(texts: Sequence[str]) -> FileSet:
    """A material from ``map=file`` texts.

    Raises:
        ImageError: a map that there is not, or one named twice.
    """
    files: dict[str, Path] = {}
    for text in texts:
        word, equals, path = text.partition("=")
        name = _NAMES.get(word.strip().lower())
        if not equals or not path:
            raise ImageError(f"--maps reads map=file, as in color=brick.png: {text}")
        if name is None:
            raise ImageError(f"there is no map '{word}'; maps are {', '.join(MAPS)}")
        if name in files:
            raise ImageError(f"--maps names two files for {name}: {files[name]}, {path}")
        files[name] = Path(path)
    first = next(iter(files.values()))
    return FileSet(parse_name(first)[0] or first.parent.resolve().name, _ordered(files))


def _file_set(members: list[tuple[str, Path]]) -> FileSet:
    if len(members) == 1:
        return FileSet(members[0][1].stem, {"": members[0][1]})
    first = members[0][1]
    name = parse_name(first)[0] or first.parent.resolve().name
    files: dict[str, Path] = {}
    notes = []
    for kind, path in members:
        if kind not in files:
            files[kind] = path
        elif kind == "normal" and points_down(path.stem) != points_down(files[kind].stem):
            left_out = path if points_down(path.stem) else files[kind]
            files[kind] = path if left_out is files[kind] else files[kind]
            notes.append(f"{left_out.name} left out: it says the same as {files[kind].name}")
        else:
            raise ImageError(f"{name} has two files for {kind}: {files[kind].name}, {path.name}")
    return FileSet(name, _ordered(files), tuple(notes))


def points_down(stem: str) -> bool:
    """Whether a normal map's y points down, as Direct X has it, by the stem of its file."""
    return re.search(r"(normal|nor)[_\-. ]?dx", stem, re.IGNORECASE) is not None


def _ordered(files: dict[str, Path]) -> dict[str, Path]:
    return {name: files[name] for name in MAPS if name in files}


def _check_complete(materials: list[FileSet]) -> None:
    for folder in {next(iter(one.files.values())).parent for one in materials}:
        here = [one for one in materials if next(iter(one.files.values())).parent == folder]
        every = {name for one in here for name in one.files}
        for one in here:
            missing = [name for name in MAPS if name in every and name not in one.files]
            if missing:
                raise ImageError(
                    f"the material {one.name} in {folder} lacks {', '.join(missing)}, which others "
                    "there have"
                )
