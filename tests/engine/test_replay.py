"""Recordings; what they compute on a card is tested with its kernels, here the card is played."""

from __future__ import annotations

import contextlib
import gc
from types import SimpleNamespace

import pytest
import torch

from gcn_cli.engine import replay
from gcn_cli.engine.replay import Recording, Replayed, _no_collection

CARD = torch.device("cuda")


def test_nothing_is_collected_while_a_recording_is_made():
    """A card refuses to free one recording's memory while it makes another."""
    assert gc.isenabled()
    with contextlib.suppress(ValueError), _no_collection():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()
    gc.disable()
    try:
        with _no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.fixture
def graphs(monkeypatch):
    """Plays graphs that tell how often they were recorded and replayed."""
    told = SimpleNamespace(recorded=0, replayed=0)

    class Graph:
        def replay(self):
            told.replayed += 1

    @contextlib.contextmanager
    def record(graph):
        assert not gc.isenabled()
        told.recorded += 1
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    return told


def test_a_function_runs_once_is_recorded_once_and_replayed_from_then_on(graphs):
    calls = []
    recording = Recording(lambda: (calls.append(1), len(calls)), CARD)
    results = [recording()[1] for _ in range(4)]
    assert results == [1, 2, 2, 2]
    assert (graphs.recorded, graphs.replayed) == (1, 3)
    plain = Recording(lambda: (calls.append(1), len(calls)), torch.device("cpu"))
    assert [plain()[1] for _ in range(3)] == [3, 4, 5]
    assert (graphs.recorded, graphs.replayed) == (1, 3)


class OnCard:
    """What a `Replayed` asks of a tensor, as if it lay on a card."""

    dtype, device = torch.float32, CARD

    def __init__(self, *values):
        self.values, self.shape = list(values), (len(values),)

    def stride(self):
        return (1,)

    def clone(self, memory_format=None):
        return OnCard(*self.values)

    def copy_(self, other):
        self.values = list(other.values)


def test_every_set_of_shapes_has_a_recording_over_memory_of_its_own(graphs, monkeypatch):
    def doubled(x, *rest):
        return (x,)  # a graph's results lie in the memory that it was recorded over

    monkeypatch.setattr(replay, "_MOST", 2)
    replayed = Replayed(doubled)
    first, second, third = OnCard(1.0), OnCard(1.0, 2.0), OnCard(1.0, 2.0, 3.0)
    for k, given in enumerate((first, second, first, second, first)):
        given.values[0] = float(k)
        (told,) = replayed(given)
        assert told.values == given.values
        assert told is not given
    assert (graphs.recorded, graphs.replayed) == (2, 3)
    assert len(replayed._known) == 2
    (kept,) = replayed(first)
    replayed(OnCard(99.0))
    assert kept.values == first.values  # results are copies
    assert replayed(third) == (third,)  # as many are recorded as may be: it simply runs
    assert len(replayed._known) == 2


def test_on_a_processor_it_simply_runs():
    replayed, x = Replayed(lambda x: (x,)), torch.ones(2)
    assert replayed(x)[0] is x
    assert not replayed._known
