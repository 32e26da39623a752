"""An unknown key, answered in one sentence with the one that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from gcn_cli.run.keys import Key, keys_of
from gcn_cli.run.schema import KINDS

NOW = {
    "texture": {
        "pace": "budget",
        "canvas": "likelihood.canvas",
        "langevin": "noise",
        "learning": "reconstruction",
        "learning.updates": "reconstruction.updates",
        "learning.optimiser.rate": "reconstruction.rate",
        "learning.count": "likelihood.chains",
        "learning.steps": "sampler.steps",
        "sampling": "sampler",
        "sampling.steps": "sampler.steps",
        "reduce": "sizes.coarsest",
    },
    "field": {},
}
"""Of each kind, keys of version 0.1 or of the other kind whose work another key does now."""

GONE = {
    *("trials", "pace", "reduce", "optional", "matching"),
    *("layers.*.dilation", "langevin.cooling", "init.dictionary", "learning.optimiser.top"),
    *(f"learning.{name}" for name in ("restraint", "tolerance", "reach", "recentre")),
    *(f"learning.{name}" for name in ("pool", "glimpse")),
    *(f"sampling.{name}" for name in ("candidates", "drafts", "start_spot", "redraws")),
}
"""Keys of version 0.1 that nothing took the place of."""

_SURE = 0.75  # likeness from which a neighbour is meant, rather than a namesake elsewhere


def unknown_key(kind: str, loc: Sequence[str], data: Mapping[str, Any]) -> str:
    """The sentence for the key at ``loc``, as pydantic tells it, of a config ``data``."""
    known = [*keys_of(KINDS[kind])]
    where = [part for part in loc if part not in ("adam", "sgd")]
    whole = _leaf(where, data)
    plain = _plain(whole)
    told = f"unknown key '{'.'.join(whole)}'"
    if plain in NOW[kind]:
        return f"{told}; did you mean '{NOW[kind][plain]}'?"
    if plain in GONE:
        return f"{told}; it was removed in 0.2.0"
    for key in known:
        if key.path == plain:  # below a level of 0.1, or of another choice
            return f"{told}; " + (
                f"'{key.only}' has it" if key.only else f"did you mean '{plain}'?"
            )
    for end in range(len(whole) - 1, len(where) - 1, -1):
        if _plain(whole[:end]) in NOW[kind]:
            return f"{told}; did you mean '{NOW[kind][_plain(whole[:end])]}'?"
    return f"unknown key '{'.'.join(where)}'" + _likely(kind, known, where, loc)


def _likely(kind: str, known: Sequence[Key], where: Sequence[str], loc: Sequence[str]) -> str:
    """The end of the sentence: a neighbour, a key of the other kind, or a namesake elsewhere."""
    name, here = where[-1], _here(known, loc)
    if not difflib.get_close_matches(name, here, n=1, cutoff=_SURE):
        for other in KINDS.keys() - {kind}:
            if _plain(where) in {key.path for key in keys_of(KINDS[other])}:
                return f": it is of kind '{other}', and this config of kind '{kind}'"
        paths = dict.fromkeys(key.path for key in known)
        namesakes = [path for path in paths if path.rpartition(".")[2] == name]
        if namesakes:
            return "; did you mean '" + "' or '".join(namesakes) + "'?"
    return offer(name, here)


def offer(name: str, names: Sequence[str]) -> str:
    """The end of a sentence on an unknown name: the nearest that is known, or all of them."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known are {', '.join(names)}" if names else ""


def _leaf(where: Sequence[str], data: Any) -> list[str]:
    """The path of the unknown key and of what alone lies below it, as `--set` puts it."""
    path = list(where)
    for part in where:
        data = data[int(part)] if isinstance(data, list | tuple) else data[part]
    while isinstance(data, Mapping) and len(data) == 1:
        ((name, data),) = data.items()
        path.append(str(name))
    return path


def _plain(path: Sequence[str]) -> str:
    """A path as `Key.path` has it; that of version 0.1 without its level."""
    below = path[2:] if path[:1] == ["levels"] and len(path) > 2 else path
    return ".".join("*" if part.lstrip("-").isdecimal() else part for part in below)


def _here(known: Sequence[Key], loc: Sequence[str]) -> list[str]:
    """Names of the keys beside the one at ``loc``; of a choice its own."""
    choice = loc[-2] if loc[-2:-1] and loc[-2] in ("adam", "sgd") else ""
    above = _plain([part for part in loc[:-1] if part not in ("adam", "sgd")])
    return [
        key.path.rpartition(".")[2]
        for key in known
        if key.path.rpartition(".")[0] == above and key.only in ("", choice)
    ]
