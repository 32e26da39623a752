"""Several processes share work out and agree; a process that is alone does nothing for it."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from gcn_cli.engine import machine as machine_of
from gcn_cli.engine.machine import choose_device, describe, joined
from gcn_cli.engine.ranks import Ranks, join, local_rank
from gcn_cli.engine.support import Machine
from gcn_cli.errors import DeviceError, GcnError, ImageError, PeerError

SIZES = [1, 2, 3, 4, 7]


def _all(size):
    return [Ranks(rank, size) for rank in range(size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 16])
def test_every_item_is_one_processs_own_in_order_and_loads_are_even(n, size):
    items = range(10, 10 + n)
    own = [ranks.own(items) for ranks in _all(size)]
    assert [item for part in own for item in part] == list(items)
    lengths = [len(part) for part in own if len(part)]
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == min(n, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 16])
def test_means_over_parts_make_up_the_mean_over_all(n, size):
    values = torch.arange(n, dtype=torch.float64) ** 2
    parts = [(ranks.share(n), ranks.part(values)) for ranks in _all(size)]
    assert all(len(part) for _, part in parts)
    mean = sum(share * part.mean() for share, part in parts)
    assert float(mean) == pytest.approx(float(values.mean()))


def test_alone_nothing_is_touched_and_nothing_is_asked():
    alone, values = Ranks(), torch.randn(3, 2)
    assert alone.leads
    assert alone.part(values) is values
    assert alone.whole(values, 3) is values
    assert alone.mean(1.0, values)[0] is values
    assert alone.agreed(values) is values
    assert local_rank() is None
    assert join(torch.device("cpu")) == alone


def test_one_process_under_the_launcher_is_alone(launched):
    launched(0, 1)
    assert join(torch.device("cpu")) == Ranks()


def test_every_process_has_a_card_of_its_own(launched, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    launched(1, 3)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    launched(2, 3)
    with pytest.raises(DeviceError, match="there is no cuda:2; this machine has 2"):
        choose_device("auto")
    monkeypatch.setattr(machine_of, "join", lambda device: Ranks(1, 3))
    launched(1, 3)
    own = Machine(torch.device("cuda:1"))
    assert joined(own).ranks == Ranks(1, 3)
    with pytest.raises(DeviceError, match="leave out --device cuda:0"):
        joined(Machine(torch.device("cuda:0")))


def test_the_log_tells_how_many_processes_there_are():
    cpu = torch.device("cpu")
    assert describe(Machine(cpu, ranks=Ranks(0, 3))).startswith("3 processes of CPU, ")


@pytest.mark.parametrize("n", [2, 5])
def test_three_processes_find_the_mean_and_the_whole_and_agree(n, together):
    rows = torch.randn(n, 2, 3)

    def work(ranks):
        part = ranks.part(rows)
        mean, first = ranks.mean(ranks.share(n), part.mean(0), part[:, 0, 0].mean())
        return mean, first, ranks.whole(part, n), ranks.agreed(ranks.rank), ranks.leads

    for rank, (mean, first, whole, agreed, leads) in enumerate(together(3, work)):
        torch.testing.assert_close(mean, rows.mean(0))
        torch.testing.assert_close(first, rows[:, 0, 0].mean())
        assert torch.equal(whole, rows)
        assert agreed == 0
        assert leads == (rank == 0)


def test_an_error_of_one_is_raised_by_all(together):
    def fail(rank):
        if rank == 1:
            raise ImageError("no such picture")
        return rank

    def work(ranks):
        try:
            return ranks.every(lambda: fail(ranks.rank))
        except GcnError as error:
            return type(error), str(error)

    assert together(2, work) == [(ImageError, "no such picture")] * 2


def test_who_is_left_learns_that_another_process_is_gone(together):
    def work(ranks):
        if ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            ranks.mean(0.5, torch.ones(3))
        except PeerError as error:
            return str(error)

    assert together(2, work) == ["another process of this run is gone or does not answer", None]
