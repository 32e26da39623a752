"""What inspect measures of a model of all noise levels: each figure against an oracle."""

from __future__ import annotations

import math

import pytest
import torch

from gcn_cli.engine import Machine, NoiseSource, open_engine
from gcn_cli.errors import ImageError
from gcn_cli.field import ladder, learning
from gcn_cli.field.network import LayerSpec, NoiseNet, initial_weights
from gcn_cli.field.noise import generator
from gcn_cli.report import at_size, facts, measure
from gcn_cli.report.at_size import Settings
from gcn_cli.report.facts import ALIKE, EXPLAINED, ImageLevel, examine, judge
from gcn_cli.texture.draw import Model, SizeModel, draw
from gcn_cli.texture.learn import begin, learn, model_of
from gcn_cli.texture.plan import make_plan
from gcn_cli.texture.recipe import Recipe

CPU = torch.device("cpu")
NET = NoiseNet((LayerSpec(6, 4, 2, vote=True), LayerSpec(5, 3, 1, vote=True)), 2, 2)
LEVEL = 0.7


def _noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _model(net=NET, sizes=1):
    weights = initial_weights(net, generator(0, "test"))
    weights = weights._replace(votes=tuple(5 * v for v in weights.votes))
    weights = weights._replace(rest=_noise(net.n_biases) / 4)
    ladders = [ladder.noise_levels(start, 0.1, 6) for start in (4.0, 1.0)]
    parts = [SizeModel(2 ** (sizes - 1 - k), ladders[k], weights) for k in range(sizes)]
    return Model(net, tuple(parts), torch.full((net.channels, 1, 1), 120.0), 40.0)


@pytest.fixture(scope="module")
def field():
    return measure.open_field(_model(), 0, Machine(CPU))


# ------------------------------------------------------------------------------- canvases


def test_a_surround_is_the_mirror_image(field):
    a = field.margin
    x = _noise(2, 2, 21, 24)  # 21 is no multiple of the stride
    canvas = measure.surround(field, x)
    wanted = torch.nn.functional.pad(x, (a, a, a, a + 1), mode="reflect")
    torch.testing.assert_close(canvas, wanted, rtol=0, atol=0)
    torch.testing.assert_close(measure.inner(field, canvas, (21, 24)), x, rtol=0, atol=0)
    assert measure.surround(field, _noise(1, 2, 2, 4)).shape[-2:] == (2 + 2 * a, 4 + 2 * a)


def test_nothing_inside_sees_the_frame(field):
    canvas = measure.surround(field, _noise(1, 2, 16, 16))
    wider = torch.nn.functional.pad(_noise(1, 2, 60, 60), (0,) * 4)
    wider[..., 10:-10, 10:-10] = _noise(1, 2, 40, 40, seed=2)
    gap = (60 - canvas.shape[-1]) // 2
    assert gap % NET.total_stride == 0
    wider[..., gap:-gap, gap:-gap] = canvas
    s = LEVEL
    alone = measure.inner(field, measure.posterior_mean(field, canvas, s), (16, 16))
    amid = measure.posterior_mean(field, wider, s)[..., gap:-gap, gap:-gap]
    torch.testing.assert_close(measure.inner(field, amid, (16, 16)), alone, rtol=0, atol=1e-5)


def test_windows_tile_the_inside(field):
    a = field.half
    assert (NET.receptive_field, a, field.margin) == (8, 4, 8)
    canvas = measure.surround(field, _noise(3, 2, 20, 14))
    cut = measure.windows(field, canvas, (20, 14), 6)
    assert cut.shape == (3 * 2 * 3, 2, 6 + 2 * a, 6 + 2 * a)
    last = measure.inner(field, canvas, (20, 14))[2, :, 12:18, 6:12]
    torch.testing.assert_close(cut[-1][:, a : a + 6, a : a + 6], last)


@pytest.mark.parametrize(("sides", "side"), [((64,), 64), ((66, 200), 32), ((100,), 50), ((9,), 8)])
def test_the_side_of_a_window(sides, side):
    assert measure.window_side(NET, *sides) == side


def test_equal_keys_give_equal_noise():
    x = _noise(2, 2, 8, 8)
    y = measure.add_noise(x, 0.5, seed=3, level=4, draws=20)
    again = measure.add_noise(torch.zeros_like(x), 1.0, seed=3, level=4, draws=20)
    torch.testing.assert_close(y, x.repeat(20, 1, 1, 1) + 0.5 * again)
    assert float(again.std()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(again[0], again[1])


# -------------------------------------------------------------------------------- figures


def test_the_loss_is_the_one_that_is_learned(field):
    canvas = measure.surround(field, _noise(1, 2, 16, 12))
    y = measure.add_noise(canvas, LEVEL, 0, 0, 3)
    error = measure.error_map(field, canvas, y, LEVEL, (16, 12))
    x = canvas.expand_as(y)
    z, s = (y - x) / LEVEL, torch.full((3,), LEVEL)
    wanted = learning.reconstruction_loss(NET, x, z, s, field.weights, field.margin)
    assert float(error.square().mean()) == pytest.approx(float(wanted), rel=1e-4)


def test_the_energy_is_that_of_the_field(field):
    torus = 1.5 * _noise(3, 2, 16, 16)
    s = torch.full((3,), LEVEL)
    cut = measure.windows(field, measure.wrapped(field, torus), (16, 16), 16)
    tilts, energies = measure.tilts_and_energies(field, cut, LEVEL)
    wanted = ladder.energy(NET, torus, s, field.weights, "torus") / 256
    torch.testing.assert_close(energies, wanted, rtol=1e-4, atol=1e-4)
    wanted = ladder.tilt(NET, torus, s, field.weights, "torus") / 256
    torch.testing.assert_close(tilts, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("bias", "share"), [(50.0, 1.0), (-50.0, 0.0)])
def test_active_shares(bias, share):
    weights = _model().sizes[0].weights
    filters = tuple(w.abs() for w in weights.filters)  # what is on turns nothing off
    weights = weights._replace(filters=filters, rest=torch.full_like(weights.rest, bias))
    sampler = open_engine(NET, CPU, torch.float32).opened(weights)
    field = measure.Field(NET, weights, sampler)
    told = measure.active_shares(field, _noise(1, 2, 32, 32), 1.0, _noise(1, 2, 32, 32, seed=1))
    assert told == (share, share)


def test_the_gaussian_field_of_white_noise_knows_nothing():
    x = 1.5 * _noise(1, 3, 96, 96)
    for s, loss in zip((0.1, 1.0, 5.0), measure.gaussian_losses(x, (0.1, 1.0, 5.0)), strict=True):
        wanted = 1.5**2 * (1 + s**2) / (1.5**2 + s**2)
        assert loss == pytest.approx(wanted, rel=0.03)
        assert measure.white_loss(x + 7, s) == pytest.approx(wanted, rel=0.02)


def test_the_gaussian_field_knows_colours_and_neighbours():
    grey = _noise(1, 1, 96, 96).expand(-1, 3, -1, -1)
    assert measure.gaussian_losses(grey, [1.0])[0] == pytest.approx(0.5, rel=0.05)
    assert measure.white_loss(grey, 1.0) == pytest.approx(0.5, rel=0.02)
    white = _noise(1, 1, 128, 128)
    x = (white + white.roll(1, -1)) / math.sqrt(2)  # power 1 + cos(k)
    power = 1 + torch.cos(2 * math.pi * torch.arange(512) / 512)
    wanted = learning.gaussian_loss(power, 0.5)
    assert measure.gaussian_losses(x, [0.5])[0] == pytest.approx(wanted, rel=0.05)
    assert measure.white_loss(x, 0.5) == pytest.approx(1, rel=0.05)


def test_levels_are_the_ladders_own():
    levels = ladder.noise_levels(20.0, 0.02, 40)
    chosen = measure.nearest_levels(levels, None)
    told = levels[chosen]
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 39, 6)
    ratios = told[:-1] / told[1:]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 1000**0.2), rtol=0.35, atol=0)
    near = levels[measure.nearest_levels(levels, (1.0, 100.0, 0.2, 0.001))]
    torch.testing.assert_close(near, near.new_tensor([1.0, 0.2]), rtol=0.2, atol=0)


# ------------------------------------------------------------------------ a model examined


def test_the_gap_is_the_likelihoods():
    model, x = _model(), _noise(1, 2, 32, 32)
    field = measure.open_field(model, 0, Machine(CPU))
    found = examine(model, x, Machine(CPU), Settings(chains=3, draws=2))
    (size,) = found.sizes
    assert (size.height, size.width, size.window) == (32, 32, 32)
    chosen = measure.nearest_levels(model.sizes[0].levels, None)
    for k, level in zip(chosen, size.levels, strict=True):
        y = measure.add_noise(measure.surround(field, x), level.s, 0, k, 2)
        chains = found.chains.states[0, k]
        told = learning.likelihood_gap(NET, y, chains, level.s, field.weights, field.margin)
        assert level.gap == pytest.approx(float(told), rel=1e-3, abs=1e-5)
        s = torch.full((3,), level.s)
        own = ladder.energy(NET, chains, s, field.weights, "torus") / 32**2
        assert level.chain_energy == pytest.approx(float(own.mean()), rel=1e-4)
        assert level.chain_spread == pytest.approx(float(own.std()), rel=1e-2)
        z = (level.energy - float(own.mean())) / float(own.std())
        assert level.z == pytest.approx(z, rel=2e-2, abs=0.02)


def test_chains_are_the_models_own_samples():
    model = _model(sizes=2)
    found = examine(model, _noise(1, 2, 32, 40), Machine(CPU), Settings(chains=2, seed=5))
    noise = NoiseSource(5, range(2), CPU)
    told = {(p.size, p.index): p.y for p in draw(model, (32, 32), noise, Machine(CPU))}
    kept = found.chains.states
    assert {size for size, _ in kept} == {0, 1}
    for key, y in kept.items():
        torch.testing.assert_close(y, told[key], rtol=0, atol=0)
    torch.testing.assert_close(found.chains.samples, told[1, 6], rtol=0, atol=0)


def test_the_gaps_error_counts_chains_and_draws():
    assert measure.standard_error(torch.tensor([1.0, 3.0, 5.0, 7.0])) == pytest.approx(
        math.sqrt(20 / 3 / 4)
    )
    model, x = _model(), _noise(1, 2, 32, 32)
    few, many = (
        examine(model, x, Machine(CPU), Settings((0.5,), chains=n, draws=2)).sizes[0].levels[0]
        for n in (2, 24)
    )
    assert 0 < many.gap_error < few.gap_error


def test_the_exemplar_as_an_image_is_itself():
    model, x = _model(sizes=2), _noise(1, 2, 48, 48)
    found = examine(model, x, Machine(CPU), Settings((1.0, 0.2), chains=2, draws=2), x[0])
    assert {level.relative_loss for level in found.image.levels} == {1.0}
    own = [level.z for _, level in facts.steps_of(found)]
    assert [level.z for level in found.image.levels] == own
    assert [p.shape[-1] for p in found.image.pictures] == [24, 48]
    assert [m.shape for m in found.image.maps] == [(1, 24, 24), (1, 48, 48)]


def test_the_strip_goes_from_noise_to_the_sample():
    model = _model(sizes=2)
    found = examine(model, _noise(1, 2, 32, 32), Machine(CPU), Settings(chains=1, draws=1))
    sizes, levels = zip(*((size, s) for size, s, _ in found.chains.strip), strict=True)
    assert (levels[0], levels[-1]) == (pytest.approx(4.0), 0.0)
    assert list(sizes) == sorted(sizes)
    assert len(levels) >= 7
    torch.testing.assert_close(found.chains.strip[-1][2], found.chains.samples[0])


def test_small_and_large_images(monkeypatch):
    model, x = _model(), _noise(1, 2, 32, 32)
    with pytest.raises(ImageError, match="7x9 px; this model needs sides of at least 8 px"):
        examine(model, x, Machine(CPU), Settings((1.0,)), _noise(2, 9, 7))
    monkeypatch.setattr(at_size, "LARGEST", 20)
    found = examine(model, x, Machine(CPU), Settings((1.0,), 1, 1), _noise(2, 64, 16))
    assert found.image.pictures[0].shape == (2, 20, 16)


def test_units_and_colours():
    model = _model()
    grey = torch.full((1, 1, 4, 4), 160.0)
    torch.testing.assert_close(model.in_units(grey), torch.ones(1, 2, 4, 4))


# ------------------------------------------------------------------------- unknown pixels

HOLE = (..., slice(20, 30), slice(26, 40))


def _figures(found):
    """Every number of facts, in a row."""
    levels = [level for _, level in facts.steps_of(found)]
    told = [value for level in levels for value in (*vars(level).values(), *level.active)]
    told += [value for level in found.image.levels for value in vars(level).values()]
    numbers = torch.tensor([value for value in told if isinstance(value, float)])
    return torch.cat([numbers, *(one.flatten() for one in found.image.maps)])


def test_what_lies_in_a_hole_changes_no_figure():
    model, x, image = _model(sizes=2), _noise(2, 2, 64, 64), _noise(2, 64, 64, seed=1)
    known = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    known[HOLE] = False
    known[1] = True
    words = (Machine(CPU), Settings((1.0, 0.2), chains=2, draws=2))
    seen = []
    for value in (0.0, 9.0):
        holed, other = x.clone(), image.clone()
        holed[:1][HOLE] = value
        other[HOLE] = value
        found = examine(model, holed, *words, other, known, known[0, 0])
        seen.append(_figures(found))
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-4)
    plain = examine(model, holed, *words, other)
    assert not torch.allclose(_figures(plain)[: len(seen[0])], seen[1], rtol=0.1, atol=0.1)
    assert 0 < found.image.usable < 1
    assert [size.usable < 1 for size in found.sizes] == [True, True]


def test_where_all_is_known_nothing_changes():
    model, x = _model(sizes=2), _noise(1, 2, 48, 48)
    words = (Machine(CPU), Settings((1.0, 0.2), chains=2, draws=2), x[0])
    known = torch.ones(1, 1, 48, 48, dtype=torch.bool)
    one, other = examine(model, x, *words), examine(model, x, *words, known, known[0, 0])
    torch.testing.assert_close(_figures(one), _figures(other), rtol=1e-5, atol=1e-5)
    assert other.image.usable == 1


def test_a_large_picture_is_measured_where_most_of_it_is_known(monkeypatch):
    model, x = _model(), _noise(1, 2, 64, 64)
    known = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    known[..., 30:, 34:] = True
    monkeypatch.setattr(at_size, "LARGEST", 30)
    found = examine(model, x, Machine(CPU), Settings((1.0,), 1, 1), known=known)
    assert found.sizes[0].usable == 1
    assert (found.sizes[0].height, found.sizes[0].width) == (30, 30)


def test_too_little_that_is_known_is_refused_with_its_share():
    model, x = _model(), _noise(1, 2, 32, 32)
    known = torch.zeros(32, 32, dtype=torch.bool)
    known[:, ::2] = True
    sentence = r"^0.0% of the image can be measured at 1/1, pixels with 7 px of known ones"
    with pytest.raises(ImageError, match=sentence):
        examine(model, x, Machine(CPU), Settings((1.0,)), x[0], None, known)


# ------------------------------------------------------------------------------ the verdict


def _level(relative=1.0, explained=0.5, z=1.0, reduction=1, correlated=0.0):
    return ImageLevel(reduction, 1.0, 0.0, z, 0.3, relative, explained, correlated)


@pytest.mark.parametrize(
    ("levels", "kind"),
    [
        ([_level(), _level(ALIKE * 0.99)], "exemplar"),
        ([_level(), _level(ALIKE * 1.01)], "foreign"),
        ([_level(), _level(0.99 / ALIKE)], "foreign"),
        ([_level(explained=EXPLAINED / 2), _level(3.0, explained=-1)], "noise"),
        ([_level(explained=0.6, reduction=2), _level(3.0, explained=-1)], "noise"),
        ([_level(3.0, explained=-1, correlated=2 * EXPLAINED)], "foreign"),
        ([], "unknown"),
    ],
)
def test_the_rule(levels, kind):
    assert judge(levels).kind == kind


def test_the_verdict_says_why():
    sentence = judge([_level(1.1, z=-3), _level(1.7, z=2), _level(0.9, z=9)]).sentence
    assert "1.70 times the exemplar's; median |z| of the energy 3.0" in sentence


def _discs(seed, side=64):
    """Dead leaves: discs of either shade that cover one another, (1, 1, side, side)."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    x = torch.zeros(side, side)
    for _ in range(side * side // 8):
        at = torch.rand(3, generator=draw)
        inside = (rows - at[0] * side) ** 2 + (columns - at[1] * side) ** 2 < 36
        x[inside] = at[2].round() * 2 - 1
    return x[None, None]


def _waves(side=64):
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (1.4 * torch.sin(columns * 1.3 + rows * 0.9))[None, None]


@pytest.fixture(scope="module")
def learned():
    recipe = Recipe(
        layers=(
            {"filters": 16, "size": 4, "stride": 2, "vote": True},
            {"filters": 24, "size": 3, "vote": True},
        ),
        noise={"highest": 5.0, "lowest": 0.05},
        sizes={"coarsest": 1},
        reconstruction={"updates": 400, "crop": 48, "margin": 8},
        likelihood={"updates": 5, "canvas": 32, "levels": 4},
        sampler={"steps": 16},
    )
    x = _discs(0)
    plan = make_plan(recipe, x)
    *_, (state, _) = learn(plan, x, begin(plan, CPU), Machine(CPU))
    return model_of(plan, state, torch.full((1, 1, 1), 128.0), 60.0), x


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (_discs(1), "exemplar"),
        (_waves(), "foreign"),
        (torch.zeros(1, 1, 64, 64), "foreign"),
        (_noise(1, 1, 64, 64), "noise"),
        (0.5 * _noise(1, 1, 64, 64) + 1, "noise"),
    ],
)
def test_exemplar_foreign_texture_and_noise_are_told_apart(learned, image, kind):
    model, x = learned
    found = examine(model, x, Machine(CPU), Settings(draws=2), image[0])
    assert found.image.verdict.kind == kind, found.image.verdict


def test_the_map_shows_where(learned):
    model, x = learned
    image = _discs(2)
    image[..., 32:] = _waves()[..., 32:]
    found = examine(model, x, Machine(CPU), Settings(draws=2, chains=1), image[0])
    (strange,) = found.image.maps
    assert float(strange[..., 40:].mean()) > float(strange[..., :24].mean()) + 0.3
    assert float(strange[..., :24].mean()) == pytest.approx(0, abs=0.3)


def test_filters_explain_more_than_second_moments(learned):
    model, x = learned
    found = examine(model, x, Machine(CPU), Settings((0.5,)))
    (level,) = found.sizes[0].levels
    assert level.loss < 0.9 * level.gaussian_loss
