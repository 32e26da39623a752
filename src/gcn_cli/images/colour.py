"""Colour spaces that files name, and the way from them to sRGB.

Profiles of a matrix and curves (cameras, displays, working spaces) are converted here, exactly at
any depth; so are primaries and exponents of PNG (gAMA, cHRM, cICP) and of EXR. Profiles of tables,
such as a printer's, are Pillow's matter (`PIL.ImageCms`, 8 bits).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gcn_cli.errors import ImageError
from gcn_cli.images.picture import Array, decoded, encoded

Curve = Callable[[Array], Array]
"""From stored values, 0 to 1, to linear light."""

_TO_D50 = np.array(  # linear sRGB to XYZ as ICC profiles have it, adapted to D50
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D65 = (0.3127, 0.3290)
SRGB_PRIMARIES = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # white, red, green, blue: x, y
_CICP_PRIMARIES = {
    1: ("Rec. 709", SRGB_PRIMARIES),
    9: ("Rec. 2020", (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)),
    12: ("Display P3", (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)),
}
_COLOURS = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})  # chunks of PNG
_LONGEST = 64  # bytes of a chunk that are read
_NEAR = 4e-3  # of 1: what profiles of one and the same space differ by


@dataclass(frozen=True)
class Space:
    """``matrix`` (3, 3) from its linear light to sRGB's; ``curves`` of its channels, 1 or 3."""

    name: str
    matrix: Array
    curves: tuple[Curve, ...]

    def light(self, values: Array) -> Array:
        """Linear light, in sRGB's primaries, of stored values (H, W, C), 1 being white."""
        values = values.astype(np.float64)
        if values.shape[2] == 1:  # the middle curve: green's, or grey's
            return self.curves[len(self.curves) // 2](values)
        curves = self.curves if len(self.curves) == 3 else self.curves * 3
        light = np.stack([curve(values[..., k]) for k, curve in enumerate(curves)], -1)
        return light @ self.matrix.T

    @property
    def is_srgb(self) -> bool:
        """Whether converting would change nothing that can be seen."""
        return self._is(decoded)

    @property
    def is_light(self) -> bool:
        """Whether it is sRGB's without the curve."""
        return self._is(identity)

    def _is(self, curve: Curve) -> bool:
        ramp = np.linspace(0.0, 1.0, 256)
        wanted = encoded(curve(ramp))
        same = all(np.abs(encoded(c(ramp)) - wanted).max() < _NEAR for c in self.curves)
        return same and bool(np.abs(self.matrix - np.eye(3)).max() < _NEAR)


def linear_of(primaries: Sequence[float]) -> Array:
    """Matrix (3, 3) from linear light of primaries (white, red, green, blue; x, y) to sRGB's."""
    white = _adapted(_xyz(primaries[:2]), _xyz(_D65))
    here = white @ _to_xyz(primaries)
    return np.asarray(np.linalg.inv(_to_xyz(SRGB_PRIMARIES)) @ here)


def _xyz(xy: Sequence[float]) -> Array:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _to_xyz(primaries: Sequence[float]) -> Array:
    """Linear light to XYZ: the primaries, scaled so that together they give the white."""
    columns = np.stack([_xyz(primaries[k : k + 2]) for k in (2, 4, 6)], 1)
    return np.asarray(columns * np.linalg.solve(columns, _xyz(primaries[:2])))


def _adapted(white: Array, wanted: Array) -> Array:
    """Bradford's adaptation (3, 3) from one white to another."""
    gain = (_BRADFORD @ wanted) / (_BRADFORD @ white)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD)


def space_of_primaries(name: str, primaries: Sequence[float], curve: Curve) -> Space:
    """A space of primaries (white, red, green, blue; x, y) and one curve."""
    return Space(name, linear_of(primaries), (curve,))


def identity(values: Array) -> Array:
    """The curve of linear values."""
    return values


def power(exponent: float) -> Curve:
    """The curve of an exponent."""
    return lambda values: np.sign(values) * np.abs(values) ** exponent


# -------------------------------------------------------------------------------------- ICC


def space_of_profile(profile: bytes) -> Space | None:
    """The space of an ICC profile of a matrix and curves, or of one grey curve; else None.

    Raises:
        ValueError, IndexError, struct.error: a damaged profile.
    """
    kind, connection = profile[16:20], profile[20:24]
    tags = _tags(profile)
    name = _description(tags.get(b"desc", b""))
    if b"A2B0" in tags or connection != b"XYZ ":
        return None
    if kind == b"GRAY" and b"kTRC" in tags:
        return Space(name, np.eye(3), (_curve(tags[b"kTRC"]),))
    needed = [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"]
    if kind != b"RGB " or not all(tag in tags for tag in needed):
        return None
    columns = [np.array(struct.unpack(">3i", tags[tag][8:20])) / 65536 for tag in needed[:3]]
    matrix = np.linalg.inv(_TO_D50) @ np.stack(columns, 1)
    return Space(name, matrix, tuple(_curve(tags[tag]) for tag in needed[3:]))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack(">I", profile[128:132])
    if count > 1000:
        raise ValueError("too many tags")
    found = {}
    for k in range(count):
        name, start, size = struct.unpack(">4sII", profile[132 + 12 * k : 144 + 12 * k])
        found[name] = profile[start : start + size]
    return found


def _description(tag: bytes) -> str:
    """The name in a ``desc`` tag, of version 2 (ASCII) or 4 (UTF-16)."""
    if tag[:4] == b"desc":
        (length,) = struct.unpack(">I", tag[8:12])
        text = tag[12 : 12 + length].decode("ascii", "replace")
    elif tag[:4] == b"mluc":
        length, start = struct.unpack(">II", tag[20:28])
        text = tag[start : start + length].decode("utf-16-be", "replace")
    else:
        text = ""
    text = "".join(letter for letter in text if letter.isprintable()).strip()
    return text[:60] or "a profile without a name"


def _curve(tag: bytes) -> Curve:
    if tag[:4] == b"curv":
        (count,) = struct.unpack(">I", tag[8:12])
        if count == 0:
            return identity
        if count == 1:
            return power(struct.unpack(">H", tag[12:14])[0] / 256)
        table = np.frombuffer(tag[12 : 12 + 2 * count], ">u2").astype(np.float64) / 65535
        places = np.linspace(0.0, 1.0, len(table))
        return lambda values: np.interp(values, places, table)
    if tag[:4] == b"para":
        (kind,) = struct.unpack(">H", tag[8:10])
        count = (1, 3, 4, 5, 7)[kind]
        numbers = [n / 65536 for n in struct.unpack(f">{count}i", tag[12 : 12 + 4 * count])]
        return _parametric(kind, numbers)
    raise ValueError("a curve of unknown type")


def _parametric(kind: int, numbers: list[float]) -> Curve:
    """ICC's ``(a x + b)^g + e`` from d on, below it ``c x + f``."""
    g, a, b, c, d, e, f = 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind == 0:
        return power(numbers[0])
    g, a, b = numbers[:3]
    if kind == 1:
        d = -b / a
    elif kind == 2:
        d, e, f = -b / a, numbers[3], numbers[3]
    else:
        c, d = numbers[3:5]
        e, f = numbers[5:7] if kind == 4 else (0.0, 0.0)
    return lambda x: np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)


# -------------------------------------------------------------------------------------- PNG


def space_of_png(chunks: Mapping[bytes, bytes]) -> Space | None:
    """The space that a PNG's own chunks name; None: sRGB, or what its ICC profile says.

    cICP counts before an ICC profile (the caller's matter), sRGB, and gAMA with cHRM.

    Raises:
        ImageError: one that is not converted; to take it as sRGB would be silently wrong.
    """
    if b"cICP" in chunks:
        return _of_cicp(chunks[b"cICP"])
    if b"iCCP" in chunks or b"sRGB" in chunks or not {b"gAMA", b"cHRM"} & chunks.keys():
        return None
    primaries: Sequence[float] = SRGB_PRIMARIES
    if b"cHRM" in chunks:
        primaries = _chromaticities(chunks[b"cHRM"])
    curve: Curve = decoded
    if b"gAMA" in chunks:
        gamma = int.from_bytes(chunks[b"gAMA"], "big")
        if not gamma or len(chunks[b"gAMA"]) != 4:
            raise ImageError("its exponent (gAMA) is damaged; save it as sRGB")
        if abs(gamma / 100000 - 1 / 2.2) > 5e-3:  # 1/2.2 is how sRGB was once written
            curve = power(100000 / gamma)
    return space_of_primaries("PNG's gAMA and cHRM", primaries, curve)


def _chromaticities(data: bytes) -> list[float]:
    """White, red, green and blue, x and y, that span a triangle."""
    primaries = [n / 100000 for n in struct.unpack(">8I", data)] if len(data) == 32 else []
    if primaries and all(primaries[1::2]):
        columns = np.stack([_xyz(primaries[k : k + 2]) for k in (2, 4, 6)], 1)
        if abs(np.linalg.det(columns)) > 1e-6:
            return primaries
    raise ImageError("its primaries (cHRM) are damaged; save it as sRGB")


def _of_cicp(data: bytes) -> Space:
    curves: dict[int, Curve] = {4: power(2.2), 8: identity, 13: decoded}
    curves |= dict.fromkeys((1, 6, 14, 15), _rec709)
    primaries, transfer, matrix, full = data if len(data) == 4 else (0, 0, 0, 0)
    if primaries not in _CICP_PRIMARIES or transfer not in curves or matrix or full != 1:
        curve = {16: " (PQ)", 18: " (HLG)"}.get(transfer, "")
        told = f"primaries {primaries}, transfer {transfer}{curve}, matrix {matrix}, range {full}"
        raise ImageError(f"its colours (cICP: {told}) are not converted; save it as sRGB")
    name, known = _CICP_PRIMARIES[primaries]
    return space_of_primaries(name, known, curves[transfer])


def _rec709(values: Array) -> Array:
    high = ((np.maximum(values, 0.0) + 0.099) / 1.099) ** (1 / 0.45)
    return np.where(values < 0.081, values / 4.5, high)


def png_chunks(path: Path) -> dict[bytes, bytes]:
    """Chunks of a PNG that tell its colours, by name, wherever before its pixels they stand.

    None of another file. Of a profile, which others read, the name alone.
    """
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return found
        while len(head := file.read(8)) == 8:
            size, name = struct.unpack(">I4s", head)
            if name == b"IDAT":
                break
            if name in _COLOURS:
                found.setdefault(name, file.read(min(size, _LONGEST)))
                size -= min(size, _LONGEST)
            file.seek(size + 4, 1)
    return found
