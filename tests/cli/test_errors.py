"""Every refusal is one sentence and an exit code, and writes nothing."""

from __future__ import annotations

import pytest
import torch

from gcn_cli.cli.options import parse_duration
from gcn_cli.errors import UsageError

TRAIN = [
    ("--images {box}/nowhere", "{box}/nowhere does not exist"),
    ("--images {box}/empty", "holds no images"),
    ("--images {box}/broken.png", "broken.png"),
    (
        "--images {box}/small.png",
        "small.png: the image is 6x6 px; the network sees windows of 8 px",
    ),
    (
        "--config paper-textur --images {box}/images",
        "no preset 'paper-textur'; did you mean 'paper-texture'?",
    ),
    ("--images {box}/small.png --config texture", "small.png: the image is 6x6 px"),
    ("--images {box}/images --config texture --set sizes.coarsest=2", "reduced 2 times"),
    ("--images {box}/images --config texture --set levels=[]", "of gcn 0.1"),
    ("--images {box}/images --config texture --set pace=1", "did you mean 'budget'?"),
    ("--config {box}/no.yaml --images {box}/images", "cannot read config"),
    ("--config texture --preset paper-cd --images {box}/images", "two presets at once"),
    ("--images {box}/images --set sed=1", "unknown key 'sed'; did you mean 'seed'?"),
    ("--images {box}/images --set langevin.eps=40", "eps must be below 2 sigma = 40"),
    ("--images {box}/images --set seed", "an override reads key=value"),
    ("--images {box}/images --set layers.9.size=1", "'9' is not an index into 2 items"),
    ("--images {box}/images --set canvas=8 --set layers.1.size=9", "needs at least 20 px"),
    ("--images {box}/images --max-time soon", "a time reads like"),
    (
        "--images {box}/images --device cuda:99",
        "cuda:99" if torch.cuda.is_available() else "no CUDA",
    ),
    ("--images {box}/images --device tpu", "there is no device 'tpu'"),
    ("--images {box}/images --precision fp8", "there is no precision 'fp8'"),
    ("--resume {run} --images {box}/images", "leave out --images"),
    ("--resume {run} --dry-run", "leave out --dry-run"),
    ("--resume {box}/empty", "there is no checkpoint"),
    ("", "give --images, or --resume"),
]
SYNTHESIZE = [
    ("--size 3by4", "a size reads like 512x384"),
    ("--size 0", "sides lie between 1 and"),
    ("--size 41x24 --tile x", "width must be a multiple of 2 px"),
    ("--size 24x41 --tile y", "nearest to 41: 40 or 42"),
    ("--tile z", "--tile is one of none, x, y, xy"),
    ("--seeds 3-1", "the range '3-1' is empty"),
    ("--seeds one", "seeds read like 0,3,10-20"),
    ("--n 2 -o -", "writes one picture to stdout"),
    ("--n 2 -o {box}/a.png", "one file for 2 pictures"),
    ("-o {box}/a.xyz", "a.xyz has no suffix of a format that is written: .png, .tif"),
    ("-o {box}/a.gif", "a.gif has no suffix of a format that is written"),
    ("-o {box}/plain.yaml", "is a file; give a folder"),
    ("-o {box}/plain.yaml/below", "plain.yaml is a file, not a folder to write to"),
    ("-o {box}/small.png", "small.png exists already; --overwrite replaces it"),
    ("-o {box}/a.png --video {box}/plain.gif/b.gif --depth 12", "--depth is one of 8, 16, half"),
    ("-o {box}/a.jpg --depth 16", ".jpg holds a depth of 8, not of 16"),
    ("-o - --depth half", ".png holds a depth of 8 or 16, not of half"),
    ("-o {box}/a.webp --size 16384x8", "its format holds 16383 px a side"),
    ("-o {box}/a.png --name {{seed}}", "--name is for files in a folder"),
    ("--name {{sed}}", "--name holds {{stem}}, {{seed}}"),
    ("--name {{seed:x.y}}", "does not read like that"),
    ("--name a/{{seed}}", "--name gives names of files; 'a/0' is none"),
    ("--name a --n 2", "calls several pictures alike"),
    ("--video {box}/a.avi", "a video ends in .gif or .mp4"),
]


def _refused(result, code=2):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert "Traceback" not in result.stderr
    return line


def _words(text, box, run):
    return [word.format(box=box, run=run) for word in text.split()]


@pytest.mark.parametrize(("words", "sentence"), TRAIN)
def test_train_refuses(gcn, box, trained, tmp_path, listing, words, sentence):
    given = _words(words, box, trained["plain"])
    if "--config" not in given and "--images" in given and "--resume" not in given:
        given += ["--config", str(box / "plain.yaml")]
    before = listing(box)
    if "--resume" not in given:
        given += ["--out", str(tmp_path / "runs")]
    line = _refused(gcn("train", *given))
    assert sentence.format(box=box) in line
    assert listing(box) == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("words", "sentence"), SYNTHESIZE)
def test_synthesize_refuses(gcn, box, run, listing, words, sentence):
    folder = run()
    before = listing(box), listing(folder)
    line = _refused(gcn("synthesize", "--ckpt", folder, *_words(words, box, folder)))
    assert sentence.format() in line
    assert (listing(box), listing(folder)) == before


def test_a_texture_tiles_in_multiples_of_its_coarsest_stride(gcn, run):
    result = gcn("synthesize", "--ckpt", run("texture"), "--size", "34x32", "--tile", "x")
    assert "width must be a multiple of 4 px and at least 16; nearest to 34: 32 or 36" in _refused(
        result
    )


def test_a_bounded_model_cannot_tile(gcn, run):
    assert "cannot tile" in _refused(gcn("synthesize", "--ckpt", run("bounded"), "--tile", "xy"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("verb", ["train", "synthesize", "inspect"])
def test_missing_hardware_is_an_error(gcn, box, run, verb):
    learning = ("--images", box / "images", "--preset", "texture")
    words = learning if verb == "train" else ("--ckpt", run())
    assert "no CUDA device" in _refused(gcn(verb, *words, "--device", "cuda"))


def test_mp4_without_its_extra(gcn, run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = _refused(gcn("synthesize", "--ckpt", run(), "--video", "a.mp4"))
    assert "pip install 'gcn-cli[video]'" in line


class _Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("verb", ["synthesize", "inspect", "train"])
@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "foreign", "hostile"])
@pytest.mark.parametrize("config", ["plain", "texture"])
def test_what_is_no_checkpoint(gcn, run, tmp_path, verb, kind, config):
    folder, trap = run(config), tmp_path / "trap"
    path = folder / "run.pt"
    if kind == "missing":
        path.unlink()
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "foreign":
        torch.save({"state_dict": {}}, path)
    else:
        torch.save({"format": _Hostile(str(trap))}, path)
    result = gcn(verb, "--resume" if verb == "train" else "--ckpt", folder)
    wanted = {"missing": "there is no checkpoint", "hostile": "more than plain tensors"}
    line = _refused(result)
    assert str(path) in line
    assert wanted.get(kind, "not a gcn checkpoint") in line
    assert not trap.exists()


def test_inspect_refuses_too_small_an_image(gcn, run, box):
    line = _refused(gcn("inspect", "--ckpt", run(), "--image", box / "small.png"))
    assert "at least 8 px" in line


def test_evaluate_refuses_mixed_sizes(gcn, box):
    ash = box / "images" / "ash.png"
    words = ("--exemplar", ash, "--samples", ash, box / "small.png")
    assert "several sizes" in _refused(gcn("evaluate", *words))


def test_config_refusals(gcn, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("seed: [1\n", encoding="utf-8")
    assert "not valid YAML" in _refused(gcn("config", "validate", file))
    file.write_text("sigma: 3\n", encoding="utf-8")
    assert "unknown key 'sigma'" in _refused(gcn("config", "validate", file))
    assert "did you mean 'texture'?" in _refused(gcn("config", "show", "textur"))


@pytest.mark.parametrize("words", [("nothing",), ("train", "--bogus"), ("synthesize",)])
def test_typer_refuses_with_the_same_code(gcn, words):
    result = gcn(*words)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_debug_shows_the_traceback(gcn, monkeypatch):
    for words in (("--debug", "train"), ("train", "--debug")):
        assert "Traceback" in gcn(*words).stderr
    monkeypatch.setenv("GCN_DEBUG", "1")
    result = gcn("train")
    assert "Traceback" in result.stderr
    assert result.exit_code == 2


def test_a_process_fails_like_the_runner(process, tmp_path):
    failing = process("train", "--images", tmp_path / "nowhere")
    stdout, stderr = failing.communicate(timeout=300)
    assert (failing.returncode, stdout) == (2, "")
    assert stderr == f"error: {tmp_path / 'nowhere'} does not exist\n"


def test_ctrl_c_where_nothing_is_to_be_saved(gcn, run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gcn_cli.run.checkpoint.load_checkpoint", interrupted)
    result = gcn("inspect", "--ckpt", run())
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("55m", 3300), ("1h30m", 5400), ("1.5h", 5400), ("1h1m1s", 3661)],
)
def test_times(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "-5", "1x", "1m1h", "nan"])
def test_no_times(text):
    with pytest.raises(UsageError, match="a time reads like"):
        parse_duration(text)
