"""The numbered run folder: its name, its `meta.json`, the lines of its `metrics.jsonl`."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcn_cli import __version__
from gcn_cli.errors import GcnError
from gcn_cli.images.files import atomic_write_text, remove_scratch

_NUMBERED = re.compile(r"(\d{5,})-")
_ATTEMPTS = 1000
_LONGEST = 180  # bytes of a name; file systems allow 255 with all that is added
_REPORTED_PACKAGES = ("torch", "numpy", "pillow", "OpenImageIO", "pydantic", "safetensors")


# ------------------------------------------------------------------------------ the folder


def create_run_dir(root: str | Path, name: str) -> Path:
    """Makes a new folder `root/00007-name`, numbered one above the highest there.

    Several processes may call this at once: each gets a number of its own. An existing folder is
    never handed out again.

    Args:
        root: the folder of all runs; made if missing.
        name: what the run is about; anything but letters, digits, `.`, `_` and `-` becomes `-`,
            and what a file system may have no room for is left out.

    Returns:
        The new, empty folder.

    Raises:
        GcnError: the folder cannot be made, or no free number was found in a thousand attempts.
    """
    root = Path(root)
    label = clipped(re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            claimed = _claim(root, label)
            if claimed is not None:
                return claimed
    except OSError as error:
        raise GcnError(f"no run folder can be made in {root}: {error.strerror}") from error
    raise GcnError(f"no free run number was found in {root}")


def clipped(name: str) -> str:
    """As much of a name as leaves room for what stands before and after it in a file's name."""
    name = name[:_LONGEST]
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return name


def _claim(root: Path, label: str) -> Path | None:
    """Takes the next number, or nothing when another process takes the same one."""
    number = max((n for n, _ in _numbered(root)), default=-1) + 1
    folder = root / f"{number:05d}-{label}"
    try:
        folder.mkdir()
    except FileExistsError:
        return None
    # Two names can take one number at once. Whoever came second sees the first and withdraws.
    if any(n == number and p.name != folder.name for n, p in _numbered(root)):
        folder.rmdir()
        return None
    return folder


def _numbered(root: Path) -> list[tuple[int, Path]]:
    matches = ((_NUMBERED.match(path.name), path) for path in root.iterdir())
    return [(int(match.group(1)), path) for match, path in matches if match]


# ------------------------------------------------------------------------------- the lines


def append_jsonl(path: str | Path, record: Mapping[str, Any]) -> None:
    """Adds one line of JSON to a file, in one write.

    A line torn by an earlier crash is ended first, so that it spoils itself only.

    Args:
        path: the file; made if missing.
        record: what JSON can express; NaN and infinity are written as null.

    Raises:
        OSError: the file cannot be written.
    """
    line = json.dumps(_finite(record), allow_nan=False) + "\n"
    with Path(path).open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode("utf-8"))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Reads the records that `append_jsonl` wrote, leaving out whatever else is in the file.

    Args:
        path: the file.

    Returns:
        The records in order; none for a missing file.

    Raises:
        OSError: the file cannot be read.
    """
    return [record for record in map(_parse, _lines(Path(path))) if record is not None]


def cut_metrics(path: Path, done: int) -> int:
    """Leaves the records of at most ``done`` updates in a file, and nothing else.

    Returns:
        How many lines no run wrote; what a crash tore apart does not count.

    Raises:
        OSError: the file cannot be read or written.
    """
    lines = [line for line in _lines(path) if line.strip()]
    torn = [line for line in lines if line.startswith("{") and not line.endswith("}")]
    ours = [record for record in map(_parse, lines) if record is not None and _is_update(record)]
    kept = [record for record in ours if record["done"] <= done]
    atomic_write_text(path, "".join(json.dumps(_finite(record)) + "\n" for record in kept))
    return len(lines) - len(torn) - len(ours)


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8", errors="replace").split("\n")


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_update(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("done"), int) and not isinstance(record["done"], bool)


def _finite(value: Any) -> Any:
    """Replaces the floats that JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


# ------------------------------------------------------------------------- what was left

_WRITTEN = re.compile(r"run|config|meta|metrics|reals|samples-\d+")


def clear_scratch(folder: Path) -> None:
    """Removes what processes that were killed while they wrote a run's files left of them."""
    with contextlib.suppress(OSError):
        remove_scratch(folder, _WRITTEN)


# --------------------------------------------------------------------------------- the meta


def write_meta(
    run_dir: str | Path, argv: Sequence[str], extra: Mapping[str, Any] | None = None
) -> None:
    """Writes `meta.json`: versions, machine, command line and the time (UTC) it was called at.

    Args:
        run_dir: an existing folder.
        argv: the command line as it was given.
        extra: further entries; they win over ours.

    Raises:
        OSError: the file cannot be written.
    """
    meta = {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "argv": list(argv),
        "versions": _versions(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        **(extra or {}),
    }
    atomic_write_text(Path(run_dir) / "meta.json", json.dumps(meta, indent=2) + "\n")


def _versions() -> dict[str, str]:
    found = {"gcn": __version__, "python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
