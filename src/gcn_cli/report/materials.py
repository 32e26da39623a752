"""How good samples of a material are: every map by itself, and how the maps fit one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gcn_cli.errors import ImageError
from gcn_cli.statistics.maps import cross_map_error
from gcn_cli.statistics.metrics import evaluate_texture

Maps = Mapping[str, Tensor]
"""Maps (c, H, W) in grey levels, by name."""


def evaluate_material(
    exemplar: Maps, samples: Sequence[Maps]
) -> tuple[dict[str, dict[str, float | None]], float]:
    """Scores of every map, and the mean error of the correlations across maps.

    Raises:
        ImageError: samples that lack a map, or sizes that no score is made for.
    """
    for sample in samples:
        missing = [name for name in exemplar if name not in sample]
        if missing:
            raise ImageError(f"a sample lacks {', '.join(missing)}, which the exemplar has")
    scores = {
        name: evaluate_texture(picture, torch.stack([sample[name] for sample in samples])).as_dict()
        for name, picture in exemplar.items()
    }
    counts = [len(_told(name, picture)) for name, picture in exemplar.items()]
    wanted = _joined(exemplar, list(exemplar))
    errors = [cross_map_error(wanted, _joined(one, list(exemplar)), counts) for one in samples]
    return scores, sum(errors) / len(errors)


def _joined(maps: Maps, names: Sequence[str]) -> Tensor:
    return torch.cat([_told(name, maps[name]) for name in names])


def _told(name: str, picture: Tensor) -> Tensor:
    """The channels that say something of their own: of a normal x and y."""
    return picture[:2] if name == "normal" else picture
