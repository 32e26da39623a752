"""The wheel and the source archive hold what they should, and work where no source of ours is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from packaging.metadata import Metadata

from gcn_cli import __version__
from gcn_cli.run.presets import preset_names

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def _build(source: Path, out: Path, *targets: str) -> None:
    words = [word for target in targets for word in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *words]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr} (make venv installs what builds)"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and source archive, built from this tree."""
    out = tmp_path_factory.mktemp("dist")
    _build(ROOT, out, "sdist", "wheel")
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def _contents(wheel: Path) -> dict[str, int]:
    """Names and checksums of a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return {one.filename: one.CRC for one in archive.infolist()}


def _inside(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def test_the_wheel_holds_the_package_and_its_presets(built):
    source, configs = ROOT / "src", ROOT / "configs"
    files = [path for path in (source / "gcn_cli").rglob("*") if path.suffix in (".py", ".typed")]
    wanted = {path.relative_to(source).as_posix() for path in files}
    wanted |= {f"gcn_cli/configs/{path.name}" for path in configs.iterdir()}
    told = {name for name in _contents(built[0]) if ".dist-info/" not in name}
    assert told == wanted


def test_the_source_archive_holds_the_repository(built):
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no repository; perhaps it is the archive itself")
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert _inside(built[1]) == {*listed.split(), "PKG-INFO"}


def test_the_source_archive_builds_the_same_wheel(built, tmp_path):
    wheel, sdist = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    _build(source, tmp_path / "out", "wheel")
    assert _contents(tmp_path / "out" / wheel.name) == _contents(wheel)


def test_the_metadata_are_valid(built):
    with zipfile.ZipFile(built[0]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = Metadata.from_email(archive.read(name), validate=True)
    assert (told.name, str(told.version)) == ("gcn-cli", __version__)
    assert (told.license_expression, told.license_files) == ("MIT", ["LICENSE"])
    assert told.description_content_type == "text/markdown"
    assert told.description == (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a new environment: it has the wheel, and libraries from where they lie."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    words = ("--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", built[0])
    subprocess.run([sys.executable, "-m", "pip", "-q", *words], check=True)
    places = {"base": str(folder), "platbase": str(folder)}
    inside = Path(sysconfig.get_path("purelib", "venv", places))
    # Only now: pip would else find our own package there. Lines of .pth files are not followed on.
    (inside / "libraries.pth").write_text(f"{Path(torch.__file__).parents[1]}\n", encoding="utf-8")
    return folder / "bin" / "gcn"


def test_the_installed_wheel_learns_and_draws_from_an_empty_folder(installed, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def call(name, *words):
        told = subprocess.run(
            [str(installed.with_name(name)), *map(str, words)],
            cwd=tmp_path,
            env={**environment, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        return told.stdout.strip()

    def gcn(*words):
        return call("gcn", *words)

    where = call("python", "-c", "import gcn_cli; print(gcn_cli.__file__)")
    assert Path(where).is_relative_to(installed.parents[1])
    assert gcn("--version") == f"gcn {__version__}"
    assert [line.split()[0] for line in gcn("config", "list").splitlines()] == preset_names()
    shutil.copy(ROOT / "textures" / "stones.png", tmp_path)
    words = ("--config", "frame", "--crop", "0,0,64,64", "--set", "learning.updates=1")
    run = gcn("train", "--images", "stones.png", *words)
    assert run == "runs/00000-stones"
    (sample,) = gcn("synthesize", "--ckpt", run, "--size", 64).split()
    assert (tmp_path / sample).is_file()
