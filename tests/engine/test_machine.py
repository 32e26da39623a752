"""Which device and which arithmetic a name gets, with and without a card; the card is played."""

from __future__ import annotations

import os

import pytest
import torch

from gcn_cli.engine import machine, support
from gcn_cli.engine.machine import (
    choose_device,
    choose_machine,
    describe,
    free_memory,
    has_bfloat16,
    is_out_of_memory,
    total_memory,
)
from gcn_cli.engine.support import Machine, has_kernels
from gcn_cli.errors import DeviceError

CPU = torch.device("cpu")


@pytest.fixture
def cards(monkeypatch):
    """Plays a machine with so many cards of a capability; tells which one was made current."""

    def play(count, capability=(9, 0)):
        current = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card")
        monkeypatch.setattr(torch.cuda, "set_device", current.append)
        return current

    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    yield play
    for place, on in zip(places, before, strict=True):
        place.allow_tf32 = on


@pytest.fixture
def bfloat16(monkeypatch):
    """Plays a processor that multiplies bfloat16, or does not."""
    return lambda has: monkeypatch.setattr(machine, "has_bfloat16", lambda: has)


def test_names_choose_among_the_devices_that_are_there(cards):
    cards(2)
    for name, device in (("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", "cpu")):
        assert choose_device(name) == torch.device(device)
    with pytest.raises(DeviceError, match="there is no cuda:2; this machine has 2"):
        choose_device("cuda:2")


def test_without_a_card_auto_is_the_processor_and_cuda_is_refused(cards):
    cards(0)
    assert choose_device() == CPU
    for name in ("cuda", "cuda:0"):
        with pytest.raises(DeviceError, match="no CUDA device"):
            choose_device(name)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cpu:x", "cuda:-1", ""])
def test_names_that_mean_nothing_are_refused(name, cards):
    cards(2)
    with pytest.raises(DeviceError, match="there is no device"):
        choose_device(name)


@pytest.mark.parametrize(
    ("precision", "wanted", "has", "dtype"),
    [
        ("auto", "auto", True, torch.bfloat16),
        ("auto", "auto", False, torch.float32),
        ("auto", "fp32", True, torch.float32),
        ("auto", "bf16", False, torch.bfloat16),
        ("fp32", "bf16", True, torch.float32),
        ("bf16", "fp32", False, torch.bfloat16),
    ],
)
def test_the_flag_wins_over_the_config_and_auto_is_what_the_hardware_does_fast(
    precision, wanted, has, dtype, cards, bfloat16
):
    bfloat16(has)
    cards(0)
    assert choose_machine("cpu", precision, wanted) == Machine(CPU, dtype)
    cards(1, (8, 0) if has else (7, 5))
    assert choose_machine("cuda", precision, wanted) == Machine(torch.device("cuda"), dtype)


def test_tf32_is_for_cards_and_switches_their_arithmetic(cards):
    current = cards(2)
    with pytest.raises(DeviceError, match="tf32 is arithmetic of CUDA devices"):
        choose_machine("cpu", "tf32")
    with pytest.raises(DeviceError, match="tf32 is arithmetic of CUDA devices"):
        choose_machine("cpu", "auto", "tf32")
    for precision in ("tf32", "fp32", "bf16"):
        told = choose_machine("cuda:1", precision)
        assert (told.dtype is torch.bfloat16) == (precision == "bf16")
        on = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        assert on == ((precision == "tf32",) * 2)
    assert current == [torch.device("cuda:1")] * 3
    choose_machine("cuda", "fp32")
    assert len(current) == 3  # the current device may stay what it is
    with pytest.raises(DeviceError, match="there is no precision 'fp8'"):
        choose_machine("cpu", "fp8")


@pytest.mark.parametrize("units", [(True, False), (False, True), (False, False)])
def test_either_kind_of_unit_multiplies_bfloat16(units, monkeypatch):
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    for name, has in zip(names, units, strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda has=has: has, raising=False)
    assert has_bfloat16() == any(units)
    for name in names:
        monkeypatch.delattr(torch.cpu, name)
    assert not has_bfloat16()


def test_a_card_is_described_by_its_arithmetic_and_its_kernels(cards, monkeypatch):
    cards(1)
    card, kernels = torch.device("cuda"), [True]
    monkeypatch.setattr(machine, "has_kernels", lambda device: kernels[0])
    assert describe(Machine(card, torch.bfloat16)) == "Card, bf16, own kernels"
    kernels[0] = False
    assert describe(Machine(card, torch.bfloat16)) == "Card, bf16, PyTorch's kernels"
    kernels[0] = True
    for on, kind in ((True, "tf32"), (False, "fp32")):
        torch.backends.cudnn.allow_tf32 = on
        assert describe(Machine(card)) == f"Card, {kind}, PyTorch's kernels"
        assert describe(Machine(CPU)) == f"CPU, {torch.get_num_threads()} threads, fp32"
    assert describe(Machine(CPU, torch.float64)).endswith("torch.float64")


def test_memory_that_a_host_does_not_tell_of_is_taken_as_four_gib(monkeypatch):
    pages = {"SC_AVPHYS_PAGES": 10, "SC_PHYS_PAGES": 30, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert (free_memory(CPU), total_memory()) == (10 * 4096, 30 * 4096)

    def silent(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", silent)
    assert (free_memory(CPU), total_memory()) == (4 * 2**30, None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7, 9))
    assert free_memory(torch.device("cuda")) == 7


def test_running_out_of_memory_is_known_by_its_kind_or_its_words():
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(RuntimeError("you tried to allocate memory of 9 TB"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_kernels_are_for_cards_that_are_new_enough_and_build_them(cards, monkeypatch):
    known = has_kernels.__wrapped__  # without what is remembered of this machine
    card = torch.device("cuda")
    monkeypatch.setattr(support, "find_spec", lambda name: name)
    cards(1, (7, 5))
    assert known(card) is False
    cards(1, (8, 0))
    if not torch.backends.cuda.is_built():
        assert known(card) is False  # whatever is raised on the way
    monkeypatch.setattr(support, "find_spec", lambda name: None)
    assert known(card) is False
    assert known(CPU) is False
