#!/usr/bin/env python3
"""What more channels cost: an update of reconstruction of nine channels beside one of three.

    python benchmarks/bench_channels.py [--rounds 25]

The network and the crops of preset `texture`; both taken in turn, medians told.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from gcn_cli.engine import choose_machine, describe, open_engine
from gcn_cli.field.network import initial_weights
from gcn_cli.run.config import resolve
from gcn_cli.run.schema import TextureConfig


def update(channels: int, given: bool) -> Callable[[], object]:
    """One update, ready to be taken."""
    config = resolve("texture")
    assert isinstance(config, TextureConfig)
    act, net, machine = config.reconstruction, config.net(channels), choose_machine("cpu", "auto")
    engine = open_engine(net, machine.device, machine.dtype)
    weights = initial_weights(net, torch.Generator().manual_seed(0))
    shape = (act.batch, channels, act.crop, act.crop)
    x, noise = torch.randn(shape), torch.randn(shape)
    s = torch.full((act.batch,), 0.3)
    beside = torch.randn(shape) if given else None
    return lambda: engine.reconstruction(x, noise, s, weights, act.margin, beside)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    print(describe(choose_machine("cpu", "auto")))
    for given in (False, True):
        updates = {channels: update(channels, given) for channels in (3, 9)}
        times: dict[int, list[float]] = {channels: [] for channels in updates}
        for _ in range(args.rounds):
            for channels, take in updates.items():
                started = time.perf_counter()
                take()
                times[channels].append(1e3 * (time.perf_counter() - started))
        three, nine = (statistics.median(times[channels]) for channels in (3, 9))
        size = "finer sizes" if given else "coarsest size"
        print(
            f"{size}: 3 channels {three:.1f} ms, 9 channels {nine:.1f} ms, {nine / three:.2f} times"
        )


if __name__ == "__main__":
    main()
