"""What a picture is as an exemplar, told before anything is learned from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gcn_cli.errors import ImageError
from gcn_cli.images.files import Picture
from gcn_cli.images.light import unevenness
from gcn_cli.images.sheets import resize
from gcn_cli.statistics.motif import motif
from gcn_cli.statistics.photo import Inside, blockiness, inside_frame
from gcn_cli.texture.known import reduced_known

_MEASURED = 1024  # px of the longer side that motifs and light are measured at
_FEWEST = 4  # motifs side by side, at least, for their size to be learned
_USEFUL = 40  # px of the largest motif beyond which more pixels show its grain alone
_UNEVEN, _BLOCKY = 1.3, 1.25
_LONG = 768  # px of a side beyond which learning looks at a small part of what there is


@dataclass(frozen=True)
class Photo:
    """Facts of a picture, and what to do about them: ``advice`` in sentences, best first."""

    name: str
    width: int
    height: int
    channels: int
    depth: str
    known: float
    motif: float
    unevenness: float
    blockiness: float
    inside: Inside
    notes: tuple[str, ...]
    advice: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "inside": self.inside._asdict()}

    def told(self) -> list[str]:
        """A few lines for a terminal."""
        share = "" if self.known == 1 else f", {self.known:.1%} of it known"
        lines = [
            f"{self.name}: {self.width}x{self.height} px, {self.channels} "
            f"channel{'s' if self.channels > 1 else ''}, depth {self.depth}{share}",
            f"  largest motif about {self.motif:.0f} px; light uneven by a factor of "
            f"{self.unevenness:.2f}; steps at 8 px blocks {self.blockiness:.2f} times as high",
        ]
        return lines + [f"  {text}" for text in (*self.notes, *self.advice)]


def examine_photo(path: Path, picture: Picture) -> Photo:
    """Measure a picture as it was read, by what is known of it.

    Raises:
        ImageError: that is too little.
    """
    levels = picture.levels
    height, width = levels.shape[-2:]
    factor = min(1.0, _MEASURED / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    small, share, known = resize(levels, size), 1.0, None
    if picture.known is not None:
        share = float(picture.known.double().mean())
        known = reduced_known(picture.known[None, None], size)[0, 0]
        if not bool(known.any()):
            raise ImageError(f"{share:.1%} of {path.name} is known, too scattered to be measured")
    facts = Photo(
        name=path.name,
        width=width,
        height=height,
        channels=levels.shape[0],
        depth=picture.depth,
        known=share,
        motif=motif(small[None], None if known is None else known[None, None]) / factor,
        unevenness=unevenness(small, known),
        blockiness=blockiness(picture.marked),
        inside=inside_frame(picture.marked),
        notes=picture.notes,
    )
    return replace(facts, advice=tuple(advice(facts)))


def advice(photo: Photo) -> list[str]:
    """What to do about a picture before it is learned, most urgent first."""
    told = []
    inside, sides = photo.inside, (photo.width, photo.height)
    shorter, longer = min(sides), max(sides)
    if (inside.width, inside.height) != (photo.width, photo.height):
        told.append(f"it has a frame: --crop {','.join(map(str, inside))} leaves it out")
    if photo.motif * _FEWEST > shorter:
        told.append(
            f"fewer than {_FEWEST} of its largest motifs lie side by side: photograph more of the "
            "surface, or expect motifs to be cut"
        )
    elif longer > _LONG and photo.motif > _USEFUL:
        side = max(256, 32 * round(longer * _USEFUL / photo.motif / 32))
        if side < longer:
            told.append(
                f"--set images.max_side={side} shows its motifs at {_USEFUL} px and learns sooner"
            )
    if photo.unevenness > _UNEVEN:
        told.append("its light is uneven: --flatten evens it out")
    if photo.blockiness > _BLOCKY:
        told.append("blocks of its compression show and will be learned; a finer file is better")
    return told or ["nothing speaks against learning it as it is"]
