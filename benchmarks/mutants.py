"""Damaged and hostile files, made from real ones, each by its number: what `mutated.py` feeds gcn.

A case is drawn from (seed, number) alone. `make` writes what it needs into a folder and tells the
door that it is for: ``image``, ``mask``, ``yaml``, ``set``, ``checkpoint``, ``size`` or ``line``.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from gcn_cli.images.files import save_picture
from gcn_cli.run.checkpoint import Checkpoint, save_checkpoint
from gcn_cli.run.config import preset_folder, validate
from gcn_cli.run.jobs import Job, mean_colour
from gcn_cli.run.keys import keys_of
from gcn_cli.run.kinds import open_course
from gcn_cli.run.schema import KINDS

SIDE = 48
WORDS = (
    *("0", "-1", "1", "2.5", "1e308", "-1e308", "1e-320", ".nan", ".inf", "-.inf", "null", "true"),
    *("false", "yes", "1:30", "2024-01-01", "010", "0x1F", "1_000", "1000000000", "0.1", "512"),
    *("100000000000000000000", "²", "٣", "[]", "{}", "[1,2]", "{a: 1}", "''", "~", "full", "auto"),
    *(
        "*a",
        "&a",
        "!!int",
        "!!python/object/apply:os.system",
        "?",
        "-",
        "[[",
        "4096",
        "4097",
        "1e9",
    ),
    *("65536", "grey", "field", "texture", "10000", "1000000", "0.5", "256"),
)
TEXTS = (
    *("0", "1", "64", "64x48", "²x²", "1e3", "-5", "64x", "x", "٣", "9" * 20, "9" * 5000, "1:30"),
    *("0-9999", "0-10000", "5-1", "1,2,,3", "0-99999999999", "nan", "inf", "1h30m", "90s", "²s"),
    *("10,10,20,20", "0,0,0,0", "1,2,3", "²,1,1,1", "", " ", "a\0b", "\udce9", "../..", "%s", "{}"),
)
OPTIONS = (
    *("--size", "--n", "--seed", "--seeds", "--tile", "--temperature", "--out", "--depth"),
    *("--name", "--batch", "--video", "--strength", "--guide", "--device", "--precision"),
)


class Case(NamedTuple):
    """One file or text for a door of the library, and how it was made."""

    door: str
    how: str
    value: Any


# ------------------------------------------------------------------------------ real files


def prepare(folder: Path) -> None:
    """Real files of all kinds: pictures, configs, checkpoints of one update."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    picture = (120 + 30 * torch.randn(3, SIDE, SIDE, generator=generator)).clamp(0, 255).round()
    for suffix in ("png", "jpg", "webp", "tif", "bmp", "tga"):
        save_picture(folder / f"real.{suffix}", picture)
    for suffix, depth in (("png", "16"), ("tif", "float"), ("exr", "half")):
        save_picture(folder / f"deep.{suffix}", picture, depth)  # type: ignore[arg-type]
    whole = Image.fromarray(picture.permute(1, 2, 0).numpy().astype(np.uint8))
    whole.save(folder / "waves.jpg", progressive=True)
    whole.convert("P").save(folder / "table.gif")
    whole.convert("LA").save(folder / "clear.png")
    whole.convert("L").save(folder / "grey.pgm")
    for name in ("texture", "frame", "paper-object"):
        text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    for kind in KINDS:
        learn(kind, picture[None], folder / f"{kind}.pt")
    _zip_bomb(folder / "bomb.zip")


def learn(kind: str, observed: torch.Tensor, path: Path) -> None:
    """A checkpoint after the first update of a tiny network."""
    from gcn_cli.engine import Machine

    config = validate(TINY[kind])
    course = open_course(config, Job("real", observed, mean_colour(observed)))
    machine = Machine(torch.device("cpu"))
    state, _ = next(course.learn(course.begin(machine.device), machine))
    saved = Checkpoint(config, observed, course.job.mean, state, course.model(state), False)
    save_checkpoint(path, saved)


TINY: dict[str, dict[str, Any]] = {
    "texture": {
        "kind": "texture",
        "layers": [{"filters": 4, "size": 4, "stride": 2, "vote": True}],
        "sizes": {"coarsest": 2},
        "reconstruction": {"updates": 25, "finer_updates": 25, "crop": 24, "margin": 4},
        "likelihood": {"updates": 1, "finer_updates": 1, "chains": 1, "canvas": 16, "levels": 2},
        "sampler": {"steps": 4, "finer_steps": 3},
    },
    "field": {
        "kind": "field",
        "canvas": 16,
        "layers": [{"filters": 4, "size": 4, "stride": 2}, {"filters": 3, "size": 3}],
        "langevin": {"sigma": 20.0, "eps": 6.0},
        "learning": {
            "chains": "persistent",
            "count": 2,
            "steps": 2,
            "updates": 6,
            "path_every": 1,
            "optimiser": {"name": "adam", "rate": 1e-3},
        },
    },
}


def _zip_bomb(path: Path) -> None:
    """Half a GiB of noughts in half a MB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as record,
    ):
        for _ in range(512):
            record.write(bytes(2**20))


# ----------------------------------------------------------------------------------- cases


def make(folder: Path, seed: int, number: int, canary: Path) -> Case:
    """Case ``number``; hostile code in it would make the file ``canary``."""
    rng = random.Random(f"{seed}/{number}")
    makers: tuple[Callable[[], Case], ...] = (
        lambda: _image(rng, folder),
        lambda: _image(rng, folder),
        lambda: _mask(rng, folder),
        lambda: _yaml(rng, folder, canary),
        lambda: _set(rng),
        lambda: _checkpoint(rng, folder, canary),
        lambda: _checkpoint(rng, folder, canary),
        lambda: Case("size", "text", rng.choice(TEXTS)),
        lambda: _line(rng, folder),
    )
    return rng.choice(makers)()


def _spoiled(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Bytes cut, flipped, put in, taken out or written over."""
    how = rng.choice(["cut", "flipped", "put in", "taken out", "ones", "noughts", "twice"])
    spoiled, at = bytearray(data), rng.randrange(max(1, min(len(data), rng.choice([64, 10**9]))))
    length = rng.choice([1, 2, 4, 8, 64])
    if how == "cut":
        del spoiled[at:]
    elif how == "flipped":
        for _ in range(rng.choice([1, 4, 32])):
            spoiled[rng.randrange(at, len(data))] ^= 1 << rng.randrange(8)
    elif how == "put in":
        spoiled[at:at] = rng.randbytes(length)
    elif how == "taken out":
        del spoiled[at : at + length]
    elif how == "twice":
        spoiled[at:at] = spoiled[at : at + 4096]
    else:
        spoiled[at : at + length] = (b"\xff" if how == "ones" else b"\0") * length
    return how, bytes(spoiled)


def _real_images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix not in ("", ".yaml", ".pt", ".zip"))


def _write(folder: Path, name: str | bytes, data: bytes) -> Path:
    path = folder / "cases" / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _image(rng: random.Random, folder: Path) -> Case:
    real = rng.choice(_real_images(folder))
    data = real.read_bytes()
    special: dict[str, Callable[[], Path]] = {
        "claims sides": lambda: _write(folder, f"c{real.suffix}", _claimed(rng, real, data)),
        "a bomb of text": lambda: _write(folder, "b.png", _png(SIDE, SIDE, _text_bomb(rng))),
        "flat": lambda: _write(folder, "f.png", _png(*(rng.choice([1, 64, 2000]),) * 2)),
        "another suffix": lambda: _write(folder, f"s{rng.choice(['.exr', '.gif', '.jp2'])}", data),
        "a long name": lambda: _write(folder, "n" * 251 + ".png", data),
        "an odd name": lambda: _write(folder, b"\xe9\xff\n.png", data),
        "a pipe": lambda: _pipe(folder / "cases" / "pipe.png"),
        "a device": lambda: Path(rng.choice(["/dev/zero", "/dev/null", "/dev/stdin"])),
        "no name": lambda: Path("a\0b.png"),
        "a name too long": lambda: Path("n" * 300 + ".png"),
        "a folder": lambda: folder / "cases",
    }
    if rng.random() < 0.3:
        how = rng.choice(list(special))
        return Case("image", how, str(special[how]()))
    how, spoiled = _spoiled(rng, data)
    return Case("image", how, str(_write(folder, f"i{real.suffix}", spoiled)))


def _claimed(rng: random.Random, real: Path, data: bytes) -> bytes:
    """The picture with other sides in its header; a JPEG's end is kept, so that it decodes."""
    sides = [rng.choice([0, 1, 7, 300, 9400, 30000, 65535]) for _ in range(2)]
    if real.suffix == ".png":
        return _png(rng.choice([2**31 - 1, 9400, 0]), sides[0], b"", lie=True)
    if real.suffix == ".jpg":
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        return data[: at + 5] + struct.pack(">HH", *sides) + data[at + 9 :]
    old, new = struct.pack("<H", SIDE), struct.pack("<H", sides[0])
    return data.replace(old, new, rng.choice([1, 2, -1]))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, more: bytes = b"", lie: bool = False) -> bytes:
    """A flat grey PNG; one that lies has a single row of pixels."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = bytes(1 + SIDE) if lie else (bytes(1 + width)) * height
    end = _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + more + end


def _text_bomb(rng: random.Random) -> bytes:
    packed = zlib.compress(bytes(rng.choice([10**4, 10**8])))
    name = rng.choice([b"zTXt", b"iCCP", b"iTXt"])
    middle = b"\0\1\0\0\0" if name == b"iTXt" else b"\0\0"
    return _chunk(name, b"bomb" + middle + packed)


def _pipe(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        os.mkfifo(path)
    return path


def _mask(rng: random.Random, folder: Path) -> Case:
    side = rng.choice([SIDE, SIDE, 1, 47, 500])
    levels = torch.full((1, side, side), rng.choice([0.0, 127.0, 255.0]))
    levels[:, : rng.randrange(side + 1)] = rng.choice([0.0, 255.0])
    path = folder / "cases" / f"mask{rng.choice(['.png', '.tif', '.jpg'])}"
    path.parent.mkdir(exist_ok=True)
    save_picture(path, levels)
    how = f"{side} px"
    if rng.random() < 0.5:
        how, spoiled = _spoiled(rng, path.read_bytes())
        path.write_bytes(spoiled)
    return Case("mask", how, str(path))


def _yaml(rng: random.Random, folder: Path, canary: Path) -> Case:
    text = rng.choice(sorted(folder.glob("*.yaml"))).read_text(encoding="utf-8")
    lines = text.splitlines()
    at, depth = rng.randrange(len(lines)), rng.choice([5, 30, 1000, 30000])
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, rng.choice([3, 9, 99]))
    )
    special: dict[str, Callable[[], str | bytes]] = {
        "a line twice": lambda: "\n".join([*lines[:at], lines[at], *lines[at:]]),
        "a value": lambda: _with_value(rng, lines),
        "brackets": lambda: text + "\nname: " + rng.choice("[{") * depth,
        "dashes": lambda: text + "\nname:\n" + "- " * depth,
        "references": lambda: bomb + text,
        "itself": lambda: text + "\ndescription: &a [*a, *a]\n",
        "merged": lambda: text + "\nimages: &m {<<: *m}\n",
        "digits": lambda: f"{text}\nseed: {'9' * depth}\n",
        "code": lambda: f"{text}\nname: !!python/object/apply:os.system ['touch {canary}']\n",
        "long": lambda: text + "#" * rng.choice([10**4, 10**5, 10**7]),
        "two documents": lambda: f"{text}\n---\n{text}",
        "keys": lambda: f"{text}\n{rng.choice(WORDS)}: 3\n",
        "bytes": lambda: _spoiled(rng, text.encode())[1],
    }
    if rng.random() < 0.05:
        how = rng.choice(["/dev/zero", "/dev/null", "pipe", "/", "n" * 300])
        return Case("yaml", how[:20], str(_pipe(folder / "cases" / how) if how == "pipe" else how))
    how = rng.choice(list(special))
    told = special[how]()
    data = told if isinstance(told, bytes) else told.encode("utf-8", "surrogatepass")
    return Case("yaml", how, str(_write(folder, "y.yaml", data)))


def _with_value(rng: random.Random, lines: list[str]) -> str:
    """One number of a config replaced by something else."""
    text = "\n".join(lines)
    found = list(re.finditer(r"(?<=: )[\d.e-]+", text))
    one = rng.choice(found)
    return text[: one.start()] + rng.choice(WORDS) + text[one.end() :]


def _set(rng: random.Random) -> Case:
    kind = rng.choice(list(KINDS))
    keys = [
        key.path.replace("*", rng.choice(["0", "*", "-1", "²", "99"]))
        for key in keys_of(KINDS[kind])
    ]
    key = rng.choice([*keys, "a." * 5000 + "b", "layers.0", "=", "..", "\0"])
    value = rng.choice([*WORDS, "9" * 5000, "[" * 5000, "[" * 30 + "]" * 30, "\udce9", "a\nb: c"])
    return Case("set", key[:20], (kind, f"{key}={value}"))


def _line(rng: random.Random, folder: Path) -> Case:
    """A command line that ends, if not before, at a checkpoint that is not there."""
    words = [
        "synthesize",
        "--ckpt",
        rng.choice([str(folder / "none"), "", str(folder / "bomb.zip")]),
    ]
    for _ in range(rng.choice([1, 2, 4])):
        option = rng.choice(OPTIONS)
        value = rng.choice([*TEXTS, *WORDS]).replace("\0", "")
        words += [f"{option}={value}"] if rng.random() < 0.3 else [option, value]
    return Case("line", words[3].partition("=")[0], words)


# ------------------------------------------------------------------------------ checkpoints


class Code:
    """Unpickling it makes a file."""

    def __init__(self, canary: Path, call: Callable[..., Any]):
        self.canary, self.call = canary, call

    def __reduce__(self) -> tuple[Any, ...]:
        if self.call is os.system:
            return os.system, (f"touch {self.canary}",)
        return self.call, (str(self.canary), "w") if self.call is open else (str(self.canary),)


def _checkpoint(rng: random.Random, folder: Path, canary: Path) -> Case:
    real = folder / f"{rng.choice(list(KINDS))}.pt"
    data = real.read_bytes()
    special: dict[str, Callable[[], bytes]] = {
        "bytes": lambda: _spoiled(rng, data)[1],
        "description": lambda: _again(data, lambda pkl: _spoiled(rng, pkl)[1]),
        "a number of it": lambda: _again(data, lambda pkl: _number(rng, pkl)),
        "compressed": lambda: _again(data, lambda pkl: pkl, zipfile.ZIP_DEFLATED),
        "a bomb": (folder / "bomb.zip").read_bytes,
        "a record too few": lambda: _again(data, lambda pkl: pkl, leave=rng.randrange(3, 9)),
        "claims a length": lambda: _lying(rng, data),
        "code": lambda: _saved(Code(canary, rng.choice([os.system, open, os.mkdir, eval]))),
        "code in a pickle": lambda: pickle.dumps(Code(canary, os.mkdir)),
        "another version": lambda: _changed(real, ["version"], rng.choice([1, 3, 2.5, "2", None])),
        "code inside": lambda: _changed(real, ["extra"], Code(canary, os.mkdir)),
    }
    if rng.random() < 0.55:
        keys, value = _somewhere(rng, torch.load(real, weights_only=True))
        return Case("checkpoint", "a value", _put(folder, _changed(real, keys, value)))
    how = rng.choice(list(special))
    return Case("checkpoint", how, _put(folder, special[how]()))


def _put(folder: Path, data: bytes) -> str:
    return str(_write(folder, "c.pt", data))


def _saved(data: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(data, buffer)
    return buffer.getvalue()


def _again(
    data: bytes, change: Callable[[bytes], bytes], method: int = 0, leave: int = -1
) -> bytes:
    """The archive with another description, and checksums that match."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for number, record in enumerate(old.infolist()):
            inside = old.read(record)
            if number != leave:
                pkl = record.filename.endswith("data.pkl")
                new.writestr(record.filename, change(inside) if pkl else inside)
    return buffer.getvalue()


def _number(rng: random.Random, pkl: bytes) -> bytes:
    """One whole number of a pickle replaced by a large or a negative one."""
    ops = list(pickletools.genops(pkl))
    numbers = [k for k, (op, *_) in enumerate(ops) if op.name.startswith("BININT")]
    k = rng.choice(numbers)
    large = rng.choice([0, -1, 10**5, 10**9, 25 * 10**9, 10**11, 2**62, 10**30])
    told = pickle.dumps(large, 2)[2:-1]
    return pkl[: ops[k][2]] + told + pkl[ops[k + 1][2] :]


def _lying(rng: random.Random, data: bytes) -> bytes:
    """Lengths in the archive's own table that are not those of its records."""
    spoiled, at = bytearray(data), data.find(b"PK\x01\x02")
    for _ in range(rng.randrange(5)):
        at = max(at, data.find(b"PK\x01\x02", at + 4))
    spoiled[at + 20 : at + 28] = struct.pack("<II", *(rng.choice([0, 2**31, 2**32 - 2]),) * 2)
    return bytes(spoiled)


def _somewhere(rng: random.Random, data: Any) -> tuple[list[Any], Any]:
    """A place in plain data, and something else for it."""
    keys: list[Any] = []
    while isinstance(data, dict | list) and data and (not keys or rng.random() < 0.9):
        keys.append(rng.choice(list(data) if isinstance(data, dict) else range(len(data))))
        data = data[keys[-1]]
    return keys, _other(rng, data)


def _other(rng: random.Random, value: Any) -> Any:
    knot: list[Any] = []
    knot.append(knot)
    bomb: list[Any] = [0]
    for _ in range(9):
        bomb = [bomb] * 20
    plain = [
        *(None, True, 0, -1, 2.5, 10**9, 10**20, 10**5000, float("nan"), float("inf"), 1e308),
        *("", "x" * 10**6, [], {}, {"a": 1}, {1: 2}, knot, bomb, b"bytes", 1 + 2j),
    ]
    if not isinstance(value, torch.Tensor) or rng.random() < 0.2:
        return rng.choice(plain)
    wide = torch.zeros(1).expand(10**6, 10**6)
    return rng.choice(
        [
            value * float("nan"),
            value.double(),
            value.to(torch.float16),
            value[:0],
            value[None],
            torch.cat([value, value]),
            wide,
            torch.zeros(1).expand(value.shape),
            value.flatten()[:1].to_sparse(),
            value.to("meta"),
            torch.nn.Parameter(value.float()),
            value.to(torch.complex64),
            value + float("inf"),
            value > 0,
            1e38 * torch.ones_like(value, dtype=torch.float32),
        ]
    )


def _changed(real: Path, keys: list[Any], value: Any) -> bytes:
    """The checkpoint with another value at one place, or without it."""
    whole = torch.load(real, weights_only=True)
    inside = whole
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    return _saved(whole)
