"""Files of any source: what they claim is held against what they are, before it costs anything."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from gcn_cli.cli.app import app
from gcn_cli.cli.options import print_json
from gcn_cli.engine import Machine
from gcn_cli.errors import CheckpointError, DeviceError, GcnError, ImageError
from gcn_cli.images.files import read_picture, sort_out
from gcn_cli.run.checkpoint import load_checkpoint
from gcn_cli.run.course import check_memory
from gcn_cli.run.plain_data import check_plain
from gcn_cli.run.rundir import create_run_dir

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of both kinds, by kind."""
    sys.path.insert(0, str(BENCHMARKS))
    import mutants

    sys.path.remove(str(BENCHMARKS))
    folder = tmp_path_factory.mktemp("saved")
    generator = torch.Generator().manual_seed(0)
    picture = (120 + 30 * torch.randn(1, 3, 48, 48, generator=generator)).round()
    for kind in mutants.TINY:
        mutants.learn(kind, picture, folder / f"{kind}.pt")
    return {kind: folder / f"{kind}.pt" for kind in mutants.TINY}


@pytest.fixture
def changed(saved, tmp_path):
    """Saves a checkpoint with another value at one place."""

    def save(kind, keys, value):
        data = inside = torch.load(saved[kind], weights_only=True)
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = value
        torch.save(data, tmp_path / "run.pt")
        return tmp_path / "run.pt"

    return save


def _refused(path, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1


NAN, ONE = float("nan"), torch.zeros(1)
KNOT: list[object] = []
KNOT.append(KNOT)
FIELD = {
    "half a step": (("model", "sampler", "steps"), 2.5, "steps is out of range"),
    "a billion steps": (("model", "sampler", "steps"), 10**9, "steps is out of range"),
    "no polish": (("model", "sampler", "polish"), None, "polish is out of range"),
    "no dither": (("model", "langevin", "dither"), 0, "dither is out of range"),
    "dither beyond the stride": (("model", "langevin", "dither"), 7, "wider than the network"),
    "a small sigma": (("model", "langevin", "sigma"), 1e-300, "sigma is out of range"),
    "an unknown setting": (("model", "sampler", "more"), 1, "more is out of range"),
    "channels by the million": (("model", "channels"), 10**6, "channels is out of range"),
    "a stage of a half": (("state", "stage"), 0.5, "stage is out of range"),
    "updates beyond the config": (("state", "update"), 10**9, "update is out of range"),
    "a scale": (("state", "rate_scale"), NAN, "rate_scale is out of range"),
    "rollbacks": (("state", "rollbacks"), -1, "rollbacks is out of range"),
    "chains too small": (("state", "chains"), torch.zeros(2, 3, 2, 2), "chains do not fit"),
    "no chains": (("state", "chains"), torch.zeros(0, 3, 16, 16), "chains do not fit"),
    "moments": (("state", "moments", 0, 0), torch.zeros(3), "damaged"),
    "moments that are none": (("state", "moments", 1, 0), NAN, "damaged"),
    "another network": (("config", "layers", 0, "filters"), 9, "not its config's"),
    "wide weights": (("model", "weights", 1), torch.zeros(4, dtype=torch.float64), "another type"),
}
TEXTURE = {
    "contrast": (("model", "contrast"), 1e300, "contrast is out of range"),
    "noise": (("model", "given_noise"), NAN, "given_noise is out of range"),
    "half a filter": (("model", "layers", 0, "filters"), 2.5, "whole numbers"),
    "filters by the thousand": (("model", "layers", 0, "filters"), 4096, "weights do not fit"),
    "a word": (("model", "channels"), "3", "channels is out of range"),
    "true": (("model", "langevin"), True, "langevin is out of range"),
    "weights of bytes": (("state", "weights"), torch.zeros(9, dtype=torch.uint8), "do not fit"),
    "no pictures": (("observed",), torch.zeros(0, 3, 48, 48), "do not agree"),
    "none is known": (("known",), torch.zeros(1, 1, 48, 48, dtype=torch.bool), "nothing of its"),
    "complex pictures": (("observed",), torch.zeros(1, 3, 8, 8) * 1j, "images are no numbers"),
    "a knot": (("extra",), KNOT, "nested deeper"),
    "a type": (("extra",), b"bytes", "gcn never writes|more than plain"),
    "a large number": (("extra",), 10**40, "gcn never writes"),
    "one number seen a trillion times": (
        ("observed",),
        ONE.expand(1, 3, 10**6, 10**6),
        "larger than the file",
    ),
    "a parameter": (("mean",), torch.nn.Parameter(torch.zeros(3, 1, 1)), "never writes"),
    "no storage": (("mean",), torch.zeros(3, 1, 1, device="meta"), "not a"),
}


@pytest.mark.parametrize(("keys", "value", "words"), FIELD.values(), ids=FIELD.keys())
def test_damage_to_a_field_is_refused_in_its_own_words(keys, value, words, changed):
    _refused(changed("field", keys, value), words)


@pytest.mark.parametrize(("keys", "value", "words"), TEXTURE.values(), ids=TEXTURE.keys())
def test_damage_to_a_texture_is_refused_in_its_own_words(keys, value, words, changed):
    _refused(changed("texture", keys, value), words)


def test_whole_checkpoints_are_read(saved):
    assert {load_checkpoint(path).config.kind for path in saved.values()} == set(saved)


def _again(path, target, method=zipfile.ZIP_STORED, change=lambda pkl: pkl, comment=b""):
    """The archive written anew by another hand."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", method) as new:
        for record in old.infolist():
            data = old.read(record)
            new.writestr(
                record.filename, change(data) if record.filename.endswith(".pkl") else data
            )
        new.comment = comment
    return target


def test_compressed_records_are_refused_before_they_grow(saved, tmp_path):
    load_checkpoint(_again(saved["field"], tmp_path / "stored.pt"))  # control
    _refused(_again(saved["field"], tmp_path / "a.pt", zipfile.ZIP_DEFLATED), "truncated or not")
    _refused(_again(saved["field"], tmp_path / "b.pt", comment=b"more"), "truncated or not")


def test_a_tensor_that_claims_100_gigabytes_is_refused(saved, tmp_path):
    def claim(pkl):
        # The first picture's N, C, H, W, of which N becomes 10^7: 70 GB of bytes.
        assert pkl.count(b"K\x01K\x03K0K0t") >= 1
        return pkl.replace(b"K\x01K\x03K0K0t", b"J\x80\x96\x98\x00K\x03K0K0t", 1)

    _refused(
        _again(saved["field"], tmp_path / "run.pt", change=claim), "larger than the file|trunc"
    )


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.recursive(
        st.none()
        | st.integers()
        | st.floats(allow_subnormal=False)
        | st.text(max_size=5)
        | st.binary(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
            | st.tuples(inner)
        ),
        max_leaves=10,
    )
)
def test_plain_data_is_let_pass_or_refused(data):
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(k, str) and plain(v) for k, v in value.items())
        if isinstance(value, list | tuple):
            return all(plain(v) for v in value)
        large = isinstance(value, int) and not -(2**63) <= value < 2**64
        return not isinstance(value, bytes) and not large

    if plain(data):
        check_plain(data, 0)
    else:
        with pytest.raises(ValueError, match=r"gcn never writes|no word"):
            check_plain(data, 0)


def test_lists_of_lists_are_counted_as_often_as_they_stand():
    bomb: list[object] = [0]
    for _ in range(8):
        bomb = [bomb] * 20
    with pytest.raises(ValueError, match="more values"):
        check_plain(bomb, 10**6)


# --------------------------------------------------------------------------------- pictures


def _jpeg(side, claimed, progressive=False):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (90, 120, 60)).save(buffer, "jpeg", progressive=progressive)
    data = buffer.getvalue()
    at = data.find(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    return data[:at] + claimed.to_bytes(2, "big") * 2 + data[at + 4 :]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_picture_that_claims_more_than_its_bytes_hold_is_refused_unopened(
    progressive, tmp_path, monkeypatch
):
    path = tmp_path / "claims.jpg"
    path.write_bytes(_jpeg(64, 64, progressive))
    read_picture(path)  # control
    path.write_bytes(_jpeg(64, 9400, progressive))

    def never(*_):
        raise AssertionError("a decoder is given it")

    monkeypatch.setattr("gcn_cli.images.read.look", never)
    monkeypatch.setattr(Image, "open", never)
    with pytest.raises(ImageError, match=r"9400x9400 px, which its \d+ bytes cannot hold"):
        read_picture(path)


def test_a_progressive_jpeg_of_too_many_pixels_is_refused_however_long_it_is(tmp_path):
    path = tmp_path / "long.jpg"
    path.write_bytes(_jpeg(64, 20000, progressive=True))
    with path.open("rb+") as file:
        file.truncate(20000**2 // 500)
    with pytest.raises(ImageError, match="more than 200 megapixels, and can only be decoded whole"):
        read_picture(path)


def test_the_flattest_pictures_are_no_claim(tmp_path):
    for suffix, options in ((".jpg", {"quality": 1, "progressive": True}), (".png", {})):
        path = tmp_path / f"flat{suffix}"
        Image.new("1" if suffix == ".png" else "L", (4000, 4000)).save(path, **options)
        assert read_picture(path).levels.shape[-2:] == (4000, 4000)


def test_what_is_no_regular_file_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        for read in (read_picture, sort_out):
            with pytest.raises(ImageError, match="neither a file nor a folder"):
                read(path)
        with pytest.raises(CheckpointError, match="no regular file"):
            load_checkpoint(path)
    for read in (read_picture, sort_out, load_checkpoint):
        with pytest.raises(GcnError, match="File name too long"):
            read(Path("n" * 300))


def test_a_file_that_may_not_be_read_is_called_so(saved, tmp_path, monkeypatch):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")

    def forbidden(self, *_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        load_checkpoint(saved["field"])


# ------------------------------------------------------------------------- names, the machine


def test_a_run_of_a_long_name_has_a_folder(tmp_path):
    for name in ("n" * 251, "ü" * 125):
        folder = create_run_dir(tmp_path, name)
        assert folder.is_dir()
        assert len(os.fsencode(folder.name)) < 200


def test_json_of_a_name_that_is_no_utf8_is_ascii_where_it_must_be(capsys):
    print_json({"file": Path(os.fsdecode(b"gr\xfcn-\xc3\xbc.png"))})
    assert capsys.readouterr().out == '{"file": "gr\\udcfcn-ü.png"}\n'


def test_what_cannot_be_held_is_not_tried():
    machine = Machine(torch.device("cpu"))
    check_memory(2**20, machine, "it")
    with pytest.raises(DeviceError, match=r"about 1048576.0 GiB of memory.*lower it"):
        check_memory(2**50, machine, "it")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["synthesize", "--ckpt", ""], "--ckpt was given nothing"),
        (["synthesize", "--ckpt="], "--ckpt was given nothing"),
        (["train", "--images", "a.png", "--out", ""], "--out was given nothing"),
        (["train", "--images", ""], "--images was given nothing"),
        (["config", "validate", ""], "an argument is empty"),
        (["synthesize", "--ckpt", "a", "--temperature", "inf"], "--temperature"),
        (["synthesize", "--ckpt", "a", "--temperature", "nan"], "--temperature"),
        (["likelihood", "a.png", "--ckpt", "a", "--lowest", "nan"], "--lowest"),
        (["synthesize", "--ckpt", "a", "--n", "1000000000"], "--n"),
        (["synthesize", "--ckpt", "a", "--seed", "9" * 5000], "--seed"),
        (["synthesize", "--ckpt", "a", "--size", "²x²"], "a size reads like"),
        (["train", "--images", "a.png", "--crop", "²,0,9,9"], "a crop reads like"),
        (["train", "--images", "a.png", "--config", "/dev/zero"], "is not a regular file"),
        (["train", "--images", "a.png", "--set", "a." * 5000 + "b=1"], "no key of 5001 parts"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_hostile_words_are_refused(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (64, 64)).save("a.png")
    result = CliRunner().invoke(app, words, prog_name="gcn")
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert told in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
