"""Config and plan: what is accepted, what is refused and in which words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml

from gcn_cli.config import dump, load_preset, preset_names, resolve, validate
from gcn_cli.core.dictionary import DictionaryStart
from gcn_cli.core.learning import AdamParams, SgdParams
from gcn_cli.errors import ConfigError, ImageError
from gcn_cli.plan import Subject, build_plan, mean_colour, minimum_side

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PRESETS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
PAPER = ["paper-cd", "paper-object", "paper-texture"]


def test_presets_are_the_shipped_files():
    assert preset_names() == PRESETS
    assert {*PAPER, "texture"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_resolves_dumps_and_resolves_to_the_same(name, tmp_path):
    config = resolve(name)
    assert config.name == name
    assert config.description
    file = tmp_path / "again.yaml"
    file.write_text(dump(config), encoding="utf-8")
    assert resolve(file=file) == config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_an_ordinary_picture(name):
    config = resolve(name)
    side = config.images.size or 256
    plan = build_plan(config, Subject(3, side, side, 45.0))
    assert len(plan.levels) == len(config.levels)
    assert plan.total_updates > 0
    for level in plan.levels:
        assert 0 < level.langevin.eta < 1
        level.net.map_sizes(level.canvas, level.boundary)
        assert level.stages[-1].depth == len(level.net.layers)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings(name):
    plan = build_plan(resolve(name), Subject(3, 224, 224, 45.0))
    (level,) = plan.levels
    assert (level.langevin.sigma, level.langevin.eps) == (1.0, 0.3)
    assert isinstance(level.stages[0].learning.optimiser, SgdParams)
    if name == "paper-texture":
        assert level.net.n_parameters() == 244_974
        assert [s.depth for s in level.stages] == [1, 2, 3]
        rates = [s.learning.optimiser.rate for s in level.stages]
        assert rates == pytest.approx([rates[0], rates[0] / 2, rates[0] / 4])
    if name == "paper-object":
        top = level.net.layers[-1]
        assert (top.size, top.relu) == (
            level.net.head(3).map_sizes((224, 224), "bounded")[-1][0],
            False,
        )
        assert level.net.map_sizes((224, 224), "bounded")[-1] == (1, 1)
    if name == "paper-cd":
        learning = level.stages[0].learning
        assert (learning.chains, learning.steps, learning.updates) == ("data", 1, 1200)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("boundry=torus", "boundary"),
        ("levels.0.learning.updtes=5", "updates"),
        ("levels.0.langevin.sgma=5", "sigma"),
        ("levels.0.layers.0.fliters=5", "filters"),
        ("levels.0.learning.optimiser.rat=5", "rate"),
        ("guard.patence=5", "patience"),
        ("output.grid_evry=5", "grid_every"),
        ("images.max_sid=5", "max_side"),
        ("levels.0.matching.octave=1", "octaves"),
        ("levels.0.learning.optimiser.cpa=5", None),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(override, nearest):
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match="unknown key") as caught:
        resolve("texture", overrides=[override])
    assert f"'{key}'" in str(caught.value)
    if nearest:
        assert f"did you mean '{nearest}'?" in str(caught.value)


def test_an_unknown_key_of_the_plain_gradient_offers_its_own_keys():
    with pytest.raises(ConfigError, match="did you mean 'decay'"):
        resolve("paper-texture", overrides=["levels.0.learning.optimiser.deca=5"])


def test_an_unknown_preset_offers_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'paper-texture'"):
        resolve("paper-textur")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("levels.0.langevin.eps=0.26", "eps must be below 2 sigma = 0.26"),
        ("levels.0.langevin.eps=9", "eps must be below 2 sigma"),
        ("levels.0.langevin.sigma=0", "levels.0.langevin.sigma"),
        ("levels.0.langevin.sigma=.nan", "levels.0.langevin.sigma"),
        ("levels.0.layers.0.size=0", "size must lie between"),
        ("levels.0.layers.0.stride=9", "skips pixels"),
        ("levels.0.layers.0.padding=1", "padding has no meaning on a torus"),
        ("levels.0.layers.0.dilation=0", "levels.0.layers.0.dilation"),
        ("levels.0.layers.0.size=full", "only the top layer"),
        ("levels.0.learning.chains=data", "single level"),
        ("levels.0.learning.chains=dta", "levels.0.learning.chains"),
        ("levels.0.learning.optimiser.name=adm", "optimiser"),
        ("levels.0.learning.optimiser.rate=-1", "rate"),
        ("levels.-1.matching.spectrum=30", "spectrum is 0 (none) or odd"),
        ("levels.-1.matching.spectrum=65", "spectrum is 0 (none) or odd"),
        ("levels.-1.matching.sizes=[8]", "sizes are odd"),
        ("levels.-1.matching.detail_sizes=[1]", "sizes are odd"),
        ("levels.0.reduce=1", "coarse to fine"),
        ("levels.1.reduce=3", "whole factors"),
        ("levels.-1.reduce=2", "coarse to fine"),
        ("levels.*.reduce=2", "reduce: 1"),
        ("boundary=bounded", "torus"),
        ("levels=[]", "levels"),
        ("seed=-1", "seed"),
        ("seed=1.5", "seed"),
        ("pace=0", "pace"),
        ("guard.cut=1", "guard.cut"),
    ],
)
def test_values_out_of_range_are_refused_in_one_sentence(override, words):
    with pytest.raises(ConfigError) as caught:
        resolve("texture", overrides=[override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dilated_filter_has_stride_1():
    resolve("texture", overrides=["levels.*.layers.*.dilation=2"])
    with pytest.raises(ConfigError, match="a dilated filter needs stride 1"):
        resolve("texture-quick", overrides=["levels.1.layers.0.dilation=2"])


def test_the_last_level_is_the_full_size(small_level):
    with pytest.raises(ConfigError, match="reduce: 1"):
        validate({"levels": [small_level(2)]})
    with pytest.raises(ConfigError, match="coarse to fine"):
        validate({"levels": [small_level(1), small_level(2)]})
    validate({"levels": [small_level(4), small_level(2), small_level(1)]})
    validate({"levels": [small_level(2), small_level(2), small_level(1)]})


def test_a_missing_key_is_named(small_level):
    level = small_level()
    del level["langevin"]["sigma"]
    with pytest.raises(ConfigError, match=r"'levels\.0\.langevin\.sigma' is missing"):
        validate({"levels": [level]})


def test_overrides_reach_single_levels_all_levels_and_single_layers():
    config = resolve(
        "texture",
        overrides=[
            "levels.*.learning.updates=7",
            "levels.-1.learning.count=9",
            "levels.0.layers.1.filters=11",
            "levels.1.learning.optimiser.rate=1e-5",
            "seed=12",
            "images.colour=grey",
        ],
    )
    assert [lv.learning.updates for lv in config.levels] == [7] * len(config.levels)
    assert config.levels[-1].learning.count == 9
    assert config.levels[0].learning.count != 9
    assert [k for k, lv in enumerate(config.levels) if lv.layers[1].filters == 11] == [0]
    assert config.levels[1].learning.optimiser.rate == 1e-5
    assert (config.seed, config.images.colour) == (12, "grey")


def test_a_reference_is_a_level_of_its_own(tmp_path):
    """So are values that one override put at several places."""
    file = tmp_path / "mine.yaml"
    file.write_text(dump(resolve("texture")), encoding="utf-8")
    assert "*id" in file.read_text(encoding="utf-8")
    overrides = ["levels.*.layers=[{filters: 4, size: 3}]", "levels.4.layers.0.filters=5"]
    config = resolve(file=file, overrides=[*overrides, "levels.4.learning.updates=7"])
    assert [k for k, lv in enumerate(config.levels) if lv.learning.updates == 7] == [4]
    assert [k for k, lv in enumerate(config.levels) if lv.layers[0].filters == 5] == [4]
    assert {lv.layers[0].filters for lv in config.levels} == {4, 5}


def test_a_file_that_refers_to_itself_is_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("levels: &all [*all]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="nested without end"):
        resolve(file=file)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("levels.99.reduce=1", "'99' is not an index into"),
        ("levels.-99.reduce=1", "'-99' is not an index"),
        ("levels.x.reduce=1", "'x' is not an index"),
        ("name.x=1", "below a plain value"),
        ("seed", "key=value"),
        ("=3", "key=value"),
        ("seed=[1", "not valid YAML"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(override, words):
    with pytest.raises(ConfigError) as caught:
        resolve("texture", overrides=[override])
    assert words in str(caught.value)


def test_precedence_is_override_file_preset_default(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 5\ncanvas: 64\n", encoding="utf-8")
    preset = resolve("frame")
    assert (preset.seed, preset.canvas) == (0, 128)
    config = resolve("frame", file, ["canvas=96"])
    assert (config.seed, config.canvas) == (5, 96)
    assert config.levels == preset.levels
    assert resolve(file=file).name == "texture"  # the default preset


def test_a_file_with_levels_stands_alone(tmp_path, small_level):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"levels": [small_level()]}), encoding="utf-8")
    config = resolve(file=file)
    assert config.name == "custom"
    assert config.unit == "grey"
    assert len(config.levels) == 1


@pytest.mark.parametrize("key", ["start_spot", "redraws"])
def test_only_the_coarsest_level_starts_from_spots_and_is_redrawn(key, small_config, small_level):
    layers, start = [{"filters": 3, "size": 4}], {key: 1}
    small_config(small_level(2, sampling=start, layers=layers), small_level())
    with pytest.raises(ConfigError, match="coarsest"):
        small_config(small_level(2, layers=layers), small_level(sampling=start, layers=layers))


def test_what_cannot_be_redrawn_is_refused(small_config, small_level):
    start, layers = {"redraws": 2}, [{"filters": 3, "size": 4}]
    small_config(small_level(sampling=start, layers=layers))
    with pytest.raises(ConfigError, match="strides"):
        small_config(small_level(sampling=start))
    with pytest.raises(ConfigError, match="torus"):
        small_config(small_level(sampling=start, layers=layers), boundary="bounded")


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


def test_loading_a_preset_gives_a_fresh_mapping():
    load_preset("frame")["levels"].clear()
    assert load_preset("frame")["levels"]


# ------------------------------------------------------------------------------- the plan

FLAT = "a single flat colour"


def test_minimum_side_is_the_finest_receptive_field(small_config, small_level):
    config = small_config(small_level(2), small_level(1))
    assert minimum_side(config, 1) == 8  # 4 + (3 - 1) * 2
    build_plan(small_config(canvas=16), Subject(1, 8, 30, 40.0))
    with pytest.raises(ImageError, match="both sides must be at least 8 px"):
        build_plan(small_config(canvas=16), Subject(1, 7, 30, 40.0))


def test_coarse_levels_are_left_out_where_the_image_is_too_small(small_config, small_level):
    config = small_config(small_level(4), small_level(2), small_level(1), canvas=None)
    kept = {
        side: [round(1 / lv.scale) for lv in build_plan(config, Subject(1, side, 99, 40.0)).levels]
        for side in (64, 63, 32, 31, 16, 8)
    }
    assert kept == {64: [4, 2, 1], 63: [2, 1], 32: [2, 1], 31: [1], 16: [1], 8: [1]}


def test_contrast_as_the_unit(small_config, small_level):
    level = small_level(langevin={"sigma": 0.5, "eps": 0.2}, learning={"data_noise": 2.0})
    for unit, factor in (("contrast", 40.0), ("grey", 1.0)):
        config = small_config(level, unit=unit)
        (plan,) = build_plan(config, Subject(1, 24, 24, 40.0)).levels
        assert plan.langevin.sigma == pytest.approx(0.5 * factor)
        assert plan.langevin.eps == pytest.approx(0.2 * factor)
        assert plan.stages[0].learning.data_noise == pytest.approx(1.0 * factor)
        assert plan.sampler.start_noise == pytest.approx(0.5 * factor)


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(24, ((7, 5), (9, 5), (5, 3))), (8, ((7, 5), (5,), (5, 3))), (6, ((5,), (5,), (5, 3)))],
)
def test_matching_filters_larger_than_the_image_are_left_out(
    small_config, small_level, side, sizes
):
    layers = [{"filters": 4, "size": 3}]
    config = small_config(small_level(layers=layers, matching={"stages": 1, "count": 1}))
    (plan,) = build_plan(config, Subject(1, side, side, 40.0)).levels
    params = plan.matching
    assert (params.sizes, params.pursuit_sizes, params.detail_sizes) == sizes


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


def _object_config(small_config, small_level, *below):
    layers = [*below, {"filters": 1, "size": "full", "relu": False}]
    return small_config(small_level(layers=layers), boundary="bounded", canvas=None)


def test_full_map_size_is_resolved(small_config, small_level):
    config = _object_config(small_config, small_level, {"filters": 4, "size": 5, "stride": 3})
    (level,) = build_plan(config, Subject(1, 26, 26, 40.0)).levels
    assert level.net.layers[-1].size == 8
    assert level.net.map_sizes((26, 26), "bounded")[-1] == (1, 1)
    assert not level.net.layers[-1].relu
    with pytest.raises(ConfigError, match="square"):
        build_plan(config, Subject(1, 26, 35, 40.0))


def test_a_single_full_map_layer_is_a_network(small_config, small_level):
    """The smallest object net: one prototype as large as the image."""
    config = _object_config(small_config, small_level)
    (level,) = build_plan(config, Subject(1, 12, 12, 40.0)).levels
    assert level.net.layers[0].size == 12


def test_canvas_is_fitted_to_the_stride_and_the_levels(small_config, small_level):
    config = small_config(small_level(2), small_level(1), canvas=None)
    plan = build_plan(config, Subject(1, 39, 50, 40.0))
    assert [lv.canvas for lv in plan.levels] == [(18, 24), (36, 48)]
    fixed = small_config(small_level(2), small_level(1), canvas=30)
    assert [lv.canvas for lv in build_plan(fixed, Subject(1, 39, 50, 40.0)).levels] == [
        (14, 14),
        (28, 28),
    ]


def test_a_canvas_too_small_for_the_filters_is_refused(small_config, small_level):
    wide = [{"filters": 2, "size": 13}]
    with pytest.raises(ConfigError, match="canvas"):
        build_plan(small_config(small_level(layers=wide), canvas=8), Subject(1, 24, 24, 40.0))


def test_a_stage_per_layer_where_layers_grow(small_config, small_level):
    learning = {"grow": True, "grow_fall": 0.25, "updates": 10}
    config = small_config(small_level(learning=learning), pace=0.55)
    stages = build_plan(config, Subject(1, 24, 24, 40.0)).levels[0].stages
    assert [s.depth for s in stages] == [1, 2]
    assert [s.learning.updates for s in stages] == [6, 6]
    optimisers = [s.learning.optimiser for s in stages]
    assert all(isinstance(o, AdamParams) for o in optimisers)
    assert [o.rate for o in optimisers] == pytest.approx([1e-3, 2.5e-4])
    slow = small_config(small_level(learning=learning), pace=0.01)
    assert build_plan(slow, Subject(1, 24, 24, 40.0)).total_updates == 2  # at least one each


def test_dither_spans_the_total_stride(small_config, small_level):
    config = small_config(small_level(langevin={"dither": True}))
    level = build_plan(config, Subject(1, 24, 24, 40.0)).levels[0]
    assert level.langevin.dither == level.net.total_stride == 2
    assert math.isclose(level.langevin.eta, 36 / 800)


@pytest.mark.parametrize(
    ("pace", "factor"),
    [(2.0, 1), (1.0, 1), (0.5, 1), (0.4, 1.25), (0.25, 2), (0.16, 2), (0.001, 2)],
)
def test_in_a_hurry_adam_takes_larger_steps(small_config, small_level, pace, factor):
    def rate(optimiser):
        config = small_config(small_level(learning={"optimiser": optimiser}), pace=pace)
        plan = build_plan(config, Subject(1, 24, 24, 30.0))
        return plan.levels[0].stages[0].learning.optimiser.rate

    assert rate({"name": "adam", "rate": 1e-3}) == pytest.approx(factor * 1e-3)
    assert rate({"name": "sgd", "rate": 1e-4}) == 1e-4  # the paper's own stays as it is


def test_the_coarsest_level_that_a_small_picture_has_starts_from_noise(small_config, small_level):
    """A field held by a reach only mends; the first of all needs the steps of the config's."""
    layers = [{"filters": 3, "size": 4}]
    start = {"start_spot": 0.5, "redraws": 3}
    first = small_level(
        2, learning={"steps": 9, "updates": 7, "reach": 0.0}, sampling=start, layers=layers
    )
    further = small_level(1, learning={"steps": 2, "updates": 4, "reach": 0.5}, layers=layers)
    strided = small_level(1, learning={"steps": 2, "updates": 4, "reach": 0.5})
    config = small_config(first, further, further)

    def told(side):
        plan = build_plan(config, Subject(1, side, side, 40.0))
        learned = [(level.scale, level.stages[-1].learning) for level in plan.levels]
        return [(scale, one.steps, one.updates, one.reach) for scale, one in learned]

    least = 2 * 2 * build_plan(config, Subject(1, 99, 99, 40.0)).levels[0].net.receptive_field
    assert told(least) == [(0.5, 9, 7, 0.0), (1.0, 2, 4, 0.5), (1.0, 2, 4, 0.5)]
    assert told(least - 2) == [(1.0, 9, 7, 0.0), (1.0, 2, 4, 0.5)]

    def begun(side):
        samplers = [
            level.sampler for level in build_plan(config, Subject(1, side, side, 40.0)).levels
        ]
        return [(one.start_spot, one.redraws) for one in samplers]

    assert begun(least) == [(0.5, 3), (0.0, 0), (0.0, 0)]
    assert begun(least - 2) == [(0.5, 3), (0.0, 0)]
    config = small_config(first, strided)
    assert begun(least - 2) == [(0.5, 0)]  # places cannot be redrawn there
    config = small_config(first, small_level(1, learning={"steps": 2, "updates": 4}))
    assert told(least - 2) == [(1.0, 2, 4, 0.0)]  # another level is what it always was


def test_the_top_layers_share_of_the_rate_is_planned(small_config, small_level):
    optimiser = {"name": "adam", "rate": 1e-3, "top": 0.25}
    config = small_config(small_level(learning={"optimiser": optimiser}), small_level())
    plan = build_plan(config, Subject(1, 64, 64, 40.0))
    shares = [level.stages[0].learning.optimiser.top for level in plan.levels]
    assert shares == [0.25, 1.0]


def test_a_small_pictures_first_field_moves_its_top_layer_as_the_configs_first_one(
    small_config, small_level
):
    """A lower share keeps units of fields that mend alive; one that starts from noise must grow."""

    def learning(rate, **changes):
        return {"reach": 0.5, "optimiser": {"name": "adam", "rate": rate, **changes}}

    coarse, fine = (
        small_level(2, learning=learning(1e-3)),
        small_level(1, learning=learning(5e-4, top=0.3)),
    )
    least = minimum_side(small_config(coarse, fine)) * 4

    def planned(side):
        plan = build_plan(small_config(coarse, fine), Subject(3, side, side, 40.0))
        found = [level.stages[0].learning.optimiser for level in plan.levels]
        return [(adam.rate, adam.top) for adam in found]

    assert planned(least) == [(1e-3, 1.0), (5e-4, 0.3)]
    assert planned(least - 2) == [(5e-4, 1.0)]


def test_a_first_layer_starts_as_a_dictionary_where_the_config_says_so():
    changes = ["levels.-1.init.dictionary={threshold: 2}", "levels.0.init.dictionary=null"]
    levels = build_plan(resolve("texture", overrides=changes), Subject(1, 256, 256, 45.0)).levels
    assert levels[-1].dictionary == DictionaryStart(2.0)
    assert levels[0].dictionary is None


@pytest.mark.parametrize(
    ("layers", "start", "words"),
    [
        ("[{filters: 4, size: 1}]", "{}", "2 px or more"),
        ("[{filters: 4, size: full, relu: false}]", "{}", "2 px or more"),
        ("[{filters: 4, size: 7}]", "{threshold: -1}", "threshold"),
    ],
)
def test_dictionary_starts_that_do_not_fit_are_refused(layers, start, words):
    changes = [f"levels.-1.layers={layers}", f"levels.-1.init.dictionary={start}"]
    with pytest.raises(ConfigError, match=words):
        resolve("texture", overrides=changes)


def test_a_misspelt_key_of_a_dictionary_start_is_told_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        resolve("texture", overrides=["levels.-1.init.dictionary={treshold: 3}"])


def test_an_override_may_lie_below_a_null_of_a_resolved_config(tmp_path):
    resolved = resolve("texture-quick").model_dump(mode="json")
    assert resolved["levels"][0]["init"]["dictionary"] is None
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(resolved))
    config = resolve(file=file, overrides=["levels.0.init.dictionary.threshold=3"])
    assert config.levels[0].init.dictionary.threshold == 3
