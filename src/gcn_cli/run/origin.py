"""Where a model comes from: which pictures, when, by which gcn, and what its maker says of it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gcn_cli import __version__
from gcn_cli.errors import UsageError

_MOST = 1000  # characters of a note, or of a name
_NAMED = 16  # pictures that are named, at most


@dataclass(frozen=True)
class Origin:
    """What a checkpoint tells of itself; empty where an older file does not.

    ``images``: names of the first files learned from, without folders; ``began``: the day, in UTC;
    ``gcn``: the version that began to learn; ``note``: a line of the user's, as on a licence.
    """

    images: tuple[str, ...] = ()
    began: str = ""
    gcn: str = ""
    note: str = ""

    def pack(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "images": list(self.images)}

    @staticmethod
    def unpack(data: Mapping[str, Any]) -> Origin:
        """The inverse of `pack`, of data that may be foreign.

        Raises:
            ValueError: what is no line of text.
        """
        told = Origin(tuple(data["images"]), data["began"], data["gcn"], data["note"])
        lines = (*told.images, told.began, told.gcn, told.note)
        if len(told.images) > _NAMED or not all(_is_line(text) for text in lines):
            raise ValueError("its origin is told in something else than short lines")
        return told


UNTOLD = Origin()


def new_origin(sources: Sequence[Path], note: str) -> Origin:
    """That of a model that is learned from ``sources`` from now on."""
    names = [
        "".join(letter if letter.isprintable() else "?" for letter in path.name)[:_MOST]
        for path in sources[:_NAMED]
    ]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return Origin(tuple(names), today, __version__, note)


def joined(origins: Sequence[Origin]) -> Origin:
    """The first, with the notes of all: a picture drawn from several models is under each."""
    notes = dict.fromkeys(origin.note for origin in origins if origin.note)
    return replace(origins[0], note="; ".join(notes))


def check_note(note: str) -> str:
    """The note itself.

    Raises:
        UsageError: it is no short line.
    """
    if not _is_line(note):
        raise UsageError(f"a note is one line of at most {_MOST} characters")
    return note


def _is_line(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _MOST and text.isprintable()
