"""Which presets are shipped. Imports nothing heavy: a shell asks it at every press of a key."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def preset_folder() -> Path:
    """Where the shipped presets lie: inside the package, or beside src/ in a checkout."""
    packaged = Path(str(resources.files("gcn_cli") / "configs"))
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "configs"


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))
