"""The table of `quality`: its figures in Markdown, and their means."""

from __future__ import annotations

from typing import Any

FIGURES = ("struct", "gram", "spectrum_db", "colour", "coherence", "diversity", "train_seconds")
Row = dict[str, Any]


def table(rows: list[Row]) -> str:
    """The rows and their mean in Markdown."""
    heads = ("struct", "gram", "spectrum dB", "colour", "coherence (floor)", "diversity")
    lines = ["| " + " | ".join(("exemplar", *heads, "training s")) + " |", "|---" * 8 + "|"]
    for row in [*rows, {"exemplar": "mean", **mean(rows)}]:
        name = row["exemplar"] + (f" #{row['seed']}" if row.get("seed") else "")
        name += f": {row['error']}" if "error" in row else ""
        values = zip((row.get(key) for key in FIGURES), (2, 2, 1, 2, 3, 2, 0), strict=True)
        told = ["" if value is None else f"{value:.{digits}f}" for value, digits in values]
        told[4] += f" ({row['coherence_floor']:.3f})" if told[4] else ""
        lines.append("| " + " | ".join((name, *told)) + " |")
    return "\n".join(lines)


def mean(rows: list[Row]) -> Row:
    """Means over the rows that have a figure."""
    names = (*FIGURES, "coherence_floor", "seconds_per_sample", "rollbacks")
    found = {name: [r[name] for r in rows if r.get(name) is not None] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}
