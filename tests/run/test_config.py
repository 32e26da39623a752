"""Config and plan: what is accepted, what is refused and in which words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml

from gcn_cli.errors import ConfigError, ImageError
from gcn_cli.field.ascent import AdamParams, SgdParams
from gcn_cli.run.config import (
    DEFAULT_PRESET,
    choose,
    dump,
    load_preset,
    preset_names,
    resolve,
    validate,
)
from gcn_cli.run.jobs import Job, mean_colour
from gcn_cli.run.kinds import open_course
from gcn_cli.run.plan import Subject, build_plan, minimum_side

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PRESETS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
PAPER = [name for name in PRESETS if name.startswith("paper-")]


def _of_kind(kind: str) -> list[str]:
    return [name for name in PRESETS if load_preset(name)["kind"] == kind]


def test_presets_are_the_shipped_files_and_each_says_its_kind():
    assert preset_names() == PRESETS
    assert sorted(_of_kind("texture") + _of_kind("field")) == PRESETS
    assert DEFAULT_PRESET in _of_kind("texture")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves_dumps_and_resolves_to_the_same(name, tmp_path):
    config = resolve(name)
    assert config.name == name
    assert config.description
    file = tmp_path / "again.yaml"
    file.write_text(dump(config), encoding="utf-8")
    assert resolve(file=file) == config


@pytest.mark.parametrize("name", _of_kind("field"))
def test_every_preset_of_one_field_fits_an_ordinary_picture(name):
    config = resolve(name)
    side = config.images.size or 256
    plan = build_plan(config, Subject(3, side, side, 45.0))
    assert plan.total_updates > 0
    assert 0 < plan.langevin.eta < 1
    plan.net.map_sizes(plan.canvas, plan.boundary)
    assert plan.stages[-1].depth == len(plan.net.layers) == len(config.layers)


@pytest.mark.parametrize("side", [64, 256])
@pytest.mark.parametrize("name", _of_kind("texture"))
def test_every_preset_of_textures_fits_an_ordinary_picture(name, side):
    """Noise has no motif: one size; endless stripes ask for smaller copies, unless told."""
    config = resolve(name)
    noise = 40 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    waves = (torch.arange(side) * 2 * math.pi / 64).sin().expand(1, 3, side, side) * 40
    sizes = []
    for image in (noise, waves):
        job = Job("one", image + 120, torch.full((3, 1, 1), 120.0))
        sizes.append([size.reduction for size in open_course(config, job).plan.sizes])
    told = config.sizes.coarsest
    chosen = [1, 4 if side == 256 else 1] if told is None else [told, told]
    assert sizes == [{1: [1], 2: [2, 1], 4: [4, 2, 1]}[coarsest] for coarsest in chosen]


def test_the_quick_preset_is_the_default_with_fewer_updates():
    quick, whole = resolve("texture-quick"), resolve("texture")
    assert quick.layers == whole.layers
    assert (quick.noise, quick.sampler) == (whole.noise, whole.sampler)
    assert quick.reconstruction.updates <= 300
    assert quick.likelihood.updates <= 10
    assert whole.budget == 480


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings(name):
    plan = build_plan(resolve(name), Subject(3, 224, 224, 45.0))
    assert (plan.langevin.sigma, plan.langevin.eps) == (1.0, 0.3)
    assert isinstance(plan.stages[0].learning.optimiser, SgdParams)
    if name == "paper-texture":
        assert plan.net.n_parameters() == 244_974
        assert [s.depth for s in plan.stages] == [1, 2, 3]
        rates = [s.learning.optimiser.rate for s in plan.stages]
        assert rates == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])
    if name == "paper-object":
        top = plan.net.layers[-1]
        assert (top.size, top.relu) == (
            plan.net.head(3).map_sizes((224, 224), "bounded")[-1][0],
            False,
        )
        assert plan.net.map_sizes((224, 224), "bounded")[-1] == (1, 1)
    if name == "paper-cd":
        learning = plan.stages[0].learning
        assert (learning.chains, learning.steps, learning.updates) == ("data", 1, 1200)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("boundry=torus", "boundary"),
        ("learning.updtes=5", "updates"),
        ("langevin.sgma=5", "sigma"),
        ("layers.0.fliters=5", "filters"),
        ("learning.optimiser.rat=5", "rate"),
        ("guard.patence=5", "patience"),
        ("output.grid_evry=5", "grid_every"),
        ("images.max_sid=5", "max_side"),
        ("sampling.polsh=1", "polish"),
        ("learning.optimiser.cpa=5", None),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(override, nearest):
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match="unknown key") as caught:
        resolve("frame", overrides=[override])
    assert f"'{key}'" in str(caught.value)
    if nearest:
        assert f"did you mean '{nearest}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("likelihod.updates=5", "likelihood"),
        ("likelihood.updtes=5", "updates"),
        ("reconstruction.rat=5", "rate"),
        ("layers.0.fliters=5", "filters"),
        ("noise.lowst=5", "lowest"),
        ("sampler.finer_step=5", "finer_steps"),
        ("sizes.coarest=2", "coarsest"),
        ("images.max_sid=5", "max_side"),
        ("output.grid_evry=5", "grid_every"),
        ("budjet=5", "budget"),
        ("pace=0.5", "budget"),
        ("learning={}", "reconstruction"),
        ("learning.updates=5", "reconstruction.updates"),
        ("learning.optimiser.rate=5", "reconstruction.rate"),
        ("levels.0.learning.updates=5", "reconstruction.updates"),
        ("langevin.sigma=5", "noise"),
        ("sampling.steps=5", "sampler.steps"),
        ("canvas=64", "likelihood.canvas"),
        ("batch=2", "reconstruction.batch"),
        ("noise.steps=2", "sampler.steps"),
        ("updates=5", "reconstruction.updates' or 'likelihood.updates"),
    ],
)
def test_an_unknown_key_of_the_default_recipe_is_refused_with_the_nearest(override, nearest):
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match="unknown key") as caught:
        resolve(overrides=[override])
    assert key.partition(".")[0] in str(caught.value)
    if nearest:
        assert f"did you mean '{nearest}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("preset", "override", "sentence"),
    [
        ("texture", "guard.retries=1", "'guard': it is of kind 'field', and this config of kind"),
        ("texture", "unit=grey", "'unit': it is of kind 'field'"),
        ("texture", "trials=3", "'trials'; it was removed in 0.2.0"),
        ("texture", "layers.1.dilation=2", "'layers.1.dilation'; it was removed in 0.2.0"),
        ("frame", "learning.pool=5", "'learning.pool'; it was removed in 0.2.0"),
        ("frame", "pace=0.5", "'pace'; it was removed in 0.2.0"),
        ("frame", "budget=5", "'budget': it is of kind 'texture'"),
        ("frame", "levels.0.sampling.drafts=2", "sampling.drafts'; it was removed in 0.2.0"),
        ("frame", "levels.1.langevin.eps=2", "eps'; did you mean 'langevin.eps'?"),
        ("frame", "learning.optimiser.cap=5", "'learning.optimiser.cap'; 'sgd' has it"),
        ("frame", "learning.optimiser.bta1=5", "did you mean 'beta1'?"),
        ("frame", "learning.optimiser.zzz=5", "known are name, rate, beta1, beta2, decay"),
        ("texture", "levels=3", "this config is of gcn 0.1"),
        ("texture", "learning.pool=5", "it was removed in 0.2.0"),
        ("frame", "sigma=5", "did you mean 'langevin.sigma'?"),
    ],
)
def test_a_key_that_is_not_here_any_more_or_lies_elsewhere(preset, override, sentence):
    with pytest.raises(ConfigError) as caught:
        resolve(preset, overrides=[override])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistyped_key_of_a_file_is_told_before_the_one_that_it_leaves_missing(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("layers: [{filtres: 3, size: 5, vote: true}]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'layers\.0\.filtres'; did you mean 'filters'\?"):
        resolve(file=file)
    file.write_text("likelihood: {updates: 3, chanes: 2}\nnoise: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'likelihood\.chanes'; did you mean 'chains'\?"):
        resolve(file=file)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("noise.finer=30", "levels are ordered"),
        ("sizes.coarsest=3", "power of two"),
        ("reconstruction.margin=40", "nothing of the crop"),
        ("likelihood.updates=-1", "likelihood.updates"),
        ("layers.1.size=3", "must be even"),
        ("layers.3.vote=false", "the top layer must vote"),
        ("noise.finer=0.01", "noise"),
        ("budget=-1", "budget"),
        ("kind=textur", "did you mean 'texture'?"),
        ("kind=3", "there is no kind '3'"),
    ],
)
def test_recipes_out_of_range_are_refused_in_one_sentence(override, words):
    with pytest.raises(ConfigError) as caught:
        resolve(overrides=[override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_the_plain_gradient_offers_its_own_keys():
    with pytest.raises(ConfigError, match="did you mean 'decay'"):
        resolve("paper-texture", overrides=["learning.optimiser.deca=5"])


def test_an_unknown_preset_offers_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'paper-texture'"):
        resolve("paper-textur")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("langevin.eps=0.26", "eps must be below 2 sigma = 0.26"),
        ("langevin.eps=9", "eps must be below 2 sigma"),
        ("langevin.sigma=0", "langevin.sigma"),
        ("langevin.sigma=.nan", "langevin.sigma"),
        ("layers.0.size=0", "size must lie between"),
        ("layers.0.stride=12", "skips pixels"),
        ("layers.0.padding=1", "padding has no meaning on a torus"),
        ("layers=[{filters: 2, size: full}, {filters: 2, size: 3}]", "only the top layer"),
        ("learning.chains=data", "need boundary: bounded"),
        ("learning.chains=dta", "learning.chains"),
        ("learning.optimiser.name=adm", "optimiser"),
        ("learning.optimiser.rate=-1", "rate"),
        ("layers=[]", "layers"),
        ("sampling.polish=-1", "sampling.polish"),
        ("seed=-1", "seed"),
        ("seed=1.5", "seed"),
        ("canvas=7", "canvas"),
        ("guard.cut=1", "guard.cut"),
    ],
)
def test_values_out_of_range_are_refused_in_one_sentence(override, words):
    with pytest.raises(ConfigError) as caught:
        resolve("frame", overrides=[override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(small_data):
    data = small_data()
    del data["langevin"]["sigma"]
    with pytest.raises(ConfigError, match=r"'langevin\.sigma' is missing"):
        validate(data)


def test_a_config_of_several_levels_is_refused(small_data):
    """As version 0.1 wrote them."""
    for data in (small_data(), {"canvas": 160}):
        with pytest.raises(ConfigError, match=r"of gcn 0\.1, .* begin anew") as caught:
            validate({**data, "levels": []})
        assert "\n" not in str(caught.value)


def test_overrides_reach_single_layers_and_all_layers():
    config = resolve(
        "paper-texture",
        overrides=[
            "layers.*.padding=1",
            "layers.1.filters=11",
            "layers.-1.size=7",
            "learning.updates=7",
            "learning.optimiser.rate=1e-5",
            "seed=12",
            "images.colour=grey",
        ],
    )
    assert [layer.padding for layer in config.layers] == [1, 1, 1]
    assert [layer.filters for layer in config.layers] == [100, 11, 30]
    assert [layer.size for layer in config.layers] == [15, 5, 7]
    assert (config.learning.updates, config.learning.optimiser.rate) == (7, 1e-5)
    assert (config.seed, config.images.colour) == (12, "grey")


def test_a_reference_is_a_layer_of_its_own(tmp_path, small_data):
    """So are values that one override put at several places."""
    file = tmp_path / "mine.yaml"
    layer = {"filters": 4, "size": 3}
    file.write_text(yaml.safe_dump({**small_data(), "layers": [layer, layer]}), encoding="utf-8")
    assert "*id" in file.read_text(encoding="utf-8")
    config = resolve(file=file, overrides=["layers.1.filters=5"])
    assert [one.filters for one in config.layers] == [4, 5]
    overrides = ["layers.*={filters: 6, size: 3}", "layers.0.filters=7"]
    assert [one.filters for one in resolve(file=file, overrides=overrides).layers] == [7, 6]


def test_an_override_may_lie_below_a_null_of_a_resolved_config(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("layers: null\nlangevin: null\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"langevin\.sigma"):
        resolve(file=file, overrides=["langevin.sigma=3"])


def test_a_file_that_refers_to_itself_is_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("layers: &all [*all]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="nested without end"):
        resolve(file=file)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("layers.99.size=1", "'99' is not an index into"),
        ("layers.-99.size=1", "'-99' is not an index"),
        ("layers.x.size=1", "'x' is not an index"),
        ("name.x=1", "below a plain value"),
        ("seed", "key=value"),
        ("=3", "key=value"),
        ("seed=[1", "not valid YAML"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(override, words):
    with pytest.raises(ConfigError) as caught:
        resolve("frame", overrides=[override])
    assert words in str(caught.value)


def test_precedence_is_override_file_preset_default(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 5\nlikelihood: {canvas: 64, chains: 3}\n", encoding="utf-8")
    preset = resolve("texture")
    assert (preset.seed, preset.likelihood.canvas, preset.likelihood.chains) == (0, 96, 2)
    config = resolve("texture", file, ["likelihood.canvas=128"])
    assert (config.seed, config.likelihood.canvas, config.likelihood.chains) == (5, 128, 3)
    assert (config.layers, config.noise) == (preset.layers, preset.noise)


def test_a_file_without_layers_changes_the_default_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 5\n", encoding="utf-8")
    assert resolve(file=file) == resolve("texture", overrides=["seed=5"])


def test_a_file_with_layers_stands_alone(tmp_path, small_data):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**small_data(), "unit": "grey"}), encoding="utf-8")
    config = resolve(file=file)
    assert config.name == "custom"
    assert config.unit == "grey"
    assert len(config.layers) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [("a: [1", "not valid YAML"), ("- 1", "must be a mapping"), ("", "must be a mapping")],
)
def test_a_broken_file_is_refused(content, words, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        resolve(file=file)
    assert "broken.yaml" in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read config"):
        resolve(file=tmp_path / "none.yaml")
    binary = tmp_path / "picture.yaml"
    binary.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        resolve(file=binary)


def test_reading_a_file_runs_nothing(tmp_path):
    victim = tmp_path / "made"
    file = tmp_path / "hostile.yaml"
    file.write_text(f"seed: !!python/object/apply:pathlib.Path.touch ['{victim}']\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        resolve(file=file)
    assert not victim.exists()


def test_a_dumped_config_keeps_the_order_of_its_keys():
    config = resolve("texture")
    assert list(yaml.safe_load(dump(config))) == list(type(config).model_fields)


def test_a_word_is_a_file_if_it_looks_like_one_or_is_there_else_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plain").write_text("seed: 7", encoding="utf-8")
    Path("frame").write_text("seed: 8", encoding="utf-8")  # a preset's name wins
    assert (choose("plain").seed, choose("frame").seed, choose(None).name) == (7, 0, "texture")
    assert choose("plain", "frame", ["seed=9"]) == resolve("frame", None, ["seed=9"])
    for missing in ("none.yaml", "none.yml", "deep/none"):
        with pytest.raises(ConfigError, match="cannot read config"):
            choose(missing)
    with pytest.raises(ConfigError, match="there is no preset 'none'"):
        choose("none")
    with pytest.raises(ConfigError, match="two presets at once"):
        choose("frame", "texture")
    assert choose("frame", "frame").name == "frame"


def test_loading_a_preset_gives_a_fresh_mapping():
    load_preset("texture")["layers"].clear()
    assert load_preset("texture")["layers"]


# ------------------------------------------------------------------------------- the plan

FLAT = "a single flat colour"


def test_minimum_side_is_the_receptive_field(small_config):
    config = small_config()
    assert minimum_side(config, 1) == 8  # 4 + (3 - 1) * 2
    build_plan(config, Subject(1, 8, 30, 40.0))
    with pytest.raises(ImageError, match="both sides must be at least 8 px"):
        build_plan(config, Subject(1, 7, 30, 40.0))


def test_contrast_as_the_unit(small_config):
    changes = {"langevin": {"sigma": 0.5, "eps": 0.2}, "learning": {"data_noise": 2.0}}
    for unit, factor in (("contrast", 40.0), ("grey", 1.0)):
        plan = build_plan(small_config(**changes, unit=unit), Subject(1, 24, 24, 40.0))
        assert plan.langevin.sigma == pytest.approx(0.5 * factor)
        assert plan.langevin.eps == pytest.approx(0.2 * factor)
        noise = plan.stages[0].learning.data_noise  # in sigmas
        assert noise * plan.langevin.sigma == pytest.approx(1.0 * factor)
        assert plan.sampler.start_noise == pytest.approx(0.5 * factor)


@pytest.mark.parametrize("unit", ["grey", "contrast"])
def test_a_flat_image_is_refused(unit, small_config):
    flat = torch.full((1, 3, 32, 32), 99.0)
    flat[:, 1] = 12  # one colour, not one grey level
    subject = Subject.of(flat, mean_colour(flat))
    assert subject.contrast == 0
    with pytest.raises(ImageError, match=FLAT):
        build_plan(small_config(unit=unit), subject)


def test_subject_reads_shape_and_contrast(picture):
    subject = Subject.of(picture, mean_colour(picture))
    assert (subject.channels, subject.height, subject.width) == (1, 24, 24)
    assert subject.contrast == pytest.approx(float(picture.std()), rel=1e-6)
    colours = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])[None]
    assert mean_colour(colours).flatten().tolist() == [0, 1]


def _object_config(small_config, *below):
    layers = [*below, {"filters": 1, "size": "full", "relu": False}]
    return small_config(layers=layers, boundary="bounded", canvas=None)


def test_full_map_size_is_resolved(small_config):
    config = _object_config(small_config, {"filters": 4, "size": 5, "stride": 3})
    plan = build_plan(config, Subject(1, 26, 26, 40.0))
    assert plan.net.layers[-1].size == 8
    assert plan.net.map_sizes((26, 26), "bounded")[-1] == (1, 1)
    assert not plan.net.layers[-1].relu
    with pytest.raises(ConfigError, match="square"):
        build_plan(config, Subject(1, 26, 35, 40.0))


def test_a_single_full_map_layer_is_a_network(small_config):
    """The smallest object net: one prototype as large as the image."""
    config = _object_config(small_config)
    plan = build_plan(config, Subject(1, 12, 12, 40.0))
    assert plan.net.layers[0].size == 12


def test_canvas_is_fitted_to_the_stride(small_config):
    assert build_plan(small_config(canvas=None), Subject(1, 39, 51, 40.0)).canvas == (38, 50)
    assert build_plan(small_config(canvas=31), Subject(1, 39, 50, 40.0)).canvas == (30, 30)


def test_a_canvas_too_small_for_the_filters_is_refused(small_config):
    wide = [{"filters": 2, "size": 13}]
    with pytest.raises(ConfigError, match="canvas"):
        build_plan(small_config(layers=wide, canvas=8), Subject(1, 24, 24, 40.0))


def test_a_stage_per_layer_where_layers_grow(small_config):
    learning = {"grow": True, "grow_fall": 0.25, "updates": 10}
    stages = build_plan(small_config(learning=learning), Subject(1, 24, 24, 40.0)).stages
    assert [s.depth for s in stages] == [1, 2]
    assert [s.learning.updates for s in stages] == [10, 10]
    optimisers = [s.learning.optimiser for s in stages]
    assert all(isinstance(o, AdamParams) for o in optimisers)
    assert [o.rate for o in optimisers] == pytest.approx([1e-3, 2.5e-4])


def test_dither_spans_the_total_stride(small_config):
    config = small_config(langevin={"dither": True})
    plan = build_plan(config, Subject(1, 24, 24, 40.0))
    assert plan.langevin.dither == plan.net.total_stride == 2
    assert math.isclose(plan.langevin.eta, 36 / 800)
