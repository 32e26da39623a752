"""Every error that a user of gcn can meet, with the exit code it leads to.

    GcnError                 1    any other failure that has a sentence to tell
    ├── ConfigError          2    a configuration key or value that cannot be used
    ├── UsageError           2    a command called in a way that makes no sense
    ├── ImageError           2    an image that cannot be read, written or compared
    ├── CheckpointError      2    a checkpoint that is missing, damaged, foreign or hostile
    ├── DeviceError          2    hardware or memory that was asked for and is not there
    ├── DivergenceError      3    learning or sampling that ran away beyond repair
    ├── PeerError            1    another process of the same run that is gone
    └── Interrupted        130    stopped by Ctrl-C (130), SIGTERM (143) or SIGHUP (129)

The message of each is one sentence for the user: what is wrong, with which file or key, and, where
there is one, the way out.
"""

from __future__ import annotations

_LONGEST = 2000


class GcnError(Exception):
    """A failure explained by its message.

    Args:
        message: one sentence; what in it a terminal could not show is escaped, for it may repeat
            what was given.

    Attributes:
        exit_code: what the process returns to the shell when the error reaches the top.
    """

    exit_code: int = 1

    def __init__(self, message: str = ""):
        clipped = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} ..."
        shown = (c if c.isprintable() else ascii(c)[1:-1] for c in clipped)
        super().__init__("".join(shown))


class ConfigError(GcnError):
    """A configuration key or value cannot be used."""

    exit_code = 2


class UsageError(GcnError):
    """A command was called with arguments that do not belong together or mean nothing."""

    exit_code = 2


class ImageError(GcnError):
    """An image cannot be read or written, or does not fit the purpose."""

    exit_code = 2


class CheckpointError(GcnError):
    """A checkpoint is missing, damaged, foreign, too new or hostile."""

    exit_code = 2


class DeviceError(GcnError):
    """The hardware asked for is missing, or its memory does not suffice."""

    exit_code = 2


class DivergenceError(GcnError):
    """Learning or sampling ran away and every repair was tried."""

    exit_code = 3


class PeerError(GcnError):
    """Another process of the same run is gone, or does not answer."""


class Interrupted(GcnError):  # noqa: N818 - a request of the user, not a failure
    """The run was asked to stop, and has saved what it had.

    Args:
        message: one sentence, saying what was saved and where.
        signal_exit_code: 130 for Ctrl-C (SIGINT), 143 for SIGTERM, 129 for SIGHUP.

    Attributes:
        signal_exit_code: the shell's convention, 128 plus the signal's number.
    """

    exit_code = 130

    def __init__(self, message: str = "Interrupted.", signal_exit_code: int = 130):
        super().__init__(message)
        self.signal_exit_code = signal_exit_code
        self.exit_code = signal_exit_code
