"""The error tree: one base class, the documented exit codes, and no PyTorch on import."""

import subprocess
import sys

import pytest

from gcn_cli import errors

EXIT_CODES = {
    errors.GcnError: 1,
    errors.ConfigError: 2,
    errors.UsageError: 2,
    errors.ImageError: 2,
    errors.CheckpointError: 2,
    errors.DeviceError: 2,
    errors.DivergenceError: 3,
    errors.PeerError: 1,
    errors.Interrupted: 130,
}


@pytest.mark.parametrize(("kind", "code"), EXIT_CODES.items())
def test_exit_codes(kind, code):
    assert kind.exit_code == code
    assert issubclass(kind, errors.GcnError)
    assert str(kind("One sentence.")) == "One sentence."


def test_no_error_is_missing_from_the_tree_or_its_drawing():
    kinds = {
        k for k in vars(errors).values() if isinstance(k, type) and k.__module__ == "gcn_cli.errors"
    }
    assert kinds == set(EXIT_CODES)
    for kind, code in EXIT_CODES.items():
        (line,) = [x for x in errors.__doc__.splitlines() if f"{kind.__name__} " in x and "  " in x]
        assert f" {code} " in line


@pytest.mark.parametrize("code", [130, 143])
def test_interrupted_tells_the_signal(code):
    error = errors.Interrupted("Saved.", signal_exit_code=code)
    assert error.signal_exit_code == error.exit_code == code
    assert errors.Interrupted.exit_code == 130


def test_the_package_imports_without_torch():
    probe = "import sys, gcn_cli, gcn_cli.errors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
