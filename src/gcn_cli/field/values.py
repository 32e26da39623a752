"""Values with what a user is told of them: one definition for the mathematics and for a config.

A frozen dataclass whose fields are made by `key` is what the functions here take, and what a config
is checked against by whoever reads one: pydantic takes a dataclass field's ``metadata`` for its
own arguments.
"""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def key(help: str, default: Any = MISSING, *, kw_only: bool = False, **bounds: float) -> Any:
    """A dataclass field with one line of help that tells its unit, and its bounds.

    ``bounds`` are of ``ge``, ``gt``, ``le``, ``lt``; who makes the value by hand is not checked.
    """
    return field(default=default, kw_only=kw_only, metadata={"description": help, **bounds})
