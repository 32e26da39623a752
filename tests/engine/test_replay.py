"""Recordings; what they compute on a card is tested with its kernels."""

from __future__ import annotations

import contextlib
import gc

from gcn_cli.engine.replay import _no_collection


def test_nothing_is_collected_while_a_recording_is_made():
    """A card refuses to free one recording's memory while it makes another."""
    assert gc.isenabled()
    with contextlib.suppress(ValueError), _no_collection():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()
