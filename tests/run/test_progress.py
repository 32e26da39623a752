"""Progress goes to stderr, in the form that fits it."""

import io
import sys

import pytest

from gcn_cli.run.progress import NullProgress, PlainProgress, TqdmProgress, make_progress


def drive(progress):
    progress.start(3, "learn")
    for done in (1, 2, 3):
        progress.update(done, {"loss": f"{done}.0"})
    progress.message("a sentence")
    progress.close()
    progress.close()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("kind", [NullProgress, PlainProgress, TqdmProgress])
def test_stdout_stays_empty(capsys, kind):
    drive(kind())
    out, err = capsys.readouterr()
    assert out == ""
    assert ("a sentence" in err) == (kind is not NullProgress)


def test_plain_lines_come_at_most_every_interval():
    stream, now = io.StringIO(), [100.0]
    progress = PlainProgress(stream, interval=10, clock=lambda: now[0])
    progress.start(50, "learn")
    for done in range(1, 51):
        progress.update(done, {"gap": "0.1", "rate": "5/s"})
        now[0] += 1
    steps = [int(line.split()[1].split("/")[0]) for line in stream.getvalue().splitlines()]
    assert steps == [1, 11, 21, 31, 41, 50]
    assert stream.getvalue().splitlines()[0] == "learn 1/50  gap 0.1  rate 5/s"


def test_every_plain_stretch_begins_with_a_line():
    stream = io.StringIO()
    progress = PlainProgress(stream, interval=1e9)
    for name in ("one", "two"):
        progress.start(9, name)
        progress.update(1, {})
        progress.update(2, {})
    assert stream.getvalue() == "one 1/9\ntwo 1/9\n"


def test_bar_counts_absolutely_and_shows_figures():
    stream = io.StringIO()
    progress = TqdmProgress(stream)
    progress.start(10, "learn")
    progress.update(4, {"gap": "0.1"})
    progress.update(10, {"gap": "0.2"})
    progress.close()
    assert "learn: 100%" in stream.getvalue()
    assert "10/10" in stream.getvalue()
    assert "gap=0.2" in stream.getvalue()


def test_a_new_bar_closes_the_old_and_early_calls_are_harmless():
    progress = TqdmProgress(io.StringIO())
    progress.update(3, {})
    progress.close()
    progress.start(5, "one")
    progress.start(5, "two")
    progress.close()


@pytest.mark.parametrize(
    ("quiet", "stream", "kind"),
    [
        (True, Terminal(), NullProgress),
        (True, io.StringIO(), NullProgress),
        (False, Terminal(), TqdmProgress),
        (False, io.StringIO(), PlainProgress),
    ],
)
def test_the_form_fits_stderr(monkeypatch, quiet, stream, kind):
    monkeypatch.setattr(sys, "stderr", stream)
    assert type(make_progress(quiet)) is kind
