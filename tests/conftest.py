"""What the tests share: one thread, a variety of small networks, fixed weights and images."""

from __future__ import annotations

import math
import multiprocessing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from gcn_cli.engine.ranks import Ranks
from gcn_cli.engine.support import Machine
from gcn_cli.field.convnet import Boundary, ConvNet, LayerSpec, LayerWeights, Weights
from gcn_cli.run.config import validate
from gcn_cli.run.schema import Config


class Case(NamedTuple):
    """A network on a canvas."""

    net: ConvNet
    boundary: Boundary
    size: tuple[int, int]


def _net(*layers: LayerSpec, channels: int = 2) -> ConvNet:
    return ConvNet(layers, channels)


L = LayerSpec
CASES = {
    "bounded, stride 1": Case(_net(L(3, 3, 1, 1), L(2, 3, 1, 2)), "bounded", (6, 7)),
    "bounded, stride 2": Case(_net(L(3, 4, 2, 1), L(2, 3, 1, 1)), "bounded", (7, 10)),
    "bounded, stride 3": Case(_net(L(3, 5, 3, 2), L(2, 2, 2)), "bounded", (11, 13)),
    "bounded, strides 1 2": Case(_net(L(3, 3, 1, 2), L(2, 3, 2, 2)), "bounded", (6, 7)),
    "full-map top, no ReLU": Case(_net(L(3, 3, 2), L(1, 4, relu=False)), "bounded", (9, 9)),
    "three layers": Case(_net(L(3, 4, 3, 2), L(3, 3, 1, 2), L(2, 3, 1, 2)), "bounded", (12, 10)),
    "torus, stride 1": Case(_net(L(3, 3), L(2, 4)), "torus", (6, 8)),
    "torus, stride 2": Case(_net(L(3, 4, 2), L(2, 3)), "torus", (8, 6)),
    "torus, odd filter": Case(_net(L(3, 5, 2), L(2, 3)), "torus", (8, 6)),
    "torus, strides 3 2": Case(_net(L(3, 5, 3), L(2, 3, 2)), "torus", (12, 18)),
    "valid, stride 1": Case(_net(L(3, 3), L(2, 3), channels=1), "valid", (7, 6)),
    "valid, stride 2": Case(_net(L(3, 5, 2), L(2, 3)), "valid", (12, 11)),
    "valid, strides 3 2": Case(_net(L(3, 4, 3), L(2, 3, 2)), "valid", (17, 15)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="session")
def machine(cpu: torch.device) -> Machine:
    return Machine(cpu)


def _draw_weights(
    net: ConvNet, seed: int = 0, *, gain: float = 1.0, bias: float = 0.3, dtype=torch.float64
) -> Weights:
    """Random filters of He size times ``gain``, random biases: about half of the units are on."""
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for spec, c in zip(net.layers, net.in_channels(), strict=True):
        shape = (spec.filters, c, spec.size, spec.size)
        scale = gain * math.sqrt(2 / (c * spec.size**2))
        w = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        b = torch.randn(spec.filters, generator=generator, dtype=torch.float64) * bias
        weights.append(LayerWeights(w.to(dtype), b.to(dtype)))
    return tuple(weights)


def _all_on_weights(
    net: ConvNet, seed: int = 0, *, gain: float = 1.0, bias: float = 1e3
) -> Weights:
    """Every unit is on for any image of moderate size, so that B depends on the weights alone."""
    weights = _draw_weights(net, seed, gain=gain)
    return tuple(
        LayerWeights(w.abs() if index else w, torch.full_like(b, bias))
        for index, (w, b) in enumerate(weights)
    )


def _draw_images(*shape: int, seed: int = 1, scale: float = 1.0, dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


@pytest.fixture(scope="session")
def draw_weights() -> Callable[..., Weights]:
    return _draw_weights


@pytest.fixture(scope="session")
def all_on_weights() -> Callable[..., Weights]:
    return _all_on_weights


@pytest.fixture(scope="session")
def basis_by_autograd() -> Callable[..., Tensor]:
    """B(I) by automatic differentiation: the oracle for `ConvNet.basis`."""

    def build(net: ConvNet, images: Tensor, weights: Weights, boundary: Boundary) -> Tensor:
        leaf = images.detach().requires_grad_(True)
        return torch.autograd.grad(net.tilt(leaf, weights, boundary).sum(), leaf)[0]

    return build


@pytest.fixture(scope="session")
def draw_images() -> Callable[..., Tensor]:
    return _draw_images


@pytest.fixture(scope="session")
def picture() -> Tensor:
    """A striped 24 px grey picture in whole grey levels, (1, 1, 24, 24)."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    waves = 40 * torch.sin(2 * math.pi * (x + y) / 6)
    return (120 + waves + 20 * _draw_images(24, 24, dtype=torch.float32)).round()[None, None]


@pytest.fixture(scope="session")
def small_data() -> Callable[..., dict[str, Any]]:
    """Builds the mapping of a small config; learning=..., langevin=... change single keys."""

    def build(**changes: Any) -> dict[str, Any]:
        data: dict[str, Any] = {
            "kind": "field",
            "boundary": "torus",
            "canvas": 16,
            "layers": [{"filters": 4, "size": 4, "stride": 2}, {"filters": 3, "size": 3}],
            "langevin": {"sigma": 20.0, "eps": 6.0},
            "init": {"top_gain": 0.3},
            "learning": {
                "chains": "persistent",
                "count": 2,
                "steps": 2,
                "updates": 6,
                "optimiser": {"name": "adam", "rate": 1e-3},
            },
            "sampling": {"start_noise": 1.0},
        }
        for key, value in changes.items():
            data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
        return data

    return build


@pytest.fixture(scope="session")
def small_config(small_data: Callable[..., dict[str, Any]]) -> Callable[..., Config]:
    """Builds a small config on a torus; see `small_data`."""
    return lambda **changes: validate(small_data(**changes))


@pytest.fixture(scope="session")
def texture_data() -> Callable[..., dict[str, Any]]:
    """Builds the mapping of a tiny recipe at two sizes; likelihood=... changes single keys."""

    def build(**changes: Any) -> dict[str, Any]:
        data: dict[str, Any] = {
            "kind": "texture",
            "layers": [
                {"filters": 8, "size": 4, "stride": 2, "vote": True},
                {"filters": 8, "size": 3, "vote": True},
            ],
            "sizes": {"coarsest": 2},
            "reconstruction": {
                "updates": 30,
                "finer_updates": 30,
                "batch": 1,
                "crop": 24,
                "margin": 4,
            },
            "likelihood": {
                "updates": 2,
                "finer_updates": 2,
                "chains": 1,
                "canvas": 16,
                "levels": 2,
            },
            "sampler": {"steps": 4, "langevin": 1, "finer_steps": 3},
            "output": {"grid_every": 25, "checkpoint_every": 25},
        }
        for key, value in changes.items():
            data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
        return data

    return build


def _blurred(width: float, side: int = 64, n: int = 1, channels: int = 1, seed: int = 0) -> Tensor:
    """Noise on a torus blurred by a Gaussian of ``width`` px, in units of contrast."""
    rng = torch.Generator().manual_seed(seed)
    white = torch.randn(n, channels, side, side, generator=rng)
    f = torch.fft.fftfreq(side)
    far = f[:, None] ** 2 + f[None] ** 2
    y = torch.fft.ifft2(torch.fft.fft2(white) * torch.exp(-2 * (torch.pi * width) ** 2 * far)).real
    return (y - y.mean()) / y.std()


@pytest.fixture(scope="session")
def blurred() -> Callable[..., Tensor]:
    return _blurred


def _member(ranks: Ranks, folder: Path, work: Callable[[Ranks], Any]) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=ranks.rank, world_size=ranks.size
    )
    torch.save(work(ranks), folder / f"{ranks.rank}.pt")


@pytest.fixture
def together(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """What a function of `Ranks` returns in each of ``size`` processes; None where one died."""

    def run(size: int, work: Callable[[Ranks], Any]) -> list[Any]:
        folder = tmp_path_factory.mktemp("together")
        context = multiprocessing.get_context("fork")  # PyTorch is loaded already
        members = [
            context.Process(target=_member, args=(Ranks(rank, size), folder, work))
            for rank in range(size)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads that nobody uses
            for member in members:
                member.start()
        for member in members:
            member.join(120)
            member.kill()  # whoever still waits for another
        told = [folder / f"{rank}.pt" for rank in range(size)]
        return [torch.load(f, weights_only=False) if f.exists() else None for f in told]

    return run


@pytest.fixture(scope="session")
def alone() -> Ranks:
    return Ranks()


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Plays process ``number`` of ``size`` that torchrun started."""

    def play(number: int, size: int) -> None:
        told = {"TORCHELASTIC_RUN_ID": "x", "RANK": number, "LOCAL_RANK": number}
        for name, value in {**told, "WORLD_SIZE": size}.items():
            monkeypatch.setenv(name, str(value))

    return play
