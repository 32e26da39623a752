"""The CUDA path computes what the reference computes; its kernels also in Triton's interpreter."""

from __future__ import annotations

import itertools
import os
from importlib.util import find_spec

import pytest
import torch

from gcn_cli.engine import NoiseSource
from gcn_cli.engine.device import DeviceBasis, make_basis
from gcn_cli.engine.fused import FusedBasis
from gcn_cli.engine.support import has_kernels
from gcn_cli.field.convnet import (
    ConvNet,
    LayerSpec,
    LayerWeights,
    initial_weights,
    map_weights,
)
from gcn_cli.field.langevin import ChainState, LangevinParams, run_langevin

HAS_CUDA = torch.cuda.is_available()
if not HAS_CUDA:  # read when the kernels are first imported
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

CASES = {
    "paper": ((LayerSpec(10, 7, 3, 2), LayerSpec(6, 5, 1, 2), LayerSpec(5, 3, 1, 1)), 3, (20, 22)),
    "colours": ((LayerSpec(40, 6, 2, 1), LayerSpec(70, 3, 1, 1)), 5, (18, 16)),
    "grey": ((LayerSpec(9, 5, 1, 2), LayerSpec(7, 3, 1, 1)), 1, (12, 13)),
    "object": ((LayerSpec(10, 5, 2, 1), LayerSpec(3, 8, 1, 0, relu=False)), 3, (17, 17)),
}
TORI = {"paper": (21, 18), "colours": (12, 16), "grey": (12, 11)}


@pytest.fixture
def device():
    return torch.device("cuda" if HAS_CUDA else "cpu")


def _case(name, size, device, seed=0):
    layers, channels, _ = CASES[name]
    net = ConvNet(layers, channels)
    rng = torch.Generator().manual_seed(seed)
    weights = tuple(
        LayerWeights(w.to(device), (0.3 * torch.randn(b.shape, generator=rng)).to(device))
        for w, b in initial_weights(net, rng)
    )
    images = torch.randn(2, channels, *size, generator=rng).to(device)
    return net, weights, images


def _basis(net, images, boundary, dtype=torch.float32):
    return DeviceBasis(net, tuple(images.shape), boundary, dtype, images.device)


def _noise(seed, chains, device):
    source = NoiseSource(seed, chains, device)
    source._numbers = torch.tensor(source.chains, dtype=torch.int32, device=device)
    return source


@pytest.fixture(autouse=True)
def exact():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def _places():
    for name, (_, _, size) in CASES.items():
        yield name, "bounded", size
        if name in TORI:
            yield name, "torus", TORI[name]


@pytest.mark.parametrize(("name", "boundary", "size"), list(_places()))
def test_the_basis_is_the_references(name, boundary, size, device):
    net, weights, images = _case(name, size, device)
    fast = _basis(net, images, boundary).load(weights)(images)
    exact = [t.double().cpu() for t in (images,)]
    truth = net.basis(exact[0], map_weights(lambda t: t.double().cpu(), weights), boundary)
    assert float(truth.abs().max()) > 0.1
    torch.testing.assert_close(fast.double().cpu(), truth, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("boundary", ["bounded", "torus"])
@pytest.mark.parametrize("name", ["paper", "colours"])
def test_a_run_is_the_step_by_step_chain(name, boundary, device):
    size = TORI[name] if boundary == "torus" else CASES[name][2]
    net, weights, images = _case(name, size, device)
    for dither, centre in ((1, None), (4, 0.3 * images.flip(0))):
        if (dither > 1) is (boundary == "bounded"):
            continue
        params = LangevinParams(1.0, 0.3, dither=dither)
        noise, state = _noise(3, (2, 70000), device), ChainState(images, 5)

        def plain(x, net=net, weights=weights, boundary=boundary):
            return net.basis(x, weights, boundary)

        field = _basis(net, images, boundary).load(weights)
        want = run_langevin(state, plain, params, 2, noise, centre)
        for _ in range(3 if HAS_CUDA else 1):  # launched, recorded, replayed
            got = run_langevin(state, field, params, 2, noise, centre)
            torch.testing.assert_close(got[0].images, want[0].images, atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(got[1].basis, want[1].basis, atol=2e-5, rtol=1e-4)
            assert got[0].step == want[0].step


def test_a_recorded_run_follows_new_weights_noise_and_centres(device):
    net, weights, images = _case("grey", TORI["grey"], device)
    field = _basis(net, images, "torus")
    params = LangevinParams(1.0, 0.3)
    seen = []
    for round_ in range(4 if HAS_CUDA else 2):
        here = map_weights(lambda t, k=round_: t * (1 + 0.2 * k), weights)
        noise, centre = _noise(round_, (0, 1), device), images * 0.1 * round_
        got = run_langevin(
            ChainState(images, 9 * round_), field.load(here), params, 2, noise, centre
        )

        def plain(x, here=here):
            return net.basis(x, here, "torus")

        want = run_langevin(ChainState(images, 9 * round_), plain, params, 2, noise, centre)
        torch.testing.assert_close(got[0].images, want[0].images, atol=2e-5, rtol=1e-4)
        seen.append(got[0].images)
    assert all(not torch.allclose(a, b, atol=0.05) for a, b in itertools.pairwise(seen))


@pytest.mark.skipif(HAS_CUDA, reason="a card builds the kernels")
def test_where_kernels_cannot_be_built_the_plain_way_is_taken(cpu):
    assert not has_kernels(cpu)
    assert not has_kernels(torch.device("cuda"))
    net = ConvNet(*CASES["paper"][:2])
    assert isinstance(make_basis(net, (1, 3, 20, 22), "bounded", torch.bfloat16, cpu), FusedBasis)


@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")
def test_kernels_are_taken_for_bfloat16_and_nets_that_they_fit(device):
    paper, coarse = CASES["paper"][0], (LayerSpec(4, 4, 2, 1), LayerSpec(4, 4, 2, 1))
    for layers, dtype, kind in (
        (paper, torch.bfloat16, DeviceBasis),
        (paper, torch.float32, FusedBasis),
        (coarse, torch.bfloat16, FusedBasis),
    ):
        shape = (1, 3, 20, 24)
        assert isinstance(make_basis(ConvNet(layers), shape, "bounded", dtype, device), kind)


@pytest.mark.skipif(not HAS_CUDA, reason="the interpreter cuts bfloat16 off, a card rounds it")
def test_bfloat16_is_the_basis_up_to_its_rounding(device):
    net, weights, images = _case("paper", TORI["paper"], device)
    truth = net.basis(images, weights, "torus")
    fast = _basis(net, images, "torus", torch.bfloat16).load(weights)(images)
    other = FusedBasis(net, tuple(images.shape), "torus", torch.bfloat16, device).load(weights)
    ours, theirs = ((b - truth).square().mean() for b in (fast, other(images)))
    assert 0 < float(ours) < 1.5 * float(theirs)


def test_kernel_noise_is_normal_and_keyed_by_chain_step_and_purpose(device, monkeypatch):
    monkeypatch.setattr("gcn_cli.engine.noise.BAND", 4)  # 256 rows take the interpreter minutes
    shape = (3, 5, 6, 250)
    whole = _noise(3, (0, 4, 9), device).normal_(torch.empty(shape, device=device), "langevin", 7)
    flat = whole.double().flatten(1)
    moments = [flat.mean(), flat.square().mean(), flat.pow(3).mean(), flat.pow(4).mean()]
    for found, true, slack in zip(moments, (0, 1, 0, 3), (0.025, 0.04, 0.1, 0.3), strict=True):
        assert abs(float(found) - true) < slack
    assert float(torch.corrcoef(flat).fill_diagonal_(0).abs().max()) < 0.05
    planes = whole.double()[0].flatten(1)
    assert float(torch.corrcoef(planes).fill_diagonal_(0).abs().max()) < 0.1
    alone = _noise(3, (4,), device).normal_(
        torch.empty(1, *shape[1:], device=device), "langevin", 7
    )
    assert torch.equal(alone[0], whole[1])
    tail = torch.empty(3, 5, 2, 250, device=device)
    assert torch.equal(
        _noise(3, (0, 4, 9), device).normal_(tail, "langevin", 7, 4), whole[:, :, 4:]
    )
    last = torch.empty(shape, device=device).contiguous(memory_format=torch.channels_last)
    assert torch.equal(_noise(3, (0, 4, 9), device).normal_(last, "langevin", 7), whole)
    for seed, purpose, step in ((4, "langevin", 7), (3, "start", 7), (3, "langevin", 8)):
        other = torch.empty(shape, device=device)
        _noise(seed, (0, 4, 9), device).normal_(other, purpose, step)
        assert abs(float((other * whole).mean())) < 0.03


@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_learning_and_sampling_repeat_and_resume_on_the_device(
    small_config, picture, tmp_path, precision
):
    from gcn_cli.engine.support import Machine
    from gcn_cli.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from gcn_cli.run.field_packing import state_to
    from gcn_cli.run.jobs import mean_colour
    from gcn_cli.run.plan import Subject, build_plan
    from gcn_cli.texture.paper.draw import final_images, synthesize
    from gcn_cli.texture.paper.learn import begin, current_model, learn

    machine = Machine(torch.device("cuda"), precision)
    config = small_config(learning={"chains": "restart"})
    mean = mean_colour(picture)
    plan = build_plan(config, Subject.of(picture, mean))
    first = [state for state, _ in learn(plan, picture, mean, begin(), machine)]
    again = [state for state, _ in learn(plan, picture, mean, begin(), machine)]
    half = first[len(first) // 2]
    model = current_model(plan, half, mean)
    save_checkpoint(tmp_path / "h.pt", Checkpoint(config, picture, mean, half, model, False))
    back = state_to(load_checkpoint(tmp_path / "h.pt").state, machine.device)
    resumed = [state for state, _ in learn(plan, picture, mean, back, machine)]
    made = []
    for states in (first, again, resumed):
        model = current_model(plan, states[-1], mean)
        course = synthesize(
            model, (64, 64), range(2), 5, device=machine.device, dtype=machine.dtype
        )
        made.append(final_images(course))
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
