"""When a run writes and when it stops; the whole of it is tested with the verb `train`."""

from __future__ import annotations

import math
import time

import pytest

from gcn_cli.run.experiment import Stop, _due


def test_a_run_stops_at_its_deadline_or_at_a_signal():
    now = time.monotonic()
    assert not Stop().wanted
    assert not Stop(deadline=now + 1000).wanted
    assert not Stop(deadline=math.inf).wanted
    assert Stop(deadline=now).wanted
    assert Stop(signal_exit_code=130).wanted
    assert Stop(deadline=now + 1000, signal_exit_code=0).wanted


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [(0, 9, False), (0, 10, True), (9, 10, True), (10, 11, False), (9, 31, True), (19, 20, True)],
)
def test_what_is_written_every_ten_beats_is_due_when_a_multiple_was_passed(last, now, due):
    assert _due(10, last, now) == due
